//! epoll(7) with tokens.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll;
use rustix::event::{Timespec, epoll::EventFlags};
use rustix::io::Errno;

use crate::ttrpc::Status;

/// What became ready, by its token.
pub(crate) type Token = u64;
/// Events that are taken at once.
const AT_ONCE: usize = 32;

#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    next: Token,
}

impl Poller {
    pub(crate) fn new() -> Result<Self, Status> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|errno| Status::os("epoll_create1(EPOLL_CLOEXEC)", errno))?;
        Ok(Self { epoll, next: 1 })
    }

    /// A token that was never used before: a late event cannot be taken for somebody else's.
    pub(crate) fn token(&mut self) -> Token {
        self.next += 1;
        self.next
    }

    pub(crate) fn add(&self, fd: impl AsFd, token: Token, flags: EventFlags) -> Result<(), Status> {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token), flags)
            .map_err(|errno| Status::os("epoll_ctl(EPOLL_CTL_ADD)", errno))
    }

    pub(crate) fn change(&self, fd: impl AsFd, token: Token, flags: EventFlags) {
        // Fails for a descriptor that is not there any more only.
        let _ = epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(token), flags);
    }

    pub(crate) fn remove(&self, fd: impl AsFd) {
        // As above: it may have been removed before.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// The tokens that are ready; none when the time is over.
    pub(crate) fn wait(&self, patience: Option<Duration>) -> Result<Vec<Token>, Status> {
        let timeout = patience.map(|patience| Timespec {
            tv_sec: patience.as_secs().cast_signed(),
            tv_nsec: patience.subsec_nanos().into(),
        });
        let mut events = Vec::with_capacity(AT_ONCE);
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            timeout.as_ref(),
        ) {
            Ok(_) | Err(Errno::INTR) => Ok(events.iter().map(|event| event.data.u64()).collect()),
            Err(errno) => Err(Status::os("epoll_pwait2()", errno)),
        }
    }
}
