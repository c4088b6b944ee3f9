//! runtime-core

pub mod cgroup;
pub mod error;
pub mod facts;
pub mod seccomp;
pub mod spec;
mod sys;

pub use error::{Error, ErrorKind, Result};
