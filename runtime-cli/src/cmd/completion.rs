//! `completion`: the completion script of a shell.

use runtime_core::{Error, ErrorKind};

use crate::args::{Command, Matches};
use crate::completion;
use crate::fail::Outcome;
use crate::output::out;
use crate::session::{GLOBALS, Session};

/// The shells that there is a script for.
pub(crate) const SHELLS: &[&str] = &["bash", "zsh", "fish"];

pub(crate) const COMMAND: Command = Command {
    name: "completion",
    about: "print the completion script of a shell",
    words: "SHELL",
    min: 1,
    max: 1,
    first_word_ends_options: false,
    failure: 1,
    text: "   SHELL is bash, zsh or fish. To try it in bash: source <(runtime completion bash)",
    flags: &[],
    run,
};

fn run(_session: &Session, matches: &Matches) -> Outcome {
    let typed = matches.word(0).unwrap_or_default().to_string_lossy();
    let script = match &*typed {
        "bash" => completion::bash,
        "zsh" => completion::zsh,
        "fish" => completion::fish,
        other => {
            let message = format!(
                "there is no completion for {other:?} (allowed: {})",
                SHELLS.join(", ")
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message).into());
        }
    };
    out(&script("runtime", GLOBALS, super::ALL));
    Ok(0)
}
