//! `kill`: sends a signal to a container, or to several.

use runtime_core::{Container, Error, ErrorKind, Result, Signal, Status};

use crate::args::{Command, Flag, Matches};
use crate::cmd::select;
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
    text: "   SIGNAL is a name, with or without SIG, or a number; 0 only asks whether the container runs. It goes to the\n   \
           container's first process; SIGKILL goes to all where the container shares its pid namespace with others.",
    flags: &[
        // Engines pass it: a container without any process is no failure then.
        Flag::switch(
            "all",
            "signal every process of the container; a container without processes is no failure",
        )
        .short('a'),
        select::REGEX,
    ],
    run,
};

fn run(session: &Session, matches: &Matches) -> Outcome {
    let typed = matches
        .word(1)
        .map(|word| word.to_string_lossy())
        .filter(|word| !word.is_empty());
    let signal = match typed.as_deref() {
        Some("0") => None,
        typed => Some(typed.map_or(Ok(Signal::TERM), str::parse)?),
    };
    let all = matches.has("all");
    select::each(session, matches, "signalled", false, |id| {
        send(&session.container(id)?, signal, all)
    })?;
    Ok(0)
}

fn send(container: &Container, signal: Option<Signal>, all: bool) -> Result<()> {
    match signal.map_or_else(|| alive(container), |signal| container.kill(signal, all)) {
        Err(error) if all && error.kind() == ErrorKind::NotRunning => Ok(()),
        sent => sent,
    }
}

/// What kill(2) tests with signal 0.
fn alive(container: &Container) -> Result<()> {
    match container.state()?.status {
        Status::Stopped => Err(Error::new(ErrorKind::NotRunning, "container not running")),
        _ => Ok(()),
    }
}
