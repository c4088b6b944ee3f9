//! What sort of namespace a descriptor is (ioctl_nsfs(2)).
#![allow(unsafe_code, reason = "an ioctl without a wrapper")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// NS_GET_NSTYPE of linux/nsfs.h.
const GET_TYPE: libc::Ioctl = 0xb703;

/// The CLONE_NEW* kind.
///
/// # Errors
/// ENOTTY where the descriptor is no namespace.
pub(crate) fn kind(fd: &OwnedFd) -> io::Result<u32> {
    // SAFETY: the request takes no argument and writes nothing.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), GET_TYPE) };
    u32::try_from(kind).map_err(|_| io::Error::last_os_error())
}
