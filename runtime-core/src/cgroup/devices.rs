//! linux.resources.devices to lines of version 1 or to an eBPF program of version 2.
use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// The device rules of a container in their order, the runtime's own at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRules {}

/// What became of the device rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceFilter {
    /// They hold.
    Applied,
    /// This caller may not set them and the configuration allows that; the reason.
    Skipped(String),
}

/// Checks and orders the rules: those of linux.resources.devices, then the defaults.
///
/// # Errors
/// A rule has no access, an unknown letter in it, or an impossible number.
pub fn device_rules(rules: &[LinuxDeviceCgroup], devices: &[LinuxDevice]) -> Result<DeviceRules> {
    let _ = (rules, devices);
    Err(Error::new(ErrorKind::Internal, "not built yet"))
}

impl DeviceRules {
    /// The rules as lines for people: `deny a *:* rwm`, with where each is from.
    pub fn lines(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}
