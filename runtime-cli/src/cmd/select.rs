//! What kill and delete share: one container by its id, or all whose ids match a regular expression.
//!
//! Each container is tried; what failed is said for each, and the command fails once, with how many.

use regex_lite::Regex;
use runtime_core::{ContainerId, Error, ErrorKind, Result};

use crate::args::{Flag, Matches};
use crate::session::Session;

pub(crate) const REGEX: Flag = Flag::switch(
    "regex",
    "CONTAINER-ID is a regular expression: every container with a match anywhere in its id (^ and $ are its ends)",
)
.short('r');

/// Acts on the container that the first word names, or on all that it matches; `nobody_is_fine`: where it matches
/// none, that is no failure. `done` is what happens to each, as in "2 of 3 containers were not killed".
pub(crate) fn each(
    session: &Session,
    matches: &Matches,
    done: &str,
    nobody_is_fine: bool,
    act: impl Fn(&ContainerId) -> Result<()>,
) -> Result<()> {
    if !matches.has(REGEX.long) {
        return act(&matches.id()?);
    }
    let typed = matches.word(0).unwrap_or_default().to_string_lossy();
    let expression = Regex::new(&typed).map_err(|error| {
        let message = format!("invalid regular expression {typed:?}: {error}");
        Error::new(ErrorKind::InvalidArgument, message)
    })?;
    let (mut tried, mut failed) = (0, 0);
    for name in session.runtime().containers()?.ids() {
        if !expression.is_match(&name) {
            continue;
        }
        match act(&name.parse()?) {
            // Deleted by somebody else between the list and its turn.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                failed += 1;
                session.log.warn(format_args!("container {name}: {error}"));
            }
            Ok(()) => {}
        }
        tried += 1;
    }
    match (tried, failed) {
        (0, _) if !nobody_is_fine => {
            let message = format!("no container's id matches the regular expression {typed:?}");
            Err(Error::new(ErrorKind::NotFound, message))
        }
        (_, 0) => Ok(()),
        _ => {
            let message = format!("{failed} of {tried} containers were not {done}");
            Err(Error::new(ErrorKind::System, message))
        }
    }
}
