//! How long what takes: a record of times that a caller asks for, in this process and in init.
//!
//! ```no_run
//! use runtime_core::{Runtime, Trace};
//!
//! let trace = Trace::on();
//! let runtime = Runtime::new("/run/my-engine").traced(&trace);
//! let _ = runtime.containers(); // and what else is to be timed, from any thread
//! std::fs::write("/dev/null", trace.to_json())?; // for ui.perfetto.dev
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A [`Trace`] is a handle: whoever has a copy adds to the same record, and there is none that all share, so that
//! operations of several threads are told apart by giving each its own. One that is off (the default) costs a comparison
//! for each step.
//!
//! Lives here: the record and its forms. Must not live here: what is worth a span (each operation's own business) and how
//! init is watched (`launch/watch.rs`).

mod chrome;
mod clock;
mod table;

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use clock::{Reading, now};

/// The longest name or argument that is kept, in bytes.
const LONGEST: usize = 1024;

/// A record of times, or none.
#[derive(Debug, Clone, Default)]
pub struct Trace(Option<Arc<Mutex<Vec<Event>>>>);

/// Which program's time it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Actor {
    /// The process that called the library.
    Runtime,
    /// init, in the container that is being made or entered.
    Init,
}

impl Actor {
    /// `runtime` or `init`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Init => "init",
        }
    }
}

/// Something that took time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Who did it.
    pub actor: Actor,
    /// The process, as this one sees it.
    pub pid: i32,
    /// The thread.
    pub thread: i32,
    /// What was done. It may hold any character that a configuration may hold.
    pub name: Cow<'static, str>,
    /// The kind of step: of init the name of the program's step, else `phase`, `line` or `wait`.
    pub kind: &'static str,
    /// The line of the schedule, as `runtime plan` numbers it.
    pub line: Option<u32>,
    /// When it began: CLOCK_MONOTONIC, in nanoseconds.
    pub begin: u64,
    /// When it ended, not before `begin`.
    pub end: u64,
    /// More about it, by name.
    pub args: Vec<(&'static str, String)>,
}

impl Trace {
    /// A record that takes times.
    pub fn on() -> Self {
        Self(Some(Arc::default()))
    }

    /// No record.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Whether times are taken.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins something; it ends when the span goes.
    #[inline]
    pub fn span(&self, name: &'static str) -> Span {
        match &self.0 {
            None => Span(None),
            Some(_) => self.open("phase", name.into()),
        }
    }

    /// Times something that may fail; a failure is noted.
    ///
    /// # Errors
    /// Those of `work`.
    #[inline]
    pub fn time<T, E: Display>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut span = self.span(name);
        let done = work();
        span.fails(&done);
        done
    }

    /// Begins something whose name has to be made; called only where times are taken.
    #[cold]
    pub(crate) fn open(&self, kind: &'static str, name: Cow<'static, str>) -> Span {
        Span(self.is_on().then(|| {
            Box::new(Open {
                trace: self.clone(),
                event: Event {
                    actor: Actor::Runtime,
                    pid: rustix::process::getpid().as_raw_pid(),
                    thread: rustix::thread::gettid().as_raw_pid(),
                    name: cut(name),
                    kind,
                    line: None,
                    begin: now(),
                    end: 0,
                    args: Vec::new(),
                },
            })
        }))
    }

    /// What was recorded up to now, in the order of its beginning; what contains another stands before it.
    pub fn events(&self) -> Vec<Event> {
        let Some(events) = &self.0 else { return Vec::new() };
        let mut events = events.lock().unwrap_or_else(PoisonError::into_inner).clone();
        events.sort_by_key(|event| (event.begin, std::cmp::Reverse(event.end)));
        events
    }

    /// The record as a document of Chrome's Trace Event Format, which ui.perfetto.dev and chrome://tracing read. Times are
    /// CLOCK_MONOTONIC, so that records of several commands fit together.
    pub fn to_json(&self) -> String {
        chrome::document(&self.events())
    }

    /// The record as a table for people. Control characters are escaped.
    pub fn to_table(&self) -> String {
        table::table(&self.events())
    }

    pub(crate) fn add(&self, event: Event) {
        if let Some(events) = &self.0 {
            events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        }
    }
}

/// Something that has begun. It ends, and is recorded, when this value goes.
#[derive(Debug)]
#[must_use = "what is timed ends with this value"]
pub struct Span(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    trace: Trace,
    event: Event,
}

impl Span {
    /// A span that is not recorded.
    pub(crate) const NONE: Self = Self(None);

    /// Adds something about it; not looked at where no times are taken.
    pub fn note(&mut self, key: &'static str, value: impl Display) {
        if let Some(open) = &mut self.0 {
            let value = cut(value.to_string().into()).into_owned();
            open.event.args.push((key, value));
        }
    }

    /// Says which line of the schedule it is.
    pub(crate) fn at_line(&mut self, line: usize) {
        if let Some(open) = &mut self.0 {
            open.event.line = u32::try_from(line).ok();
        }
    }

    /// Notes a failure as `error`.
    pub fn fails<T, E: Display>(&mut self, done: &Result<T, E>) {
        if let (Some(_), Err(error)) = (&self.0, done) {
            self.note("error", error);
        }
    }
}

impl Drop for Span {
    #[inline]
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            end(*open);
        }
    }
}

#[cold]
fn end(open: Open) {
    let Open { trace, mut event } = open;
    event.end = now().max(event.begin);
    trace.add(event);
}

/// A text that is not longer than [`LONGEST`].
pub(crate) fn cut(text: Cow<'static, str>) -> Cow<'static, str> {
    if text.len() <= LONGEST {
        return text;
    }
    let head = text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default();
    format!("{head}...").into()
}

/// A text without control characters: what comes from strangers must not reach a terminal as it is.
fn shown(text: &str) -> Cow<'_, str> {
    if text.chars().any(hidden) {
        text.chars()
            .fold(String::new(), |mut shown, char| {
                if hidden(char) {
                    shown.extend(char.escape_unicode());
                } else {
                    shown.push(char);
                }
                shown
            })
            .into()
    } else {
        text.into()
    }
}

/// Control characters, and those that turn the direction of what follows.
fn hidden(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
