//! The record for people: one line for each event in the order of time, what is within another further to the right.

use std::fmt::Write as _;

use super::{Event, shown};

/// The table. Times are milliseconds, the first event's beginning is 0.
pub(super) fn table(events: &[Event]) -> String {
    let mut text = String::from("    at ms    took ms  process  what\n");
    let origin = events.first().map_or(0, |event| event.begin);
    // What has begun and not ended, of all threads.
    let mut open: Vec<&Event> = Vec::new();
    for event in events {
        open.retain(|other| other.end > event.begin || (other.end, other.begin) == (event.end, event.begin));
        let same = |other: &&&Event| (other.pid, other.thread) == (event.pid, event.thread);
        let depth = open.iter().filter(same).count();
        open.push(event);
        let begin = milliseconds(event.begin - origin);
        let took = milliseconds(event.end - event.begin);
        let actor = event.actor.as_str();
        let indent = 2 * depth;
        let _ = write!(text, "{begin:>9}  {took:>9}  {actor:7}  {:indent$}", "");
        if let Some(line) = event.line {
            let _ = write!(text, "{line}: ");
        }
        text.push_str(&shown(&event.name));
        for (key, value) in &event.args {
            let _ = write!(text, "  {key}={}", shown(value));
        }
        text.push('\n');
    }
    text
}

fn milliseconds(nanoseconds: u64) -> String {
    format!("{}.{:03}", nanoseconds / 1_000_000, nanoseconds / 1000 % 1000)
}
