//! `info` and `doctor`: what this host can do for containers, and what it lacks with the way to get it.

use std::fmt::Write;

use runtime_core::doctor::{Finding, State, examine};
use runtime_core::facts::SupportFacts;
use runtime_core::{Error, ErrorKind, Result};
use serde_json::json;

use crate::args::{Command, Flag, Matches};
use crate::fail::Outcome;
use crate::output::out;
use crate::session::Session;

const FLAGS: &[Flag] = &[Flag::option("format", "FORMAT", "text or json (default: text)")
    .choices(&["text", "json"])
    .short('f')];

pub(crate) const INFO: Command = Command {
    name: "info",
    about: "show what this host supports",
    words: "",
    min: 0,
    max: 0,
    first_word_ends_options: false,
    failure: 1,
    text: "   One line for each thing that containers need: how it stands (ok; limited: some containers miss it; missing:\n   \
           none can be made), and what was found; where something is wrong also what it is needed for and how to get\n   \
           it. It is told for the user who asks.",
    flags: FLAGS,
    run: info,
};

pub(crate) const DOCTOR: Command = Command {
    name: "doctor",
    about: "show what this host lacks, or what is wrong with a container",
    words: "[CONTAINER-ID]",
    min: 0,
    max: 1,
    first_word_ends_options: false,
    failure: 1,
    text: "   Without a container: the lines of info that are not ok. The exit code is 0 where containers can be made\n   \
           here, and 1 where something that all of them need is missing.\n   \
           With one: what it was given of devices, whether its nodes are still the host's, and whether the kernel and\n   \
           systemd have the device rules of its configuration. The exit code is 1 where they have not.",
    flags: FLAGS,
    run: doctor,
};

fn info(_session: &Session, matches: &Matches) -> Outcome {
    let findings = examine(&SupportFacts::gather()?);
    show(matches, &findings)?;
    Ok(0)
}

fn doctor(session: &Session, matches: &Matches) -> Outcome {
    if matches.word(0).is_some() {
        let findings = session.container(&matches.id()?)?.examine()?;
        show(matches, &findings)?;
        return Ok(u8::from(
            findings.iter().any(|finding| finding.state != State::Ok),
        ));
    }
    let mut findings = examine(&SupportFacts::gather()?);
    findings.retain(|finding| finding.state != State::Ok);
    show(matches, &findings)?;
    let fatal = findings.iter().any(|finding| finding.state == State::Missing);
    Ok(u8::from(fatal))
}

fn show(matches: &Matches, findings: &[Finding]) -> Result<()> {
    let as_json = matches.choice("format", false, &[("text", false), ("json", true)])?;
    if as_json {
        let text = serde_json::to_string_pretty(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "findings": findings,
        }))
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        out(&format!("{text}\n"));
    } else {
        out(&text(findings));
    }
    Ok(())
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(
            text,
            "{:8} {:16} {}",
            finding.state.as_str(),
            finding.name,
            finding.found
        );
        if let Some(how) = &finding.how {
            let _ = writeln!(
                text,
                "{:25} needed for: {}\n{:25} how to get it: {how}",
                "", finding.why, ""
            );
        }
    }
    text
}
