//! What a container uses, in containerd's messages: one sort for hosts with version 1 controllers, another for version 2.

mod v1;
mod v2;

use runtime_core::Stats;

use crate::proto::types::Any;

const V1: &str = "io.containerd.cgroups.v1.Metrics";
const V2: &str = "io.containerd.cgroups.v2.Metrics";

/// The message, of the sort that containerd expects on this host: it looks at the same directory.
pub(crate) fn of(stats: &Stats) -> Any {
    const CGROUP2: u64 = 0x6367_7270;
    let kind = rustix::fs::statfs("/sys/fs/cgroup").map(|found| u64::try_from(found.f_type).unwrap_or(0));
    if kind == Ok(CGROUP2) {
        Any::of(V2, &v2::of(stats))
    } else {
        Any::of(V1, &v1::of(stats))
    }
}
