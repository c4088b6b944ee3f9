//! normalize
use super::shape::Shape;
use super::{Extra, Warning};
pub(super) struct Tidied {
    pub(super) extra: Extra,
    pub(super) warnings: Vec<Warning>,
}
pub(super) fn normalize(_document: &mut serde_json::Value, _shape: &Shape) -> Tidied {
    Tidied {
        extra: Extra::default(),
        warnings: vec![],
    }
}
