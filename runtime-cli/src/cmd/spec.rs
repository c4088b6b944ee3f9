//! `spec`: writes a configuration to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind as Io, Write};
use std::path::PathBuf;

use runtime_core::{Error, ErrorKind};

use crate::args::{Command, Flag, Matches};
use crate::cmd::launch;
use crate::fail::Outcome;
use crate::session::Session;

const DEFAULT: &str = "config.json";

pub(crate) const COMMAND: Command = Command {
    name: "spec",
    about: "write a new configuration",
    words: "",
    min: 0,
    max: 0,
    first_word_ends_options: false,
    failure: 1,
    text: "   Writes a config.json that runs sh in the directory rootfs; edit it to your needs.",
    flags: &[
        launch::BUNDLE,
        Flag::option(
            "file",
            "FILE",
            "the configuration's name in the bundle (default: config.json)",
        )
        .short('f'),
        Flag::switch(
            "rootless",
            "for a caller without privileges: adds a user namespace",
        ),
    ],
    run,
};

fn run(session: &Session, matches: &Matches) -> Outcome {
    let file = matches.path("file").unwrap_or_else(|| PathBuf::from(DEFAULT));
    let path = matches
        .path("bundle")
        .unwrap_or_else(|| PathBuf::from("."))
        .join(&file);
    let text = session.runtime().default_config(matches.has("rootless"))?;
    let call = || format!("open({path:?}, O_WRONLY|O_CREAT|O_EXCL, 0666)");
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(|error| match error.kind() {
            Io::AlreadyExists => Error::new(
                ErrorKind::InvalidArgument,
                format!("File {} exists. Remove it first", file.display()),
            ),
            _ => Error::os(call(), error),
        })?;
    file.write_all(text.as_bytes())
        .map_err(|error| Error::os(format!("write({path:?})"), error))?;
    Ok(0)
}
