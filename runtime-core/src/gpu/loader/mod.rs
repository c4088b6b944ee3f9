//! The dynamic loader of a container: how its programs find the driver's libraries.

pub(crate) mod cache;
#[cfg(test)]
mod cache_tests;
pub(crate) mod compat;
pub(crate) mod conf;
pub(crate) mod directory;
pub(crate) mod update;
