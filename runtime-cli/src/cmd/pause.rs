//! `pause`: freeze all processes of a container.

use crate::args::{Command, Matches};
use crate::fail::Outcome;
use crate::session::Session;

pub(crate) const COMMAND: Command = Command {
    name: "pause",
    about: "freeze all processes of a container",
    words: "CONTAINER-ID",
    min: 1,
    max: 1,
    first_word_ends_options: false,
    failure: 1,
    text: "   They stay as they are until resume.",
    flags: &[],
    run,
};

fn run(session: &Session, matches: &Matches) -> Outcome {
    session.container(&matches.id()?)?.pause()?;
    Ok(0)
}
