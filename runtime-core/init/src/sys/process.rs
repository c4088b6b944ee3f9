//! Processes: signals, forks, waiting, namespaces, execve, and the one mapping of the program.

use core::ffi::{CStr, c_char};
use core::marker::PhantomData;
use core::mem::size_of;

use runtime_core_program::Texts;

use super::{Fd, Handle, invoke};
use crate::failure::{Failure, Outcome};

const SIGKILL: u32 = 9;
const SIGPIPE: u32 = 13;
const SIGCHLD: u64 = 17;
const SIGSTOP: u32 = 19;
const LAST_SIGNAL: u32 = 64;
const SIG_SETMASK: u32 = 2;
const SIG_IGN: usize = 1;
const SA_RESTORER: u64 = 0x0400_0000;
/// Bytes of the kernel's sigset_t.
const SET_SIZE: usize = 8;

const CLONE_PIDFD: u64 = 0x1000;
const CLONE_PARENT: u64 = 0x8000;
/// Kernel 5.7.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const PROT_READ: u32 = 1;
const PROT_WRITE: u32 = 2;
const MAP_PRIVATE: u32 = 2;
const MAP_ANONYMOUS: u32 = 0x20;
const P_PIDFD: u32 = 3;
const WEXITED: u32 = 4;
const CLD_EXITED: i32 = 1;
const CLOCK_MONOTONIC: u32 = 1;
const POLLIN: i16 = 1;
const POLLOUT: i16 = 4;

/// The kernel's struct sigaction; all zero is the default action.
#[repr(C)]
struct Action {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// struct clone_args of clone3(2), the version with a cgroup.
#[repr(C)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// The size of its first version, which every kernel with clone3 knows: the rest is only told where it is used.
const CLONE_ARGS_FIRST: usize = 64;

/// struct timespec.
#[repr(C)]
#[derive(Clone, Copy)]
struct Time {
    seconds: i64,
    nanoseconds: i64,
}

/// struct pollfd.
#[repr(C)]
struct Poll {
    fd: i32,
    wanted: i16,
    ready: i16,
}

/// siginfo_t as waitid(2) fills it, to its full size.
#[repr(C)]
struct Ended {
    signal: i32,
    errno: i32,
    code: i32,
    padding: i32,
    pid: i32,
    uid: u32,
    status: i32,
    rest: [u8; 100],
}

/// Which side of a fork the caller is.
pub(crate) enum Forked {
    Child,
    Parent { pid: u32, pidfd: Fd },
}

/// How a process ended.
pub(crate) enum End {
    Exit(u32),
    Signal(u32),
}

/// The signals that ask a process to end: SIGHUP, SIGINT, SIGQUIT, SIGTERM.
const REQUESTS_TO_END: [u32; 4] = [1, 2, 3, 15];

/// Ends this process as a shell reports the death by a signal. The kernel drops a signal to the first process of a pid
/// namespace that has no handler, and a container that waits for its start must be one that can be ended.
extern "C" fn end(signal: u32) -> ! {
    super::exit((128 | signal) as usize)
}

/// Gives every signal its default action and blocks none; who asks this process to end is heard, until execve resets
/// that too.
pub(crate) fn reset_signals() {
    for signal in (1..=LAST_SIGNAL).filter(|&signal| signal != SIGKILL && signal != SIGSTOP) {
        let _ = set_action(signal, 0);
    }
    for signal in REQUESTS_TO_END {
        let _ = set_action(signal, end as *const () as usize);
    }
    let none = 0u64;
    // SAFETY: the kernel reads one set of SET_SIZE bytes.
    let _ = unsafe {
        invoke!(
            Sigaction,
            RT_SIGPROCMASK,
            SIG_SETMASK,
            &raw const none,
            0usize,
            SET_SIZE
        )
    };
}

/// Ignores SIGPIPE, or gives it its default action.
pub(crate) fn ignore_broken_pipes(ignore: bool) -> Outcome {
    set_action(SIGPIPE, if ignore { SIG_IGN } else { 0 })
}

fn set_action(signal: u32, handler: usize) -> Outcome {
    // x86-64 refuses to call a handler without a restorer; `end`, the only one, never returns to it.
    let handled = handler > SIG_IGN;
    let action = Action {
        handler,
        flags: if handled { SA_RESTORER } else { 0 },
        restorer: if handled { handler } else { 0 },
        mask: 0,
    };
    // SAFETY: the kernel reads `action`. With SIG_DFL or SIG_IGN it never calls into this process, and `end` touches
    // no memory but its stack and does not return.
    unsafe {
        invoke!(
            Sigaction,
            RT_SIGACTION,
            signal,
            &raw const action,
            0usize,
            SET_SIZE
        )
    }
    .map(drop)
}

/// Maps a file of `length` bytes for reading and gives its bytes for the rest of the process's life.
pub(crate) fn map_file(fd: Handle, length: usize) -> Outcome<&'static [u8]> {
    // SAFETY: a new private mapping disturbs nothing that is mapped.
    let start = unsafe { invoke!(Mmap, MMAP, 0usize, length, PROT_READ, MAP_PRIVATE, fd, 0usize) }?;
    // SAFETY: the kernel has just mapped `length` readable bytes there; they are never unmapped, and the file is a
    // sealed memfd, so that nobody can change or shorten it.
    Ok(unsafe { core::slice::from_raw_parts(core::ptr::with_exposed_provenance(start), length) })
}

