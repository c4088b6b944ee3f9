//! io.containerd.cgroups.v2.Metrics.

use std::collections::BTreeMap;

use runtime_core::Stats;
use runtime_core::cgroup::stats::{self, BlockIoEntry, Pressure, PressureTimes};

use crate::proto::cgroup_v2::{
    CpuStat, HugeTlbStat, IoEntry, IoStat, MemoryStat, Metrics, PidsStat, PsiData, PsiStats,
};

/// Nanoseconds in a microsecond.
const MICRO: u64 = 1000;

pub(super) fn of(stats: &Stats) -> Metrics {
    let (usage, throttling) = (&stats.cpu.usage, &stats.cpu.throttling);
    Metrics {
        pids: Some(PidsStat {
            current: stats.pids.current,
            limit: if stats.pids.limit == 0 {
                u64::MAX
            } else {
                stats.pids.limit
            },
        }),
        cpu: Some(CpuStat {
            usage_usec: usage.total / MICRO,
            user_usec: usage.user / MICRO,
            system_usec: usage.kernel / MICRO,
            nr_periods: throttling.periods,
            nr_throttled: throttling.throttled_periods,
            throttled_usec: throttling.throttled_time / MICRO,
            psi: stats.cpu.psi.as_ref().map(pressure),
            ..CpuStat::default()
        }),
        memory: Some(memory(&stats.memory)),
        io: Some(IoStat {
            usage: io(&stats.blkio),
            psi: stats.blkio.psi.as_ref().map(pressure),
        }),
        hugetlb: stats
            .hugetlb
            .iter()
            .map(|(size, pages)| HugeTlbStat {
                current: pages.usage,
                max: pages.max,
                pagesize: size.clone(),
                failcnt: pages.failcnt,
            })
            .collect(),
        memory_events: None,
    }
}

fn times(times: &PressureTimes) -> PsiData {
    PsiData {
        avg10: times.avg10,
        avg60: times.avg60,
        avg300: times.avg300,
        total: times.total,
    }
}

fn pressure(pressure: &Pressure) -> PsiStats {
    PsiStats {
        some: Some(times(&pressure.some)),
        full: Some(times(&pressure.full)),
    }
}

/// The library counts memory and swap together; here swap stands alone. No limit stays none.
fn swap_alone(both: u64, memory: u64) -> u64 {
    if both == u64::MAX || memory == u64::MAX {
        both
    } else {
        both.saturating_sub(memory)
    }
}

fn memory(memory: &stats::Memory) -> MemoryStat {
    let raw = |name: &str| memory.raw.get(name).copied().unwrap_or(0);
    MemoryStat {
        anon: raw("anon"),
        file: raw("file"),
        kernel_stack: raw("kernel_stack"),
        slab: raw("slab"),
        sock: raw("sock"),
        shmem: raw("shmem"),
        file_mapped: raw("file_mapped"),
        file_dirty: raw("file_dirty"),
        file_writeback: raw("file_writeback"),
        anon_thp: raw("anon_thp"),
        inactive_anon: raw("inactive_anon"),
        active_anon: raw("active_anon"),
        inactive_file: raw("inactive_file"),
        active_file: raw("active_file"),
        unevictable: raw("unevictable"),
        slab_reclaimable: raw("slab_reclaimable"),
        slab_unreclaimable: raw("slab_unreclaimable"),
        pgfault: raw("pgfault"),
        pgmajfault: raw("pgmajfault"),
        workingset_refault: raw("workingset_refault"),
        workingset_activate: raw("workingset_activate"),
        workingset_nodereclaim: raw("workingset_nodereclaim"),
        pgrefill: raw("pgrefill"),
        pgscan: raw("pgscan"),
        pgsteal: raw("pgsteal"),
        pgactivate: raw("pgactivate"),
        pgdeactivate: raw("pgdeactivate"),
        pglazyfree: raw("pglazyfree"),
        pglazyfreed: raw("pglazyfreed"),
        thp_fault_alloc: raw("thp_fault_alloc"),
        thp_collapse_alloc: raw("thp_collapse_alloc"),
        usage: memory.usage.usage,
        usage_limit: memory.usage.limit,
        swap_usage: memory.swap.usage.saturating_sub(memory.usage.usage),
        swap_limit: swap_alone(memory.swap.limit, memory.usage.limit),
        max_usage: memory.usage.max,
        swap_max_usage: 0,
        psi: memory.psi.as_ref().map(pressure),
    }
}

/// One entry for each device.
fn io(io: &stats::BlockIo) -> Vec<IoEntry> {
    let mut devices: BTreeMap<(u64, u64), IoEntry> = BTreeMap::new();
    let mut add = |entries: &[BlockIoEntry], set: fn(&mut IoEntry, &str, u64)| {
        for entry in entries {
            let device = devices
                .entry((entry.major, entry.minor))
                .or_insert_with(|| IoEntry {
                    major: entry.major,
                    minor: entry.minor,
                    ..IoEntry::default()
                });
            set(device, &entry.op, entry.value);
        }
    };
    add(&io.io_service_bytes_recursive, |device, op, value| match op {
        "Read" => device.rbytes = value,
        "Write" => device.wbytes = value,
        _ => {}
    });
    add(&io.io_serviced_recursive, |device, op, value| match op {
        "Read" => device.rios = value,
        "Write" => device.wios = value,
        _ => {}
    });
    devices.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_the_units_and_places_of_version_2() {
        let mut stats = Stats::default();
        stats.cpu.usage.total = 5_000_000;
        stats.memory.usage.limit = 100;
        stats.memory.swap.limit = 130;
        let entry = |op: &str, value| {
            let mut entry = BlockIoEntry::default();
            (entry.major, entry.minor) = (8, 1);
            (entry.op, entry.value) = (op.to_owned(), value);
            entry
        };
        stats.blkio.io_service_bytes_recursive = vec![entry("Read", 10), entry("Write", 20)];
        stats.blkio.io_serviced_recursive = vec![entry("Read", 1), entry("Write", 2)];
        let metrics = of(&stats);
        assert_eq!(metrics.cpu.unwrap().usage_usec, 5000);
        assert_eq!(metrics.memory.unwrap().swap_limit, 30);
        let io = metrics.io.unwrap().usage;
        assert_eq!(io.len(), 1);
        assert_eq!(
            (io[0].rbytes, io[0].wbytes, io[0].rios, io[0].wios),
            (10, 20, 1, 2)
        );
        assert_eq!(metrics.pids.unwrap().limit, u64::MAX);
    }
}
