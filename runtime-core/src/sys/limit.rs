//! prlimit(2) by number: the configuration may name a limit that a wrapper's list lacks.
#![allow(unsafe_code, reason = "one system call without a wrapper for plain numbers")]

use std::io;

/// Sets a resource limit of another process.
///
/// # Errors
/// What prlimit(2) said.
pub(crate) fn set(pid: i32, resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the structure lives through the call, and no old limit is asked for.
    let result = unsafe { libc::prlimit64(pid, resource, &raw const limit, std::ptr::null_mut()) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
