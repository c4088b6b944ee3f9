//! `kill`: sends a signal to a container.

use runtime_core::{Container, Error, ErrorKind, Result, Signal, Status};

use crate::args::{Command, Flag, Matches};
use crate::fail::Outcome;
use crate::session::Session;

pub(crate) const COMMAND: Command = Command {
    name: "kill",
    about: "send a signal to a container (default: SIGTERM)",
    words: "CONTAINER-ID [SIGNAL]",
    min: 1,
    max: 2,
    first_word_ends_options: false,
    failure: 1,
    text: "   SIGNAL is a name, with or without SIG, or a number; 0 only asks whether the container runs.",
    // Engines still pass it: the signal goes to every process, and a container without any is no failure.
    flags: &[Flag::switch("all", "signal every process of the container")
        .short('a')
        .hidden()],
    run,
};

fn run(session: &Session, matches: &Matches) -> Outcome {
    let all = matches.has("all");
    let typed = matches
        .word(1)
        .map(|word| word.to_string_lossy())
        .filter(|word| !word.is_empty());
    let signal = match typed.as_deref() {
        Some("0") => None,
        typed => Some(typed.map_or(Ok(Signal::TERM), str::parse)?),
    };
    let container = session.container(&matches.id()?)?;
    let sent = signal.map_or_else(|| alive(&container), |signal| container.kill(signal, all));
    match sent {
        Err(error) if all && error.kind() == ErrorKind::NotRunning => Ok(0),
        sent => Ok(sent.map(|()| 0)?),
    }
}

/// What kill(2) tests with signal 0.
fn alive(container: &Container) -> Result<()> {
    match container.state()?.status {
        Status::Stopped => Err(Error::new(ErrorKind::NotRunning, "container not running")),
        _ => Ok(()),
    }
}
