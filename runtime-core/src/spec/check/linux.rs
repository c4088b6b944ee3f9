//! The smaller parts of `linux`: devices, network devices, paths, time, memory policy, personality, resctrl.

use super::identity::mapped;
use super::{Namespaces, Warning, absolute, no_nul};
use crate::error::{Error, Result};
use crate::spec::mount_options::Propagation;
use crate::spec::numbers;
use oci_spec::runtime::{
    Linux, LinuxDevice, LinuxDeviceType, LinuxIntelRdt, LinuxMemoryPolicy, MemoryPolicyFlagType,
    MemoryPolicyModeType,
};
use std::path::Component;

pub(super) fn check(linux: &Linux, namespaces: &Namespaces, warnings: &mut Vec<Warning>) -> Result<()> {
    for (index, one) in linux.devices().iter().flatten().enumerate() {
        device(&format!("linux.devices[{index}]"), one)?;
    }
    net_devices(linux, namespaces)?;
    restricted_paths(linux, namespaces, warnings)?;
    time_offsets(linux, namespaces)?;
    if let Some(policy) = linux.memory_policy() {
        memory_policy(policy)?;
    }
    if let Some(rdt) = linux.intel_rdt() {
        intel_rdt(rdt)?;
        old_monitoring(rdt, warnings);
    }
    if let Some(value) = linux.rootfs_propagation()
        && Propagation::parse(value).is_none()
    {
        let message = format!(
            "rootfsPropagation={value} is not supported, allowed are shared, slave, private, unbindable and the same with r"
        );
        return Err(Error::spec("linux.rootfsPropagation", message));
    }
    if let Some(flags) = linux
        .personality()
        .as_ref()
        .and_then(|personality| personality.flags().as_ref())
        && !flags.is_empty()
    {
        let message = format!("the specification has no personality flags, found {flags:?}, ignored");
        warnings.push(Warning::new("linux.personality.flags", message));
    }
    Ok(())
}

/// Device numbers that the kernel can hold (include/linux/kdev_t.h: 12 and 20 bits).
const MAJOR_MAX: i64 = (1 << 12) - 1;
const MINOR_MAX: i64 = (1 << 20) - 1;

fn device(field: &str, device: &LinuxDevice) -> Result<()> {
    absolute(&format!("{field}.path"), device.path())?;
    let climbs = device
        .path()
        .components()
        .any(|part| part == Component::ParentDir);
    if climbs || device.path().file_name().is_none() {
        let message = format!(
            "found {:?}, allowed is the path of a file without ..",
            device.path()
        );
        return Err(Error::spec(format!("{field}.path"), message));
    }
    match device.typ() {
        LinuxDeviceType::A => {
            let message = "invalid device type \"a\", allowed are b, c, u and p";
            return Err(Error::spec(format!("{field}.type"), message));
        }
        LinuxDeviceType::P => {}
        LinuxDeviceType::B | LinuxDeviceType::C | LinuxDeviceType::U => {
            for (name, value, max) in [
                ("major", device.major(), MAJOR_MAX),
                ("minor", device.minor(), MINOR_MAX),
            ] {
                if !(0..=max).contains(&value) {
                    let message = format!("found {value}, allowed are 0 to {max}");
                    return Err(Error::spec(format!("{field}.{name}"), message));
                }
            }
        }
    }
    // Engines copy st_mode with the type bits of the file; those are left out, as runc does.
    if let Some(mode) = device
        .file_mode()
        .filter(|mode| mode & !(libc::S_IFMT | 0o7777) != 0)
    {
        let message = format!("found {mode}, allowed are the 12 permission bits");
        return Err(Error::spec(format!("{field}.fileMode"), message));
    }
    // Engines copy the ids of the host's node; with a user namespace they are not used, so they need not be mapped.
    for (name, kind, id) in [("uid", "uid", device.uid()), ("gid", "gid", device.gid())] {
        mapped(&format!("{field}.{name}"), kind, id.unwrap_or(0), None)?;
    }
    Ok(())
}

