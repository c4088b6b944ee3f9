//! Statistics of version 2, in the terms of version 1 where engines expect those.

use super::files::Files;
use super::{BlockIo, BlockIoEntry, Hugetlb, MemoryEntry, Pids, Stats, v1};
use crate::error::Result;

const NANOSECONDS_IN_MICROSECOND: u64 = 1000;

/// Fills in what the unified group counts. `taken`: a controller (by its name in version 1) that a hierarchy of version
/// 1 has, and whose numbers are there.
pub(super) fn fill(stats: &mut Stats, files: &Files<'_>, taken: impl Fn(&str) -> bool) -> Result<()> {
    if !taken("cpu") && !taken("cpuacct") {
        cpu(stats, files)?;
    }
    if !taken("memory") {
        memory(stats, files)?;
    }
    if !taken("pids") {
        stats.pids = pids(files)?;
    }
    if !taken("blkio") {
        let text = files.text("io.stat")?.unwrap_or_default();
        io(&mut stats.blkio, &text).ok_or_else(|| files.odd("io.stat", &text))?;
    }
    if !taken("hugetlb") {
        hugetlb(stats, files)?;
    }
    stats.cpu.psi = files.pressure("cpu.pressure")?;
    stats.memory.psi = files.pressure("memory.pressure")?;
    stats.blkio.psi = files.pressure("io.pressure")?;
    Ok(())
}

/// cpu.stat is there without the controller, then with the times alone.
fn cpu(stats: &mut Stats, files: &Files<'_>) -> Result<()> {
    let (usage, throttling) = (&mut stats.cpu.usage, &mut stats.cpu.throttling);
    for (key, value) in files.pairs("cpu.stat")? {
        match key.as_str() {
            "usage_usec" => usage.total = value * NANOSECONDS_IN_MICROSECOND,
            "user_usec" => usage.user = value * NANOSECONDS_IN_MICROSECOND,
            "system_usec" => usage.kernel = value * NANOSECONDS_IN_MICROSECOND,
            "nr_periods" => throttling.periods = value,
            "nr_throttled" => throttling.throttled_periods = value,
            "throttled_usec" => throttling.throttled_time = value * NANOSECONDS_IN_MICROSECOND,
            _ => {}
        }
    }
    Ok(())
}

/// Swap alone is added to memory: version 1 counts them together.
fn memory(stats: &mut Stats, files: &Files<'_>) -> Result<()> {
    let memory = &mut stats.memory;
    memory.raw = files.pairs("memory.stat")?.into_iter().collect();
    memory.cache = memory.raw.get("file").copied().unwrap_or(0);
    memory.usage = MemoryEntry {
        limit: files.number_or_zero("memory.max")?,
        usage: files.number_or_zero("memory.current")?,
        max: files.number_or_zero("memory.peak")?,
        failcnt: 0,
    };
    memory.swap = MemoryEntry {
        limit: files
            .number_or_zero("memory.swap.max")?
            .saturating_add(memory.usage.limit),
        usage: files.number_or_zero("memory.swap.current")? + memory.usage.usage,
        // The two had their peaks at different times.
        max: 0,
        failcnt: 0,
    };
    Ok(())
}

/// Without the controller the list of processes tells.
fn pids(files: &Files<'_>) -> Result<Pids> {
    if files.number("pids.current")?.is_some() {
        return v1::pids(files);
    }
    let list = match files.text("cgroup.procs")? {
        Some(list) => list,
        None => files.text("cgroup.threads")?.unwrap_or_default(),
    };
    Ok(Pids {
        current: list.lines().count() as u64,
        limit: 0,
    })
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`.
pub(super) fn io(io: &mut BlockIo, text: &str) -> Option<()> {
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else {
            continue;
        };
        let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match name {
                "rbytes" => (&mut io.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut io.io_service_bytes_recursive, "Write"),
                "rios" => (&mut io.io_serviced_recursive, "Read"),
                "wios" => (&mut io.io_serviced_recursive, "Write"),
                _ => continue,
            };
            list.push(BlockIoEntry {
                major,
                minor,
                op: op.to_owned(),
                value: value.parse().ok()?,
            });
        }
    }
    Some(())
}

fn hugetlb(stats: &mut Stats, files: &Files<'_>) -> Result<()> {
    for name in files.names()? {
        let size = name
            .strip_prefix("hugetlb.")
            .and_then(|name| name.strip_suffix(".max"));
        let Some(size) = size.filter(|size| !size.contains('.')) else {
            continue;
        };
        let usage = match files.number(&format!("hugetlb.{size}.rsvd.current"))? {
            Some(usage) => usage,
            None => files.number_or_zero(&format!("hugetlb.{size}.current"))?,
        };
        let entry = Hugetlb {
            usage,
            max: 0,
            failcnt: files.value_of(&format!("hugetlb.{size}.events"), "max")?,
        };
        stats.hugetlb.insert(size.to_owned(), entry);
    }
    Ok(())
}
