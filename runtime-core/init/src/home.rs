//! HOME, the one thing that init reads from a text of the container: a hostile file, so only a regular one is read, only
//! so much of it, and never one that could block (fifos, devices).

use runtime_core_program::step::NO_HOME;

use crate::failure::Outcome;
use crate::sys::files::{self, Kind, open, resolve};
use crate::sys::{Fd, Handle};
use crate::text::{Path, Text};

/// Bytes of /etc/passwd that are read.
const MAX_FILE: usize = 1 << 20;
/// The fields of a line (passwd(5)).
const UID: usize = 2;
const HOME: usize = 5;
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

/// Looks for the first line of the user. Lines that are too long for a path's buffer are passed over.
fn search(file: Handle, uid: u32, home: &mut Path) -> Outcome {
    let mut buffer = [0; 1024];
    let mut line = Path::new();
    let mut too_long = false;
    let mut left = MAX_FILE;
    while left > 0 {
        let length = files::read(file, &mut buffer).unwrap_or(0);
        for &byte in buffer.get(..length).unwrap_or_default() {
            if byte != b'\n' {
                too_long |= line.push(&[byte]).is_err();
                continue;
            }
            if !too_long && take(line.bytes(), uid, home)? {
                return Ok(());
            }
            line.truncate(0);
            too_long = false;
        }
        if length == 0 {
            // The last line may lack its end.
            return if too_long {
                Ok(())
            } else {
                take(line.bytes(), uid, home).map(drop)
            };
        }
        left = left.saturating_sub(length);
    }
    Ok(())
}

/// Takes the home out of a line, where it is the user's.
fn take(line: &[u8], uid: u32, home: &mut Path) -> Outcome<bool> {
    let mut fields = line.split(|&byte| byte == b':');
    if fields.nth(UID).and_then(number) != Some(uid) {
        return Ok(false);
    }
    home.push(fields.nth(HOME - UID - 1).unwrap_or_default())?;
    Ok(true)
}

fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u32, |number, &byte| {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit < 10)?;
        number.checked_mul(10)?.checked_add(u32::from(digit))
    })
}
