//! `linux.seccomp` compiled into a classic BPF program, in the parent, before anything is started.
//!
//! [`compile`] is pure but for an anonymous memory file: the same profile on the same machine gives the same bytes, so
//! a cache by profile can be put around it. libseccomp makes the program; `enosys` puts a few instructions before it.
//! Nothing is loaded into a kernel here, no_new_privs is not touched, and the notification socket is not this module's.

mod check;
mod enosys;
pub(crate) mod known;
mod rules;

pub use check::check;

use crate::error::{Error, ErrorKind, Result};
use crate::spec::Warning;
use libseccomp::{ScmpArch, ScmpFilterContext};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag};
use rustix::fs::MemfdFlags;
use std::io::{Read, Seek};

/// Size of `struct sock_filter` in bytes.
const INSTRUCTION_BYTES: usize = 8;

/// Most instructions that the kernel takes (BPF_MAXINSNS).
const INSTRUCTIONS_MAX: usize = 4096;

/// From this number of rules on, libseccomp arranges the system calls as a tree, not as a list (runc#3405).
const TREE_RULES: usize = 32;

/// SECCOMP_FILTER_FLAG_LOG.
const FLAG_LOG: u32 = 1 << 1;
/// SECCOMP_FILTER_FLAG_SPEC_ALLOW.
const FLAG_SPEC_ALLOW: u32 = 1 << 2;

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// An array of `struct sock_filter` (8 bytes each, native byte order) for `seccomp(SECCOMP_SET_MODE_FILTER)`.
    pub program: Vec<u8>,
    /// `SECCOMP_FILTER_FLAG_*` bits of the call.
    pub flags: u32,
    /// Number of instructions.
    pub instructions: u32,
    /// What the profile says and the filter leaves out: unknown system calls, foreign architectures.
    pub warnings: Vec<Warning>,
}

/// Compiles a profile.
///
/// The default action holds for every system call that no rule names. Within a rule all conditions must hold, except
/// when two of them are on the same argument: then each is a rule of its own (the reading of runc, crun and youki).
/// Unless the default action lets calls through, a system call with a number above all that the profile names fails with
/// ENOSYS, so that programs fall back to older calls instead of giving up on EPERM.
///
/// # Errors
/// InvalidSpec for what [`check`] refuses and for a rule that libseccomp cannot express; Unsupported for
/// SCMP_ACT_NOTIFY and for what libseccomp is known to compile wrongly; System when the program cannot be read back.
pub fn compile(profile: &LinuxSeccomp) -> Result<Filter> {
    check(profile)?;
    if uses_notify(profile) {
        let message = "SCMP_ACT_NOTIFY is not supported: there is no way to hand the listener to an agent";
        return Err(Error::new(ErrorKind::Unsupported, message).with_field("linux.seccomp.listenerPath"));
    }
    rules::refuse_miscompiled(profile)?;
    let mut warnings = Vec::new();
    let flags = flags(profile, &mut warnings);
    let default = rules::action(profile.default_action(), profile.default_errno_ret());
    let mut context = ScmpFilterContext::new(default).map_err(|error| internal("seccomp_init", &error))?;
    let architectures = architectures(profile, &mut context, &mut warnings)?;
    let count: usize = profile
        .syscalls()
        .iter()
        .flatten()
        .map(|rule| rule.names().len())
        .sum();
    if count > TREE_RULES {
        // A library too old for it makes a correct filter that is slower.
        let _ = context.set_ctl_optimize(2);
    }
    rules::add(profile, &mut context, &mut warnings)?;
    let mut program = enosys::stub(profile, &architectures);
    program.extend_from_slice(&export(&context)?);
    let count = program.len() / INSTRUCTION_BYTES;
    if count > INSTRUCTIONS_MAX {
        let message =
            format!("the filter has {count} instructions, the kernel takes at most {INSTRUCTIONS_MAX}");
        return Err(Error::spec("linux.seccomp.syscalls", message));
    }
    let instructions = u32::try_from(count).unwrap_or(u32::MAX);
    Ok(Filter {
        program,
        flags,
        instructions,
        warnings,
    })
}

fn uses_notify(profile: &LinuxSeccomp) -> bool {
    let rules = profile.syscalls().iter().flatten();
    rules
        .map(|rule| rule.action())
        .any(|action| action == LinuxSeccompAction::ScmpActNotify)
}

