//! Descriptors: [`Fd`] is owned and closes itself, [`Handle`] is borrowed. Numbers appear only where the program names
//! them.

use core::ffi::CStr;
use core::sync::atomic::{AtomicU32, Ordering};

use super::errno::EBADF;
use super::{invoke, number};
use crate::arch;
use crate::failure::Outcome;

/// A descriptor of init's own; it is closed when it goes.
pub(crate) struct Fd(i32);

/// A descriptor that belongs to somebody else, or a place of the kernel's such as [`Handle::CWD`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle(i32);

impl Fd {
    /// Takes a descriptor that a call returned, or that the program hands over.
    pub(crate) const fn own(number: i32) -> Self {
        Self(number)
    }

    /// From a call's result.
    #[allow(clippy::cast_possible_truncation, reason = "descriptors are small")]
    pub(super) const fn from_result(result: usize) -> Self {
        Self(result.cast_signed() as i32)
    }

    pub(crate) const fn at(&self) -> Handle {
        Handle(self.0)
    }

    /// Leaves the descriptor open, for close_range(2) or execve(2) to close.
    pub(crate) fn release(self) -> i32 {
        core::mem::ManuallyDrop::new(self).0
    }
}

impl Drop for Fd {
    // Out of line: there is one on every path out of every step.
    #[inline(never)]
    fn drop(&mut self) {
        // SAFETY: close takes a number; an error leaves the descriptor closed all the same (close(2)).
        unsafe {
            arch::syscall(
                number::CLOSE,
                [Handle(self.0).number().cast_unsigned() as usize, 0, 0, 0, 0, 0],
            )
        };
    }
}

impl Handle {
    /// AT_FDCWD.
    pub(crate) const CWD: Self = Self(-100);
    /// No descriptor: every call refuses it.
    pub(crate) const NONE: Self = Self(-1);

    /// A standard descriptor, or one that the program names.
    pub(crate) const fn named(number: i32) -> Self {
        Self(number)
    }

    pub(crate) const fn number(self) -> i32 {
        self.0
    }
}

const F_SETFD: u32 = 2;
const F_SETFL: u32 = 4;
const F_DUPFD_CLOEXEC: u32 = 1030;
const FD_CLOEXEC: u32 = 1;
const O_NONBLOCK: u32 = 0o4000;
pub(crate) const O_CLOEXEC: u32 = 0o2_000_000;

const MFD_CLOEXEC: u32 = 1;

/// CLOSE_RANGE_CLOEXEC.
const MARK: u32 = 4;

/// No descriptor of this process is above this number; 0: nobody has said so. A filter of the container that is in force
/// already may refuse close_range(2): then descriptors are closed one by one, up to here.
static BOUND: AtomicU32 = AtomicU32::new(0);

/// Promises that no descriptor is, or is going to be, above this number.
pub(crate) fn promise_bound(number: u32) {
    BOUND.store(number, Ordering::Relaxed);
}

/// Closes every descriptor of the range.
pub(crate) fn close_range(first: u32, last: u32) -> Outcome {
    // SAFETY: the call takes numbers.
    let closed = unsafe { invoke!(CloseRange, CLOSE_RANGE, first, last, 0u32) }.map(drop);
    one_by_one(closed, first, last, |number| {
        // SAFETY: close takes a number.
        unsafe { invoke!(CloseRange, CLOSE, number) }
    })
}

/// Has the next execve close every descriptor from `first` on.
pub(crate) fn mark_from(first: u32) -> Outcome {
    // SAFETY: the call takes numbers.
    let marked = unsafe { invoke!(CloseRange, CLOSE_RANGE, first, u32::MAX, MARK) }.map(drop);
    one_by_one(marked, first, u32::MAX, |number| {
        // SAFETY: the call takes numbers.
        unsafe { invoke!(CloseRange, FCNTL, number, F_SETFD, FD_CLOEXEC) }
    })
}

/// The same for each descriptor where it failed for all at once and the bound is known.
fn one_by_one(outcome: Outcome, first: u32, last: u32, act: impl Fn(u32) -> Outcome<usize>) -> Outcome {
    let bound = BOUND.load(Ordering::Relaxed);
    if outcome.is_ok() || bound == 0 {
        return outcome;
    }
    for number in first..=last.min(bound) {
        match act(number) {
            Err(failure) if failure.errno != EBADF => return Err(failure),
            _ => {}
        }
    }
    Ok(())
}

/// Has the next execve close this descriptor, or keep it.
pub(crate) fn set_close_on_exec(fd: Handle, close: bool) -> Outcome {
    // SAFETY: the call takes numbers.
    unsafe { invoke!(Fcntl, FCNTL, fd, F_SETFD, if close { FD_CLOEXEC } else { 0 }) }.map(drop)
}

pub(crate) fn set_nonblocking(fd: Handle) -> Outcome {
    // SAFETY: the call takes numbers.
    unsafe { invoke!(Fcntl, FCNTL, fd, F_SETFL, O_NONBLOCK) }.map(drop)
}

/// A copy with the lowest free number from `least` on, closed by execve.
pub(crate) fn duplicate(fd: Handle, least: u32) -> Outcome<Fd> {
    // SAFETY: the call takes numbers.
    unsafe { invoke!(Fcntl, FCNTL, fd, F_DUPFD_CLOEXEC, least) }.map(Fd::from_result)
}

/// Makes `number` a copy of `fd` that survives execve; whatever had the number is closed.
pub(crate) fn place(fd: Handle, number: i32) -> Outcome {
    if fd.number() == number {
        return set_close_on_exec(fd, false);
    }
    // SAFETY: the call takes numbers.
    unsafe { invoke!(Dup, DUP3, fd, number, 0u32) }.map(drop)
}

/// A pipe: its reading and its writing end.
pub(crate) fn pipe() -> Outcome<(Fd, Fd)> {
    let mut ends = [0i32; 2];
    // SAFETY: the kernel writes two ints to `ends`.
    unsafe { invoke!(Pipe, PIPE2, ends.as_mut_ptr(), O_CLOEXEC) }?;
    Ok((Fd(ends[0]), Fd(ends[1])))
}

/// A file in memory.
pub(crate) fn memory_file(name: &CStr) -> Outcome<Fd> {
    // SAFETY: the kernel reads the name.
    unsafe { invoke!(Openat, MEMFD_CREATE, name, MFD_CLOEXEC) }.map(Fd::from_result)
}
