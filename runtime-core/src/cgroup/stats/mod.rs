//! What a container uses, as its cgroups count it.
//!
//! The types here are for callers, and their JSON form is that of `runc events`, down to which fields are left out when
//! they are zero: engines decode it with structs of their own. `v1` and `v2` fill them from the files of either version,
//! `files` reads and takes apart. Where both versions are there, each value comes from the hierarchy that has the
//! controller, and pressure from the unified one. A file that this kernel lacks is a value that is not there.

mod files;
mod v1;
mod v2;

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use self::files::Files;
use super::fs::Cgroup;
use crate::error::{Error, ErrorKind, Result};

/// What a container uses.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Processor time.
    pub cpu: Cpu,
    /// Processors and memory nodes; filled by version 1 only.
    pub cpuset: CpuSet,
    /// Memory.
    pub memory: Memory,
    /// Processes and threads.
    pub pids: Pids,
    /// Block devices.
    pub blkio: BlockIo,
    /// Huge pages, by their size: `2MB`.
    pub hugetlb: BTreeMap<String, Hugetlb>,
}

/// Processor time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Cpu {
    /// Time used.
    #[serde(skip_serializing_if = "nothing")]
    pub usage: CpuUsage,
    /// Time that a quota denied.
    #[serde(skip_serializing_if = "nothing")]
    pub throttling: Throttling,
    /// Time lost by waiting for a processor.
    #[serde(skip_serializing_if = "nothing")]
    pub psi: Option<Pressure>,
}

/// Processor time in nanoseconds, since the cgroup was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CpuUsage {
    /// All of it.
    #[serde(skip_serializing_if = "nothing")]
    pub total: u64,
    /// By processor; version 1 only.
    #[serde(skip_serializing_if = "nothing")]
    pub percpu: Vec<u64>,
    /// By processor, in the kernel; version 1 only.
    #[serde(skip_serializing_if = "nothing")]
    pub percpu_kernel: Vec<u64>,
    /// By processor, in programs; version 1 only.
    #[serde(skip_serializing_if = "nothing")]
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// In programs.
    pub user: u64,
}

/// What a CPU quota denied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Throttling {
    /// Periods in which something ran.
    #[serde(skip_serializing_if = "nothing")]
    pub periods: u64,
    /// Periods in which the quota was used up.
    #[serde(skip_serializing_if = "nothing")]
    pub throttled_periods: u64,
    /// How long something had to wait, in nanoseconds.
    #[serde(skip_serializing_if = "nothing")]
    pub throttled_time: u64,
}

/// The settings of the cpuset controller of version 1; see cpuset(7).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "each is the file cpuset.NAME, described in cpuset(7)")]
#[non_exhaustive]
pub struct CpuSet {
    #[serde(skip_serializing_if = "nothing")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "nothing")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Memory {
    /// Page cache.
    #[serde(skip_serializing_if = "nothing")]
    pub cache: u64,
    /// All memory.
    #[serde(skip_serializing_if = "nothing")]
    pub usage: MemoryEntry,
    /// Memory and swap together, in both versions.
    #[serde(skip_serializing_if = "nothing")]
    pub swap: MemoryEntry,
    /// Memory of the kernel; version 1 only.
    #[serde(skip_serializing_if = "nothing")]
    pub kernel: MemoryEntry,
    /// TCP buffers; version 1 only.
    #[serde(rename = "kernelTCP", skip_serializing_if = "nothing")]
    pub kernel_tcp: MemoryEntry,
    /// memory.stat as it is; some values are pages or counts.
    #[serde(skip_serializing_if = "nothing")]
    pub raw: BTreeMap<String, u64>,
    /// Time lost by waiting for memory.
    #[serde(skip_serializing_if = "nothing")]
    pub psi: Option<Pressure>,
}

/// One sort of memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MemoryEntry {
    /// The limit; a huge number where there is none (version 2: `u64::MAX`).
    pub limit: u64,
    /// Used now.
    #[serde(skip_serializing_if = "nothing")]
    pub usage: u64,
    /// Most that was used at once.
    #[serde(skip_serializing_if = "nothing")]
    pub max: u64,
    /// How often the limit was met; version 1 only.
    pub failcnt: u64,
}

/// Processes and threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Pids {
    /// How many there are.
    #[serde(skip_serializing_if = "nothing")]
    pub current: u64,
    /// How many there may be; 0: any number.
    #[serde(skip_serializing_if = "nothing")]
    pub limit: u64,
}