fn net_devices(linux: &Linux, namespaces: &Namespaces) -> Result<()> {
    let mut devices: Vec<_> = linux.net_devices().iter().flatten().collect();
    if !devices.is_empty() && !namespaces.network {
        let message = "unable to move network devices without a NET namespace";
        return Err(Error::spec("linux.netDevices", message));
    }
    devices.sort_unstable_by_key(|(name, _)| *name);
    let mut taken: Vec<(&String, &String)> = Vec::new();
    for (name, device) in devices {
        let field = format!("linux.netDevices[{name:?}]");
        if !is_device_name(name) || name.contains('%') {
            return Err(Error::spec(field, invalid_device_name(name)));
        }
        // Engines that write every field mean the device's own name by an empty one, as runc does.
        let target = match device.name().as_ref().filter(|name| !name.is_empty()) {
            Some(new) if is_device_name(new) && has_one_number(new) => new,
            Some(new) => return Err(Error::spec(format!("{field}.name"), invalid_device_name(new))),
            None => name,
        };
        // A template gives each device a number of its own.
        if let Some((other, _)) = taken
            .iter()
            .find(|(_, used)| *used == target && !target.contains('%'))
        {
            let message = format!("the name {target:?} in the container is that of {other:?} too");
            return Err(Error::spec(format!("{field}.name"), message));
        }
        taken.push((name, target));
    }
    Ok(())
}

fn invalid_device_name(name: &str) -> String {
    format!(
        "invalid network device name {name:?}, allowed are 1 to 15 bytes other than . and .., without slash, colon, \
         blank and %, but one %d for a number in a new name"
    )
}

/// dev_valid_name of net/core/dev.c: at most IFNAMSIZ - 1 bytes, no slash, colon or blank.
fn is_device_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let fits = !bytes.is_empty() && bytes.len() < libc::IFNAMSIZ;
    let blank = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b':' | 0 | 0x0b);
    fits && name != "." && name != ".." && !bytes.iter().any(blank)
}

/// __dev_alloc_name of net/core/dev.c: the kernel puts the first free number for %d, and takes no other template.
fn has_one_number(name: &str) -> bool {
    match name.split_once('%') {
        None => true,
        Some((_, rest)) => rest.starts_with('d') && !rest.contains('%'),
    }
}

fn restricted_paths(linux: &Linux, namespaces: &Namespaces, warnings: &mut Vec<Warning>) -> Result<()> {
    for (name, list) in [
        ("maskedPaths", linux.masked_paths()),
        ("readonlyPaths", linux.readonly_paths()),
    ] {
        for (index, path) in list.iter().flatten().enumerate() {
            if !namespaces.mount {
                let message = "unable to restrict sys entries without a private MNT namespace";
                return Err(Error::spec(format!("linux.{name}"), message));
            }
            let field = format!("linux.{name}[{index}]");
            if path.is_empty() {
                return Err(Error::spec(field, "found an empty path"));
            }
            no_nul(&field, path)?;
            if !path.starts_with('/') {
                let message = format!("{path} is not absolute, it is read from /");
                warnings.push(Warning::new(field, message));
            }
        }
    }
    Ok(())
}

fn time_offsets(linux: &Linux, namespaces: &Namespaces) -> Result<()> {
    let mut offsets: Vec<_> = linux.time_offsets().iter().flatten().collect();
    if offsets.is_empty() {
        return Ok(());
    }
    if !namespaces.time {
        let message = "time namespace offsets specified, but time namespace isn't enabled in the config";
        return Err(Error::spec("linux.timeOffsets", message));
    }
    if namespaces.time_joined {
        let message = "time namespace enabled, but both namespace path and time offsets specified -- you may only \
                       provide one";
        return Err(Error::spec("linux.timeOffsets", message));
    }
    offsets.sort_unstable_by_key(|(clock, _)| *clock);
    for (clock, offset) in offsets {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            let message = format!("unknown clock {clock:?}, allowed are monotonic and boottime");
            return Err(Error::spec("linux.timeOffsets", message));
        }
        if let Some(nanos) = offset.nanosecs().filter(|nanos| *nanos >= 1_000_000_000) {
            let message = format!("found {nanos}, allowed are 0 to 999999999");
            return Err(Error::spec(
                format!("linux.timeOffsets.{clock}.nanosecs"),
                message,
            ));
        }
    }
    Ok(())
}

