//! ENOSYS for system calls that are newer than the profile.
//!
//! A profile that denies by default answers EPERM to every call that its author had not heard of, and a C library that
//! tries a new call first takes EPERM for the last word where ENOSYS would make it try the older one. A few
//! instructions before the filter answer ENOSYS to numbers above the largest that the profile names, per architecture.
//! The idea is runc's (libcontainer/seccomp/patchbpf); a number that an older kernel was given late is answered wrongly
//! in the same way as there.

use super::{library_name, rules};
use libseccomp::{ScmpAction, ScmpSyscall};
use oci_spec::runtime::{Arch, LinuxSeccomp};

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// Opcodes of classic BPF (linux/bpf_common.h): BPF_LD|BPF_W|BPF_ABS and so on.
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_BITS: u16 = 0x45;
const RETURN: u16 = 0x06;

/// SECCOMP_RET_ERRNO with ENOSYS (38).
const RETURN_ENOSYS: u32 = 0x0005_0000 | 38;

/// The bit that makes a call of x86_64 one of x32.
const X32_BIT: u32 = 1 << 30;

/// `struct sock_filter`.
#[derive(Clone, Copy)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

const fn instruction(code: u16, if_true: u8, if_false: u8, value: u32) -> Instruction {
    Instruction {
        code,
        if_true,
        if_false,
        value,
    }
}

/// The instructions to put before the filter; none where the profile needs none. They either return ENOSYS or run into
/// what follows them.
pub(super) fn stub(profile: &LinuxSeccomp, architectures: &[Arch]) -> Vec<u8> {
    let default = rules::action(profile.default_action(), profile.default_errno_ret());
    // A permissive default lets new calls through, and a tracer judges for itself.
    let permissive = matches!(
        default,
        ScmpAction::Allow | ScmpAction::Log | ScmpAction::Trace(_)
    );
    if permissive || default == ScmpAction::Errno(libc::ENOSYS) {
        return Vec::new();
    }
    let last = |wanted: Arch| largest(profile, wanted).filter(|_| architectures.contains(&wanted));
    let mut sections = Vec::new();
    for architecture in architectures {
        match architecture {
            Arch::ScmpArchX32 if architectures.contains(&Arch::ScmpArchX86_64) => {}
            Arch::ScmpArchX86_64 | Arch::ScmpArchX32 => {
                sections.push(x86_64(last(Arch::ScmpArchX86_64), last(Arch::ScmpArchX32)));
            }
            other => sections.extend(last(*other).map(|largest| plain(*other as u32, largest))),
        }
    }
    assemble(&sections)
}

/// The largest number that the profile's names have on an architecture.
fn largest(profile: &LinuxSeccomp, architecture: Arch) -> Option<u32> {
    let names = profile.syscalls().iter().flatten().flat_map(|rule| rule.names());
    names
        .filter_map(|name| ScmpSyscall::from_name_by_arch(name, library_name(architecture)).ok())
        // Negative numbers are libseccomp's own, for calls that the architecture lacks.
        .filter_map(|number| u32::try_from(number.as_raw_syscall()).ok())
        .max()
        .filter(|largest| *largest > 0)
}

/// One architecture. The last instruction stands for the jump to the filter.
fn plain(architecture: u32, largest: u32) -> Vec<Instruction> {
    vec![
        instruction(JUMP_EQUAL, 0, 4, architecture),
        instruction(LOAD, 0, 0, NUMBER),
        instruction(JUMP_GREATER, 0, 1, largest),
        instruction(RETURN, 0, 0, RETURN_ENOSYS),
        instruction(JUMP, 0, 0, 0),
    ]
}

/// x86_64 and x32 share an architecture and are told apart by a bit of the number. Calls of the one that the filter
/// does not cover go to the filter, which knows what to do with them.
fn x86_64(native: Option<u32>, x32: Option<u32>) -> Vec<Instruction> {
    vec![
        instruction(JUMP_EQUAL, 0, 6, Arch::ScmpArchX86_64 as u32),
        instruction(LOAD, 0, 0, NUMBER),
        instruction(JUMP_BITS, 0, 1, X32_BIT),
        instruction(JUMP_GREATER, 1, 2, x32.unwrap_or(u32::MAX)),
        instruction(JUMP_GREATER, 0, 1, native.unwrap_or(u32::MAX)),
        instruction(RETURN, 0, 0, RETURN_ENOSYS),
        instruction(JUMP, 0, 0, 0),
    ]
}

/// Puts the sections in a row and points the jump at the end of each behind the last one. The accumulator still holds
/// the architecture when a section is passed over.
fn assemble(sections: &[Vec<Instruction>]) -> Vec<u8> {
    let mut program = vec![instruction(LOAD, 0, 0, ARCHITECTURE)];
    let end = 1 + sections.iter().map(Vec::len).sum::<usize>();
    for section in sections {
        program.extend_from_slice(section);
        let distance = end - program.len();
        if let Some(jump) = program.last_mut() {
            jump.value = u32::try_from(distance).unwrap_or(u32::MAX);
        }
    }
    program.into_iter().flat_map(bytes).collect()
}

fn bytes(instruction: Instruction) -> [u8; 8] {
    let [c0, c1] = instruction.code.to_ne_bytes();
    let [v0, v1, v2, v3] = instruction.value.to_ne_bytes();
    [c0, c1, instruction.if_true, instruction.if_false, v0, v1, v2, v3]
}
