//! Starting init. Here and in `elsewhere.rs`, which borrows from here, processes are made; nowhere else.
//!
//! Both sorts of children share the caller's memory (CLONE_VM) and stop the calling thread until they are done (CLONE_VFORK):
//! the cost does not grow with the caller's memory, and no lock, allocator or thread-local of the caller is touched,
//! because the child makes raw system calls only, on memory that was prepared before. All signals are blocked around
//! the clone, so that no handler of the caller can run in the child.
#![allow(
    unsafe_code,
    reason = "clone3 with CLONE_VM and raw system calls; nothing in rustix or nix offers them"
)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::raw::syscall;

/// CLONE_INTO_CGROUP (kernel 5.7).
const INTO_CGROUP: u64 = 0x2_0000_0000;
const EMPTY_PATH: usize = libc::AT_EMPTY_PATH.cast_unsigned() as usize;
const LAST_CAPABILITY: usize = 63;

/// A number as a register holds it: sign-extended, as the kernel expects of a negative descriptor.
pub(super) const fn register(number: i32) -> usize {
    (number as isize).cast_unsigned()
}

/// The errno of a kernel's answer that is none of its values.
fn errno_of(result: isize) -> i32 {
    i32::try_from(result).map_or(libc::EINVAL, |result| -result)
}

fn clone_flags(flags: i32) -> u64 {
    u64::from(flags.cast_unsigned())
}

/// struct clone_args of clone3(2), the version with a cgroup.
#[repr(C, align(8))]
#[derive(Default)]
pub(super) struct CloneArgs {
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

impl CloneArgs {
    /// Nothing but these CLONE_* flags: no descriptor of the child, and no signal at its end.
    pub(super) fn of(flags: i32) -> Self {
        Self {
            flags: clone_flags(flags),
            ..Self::default()
        }
    }
}

/// What init is started with.
pub(crate) struct Start<'a> {
    /// The sealed image of init.
    pub(crate) image: BorrowedFd<'a>,
    /// Arguments; at most [`MAX_ARGS`].
    pub(crate) args: &'a [&'a CStr],
    /// Descriptors that stay open in init, under the same numbers.
    pub(crate) keep: &'a [RawFd],
    /// CLONE_NEW* flags.
    pub(crate) namespaces: u64,
    /// The cgroup (version 2) that init is born in. Only a fresh one: as long as init shares the caller's memory, the end of
    /// a whole group for lack of memory (`memory.oom.group`) is the caller's, too.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
}

/// The most arguments that init is given.
pub(crate) const MAX_ARGS: usize = 4;

/// A call that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {source}")]
pub(crate) struct Refused {
    /// Its name.
    pub(crate) call: &'static str,
    /// Its errno.
    pub(crate) source: io::Error,
}

/// A started process.
#[derive(Debug)]
pub(crate) struct Child {
    /// Its pid in the caller's pid namespace.
    pub(crate) pid: i32,
    /// Its descriptor.
    pub(crate) pidfd: OwnedFd,
}

/// What the child reads and writes; it lives on the stopped parent's stack.
#[repr(C)]
struct InitBlock {
    image: i32,
    ambient: bool,
    keep: *const RawFd,
    keep_len: usize,
    argv: [*const libc::c_char; MAX_ARGS + 1],
    errno: i32,
}

/// Starts init and returns when its image has been executed.
///
/// # Errors
/// What clone3(2) or execveat(2) said.
pub(crate) fn init(start: &Start<'_>) -> Result<Child, Refused> {
    let mut argv = [ptr::null(); MAX_ARGS + 1];
    for (slot, arg) in argv.iter_mut().zip(start.args).take(MAX_ARGS) {
        *slot = arg.as_ptr();
    }
    let mut block = InitBlock {
        image: start.image.as_raw_fd(),
        // exec in a user namespace without maps would drop all capabilities, but for ambient ones.
        ambient: start.namespaces & clone_flags(libc::CLONE_NEWUSER) != 0,
        keep: start.keep.as_ptr(),
        keep_len: start.keep.len(),
        argv,
        errno: 0,
    };
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: start.namespaces | clone_flags(libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD),
        pidfd: ptr::from_mut(&mut pidfd).expose_provenance() as u64,
        exit_signal: libc::SIGCHLD.cast_unsigned().into(),
        ..CloneArgs::default()
    };
    if let Some(cgroup) = start.cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // SAFETY: `init_child` has the required signature and never returns; `block` and `pidfd` outlive the call because
    // CLONE_VFORK keeps this thread stopped until the child has executed or ended.
    // JUSTIFICATION: see the head of this file.
    let result = unsafe { clone_and_call(&args, init_child, ptr::from_mut(&mut block).cast()) };
    let pid = i32::try_from(result).unwrap_or(-1);
    if pid < 0 {
        return Err(Refused {
            call: "clone3",
            source: io::Error::from_raw_os_error(-pid),
        });
    }
    // SAFETY: the kernel stored a new descriptor of this process there, which nothing else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    if block.errno != 0 {
        reap(pid);
        return Err(Refused {
            call: "execveat",
            source: io::Error::from_raw_os_error(block.errno),
        });
    }
    Ok(Child { pid, pidfd })
}

