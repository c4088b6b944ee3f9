//! The resctrl filesystem: where it is mounted, and what the processor can divide and measure.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// RDTGROUP_SUPER_MAGIC of linux/magic.h.
const RESCTRL_FS: u64 = 0x0765_5821;
/// The kernel makes this directory where the processor has such a feature.
const USUAL_PLACE: &str = "/sys/fs/resctrl";

/// A mounted resctrl filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResctrlFacts {
    /// Where it is mounted.
    pub root: PathBuf,
    /// Whether L3 caches can be divided (CAT).
    pub cache: bool,
    /// Whether memory bandwidth can be divided (MBA).
    pub bandwidth: bool,
    /// Whether use can be measured (CMT, MBM).
    pub monitoring: bool,
}

impl ResctrlFacts {
    /// None where it is not mounted.
    pub(super) fn gather() -> Option<Self> {
        let kind = rustix::fs::statfs(USUAL_PLACE).ok()?.f_type;
        if u64::try_from(kind) == Ok(RESCTRL_FS) {
            return Some(Self::of(PathBuf::from(USUAL_PLACE)));
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        mounted(&mounts).map(Self::of)
    }

    /// What the filesystem at this place says.
    fn of(root: PathBuf) -> Self {
        let info = root.join("info");
        let has = |name: &str| Path::exists(&info.join(name));
        Self {
            cache: has("L3") || has("L3CODE"),
            bandwidth: has("MB"),
            monitoring: has("L3_MON"),
            root,
        }
    }
}

/// The mount point of the first resctrl filesystem (proc_pid_mountinfo(5)); nobody mounts it at a place with blanks.
fn mounted(mounts: &str) -> Option<PathBuf> {
    let line = mounts.lines().find(|line| line.contains(" - resctrl "))?;
    line.split(' ').nth(4).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_point_is_found_wherever_it_is() {
        let mounts = "22 1 0:20 / /sys rw - sysfs sysfs rw\n60 1 0:50 / /mnt/rdt rw,nosuid shared:5 - resctrl none rw\n";
        assert_eq!(mounted(mounts), Some(PathBuf::from("/mnt/rdt")));
        assert_eq!(mounted("22 1 0:20 / /sys rw - sysfs sysfs rw\n"), None);
    }

    #[test]
    fn a_tree_tells_what_it_has() {
        let root = std::env::temp_dir().join(format!("resctrl-facts-{}", std::process::id()));
        std::fs::create_dir_all(root.join("info/MB")).unwrap();
        let facts = ResctrlFacts::of(root.clone());
        assert!(facts.bandwidth && !facts.cache && !facts.monitoring);
        std::fs::remove_dir_all(root).unwrap();
    }
}
