//! Names of system calls to their numbers, for each of the architectures that a program can use on a machine.
//!
//! The numbers are libseccomp's, which knows the calls of the kernel that it was made for; what came later is in a small
//! table here, so that a profile that names a new call means it on a host with an old library. No rule is judged here.

use libseccomp::{ScmpArch, ScmpSyscall};
use oci_spec::runtime::Arch;

/// The bit that makes a call of x86_64 one of x32.
pub(super) const X32_BIT: u32 = 1 << 30;

/// A way to call the kernel, with numbers of its own. Architectures that are not here cannot run on a machine that
/// this library is built for, so that no call of theirs ever comes to a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Abi {
    X86_64,
    X32,
    X86,
    Aarch64,
    Arm,
}

impl Abi {
    /// The one of this library.
    pub(super) fn native() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// The one that a profile names; None: it cannot run here.
    pub(super) fn named(architecture: Arch) -> Option<Self> {
        match architecture {
            Arch::ScmpArchNative => Self::native(),
            Arch::ScmpArchX86_64 => Some(Self::X86_64),
            Arch::ScmpArchX32 => Some(Self::X32),
            Arch::ScmpArchX86 => Some(Self::X86),
            Arch::ScmpArchAarch64 => Some(Self::Aarch64),
            Arch::ScmpArchArm => Some(Self::Arm),
            _ => None,
        }
    }

    /// What the kernel calls it in `struct seccomp_data` (AUDIT_ARCH_*). x32 has no name of its own there.
    pub(super) fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// The bits of an argument that conditions look at. x32 passes 64 bits, and libseccomp looks at 32 of them.
    pub(super) fn word(self) -> u64 {
        match self {
            Self::X86_64 | Self::Aarch64 => u64::MAX,
            Self::X32 | Self::X86 | Self::Arm => 0xffff_ffff,
        }
    }

    fn library(self) -> ScmpArch {
        match self {
            Self::X86_64 => ScmpArch::X8664,
            Self::X32 => ScmpArch::X32,
            Self::X86 => ScmpArch::X86,
            Self::Aarch64 => ScmpArch::Aarch64,
            Self::Arm => ScmpArch::Arm,
        }
    }
}

/// What a name means to an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// No call of any architecture that is known here.
    Unknown,
    /// A call that this architecture lacks.
    Absent,
    /// A call of this number.
    Call(u32),
    /// A call that can be made in two ways: as `number` where it has one, and as `function` of the call `through`,
    /// which finds the arguments in memory (socketcall(2), ipc(2)).
    Multiplexed {
        number: Option<u32>,
        through: u32,
        function: u32,
    },
}

/// The meaning of a name.
pub(super) fn meaning(name: &str, abi: Abi) -> Meaning {
    let Ok(found) = ScmpSyscall::from_name_by_arch(name, abi.library()) else {
        return recent(name, abi);
    };
    let found = found.as_raw_syscall();
    match (u32::try_from(found), abi) {
        (Ok(number), _) => Meaning::Call(number),
        (Err(_), Abi::X86) => multiplexed(name, found),
        (Err(_), _) => Meaning::Absent,
    }
}

/// The library's numbers for socketcall(2) are -100 less the function, those for ipc(2) -200 less it.
fn multiplexed(name: &str, pseudo: i32) -> Meaning {
    const SOCKETCALL: u32 = 102;
    const IPC: u32 = 117;
    let (through, function) = match pseudo {
        -120..=-101 => (SOCKETCALL, -100 - pseudo),
        -224..=-201 => (IPC, -200 - pseudo),
        _ => return Meaning::Absent,
    };
    let number = X86_DIRECT
        .iter()
        .find(|(direct, _)| *direct == name)
        .map(|(_, number)| *number);
    Meaning::Multiplexed {
        number,
        through,
        function: function.unsigned_abs(),
    }
}

/// Calls of 32-bit x86 that were functions of socketcall(2) and ipc(2) only until Linux 2.6.33, 3.0, 4.3 and 5.1; the
/// library keeps their numbers to itself.
const X86_DIRECT: [(&str, u32); 27] = [
    ("recvmmsg", 337),
    ("sendmmsg", 345),
    ("socket", 359),
    ("socketpair", 360),
    ("bind", 361),
    ("connect", 362),
    ("listen", 363),
    ("accept4", 364),
    ("getsockopt", 365),
    ("setsockopt", 366),
    ("getsockname", 367),
    ("getpeername", 368),
    ("sendto", 369),
    ("sendmsg", 370),
    ("recvfrom", 371),
    ("recvmsg", 372),
    ("shutdown", 373),
    ("semget", 393),
    ("semctl", 394),
    ("shmget", 395),
    ("shmctl", 396),
    ("shmat", 397),
    ("shmdt", 398),
    ("msgget", 399),
    ("msgsnd", 400),
    ("msgrcv", 401),
    ("msgctl", 402),
];

fn recent(name: &str, abi: Abi) -> Meaning {
    let bit = if abi == Abi::X32 { X32_BIT } else { 0 };
    let of = |table: &[(&str, u32)]| {
        table
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, number)| number | bit)
    };
    match (of(&RECENT), of(&RECENT_X86_64)) {
        (Some(number), _) => Meaning::Call(number),
        (None, Some(number)) if matches!(abi, Abi::X86_64 | Abi::X32) => Meaning::Call(number),
        (None, Some(_)) => Meaning::Absent,
        (None, None) => Meaning::Unknown,
    }
}

/// Calls that Linux got after 5.17, which is what libseccomp 2.5.4 knows. All architectures number them alike.
const RECENT: [(&str, u32); 21] = [
    ("cachestat", 451),
    ("fchmodat2", 452),
    ("map_shadow_stack", 453),
    ("futex_wake", 454),
    ("futex_wait", 455),
    ("futex_requeue", 456),
    ("statmount", 457),
    ("listmount", 458),
    ("lsm_get_self_attr", 459),
    ("lsm_set_self_attr", 460),
    ("lsm_list_modules", 461),
    ("mseal", 462),
    ("setxattrat", 463),
    ("getxattrat", 464),
    ("listxattrat", 465),
    ("removexattrat", 466),
    ("open_tree_attr", 467),
    ("file_getattr", 468),
    ("file_setattr", 469),
    ("listns", 470),
    ("rseq_slice_yield", 471),
];

/// The same where only x86_64 and x32 have them.
const RECENT_X86_64: [(&str, u32); 2] = [("uretprobe", 335), ("uprobe", 336)];
