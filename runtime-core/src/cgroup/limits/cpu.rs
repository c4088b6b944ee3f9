//! linux.resources.cpu to writes for the controllers cpu and cpuset.

use oci_spec::runtime::LinuxCpu;

use super::{Absent, Table, Version, Write};
use crate::error::{Error, ErrorKind, Result};

const SHARES: &str = "linux.resources.cpu.shares";
const QUOTA: &str = "linux.resources.cpu.quota";
const PERIOD: &str = "linux.resources.cpu.period";
const BURST: &str = "linux.resources.cpu.burst";
const IDLE: &str = "linux.resources.cpu.idle";
const RT_RUNTIME: &str = "linux.resources.cpu.realtimeRuntime";
const RT_PERIOD: &str = "linux.resources.cpu.realtimePeriod";

/// The range that the kernel keeps cpu.shares in, without telling the writer.
const SHARES_RANGE: std::ops::RangeInclusive<u64> = 2..=262_144;

/// The kernel's default period in microseconds, for a quota without one.
const DEFAULT_PERIOD: u64 = 100_000;

/// The weight of version 2 for the shares of version 1.
///
/// The curve is quadratic in the logarithm and meets both ends and the default: 2 is 1, 1024 is 100, 262144 is 10000. It
/// is the formula of runc since 1.3.2 and crun since 1.23; the older straight line gave a container with the default
/// shares a weight of 39 against the 100 of everything else on the host. No shares (0) stay no weight.
pub fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0 => 0,
        1..=2 => 1,
        3..262_144 => {
            #[allow(clippy::cast_precision_loss, reason = "below 2^18, exact in a double")]
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the curve lies between 1 and 10000"
            )]
            let weight = 10f64.powf(exponent).ceil() as u64;
            weight
        }
        262_144.. => 10_000,
    }
}

/// CPUs and memory nodes. They come first: version 1 takes no process before both are set.
pub(super) fn cpuset(table: &mut Table<'_>, cpu: &LinuxCpu) -> Result<()> {
    let lists = [
        ("cpuset.cpus", cpu.cpus(), "linux.resources.cpu.cpus"),
        ("cpuset.mems", cpu.mems(), "linux.resources.cpu.mems"),
    ];
    for (file, list, origin) in lists {
        let Some(list) = list.as_deref().filter(|list| !list.is_empty()) else {
            continue;
        };
        let allowed = |c: char| c.is_ascii_digit() || matches!(c, ',' | '-' | ' ' | ':' | '/' | '\n');
        if let Some(found) = list.chars().find(|c| !allowed(*c)) {
            return Err(Error::spec(
                origin,
                format!("{found:?} in {list:?}: a list is like 0-3,7"),
            ));
        }
        let version = table.version("cpuset", "cpuset", origin)?;
        table.push(Write::new(version, "cpuset", file, list.trim_end(), origin));
    }
    Ok(())
}

/// Shares, bandwidth, idle and realtime.
pub(super) fn cpu(table: &mut Table<'_>, cpu: &LinuxCpu) -> Result<()> {
    let Some(origin) = first_used(cpu) else {
        return Ok(());
    };
    match table.version("cpu", "cpu", origin)? {
        Version::V1 => v1(table, cpu),
        Version::V2 => v2(table, cpu),
    }
}

/// The first field that leads to a write; it stands for the others when the host lacks the controller.
fn first_used(cpu: &LinuxCpu) -> Option<&'static str> {
    let fields = [
        (SHARES, cpu.shares().is_some_and(|shares| shares != 0)),
        (QUOTA, cpu.quota().is_some_and(|quota| quota != 0)),
        (PERIOD, cpu.period().is_some_and(|period| period != 0)),
        (BURST, cpu.burst().is_some()),
        (IDLE, cpu.idle().is_some()),
        (
            RT_RUNTIME,
            cpu.realtime_runtime().is_some_and(|runtime| runtime != 0),
        ),
        (RT_PERIOD, cpu.realtime_period().is_some_and(|period| period != 0)),
    ];
    fields.into_iter().find(|(_, used)| *used).map(|(field, _)| field)
}

