//! `create`: makes a container whose program waits for `start`.

use runtime_core::{CreateRequest, Result, Runtime};

use crate::args::{Command, Flag, Matches};
use crate::cmd::device;
use crate::cmd::launch::{self, Launch};
use crate::fail::{Failure, Outcome};
use crate::session::Session;

/// What failures begin with.
const VERB: &str = "runc create";

const FLAGS: &[Flag] = &[
    launch::BUNDLE,
    launch::CONFIG,
    launch::CONSOLE_SOCKET,
    launch::PIDFD_SOCKET,
    launch::PID_FILE,
    launch::NO_PIVOT,
    launch::NO_NEW_KEYRING,
    launch::PRESERVE_FDS,
    device::DEVICE,
    device::CDI_SPEC_DIR,
    device::GPU_CONFIG,
    device::NATIVE_HOOKS,
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
    let (runtime, request) = prepare(session, matches).map_err(|error| Failure::beside(VERB, error))?;
    let container = runtime
        .create(request)
        .map_err(|error| Failure::starting(VERB, error))?;
    session.set_up(&container);
    Ok(0)
}

fn prepare<'a>(session: &'a Session, matches: &Matches) -> Result<(&'a Runtime, CreateRequest)> {
    let runtime = session.runtime();
    Ok((runtime, Launch::from(matches)?.request(session, matches, true)?))
}
