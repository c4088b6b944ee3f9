//! `ps`: the processes of a container, as the host's ps(1) shows them or as a list of pids.

use std::ffi::OsString;
use std::process::Command as Program;

use runtime_core::{Error, ErrorKind, Result};

use crate::args::{Command, Flag, Matches};
use crate::fail::Outcome;
use crate::output::out;
use crate::session::Session;

pub(crate) const COMMAND: Command = Command {
    name: "ps",
    about: "show the processes of a container",
    words: "CONTAINER-ID [PS-OPTION...]",
    min: 1,
    max: usize::MAX,
    first_word_ends_options: true,
    failure: 1,
    text: "   The table is the output of the host's ps(1), called with the options given behind the id (default: -ef),\n   \
           without the lines of other processes; it must have a column PID.",
    flags: &[Flag::option(
        "format",
        "FORMAT",
        "table or json, a list of pids (default: table)",
    )
    .choices(&["table", "json"])
    .short('f')],
    run,
};

fn run(session: &Session, matches: &Matches) -> Outcome {
    let json = matches.choice("format", false, &[("table", false), ("json", true)])?;
    let pids = session.container(&matches.id()?)?.processes()?;
    if json {
        let text = serde_json::to_string(&pids)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        out(&format!("{text}\n"));
    } else {
        let options = matches.words().get(1..).unwrap_or_default();
        out(&filtered(&listing(options)?, &pids)?);
    }
    Ok(0)
}

/// What ps(1) says.
fn listing(options: &[OsString]) -> Result<String> {
    let mut ps = Program::new("ps");
    if options.is_empty() {
        ps.arg("-ef");
    } else {
        ps.args(options);
    }
    let output = ps
        .output()
        .map_err(|error| Error::os("execve(\"ps\")", error).with_hint("install the package procps"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let message = format!("ps failed, {}: {}", output.status, said.trim());
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

/// The header and the lines of these processes.
fn filtered(listing: &str, pids: &[i32]) -> Result<String> {
    let mut lines = listing.lines();
    let header = lines.next().unwrap_or_default();
    let column = header
        .split_whitespace()
        .position(|title| title == "PID")
        .ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                "couldn't find PID field in ps output: allowed are ps options that show this column",
            )
        })?;
    let ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column);
        pid.and_then(|pid| pid.parse().ok())
            .is_some_and(|pid: i32| pids.contains(&pid))
    };
    let mut text = format!("{header}\n");
    for line in lines.filter(ours) {
        text.push_str(line);
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str =
        "UID   PID  PPID CMD\nroot    7     1 init 9\nroot   77     1 other\nbin     9     7 sh -c 77\n";

    #[test]
    fn only_the_containers_lines_stay() {
        let text = filtered(LISTING, &[7, 9]).expect("a listing");
        assert_eq!(
            text,
            "UID   PID  PPID CMD\nroot    7     1 init 9\nbin     9     7 sh -c 77\n"
        );
        assert_eq!(
            filtered(LISTING, &[]).expect("a listing"),
            "UID   PID  PPID CMD\n"
        );
    }

    #[test]
    fn a_listing_without_pids_is_refused() {
        let error = filtered("USER COMMAND\nroot init\n", &[1]).expect_err("no column");
        assert!(error.to_string().contains("couldn't find PID field"), "{error}");
    }
}
