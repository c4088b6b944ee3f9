//! What was done how often, with which outcome; and what must not have happened.

use std::collections::BTreeMap;
use std::sync::Mutex;

use runtime_core::{Error, ErrorKind};

/// How many broken promises are told in full.
const TOLD: usize = 50;

/// By what was done and the kind of its error: how often, and one error in full.
type Seen = BTreeMap<(&'static str, String), (usize, String)>;

#[derive(Default)]
pub(crate) struct Tally {
    seen: Mutex<Seen>,
    broken: Mutex<Vec<String>>,
}

impl Tally {
    /// Counts an outcome. Errors are what a life by chance has; but none that the library calls its own fault.
    pub(crate) fn note<T>(&self, what: &'static str, outcome: &Result<T, Error>) {
        let (kind, text) = match outcome {
            Ok(_) => ("done".to_owned(), String::new()),
            Err(error) => (format!("{:?}", error.kind()), error.to_string()),
        };
        if matches!(outcome, Err(error) if error.kind() == ErrorKind::Internal) {
            self.broken(format!("{what}: {text}"));
        }
        if let Ok(mut seen) = self.seen.lock() {
            seen.entry((what, kind)).or_insert((0, text)).0 += 1;
        }
    }

    pub(crate) fn broken(&self, what: String) {
        if let Ok(mut broken) = self.broken.lock() {
            broken.push(what);
        }
    }

    /// The table, and the broken promises.
    pub(crate) fn told(&self) -> (Vec<String>, Vec<String>) {
        let lines = self.seen.lock().map(|seen| {
            let line = |((what, kind), (count, text)): (&(&str, String), &(usize, String))| {
                format!("{what:26} {kind:16} {count:8}  {text}")
            };
            seen.iter().map(line).collect()
        });
        let broken = self
            .broken
            .lock()
            .map(|broken| broken.iter().take(TOLD).cloned().collect());
        (lines.unwrap_or_default(), broken.unwrap_or_default())
    }
}
