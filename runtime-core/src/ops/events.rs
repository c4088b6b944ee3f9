//! What a container uses, and what happens to it: statistics, lack of memory, its end.
//!
//! Nothing is locked and no thread is started: [`Events`] is a descriptor to wait for, in the caller's own loop or in
//! [`Events::next`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll;

use super::Container;
use crate::cgroup::{OomWatch, Stats};
use crate::error::{Error, ErrorKind, Result};

/// Something that happened to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Its processes needed more memory than they may have. Version 1 tells it when the limit is met, version 2 when a
    /// process was killed for it. Several at once may come as one.
    Oom,
    /// Its init ended. This is the last event; what came before it has been told.
    End,
}

/// What happens to one container. Its descriptor ([`AsFd`]) is readable when [`Events::next`] would not wait; after the
/// end it stays so.
#[derive(Debug)]
pub struct Events {
    epoll: OwnedFd,
    /// None: init had ended before.
    pidfd: Option<OwnedFd>,
    oom: Option<OomWatch>,
}

impl Container {
    /// What the container uses now.
    ///
    /// # Errors
    /// Unsupported, where it has no cgroup; NotRunning, where that is gone; System.
    pub fn stats(&self) -> Result<Stats> {
        let no_cgroup = || {
            Error::new(
                ErrorKind::Unsupported,
                "the container has no cgroup that could count",
            )
        };
        self.trace.time("read the statistics", || {
            self.cgroup().ok_or_else(no_cgroup)?.stats()
        })
    }

    /// Begins to listen to what happens to the container.
    ///
    /// # Errors
    /// System, where a watch cannot be set up.
    pub fn events(&self) -> Result<Events> {
        let pidfd = self.pidfd.as_ref().map(OwnedFd::try_clone).transpose();
        let pidfd = pidfd.map_err(|error| Error::os("fcntl(F_DUPFD_CLOEXEC)", error))?;
        let oom = self
            .cgroup()
            .map(|cgroup| cgroup.watch_oom())
            .transpose()?
            .flatten();
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|errno| Error::os("epoll_create1(EPOLL_CLOEXEC)", errno))?;
        let oom_source = oom.as_ref().map(OomWatch::source);
        let end_source = pidfd.as_ref().map(|pidfd| (pidfd.as_fd(), epoll::EventFlags::IN));
        for (fd, flags) in oom_source.into_iter().chain(end_source) {
            epoll::add(&epoll, fd, epoll::EventData::new_u64(0), flags)
                .map_err(|errno| Error::os("epoll_ctl(EPOLL_CTL_ADD)", errno))?;
        }
        Ok(Events { epoll, pidfd, oom })
    }
}

impl Events {
    /// The next event; None when there was none in `patience` (None: wait as long as it takes).
    ///
    /// # Errors
    /// System, where a descriptor cannot be waited for or read.
    pub fn next(&mut self, patience: Option<Duration>) -> Result<Option<Event>> {
        let deadline = patience.map(crate::time::deadline);
        loop {
            // The end first and memory after it: what happened before the end is seen then.
            let ended = self.ended()?;
            if let Some(oom) = &mut self.oom
                && oom.happened()?
            {
                return Ok(Some(Event::Oom));
            }
            if ended {
                return Ok(Some(Event::End));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if !crate::sys::wait::ready_within(&self.epoll, left)? {
                return Ok(None);
            }
        }
    }

    /// Whether lack of memory can be told: not where no memory controller counts for the container.
    pub fn tells_oom(&self) -> bool {
        self.oom.is_some()
    }

    fn ended(&self) -> Result<bool> {
        match &self.pidfd {
            Some(pidfd) => crate::sys::wait::has_ended(pidfd),
            None => Ok(true),
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