/// Memory nodes that a kernel can have (MAX_NUMNODES, at most 1 << 10 on every architecture).
pub(crate) const MEMORY_NODES: u32 = 1 << 10;

/// set_mempolicy(2).
fn memory_policy(policy: &LinuxMemoryPolicy) -> Result<()> {
    use MemoryPolicyFlagType as Flag;
    use MemoryPolicyModeType as Mode;
    let list = policy.nodes().as_deref().unwrap_or_default();
    let fault = |message: String| Err(Error::spec("linux.memoryPolicy.nodes", message));
    let Some(nodes) = numbers::parse(list, MEMORY_NODES) else {
        return fault(format!(
            "invalid memory policy nodes {list:?}, allowed are numbers below {MEMORY_NODES} and ranges of them, as 0-3,7"
        ));
    };
    let flags = policy.flags().as_deref().unwrap_or_default();
    if flags.contains(&Flag::MpolFStaticNodes) && flags.contains(&Flag::MpolFRelativeNodes) {
        let message =
            "invalid memory policy flags: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other";
        return Err(Error::spec("linux.memoryPolicy.flags", message));
    }
    match policy.mode() {
        Mode::MpolDefault | Mode::MpolLocal if !nodes.is_empty() => fault(format!(
            "memory policy mode requires 0 nodes but got {} with {}",
            nodes.len(),
            policy.mode()
        )),
        Mode::MpolBind | Mode::MpolInterleave | Mode::MpolPreferredMany | Mode::MpolWeightedInterleave
            if nodes.is_empty() =>
        {
            fault(format!(
                "memory policy mode requires at least one node but got 0 with {}",
                policy.mode()
            ))
        }
        _ => Ok(()),
    }
}

/// Runtime-spec 1.3 replaced both by enableMonitoring.
#[allow(deprecated, reason = "to say that they have no effect")]
fn old_monitoring(rdt: &LinuxIntelRdt, warnings: &mut Vec<Warning>) {
    for (name, value) in [("enableCMT", rdt.enable_cmt()), ("enableMBM", rdt.enable_mbm())] {
        if *value == Some(true) {
            let message = "has no effect since runtime-spec 1.3; enableMonitoring makes a monitoring group";
            warnings.push(Warning::new(format!("linux.intelRdt.{name}"), message));
        }
    }
}

/// `closID` is the name of one directory, or `/` for the root group (config-linux.md, IntelRdt).
fn intel_rdt(rdt: &LinuxIntelRdt) -> Result<()> {
    if let Some(id) = rdt.clos_id()
        && (matches!(id.as_str(), "." | "..") || (id.len() > 1 && id.contains('/')) || id.contains('\0'))
    {
        return Err(Error::spec(
            "linux.intelRdt.closID",
            format!("invalid intelRdt.ClosID {id:?}"),
        ));
    }
    if let Some(schema) = rdt.mem_bw_schema()
        && (!schema.starts_with("MB:") || schema.contains('\n'))
    {
        let message = format!("found {schema:?}, allowed is one line that starts with MB:");
        return Err(Error::spec("linux.intelRdt.memBwSchema", message));
    }
    for (index, line) in rdt.schemata().iter().flatten().enumerate() {
        if line.contains('\n') {
            let message = format!("found {line:?}, allowed is one line");
            return Err(Error::spec(format!("linux.intelRdt.schemata[{index}]"), message));
        }
    }
    Ok(())
}
