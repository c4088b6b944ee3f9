//! Creates a container's cgroups and writes into them, through directory descriptors.
use std::os::fd::OwnedFd;

use super::devices::{DeviceFilter, DeviceRules};
use super::limits::Write;
use super::path::{CgroupPaths, CgroupRecord};
use crate::error::{Error, ErrorKind, Result};

/// A container's cgroups.
#[derive(Debug)]
pub struct Cgroup {}

/// How a process enters the cgroups.
#[derive(Debug)]
pub struct Join {
    /// Version 1: the process writes `0` into each itself, while it has one thread.
    pub tasks: Vec<JoinTasks>,
    /// Version 2: for CLONE_INTO_CGROUP.
    pub unified: Option<OwnedFd>,
}

/// The `tasks` file of one hierarchy of version 1, open for writing.
#[derive(Debug)]
pub struct JoinTasks {
    /// The controllers of the hierarchy, for messages.
    pub name: String,
    /// O_WRONLY | O_CLOEXEC.
    pub fd: OwnedFd,
}

fn later<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Internal, "not built yet"))
}

impl Cgroup {
    /// Makes the directories. `writes` says which controllers are needed; `rootless` tolerates hierarchies that this
    /// caller may not write, as long as nothing is wanted of them. What was made before a failure is removed.
    pub fn create(paths: &CgroupPaths, writes: &[Write], rootless: bool) -> Result<Self> {
        let _ = (paths, writes, rootless);
        later()
    }

    /// The cgroups of a container that exists (or existed: operations on what is gone say so or do nothing).
    pub fn open(record: &CgroupRecord) -> Self {
        let _ = record;
        Self {}
    }

    /// What to keep in the state file.
    pub fn record(&self) -> CgroupRecord {
        CgroupRecord::default()
    }

    /// Writes the limits.
    pub fn apply(&self, writes: &[Write]) -> Result<()> {
        let _ = writes;
        later()
    }

    /// Sets the device rules in place of those that hold now.
    pub fn apply_devices(&self, rules: &DeviceRules, rootless: bool) -> Result<DeviceFilter> {
        let _ = (rules, rootless);
        later()
    }

    /// Descriptors to enter with; also for exec.
    pub fn join(&self) -> Result<Join> {
        later()
    }

    /// Removes the directories that [`Cgroup::create`] made, and only those.
    pub fn undo(&self) -> Result<()> {
        later()
    }
}