/// A table of strings for execve(2), in a mapping of its own, since there is no allocator. It lives to the end of the
/// process.
pub(crate) struct Strings<'a> {
    /// The last entry is always null.
    table: &'static mut [*const c_char],
    length: usize,
    strings: PhantomData<&'a CStr>,
}

impl<'a> Strings<'a> {
    pub(crate) fn of(texts: Texts<'a>) -> Outcome<Self> {
        Self::with(texts, None)
    }

    /// The strings, and one more behind them where there is one.
    pub(crate) fn with(texts: Texts<'a>, last: Option<&'a CStr>) -> Outcome<Self> {
        let entries = texts.len().checked_add(2).ok_or(Failure::malformed())?;
        let mut strings = Self {
            table: null_pointers(entries)?,
            length: 0,
            strings: PhantomData,
        };
        for text in texts.iter().chain(last) {
            let slot = strings
                .table
                .get_mut(strings.length)
                .filter(|_| strings.length + 1 < entries);
            *slot.ok_or(Failure::malformed())? = text.as_ptr();
            strings.length += 1;
        }
        Ok(strings)
    }
}

/// A table of numbers, for the rest of the process's life.
pub(crate) fn numbers(entries: usize) -> Outcome<&'static mut [i32]> {
    if entries == 0 {
        return Ok(&mut []);
    }
    let start = map_zeroed(entries.checked_mul(size_of::<i32>()))?;
    // SAFETY: the mapping has that many bytes, zeroed and page aligned, and belongs to this slice alone.
    Ok(unsafe { core::slice::from_raw_parts_mut(core::ptr::with_exposed_provenance_mut(start), entries) })
}

fn null_pointers(entries: usize) -> Outcome<&'static mut [*const c_char]> {
    let start = map_zeroed(entries.checked_mul(size_of::<usize>()))?;
    // SAFETY: the mapping has that many bytes, zeroed, which is a null pointer, and page aligned, and belongs to this
    // slice alone. `entries` is not 0.
    Ok(unsafe { core::slice::from_raw_parts_mut(core::ptr::with_exposed_provenance_mut(start), entries) })
}

/// A new private mapping of zeros: where it begins.
pub(super) fn map_zeroed(length: Option<usize>) -> Outcome<usize> {
    let length = length.ok_or(Failure::malformed())?;
    let (protection, flags) = (PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    // SAFETY: a new anonymous mapping disturbs nothing that is mapped.
    unsafe { invoke!(Mmap, MMAP, 0usize, length, protection, flags, -1i32, 0usize) }
}

/// execve(2); it returns only where it fails.
pub(crate) fn execute(path: &CStr, args: &Strings<'_>, env: &Strings<'_>) -> Failure {
    // SAFETY: the kernel reads the path and both tables up to the null that each ends with, and the strings that they
    // point to, which are borrowed as long as the tables; on success nothing of this process is left.
    match unsafe { invoke!(Execve, EXECVE, path, args.table.as_ptr(), env.table.as_ptr()) } {
        Ok(_) => Failure::malformed(),
        Err(failure) => failure,
    }
}

/// Whose child a new process is.
#[derive(Clone, Copy)]
pub(crate) enum Kin<'a> {
    /// This process's own.
    Child,
    /// That of this process's own parent, which is not told about its end by a signal.
    Sibling,
    /// The same, born in this cgroup of version 2.
    SiblingIn(&'a Fd),
}

/// Forks.
pub(crate) fn fork(kin: Kin<'_>) -> Outcome<Forked> {
    let mut pidfd = -1i32;
    let (relation, cgroup) = match kin {
        Kin::Child => (0, None),
        Kin::Sibling => (CLONE_PARENT, None),
        Kin::SiblingIn(cgroup) => (CLONE_PARENT | CLONE_INTO_CGROUP, Some(cgroup)),
    };
    let args = CloneArgs {
        flags: CLONE_PIDFD | relation,
        pidfd: (&raw mut pidfd).expose_provenance() as u64,
        child_tid: 0,
        parent_tid: 0,
        // clone3 demands 0 beside CLONE_PARENT: the child inherits this process's own exit signal.
        exit_signal: if relation == 0 { SIGCHLD } else { 0 },
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: cgroup.map_or(0, |cgroup| u64::from(cgroup.at().number().cast_unsigned())),
    };
    let size = match cgroup {
        Some(_) => size_of::<CloneArgs>(),
        None => CLONE_ARGS_FIRST,
    };
    // SAFETY: without CLONE_VM the child gets a copy of the memory and the stack, so returning twice is sound; the
    // kernel reads `args` and writes one int to `pidfd`.
    let pid = unsafe { invoke!(Clone, CLONE3, &raw const args, size) }?;
    #[allow(
        clippy::cast_possible_truncation,
        reason = "process numbers have at most 22 bits"
    )]
    Ok(match pid {
        0 => Forked::Child,
        pid => Forked::Parent {
            pid: pid as u32,
            pidfd: Fd::own(pidfd),
        },
    })
}

