//! The container's root: taking it, and making it this process's own.

use core::ffi::CStr;

use runtime_core_program::detail;

use crate::failure::{Except, Failure, Outcome};
use crate::sys::errno::{EINVAL, EPERM};
use crate::sys::files::{self, open};
use crate::sys::mounts::{self, attribute};
use crate::sys::{Fd, Handle};
use crate::text::{PATH_MAX, Path, Text, digits};

const DIRECTORY: u64 = open::PATH | open::DIRECTORY;
/// Mounts that are looked at while those of the host are taken away; a bound for the case that somebody adds some.
const MAX_MOUNTS: usize = 4096;
/// Directories above the root that are looked at; a path has no more.
const MAX_DEPTH: u32 = 2048;

/// Opens the root's directory; with `clone` or a lent mount, after a mount of its own was put on it, so that it can be
/// pivoted to. With `detach` nothing that is mounted in it reaches other mount namespaces.
pub(crate) fn take(path: &CStr, lent: Option<Fd>, clone: bool, detach: bool) -> Outcome<Fd> {
    if detach {
        make_mount_of_private(path)?;
    }
    let mount = match lent {
        Some(mount) => mount,
        None if clone => mounts::open_tree(Handle::CWD, path, mounts::CLONE | mounts::RECURSIVE)?,
        None => return files::open(Handle::CWD, path, DIRECTORY, 0, 0),
    };
    let target = files::open(Handle::CWD, path, DIRECTORY, 0, 0)?;
    if detach {
        mounts::set_propagation(mount.at(), mounts::PRIVATE)?;
    }
    mounts::attach(mount.at(), target.at())?;
    Ok(mount)
}

/// Makes the mount that a directory lies on private. Only at its root does a mount take changes, so the way leads up
/// until the kernel agrees; at `/` it does.
fn make_mount_of_private(path: &CStr) -> Outcome {
    let mut dir = files::open(Handle::CWD, path, DIRECTORY, 0, 0)?;
    for _ in 0..MAX_DEPTH {
        if mounts::set_propagation(dir.at(), mounts::PRIVATE)
            .except(&[EINVAL])?
            .is_some()
        {
            return Ok(());
        }
        dir = files::open(dir.at(), c"..", DIRECTORY, 0, 0)?;
    }
    Err(Failure::because(detail::LIMIT).value(MAX_DEPTH.into()))
}

pub(crate) fn make_read_only(root: Handle) -> Outcome {
    mounts::set_attributes(root, attribute::READ_ONLY, 0, false)
}

/// pivot_root(2) onto itself: the old root comes to lie on top of the new one, where it needs no directory, and is
/// taken away there (pivot_root(2), "pivot_root(".", ".")").
pub(crate) fn pivot(root: Handle) -> Outcome {
    let old = files::open(Handle::CWD, c"/", DIRECTORY, 0, 0)?;
    files::change_dir_to(root)?;
    mounts::pivot_here()?;
    files::change_dir_to(old.at())?;
    // What is unmounted here must not be unmounted wherever the old root's mounts came from.
    mounts::enslave_here()?;
    mounts::unmount(c".")?;
    files::change_dir(c"/")
}

pub(crate) fn change(root: Handle) -> Outcome {
    files::change_dir_to(root)?;
    mounts::change_root_here()?;
    files::change_dir(c"/")
}

/// Where pivot_root(2) is impossible (an initramfs): takes the root over `/`. The old root stays below, so what gives
/// power over the host there, every procfs and sysfs, is unmounted, or covered where that is refused.
pub(crate) fn move_over(root: Handle) -> Outcome {
    let number = digits(root.number().unsigned_abs(), 10)?;
    let link: Text<64> = Text::of(&[b"/proc/self/fd/", number.bytes()])?;
    let mut own = [0; PATH_MAX];
    let length = files::read_link(Handle::CWD, link.c_str(), &mut own)?;
    let own = own.get(..length).unwrap_or_default();
    // Open before its mount goes.
    let about_self = files::open(Handle::CWD, c"/proc/self", DIRECTORY, 0, 0)?;
    let mut covered = 0;
    for _ in 0..MAX_MOUNTS {
        let Some(place) = next_powerful_mount(about_self.at(), own, covered)? else {
            break;
        };
        mounts::set_propagation_of(place.c_str(), mounts::SLAVE_TREE)?;
        if mounts::unmount(place.c_str()).except(&[EINVAL, EPERM])?.is_none() {
            cover(place.c_str())?;
            covered += 1;
        }
    }
    let over = files::open(Handle::CWD, c"/", DIRECTORY, 0, 0)?;
    mounts::attach(root, over.at())?;
    change(root)
}

