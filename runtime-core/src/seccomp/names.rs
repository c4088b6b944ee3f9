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

/// A name that has been looked up: once, for all architectures.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    name: &'a str,
    /// The row of the table; None: it lacks the name.
    numbers: Option<&'static [i32; 5]>,
    /// What it is as a function of another call of 32-bit x86: that call and the function's number.
    multiplexed: Option<(u32, u32)>,
}

impl<'a> Name<'a> {
    pub(super) fn look_up(name: &'a str) -> Self {
        let row = CALLS.binary_search_by(|(known, _)| (*known).cmp(name)).ok();
        let function = FUNCTIONS.binary_search_by(|(known, ..)| (*known).cmp(name)).ok();
        let function = function.and_then(|at| FUNCTIONS.get(at));
        Self {
            name,
            numbers: row.and_then(|row| CALLS.get(row)).map(|(_, numbers)| numbers),
            multiplexed: function.map(|(_, through, function)| (*through, *function)),
        }
    }

    /// What the name means to an architecture.
    pub(super) fn meaning(&self, abi: Abi) -> Meaning {
        let Some(numbers) = self.numbers else {
            return library(self.name, abi);
        };
        let bit = if abi == Abi::X32 { X32_BIT } else { 0 };
        // -1 stands for none.
        let number = numbers
            .get(abi.column())
            .and_then(|number| u32::try_from(*number).ok());
        let number = number.map(|number| number | bit);
        match self.multiplexed {
            Some((through, function)) if abi == Abi::X86 => Meaning::Multiplexed {
                number,
                through,
                function,
            },
            _ => number.map_or(Meaning::Absent, Meaning::Call),
        }
    }
}

/// What the library of the host that this was built on knows beyond the table.
fn library(name: &str, abi: Abi) -> Meaning {
    let Ok(found) = ScmpSyscall::from_name_by_arch(name, abi.library()) else {
        return Meaning::Unknown;
    };
    u32::try_from(found.as_raw_syscall()).map_or(Meaning::Absent, Meaning::Call)
}

/// socketcall(2) and ipc(2) of 32-bit x86.
const SOCKETCALL: u32 = 102;
const IPC: u32 = 117;

/// Calls of 32-bit x86 that can be made through another one, some of them in no other way. Sorted by name.
const FUNCTIONS: [(&str, u32, u32); 32] = [
    ("accept", SOCKETCALL, 5),
    ("accept4", SOCKETCALL, 18),
    ("bind", SOCKETCALL, 2),
    ("connect", SOCKETCALL, 3),
    ("getpeername", SOCKETCALL, 7),
    ("getsockname", SOCKETCALL, 6),
    ("getsockopt", SOCKETCALL, 15),
    ("listen", SOCKETCALL, 4),
    ("msgctl", IPC, 14),
    ("msgget", IPC, 13),
    ("msgrcv", IPC, 12),
    ("msgsnd", IPC, 11),
    ("recv", SOCKETCALL, 10),
    ("recvfrom", SOCKETCALL, 12),
    ("recvmmsg", SOCKETCALL, 19),
    ("recvmsg", SOCKETCALL, 17),
    ("semctl", IPC, 3),
    ("semget", IPC, 2),
    ("semop", IPC, 1),
    ("semtimedop", IPC, 4),
    ("send", SOCKETCALL, 9),
    ("sendmmsg", SOCKETCALL, 20),
    ("sendmsg", SOCKETCALL, 16),
    ("sendto", SOCKETCALL, 11),
    ("setsockopt", SOCKETCALL, 14),
    ("shmat", IPC, 21),
    ("shmctl", IPC, 24),
    ("shmdt", IPC, 22),
    ("shmget", IPC, 23),
    ("shutdown", SOCKETCALL, 13),
    ("socket", SOCKETCALL, 1),
    ("socketpair", SOCKETCALL, 8),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_searched_is_sorted() {
        assert!(CALLS.is_sorted_by(|one, next| one.0 < next.0));
        assert!(FUNCTIONS.is_sorted_by(|one, next| one.0 < next.0));
    }
}
