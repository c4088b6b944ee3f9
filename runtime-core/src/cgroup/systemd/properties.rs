//! The table of limits as properties of a unit: the third writer of the same limits.
//!
//! Pure. systemd has to know a limit, or it writes its own idea of it at the next daemon-reload. It knows the usual ones;
//! the others are in the files alone, and those that it knows are written there as well afterwards: it leaves a limit
//! out without a word where the controller is not delegated. Where it can keep a coarser value only, the file gets
//! that one (the CPU quota, in steps of 10 ms a second), so that a reload changes nothing.

use std::fmt;

use serde::Serialize;

use crate::cgroup::limits::{Absent, Version, Write};
use crate::dbus::Value;
use crate::error::{Error, Result};
use crate::spec::Warning;

/// "infinity".
const NO_LIMIT: u64 = u64::MAX;
/// The kernel's period of cpu.max, µs.
const DEFAULT_PERIOD: u64 = 100_000;
/// A second, and systemd's steps of the quota in it: one percent of a CPU. µs.
const SECOND: u128 = 1_000_000;
const STEP: u128 = 10_000;
/// Of version 1, µs.
const CFS_PERIOD: &str = "cpu.cfs_period_us";
/// systemd with `CPUWeight=idle`.
const IDLE_SINCE: u32 = 252;
/// systemd with `MemoryZSwapMax=`.
const ZSWAP_SINCE: u32 = 253;
/// The most CPUs or memory nodes of a list.
const MAX_CPUS: u32 = 1 << 16;

/// A property of a unit, systemd.resource-control(5).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Property {
    /// As `MemoryMax`.
    pub name: String,
    /// Its value.
    pub value: Value,
    /// The field of the configuration.
    #[serde(skip)]
    pub origin: String,
}

/// As `NAME=VALUE`.
impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

impl Property {
    pub(super) fn new(name: &str, value: Value, origin: &str) -> Self {
        Self {
            name: name.to_owned(),
            value,
            origin: origin.to_owned(),
        }
    }

    /// The property of a unit that nobody gave one.
    pub(crate) fn unset(&self) -> Self {
        let value = match self.name.as_str() {
            "MemoryLow" | "MemoryMin" => Value::U64(0),
            "AllowedCPUs" | "AllowedMemoryNodes" => Value::bytes(&[]),
            _ => Value::U64(NO_LIMIT),
        };
        Self {
            value,
            ..self.clone()
        }
    }
}

/// Limits between systemd and the files.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// What systemd is told.
    pub properties: Vec<Property>,
    /// The writes as they have to be beside that.
    pub writes: Vec<Write>,
    /// What is ignored, with the reason.
    pub warnings: Vec<Warning>,
}

/// Splits the writes. `version` is systemd's.
///
/// # Errors
/// A value of linux.resources.unified is not of the form that its file has.
pub fn properties(writes: &[Write], version: u32) -> Result<Split> {
    let idle = version >= IDLE_SINCE && writes.iter().any(is_idle);
    let mut found: Vec<Property> = Vec::new();
    let mut kept = Vec::with_capacity(writes.len());
    let mut warnings = Vec::new();
    let period = writes.iter().find(|write| write.file == CFS_PERIOD);
    let period = period
        .and_then(|write| write.value.trim().parse().ok())
        .unwrap_or(DEFAULT_PERIOD);
    for write in writes {
        let mut write = write.clone();
        // TasksMax=0 is refused. Neither number lets another process in.
        if write.admits_nobody() {
            write.value = "1".to_owned();
        }
        let set = match write.file.as_str() {
            // Both are one property, and the kernel has no weight for an idle group either.
            "cpu.weight" if idle => {
                let reason = "unable to apply both cpu.idle and a weight with systemd, the weight is ignored";
                warnings.push(Warning::new(write.origin.as_str(), reason));
                continue;
            }
            "cpu.max" => cpu_max(&mut write)?,
            _ if write.version == Version::V1 => v1(&mut write, period),
            _ => one(&write, version)?,
        };
        for (name, value) in set {
            // The last one counts, as in the file.
            found.retain(|earlier| earlier.name != name);
            found.push(Property::new(name, value, &write.origin));
        }
        kept.push(write);
    }
    Ok(Split {
        properties: found,
        writes: kept,
        warnings,
    })
}

fn is_idle(write: &Write) -> bool {
    write.file == "cpu.idle" && write.value.trim() == "1"
}

