//! Names of system calls to their numbers, for each of the architectures that a program can use on a machine.
//!
//! The numbers are in a table of our own: libseccomp's ends with the kernel that it was made for, and asking it 1,100
//! times takes longer than the rest of a profile. What the table lacks the library is asked for. No rule is judged here.

use super::calls::CALLS;
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

    /// Its column of the table.
    fn column(self) -> usize {
        match self {
            Self::X86_64 => 0,
            Self::X32 => 1,
            Self::X86 => 2,
            Self::Aarch64 => 3,
            Self::Arm => 4,
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
    let Ok(row) = CALLS.binary_search_by(|(known, _)| (*known).cmp(name)) else {
        return library(name, abi);
    };
    let found = CALLS.get(row).and_then(|(_, numbers)| numbers.get(abi.column()));
    let bit = if abi == Abi::X32 { X32_BIT } else { 0 };
    // -1 stands for none.
    let number = found.and_then(|number| u32::try_from(*number).ok());
    let number = number.map(|number| number | bit);
    let function = |table: &[(&str, u32)]| {
        let found = table.iter().find(|(known, _)| *known == name);
        found.map(|(_, function)| *function)
    };
    if abi == Abi::X86 {
        for (through, table) in [(SOCKETCALL, &SOCKETCALL_FUNCTIONS[..]), (IPC, &IPC_FUNCTIONS[..])] {
            if let Some(function) = function(table) {
                return Meaning::Multiplexed {
                    number,
                    through,
                    function,
                };
            }
        }
    }
    number.map_or(Meaning::Absent, Meaning::Call)
}

/// What the library of the host that this was built on knows beyond the table.
fn library(name: &str, abi: Abi) -> Meaning {
    let Ok(found) = ScmpSyscall::from_name_by_arch(name, abi.library()) else {
        return Meaning::Unknown;
    };
    u32::try_from(found.as_raw_syscall()).map_or(Meaning::Absent, Meaning::Call)
}

/// Calls of 32-bit x86 that can be made through socketcall(2), some of them in no other way.
const SOCKETCALL: u32 = 102;
const SOCKETCALL_FUNCTIONS: [(&str, u32); 20] = [
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

/// The same for ipc(2).
const IPC: u32 = 117;
const IPC_FUNCTIONS: [(&str, u32); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];
