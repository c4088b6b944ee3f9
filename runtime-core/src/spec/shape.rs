//! shape
pub(super) enum Shape {
    Object(&'static [(&'static str, &'static Shape)]),
}
pub(super) static ROOT: Shape = Shape::Object(&[]);
pub(super) static PROCESS: Shape = Shape::Object(&[]);
