//! linux.resources.blockIO to writes for the controllers blkio (version 1) and io (version 2).

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::{Absent, Table, Version, Write};
use crate::error::{Error, ErrorKind, Result};

const FIELD: &str = "linux.resources.blockIO";

/// The range of blockIO.weight; that of version 2 is 1 to 10000.
const WEIGHTS: std::ops::RangeInclusive<u16> = 10..=1000;

pub(super) fn block_io(table: &mut Table<'_>, block_io: &LinuxBlockIo) -> Result<()> {
    if !uses_anything(block_io) {
        return Ok(());
    }
    match table.version("blkio", "io", FIELD)? {
        Version::V1 => {
            v1_weights(table, block_io)?;
            throttles(table, block_io, Version::V1)
        }
        Version::V2 => {
            v2_weights(table, block_io)?;
            throttles(table, block_io, Version::V2)
        }
    }
}

fn uses_anything(block_io: &LinuxBlockIo) -> bool {
    let devices = block_io
        .weight_device()
        .as_ref()
        .is_some_and(|list| !list.is_empty());
    let throttled = throttle_lists(block_io)
        .iter()
        .any(|throttle| !throttle.devices.is_empty());
    is_set(block_io.weight()) || is_set(block_io.leaf_weight()) || devices || throttled
}

fn is_set(weight: Option<u16>) -> bool {
    weight.is_some_and(|weight| weight != 0)
}

/// Kernels with the BFQ scheduler and without CFQ (since 5.0) have only the files with `bfq` in their names.
fn v1_weights(table: &mut Table<'_>, block_io: &LinuxBlockIo) -> Result<()> {
    let bfq = |file: &str, value: &str| Absent::Instead {
        file: file.to_owned(),
        value: value.to_owned(),
    };
    if let Some(weight) = weight(&format!("{FIELD}.weight"), block_io.weight())? {
        let value = weight.to_string();
        let write = Write::v1("blkio", "blkio.weight", &value, &format!("{FIELD}.weight"));
        table.push(write.absent(bfq("blkio.bfq.weight", &value)));
    }
    if let Some(leaf) = weight(&format!("{FIELD}.leafWeight"), block_io.leaf_weight())? {
        table.push(Write::v1(
            "blkio",
            "blkio.leaf_weight",
            leaf,
            &format!("{FIELD}.leafWeight"),
        ));
    }
    for (position, device) in block_io.weight_device().iter().flatten().enumerate() {
        let origin = format!("{FIELD}.weightDevice[{position}]");
        let number = device_number(&origin, device.major(), device.minor())?;
        if let Some(weight) = weight(&format!("{origin}.weight"), device.weight())? {
            let value = format!("{number} {weight}");
            let write = Write::v1("blkio", "blkio.weight_device", &value, &origin);
            table.push(write.absent(bfq("blkio.bfq.weight_device", &value)));
        }
        if let Some(leaf) = weight(&format!("{origin}.leafWeight"), device.leaf_weight())? {
            let value = format!("{number} {leaf}");
            table.push(Write::v1("blkio", "blkio.leaf_weight_device", value, &origin));
        }
    }
    Ok(())
}

/// BFQ keeps the range of version 1; io.weight (of io.cost) has another, so the value is converted for it.
fn v2_weights(table: &mut Table<'_>, block_io: &LinuxBlockIo) -> Result<()> {
    let other = |value: String| Absent::Instead {
        file: "io.weight".to_owned(),
        value,
    };
    let no_leaf = |origin: String, leaf: Option<u16>| match is_set(leaf) {
        true => Err(
            Error::new(ErrorKind::Unsupported, "cannot set leaf_weight with cgroup v2").with_field(origin),
        ),
        false => Ok(()),
    };
    no_leaf(format!("{FIELD}.leafWeight"), block_io.leaf_weight())?;
    if let Some(weight) = weight(&format!("{FIELD}.weight"), block_io.weight())? {
        let write = Write::v2("io", "io.bfq.weight", weight, &format!("{FIELD}.weight"));
        table.push(write.absent(other(io_weight(weight).to_string())));
    }
    for (position, device) in block_io.weight_device().iter().flatten().enumerate() {
        let origin = format!("{FIELD}.weightDevice[{position}]");
        no_leaf(format!("{origin}.leafWeight"), device.leaf_weight())?;
        let number = device_number(&origin, device.major(), device.minor())?;
        if let Some(weight) = weight(&format!("{origin}.weight"), device.weight())? {
            let write = Write::v2("io", "io.bfq.weight", format!("{number} {weight}"), &origin);
            table.push(write.absent(other(format!("{number} {}", io_weight(weight)))));
        }
    }
    Ok(())
}

/// 10 to 1000 onto 1 to 10000, in a straight line.
fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight) - 10) * 9999 / 990
}

fn weight(origin: &str, weight: Option<u16>) -> Result<Option<u16>> {
    match weight {
        None | Some(0) => Ok(None),
        Some(weight) if WEIGHTS.contains(&weight) => Ok(Some(weight)),
        Some(weight) => Err(Error::spec(
            origin,
            format!("{weight}: 10 to 1000 is allowed, and 0 for none"),
        )),
    }
}

/// One of the four lists of limits for devices.
struct Throttle<'a> {
    field: &'static str,
    v1_file: &'static str,
    v2_key: &'static str,
    devices: &'a [LinuxThrottleDevice],
}

fn throttle_lists(block_io: &LinuxBlockIo) -> [Throttle<'_>; 4] {
    let lists = [
        (
            "throttleReadBpsDevice",
            "read_bps_device",
            "rbps",
            block_io.throttle_read_bps_device(),
        ),
        (
            "throttleWriteBpsDevice",
            "write_bps_device",
            "wbps",
            block_io.throttle_write_bps_device(),
        ),
        (
            "throttleReadIOPSDevice",
            "read_iops_device",
            "riops",
            block_io.throttle_read_iops_device(),
        ),
        (
            "throttleWriteIOPSDevice",
            "write_iops_device",
            "wiops",
            block_io.throttle_write_iops_device(),
        ),
    ];
    lists.map(|(field, v1_file, v2_key, devices)| {
        let devices = devices.as_deref().unwrap_or_default();
        Throttle {
            field,
            v1_file,
            v2_key,
            devices,
        }
    })
}

fn throttles(table: &mut Table<'_>, block_io: &LinuxBlockIo, version: Version) -> Result<()> {
    for Throttle {
        field,
        v1_file,
        v2_key,
        devices,
    } in throttle_lists(block_io)
    {
        for (position, device) in devices.iter().enumerate() {
            let origin = format!("{FIELD}.{field}[{position}]");
            let number = device_number(&origin, device.major(), device.minor())?;
            table.push(match version {
                Version::V1 => {
                    let file = format!("blkio.throttle.{v1_file}");
                    Write::v1("blkio", &file, format!("{number} {}", device.rate()), &origin)
                }
                Version::V2 => {
                    // 0 lifts the limit in version 1; version 2 answers ERANGE to it and has a word for it.
                    let rate = if device.rate() == 0 {
                        "max".to_owned()
                    } else {
                        device.rate().to_string()
                    };
                    Write::v2("io", "io.max", format!("{number} {v2_key}={rate}"), &origin)
                }
            });
        }
    }
    Ok(())
}

fn device_number(origin: &str, major: i64, minor: i64) -> Result<String> {
    if major < 0 || minor < 0 {
        return Err(Error::spec(
            origin,
            format!("{major}:{minor}: the numbers of a device are not negative"),
        ));
    }
    Ok(format!("{major}:{minor}"))
}