type Set = Vec<(&'static str, Value)>;

fn one(write: &Write, version: u32) -> Result<Set> {
    let value = write.value.trim();
    let amount = |name| Ok(vec![(name, Value::U64(size(write, value)?))]);
    match write.file.as_str() {
        "memory.max" => amount("MemoryMax"),
        "memory.high" => amount("MemoryHigh"),
        "memory.low" => amount("MemoryLow"),
        "memory.min" => amount("MemoryMin"),
        "memory.swap.max" => amount("MemorySwapMax"),
        "memory.zswap.max" if version >= ZSWAP_SINCE => amount("MemoryZSwapMax"),
        // systemd refuses 0, and no process can live with it.
        "pids.max" => Ok(vec![("TasksMax", Value::U64(size(write, value)?.max(1)))]),
        "cpu.weight" => amount("CPUWeight"),
        "cpu.idle" if is_idle(write) && version >= IDLE_SINCE => Ok(vec![("CPUWeight", Value::U64(0))]),
        "cpuset.cpus" => Ok(vec![("AllowedCPUs", mask(write, value)?)]),
        "cpuset.mems" => Ok(vec![("AllowedMemoryNodes", mask(write, value)?)]),
        "io.weight" => Ok(io_weight(value)),
        "io.bfq.weight" => Ok(match &write.absent {
            Absent::Instead { value, .. } => io_weight(value),
            Absent::Fail | Absent::Skip => Vec::new(),
        }),
        _ => Ok(Vec::new()),
    }
}

/// The properties that systemd has for files of version 1. The table has made their values: a number, or -1 for none.
fn v1(write: &mut Write, period: u64) -> Set {
    let value = write.value.trim();
    let amount = match value.parse::<u64>() {
        Ok(number) => number,
        Err(_) if value == "-1" || value == "max" => NO_LIMIT,
        Err(_) => return Vec::new(),
    };
    match write.file.as_str() {
        "memory.limit_in_bytes" => vec![("MemoryLimit", Value::U64(amount))],
        "pids.max" => vec![("TasksMax", Value::U64(amount.max(1)))],
        "cpu.shares" => vec![("CPUShares", Value::U64(amount))],
        CFS_PERIOD => vec![("CPUQuotaPeriodUSec", Value::U64(amount))],
        "cpu.cfs_quota_us" if amount == NO_LIMIT => vec![("CPUQuotaPerSecUSec", Value::U64(NO_LIMIT))],
        "cpu.cfs_quota_us" => {
            let exact = u128::from(amount) * SECOND / u128::from(period.max(1));
            let stepped = exact.next_multiple_of(STEP);
            if stepped != exact {
                write.value = (stepped * u128::from(period) / SECOND).to_string();
            }
            let per_second = stepped.try_into().unwrap_or(NO_LIMIT);
            vec![("CPUQuotaPerSecUSec", Value::U64(per_second))]
        }
        "blkio.weight" | "blkio.bfq.weight" => vec![("BlockIOWeight", Value::U64(amount))],
        _ => Vec::new(),
    }
}

fn malformed(write: &Write, allowed: &str) -> Error {
    let message = format!("{:?} for {}: allowed is {allowed}", write.value, write.file);
    Error::spec(write.origin.clone(), message)
}

/// A number as the kernel reads it, with its letters for powers of 1024, or `max`.
fn size(write: &Write, text: &str) -> Result<u64> {
    if text == "max" {
        return Ok(NO_LIMIT);
    }
    let refuse = || malformed(write, "a number or \"max\"");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(refuse()),
    };
    let number: u64 = digits.parse().map_err(|_| refuse())?;
    number.checked_mul(1 << shift).ok_or_else(refuse)
}

/// Also makes the write what systemd's steps of the quota come to.
fn cpu_max(write: &mut Write) -> Result<Set> {
    let words: Vec<&str> = write.value.split_ascii_whitespace().collect();
    let refuse = || {
        malformed(
            write,
            "\"QUOTA PERIOD\" in microseconds, the quota a number or \"max\"",
        )
    };
    let (quota, period) = match words.as_slice() {
        [quota] => (*quota, DEFAULT_PERIOD),
        [quota, period] => (*quota, period.parse().map_err(|_| refuse())?),
        _ => return Err(refuse()),
    };
    if period == 0 {
        return Err(refuse());
    }
    let mut per_second = NO_LIMIT;
    if quota != "max" {
        let quota: u64 = quota.parse().map_err(|_| refuse())?;
        let exact = u128::from(quota) * SECOND / u128::from(period);
        let stepped = exact.next_multiple_of(STEP);
        per_second = stepped.try_into().map_err(|_| refuse())?;
        if stepped != exact {
            write.value = format!("{} {period}", stepped * u128::from(period) / SECOND);
        }
    }
    Ok(vec![
        ("CPUQuotaPeriodUSec", Value::U64(period)),
        ("CPUQuotaPerSecUSec", Value::U64(per_second)),
    ])
}

