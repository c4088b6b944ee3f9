//! `create`: makes a container whose program waits for `start`.

use crate::args::{Command, Flag, Matches};
use crate::cmd::launch::{self, Launch};
use crate::fail::{Failure, Outcome};
use crate::session::Session;

const FLAGS: &[Flag] = &[
    launch::BUNDLE,
    launch::CONFIG,
    launch::CONSOLE_SOCKET,
    launch::PIDFD_SOCKET,
    launch::PID_FILE,
    launch::NO_PIVOT,
    launch::NO_NEW_KEYRING,
    launch::PRESERVE_FDS,
];

pub(crate) const COMMAND: Command = Command {
    name: "create",
    about: "create a container",
    words: "CONTAINER-ID",
    min: 1,
    max: 1,
    first_word_ends_options: false,
    failure: 1,
    text: launch::WHERE,
    flags: FLAGS,
    run,
};

fn run(session: &Session, matches: &Matches) -> Outcome {
    let create = || {
        let runtime = session.creating_runtime()?;
        let request = Launch::from(matches)?.request(session, true)?;
        let container = runtime.create(request)?;
        session.set_up(&container);
        Ok(0)
    };
    create().map_err(|error| Failure::launch("runc create", error))
}
