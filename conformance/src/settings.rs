//! Kernel parameters of the whole host that an attack could reach, compared before and after each replay.
//!
//! Only attacks that use parameters of a container's own namespaces as bait are in the suite; this is the net below
//! them. A changed parameter is set back at once, and the test has failed.

use crate::suite::{Check, Failure};
use std::path::PathBuf;

/// Those that make the kernel run something, or turn something off; and the host's names, which replays use as bait in
/// namespaces of their own.
const WATCHED: [&str; 12] = [
    "kernel/core_pattern",
    "kernel/core_pipe_limit",
    "kernel/modprobe",
    "kernel/hotplug",
    "kernel/sysrq",
    "kernel/yama/ptrace_scope",
    "kernel/unprivileged_bpf_disabled",
    "kernel/hostname",
    "kernel/domainname",
    "vm/overcommit_memory",
    "net/ipv4/ip_forward",
    "net/ipv4/ip_default_ttl",
];

/// The parameters before a test; those that this kernel lacks are left out.
#[derive(Debug)]
pub(crate) struct Before(Vec<(PathBuf, String)>);

impl Before {
    /// Reads them.
    pub(crate) fn read() -> Before {
        let paths = WATCHED
            .iter()
            .map(|name| PathBuf::from("/proc/sys").join(name))
            .chain([PathBuf::from("/sys/kernel/uevent_helper")]);
        Before(
            paths
                .filter_map(|path| Some((path.clone(), std::fs::read_to_string(path).ok()?)))
                .collect(),
        )
    }

    /// Demands that they are the same now; those that are not are set back.
    pub(crate) fn unchanged(&self) -> Check {
        let mut changed = Vec::new();
        for (path, before) in &self.0 {
            let now = std::fs::read_to_string(path).unwrap_or_default();
            if now != *before {
                let back = match std::fs::write(path, before) {
                    Ok(()) => "set back".to_owned(),
                    Err(error) => format!("NOT set back: {error}"),
                };
                changed.push(format!("{} became {:?} ({back})", path.display(), now.trim_end()));
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        Err(Failure::Failed(format!(
            "the host was changed: {}",
            changed.join(", ")
        )))
    }
}
