//! `resume`: let a paused container go on.

use crate::args::{Command, Matches};
use crate::fail::Outcome;
use crate::session::Session;

pub(crate) const COMMAND: Command = Command {
    name: "resume",
    about: "let a paused container go on",
    words: "CONTAINER-ID",
    min: 1,
    max: 1,
    first_word_ends_options: false,
    failure: 1,
    text: "   All its processes are thawed.",
    flags: &[],
    run,
};

fn run(session: &Session, matches: &Matches) -> Outcome {
    session.container(&matches.id()?)?.resume()?;
    Ok(0)
}
