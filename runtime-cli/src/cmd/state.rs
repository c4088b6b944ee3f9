//! `state`: the state of a container as JSON.

use runtime_core::{Error, ErrorKind};

use crate::args::{Command, Matches};
use crate::fail::Outcome;
use crate::output::out;
use crate::session::Session;

pub(crate) const COMMAND: Command = Command {
    name: "state",
    about: "show the state of a container",
    words: "CONTAINER-ID",
    min: 1,
    max: 1,
    first_word_ends_options: false,
    failure: 1,
    text: "   The state as the runtime specification defines it, as JSON on standard output.",
    flags: &[],
    run,
};

fn run(session: &Session, matches: &Matches) -> Outcome {
    let state = session.container(&matches.id()?)?.state()?;
    let json = serde_json::to_string_pretty(&state)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    out(&json);
    Ok(0)
}
