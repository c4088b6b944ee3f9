//! Capability names, numbers and masks.
//!
//! The kernel counts capabilities and takes sets as 64-bit masks; config.json names them and oci-spec has an enum.
//! The three meet here. Which sets a process ends up with, and in which order they are applied, is decided elsewhere.

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, Process};

/// The number of the last capability this version knows (CAP_CHECKPOINT_RESTORE, Linux 5.9).
pub const LAST: u8 = 40;

/// Names in kernel order: the position is the number (include/uapi/linux/capability.h).
const NAMES: [&str; LAST as usize + 1] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The five sets as masks; bit n stands for capability number n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapabilityMasks {
    /// The bounding set.
    pub bounding: u64,
    /// The effective set.
    pub effective: u64,
    /// The inheritable set.
    pub inheritable: u64,
    /// The permitted set.
    pub permitted: u64,
    /// The ambient set.
    pub ambient: u64,
}

impl CapabilityMasks {
    /// The masks that config.json asks for. An absent set is empty, and so is an absent `process.capabilities` (R-41).
    pub fn of(sets: Option<&LinuxCapabilities>) -> Self {
        let Some(sets) = sets else {
            return Self::default();
        };
        let of_set = |set: &Option<Capabilities>| set.as_ref().map_or(0, mask);
        Self {
            bounding: of_set(sets.bounding()),
            effective: of_set(sets.effective()),
            inheritable: of_set(sets.inheritable()),
            permitted: of_set(sets.permitted()),
            ambient: of_set(sets.ambient()),
        }
    }
}

/// Adds a capability to those of a process, as `exec --cap` does: bounding, effective and permitted; ambient only where
/// the process has inheritable ones, for the kernel wants both; inheritable never (CVE-2022-29162). False for a name
/// that this version does not know: nothing is changed then.
pub fn grant(process: &mut Process, text: &str) -> bool {
    let Some(capability) = number(text).and_then(name).and_then(|name| {
        let bare = name.strip_prefix("CAP_").unwrap_or(name);
        bare.parse::<Capability>().ok()
    }) else {
        return false;
    };
    // The default of the type is the set of a docker container.
    let empty = || {
        let mut sets = LinuxCapabilities::default();
        sets.set_bounding(None);
        sets.set_effective(None);
        sets.set_inheritable(None);
        sets.set_permitted(None);
        sets.set_ambient(None);
        sets
    };
    let mut sets = process.capabilities().clone().unwrap_or_else(empty);
    let with = |set: &Option<Capabilities>| {
        let mut set = set.clone().unwrap_or_default();
        set.insert(capability);
        Some(set)
    };
    sets.set_bounding(with(sets.bounding()));
    sets.set_effective(with(sets.effective()));
    sets.set_permitted(with(sets.permitted()));
    if sets.inheritable().as_ref().is_some_and(|set| !set.is_empty()) {
        sets.set_ambient(with(sets.ambient()));
    }
    process.set_capabilities(Some(sets));
    true
}

/// All names known to this version, in kernel order, for `features`.
pub fn names() -> &'static [&'static str] {
    &NAMES
}

/// The name of capability `number`, or `None` above [`LAST`].
pub fn name(number: u8) -> Option<&'static str> {
    NAMES.get(usize::from(number)).copied()
}

/// The number of a capability name in any case, with or without the prefix `CAP_`; `None` for an unknown name.
pub fn number(text: &str) -> Option<u8> {
    let bare = match text.get(..4) {
        Some(prefix) if prefix.eq_ignore_ascii_case("CAP_") => &text[4..],
        _ => text,
    };
    let position = NAMES
        .iter()
        .position(|name| name[4..].eq_ignore_ascii_case(bare))?;
    u8::try_from(position).ok()
}

/// The mask of a set.
pub fn mask(set: &Capabilities) -> u64 {
    set.iter()
        .fold(0, |mask, capability| mask | 1 << number_of(*capability))
}

/// The kernel's number of a capability of oci-spec.
pub fn number_of(capability: Capability) -> u8 {
    use Capability as C;
    match capability {
        C::Chown => 0,
        C::DacOverride => 1,
        C::DacReadSearch => 2,
        C::Fowner => 3,
        C::Fsetid => 4,
        C::Kill => 5,
        C::Setgid => 6,
        C::Setuid => 7,
        C::Setpcap => 8,
        C::LinuxImmutable => 9,
        C::NetBindService => 10,
        C::NetBroadcast => 11,
        C::NetAdmin => 12,
        C::NetRaw => 13,
        C::IpcLock => 14,
        C::IpcOwner => 15,
        C::SysModule => 16,
        C::SysRawio => 17,
        C::SysChroot => 18,
        C::SysPtrace => 19,
        C::SysPacct => 20,
        C::SysAdmin => 21,
        C::SysBoot => 22,
        C::SysNice => 23,
        C::SysResource => 24,
        C::SysTime => 25,
        C::SysTtyConfig => 26,
        C::Mknod => 27,
        C::Lease => 28,
        C::AuditWrite => 29,
        C::AuditControl => 30,
        C::Setfcap => 31,
        C::MacOverride => 32,
        C::MacAdmin => 33,
        C::Syslog => 34,
        C::WakeAlarm => 35,
        C::BlockSuspend => 36,
        C::AuditRead => 37,
        C::Perfmon => 38,
        C::Bpf => 39,
        C::CheckpointRestore => 40,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_table_and_the_enum_of_oci_spec_agree() {
        for (position, name) in NAMES.iter().enumerate() {
            let capability: Capability = serde_json::from_value(serde_json::json!(name)).unwrap();
            assert_eq!(usize::from(number_of(capability)), position, "{name}");
            assert_eq!(number(name).map(usize::from), Some(position), "{name}");
        }
    }

    #[test]
    fn the_table_agrees_with_the_caps_crate() {
        for capability in caps::all() {
            assert_eq!(name(capability.index()), Some(capability.to_string().as_str()));
        }
    }

    #[test]
    fn names_are_found_without_prefix_and_in_any_case() {
        assert_eq!(number("sys_admin"), Some(21));
        assert_eq!(number("cap_sys_admin"), Some(21));
        assert_eq!(number("CAP_UNKNOWN"), None);
        assert_eq!(number("CAP_"), None);
        assert_eq!(number("é"), None);
        assert_eq!(name(41), None);
    }

    #[test]
    fn absent_sets_are_empty() {
        assert_eq!(CapabilityMasks::of(None), CapabilityMasks::default());
        let sets: LinuxCapabilities =
            serde_json::from_str(r#"{"bounding":["CAP_CHOWN","CAP_CHECKPOINT_RESTORE"]}"#).unwrap();
        let masks = CapabilityMasks::of(Some(&sets));
        assert_eq!(masks.bounding, 1 | 1 << 40);
        assert_eq!(masks.permitted, 0);
    }
}