fn v1(table: &mut Table<'_>, cpu: &LinuxCpu) -> Result<()> {
    // Realtime comes first: a process with a realtime policy cannot enter a group without realtime bandwidth.
    if let Some(period) = cpu.realtime_period().filter(|period| *period != 0) {
        table.push(Write::v1("cpu", "cpu.rt_period_us", period, RT_PERIOD).retry());
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|runtime| *runtime != 0) {
        table.push(Write::v1("cpu", "cpu.rt_runtime_us", runtime, RT_RUNTIME));
    }
    let idle = idle(cpu)?;
    if let Some(idle @ 0) = idle {
        table.push(Write::v1("cpu", "cpu.idle", idle, IDLE));
    }
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        // The kernel would move the value into the range and report success.
        if shares < *SHARES_RANGE.start() {
            return Err(Error::spec(
                SHARES,
                format!("{shares}: the minimum allowed cpu-shares is 2"),
            ));
        }
        if shares > *SHARES_RANGE.end() {
            return Err(Error::spec(
                SHARES,
                format!("{shares}: the maximum allowed cpu-shares is 262144"),
            ));
        }
        table.push(Write::v1("cpu", "cpu.shares", shares, SHARES));
    }
    // The kernel tests quota / period against the parent's, and burst against the quota: what is refused on its own may
    // be right once the others are written.
    if let Some(period) = cpu.period().filter(|period| *period != 0) {
        table.push(Write::v1("cpu", "cpu.cfs_period_us", period, PERIOD).retry());
    }
    if let Some(burst) = cpu.burst() {
        table.push(
            Write::v1("cpu", "cpu.cfs_burst_us", burst, BURST)
                .retry()
                .absent(Absent::Skip),
        );
    }
    if let Some(quota) = cpu.quota().filter(|quota| *quota != 0) {
        table.push(Write::v1("cpu", "cpu.cfs_quota_us", quota.max(-1), QUOTA));
    }
    if let Some(idle @ 1..) = idle {
        table.push(Write::v1("cpu", "cpu.idle", idle, IDLE));
    }
    Ok(())
}

fn v2(table: &mut Table<'_>, cpu: &LinuxCpu) -> Result<()> {
    let realtime = [
        (
            RT_RUNTIME,
            cpu.realtime_runtime().is_some_and(|runtime| runtime != 0),
            "realtime runtime",
        ),
        (
            RT_PERIOD,
            cpu.realtime_period().is_some_and(|period| period != 0),
            "realtime period",
        ),
    ];
    if let Some((origin, _, what)) = realtime.into_iter().find(|(_, used, _)| *used) {
        let message = format!("{what} is not supported on cgroup v2");
        return Err(Error::new(ErrorKind::Unsupported, message).with_field(origin));
    }
    let idle = idle(cpu)?;
    if let Some(idle @ 0) = idle {
        table.push(Write::v2("cpu", "cpu.idle", idle, IDLE));
    }
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        table.push(Write::v2("cpu", "cpu.weight", weight_of_shares(shares), SHARES));
    }
    if let Some(idle @ 1..) = idle {
        table.push(Write::v2("cpu", "cpu.idle", idle, IDLE));
    }
    if let Some(burst) = cpu.burst() {
        table.push(Write::v2("cpu", "cpu.max.burst", burst, BURST).retry());
    }
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    if quota.is_some() || period.is_some() {
        // One file for both, and the period cannot be written alone.
        let limit = match quota {
            Some(quota @ 1..) => quota.to_string(),
            _ => "max".to_owned(),
        };
        let origin = if quota.is_some() { QUOTA } else { PERIOD };
        let value = format!("{limit} {}", period.unwrap_or(DEFAULT_PERIOD));
        table.push(Write::v2("cpu", "cpu.max", value, origin));
    }
    Ok(())
}

/// A group that is idle takes no shares (EINVAL): 0 is written before them, and 1 after.
fn idle(cpu: &LinuxCpu) -> Result<Option<i64>> {
    match cpu.idle() {
        None => Ok(None),
        Some(idle @ 0..=1) => Ok(Some(idle)),
        Some(other) => Err(Error::spec(
            IDLE,
            format!("{other}: 0 (not idle) and 1 (idle) are allowed"),
        )),
    }
}
