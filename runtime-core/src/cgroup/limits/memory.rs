//! linux.resources.memory to writes.

use oci_spec::runtime::LinuxMemory;

use super::{Absent, Guard, Table, Version, Write};
use crate::error::{Error, ErrorKind, Result};

const LIMIT: &str = "linux.resources.memory.limit";
const SWAP: &str = "linux.resources.memory.swap";
const RESERVATION: &str = "linux.resources.memory.reservation";
const SWAPPINESS: &str = "linux.resources.memory.swappiness";
const DISABLE_OOM: &str = "linux.resources.memory.disableOOMKiller";
const HIERARCHY: &str = "linux.resources.memory.useHierarchy";

/// No limit, in the words of the configuration.
const UNLIMITED: i64 = -1;

pub(super) fn memory(table: &mut Table<'_>, memory: &LinuxMemory) -> Result<()> {
    obsolete(table, memory);
    let limit = size(LIMIT, memory.limit())?;
    let swap = size(SWAP, memory.swap())?;
    let reservation = size(RESERVATION, memory.reservation())?;
    if let (Some(limit @ 1..), Some(swap @ 1..)) = (limit, swap)
        && swap < limit
    {
        let message = format!("{swap}: memory+swap limit should be >= memory limit, which is {limit}");
        return Err(Error::spec(SWAP, message));
    }
    // u64::MAX is the -1 of callers that have a signed number in mind.
    let swappiness = memory.swappiness().filter(|value| *value != u64::MAX);
    let disable_oom = memory.disable_oom_killer().unwrap_or(false);
    let used = [
        (LIMIT, limit.is_some()),
        (SWAP, swap.is_some()),
        (RESERVATION, reservation.is_some()),
        (SWAPPINESS, swappiness.is_some()),
        (DISABLE_OOM, disable_oom),
    ];
    let Some((origin, _)) = used.into_iter().find(|(_, used)| *used) else {
        return Ok(());
    };
    match table.version("memory", "memory", origin)? {
        Version::V1 => {
            v1(table, limit, swap);
            if let Some(value) = reservation {
                table.push(Write::v1(
                    "memory",
                    "memory.soft_limit_in_bytes",
                    value,
                    RESERVATION,
                ));
            }
            v1_behaviour(table, disable_oom, swappiness)
        }
        Version::V2 => {
            v1_only(table, disable_oom, swappiness)?;
            v2(table, limit, swap, memory.check_before_update().unwrap_or(false))?;
            if let Some(value) = reservation {
                table.push(Write::v2("memory", "memory.low", or_max(value), RESERVATION));
            }
            Ok(())
        }
    }
}

/// What no supported kernel has any more (and runc ignores too).
fn obsolete(table: &mut Table<'_>, memory: &LinuxMemory) {
    #[allow(deprecated, reason = "the field is read to tell that it has no effect")]
    let kernel = memory.kernel();
    if kernel.is_some_and(|value| value != 0) {
        table.warn(
            "linux.resources.memory.kernel",
            "ignored, kernel memory has no limit of its own any more",
        );
    }
    if memory.kernel_tcp().is_some_and(|value| value != 0) {
        table.warn(
            "linux.resources.memory.kernelTCP",
            "ignored, this limit is obsolete",
        );
    }
    if memory.use_hierarchy() == Some(false) {
        table.warn(
            HIERARCHY,
            "false is ignored, memory is always counted with that of the children (since 5.11)",
        );
    }
}

/// 0 is "not set", as in every other runtime; -1 is no limit.
fn size(origin: &str, value: Option<i64>) -> Result<Option<i64>> {
    match value {
        None | Some(0) => Ok(None),
        Some(value @ UNLIMITED..) => Ok(Some(value)),
        Some(other) => Err(Error::spec(
            origin,
            format!("{other}: a number of bytes, or -1 for no limit"),
        )),
    }
}

fn or_max(value: i64) -> String {
    if value == UNLIMITED {
        "max".to_owned()
    } else {
        value.to_string()
    }
}

