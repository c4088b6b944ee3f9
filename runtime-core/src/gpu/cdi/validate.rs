//! Whether what a file says can be meant: the rules of Go's `pkg/cdi`, no more and no fewer. Annotations are not judged
//! there, and so not here.

use std::collections::BTreeSet;

use super::name::{check_class, check_device, check_vendor};
use super::spec::{CdiDevice, CdiSpec, CdiVersion, ContainerEdits, DeviceNode, NetDevice};

const HOOKS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// Judges a file that was put together here and not read.
///
/// # Errors
/// InvalidArgument names the field.
pub(crate) fn check(spec: &CdiSpec) -> crate::Result<()> {
    validate(spec).map_err(|why| {
        let message = format!("the CDI file for {} would not be valid: {why}", spec.kind);
        crate::Error::new(crate::ErrorKind::InvalidArgument, message)
    })
}

/// Judges a file.
pub(super) fn validate(spec: &CdiSpec) -> Result<(), String> {
    version(spec)?;
    let (vendor, class) = spec.kind.split_once('/').unwrap_or(("", &spec.kind));
    check_vendor(vendor).map_err(|why| format!("kind: {why}"))?;
    check_class(class).map_err(|why| format!("kind: {why}"))?;
    edits(&spec.container_edits).map_err(|why| format!("containerEdits.{why}"))?;
    let mut names = BTreeSet::new();
    for (position, found) in spec.devices.iter().enumerate() {
        device(found).map_err(|why| format!("devices[{position}].{why}"))?;
        if !names.insert(found.name.as_str()) {
            return Err(format!("devices[{position}].name: {:?} stands twice", found.name));
        }
    }
    if names.is_empty() {
        return Err("devices: there is none".to_owned());
    }
    Ok(())
}

fn version(spec: &CdiSpec) -> Result<(), String> {
    let declared = CdiVersion::parse(&spec.cdi_version).ok_or_else(|| {
        let known: Vec<&str> = CdiVersion::ALL.iter().map(|version| version.as_str()).collect();
        format!(
            "cdiVersion: found {:?}, allowed: {}",
            spec.cdi_version,
            known.join(", ")
        )
    })?;
    let needed = spec.minimum_version();
    if declared < needed {
        return Err(format!(
            "cdiVersion: found {declared}, but what the file uses needs at least {needed}"
        ));
    }
    Ok(())
}

fn device(device: &CdiDevice) -> Result<(), String> {
    check_device(&device.name).map_err(|why| format!("name: {why}"))?;
    if device.container_edits.is_empty() {
        return Err("containerEdits: there is none".to_owned());
    }
    edits(&device.container_edits).map_err(|why| format!("containerEdits.{why}"))
}

fn edits(edits: &ContainerEdits) -> Result<(), String> {
    variables(&edits.env)?;
    for (position, found) in edits.device_nodes.iter().enumerate() {
        node(found).map_err(|why| format!("deviceNodes[{position}].{why}"))?;
    }
    for (position, hook) in edits.hooks.iter().enumerate() {
        let place = format!("hooks[{position}]");
        if !HOOKS.contains(&hook.hook_name.as_str()) {
            return Err(format!(
                "{place}.hookName: found {:?}, allowed: {}",
                hook.hook_name,
                HOOKS.join(", ")
            ));
        }
        not_empty(&hook.path, &format!("{place}.path"))?;
        variables(&hook.env).map_err(|why| format!("{place}.{why}"))?;
    }
    for (position, mount) in edits.mounts.iter().enumerate() {
        not_empty(&mount.host_path, &format!("mounts[{position}].hostPath"))?;
        not_empty(
            &mount.container_path,
            &format!("mounts[{position}].containerPath"),
        )?;
    }
    if let Some(rdt) = &edits.intel_rdt {
        class_of_service(&rdt.clos_id)?;
    }
    net_devices(&edits.net_devices)
}

fn variables(env: &[String]) -> Result<(), String> {
    match env
        .iter()
        .position(|line| line.find('=').is_none_or(|equals| equals == 0))
    {
        None => Ok(()),
        Some(position) => Err(format!(
            "env[{position}]: found {:?}, allowed: NAME=VALUE",
            env[position]
        )),
    }
}

fn node(node: &DeviceNode) -> Result<(), String> {
    not_empty(&node.path, "path")?;
    if !matches!(node.kind.as_str(), "" | "b" | "c" | "u" | "p") {
        return Err(format!("type: found {:?}, allowed: b, c, u, p", node.kind));
    }
    let letters = node.permissions.bytes().all(|byte| b"rwm".contains(&byte));
    if node.permissions != "none" && !letters {
        return Err(format!(
            "permissions: found {:?}, allowed: letters of rwm, or none",
            node.permissions
        ));
    }
    Ok(())
}

/// The name becomes a directory below the resctrl filesystem; `/` is its root.
fn class_of_service(name: &str) -> Result<(), String> {
    let bad =
        name != "/" && (name.len() >= 4096 || name == "." || name == ".." || name.contains(['/', '\n']));
    if bad {
        return Err(format!(
            "intelRdt.closID: found {name:?}, allowed is a file name, or /"
        ));
    }
    Ok(())
}

fn net_devices(devices: &[NetDevice]) -> Result<(), String> {
    let (mut outside, mut inside) = (BTreeSet::new(), BTreeSet::new());
    for (position, device) in devices.iter().enumerate() {
        let place = format!("netDevices[{position}]");
        not_empty(&device.host_interface_name, &format!("{place}.hostInterfaceName"))?;
        not_empty(&device.name, &format!("{place}.name"))?;
        if !outside.insert(&device.host_interface_name) {
            return Err(format!(
                "{place}.hostInterfaceName: {:?} stands twice",
                device.host_interface_name
            ));
        }
        if !inside.insert(&device.name) {
            return Err(format!("{place}.name: {:?} stands twice", device.name));
        }
    }
    Ok(())
}

fn not_empty(text: &str, place: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err(format!("{place}: found nothing"));
    }
    Ok(())
}
