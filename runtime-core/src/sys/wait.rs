//! Waiting for and ending processes by their descriptors.
#![allow(
    unsafe_code,
    reason = "kill(2) of a process group, waitid(2) and an ioctl of a descriptor"
)]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::facts::running_kernel;
use crate::state::Exit;

/// PIDFD_GET_INFO of linux/pidfd.h: `_IOWR(0xff, 11, struct pidfd_info)` with the structure's first size.
const PIDFD_GET_INFO: libc::Ioctl = 0xc040_ff0b;
/// The first kernel that keeps how a process ended.
const KEEPS_EXITS: (u32, u32) = (6, 15);
/// PIDFD_INFO_EXIT: how a process ended that was reaped already.
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// How long whoever reaps a process that has ended may take to do it.
const REAP_PATIENCE: Duration = Duration::from_millis(100);

/// struct pidfd_info of linux/pidfd.h.
#[derive(Default)]
#[repr(C)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// Whether the process behind the descriptor has ended, with all of its threads; reaped or not (pidfd_open(2)).
pub(crate) fn has_ended(pidfd: &OwnedFd) -> Result<bool> {
    ready_within(pidfd, Some(Duration::ZERO))
}

/// A length of time as the kernel takes it; the longest that it takes where it is longer.
pub(crate) fn timespec(length: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: length.subsec_nanos().into(),
    }
}

/// Waits until there is something to read, which for a process is that it has ended, or until the time is over: then false.
pub(crate) fn ready_within(fd: impl AsFd, patience: Option<Duration>) -> Result<bool> {
    let timeout = patience.map(timespec);
    loop {
        let mut polled = [PollFd::new(&fd, PollFlags::IN)];
        match poll(&mut polled, timeout.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::os("poll", errno)),
        }
    }
}

/// How the child behind the descriptor ended; waits for it. [`Exit::Unknown`] where it is no child of this process, or
/// where somebody else reaped it and the kernel does not keep how it ended.
pub(crate) fn exit_of(pidfd: &OwnedFd) -> Exit {
    end_of_child(pidfd).unwrap_or_else(|| kept_soon(pidfd))
}

/// Waits for a child and reaps it; None where it is none.
fn end_of_child(pidfd: &OwnedFd) -> Option<Exit> {
    // SAFETY: all zeroes is a valid siginfo_t; waitid fills it.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: the descriptor is open and the structure ours.
        // JUSTIFICATION: rustix's waitid hides the code of a stopped or trapped child, and nix has no P_PIDFD for it.
        let result = unsafe {
            libc::waitid(
                libc::P_PIDFD,
                pidfd.as_raw_fd().cast_unsigned(),
                &raw mut info,
                libc::WEXITED | libc::__WALL,
            )
        };
        if result == 0 {
            break;
        }
        if std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted {
            return None;
        }
    }
    // SAFETY: waitid succeeded, so the fields of a child's end are set.
    let status = unsafe { info.si_status() };
    Some(match info.si_code {
        libc::CLD_EXITED => Exit::Code(status),
        _ => Exit::Signal(status),
    })
}

/// How any process ended; waits for it.
///
/// # Errors
/// System, where the descriptor cannot be waited for.
pub(crate) fn end_of(pidfd: &OwnedFd) -> Result<Exit> {
    match end_of_child(pidfd) {
        Some(exit) => Ok(exit),
        None => ready_within(pidfd, None).map(|_| kept_soon(pidfd)),
    }
}

/// What the kernel keeps of a process that was reaped or is about to be: by another thread, by its parent, by the kernel
/// itself for a caller that ignores SIGCHLD. It has ended, and is no child any more, a moment before that is kept.
fn kept_soon(pidfd: &OwnedFd) -> Exit {
    let mut exit = kept(pidfd);
    if exit.is_none() && matches!(has_ended(pidfd), Ok(true)) && running_kernel() >= KEEPS_EXITS {
        // POLLHUP, which needs not be asked for: it was reaped.
        let mut polled = [PollFd::new(pidfd, PollFlags::empty())];
        let _ = poll(&mut polled, Some(&timespec(REAP_PATIENCE)));
        exit = kept(pidfd);
    }
    exit.unwrap_or(Exit::Unknown)
}

/// What the kernel keeps of a process that was reaped.
fn kept(pidfd: &OwnedFd) -> Option<Exit> {
    const _: () = assert!(size_of::<PidfdInfo>() == 64);
    let mut info = PidfdInfo {
        mask: PIDFD_INFO_EXIT,
        ..PidfdInfo::default()
    };
    // SAFETY: the kernel reads and writes one structure of the size that the number says, and it is ours.
    let answered = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    if answered != 0 || info.mask & PIDFD_INFO_EXIT == 0 {
        return None;
    }
    Some(match libc::WTERMSIG(info.exit_code) {
        0 => Exit::Code(libc::WEXITSTATUS(info.exit_code)),
        signal => Exit::Signal(signal),
    })
}

/// Reaps a child that has ended or is about to.
pub(crate) fn reap(pidfd: &OwnedFd) {
    end_of_child(pidfd);
}

/// Kills the processes of the group that a session leader of ours leads; the leader is not reaped yet, so its number is
/// still its own.
pub(crate) fn kill_session(leader: i32) {
    if leader > 1 {
        // SAFETY: a signal, no memory.
        unsafe { libc::kill(-leader, libc::SIGKILL) };
        // SAFETY: as above; for a leader that has not made its group yet.
        unsafe { libc::kill(leader, libc::SIGKILL) };
    }
}

/// Reaps the process behind the descriptor if it is an ended child of ours; never waits.
pub(crate) fn reap_if_child(pidfd: &OwnedFd) {
    // SAFETY: as in `exit_of`.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let options = libc::WEXITED | libc::WNOHANG | libc::__WALL;
        libc::waitid(
            libc::P_PIDFD,
            pidfd.as_raw_fd().cast_unsigned(),
            &raw mut info,
            options,
        );
    }
}

/// pidfd_send_signal(2) of any number, 0 included.
///
/// # Errors
/// What the call said.
pub(crate) fn signal(pidfd: &OwnedFd, number: i32) -> std::io::Result<()> {
    // SAFETY: no structure is passed.
    // JUSTIFICATION: rustix refuses the numbers of real-time signals and 0.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            number,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel refuses a negative length (EINVAL), which a cast made of one above 2^63 seconds.
    #[test]
    fn a_patience_of_any_length() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&write, b"x").unwrap();
        for patience in [Some(Duration::ZERO), Some(Duration::MAX), None] {
            assert!(ready_within(&read, patience).unwrap(), "{patience:?}");
        }
    }
}
