//! io.containerd.cgroups.v1.Metrics.

use runtime_core::Stats;
use runtime_core::cgroup::stats;

use crate::proto::cgroup_v1::{
    BlkIoEntry, BlkIoStat, CpuStat, CpuUsage, HugetlbStat, MemoryEntry, MemoryStat, Metrics, PidsStat,
    Throttle,
};

pub(super) fn of(stats: &Stats) -> Metrics {
    let (usage, throttling) = (&stats.cpu.usage, &stats.cpu.throttling);
    Metrics {
        hugetlb: stats.hugetlb.iter().map(hugetlb).collect(),
        pids: Some(PidsStat {
            current: stats.pids.current,
            limit: stats.pids.limit,
        }),
        cpu: Some(CpuStat {
            usage: Some(CpuUsage {
                total: usage.total,
                kernel: usage.kernel,
                user: usage.user,
                per_cpu: usage.percpu.clone(),
            }),
            throttling: Some(Throttle {
                periods: throttling.periods,
                throttled_periods: throttling.throttled_periods,
                throttled_time: throttling.throttled_time,
            }),
        }),
        memory: Some(memory(&stats.memory)),
        blkio: Some(block_io(&stats.blkio)),
        memory_oom_control: None,
    }
}

fn hugetlb((size, pages): (&String, &stats::Hugetlb)) -> HugetlbStat {
    HugetlbStat {
        usage: pages.usage,
        max: pages.max,
        failcnt: pages.failcnt,
        pagesize: size.clone(),
    }
}

fn entry(entry: &stats::MemoryEntry) -> MemoryEntry {
    MemoryEntry {
        limit: entry.limit,
        usage: entry.usage,
        max: entry.max,
        failcnt: entry.failcnt,
    }
}

fn memory(memory: &stats::Memory) -> MemoryStat {
    let raw = |name: &str| memory.raw.get(name).copied().unwrap_or(0);
    MemoryStat {
        cache: raw("cache"),
        rss: raw("rss"),
        rss_huge: raw("rss_huge"),
        mapped_file: raw("mapped_file"),
        dirty: raw("dirty"),
        writeback: raw("writeback"),
        pg_pg_in: raw("pgpgin"),
        pg_pg_out: raw("pgpgout"),
        pg_fault: raw("pgfault"),
        pg_maj_fault: raw("pgmajfault"),
        inactive_anon: raw("inactive_anon"),
        active_anon: raw("active_anon"),
        inactive_file: raw("inactive_file"),
        active_file: raw("active_file"),
        unevictable: raw("unevictable"),
        hierarchical_memory_limit: raw("hierarchical_memory_limit"),
        hierarchical_swap_limit: raw("hierarchical_memsw_limit"),
        total_cache: raw("total_cache"),
        total_rss: raw("total_rss"),
        total_rss_huge: raw("total_rss_huge"),
        total_mapped_file: raw("total_mapped_file"),
        total_dirty: raw("total_dirty"),
        total_writeback: raw("total_writeback"),
        total_pg_pg_in: raw("total_pgpgin"),
        total_pg_pg_out: raw("total_pgpgout"),
        total_pg_fault: raw("total_pgfault"),
        total_pg_maj_fault: raw("total_pgmajfault"),
        total_inactive_anon: raw("total_inactive_anon"),
        total_active_anon: raw("total_active_anon"),
        total_inactive_file: raw("total_inactive_file"),
        total_active_file: raw("total_active_file"),
        total_unevictable: raw("total_unevictable"),
        usage: Some(entry(&memory.usage)),
        swap: Some(entry(&memory.swap)),
        kernel: Some(entry(&memory.kernel)),
        kernel_tcp: Some(entry(&memory.kernel_tcp)),
    }
}

fn block_io(io: &stats::BlockIo) -> BlkIoStat {
    let devices = std::fs::read_to_string("/proc/diskstats").unwrap_or_default();
    let entries = |entries: &[stats::BlockIoEntry]| {
        let entry = |entry: &stats::BlockIoEntry| BlkIoEntry {
            op: entry.op.clone(),
            device: device(&devices, entry.major, entry.minor),
            major: entry.major,
            minor: entry.minor,
            value: entry.value,
        };
        entries.iter().map(entry).collect()
    };
    BlkIoStat {
        io_service_bytes_recursive: entries(&io.io_service_bytes_recursive),
        io_serviced_recursive: entries(&io.io_serviced_recursive),
        io_queued_recursive: entries(&io.io_queued_recursive),
        io_service_time_recursive: entries(&io.io_service_time_recursive),
        io_wait_time_recursive: entries(&io.io_wait_time_recursive),
        io_merged_recursive: entries(&io.io_merged_recursive),
        io_time_recursive: entries(&io.io_time_recursive),
        sectors_recursive: entries(&io.sectors_recursive),
    }
}

/// The path of a device by its numbers, from /proc/diskstats; empty where it is not there.
fn device(diskstats: &str, major: u64, minor: u64) -> String {
    let found = diskstats.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let numbers = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let name = words.next()?;
        (numbers == (major, minor)).then(|| format!("/dev/{name}"))
    });
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_raw_values_find_their_places() {
        let mut stats = Stats::default();
        stats.memory.usage.limit = 64 << 20;
        stats.memory.raw.insert("total_inactive_file".to_owned(), 7);
        stats.memory.raw.insert("hierarchical_memsw_limit".to_owned(), 9);
        stats.cpu.usage.total = 11;
        let metrics = of(&stats);
        let memory = metrics.memory.unwrap();
        assert_eq!(memory.usage.unwrap().limit, 64 << 20);
        assert_eq!(
            (memory.total_inactive_file, memory.hierarchical_swap_limit),
            (7, 9)
        );
        assert_eq!(metrics.cpu.unwrap().usage.unwrap().total, 11);
    }

    #[test]
    fn devices_are_named() {
        let text = "   8       0 sda 1 2 3\n 259       1 nvme0n1p1 4 5\n";
        assert_eq!(device(text, 259, 1), "/dev/nvme0n1p1");
        assert_eq!(device(text, 1, 1), "");
    }
}
