//! The Container Device Interface, <https://github.com/cncf-tags/container-device-interface>, SPEC.md, up to 1.1.0.
//!
//! Files of two directories say which devices there are and what each changes in a configuration. What a file means is
//! what the format's Go library makes of it, because every engine uses that one; where this differs on purpose it is said
//! at the place, and in docs/gpu.md.

mod name;
mod parse;
mod registry;
mod shape;
pub mod spec;
mod validate;
mod yaml;

pub use name::QualifiedName;
pub use parse::{MAX_FILE_BYTES, parse};
pub use registry::{CdiFile, DEFAULT_DIRS, FileFault, MAX_FILES, Registry, Resolved, Source};
pub(crate) use validate::check;