/// The weight of all devices; those of single ones are in the file alone.
fn io_weight(value: &str) -> Set {
    let number = value.strip_prefix("default ").unwrap_or(value).trim();
    match number.parse() {
        Ok(weight) => vec![("IOWeight", Value::U64(weight))],
        Err(_) => Vec::new(),
    }
}

/// A list of the kernel (`0-3,8`, `0-31:2/8`) as bits, the lowest first.
fn mask(write: &Write, list: &str) -> Result<Value> {
    let refuse = || malformed(write, "a list like 0-3,7");
    let mut bits: Vec<u8> = Vec::new();
    let parts = list
        .split([',', '\n'])
        .map(str::trim)
        .filter(|part| !part.is_empty());
    for part in parts {
        let (range, (used, group)) = match part.split_once(':') {
            None => (part, (1, 1)),
            Some((range, stride)) => {
                let (used, group) = stride.split_once('/').ok_or_else(refuse)?;
                (
                    range,
                    (
                        number(used).ok_or_else(refuse)?,
                        number(group).ok_or_else(refuse)?,
                    ),
                )
            }
        };
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (
            number(first).ok_or_else(refuse)?,
            number(last).ok_or_else(refuse)?,
        );
        if first > last || group == 0 {
            return Err(refuse());
        }
        for cpu in (first..=last).filter(|cpu| (cpu - first) % group < used) {
            let byte = usize::try_from(cpu / 8).map_err(|_| refuse())?;
            if bits.len() <= byte {
                bits.resize(byte + 1, 0);
            }
            bits[byte] |= 1 << (cpu % 8);
        }
    }
    if bits.is_empty() {
        return Err(refuse());
    }
    Ok(Value::bytes(&bits))
}

