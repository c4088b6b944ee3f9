//! `man`: the manual pages.

use std::ffi::OsStr;
use std::path::Path;

use runtime_core::{Error, ErrorKind, Result};

use crate::args::{Command, Flag, Matches};
use crate::fail::Outcome;
use crate::man;
use crate::output::out;
use crate::session::{GLOBALS, Session};

pub(crate) const COMMAND: Command = Command {
    name: "man",
    about: "print a manual page, or write all of them",
    words: "[COMMAND]",
    min: 0,
    max: 1,
    first_word_ends_options: false,
    failure: 1,
    text: "   The page of the program, or of a command, in the form that man(1) reads: runtime man exec | man -l -",
    flags: &[Flag::option(
        "output",
        "DIR",
        "write all pages into this directory (runtime.1, runtime-COMMAND.1) and print none",
    )
    .short('o')],
    run,
};

fn run(_session: &Session, matches: &Matches) -> Outcome {
    match (matches.path("output"), matches.word(0)) {
        (Some(_), Some(_)) => {
            let message = "--output writes all pages: it takes no COMMAND beside it";
            Err(Error::new(ErrorKind::InvalidArgument, message).into())
        }
        (Some(dir), None) => {
            write_all(&dir)?;
            Ok(0)
        }
        (None, Some(name)) => {
            out(&man::command("runtime", find(name)?));
            Ok(0)
        }
        (None, None) => {
            out(&man::program("runtime", GLOBALS, super::ALL));
            Ok(0)
        }
    }
}

fn find(name: &OsStr) -> Result<&'static Command> {
    let found = super::ALL.iter().copied().find(|command| name == command.name);
    found.ok_or_else(|| {
        let names: Vec<&str> = super::ALL.iter().map(|command| command.name).collect();
        let message = format!(
            "there is no command {:?} (allowed: {})",
            name.to_string_lossy(),
            names.join(", ")
        );
        Error::new(ErrorKind::InvalidArgument, message)
    })
}

fn write_all(dir: &Path) -> Result<()> {
    let write = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|error| Error::os(format!("write({path:?})"), error))
    };
    write("runtime.1", man::program("runtime", GLOBALS, super::ALL))?;
    for command in super::ALL {
        write(
            &format!("runtime-{}.1", command.name),
            man::command("runtime", command),
        )?;
    }
    Ok(())
}
