//! The systemd driver: a container's cgroup is a transient scope that systemd makes, knows and removes.
//!
//! Pure: [`scope()`] (linux.cgroupsPath to a unit and its place), [`properties`] (the table of limits), the list of
//! devices, annotations. Effects are the methods of `Manager`: start a scope around a process, move a process into it,
//! stop it. Everything within the cgroup (limits in files, freezing, killing, entering) is done in its directory, as with
//! the other driver: systemd delegates it. With the other driver nothing here is called, and no socket is opened.

mod annotations;
mod device_list;
mod manager;
mod properties;
mod reach;
mod unit;

pub use annotations::annotated;
pub use device_list::{device_properties, device_properties_v1};
pub(crate) use manager::{Manager, check_place};
pub use properties::{Property, Split, properties};
pub use unit::{Scope, scope};

pub use crate::dbus::Value;

use oci_spec::runtime::Spec;

use super::{CgroupPaths, DeviceRules, Limits};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::HostFacts;
use crate::facts::cgroup::CgroupMode;

/// What `features` tells about this driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Supported {
    /// Cgroups made by the manager of the system.
    pub system: bool,
    /// Cgroups made by a user's own manager.
    pub user: bool,
    /// On hosts with hierarchies of version 1.
    pub v1: bool,
}

/// See [`Supported`].
pub const SUPPORTED: Supported = Supported {
    system: true,
    user: true,
    v1: true,
};

/// A scope that is to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct ScopePlan {
    /// Its names.
    pub scope: Scope,
    /// Its properties beside the process, in their order; of two with one name the last counts.
    pub properties: Vec<Property>,
}

/// The scope of a container and its place; the limits become what they have to be beside it.
///
/// # Errors
/// There is no systemd, the path or a property is malformed, or the device rules cannot be had beside systemd.
pub fn plan(
    spec: &Spec,
    id: &str,
    facts: &HostFacts,
    limits: &mut Limits,
    devices: &DeviceRules,
) -> Result<(ScopePlan, CgroupPaths)> {
    let systemd = facts.systemd.as_ref().ok_or_else(not_running)?;
    let path = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.cgroups_path().as_ref());
    let path = match path {
        None => None,
        Some(path) => Some(
            path.to_str()
                .ok_or_else(|| Error::spec(super::path::FIELD, format!("{path:?} is not UTF-8")))?,
        ),
    };
    let (scope, paths) = scope(path, id, &facts.cgroup, systemd)?;
    let split = properties::properties(&limits.writes, systemd.version)?;
    limits.writes = split.writes;
    limits.warnings.extend(split.warnings);
    let mut properties = unit::basics(&scope, id);
    // A user's manager has no right to filter devices, and its containers none to make them.
    if !scope.user {
        let v1 = facts.cgroup.mode != CgroupMode::V2;
        properties.extend(if v1 {
            device_properties_v1(devices)?
        } else {
            device_properties(devices)
        });
    }
    properties.extend(annotated(spec.annotations().as_ref())?);
    properties.extend(split.properties);
    Ok((ScopePlan { scope, properties }, paths))
}

/// systemd is not what this host was started with; the first words are runc's.
fn not_running() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "systemd not running on this host, cannot use systemd cgroups manager",
    )
    .with_hint("use --cgroup-manager cgroupfs")
}
