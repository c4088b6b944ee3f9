//! The calls that rustix and nix lack, and the only unsafe code of the library outside init.

pub(crate) mod bpf;
pub(crate) mod code;
pub(crate) mod counter;
pub(crate) mod elsewhere;
pub(crate) mod limit;
pub(crate) mod mount;
pub(crate) mod namespace;
pub(crate) mod netlink;
mod raw;
pub(crate) mod spawn;
pub(crate) mod wait;