fn number(text: &str) -> Option<u32> {
    text.trim().parse().ok().filter(|number| *number < MAX_CPUS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(file: &str, value: &str) -> Write {
        let controller = file.split('.').next().unwrap();
        Write::new(Version::V2, controller, file, value, "field")
    }

    fn shown(writes: &[Write], version: u32) -> (Vec<String>, Vec<String>) {
        let Split {
            properties, writes, ..
        } = properties(writes, version).unwrap();
        (
            properties
                .iter()
                .map(|property| format!("{}={}", property.name, property.value))
                .collect(),
            writes
                .iter()
                .map(|write| format!("{}={}", write.file, write.value))
                .collect(),
        )
    }

    #[test]
    fn each_file_is_a_property() {
        for (file, value, property) in [
            ("memory.max", "67108864", "MemoryMax=uint64 67108864"),
            ("memory.max", "max", "MemoryMax=uint64 18446744073709551615"),
            ("memory.high", "1M", "MemoryHigh=uint64 1048576"),
            ("memory.low", "0", "MemoryLow=uint64 0"),
            ("memory.min", "4k", "MemoryMin=uint64 4096"),
            ("memory.swap.max", "5", "MemorySwapMax=uint64 5"),
            ("memory.zswap.max", "5", "MemoryZSwapMax=uint64 5"),
            ("pids.max", "99", "TasksMax=uint64 99"),
            ("cpu.weight", "100", "CPUWeight=uint64 100"),
            ("cpu.idle", "1", "CPUWeight=uint64 0"),
            ("cpuset.cpus", "0-2,9", "AllowedCPUs=[byte 0x07, byte 0x02]"),
            ("cpuset.cpus", "0-7:2/4", "AllowedCPUs=[byte 0x33]"),
            ("cpuset.mems", "0", "AllowedMemoryNodes=[byte 0x01]"),
            ("io.weight", "default 50", "IOWeight=uint64 50"),
        ] {
            let (properties, writes) = shown(&[write(file, value)], 257);
            assert_eq!(properties, [property]);
            // The file is written as well: it shows whether the limit holds.
            assert_eq!(writes, [format!("{file}={value}")]);
        }
        for (file, value) in [
            ("hugetlb.2MB.max", "0"),
            ("cpu.idle", "0"),
            ("io.weight", "8:0 10"),
            ("io.max", "x"),
        ] {
            assert_eq!(
                shown(&[write(file, value)], 257).0,
                Vec::<String>::new(),
                "{file}"
            );
        }
    }

    #[test]
    fn the_quota_goes_by_steps_and_the_file_follows() {
        for (value, per_second, file) in [
            ("50000 100000", "500000", "50000 100000"),
            ("12345 100000", "130000", "13000 100000"),
            ("1 100000", "10000", "1000 100000"),
            ("max 50000", "18446744073709551615", "max 50000"),
            ("20000", "200000", "20000"),
        ] {
            let (properties, writes) = shown(&[write("cpu.max", value)], 257);
            assert_eq!(properties[1], format!("CPUQuotaPerSecUSec=uint64 {per_second}"));
            assert_eq!(writes, [format!("cpu.max={file}")]);
        }
    }

    #[test]
    fn no_process_at_all_is_one_to_systemd_and_the_file_follows() {
        let (properties, kept) = shown(&[write("pids.max", "0")], 257);
        assert_eq!(properties, ["TasksMax=uint64 1"]);
        assert_eq!(kept, ["pids.max=1"]);
    }

    #[test]
    fn an_idle_group_has_no_weight() {
        let writes = [write("cpu.idle", "1"), write("cpu.weight", "50")];
        let (properties, kept) = shown(&writes, 257);
        assert_eq!(properties, ["CPUWeight=uint64 0"]);
        assert_eq!(kept, ["cpu.idle=1"]);
        assert_eq!(super::properties(&writes, 257).unwrap().warnings.len(), 1);
        let (properties, kept) = shown(&writes, 251);
        assert_eq!(properties, ["CPUWeight=uint64 50"]);
        assert_eq!(kept.len(), 2);
    }

    #[test]
    fn files_of_version_1_have_properties_of_their_own() {
        let v1 = |file: &str, value: &str| Write::new(Version::V1, "x", file, value, "field");
        for (file, value, property) in [
            ("memory.limit_in_bytes", "67108864", "MemoryLimit=uint64 67108864"),
            (
                "memory.limit_in_bytes",
                "-1",
                "MemoryLimit=uint64 18446744073709551615",
            ),
            ("cpu.shares", "512", "CPUShares=uint64 512"),
            ("pids.max", "max", "TasksMax=uint64 18446744073709551615"),
            ("blkio.weight", "500", "BlockIOWeight=uint64 500"),
        ] {
            let (properties, writes) = shown(&[v1(file, value)], 252);
            assert_eq!(properties, [property]);
            assert_eq!(writes, [format!("{file}={value}")]);
        }
        assert!(
            shown(&[v1("cpuset.cpus", "0"), v1("freezer.state", "x")], 252)
                .0
                .is_empty()
        );
        // In steps of a hundredth of a CPU, with the period that comes with it, in whatever order.
        let (properties, writes) = shown(&[v1("cpu.cfs_quota_us", "12345"), v1(CFS_PERIOD, "50000")], 252);
        assert_eq!(
            properties,
            [
                "CPUQuotaPerSecUSec=uint64 250000",
                "CPUQuotaPeriodUSec=uint64 50000"
            ]
        );
        assert_eq!(writes, ["cpu.cfs_quota_us=12500", "cpu.cfs_period_us=50000"]);
    }

    #[test]
    fn the_last_value_counts() {
        let writes = [write("memory.max", "1"), write("memory.max", "2")];
        assert_eq!(shown(&writes, 257).0, ["MemoryMax=uint64 2"]);
    }

    #[test]
    fn what_the_file_would_refuse_is_refused() {
        for (file, value) in [
            ("memory.max", "lots"),
            ("memory.max", "1x"),
            ("memory.max", "99999999999999999999"),
            ("memory.max", "99999999999T"),
            ("cpu.max", ""),
            ("cpu.max", "1 2 3"),
            ("cpu.max", "1 0"),
            ("cpu.max", "-1 100000"),
            ("cpuset.cpus", ""),
            ("cpuset.cpus", "3-1"),
            ("cpuset.cpus", "0-99999999"),
            ("cpuset.cpus", "0-7:1/0"),
        ] {
            let error = properties(&[write(file, value)], 257).unwrap_err();
            assert_eq!(error.field(), Some("field"), "{file}={value}");
        }
    }
}