/// # Safety
/// `block` is an [`InitBlock`] that stays valid; called in a child made with CLONE_VM | CLONE_VFORK.
unsafe extern "C" fn init_child(block: *mut u8) -> ! {
    let block = block.cast::<InitBlock>();
    // SAFETY: only raw system calls on memory that the stopped parent keeps valid; nothing here can panic, allocate or
    // touch thread-local state, and the function ends in execveat or exit.
    unsafe {
        if (*block).ambient {
            raise_ambient();
        }
        let mut at = 0;
        while at < (*block).keep_len {
            let fd = (*block).keep.add(at).read();
            syscall(
                libc::SYS_fcntl,
                [register(fd), register(libc::F_SETFD), 0, 0, 0, 0],
            );
            at += 1;
        }
        let environment: [*const libc::c_char; 1] = [ptr::null()];
        let result = syscall(
            libc::SYS_execveat,
            [
                register((*block).image),
                c"".as_ptr().expose_provenance(),
                (&raw const (*block).argv).expose_provenance(),
                environment.as_ptr().expose_provenance(),
                EMPTY_PATH,
                0,
            ],
        );
        (*block).errno = errno_of(result);
        exit(127)
    }
}

/// Lets the capabilities of a fresh user namespace survive the exec of a program whose uid has no map yet.
///
/// # Safety
/// As [`init_child`].
unsafe fn raise_ambient() {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    let mut data = [0u32; 6];
    // SAFETY: both buffers have the layout of version 3 of capget(2): a header and two sets of three words.
    unsafe {
        let header = (&raw const header).expose_provenance();
        syscall(
            libc::SYS_capget,
            [header, data.as_mut_ptr().expose_provenance(), 0, 0, 0, 0],
        );
        // effective, permitted, inheritable, for the low and the high word: inheritable becomes permitted.
        data[2] = data[1];
        data[5] = data[4];
        syscall(
            libc::SYS_capset,
            [header, data.as_ptr().expose_provenance(), 0, 0, 0, 0],
        );
        let mut capability = 0;
        while capability <= LAST_CAPABILITY {
            let raise = libc::PR_CAP_AMBIENT_RAISE as usize;
            let result = syscall(
                libc::SYS_prctl,
                [libc::PR_CAP_AMBIENT as usize, raise, capability, 0, 0, 0],
            );
            if result < 0 {
                break;
            }
            capability += 1;
        }
    }
}

/// # Safety
/// Only for a child that must not return.
pub(super) unsafe fn exit(code: usize) -> ! {
    loop {
        // SAFETY: ends this process; the loop is for the type only.
        unsafe { syscall(libc::SYS_exit, [code, 0, 0, 0, 0, 0]) };
    }
}

/// Waits for a child that has ended or is about to; what it says does not matter.
pub(super) fn reap(pid: i32) {
    let mut status = 0;
    // SAFETY: waits for one child of ours that has ended; the status is ours.
    while unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// clone3, and in the child `function(argument)`, on the parent's stack below its frames. All signals are blocked
/// meanwhile; the child inherits the blocked mask.
///
/// # Safety
/// `args.flags` holds CLONE_VM and CLONE_VFORK and no stack; `function` never returns and makes raw system calls only;
/// `argument` stays valid until the child has executed or ended.
pub(super) unsafe fn clone_and_call(
    args: &CloneArgs,
    function: unsafe extern "C" fn(*mut u8) -> !,
    argument: *mut u8,
) -> isize {
    // SAFETY: both sets are ours; the old mask is put back below, whatever the clone says.
    unsafe {
        let mut all = std::mem::zeroed();
        let mut old = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, &raw mut old);
        let result = super::raw::clone3_call(
            ptr::from_ref(args).cast(),
            size_of::<CloneArgs>(),
            function,
            argument,
        );
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, ptr::null_mut());
        result
    }
}