/// The kernel keeps limit <= memory+swap at every moment. A new group has no limits, so the limit goes first; raising
/// both above the present memory+swap answers EINVAL, and then the limit is repeated after the other.
fn v1(table: &mut Table<'_>, limit: Option<i64>, swap: Option<i64>) {
    if let Some(value) = limit {
        table.push(Write::v1("memory", "memory.limit_in_bytes", value, LIMIT).retry());
    }
    match (limit, swap) {
        (_, Some(value)) => table.push(Write::v1("memory", "memory.memsw.limit_in_bytes", value, SWAP)),
        // No limit on memory means none on memory and swap either; kernels without swap accounting lack the file.
        (Some(UNLIMITED), None) => table
            .push(Write::v1("memory", "memory.memsw.limit_in_bytes", UNLIMITED, LIMIT).absent(Absent::Skip)),
        _ => {}
    }
}

fn v1_behaviour(table: &mut Table<'_>, disable_oom: bool, swappiness: Option<u64>) -> Result<()> {
    if disable_oom {
        table.push(Write::v1("memory", "memory.oom_control", 1, DISABLE_OOM));
    }
    match swappiness {
        None => {}
        Some(value @ 0..=100) => table.push(Write::v1("memory", "memory.swappiness", value, SWAPPINESS)),
        Some(value) => {
            let message = format!("invalid memory swappiness value: {value} (valid range is 0-100)");
            return Err(Error::spec(SWAPPINESS, message));
        }
    }
    Ok(())
}

/// Version 2 has neither: the configuration asks for something that would silently not hold.
fn v1_only(table: &mut Table<'_>, disable_oom: bool, swappiness: Option<u64>) -> Result<()> {
    let refuse = |origin, message: &str| Err(Error::new(ErrorKind::Unsupported, message).with_field(origin));
    if disable_oom {
        return refuse(DISABLE_OOM, "cannot disable OOM killer with cgroup v2");
    }
    match swappiness {
        None => Ok(()),
        Some(0) => {
            table.warn(SWAPPINESS, "0 is ignored, cgroup v2 has no swappiness");
            Ok(())
        }
        Some(_) => refuse(SWAPPINESS, "cannot set memory swappiness with cgroup v2"),
    }
}

/// memory.swap.max counts swap alone where the configuration counts memory and swap together.
fn v2(table: &mut Table<'_>, limit: Option<i64>, swap: Option<i64>, check: bool) -> Result<()> {
    let swap_max = match (swap, limit) {
        (None, Some(UNLIMITED)) => Some(("max".to_owned(), LIMIT)),
        (None, _) => None,
        (Some(UNLIMITED), _) => Some(("max".to_owned(), SWAP)),
        (Some(swap), Some(UNLIMITED)) => Some((swap.to_string(), SWAP)),
        (Some(swap), Some(limit)) => Some(((swap - limit).to_string(), SWAP)),
        (Some(_), None) => return Err(Error::spec(SWAP, "unable to set swap limit without memory limit")),
    };
    // The writer tests every condition before its first write, so that a refusal changes nothing.
    let guard = |value: Option<i64>, what: &str| match value {
        Some(value @ 1..) if check => Some(Guard {
            file: "memory.current".to_owned(),
            below: value.unsigned_abs(),
            what: what.to_owned(),
        }),
        _ => None,
    };
    if let Some((value, origin)) = swap_max {
        // Without swap accounting there is no file, and then neither "none" nor "any amount" needs one.
        let absent = if value == "max" || value == "0" {
            Absent::Skip
        } else {
            Absent::Fail
        };
        let write = Write::v2("memory", "memory.swap.max", value, origin).absent(absent);
        table.push(write.guard(guard(swap, "memory+swap limit")));
    }
    if let Some(value) = limit {
        table.push(
            Write::v2("memory", "memory.max", or_max(value), LIMIT).guard(guard(limit, "memory limit")),
        );
    }
    Ok(())
}
