//! `linux.seccomp` compiled into a classic BPF program, in the parent, before anything is started.
//!
//! [`compile`] is pure: the same profile gives the same bytes. `names` knows the numbers (`calls`), `rules` puts the rules in
//! order, `tree` makes the filter of them, `assemble` its instructions. Nothing is loaded into a kernel here,
//! no_new_privs is not touched, and the socket that a listener is sent to is not opened. libseccomp is asked for
//! the numbers of unknown names only; that its own filters mean the same is for the tests to show (docs/adr/0011-own-seccomp-compiler.md).

mod assemble;
mod calls;
mod check;
pub(crate) mod known;
mod names;
mod rules;
mod tree;

pub use check::check;

use crate::error::{Error, ErrorKind, Result};
use crate::spec::Warning;
use names::Abi;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag};
use serde::{Deserialize, Serialize};

/// Size of `struct sock_filter` in bytes.
const INSTRUCTION_BYTES: usize = 8;

/// Most instructions that the kernel takes (BPF_MAXINSNS).
const INSTRUCTIONS_MAX: usize = 4096;

/// SECCOMP_FILTER_FLAG_LOG.
const FLAG_LOG: u32 = 1 << 1;
/// SECCOMP_FILTER_FLAG_SPEC_ALLOW.
const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// SECCOMP_FILTER_FLAG_NEW_LISTENER.
pub(crate) const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (Linux 5.19).
pub(crate) const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// An array of `struct sock_filter` (8 bytes each, native byte order) for `seccomp(SECCOMP_SET_MODE_FILTER)`.
    pub program: Vec<u8>,
    /// `SECCOMP_FILTER_FLAG_*` bits of the call.
    pub flags: u32,
    /// Number of instructions.
    pub instructions: u32,
    /// Who is asked about calls with SCMP_ACT_NOTIFY; None: there are none.
    pub agent: Option<Agent>,
    /// What the profile says and the filter leaves out: unknown system calls, foreign architectures.
    pub warnings: Vec<Warning>,
}

/// The program outside that is asked about calls with SCMP_ACT_NOTIFY.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// The unix stream socket on which it takes the listener: `linux.seccomp.listenerPath`.
    pub socket: String,
    /// What is told to it beside the container's state: `linux.seccomp.listenerMetadata`.
    pub metadata: Option<String>,
}

/// Compiles a profile.
///
/// The default action holds for every system call that no rule names. Within a rule all conditions must hold, except
/// when two of them are on the same argument: then each is a rule of its own (the reading of runc, crun and youki).
/// Unless the default action lets calls through, a system call with a number above all that the profile names fails with
/// ENOSYS, so that programs fall back to older calls instead of giving up on EPERM.
///
/// # Errors
/// InvalidSpec for what [`check`] refuses and for a profile that is too large for the kernel; Unsupported on a machine
/// that no filters are made for.
pub fn compile(profile: &LinuxSeccomp) -> Result<Filter> {
    check(profile)?;
    let mut warnings = Vec::new();
    let agent = agent(profile);
    let flags = flags(profile, agent.is_some(), &mut warnings);
    let abis = abis(profile, &mut warnings)?;
    let tables = rules::tables(profile, &abis, &mut warnings);
    let program = tree::filter(&tables);
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
        agent,
        warnings,
    })
}

fn agent(profile: &LinuxSeccomp) -> Option<Agent> {
    let socket = profile
        .listener_path()
        .as_ref()
        .filter(|_| uses_notify(profile))?;
    Some(Agent {
        socket: socket.to_string_lossy().into_owned(),
        metadata: profile.listener_metadata().clone(),
    })
}

fn uses_notify(profile: &LinuxSeccomp) -> bool {
    let rules = profile.syscalls().iter().flatten();
    rules
        .map(|rule| rule.action())
        .any(|action| action == LinuxSeccompAction::ScmpActNotify)
}

/// Without a list of flags SPEC_ALLOW is set: its absence costs programs up to half their speed (runc#2430). TSYNC
/// concerns the other threads of the process that loads the filter, and init has none that go on.
fn flags(profile: &LinuxSeccomp, listener: bool, warnings: &mut Vec<Warning>) -> u32 {
    let mut flags = if listener { FLAG_NEW_LISTENER } else { 0 };
    let Some(list) = profile.flags() else {
        return flags | FLAG_SPEC_ALLOW;
    };
    for (index, flag) in list.iter().enumerate() {
        match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => flags |= FLAG_LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => flags |= FLAG_SPEC_ALLOW,
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => {}
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv if listener => {
                flags |= FLAG_WAIT_KILLABLE_RECV;
            }
            // The kernel refuses it without a listener (EINVAL), and it says how a listener waits.
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => warnings.push(Warning::new(
                format!("linux.seccomp.flags[{index}]"),
                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV without SCMP_ACT_NOTIFY, ignored",
            )),
        }
    }
    flags
}

/// What the filter covers: the machine's own architecture, and those of the profile that can run on it.
fn abis(profile: &LinuxSeccomp, warnings: &mut Vec<Warning>) -> Result<Vec<Abi>> {
    let native = Abi::native().ok_or_else(|| {
        let message = format!("seccomp filters are not made for {}", std::env::consts::ARCH);
        Error::new(ErrorKind::Unsupported, message).with_field("linux.seccomp")
    })?;
    let mut covered = vec![native];
    for (index, architecture) in profile.architectures().iter().flatten().enumerate() {
        match Abi::named(*architecture) {
            Some(abi) if covered.contains(&abi) => {}
            Some(abi) => covered.push(abi),
            None => warnings.push(Warning::new(
                format!("linux.seccomp.architectures[{index}]"),
                format!("{architecture} cannot run on this machine; the filter would kill its calls"),
            )),
        }
    }
    Ok(covered)
}

#[cfg(test)]
mod tests;
