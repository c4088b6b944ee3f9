//! What the record's times are: CLOCK_MONOTONIC in nanoseconds, and init's counter in the same measure.

use crate::sys::counter;

/// CLOCK_MONOTONIC, in nanoseconds.
pub(crate) fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) counter: u64,
    pub(crate) time: u64,
}

impl Reading {
    pub(crate) fn take() -> Self {
        let before = counter::read();
        let time = now();
        let after = counter::read();
        Self {
            counter: before + after.saturating_sub(before) / 2,
            time,
        }
    }

    /// The time of a counter's reading between this one and `later`; None for one that is not between them.
    pub(crate) fn time_of(&self, counter: u64, later: &Self) -> Option<u64> {
        if !(self.counter..=later.counter).contains(&counter) {
            return None;
        }
        let whole = u128::from(later.counter - self.counter);
        let passed = u128::from(counter - self.counter);
        let time = u128::from(later.time.saturating_sub(self.time));
        let since = (time * passed).checked_div(whole).unwrap_or(0);
        Some(self.time + u64::try_from(since).ok()?)
    }
}
