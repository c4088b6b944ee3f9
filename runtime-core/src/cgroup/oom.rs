//! Hears when the kernel ends processes of a container for lack of memory.
//!
//! Version 1 tells it by an eventfd that is registered for memory.oom_control, when the limit is met and before anybody
//! is killed; version 2 by a change of memory.events, in which kills are counted. There the descriptor of the file itself
//! is waited for (POLLPRI): an inotify watch would say the same and use up one of the 128 instances that a user has. No
//! thread waits here; who owns the value does.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, epoll};
use rustix::fd::AsRawFd;
use rustix::io::Errno;

use super::dir;
use super::fs::Cgroup;
use crate::error::{Error, Result};

/// A watch on one container.
#[derive(Debug)]
pub(crate) struct OomWatch {
    /// The file with the counters: memory.oom_control or memory.events.
    counters: OwnedFd,
    /// Version 1: what the kernel adds 1 to.
    eventfd: Option<OwnedFd>,
    /// Version 2: the kills that are known.
    kills: u64,
}

impl Cgroup {
    /// Watches the container's memory; None where no controller counts it.
    ///
    /// # Errors
    /// The watch cannot be set up.
    pub(crate) fn watch_oom(&self) -> Result<Option<OomWatch>> {
        let v1 = self
            .groups
            .iter()
            .find(|group| !group.is_unified() && group.has("memory"));
        let unified = self.groups.iter().find(|group| group.is_unified());
        let (Some(group), file) = (match v1 {
            Some(_) => (v1, "memory.oom_control"),
            None => (unified, "memory.events"),
        }) else {
            return Ok(None);
        };
        let opened = group.fd().and_then(|fd| dir::open_to_read(fd, file));
        let counters = match opened {
            Ok(counters) => counters,
            Err(errno) if dir::is_gone(errno) => return Ok(None),
            Err(errno) => return Err(group.os_error("openat", file, errno)),
        };
        if v1.is_none() {
            let kills = kills(&counters).map_err(|errno| group.os_error("read", file, errno))?;
            return Ok(Some(OomWatch {
                counters,
                eventfd: None,
                kills,
            }));
        }
        let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Error::os("eventfd(0, EFD_CLOEXEC|EFD_NONBLOCK)", dir::as_io(errno)))?;
        let line = format!("{} {}", eventfd.as_raw_fd(), counters.as_raw_fd());
        match group
            .fd()
            .and_then(|fd| dir::write(fd, "cgroup.event_control", &line))
        {
            Ok(()) => Ok(Some(OomWatch {
                counters,
                eventfd: Some(eventfd),
                kills: 0,
            })),
            // Gone, or a kernel without these events (PREEMPT_RT since 6.11).
            Err(errno) if dir::is_gone(errno) || errno == Errno::OPNOTSUPP => Ok(None),
            Err(errno) => Err(group.os_error("write", "cgroup.event_control", errno)),
        }
    }
}

impl OomWatch {
    /// What becomes ready when something happened, and how epoll(7) calls it.
    pub(crate) fn source(&self) -> (BorrowedFd<'_>, epoll::EventFlags) {
        match &self.eventfd {
            Some(eventfd) => (eventfd.as_fd(), epoll::EventFlags::IN),
            None => (self.counters.as_fd(), epoll::EventFlags::PRI),
        }
    }

    /// Whether something happened since the last question.
    pub(crate) fn happened(&mut self) -> Result<bool> {
        match self.look() {
            // The end of the cgroup is told in the same way.
            Err(errno) if dir::is_gone(errno) => Ok(false),
            Err(errno) => Err(Error::os("read(memory events)", dir::as_io(errno))),
            Ok(happened) => Ok(happened),
        }
    }

    fn look(&mut self) -> Result<bool, Errno> {
        if let Some(eventfd) = &self.eventfd {
            let mut count = [0u8; 8];
            return match rustix::io::retry_on_intr(|| rustix::io::read(eventfd, &mut count)) {
                Ok(_) => kills(&self.counters).map(|_| true),
                Err(Errno::AGAIN) => Ok(false),
                Err(errno) => Err(errno),
            };
        }
        let kills = kills(&self.counters)?;
        let more = kills > self.kills;
        self.kills = kills;
        Ok(more)
    }
}

/// The counter of kills, read from the start of the file, which also makes the kernel wait for the next change.
fn kills(counters: &OwnedFd) -> Result<u64, Errno> {
    rustix::fs::seek(counters, rustix::fs::SeekFrom::Start(0))?;
    let mut content = Vec::new();
    dir::read_all(counters.as_fd(), &mut content)?;
    let content = String::from_utf8_lossy(&content);
    let kills = content
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
    Ok(kills.unwrap_or(0))
}