/// This process's number in its own pid namespace.
pub(crate) fn own_pid() -> u32 {
    // SAFETY: getpid has no arguments and cannot fail.
    let pid = unsafe { invoke!(None, GETPID) };
    #[allow(
        clippy::cast_possible_truncation,
        reason = "process numbers have at most 22 bits"
    )]
    pid.map_or(0, |pid| pid as u32)
}

/// Kills a child and the process group that it leads.
pub(crate) fn kill_group(pid: u32, pidfd: Handle) {
    let group = -(pid.cast_signed());
    // SAFETY: the calls take numbers; a null siginfo asks for the plain form. The child was not waited for, so its
    // number is still its own.
    unsafe {
        let _ = invoke!(Kill, KILL, group, SIGKILL);
        let _ = invoke!(Kill, PIDFD_SEND_SIGNAL, pidfd, SIGKILL, 0usize, 0u32);
    }
}

/// Waits for a child to end.
pub(crate) fn wait(pidfd: Handle) -> Outcome<End> {
    let mut ended = Ended {
        signal: 0,
        errno: 0,
        code: 0,
        padding: 0,
        pid: 0,
        uid: 0,
        status: 0,
        rest: [0; 100],
    };
    // SAFETY: the kernel writes one siginfo_t, 128 bytes, which is the size of `ended`.
    unsafe { invoke!(Wait, WAITID, P_PIDFD, pidfd, &raw mut ended, WEXITED, 0usize) }?;
    let status = ended.status.cast_unsigned();
    Ok(if ended.code == CLD_EXITED {
        End::Exit(status)
    } else {
        End::Signal(status)
    })
}

const _: () = assert!(size_of::<Ended>() == 128);

/// A point of the monotonic clock, in nanoseconds.
pub(crate) fn now() -> u64 {
    let mut time = Time {
        seconds: 0,
        nanoseconds: 0,
    };
    // SAFETY: the kernel writes one timespec.
    let _ = unsafe { invoke!(Poll, CLOCK_GETTIME, CLOCK_MONOTONIC, &raw mut time) };
    time.seconds
        .cast_unsigned()
        .saturating_mul(NANOS)
        .saturating_add(time.nanoseconds.cast_unsigned())
}

pub(crate) const NANOS: u64 = 1_000_000_000;

/// Waits until the process ended or, where there is one, the pipe takes data or has no reader left; at most `limit`
/// nanoseconds. Says whether the process ended, whether the pipe is ready.
pub(crate) fn poll(process: Handle, pipe: Option<Handle>, limit: Option<u64>) -> Outcome<(bool, bool)> {
    let mut polls = [
        Poll {
            fd: process.number(),
            wanted: POLLIN,
            ready: 0,
        },
        Poll {
            fd: pipe.map_or(-1, Handle::number),
            wanted: POLLOUT,
            ready: 0,
        },
    ];
    let time = |limit: u64| Time {
        seconds: (limit / NANOS).cast_signed(),
        nanoseconds: (limit % NANOS).cast_signed(),
    };
    let timeout = limit.map(time);
    let timeout = timeout.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: the kernel reads and writes two pollfds and reads the time, where there is one; no signal mask.
    unsafe { invoke!(Poll, PPOLL, polls.as_mut_ptr(), 2usize, timeout, 0usize, 0usize) }?;
    Ok((polls[0].ready != 0, polls[1].ready != 0))
}

pub(crate) fn new_session() -> Outcome {
    // SAFETY: setsid has no arguments.
    unsafe { invoke!(Setsid, SETSID) }.map(drop)
}

pub(crate) fn join(namespace: Handle, kind: u32) -> Outcome {
    // SAFETY: the call takes numbers.
    unsafe { invoke!(Setns, SETNS, namespace, kind) }.map(drop)
}

pub(crate) fn unshare(namespaces: u64) -> Outcome {
    // SAFETY: the call takes numbers.
    unsafe { invoke!(Unshare, UNSHARE, namespaces) }.map(drop)
}

/// Sets a limit of this process.
pub(crate) fn limit(resource: u32, soft: u64, hard: u64) -> Outcome {
    let limit = [soft, hard];
    // SAFETY: the kernel reads two words, the layout of struct rlimit64; no old limit is asked for, 0 is this process.
    unsafe { invoke!(Prlimit, PRLIMIT, 0usize, resource, limit.as_ptr(), 0usize) }.map(drop)
}

pub(crate) fn set_umask(mask: u32) {
    // SAFETY: umask takes a number and cannot fail.
    let _ = unsafe { invoke!(None, UMASK, mask) };
}
