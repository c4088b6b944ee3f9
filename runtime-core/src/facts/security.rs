//! Which security modules give labels on this host.

/// SELINUX_MAGIC of linux/magic.h.
const SELINUX_FS: u64 = 0xf97c_ff8c;

/// Whether AppArmor confines programs here. A container that sees the host's /sys without its securityfs cannot load or
/// choose profiles, whatever the module's parameter says.
pub(super) fn apparmor() -> bool {
    super::exists("/sys/kernel/security/apparmor")
        && std::fs::read("/sys/module/apparmor/parameters/enabled")
            .is_ok_and(|answer| answer.starts_with(b"Y"))
}

/// Whether SELinux is enabled: its filesystem is mounted, and not read-only, as it is for containers that are to
/// believe that there is none.
pub(super) fn selinux() -> bool {
    let writable = |found: rustix::fs::StatVfs| !found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
    let place = "/sys/fs/selinux";
    rustix::fs::statfs(place).is_ok_and(|found| u64::try_from(found.f_type) == Ok(SELINUX_FS))
        && rustix::fs::statvfs(place).is_ok_and(writable)
}
