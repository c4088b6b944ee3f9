//! linux.resources to writes: the only conversion table of the project.
//!
//! Pure: the same resources and facts give the same writes on any machine. The version 1 and 2 file writers and the
//! systemd driver all take this table, so that a limit means the same whoever sets it. What differs from host to host
//! within one version (a file that only some kernels have) is part of a [`Write`] and decided by the kernel's answer;
//! everything else is decided here. Device rules are not here, since they are no file of version 2: see
//! [`super::devices`]. The order is runc's, which matters where the kernel compares two values.

mod cpu;
mod io;
mod memory;
mod other;

pub use cpu::weight_of_shares;

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::facts::cgroup::{CgroupFacts, CgroupMode, HierarchyKind};
use crate::spec::Warning;

/// Which generation of control groups a write is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// A hierarchy of version 1.
    V1,
    /// The unified hierarchy.
    V2,
}

/// What a file that the kernel does not have means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Absent {
    /// The limit cannot be set: an error.
    Fail,
    /// The limit holds without it.
    Skip,
    /// Another file takes another value for the same limit.
    Instead {
        /// The other file.
        file: String,
        /// What to write into it.
        value: String,
    },
}

/// A condition that is tested before a write (linux.resources.memory.checkBeforeUpdate).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// The file that holds the usage.
    pub file: String,
    /// The usage has to be below this.
    pub below: u64,
    /// What is limited, for the message: `memory limit`.
    pub what: String,
}

/// One value into one file of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Which hierarchy the file is in.
    pub version: Version,
    /// The controller that has the file.
    pub controller: String,
    /// The name of the file.
    pub file: String,
    /// What is written. Lines are written one by one.
    pub value: String,
    /// The field of the configuration, as `linux.resources.memory.limit`.
    pub origin: String,
    /// What it means when the kernel lacks the file.
    pub absent: Absent,
    /// The kernel compares the value with one that a later write of the same controller changes: on EINVAL the write is
    /// repeated after the others of the controller.
    pub retry: bool,
    /// Tested before the write.
    pub guard: Option<Guard>,
}

/// What linux.resources comes to on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The writes in their order.
    pub writes: Vec<Write>,
    /// Fields that are ignored, with the reason.
    pub warnings: Vec<Warning>,
}

/// Converts everything in linux.resources but the device rules, which are [`crate::cgroup::devices`].
///
/// # Errors
/// A value is out of range or contradicts another, the host lacks the controller, or the field exists in version 1 only.
pub fn limits(resources: &LinuxResources, facts: &CgroupFacts) -> Result<Limits> {
    let mut table = Table {
        facts,
        limits: Limits::default(),
    };
    if let Some(cpu) = resources.cpu() {
        cpu::cpuset(&mut table, cpu)?;
    }
    if let Some(pids) = resources.pids() {
        other::pids(&mut table, pids.limit())?;
    }
    if let Some(memory) = resources.memory() {
        memory::memory(&mut table, memory)?;
    }
    if let Some(block_io) = resources.block_io() {
        io::block_io(&mut table, block_io)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu::cpu(&mut table, cpu)?;
    }
    for (position, limit) in resources.hugepage_limits().iter().flatten().enumerate() {
        other::hugepage(&mut table, position, limit)?;
    }
    if let Some(rdma) = resources.rdma() {
        other::rdma(&mut table, rdma)?;
    }
    if let Some(network) = resources.network() {
        other::network(&mut table, network)?;
    }
    if let Some(unified) = resources.unified() {
        other::unified(&mut table, unified)?;
    }
    Ok(table.limits)
}

/// The writes that are being collected, and what the host has.
struct Table<'a> {
    facts: &'a CgroupFacts,
    limits: Limits,
}

impl Table<'_> {
    /// Which version has the controller; it may go by another name in each (blkio and io).
    fn version(&self, v1: &str, v2: &str, origin: &str) -> Result<Version> {
        let has = |kind, name: &str| {
            self.facts
                .hierarchies
                .iter()
                .any(|h| h.kind == kind && h.controllers.iter().any(|c| c == name))
        };
        if has(HierarchyKind::V1, v1) {
            return Ok(Version::V1);
        }
        if has(HierarchyKind::Unified, v2) {
            return Ok(Version::V2);
        }
        let name = if self.facts.mode == CgroupMode::V2 { v2 } else { v1 };
        let message = format!("cannot set {name} limit: this host has no cgroup controller {name}");
        Err(Error::new(ErrorKind::Unsupported, message).with_field(origin))
    }

    fn push(&mut self, write: Write) {
        self.limits.writes.push(write);
    }

    fn warn(&mut self, origin: &str, reason: &str) {
        self.limits.warnings.push(Warning::new(origin, reason));
    }
}

impl Write {
    /// Nobody may be made in the group any more, neither by clone3(2) into it.
    pub(crate) fn admits_nobody(&self) -> bool {
        self.file == "pids.max" && self.value.trim() == "0"
    }

    /// A plain write: the file has to be there, and the kernel's answer is final.
    pub(super) fn new(
        version: Version,
        controller: &str,
        file: &str,
        value: impl ToString,
        origin: &str,
    ) -> Self {
        Self {
            version,
            controller: controller.to_owned(),
            file: file.to_owned(),
            value: value.to_string(),
            origin: origin.to_owned(),
            absent: Absent::Fail,
            retry: false,
            guard: None,
        }
    }

    fn v1(controller: &str, file: &str, value: impl ToString, origin: &str) -> Self {
        Self::new(Version::V1, controller, file, value, origin)
    }

    fn v2(controller: &str, file: &str, value: impl ToString, origin: &str) -> Self {
        Self::new(Version::V2, controller, file, value, origin)
    }

    fn absent(mut self, absent: Absent) -> Self {
        self.absent = absent;
        self
    }

    fn retry(mut self) -> Self {
        self.retry = true;
        self
    }

    fn guard(mut self, guard: Option<Guard>) -> Self {
        self.guard = guard;
        self
    }
}

#[cfg(test)]
mod tests;
