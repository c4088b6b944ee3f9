//! The calls that rustix and nix lack, and the only unsafe code of the library outside init.

pub(crate) mod bpf;
pub(crate) mod mount;
mod raw;
pub(crate) mod spawn;
