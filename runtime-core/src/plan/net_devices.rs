//! Network devices of the host that the container gets (config-linux.md, Network Devices).
//!
//! They move as late as possible, before the first hook: a hook may configure them, and a device that has moved is not
//! brought back when a later step fails. The names were judged with the rest of the configuration.

use std::collections::BTreeMap;

use oci_spec::runtime::Spec;

use super::create::PlanRequest;
use super::namespaces::{NETWORK, Namespaces};
use super::schedule::{ParentStep, Schedule};
use crate::error::{Error, ErrorKind, Result};

/// The parent moves them while init waits, in the order of their names.
pub(super) fn move_in(
    schedule: &mut Schedule,
    spec: &Spec,
    request: &PlanRequest,
    namespaces: &Namespaces,
) -> Result<()> {
    let linux = spec.linux().as_ref();
    let devices: BTreeMap<_, _> = linux
        .and_then(|linux| linux.net_devices().as_ref())
        .into_iter()
        .flatten()
        .collect();
    if devices.is_empty() {
        return Ok(());
    }
    if !namespaces.has(NETWORK) {
        let message = "unable to move network devices without a NET namespace";
        return Err(Error::spec("linux.netDevices", message));
    }
    if !namespaces.privileged() || request.rootless {
        let message = "network devices are not supported for rootless containers";
        return Err(Error::spec("linux.netDevices", message).with_kind(ErrorKind::Permission));
    }
    let steps = devices.into_iter().map(|(name, device)| {
        let new_name = device.name().as_ref().filter(|name| !name.is_empty());
        let step = ParentStep::MoveNetDevice {
            name: name.clone(),
            new_name: new_name.unwrap_or(name).clone(),
        };
        (step, format!("linux.netDevices.{name}"))
    });
    schedule.barrier("linux.netDevices", steps);
    Ok(())
}
