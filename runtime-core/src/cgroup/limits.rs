//! linux.resources to writes: the only conversion table of the project.
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::facts::cgroup::CgroupFacts;

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
    pub warnings: Vec<String>,
}

/// Converts everything in linux.resources but the device rules, which are [`crate::cgroup::devices`].
///
/// # Errors
/// A value is out of range or contradicts another, the host lacks the controller, or the field exists in version 1 only.
pub fn limits(resources: &LinuxResources, facts: &CgroupFacts) -> Result<Limits> {
    let _ = (resources, facts);
    Err(crate::error::Error::new(
        crate::error::ErrorKind::Internal,
        "not built yet",
    ))
}
