//! Statistics of version 1: one hierarchy at a time, told which controllers it has.

use super::files::Files;
use super::{BlockIo, BlockIoEntry, CpuSet, Hugetlb, MemoryEntry, Pids, Stats};
use crate::error::Result;

/// cpuacct.stat counts in clock ticks of user space, of which there are 100 a second on every architecture of ours.
const NANOSECONDS_IN_TICK: u64 = 10_000_000;

/// Fills in what the controllers of one hierarchy count.
pub(super) fn fill(stats: &mut Stats, files: &Files<'_>, has: impl Fn(&str) -> bool) -> Result<()> {
    if has("cpuacct") {
        cpuacct(stats, files)?;
    }
    if has("cpu") {
        let throttling = &mut stats.cpu.throttling;
        for (key, value) in files.pairs("cpu.stat")? {
            match key.as_str() {
                "nr_periods" => throttling.periods = value,
                "nr_throttled" => throttling.throttled_periods = value,
                "throttled_time" => throttling.throttled_time = value,
                _ => {}
            }
        }
    }
    if has("cpuset") {
        stats.cpuset = cpuset(files)?;
    }
    if has("memory") {
        memory(stats, files)?;
    }
    if has("pids") {
        stats.pids = pids(files)?;
    }
    if has("blkio") {
        block_io(&mut stats.blkio, files)?;
    }
    if has("hugetlb") {
        hugetlb(stats, files)?;
    }
    Ok(())
}

fn cpuacct(stats: &mut Stats, files: &Files<'_>) -> Result<()> {
    let usage = &mut stats.cpu.usage;
    usage.total = files.number_or_zero("cpuacct.usage")?;
    usage.percpu = files.numbers("cpuacct.usage_percpu")?;
    for (key, ticks) in files.pairs("cpuacct.stat")? {
        match key.as_str() {
            "user" => usage.user = ticks * NANOSECONDS_IN_TICK,
            "system" => usage.kernel = ticks * NANOSECONDS_IN_TICK,
            _ => {}
        }
    }
    // A line of titles, then processor, user and system, in nanoseconds.
    let all = files.text("cpuacct.usage_all")?.unwrap_or_default();
    for line in all.lines().skip(1) {
        let numbers: Vec<u64> = line
            .split_ascii_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
        let [_, user, kernel, ..] = numbers[..] else {
            return Err(files.odd("cpuacct.usage_all", line));
        };
        usage.percpu_user.push(user);
        usage.percpu_kernel.push(kernel);
    }
    Ok(())
}

fn cpuset(files: &Files<'_>) -> Result<CpuSet> {
    let number = |name: &str| files.number_or_zero(&format!("cpuset.{name}"));
    let level = files.text("cpuset.sched_relax_domain_level")?.unwrap_or_default();
    Ok(CpuSet {
        cpus: files.list("cpuset.cpus")?,
        cpu_exclusive: number("cpu_exclusive")?,
        mems: files.list("cpuset.mems")?,
        mem_hardwall: number("mem_hardwall")?,
        mem_exclusive: number("mem_exclusive")?,
        memory_migrate: number("memory_migrate")?,
        memory_spread_page: number("memory_spread_page")?,
        memory_spread_slab: number("memory_spread_slab")?,
        memory_pressure: number("memory_pressure")?,
        sched_load_balance: number("sched_load_balance")?,
        sched_relax_domain_level: level.trim().parse().unwrap_or(0),
    })
}

fn memory(stats: &mut Stats, files: &Files<'_>) -> Result<()> {
    let memory = &mut stats.memory;
    memory.raw = files.pairs("memory.stat")?.into_iter().collect();
    memory.cache = memory.raw.get("cache").copied().unwrap_or(0);
    let entry = |name: &str| -> Result<MemoryEntry> {
        let number = |what: &str| files.number_or_zero(&format!("memory.{name}{what}"));
        Ok(MemoryEntry {
            limit: number("limit_in_bytes")?,
            usage: number("usage_in_bytes")?,
            max: number("max_usage_in_bytes")?,
            failcnt: number("failcnt")?,
        })
    };
    memory.usage = entry("")?;
    memory.swap = entry("memsw.")?;
    memory.kernel = entry("kmem.")?;
    memory.kernel_tcp = entry("kmem.tcp.")?;
    Ok(())
}

