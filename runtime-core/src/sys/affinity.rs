//! sched_setaffinity(2) with a mask of any length: the types of the wrappers end at 1024 CPUs.
#![allow(unsafe_code, reason = "one system call without a wrapper for long masks")]

use std::io;

/// One bit for each CPU that Linux can be built for (NR_CPUS is at most 8192).
static ALL: [u64; 128] = [u64::MAX; 128];

/// Lets a process run on every CPU that its cgroup has.
///
/// # Errors
/// What sched_setaffinity(2) said.
pub(crate) fn reset(pid: i32) -> io::Result<()> {
    // SAFETY: the mask is as long as the call is told, lives for ever, and is only read; the kernel leaves out what is
    // longer than its own masks.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sched_setaffinity,
            pid,
            size_of_val(&ALL),
            (&raw const ALL).cast::<u64>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
