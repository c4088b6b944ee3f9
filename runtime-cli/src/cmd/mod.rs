//! The commands and the way to them. A new command is a file here and a line in [`ALL`].

mod checkpoint;
pub(crate) mod completion;
mod create;
mod criu;
mod delete;
mod device;
mod events;
mod exec;
mod features;
mod gpu;
mod info;
mod install_init;
mod kill;
mod launch;
mod list;
mod man;
mod pause;
mod plan;
mod ps;
mod restore;
mod resume;
mod run;
mod select;
mod spec;
mod start;
mod state;
mod update;

use std::ffi::OsString;
use std::path::Path;

use runtime_core::Result;

use crate::args::{Asked, Command, Matches, Misuse, parse};
use crate::fail::{Failure, Outcome};
use crate::help;
use crate::inherited::{self, Inherited};
use crate::log::Log;
use crate::output::out;
use crate::session::{GLOBALS, Session};
use crate::trace::Recording;

/// Every command, in the order of the help.
pub(crate) const ALL: &[&Command] = &[
    &checkpoint::COMMAND,
    &completion::COMMAND,
    &create::COMMAND,
    &delete::COMMAND,
    &info::DOCTOR,
    &events::COMMAND,
    &exec::COMMAND,
    &features::COMMAND,
    &gpu::COMMAND,
    &info::INFO,
    &install_init::COMMAND,
    &kill::COMMAND,
    &list::COMMAND,
    &man::COMMAND,
    &pause::COMMAND,
    &plan::COMMAND,
    &ps::COMMAND,
    &restore::COMMAND,
    &resume::COMMAND,
    &run::COMMAND,
    &spec::COMMAND,
    &start::COMMAND,
    &state::COMMAND,
    &update::COMMAND,
];

/// Follows the command line; the exit code.
pub(crate) fn main(words: Vec<OsString>) -> u8 {
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_default();
    let name = Path::new(&program)
        .file_name()
        .unwrap_or("runtime".as_ref())
        .to_string_lossy()
        .into_owned();
    let (globals, asked) = parse(&name, words.collect(), GLOBALS, ALL);
    match asked {
        Ok(Asked::Help(None)) => out(&help::program(&name, GLOBALS, ALL)),
        Ok(Asked::Help(Some(command))) => out(&help::command(&name, command)),
        Ok(Asked::Version) => out(&help::version()),
        Ok(Asked::Run(command, matches)) => return follow(command, &globals, &matches),
        Err(misuse) => return complain(&name, &globals, misuse),
    }
    0
}

/// Runs a command with its log.
fn follow(command: &Command, globals: &Matches, matches: &Matches) -> u8 {
    let inherited = inherited(command, matches);
    let log = match Log::open(globals) {
        Ok(log) => log,
        Err(error) => {
            Log::plain().fatal(&error.into());
            return 1;
        }
    };
    let recording = match Recording::open(globals) {
        Ok(recording) => recording,
        Err(error) => {
            log.fatal(&error.into());
            return 1;
        }
    };
    let session = match Session::new(globals, log, inherited, recording.trace()) {
        Ok(session) => session,
        Err((log, error)) => {
            log.fatal(&error.into());
            return 1;
        }
    };
    let outcome = timed(command, &session, matches);
    // The command has done what it did: a trace that is lost is no failure of it.
    if let Err(error) = recording.write() {
        session.log.warn(format_args!("{error}"));
    }
    match outcome {
        Ok(code) => {
            session.log.finish();
            code
        }
        Err(mut failure) => {
            failure.error = session.explained(failure.error);
            session.log.fatal(&failure);
            failure.bare.unwrap_or(command.failure)
        }
    }
}

/// The command, as the span that everything else is in.
fn timed(command: &Command, session: &Session, matches: &Matches) -> Outcome {
    let mut span = session.trace.span(command.name);
    if let Some(word) = matches
        .word(0)
        .filter(|_| command.words.starts_with("CONTAINER-ID"))
    {
        span.note("id", word.to_string_lossy());
    }
    let outcome = (command.run)(session, matches);
    match &outcome {
        Ok(code) => span.note("exit", code),
        Err(failure) => span.note("error", failure.message()),
    }
    outcome
}

/// The descriptors that the caller names by their numbers.
fn inherited(command: &Command, matches: &Matches) -> Result<Inherited> {
    let takes = |long: &str| command.flags.iter().any(|flag| flag.long == long);
    let preserve = launch::PRESERVE_FDS.long;
    if takes(preserve) {
        return matches.count(preserve).and_then(Inherited::collect);
    }
    let status = matches.value(checkpoint::STATUS_FD.long);
    Ok(Inherited {
        status: inherited::status(status)?,
        ..Inherited::default()
    })
}

/// Shows the help that fits, and the complaint as an error.
fn complain(name: &str, globals: &Matches, misuse: Misuse) -> u8 {
    if let Some(heading) = &misuse.heading {
        let help = match misuse.command {
            Some(command) => help::command(name, command),
            None => help::program(name, GLOBALS, ALL),
        };
        out(&format!("{heading}\n\n{help}"));
    }
    let error = runtime_core::Error::new(runtime_core::ErrorKind::InvalidArgument, misuse.message);
    let log = Log::open(globals).unwrap_or_else(|_| Log::plain());
    log.fatal(&Failure::from(error));
    misuse.exit
}