/// Without a list of flags SPEC_ALLOW is set: its absence costs programs up to half their speed (runc#2430). TSYNC
/// concerns the other threads of the process that loads the filter, and init has none.
fn flags(profile: &LinuxSeccomp, warnings: &mut Vec<Warning>) -> u32 {
    let Some(list) = profile.flags() else {
        return FLAG_SPEC_ALLOW;
    };
    let mut flags = 0;
    for (index, flag) in list.iter().enumerate() {
        match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => flags |= FLAG_LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => flags |= FLAG_SPEC_ALLOW,
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => {}
            // The kernel refuses it without a listener (EINVAL), and it says how a listener waits.
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => warnings.push(Warning::new(
                format!("linux.seccomp.flags[{index}]"),
                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV without SCMP_ACT_NOTIFY, ignored",
            )),
        }
    }
    flags
}

/// Adds the architectures of the profile to the native one and returns all that the filter covers.
fn architectures(
    profile: &LinuxSeccomp,
    context: &mut ScmpFilterContext,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Arch>> {
    let native = native()?;
    let mut covered = vec![native];
    for (index, architecture) in profile.architectures().iter().flatten().enumerate() {
        let architecture = if *architecture == Arch::ScmpArchNative {
            native
        } else {
            *architecture
        };
        if covered.contains(&architecture) {
            continue;
        }
        match context.add_arch(library_name(architecture)) {
            Ok(_) => covered.push(architecture),
            // Of the other byte order, or newer than the library: no call of it can succeed here, the filter kills it.
            Err(_) => warnings.push(Warning::new(
                format!("linux.seccomp.architectures[{index}]"),
                format!("{architecture} cannot be filtered on this machine; its calls are killed"),
            )),
        }
    }
    Ok(covered)
}

fn native() -> Result<Arch> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(Arch::ScmpArchX86_64),
        "aarch64" => Ok(Arch::ScmpArchAarch64),
        other => {
            let message = format!("seccomp filters are not made for {other}");
            Err(Error::new(ErrorKind::Unsupported, message).with_field("linux.seccomp"))
        }
    }
}

fn library_name(architecture: Arch) -> ScmpArch {
    match architecture {
        Arch::ScmpArchNative => ScmpArch::Native,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchMips => ScmpArch::Mips,
        Arch::ScmpArchMips64 => ScmpArch::Mips64,
        Arch::ScmpArchMips64n32 => ScmpArch::Mips64N32,
        Arch::ScmpArchMipsel => ScmpArch::Mipsel,
        Arch::ScmpArchMipsel64 => ScmpArch::Mipsel64,
        Arch::ScmpArchMipsel64n32 => ScmpArch::Mipsel64N32,
        Arch::ScmpArchPpc => ScmpArch::Ppc,
        Arch::ScmpArchPpc64 => ScmpArch::Ppc64,
        Arch::ScmpArchPpc64le => ScmpArch::Ppc64Le,
        Arch::ScmpArchS390 => ScmpArch::S390,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        Arch::ScmpArchParisc => ScmpArch::Parisc,
        Arch::ScmpArchParisc64 => ScmpArch::Parisc64,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        Arch::ScmpArchLoongarch64 => ScmpArch::Loongarch64,
        Arch::ScmpArchM68k => ScmpArch::M68k,
        Arch::ScmpArchSh => ScmpArch::Sh,
        Arch::ScmpArchSheb => ScmpArch::Sheb,
    }
}

/// The program that libseccomp made. A pipe would do only up to its capacity, and what is beyond is cut in silence.
fn export(context: &ScmpFilterContext) -> Result<Vec<u8>> {
    let create = |flags| rustix::fs::memfd_create("seccomp", flags);
    // Kernels before 6.3 do not know the flag, later ones may insist on it (vm.memfd_noexec).
    let fd = create(MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| create(MemfdFlags::CLOEXEC))
        .map_err(|errno| Error::os("memfd_create(\"seccomp\", MFD_CLOEXEC)", errno))?;
    let mut file = std::fs::File::from(fd);
    context
        .export_bpf(&file)
        .map_err(|error| internal("seccomp_export_bpf", &error))?;
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .map_err(|error| Error::os("read(memfd \"seccomp\")", error))?;
    if bytes.is_empty() || bytes.len() % INSTRUCTION_BYTES != 0 {
        let message = format!(
            "seccomp_export_bpf wrote {} bytes, which is no program",
            bytes.len()
        );
        return Err(Error::new(ErrorKind::Internal, message));
    }
    Ok(bytes)
}

fn internal(call: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::System, format!("{call}: {error}")).with_field("linux.seccomp")
}

#[cfg(test)]
mod interpreter;
#[cfg(test)]
mod tests;