/// Block devices. Version 2 has bytes and operations alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BlockIo {
    /// Bytes.
    #[serde(skip_serializing_if = "nothing")]
    pub io_service_bytes_recursive: Vec<BlockIoEntry>,
    /// Operations.
    #[serde(skip_serializing_if = "nothing")]
    pub io_serviced_recursive: Vec<BlockIoEntry>,
    /// Operations that wait.
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "nothing")]
    pub io_queued_recursive: Vec<BlockIoEntry>,
    /// Nanoseconds of the device.
    #[serde(skip_serializing_if = "nothing")]
    pub io_service_time_recursive: Vec<BlockIoEntry>,
    /// Nanoseconds in queues.
    #[serde(skip_serializing_if = "nothing")]
    pub io_wait_time_recursive: Vec<BlockIoEntry>,
    /// Operations that were merged.
    #[serde(skip_serializing_if = "nothing")]
    pub io_merged_recursive: Vec<BlockIoEntry>,
    /// Milliseconds of the disk.
    #[serde(skip_serializing_if = "nothing")]
    pub io_time_recursive: Vec<BlockIoEntry>,
    /// Sectors.
    #[serde(skip_serializing_if = "nothing")]
    pub sectors_recursive: Vec<BlockIoEntry>,
    /// Time lost by waiting for I/O.
    #[serde(skip_serializing_if = "nothing")]
    pub psi: Option<Pressure>,
}

/// One value of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BlockIoEntry {
    /// The device's major number.
    #[serde(skip_serializing_if = "nothing")]
    pub major: u64,
    /// The device's minor number.
    #[serde(skip_serializing_if = "nothing")]
    pub minor: u64,
    /// `Read`, `Write`, `Sync`, `Async`, `Discard`, `Total`; empty where the value has no direction.
    #[serde(skip_serializing_if = "nothing")]
    pub op: String,
    /// The value.
    #[serde(skip_serializing_if = "nothing")]
    pub value: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Hugetlb {
    /// Reserved now; used now on kernels before 5.7.
    #[serde(skip_serializing_if = "nothing")]
    pub usage: u64,
    /// Most at once; version 1 only.
    #[serde(skip_serializing_if = "nothing")]
    pub max: u64,
    /// How often the limit was met.
    pub failcnt: u64,
}

/// Pressure stall information: how much time was lost for lack of something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Pressure {
    /// Time in which some tasks waited.
    pub some: PressureTimes,
    /// Time in which all of them did.
    pub full: PressureTimes,
}

/// Shares of the recent past in percent, and the sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PressureTimes {
    /// Of the last 10 seconds.
    #[serde(serialize_with = "as_go_does")]
    pub avg10: f64,
    /// Of the last 60 seconds.
    #[serde(serialize_with = "as_go_does")]
    pub avg60: f64,
    /// Of the last 300 seconds.
    #[serde(serialize_with = "as_go_does")]
    pub avg300: f64,
    /// In microseconds, since the cgroup was made.
    pub total: u64,
}

/// A field that runc leaves out.
fn nothing<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A whole number has no ".0".
fn as_go_does<S: Serializer>(value: &f64, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a percentage, and compared behind the cast"
    )]
    let whole = *value as u64;
    #[allow(clippy::cast_precision_loss, reason = "a percentage")]
    if whole as f64 == *value {
        serializer.serialize_u64(whole)
    } else {
        serializer.serialize_f64(*value)
    }
}

impl Cgroup {
    /// What the container uses now.
    ///
    /// # Errors
    /// NotRunning, where the cgroup is gone; System, where a file cannot be read or holds what no kernel writes.
    pub fn stats(&self) -> Result<Stats> {
        if !self.exists() {
            return Err(Error::new(
                ErrorKind::NotRunning,
                "the container's cgroup is gone",
            ));
        }
        let mut stats = Stats::default();
        for group in &self.groups {
            let Some(files) = Files::of(group)? else { continue };
            if group.is_unified() {
                let taken = |controller: &str| {
                    self.groups
                        .iter()
                        .any(|other| !other.is_unified() && other.has(controller))
                };
                v2::fill(&mut stats, &files, taken)?;
            } else {
                v1::fill(&mut stats, &files, |controller| group.has(controller))?;
            }
        }
        Ok(stats)
    }
}

#[cfg(test)]
mod tests;
