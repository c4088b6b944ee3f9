//! `start`: lets the program of a created container begin.

use runtime_core::Result;

use crate::args::{Command, Matches};
use crate::fail::Outcome;
use crate::notify::{self, Proxy};
use crate::session::Session;

pub(crate) const COMMAND: Command = Command {
    name: "start",
    about: "start the program of a created container",
    words: "CONTAINER-ID",
    min: 1,
    max: 1,
    first_word_ends_options: false,
    failure: 1,
    text: "   The program that the configuration names begins to run; the container was made by create.",
    flags: &[],
    run,
};

fn run(session: &Session, matches: &Matches) -> Outcome {
    let id = matches.id()?;
    let mut container = session.container(&id)?;
    let dir = session.container_dir(&id);
    // The socket must be there before the program can write to it.
    let proxy = notify::host()
        .filter(|_| dir.join(notify::DIRECTORY).is_dir())
        .map(|host| Proxy::bind(&dir, &host))
        .transpose()?;
    container.start()?;
    session.running(&container);
    let wait = |proxy: Proxy| -> Result<()> { proxy.wait_ready(&session.log, &container) };
    proxy.map(wait).transpose()?;
    Ok(0)
}
