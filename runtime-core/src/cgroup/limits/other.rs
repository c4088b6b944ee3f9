//! The small parts of linux.resources: pids, hugepageLimits, rdma, network and unified.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxHugepageLimit, LinuxNetwork, LinuxRdma};

use super::{Absent, Table, Version, Write};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::cgroup::CgroupMode;

const PIDS: &str = "linux.resources.pids.limit";
const UNIFIED: &str = "linux.resources.unified";

/// 0 is a limit as any other (config-linux.md, PIDs): no process can be made. A negative number is no limit.
pub(super) fn pids(table: &mut Table<'_>, limit: i64) -> Result<()> {
    let version = table.version("pids", "pids", PIDS)?;
    let value = match limit {
        ..0 => "max".to_owned(),
        0.. => limit.to_string(),
    };
    table.push(Write::new(version, "pids", "pids.max", value, PIDS));
    Ok(())
}

/// Both the limit on faults and, where the kernel has it (since 5.7), that on reservations: a program that reserves
/// first would else die of SIGBUS later instead of being refused.
pub(super) fn hugepage(table: &mut Table<'_>, position: usize, limit: &LinuxHugepageLimit) -> Result<()> {
    let origin = format!("linux.resources.hugepageLimits[{position}]");
    let size = limit.page_size();
    let digits = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
    if !digits.is_some_and(|d| d.parse::<u32>().is_ok_and(|n| n > 0) && !d.starts_with(['0', '+'])) {
        let message = format!("{size:?}: a number and KB, MB or GB, as 2MB");
        return Err(Error::spec(format!("{origin}.pageSize"), message));
    }
    if limit.limit() < 0 {
        let message = format!("{}: a number of bytes, not negative", limit.limit());
        return Err(Error::spec(format!("{origin}.limit"), message));
    }
    let version = table.version("hugetlb", "hugetlb", &origin)?;
    let suffix = if version == Version::V1 {
        "limit_in_bytes"
    } else {
        "max"
    };
    let write = |file: String| Write::new(version, "hugetlb", &file, limit.limit(), &origin);
    table.push(write(format!("hugetlb.{size}.{suffix}")));
    table.push(write(format!("hugetlb.{size}.rsvd.{suffix}")).absent(Absent::Skip));
    Ok(())
}

pub(super) fn rdma(table: &mut Table<'_>, rdma: &HashMap<String, LinuxRdma>) -> Result<()> {
    let mut devices: Vec<_> = rdma.iter().collect();
    devices.sort_by_key(|(device, _)| device.as_str());
    for (device, limits) in devices {
        let origin = format!("linux.resources.rdma[{device:?}]");
        if device.is_empty() || device.contains(char::is_whitespace) {
            return Err(Error::spec(
                origin,
                "the name of a device has no space and is not empty",
            ));
        }
        let handles = limits.hca_handles().map(|number| format!(" hca_handle={number}"));
        let objects = limits.hca_objects().map(|number| format!(" hca_object={number}"));
        if handles.is_none() && objects.is_none() {
            continue;
        }
        let value = format!(
            "{device}{}{}",
            handles.unwrap_or_default(),
            objects.unwrap_or_default()
        );
        let version = table.version("rdma", "rdma", &origin)?;
        table.push(Write::new(version, "rdma", "rdma.max", value, &origin));
    }
    Ok(())
}

/// Only version 1 has these; in version 2 eBPF programs that match the cgroup took their place.
pub(super) fn network(table: &mut Table<'_>, network: &LinuxNetwork) -> Result<()> {
    let need = |table: &Table<'_>, controller: &str, origin: &str| {
        if table.facts.mode == CgroupMode::V2 {
            let message = "network limits are not supported on cgroup v2";
            return Err(Error::new(ErrorKind::Unsupported, message).with_field(origin));
        }
        table.version(controller, controller, origin).map(drop)
    };
    if let Some(class) = network.class_id().filter(|class| *class != 0) {
        let origin = "linux.resources.network.classID";
        need(table, "net_cls", origin)?;
        table.push(Write::v1("net_cls", "net_cls.classid", class, origin));
    }
    for (position, priority) in network.priorities().iter().flatten().enumerate() {
        let origin = format!("linux.resources.network.priorities[{position}]");
        // IFNAMSIZ counts the zero at the end.
        let name = priority.name();
        if name.is_empty() || name.len() > 15 || name.contains(|c: char| c.is_whitespace() || c == '/') {
            return Err(Error::spec(
                format!("{origin}.name"),
                format!("{name:?} is no name of an interface"),
            ));
        }
        need(table, "net_prio", &origin)?;
        table.push(Write::v1(
            "net_prio",
            "net_prio.ifpriomap",
            format!("{name} {}", priority.priority()),
            &origin,
        ));
    }
    Ok(())
}

/// Files of version 2 verbatim, in the order of their names: a JSON object has none, and a plan is the same every time.
pub(super) fn unified(table: &mut Table<'_>, unified: &HashMap<String, String>) -> Result<()> {
    if unified.is_empty() {
        return Ok(());
    }
    if table.facts.mode != CgroupMode::V2 {
        let message = "invalid configuration: cannot use unified on cgroup v1";
        return Err(Error::new(ErrorKind::Unsupported, message).with_field(UNIFIED));
    }
    let mut files: Vec<_> = unified.iter().collect();
    files.sort();
    for (file, value) in files {
        let origin = format!("{UNIFIED}[{file:?}]");
        if file.contains(['/', '\0']) {
            let message = format!("unified resource {file:?} must be a file name (no slashes)");
            return Err(Error::spec(origin, message));
        }
        let Some((controller, _)) = file
            .split_once('.')
            .filter(|(name, rest)| !name.is_empty() && !rest.is_empty())
        else {
            let message = format!("unified resource {file:?} must be in the form CONTROLLER.PARAMETER");
            return Err(Error::spec(origin, message));
        };
        // Pressure files are there without the controller that they are named after.
        let known = controller == "cgroup" || file.ends_with(".pressure");
        if !known && table.facts.hierarchy_of(controller).is_none() {
            let message =
                format!("unified resource {file:?} can't be set: controller {controller:?} not available");
            return Err(Error::new(ErrorKind::Unsupported, message).with_field(origin));
        }
        table.push(Write::v2(controller, file, value, &origin));
    }
    Ok(())
}
