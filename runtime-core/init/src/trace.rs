//! When each step began, for who asked: a page that the parent reads afterwards. Without one every step costs one
//! comparison.
//!
//! A time is the processor's own counter and not clock_gettime(2): it takes no system call, which the container's filter
//! could refuse or answer by death, and no offset of a time namespace, of which the container may be in one. What it means
//! in nanoseconds is the parent's business.
//!
//! The page is memory that the host sees. It must not be there for anybody else: its descriptor is closed as soon as it is
//! mapped, the mapping goes with execve(2), and an init that waits for another process to start the container has none.

use runtime_core_program::page;

use crate::arch;
use crate::failure::Outcome;
use crate::sys::slots::Slots;
use crate::sys::{Fd, files};

/// The slots of the page, where there is one.
pub(crate) struct Trace {
    slots: Option<Slots>,
    /// Whether the calls that map a page may still be made: a filter of the container's could refuse them.
    may_map: bool,
}

impl Trace {
    /// Takes times in this page, where there is one. A page that cannot be had is none: nothing may fail because somebody
    /// watches.
    pub(crate) fn begin(page: Option<Fd>) -> Self {
        let mut trace = Self {
            slots: None,
            may_map: true,
        };
        if page.is_some() {
            let entered = arch::counter();
            trace.take(page);
            if let Some(slots) = &trace.slots {
                slots.set(page::ENTERED, entered);
            }
        }
        trace
    }

    /// Goes on in another page, that of who starts the container.
    pub(crate) fn take(&mut self, page: Option<Fd>) {
        if let Some(page) = page.filter(|_| self.may_map) {
            self.slots = map(page).ok();
        }
    }

    /// The step of this line begins.
    pub(crate) fn line(&self, line: u32) {
        self.note(page::slot(line));
    }

    /// A step has failed.
    pub(crate) fn failed(&self) {
        self.note(page::FAILED);
    }

    #[inline]
    fn note(&self, slot: usize) {
        if let Some(slots) = &self.slots {
            slots.set(slot, arch::counter());
        }
    }

    /// Gives the page back.
    pub(crate) fn leave(&mut self) {
        if let Some(slots) = self.slots.take() {
            slots.unmap();
        }
    }

    /// Gives the page back and takes no other: from now on a filter decides which calls may be made.
    pub(crate) fn leave_for_good(&mut self) {
        self.leave();
        self.may_map = false;
    }
}

fn map(page: Fd) -> Outcome<Slots> {
    let size = files::status(page.at())?.size;
    Slots::map(page.at(), usize::try_from(size).unwrap_or(0))
}