/// The same files in both versions.
pub(super) fn pids(files: &Files<'_>) -> Result<Pids> {
    Ok(Pids {
        current: files.number_or_zero("pids.current")?,
        limit: match files.number_or_zero("pids.max")? {
            u64::MAX => 0,
            limit => limit,
        },
    })
}

type BlockIoFile = (&'static str, fn(&mut BlockIo) -> &mut Vec<BlockIoEntry>);

/// Sets of files, the best first: those of the BFQ scheduler with statistics for debugging, without them, and those that
/// are always there. The first file decides whether a set holds anything.
const BLOCK_IO: [&[BlockIoFile]; 4] = [
    &[
        ("blkio.bfq.sectors_recursive", |io| &mut io.sectors_recursive),
        ("blkio.bfq.io_service_time_recursive", |io| {
            &mut io.io_service_time_recursive
        }),
        ("blkio.bfq.io_wait_time_recursive", |io| {
            &mut io.io_wait_time_recursive
        }),
        ("blkio.bfq.io_merged_recursive", |io| &mut io.io_merged_recursive),
        ("blkio.bfq.io_queued_recursive", |io| &mut io.io_queued_recursive),
        ("blkio.bfq.time_recursive", |io| &mut io.io_time_recursive),
        ("blkio.bfq.io_serviced_recursive", |io| {
            &mut io.io_serviced_recursive
        }),
        ("blkio.bfq.io_service_bytes_recursive", |io| {
            &mut io.io_service_bytes_recursive
        }),
    ],
    &[
        ("blkio.bfq.io_serviced_recursive", |io| {
            &mut io.io_serviced_recursive
        }),
        ("blkio.bfq.io_service_bytes_recursive", |io| {
            &mut io.io_service_bytes_recursive
        }),
    ],
    &[
        ("blkio.throttle.io_serviced_recursive", |io| {
            &mut io.io_serviced_recursive
        }),
        ("blkio.throttle.io_service_bytes_recursive", |io| {
            &mut io.io_service_bytes_recursive
        }),
    ],
    &[
        ("blkio.throttle.io_serviced", |io| &mut io.io_serviced_recursive),
        ("blkio.throttle.io_service_bytes", |io| {
            &mut io.io_service_bytes_recursive
        }),
    ],
];

fn block_io(io: &mut BlockIo, files: &Files<'_>) -> Result<()> {
    for set in BLOCK_IO {
        for (position, (file, field)) in set.iter().enumerate() {
            let text = files.text(file)?.unwrap_or_default();
            let entries = entries(&text).ok_or_else(|| files.odd(file, &text))?;
            if position == 0 && entries.is_empty() {
                break;
            }
            *field(io) = entries;
            if position + 1 == set.len() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// `8:0 Read 4096` or `8:0 4096`; the line `Total 4096` sums them up and says nothing new.
pub(super) fn entries(text: &str) -> Option<Vec<BlockIoEntry>> {
    let mut entries = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with("Total ")) {
        let mut words = line.split_ascii_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let (op, value) = match (words.next()?, words.next()) {
            (op, Some(value)) => (op, value),
            (value, None) => ("", value),
        };
        entries.push(BlockIoEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_owned(),
            value: value.parse().ok()?,
        });
    }
    Some(entries)
}

/// Where the kernel counts reservations (since 5.7) these, as they are what a limit is met by first.
fn hugetlb(stats: &mut Stats, files: &Files<'_>) -> Result<()> {
    for name in files.names()? {
        let size = name
            .strip_prefix("hugetlb.")
            .and_then(|name| name.strip_suffix(".limit_in_bytes"));
        let Some(size) = size.filter(|size| !size.contains('.')) else {
            continue;
        };
        let (reserved, faulted) = (format!("hugetlb.{size}.rsvd"), format!("hugetlb.{size}"));
        let prefix = match files.number(&format!("{reserved}.usage_in_bytes"))? {
            Some(_) => reserved,
            None => faulted,
        };
        let entry = Hugetlb {
            usage: files.number_or_zero(&format!("{prefix}.usage_in_bytes"))?,
            max: files.number_or_zero(&format!("{prefix}.max_usage_in_bytes"))?,
            failcnt: files.number_or_zero(&format!("{prefix}.failcnt"))?,
        };
        stats.hugetlb.insert(size.to_owned(), entry);
    }
    Ok(())
}
