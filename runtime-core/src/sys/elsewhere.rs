//! One system call in a namespace of another process, for a descriptor that the caller gets.
//!
//! No thread of the caller leaves its namespaces: a child that shares the caller's memory and descriptor table joins
//! the namespace, makes the call and ends. What holds for such a child stands at the head of `spawn.rs`.
#![allow(
    unsafe_code,
    reason = "clone3 with CLONE_VM and raw system calls; nothing in rustix or nix offers them"
)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use super::raw::syscall;
use super::spawn::{CloneArgs, Refused, clone_and_call, exit, reap, register};

/// A system call that makes a descriptor, and the namespace to make it in (a CLONE_NEW* kind).
struct Call {
    namespace: i32,
    name: &'static str,
    number: libc::c_long,
    arguments: [usize; 6],
}

/// What the child reads and writes; it lives on the stopped parent's stack.
#[repr(C)]
struct Block {
    process: i32,
    namespace: usize,
    number: libc::c_long,
    arguments: [usize; 6],
    result: isize,
    joined: bool,
}

/// open_tree(2) of a path as the process behind `process` sees it, with the caller's own credentials; gives a detached
/// copy of the mount.
///
/// # Errors
/// What setns(2) or open_tree(2) said.
pub(crate) fn open_tree(process: BorrowedFd<'_>, path: &CStr, flags: u32) -> Result<OwnedFd, Refused> {
    let path = path.as_ptr().expose_provenance();
    let call = Call {
        namespace: libc::CLONE_NEWNS,
        name: "open_tree",
        number: libc::SYS_open_tree,
        arguments: [register(libc::AT_FDCWD), path, flags as usize, 0, 0, 0],
    };
    // SAFETY: open_tree reads the path, which outlives the call, and gives a descriptor.
    unsafe { descriptor(process, &call) }
}

/// A netlink socket for links and addresses in the network namespace of the process behind `process`, with the caller's
/// own credentials: a socket belongs to the namespace that it was made in, whoever uses it.
///
/// # Errors
/// What setns(2) or socket(2) said.
pub(crate) fn route_socket(process: BorrowedFd<'_>) -> Result<OwnedFd, Refused> {
    let (family, kind) = (libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC);
    let protocol = register(libc::NETLINK_ROUTE);
    let call = Call {
        namespace: libc::CLONE_NEWNET,
        name: "socket",
        number: libc::SYS_socket,
        arguments: [register(family), register(kind), protocol, 0, 0, 0],
    };
    // SAFETY: socket takes numbers only and gives a descriptor.
    unsafe { descriptor(process, &call) }
}

/// # Safety
/// The call takes these arguments, reads only memory that outlives this function, and gives a new descriptor or an
/// errno.
unsafe fn descriptor(process: BorrowedFd<'_>, call: &Call) -> Result<OwnedFd, Refused> {
    let refused = |call, errno| {
        let source = io::Error::from_raw_os_error(errno);
        Err(Refused { call, source })
    };
    let mut block = Block {
        process: process.as_raw_fd(),
        namespace: register(call.namespace),
        number: call.number,
        arguments: call.arguments,
        result: 0,
        joined: false,
    };
    // The descriptor table is shared, so that the new descriptor is the caller's; the filesystem information is not, as
    // setns(2) into a mount namespace demands. Without an exit signal no waiter of the caller sees this child.
    let args = CloneArgs::of(libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES);
    // SAFETY: `child` has the required signature and never returns; `block` outlives the call because CLONE_VFORK keeps
    // this thread stopped until the child has ended; what `call` needs is the caller's promise.
    // JUSTIFICATION: see the head of this file.
    let pid = unsafe { clone_and_call(&args, child, ptr::from_mut(&mut block).cast()) };
    let pid = i32::try_from(pid).unwrap_or(-1);
    if pid < 0 {
        return refused("clone3", -pid);
    }
    reap(pid);
    match i32::try_from(block.result) {
        // SAFETY: the call made this descriptor in the shared table, and nothing else knows its number.
        Ok(fd) if fd >= 0 && block.joined => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        Ok(errno) => refused(if block.joined { call.name } else { "setns" }, -errno),
        Err(_) => refused(call.name, libc::EINVAL),
    }
}

/// # Safety
/// `block` is a [`Block`] that stays valid and holds what [`descriptor`] asks for; called in a child made with CLONE_VM
/// | CLONE_VFORK | CLONE_FILES.
unsafe extern "C" fn child(block: *mut u8) -> ! {
    let block = block.cast::<Block>();
    // SAFETY: only raw system calls on memory that the stopped parent keeps valid; nothing here can panic, allocate or
    // touch thread-local state, and the function ends in exit.
    unsafe {
        let result = syscall(
            libc::SYS_setns,
            [register((*block).process), (*block).namespace, 0, 0, 0, 0],
        );
        if result < 0 {
            (*block).result = result;
            exit(1);
        }
        (*block).joined = true;
        (*block).result = syscall((*block).number, (*block).arguments);
        exit(0)
    }
}
