//! `events`: what a container uses and what happens to it, one line of JSON each.
//!
//! containerd reads these lines through go-runc: the names and their order are runc's.

use std::io::Write;
use std::time::{Duration, Instant};

use runtime_core::{Container, Error, ErrorKind, Event, Result, Stats, Status};
use serde::Serialize;

use crate::amounts;
use crate::args::{Command, Flag, Matches, bad_value};
use crate::fail::Outcome;
use crate::session::Session;

const INTERVAL: &str = "interval";

pub(crate) const COMMAND: Command = Command {
    name: "events",
    about: "show what a container uses and what happens to it",
    words: "CONTAINER-ID",
    min: 1,
    max: 1,
    first_word_ends_options: false,
    failure: 1,
    text: "   Each line is a JSON object: \"stats\" after each interval, \"oom\" when the container needs more memory than it may\n   \
           have. The command ends when the container has ended.",
    flags: &[
        Flag::option(
            INTERVAL,
            "DURATION",
            "time between two lines of statistics, as 1m, 1.5s or 100ms (default: 5s)",
        ),
        Flag::switch("stats", "print the statistics once, and end"),
    ],
    run,
};

/// A line.
#[derive(Serialize)]
struct Line<'a> {
    r#type: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data>,
}

/// The statistics with what runc has beside them.
#[derive(Serialize)]
struct Data {
    #[serde(flatten)]
    stats: Stats,
    intel_rdt: IntelRdt,
    /// runc fills it for networks that it made itself, and makes none for a configuration of the specification.
    network_interfaces: (),
}

/// No container of ours is in a resource group.
#[derive(Serialize)]
struct IntelRdt {}

fn run(session: &Session, matches: &Matches) -> Outcome {
    let interval = interval(matches)?;
    let container = session.container(&matches.id()?)?;
    if container.status()? == Status::Stopped {
        let message = format!("container with id {} is not running", container.id());
        return Err(Error::new(ErrorKind::NotRunning, message).into());
    }
    if matches.has("stats") {
        print(&container, "stats", Some(container.stats()?))?;
    } else {
        follow(session, &container, interval)?;
    }
    Ok(0)
}

fn interval(matches: &Matches) -> Result<Duration> {
    let Some(text) = matches.text(INTERVAL)? else {
        return Ok(Duration::from_secs(5));
    };
    match amounts::duration(text) {
        Some(Duration::ZERO) => Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("--{INTERVAL} {text}: duration interval must be greater than 0"),
        )),
        Some(interval) => Ok(interval),
        None => Err(bad_value(
            INTERVAL,
            text.as_ref(),
            "a duration as 5s, 1m30s or 100ms",
        )),
    }
}

/// Prints until the container ends, or until nobody reads.
fn follow(session: &Session, container: &Container, interval: Duration) -> Result<()> {
    let mut events = container.events()?;
    if !events.tells_oom() {
        session.log.warn(format_args!(
            "no memory controller counts for this container: lack of memory is not told"
        ));
    }
    // An interval that the clock cannot count is longer than the container lives.
    let after = |begin: Instant| begin.checked_add(interval);
    let mut due = after(Instant::now());
    loop {
        let left = due.map(|due| due.saturating_duration_since(Instant::now()));
        let read = match events.next(left)? {
            Some(Event::Oom) => print(container, "oom", None)?,
            None => {
                // A pause of this process is no reason to print several lines at once.
                due = due.and_then(after).max(Some(Instant::now()));
                match container.stats() {
                    Ok(stats) => print(container, "stats", Some(stats))?,
                    // It is about to end.
                    Err(error) if error.kind() == ErrorKind::NotRunning => true,
                    Err(error) => return Err(error),
                }
            }
            Some(_) => return Ok(()),
        };
        if !read {
            return Ok(());
        }
    }
}

/// Prints one line; false where nobody reads.
fn print(container: &Container, kind: &'static str, stats: Option<Stats>) -> Result<bool> {
    let line = Line {
        r#type: kind,
        id: container.id().as_str(),
        data: stats.map(|stats| Data {
            stats,
            intel_rdt: IntelRdt {},
            network_interfaces: (),
        }),
    };
    let mut text =
        serde_json::to_string(&line).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    text.push('\n');
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::os("write(stdout)", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_without_data_is_as_short_as_runcs() {
        let line = Line {
            r#type: "oom",
            id: "c1",
            data: None,
        };
        let text = serde_json::to_string(&line).expect("JSON");
        assert_eq!(text, r#"{"type":"oom","id":"c1"}"#);
    }

    #[test]
    fn the_parts_of_the_statistics_are_in_runcs_order() {
        let data = Data {
            stats: Stats::default(),
            intel_rdt: IntelRdt {},
            network_interfaces: (),
        };
        let text = serde_json::to_string(&data).expect("JSON");
        let names = [
            "cpu",
            "cpuset",
            "memory",
            "pids",
            "blkio",
            "hugetlb",
            "intel_rdt",
            "network_interfaces",
        ];
        let places: Vec<_> = names
            .iter()
            .map(|name| text.find(&format!("\"{name}\":")))
            .collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
        assert!(
            text.ends_with(r#""intel_rdt":{},"network_interfaces":null}"#),
            "{text}"
        );
    }
}
