//! `delete`: removes a container and what it left behind.

use crate::args::{Command, Flag, Matches};
use crate::fail::Outcome;
use crate::session::Session;

pub(crate) const COMMAND: Command = Command {
    name: "delete",
    about: "delete a container",
    words: "CONTAINER-ID",
    min: 1,
    max: 1,
    first_word_ends_options: false,
    failure: 1,
    text: "   The container must have ended or not have been started; with --force it is killed first.",
    flags: &[Flag::switch(
        "force",
        "kill the container first; a missing container is no failure",
    )
    .short('f')],
    run,
};

fn run(session: &Session, matches: &Matches) -> Outcome {
    let deleted = session.runtime().delete(&matches.id()?, matches.has("force"))?;
    for warning in deleted.warnings {
        session.log.warn(format_args!("{warning}"));
    }
    Ok(0)
}
