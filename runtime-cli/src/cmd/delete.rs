//! `delete`: removes a container, or several, and what they left behind.

use runtime_core::ErrorKind;

use crate::args::{Command, Flag, Matches};
use crate::cmd::select;
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
    text: "   The container must have ended or not have been started; with --force it is killed first. A damaged record is\n   \
           followed as far as it can be read then, with a warning; one that a newer version wrote is kept.",
    flags: &[
        Flag::switch(
            "force",
            "kill the container first; a missing container is no failure",
        )
        .short('f'),
        select::REGEX,
    ],
    run,
};

fn run(session: &Session, matches: &Matches) -> Outcome {
    let force = matches.has("force");
    select::each(session, matches, "deleted", force, |id| {
        for warning in session.runtime().delete(id, force)?.warnings {
            // What is not known to be gone is told to who asked, too, not to the log alone.
            let aloud = warning.kind() == ErrorKind::State;
            session.log.warn_aloud(format_args!("{warning}"), aloud);
        }
        Ok(())
    })?;
    Ok(0)
}
