//! Copying what a new tmpfs would cover into it (`tmpcopyup`), before it is attached: nobody can reach the copy yet,
//! the original may change meanwhile. Nothing is followed, nothing is executed, special files are not opened.

use core::ffi::CStr;

use runtime_core_program::{Call, detail};

use crate::failure::{Except, Failure, Outcome};
use crate::sys::errno::{EINVAL, ELOOP, EPERM};
use crate::sys::files::{self, Kind, Status, open, resolve};
use crate::sys::{Fd, Handle};
use crate::text::{PATH_MAX, Path};

/// Directories inside one another; each level costs two descriptors and a stack frame.
const MAX_DEPTH: u32 = 128;
/// Files in all; more would keep `create` busy for minutes.
const MAX_FILES: u32 = 1 << 20;
/// Bytes of directory entries read at a time.
const ENTRIES: usize = 2048;
/// Bytes of extended attributes of one file: their names, and one value.
const ATTRIBUTES: usize = 1024;
/// Bytes copied by one call.
const CHUNK: usize = 1 << 20;
const ONE_NAME: u64 = resolve::BENEATH | resolve::NO_SYMLINKS | resolve::NO_XDEV;
/// Where a name begins in a struct linux_dirent64, and where the length of the entry stands.
const NAME_AT: usize = 19;
const LENGTH_AT: usize = 16;

/// Copies what the directory `from` holds into the directory `to`.
pub(crate) fn copy(from: Handle, to: Handle) -> Outcome {
    let from = files::open(from, c".", open::READ | open::DIRECTORY, 0, 0)?;
    let to = files::open(to, c".", open::READ | open::DIRECTORY, 0, 0)?;
    let mut left = MAX_FILES;
    copy_entries(from.at(), to.at(), MAX_DEPTH, &mut left)
}

fn copy_entries(from: Handle, to: Handle, depth: u32, left: &mut u32) -> Outcome {
    let mut buffer = [0u8; ENTRIES];
    loop {
        let length = files::entries(from, &mut buffer)?;
        let mut entries = buffer.get(..length).unwrap_or_default();
        if entries.is_empty() {
            return Ok(());
        }
        while let Some((name, rest)) = first_entry(entries) {
            entries = rest;
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            *left = left.checked_sub(1).ok_or(limit(MAX_FILES))?;
            copy_file(from, to, name, depth, left)?;
        }
    }
}

fn limit(value: u32) -> Failure {
    Failure::os(Call::Getdents, ELOOP)
        .detail(detail::LIMIT)
        .value(value.into())
}

fn first_entry(entries: &[u8]) -> Option<(&CStr, &[u8])> {
    let length = entries
        .get(LENGTH_AT..LENGTH_AT + 2)?
        .try_into()
        .map(u16::from_le_bytes)
        .ok()?;
    let (entry, rest) = entries.split_at_checked(usize::from(length))?;
    Some((CStr::from_bytes_until_nul(entry.get(NAME_AT..)?).ok()?, rest))
}

/// Copies one name: the file, its owner, mode, attributes and times, in this order, since each step can undo parts of
/// an earlier one (chown clears set-id bits, writing changes the times).
fn copy_file(from: Handle, to: Handle, name: &CStr, depth: u32, left: &mut u32) -> Outcome {
    let status = files::status_of(from, name, files::AT_SYMLINK_NOFOLLOW)?;
    match status.kind {
        Kind::SYMLINK => {
            copy_link(from, to, name)?;
            give(to, name, &status)?;
        }
        Kind::DIRECTORY => {
            let depth = depth.checked_sub(1).ok_or(limit(MAX_DEPTH))?;
            let source = open_source(from, name, open::READ | open::DIRECTORY)?;
            files::make_dir(to, name, 0o700)?;
            let flags = open::READ | open::DIRECTORY | open::NO_FOLLOW;
            let copy = files::open(to, name, flags, 0, ONE_NAME)?;
            copy_entries(source.at(), copy.at(), depth, left)?;
            dress(source.at(), copy.at())?;
        }
        Kind::REGULAR => {
            let source = open_source(from, name, open::READ | open::NONBLOCK)?;
            let flags = open::WRITE | open::CREATE | open::EXCLUSIVE | open::NO_FOLLOW;
            let copy = files::open(to, name, flags, 0o600, ONE_NAME)?;
            while files::send_file(copy.at(), source.at(), CHUNK)? != 0 {}
            dress(source.at(), copy.at())?;
        }
        _ => {
            files::make_node(to, name, status.mode, status.device)?;
            give(to, name, &status)?;
        }
    }
    files::copy_times(to, name, &status)
}

/// Opens a file or directory to copy it. The name may stand for something else by now, so that reading could block.
fn open_source(from: Handle, name: &CStr, flags: u64) -> Outcome<Fd> {
    let source = files::open(from, name, flags | open::NO_FOLLOW, 0, resolve::BENEATH)?;
    match files::status(source.at())?.kind {
        Kind::REGULAR | Kind::DIRECTORY => Ok(source),
        _ => Err(Failure::os(Call::Openat, ELOOP).detail(detail::WRONG_TYPE)),
    }
}

/// Gives a copy to the owner of the original. An owner that this user namespace does not map cannot have it: then it
/// stays root's.
fn give(to: Handle, name: &CStr, status: &Status) -> Outcome<bool> {
    let given = files::give(to, name, status.uid, status.gid).except(&[EINVAL, EPERM])?;
    Ok(given.is_some())
}

/// Apart from [`copy_file`], so that its buffers do not weigh on every level of directories.
#[inline(never)]
fn copy_link(from: Handle, to: Handle, name: &CStr) -> Outcome {
    let mut target = [0; PATH_MAX];
    let length = files::read_link(from, name, &mut target)?;
    let target = Path::of(&[target.get(..length).unwrap_or_default()])?;
    files::make_link(target.c_str(), to, name)
}

fn dress(source: Handle, copy: Handle) -> Outcome {
    let status = files::status(source)?;
    // A set-id bit means its owner; with another one it would mean something else.
    let bits = if give(copy, c"", &status)? { 0o7777 } else { 0o1777 };
    files::set_mode(copy, status.mode & bits)?;
    copy_attributes(source, copy);
    Ok(())
}

/// Copies extended attributes where both filesystems allow it; which ones tmpfs takes depends on the kernel.
#[inline(never)]
fn copy_attributes(source: Handle, copy: Handle) {
    let (mut names, mut value) = ([0u8; ATTRIBUTES], [0u8; ATTRIBUTES]);
    let length = files::attribute_names(source, &mut names).unwrap_or(0);
    let mut names = names.get(..length).unwrap_or_default();
    while let Ok(name) = CStr::from_bytes_until_nul(names) {
        names = names.get(name.to_bytes_with_nul().len()..).unwrap_or_default();
        if let Ok(length) = files::attribute(source, name, &mut value) {
            let _ = files::set_attribute(copy, name, value.get(..length).unwrap_or_default());
        }
    }
}
