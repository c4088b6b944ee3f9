//! init watched: the page in which it leaves the times of its steps, and what they say.
//!
//! The page is a memfd of a fixed size that init has mapped from its first instruction to execve(2). It is read here with
//! pread(2) and never mapped: whatever happens to it, what comes back is a fixed number of words. They are taken as numbers
//! from a stranger: one that does not lie between the start of init and the reading is left out. Words come from the
//! schedule alone.

use std::borrow::Cow;
use std::cell::Cell;
use std::os::fd::OwnedFd;

use runtime_core_program::page;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use crate::lower::above_standard;
use crate::plan::{Action, Line};
use crate::trace::{Actor, Event, Reading, Span, Trace, cut, now};

/// A page and the lines that init may note in it. What it says is recorded when this value goes.
#[derive(Debug)]
pub(crate) struct Watch {
    trace: Trace,
    page: OwnedFd,
    lines: Vec<(u32, Line)>,
    slots: usize,
    begin: Reading,
    /// init, as this process sees it.
    pub(crate) pid: Cell<i32>,
    /// When its program was seen to run.
    executed: Cell<Option<u64>>,
}

impl Watch {
    /// Watches who runs these lines; None where no times are taken, or where the host gives no page for it.
    pub(crate) fn new(trace: &Trace, lines: impl Iterator<Item = (u32, Line)>) -> Option<Self> {
        if !trace.is_on() {
            return None;
        }
        let lines: Vec<_> = lines
            .filter(|(_, line)| matches!(line.action, Action::Init(_)))
            .collect();
        let highest = lines.iter().map(|(number, _)| *number).max()?;
        let slots = page::slot(highest) + 1;
        Some(Self {
            trace: trace.clone(),
            page: shared(slots * page::SLOT_LEN).ok()?,
            lines,
            slots,
            begin: Reading::take(),
            pid: Cell::new(0),
            executed: Cell::new(None),
        })
    }

    /// The page, for init.
    pub(crate) fn page(&self) -> &OwnedFd {
        &self.page
    }

    /// A span of what is done for this init.
    pub(crate) fn span(watch: Option<&Self>, name: &'static str) -> Span {
        watch.map_or(Span::NONE, |watch| watch.trace.span(name))
    }

    /// The program runs: init is no more.
    pub(crate) fn executed(&self) {
        self.executed.set(Some(now()));
    }

    fn read(&self) -> Vec<u64> {
        let mut bytes = vec![0; self.slots * page::SLOT_LEN];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match rustix::io::pread(&self.page, rest, filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        let words = bytes.chunks_exact(page::SLOT_LEN);
        words
            .map(|word| word.try_into().map_or(0, u64::from_ne_bytes))
            .collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let (slots, end) = (self.read(), Reading::take());
        let time = |slot: usize| {
            let counter = slots.get(slot).filter(|counter| **counter != 0)?;
            self.begin.time_of(*counter, &end)
        };
        let pid = self.pid.get();
        for event in events(&self.lines, time, self.executed.get().unwrap_or(end.time), pid) {
            self.trace.add(event);
        }
    }
}

/// A step that init has begun; without a line, what comes before all steps.
struct Begun<'a> {
    begin: u64,
    line: Option<&'a (u32, Line)>,
}

impl Begun<'_> {
    fn event(&self, end: u64, pid: i32) -> Event {
        let mut event = Event {
            actor: Actor::Init,
            pid,
            thread: pid,
            name: Cow::Borrowed("begin: signals, program"),
            kind: "begin",
            line: None,
            begin: self.begin,
            end: end.max(self.begin),
            args: Vec::new(),
        };
        if let Some((number, line)) = self.line {
            event.name = cut(line.to_string().into());
            event.line = Some(*number);
            let from = cut(line.from.clone().into()).into_owned();
            event.args.push(("from", from));
            if let Action::Init(step) = &line.action {
                event.kind = step.name();
                event.args.push(("step", step.name().to_owned()));
            }
        }
        event
    }
}

/// The events of init: each step lasts until the next one begins, the last one until the failure or `end`.
fn events(lines: &[(u32, Line)], time: impl Fn(usize) -> Option<u64>, end: u64, pid: i32) -> Vec<Event> {
    let entered = time(page::ENTERED).map(|begin| Begun { begin, line: None });
    let steps = lines.iter().filter_map(|line| {
        let begin = time(page::slot(line.0))?;
        Some(Begun {
            begin,
            line: Some(line),
        })
    });
    let mut begun: Vec<Begun<'_>> = entered.into_iter().chain(steps).collect();
    begun.sort_by_key(|step| (step.begin, step.line.map(|line| line.0)));
    let failed = time(page::FAILED);
    let mut events = Vec::with_capacity(begun.len());
    for (position, step) in begun.iter().enumerate() {
        let next = begun.get(position + 1).map(|next| next.begin);
        let mut event = step.event(next.or(failed).unwrap_or(end), pid);
        if next.is_none() && failed.is_some() {
            event.args.push(("failed", "true".to_owned()));
        }
        events.push(event);
    }
    events
}

/// Memory of this size that nobody can make shorter or longer: who has mapped it is safe from SIGBUS.
fn shared(bytes: usize) -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // MFD_NOEXEC_SEAL is wanted since kernel 6.3 and unknown before.
    let fd = match rustix::fs::memfd_create(c"runtime-trace", flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(c"runtime-trace", flags)?,
        other => other?,
    };
    rustix::fs::ftruncate(&fd, bytes as u64)?;
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    above_standard(fd).map_err(|_| Errno::MFILE)
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
