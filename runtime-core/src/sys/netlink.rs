//! Options of a netlink socket (netlink(7)), for which rustix and nix have no names.
#![allow(unsafe_code, reason = "a socket option without a wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Lets the kernel explain a refusal in words (NETLINK_EXT_ACK).
///
/// # Errors
/// What setsockopt(2) said.
pub(crate) fn ask_for_words(socket: BorrowedFd<'_>) -> io::Result<()> {
    /// The size of an int.
    const LENGTH: libc::socklen_t = 4;
    let on: i32 = 1;
    // SAFETY: the option takes an int, and that many bytes of one are given; the kernel only reads them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_EXT_ACK,
            (&raw const on).cast(),
            LENGTH,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
