//! `list`: the containers of a state directory.

use runtime_core::{Error, ErrorKind};

use crate::args::{Command, Flag, Matches};
use crate::fail::Outcome;
use crate::output::{err, out, table};
use crate::session::Session;

pub(crate) const COMMAND: Command = Command {
    name: "list",
    about: "list the containers of a state directory",
    words: "",
    min: 0,
    max: 0,
    first_word_ends_options: false,
    failure: 1,
    text: "   The state directory is the one of the global option --root. A container whose record cannot be read has no row;\n   \
           standard error names it. The exit status is 0 then, as runc's: clients that read the rows, go-runc among them,\n   \
           would throw all of them away.",
    flags: &[
        Flag::option("format", "FORMAT", "table or json (default: table)")
            .choices(&["table", "json"])
            .short('f'),
        Flag::switch("quiet", "only the ids").short('q'),
    ],
    run,
};

fn run(session: &Session, matches: &Matches) -> Outcome {
    let json = match matches.text("format")?.unwrap_or("table") {
        "table" => false,
        "json" => true,
        // runc's words, then ours.
        other => {
            let message = format!("invalid format option: --format {other:?} (allowed: table, json)");
            return Err(Error::new(ErrorKind::InvalidArgument, message).into());
        }
    };
    let root = session.runtime().root();
    if session.root_given() {
        // Nobody has made a container there, or the path is wrong: who typed it wants to know.
        std::fs::metadata(root).map_err(|error| Error::os(format!("open({root:?})"), error))?;
    }
    let mut states = Vec::new();
    for (name, container) in session.runtime().containers()? {
        match container.and_then(|container| container.state()) {
            Ok(state) => states.push(state),
            // Deleted by another process between the two looks.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => err(&format!("load container {}: {error}\n", name.escape_debug())),
        }
    }
    if matches.has("quiet") {
        states.iter().for_each(|state| out(&format!("{}\n", state.id)));
    } else if json {
        let text = serde_json::to_string(&states)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        out(&format!("{text}\n"));
    } else {
        out(&table(&states));
    }
    Ok(0)
}
