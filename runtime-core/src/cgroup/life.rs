//! The life of a container's cgroups: processes in them, killing, freezing, removing.
use std::time::Duration;

use super::fs::Cgroup;
use crate::error::{Error, ErrorKind, Result};

fn later<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Internal, "not built yet"))
}

impl Cgroup {
    /// The container's cgroup is still there.
    pub fn exists(&self) -> bool {
        false
    }

    /// Every process in the cgroups and below them; empty where they are gone.
    pub fn pids(&self) -> Result<Vec<i32>> {
        later()
    }

    /// SIGKILL to every process in the cgroups and below; frozen ones too. Does not wait for their end.
    pub fn kill_all(&self) -> Result<()> {
        later()
    }

    /// Freezes; returns when everything is frozen, else thaws again and fails after `patience`.
    pub fn pause(&self, patience: Duration) -> Result<()> {
        let _ = patience;
        later()
    }

    /// Thaws.
    pub fn resume(&self) -> Result<()> {
        later()
    }

    /// Frozen by itself, not by an ancestor.
    pub fn is_frozen(&self) -> Result<bool> {
        later()
    }

    /// Removes the cgroups with everything below; waits up to `patience` for the last processes to be gone. What is gone
    /// already is a success, so it may be repeated.
    pub fn remove(&self, patience: Duration) -> Result<()> {
        let _ = patience;
        later()
    }

    /// How often the kernel killed a process of the container for lack of memory; nothing where there is no memory
    /// controller.
    pub fn oom_kills(&self) -> Result<Option<u64>> {
        later()
    }
}
