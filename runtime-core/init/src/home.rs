//! HOME, the one thing that init reads from a text of the container: a hostile file, so only a regular one is read, only
//! so much of it, and never one that could block (fifos, devices).

use runtime_core_program::step::NO_HOME;

use crate::failure::Outcome;
use crate::passwd::Search;
use crate::sys::files::{self, Kind, open, resolve};
use crate::sys::{Fd, Handle};
use crate::text::{Path, Text};

/// Bytes of /etc/passwd that are read.
const MAX_FILE: usize = 1 << 20;
/// Where users without a home are at home.
const DEFAULT: &[u8] = b"/";

/// The entry `HOME=...` of a user for an environment; None where `uid` is NO_HOME.
pub(crate) fn variable(uid: u32) -> Outcome<Option<Text<4112>>> {
    if uid == NO_HOME {
        return Ok(None);
    }
    let mut home = Path::new();
    find(uid, &mut home)?;
    Text::of(&[b"HOME=", home.bytes()]).map(Some)
}

/// The home of a user in this root's /etc/passwd; `/` where it has none or the file is not one that is read.
fn find(uid: u32, home: &mut Path) -> Outcome {
    home.truncate(0);
    if let Ok(Some(file)) = open_regular() {
        search(file.at(), uid, home)?;
    }
    if home.bytes().is_empty() {
        home.push(DEFAULT)
    } else {
        Ok(())
    }
}

fn open_regular() -> Outcome<Option<Fd>> {
    let root = files::open(Handle::CWD, c"/", open::PATH | open::DIRECTORY, 0, 0)?;
    let how = resolve::IN_ROOT | resolve::NO_MAGICLINKS;
    let place = files::open(root.at(), c"/etc/passwd", open::PATH, 0, how)?;
    if files::status(place.at())?.kind != Kind::REGULAR {
        return Ok(None);
    }
    // By now the name may stand for something else, which must not block and is looked at again.
    let file = files::open(
        root.at(),
        c"/etc/passwd",
        open::READ | open::NONBLOCK | open::NO_TTY,
        0,
        how,
    )?;
    let regular = files::status(file.at())?.kind == Kind::REGULAR;
    Ok(regular.then_some(file))
}

/// Looks for the first line of the user.
fn search(file: Handle, uid: u32, home: &mut Path) -> Outcome {
    let mut buffer = [0; 1024];
    let mut search = Search::new(uid);
    let mut left = MAX_FILE;
    while left > 0 {
        let length = files::read(file, &mut buffer).unwrap_or(0);
        let found = match length {
            0 => search.end(),
            length => search.take(buffer.get(..length).unwrap_or_default()),
        };
        if found {
            return home.push(search.home());
        }
        if length == 0 {
            break;
        }
        left = left.saturating_sub(length);
    }
    Ok(())
}
