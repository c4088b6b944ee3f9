//! What this host can do, as plain data: gathered here and nowhere else, loadable from JSON, so that any machine can
//! plan for any host. Never sees a configuration.

pub mod cgroup;
pub mod nodes;
pub mod resctrl;
mod security;
mod support;
pub mod systemd;

pub use support::SupportFacts;
pub(crate) use support::{id_map_helper, in_path};

use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use cgroup::CgroupFacts;
use resctrl::ResctrlFacts;
use systemd::SystemdFacts;

/// The oldest kernel that is supported: the one of RHEL 9, which has openat2, clone3 into a cgroup, mount_setattr and
/// cgroup.kill.
pub(crate) const KERNEL_FLOOR: (u32, u32) = (5, 14);

/// Facts about the host and the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HostFacts {
    /// The kernel's version, major and minor.
    pub kernel: (u32, u32),
    /// The caller's effective user id.
    pub euid: u32,
    /// The caller's effective group id.
    pub egid: u32,
    /// The caller's effective capabilities, one bit each.
    pub capabilities: u64,
    /// Whether the caller is in a user namespace other than the first one.
    pub in_user_namespace: bool,
    /// Whether the caller's user namespace gave up setgroups(2), as an unprivileged writer of its maps had to; its
    /// children inherit that.
    #[serde(default)]
    pub groups_are_fixed: bool,
    /// Whether AppArmor is enabled.
    pub apparmor: bool,
    /// Whether SELinux is enabled, and may be asked for labels from here.
    #[serde(default)]
    pub selinux: bool,
    /// The resctrl filesystem, where one is mounted.
    #[serde(default)]
    pub resctrl: Option<ResctrlFacts>,
    /// The parameters of NVIDIA's kernel module (`/proc/driver/nvidia/params`), where it is loaded.
    #[serde(default)]
    pub nvidia_params: Option<String>,
    /// Whether the host has /proc/kcore.
    pub has_kcore: bool,
    /// The cgroup hierarchies.
    pub cgroup: CgroupFacts,
    /// The service manager, where it was asked because it is to make cgroups.
    #[serde(default)]
    pub systemd: Option<SystemdFacts>,
}

impl HostFacts {
    /// Asks the kernel; a few dozen microseconds.
    ///
    /// # Errors
    /// System where /proc cannot be read.
    pub fn gather() -> Result<Self> {
        let capabilities = rustix::thread::capabilities(None)
            .map_err(|errno| Error::os("capget()", errno))?
            .effective
            .bits();
        let in_user_namespace = in_user_namespace()?;
        Ok(Self {
            kernel: running_kernel(),
            euid: rustix::process::geteuid().as_raw(),
            egid: rustix::process::getegid().as_raw(),
            capabilities,
            in_user_namespace,
            // The first namespace never does.
            groups_are_fixed: in_user_namespace && groups_are_fixed("/proc/self/setgroups"),
            apparmor: security::apparmor(),
            selinux: security::selinux(),
            resctrl: ResctrlFacts::gather(),
            nvidia_params: std::fs::read_to_string(crate::gpu::hooks::PARAMS).ok(),
            has_kcore: exists("/proc/kcore"),
            cgroup: CgroupFacts::gather()?,
            systemd: None,
        })
    }

    /// The same host, asked by root with every capability.
    #[must_use]
    pub fn as_root(mut self) -> Self {
        self.capabilities = u64::MAX;
        (self.euid, self.egid) = (0, 0);
        self
    }

    /// Whether the caller has power over its mount namespace and its children's.
    pub fn privileged(&self) -> bool {
        self.capabilities & CapabilitySet::SYS_ADMIN.bits() != 0
    }

    /// Refuses kernels below the floor.
    pub(crate) fn check_floor(&self) -> Result<()> {
        if self.kernel < KERNEL_FLOOR {
            let (major, minor) = self.kernel;
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "this kernel is {major}.{minor}, the oldest supported one is {}.{}",
                    KERNEL_FLOOR.0, KERNEL_FLOOR.1
                ),
            ));
        }
        Ok(())
    }

    /// Whether filesystems of this type live on a block device, so that their source is a path.
    pub(crate) fn is_device_filesystem(&self, fstype: &str) -> bool {
        matches!(
            fstype,
            "ext2"
                | "ext3"
                | "ext4"
                | "xfs"
                | "btrfs"
                | "vfat"
                | "exfat"
                | "iso9660"
                | "squashfs"
                | "erofs"
                | "f2fs"
                | "ntfs3"
        )
    }
}

fn exists(path: &str) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXISTS).is_ok()
}

/// Major and minor version of this kernel.
pub(crate) fn running_kernel() -> (u32, u32) {
    kernel_version(&rustix::system::uname().release().to_string_lossy())
}

fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The first user namespace maps every id to itself.
pub(crate) fn in_user_namespace() -> Result<bool> {
    let map = std::fs::read_to_string("/proc/self/uid_map")
        .map_err(|error| Error::os("open(\"/proc/self/uid_map\")", error))?;
    Ok(map.split_whitespace().ne(["0", "0", "4294967295"]))
}

/// user_namespaces(7): the file of a namespace says "allow" or "deny".
pub(crate) fn groups_are_fixed(file: &str) -> bool {
    std::fs::read_to_string(file).is_ok_and(|answer| answer.trim() == "deny")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions() {
        assert_eq!(kernel_version("6.18.2-amd64"), (6, 18));
        assert_eq!(kernel_version("5.14.0-503.el9"), (5, 14));
        assert_eq!(kernel_version("5"), (5, 0));
    }

    #[test]
    fn facts_survive_json() {
        let facts = HostFacts::gather().unwrap();
        let json = serde_json::to_string(&facts).unwrap();
        assert_eq!(serde_json::from_str::<HostFacts>(&json).unwrap(), facts);
    }
}