fn cover(place: &CStr) -> Outcome {
    let parameters = mounts::open_filesystem(c"tmpfs")?;
    mounts::create(parameters.at())?;
    let mount = mounts::mount(parameters.at(), attribute::READ_ONLY)?;
    let target = files::open(Handle::CWD, place, DIRECTORY, 0, 0)?;
    mounts::attach(mount.at(), target.at())
}

/// The path of the procfs or sysfs mount that comes after `skip` others, not counting those below `own`.
fn next_powerful_mount(about_self: Handle, own: &[u8], mut skip: usize) -> Outcome<Option<Path>> {
    let file = files::open(about_self, c"mountinfo", open::READ, 0, 0)?;
    let mut line = MountLine::new();
    let mut buffer = [0; 1024];
    loop {
        let length = files::read(file.at(), &mut buffer)?;
        if length == 0 {
            return Ok(None);
        }
        for &byte in buffer.get(..length).unwrap_or_default() {
            if !line.take(byte)? {
                continue;
            }
            let ended = core::mem::replace(&mut line, MountLine::new());
            let place = ended.place.bytes();
            let inside = place
                .strip_prefix(own)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
            if inside || !matches!(ended.kind.bytes(), b"proc" | b"sysfs") {
                continue;
            }
            if skip == 0 {
                return Ok(Some(ended.place));
            }
            skip -= 1;
        }
    }
}

/// What is collected of a line of mountinfo (proc_pid_mountinfo(5)): the mount point, which is the fifth field, and
/// the filesystem's type, which follows a lone hyphen.
struct MountLine {
    field: usize,
    /// The field behind which the hyphen stood.
    hyphen: Option<usize>,
    /// The present field, as far as a hyphen needs it.
    start: Text<4>,
    /// Digits of an escape that was begun.
    escape: Option<(u8, u8)>,
    place: Path,
    kind: Text<32>,
}

impl MountLine {
    const fn new() -> Self {
        Self {
            field: 0,
            hyphen: None,
            start: Text::new(),
            escape: None,
            place: Path::new(),
            kind: Text::new(),
        }
    }

    /// Takes one byte; true at the end of a line.
    fn take(&mut self, byte: u8) -> Outcome<bool> {
        match byte {
            b'\n' => return Ok(true),
            b' ' => {
                if self.hyphen.is_none() && self.field > 4 && self.start.bytes() == b"-" {
                    self.hyphen = Some(self.field);
                }
                self.field += 1;
                self.start.truncate(0);
            }
            byte if self.field == 4 => self.take_place(byte)?,
            byte if self.hyphen.is_some_and(|hyphen| self.field == hyphen + 1) => {
                // A longer type's name is none of the two that are looked for.
                let _ = self.kind.push(&[byte]);
            }
            byte => {
                let _ = self.start.push(&[byte]);
            }
        }
        Ok(false)
    }

    /// A byte of the mount point, in which space, tab, newline and backslash are written as `\` and three octal digits.
    fn take_place(&mut self, byte: u8) -> Outcome {
        self.escape = match (self.escape, byte) {
            (None, b'\\') => Some((0, 0)),
            (None, byte) => {
                self.place.push(&[byte])?;
                None
            }
            (Some((count, value)), digit) => {
                let digit = digit
                    .checked_sub(b'0')
                    .filter(|&digit| digit < 8)
                    .ok_or(Failure::malformed())?;
                let value = (value & 0o37) << 3 | digit;
                if count == 2 {
                    self.place.push(&[value])?;
                    None
                } else {
                    Some((count + 1, value))
                }
            }
        };
        Ok(())
    }
}
