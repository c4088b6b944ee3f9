//! Where the C library starts the program, in place of the standard library's own start.
//!
//! That one reads /proc/self/maps with scanf to find the end of the stack, makes another stack for a handler that would report
//! an overflow, and asks for the processors: a twentieth of a short command. What of it matters here is done below.
//! Must not live here: anything about containers.

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, fcntl_getfd, retry_on_intr};
use std::os::fd::IntoRawFd;

/// The C library's entry. The arguments come by `std::env`, which the C library hands them to before.
#[cfg_attr(not(test), unsafe(no_mangle))]
#[cfg_attr(test, allow(dead_code, reason = "the tests' harness has a main of its own"))]
#[allow(
    unsafe_code,
    reason = "the symbol is the one that the C library's start calls, and no other object of this program defines it"
)]
extern "C" fn main() -> libc::c_int {
    fill_standard_descriptors();
    choose_signals();
    let code = crate::cmd::main(std::env::args_os().collect());
    // Standard output is flushed there, and nowhere else without the standard library's start.
    #[allow(clippy::exit, reason = "this is the end of the program's main function")]
    std::process::exit(code.into())
}

/// A descriptor below 3 that is closed would be given to the next file that is opened, and a message on standard error
/// would be written into it. The standard library does the same.
fn fill_standard_descriptors() {
    for stream in [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ] {
        if fcntl_getfd(stream) != Err(Errno::BADF) {
            continue;
        }
        // The kernel gives the lowest number that is free, which is this one.
        match retry_on_intr(|| open("/dev/null", OFlags::RDWR, Mode::empty())) {
            Ok(file) => drop(file.into_raw_fd()),
            Err(_) => std::process::abort(),
        }
    }
}

/// Whoever reads from us may go away; that is an error of the write, and no reason to leave a container half made. And where
/// the caller ignores the end of its children, the kernel would reap ours, and before 6.15 nobody could say how they ended.
fn choose_signals() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    for (number, handler) in [
        (Signal::SIGPIPE, SigHandler::SigIgn),
        (Signal::SIGCHLD, SigHandler::SigDfl),
    ] {
        #[allow(unsafe_code, reason = "nix marks every change of a disposition as unsafe")]
        // SAFETY: no handler is installed, and the program has one thread yet.
        let _ = unsafe { signal(number, handler) };
    }
}
