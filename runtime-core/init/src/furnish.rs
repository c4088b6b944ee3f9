//! Files and links that take the place of what the image has, or cover what procfs has.
//!
//! All names are below the root and hostile: the directory is found once, in the root, and what is new is made there
//! under a name that nobody can guess, before it takes the old one's place.

use core::ffi::CStr;

use runtime_core_program::{Call, detail};

use crate::failure::{Except, Failure, Outcome};
use crate::mounts;
use crate::nodes;
use crate::paths::{self, Last};
use crate::sys::errno::{EEXIST, EINVAL, ENOENT, EPERM, EROFS};
use crate::sys::files::{self, Kind, open, resolve};
use crate::sys::mounts::{CLONE, NO_FOLLOW, attach, attribute, open_tree, set_attributes};
use crate::sys::{Fd, Handle};
use crate::text::{PATH_MAX, Text};

/// How one name is looked up in its open directory.
const ONE_NAME: u64 = resolve::BENEATH | resolve::NO_MAGICLINKS;
/// Attempts to find a name that is free; more than one means that somebody makes them as fast.
const ATTEMPTS: u32 = 8;

/// The ReplaceLink step.
pub(crate) fn replace_link(root: Handle, target: &CStr, path: &CStr) -> Outcome {
    let (dir, name) = paths::parent(root, path)?;
    let mut old = [0; PATH_MAX];
    let length = files::read_link(dir.at(), name.c_str(), &mut old).except(&[EINVAL, ENOENT])?;
    if length.is_some_and(|length| old.get(..length) == Some(target.to_bytes())) {
        return Ok(());
    }
    replace(dir.at(), name.c_str(), |new| {
        files::make_link(target, dir.at(), new)
    })
}

/// The WriteFile step.
pub(crate) fn write_file(root: Handle, path: &CStr, content: &[u8], mode: u32) -> Outcome {
    let (dir, name) = paths::parent(root, path)?;
    replace(dir.at(), name.c_str(), |new| {
        make_file(dir.at(), new, content, mode)
    })
}

/// Has something made under a name of its own, and puts it in the place of `name`.
fn replace(dir: Handle, name: &CStr, make: impl Fn(&CStr) -> Outcome) -> Outcome {
    for _ in 0..ATTEMPTS {
        let new = unguessable()?;
        let made = make(new.c_str());
        if matches!(made, Err(failure) if failure.errno == EEXIST) {
            continue;
        }
        let placed = made.and_then(|()| files::rename(dir, new.c_str(), name));
        if placed.is_err() {
            // What went wrong first is what has to be said.
            let _ = files::remove(dir, new.c_str());
        }
        return placed;
    }
    Err(Failure::os(Call::Openat, EEXIST)
        .detail(detail::LIMIT)
        .value(ATTEMPTS.into()))
}

/// A hidden name of 64 random bits.
fn unguessable() -> Outcome<Text<24>> {
    let mut name = Text::of(&[b"."])?;
    for byte in files::random()? {
        for half in [byte >> 4, byte & 15] {
            name.push(&[if half < 10 { b'0' + half } else { b'a' - 10 + half }])?;
        }
    }
    Ok(name)
}

fn make_file(dir: Handle, name: &CStr, content: &[u8], mode: u32) -> Outcome {
    let flags = open::WRITE | open::CREATE | open::EXCLUSIVE | open::NO_FOLLOW;
    let file = files::open(dir, name, flags, 0o600, ONE_NAME)?;
    let mut rest = content;
    while !rest.is_empty() {
        let written = files::write(file.at(), rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    files::set_mode(file.at(), mode)
}

/// The CoverFile step.
pub(crate) fn cover(root: Handle, path: &CStr, content: &[u8], mode: u32) -> Outcome {
    let Some(place) = paths::find(root, path, Last::Stay)? else {
        return Ok(());
    };
    if place.status.kind != Kind::REGULAR {
        return Err(Failure::os(Call::MoveMount, EINVAL).detail(detail::WRONG_TYPE));
    }
    let (dir, _) = paths::parent(root, path)?;
    let cover: Fd = mounts::on_stage(dir.at(), |stage| {
        make_file(stage, c"file", content, mode)?;
        open_tree(stage, c"file", CLONE | NO_FOLLOW)
    })?;
    let attributes = attribute::READ_ONLY | attribute::NO_SUID | attribute::NO_DEV | attribute::NO_EXEC;
    set_attributes(cover.at(), attributes, 0, false)?;
    attach(cover.at(), place.fd.at())
}

/// The SetMode step.
pub(crate) fn set_mode(root: Handle, path: &CStr, mode: u32) -> Outcome {
    let Some(place) = paths::find(root, path, Last::Follow)? else {
        return Ok(());
    };
    nodes::set_mode(place.fd.at(), mode)
        .except(&[EPERM, EROFS])
        .map(drop)
}
