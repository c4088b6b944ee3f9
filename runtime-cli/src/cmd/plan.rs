//! `plan`: shows the schedule of a bundle without doing any of it.

use std::path::PathBuf;

use runtime_core::spec::LoadedSpec;
use runtime_core::{CreateRequest, Error, Terminal};

use crate::args::{Command, Flag, Matches};
use crate::cmd::{device, launch};
use crate::fail::Outcome;
use crate::output::out;
use crate::session::Session;

pub(crate) const COMMAND: Command = Command {
    name: "plan",
    about: "show what create would do",
    words: "[BUNDLE]",
    min: 0,
    max: 1,
    first_word_ends_options: false,
    failure: 1,
    text: "   The list of steps, in order, that make a container of the bundle, with the actor of each and the field\n   \
           of the configuration that it comes from. Nothing is done.",
    flags: &[
        Flag::option("format", "FORMAT", "text or json (default: text)").choices(&["text", "json"]),
        launch::CONFIG,
        launch::NO_PIVOT,
        launch::NO_NEW_KEYRING,
        device::DEVICE,
        device::CDI_SPEC_DIR,
        device::GPU_CONFIG,
        device::NATIVE_HOOKS,
    ],
    run,
};

fn run(session: &Session, matches: &Matches) -> Outcome {
    let as_json = matches.choice("format", false, &[("text", false), ("json", true)])?;
    let bundle = matches.word(0).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let bundle =
        std::fs::canonicalize(&bundle).map_err(|error| Error::os(format!("realpath({bundle:?})"), error))?;
    let spec = LoadedSpec::from_bundle(&bundle, matches.text("config")?.unwrap_or("config.json"))?;
    let wants_terminal = spec
        .spec
        .process()
        .as_ref()
        .and_then(|process| process.terminal())
        == Some(true);
    let mut request = CreateRequest::new("plan".parse()?, bundle, spec);
    request.terminal = if wants_terminal {
        Terminal::Keep
    } else {
        Terminal::None
    };
    device::set(matches, &mut request)?;
    request.no_pivot = matches.has("no-pivot");
    request.no_new_keyring = matches.has("no-new-keyring");
    // A plan needs no privilege, so it is made for a caller who has what the configuration asks for.
    let runtime = session.runtime();
    let plan = runtime.plan(&request, &runtime.facts()?.as_root())?;
    if as_json {
        out(&format!("{:#}\n", plan.to_json()));
    } else {
        out(&plan.to_text());
    }
    Ok(0)
}
