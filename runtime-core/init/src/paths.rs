//! Paths in the container's root: every name there is hostile and may change at any moment.
//!
//! A path is resolved once, by openat2 with RESOLVE_IN_ROOT, and from then on only the descriptor counts; it is never
//! turned back into a path (CVE-2021-30465). What is missing is made component by component: each is created
//! exclusively by name in the open directory above it, so that no symbolic link is ever followed by a creating call
//! (CVE-2024-45310). A dangling symbolic link is walked by hand, inside the root, and its target is made.

use core::ffi::CStr;

use runtime_core_program::{Call, detail};

use crate::failure::{Except, Failure, Outcome};
use crate::sys::errno::{EEXIST, EINVAL, EISDIR, ELOOP, ENOENT, ENOTDIR};
use crate::sys::files::{self, Kind, Status, open, resolve};
use crate::sys::{Fd, Handle};
use crate::text::{PATH_MAX, Path, Text};

/// PROC_SUPER_MAGIC.
pub(crate) const PROC: i64 = 0x9fa0;
/// How every path of the container is resolved.
const IN_ROOT: u64 = resolve::IN_ROOT | resolve::NO_MAGICLINKS;
/// How one component is looked up in its open directory.
const ONE_NAME: u64 = resolve::BENEATH | resolve::NO_MAGICLINKS;
/// The kernel's own limit of symbolic links in one lookup.
const MAX_LINKS: u32 = 40;
/// Steps of one walk by hand; more than a path can have, a bound for the case that somebody removes what is made.
const MAX_STEPS: u32 = 2 * 4096;
/// The mode of directories that are made on the way.
const DIRECTORY_MODE: u32 = 0o755;

/// The name of one file in its directory, at most NAME_MAX bytes.
pub(crate) type Name = Text<256>;

/// An open place (O_PATH).
pub(crate) struct Place {
    pub(crate) fd: Fd,
    pub(crate) status: Status,
    /// Whether it was made by the call that returned it.
    pub(crate) made: bool,
}

/// What must be at a path, and what is made where nothing is.
#[derive(Clone, Copy)]
pub(crate) enum Want {
    /// A directory, made with this mode.
    Directory(u32),
    /// Anything but a directory; an empty file of this mode is made.
    File(u32),
}

/// What to do with a symbolic link at the end of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    Follow,
    /// It is not followed; where one is found it is what is found, or the wrong type.
    Stay,
}

/// What is at a path; None where nothing is.
pub(crate) fn find(root: Handle, path: &CStr, last: Last) -> Outcome<Option<Place>> {
    let flags = open::PATH | if last == Last::Stay { open::NO_FOLLOW } else { 0 };
    let Some(fd) = files::open(root, path, flags, 0, IN_ROOT).except(&[ENOENT, ENOTDIR])? else {
        return Ok(None);
    };
    Ok(Some(Place {
        status: files::status(fd.at())?,
        fd,
        made: false,
    }))
}

/// What is at a path, made where it is missing, with everything above it.
pub(crate) fn make(root: Handle, path: &CStr, want: Want, last: Last) -> Outcome<Place> {
    let flags = open::PATH | if last == Last::Stay { open::NO_FOLLOW } else { 0 };
    let place = match files::open(root, path, flags, 0, IN_ROOT).except(&[ENOENT])? {
        Some(fd) => Place {
            status: files::status(fd.at())?,
            fd,
            made: false,
        },
        None => walk(root, path, want, last)?,
    };
    let directory = place.status.kind == Kind::DIRECTORY;
    let wrong = |errno| Failure::os(Call::Openat, errno).detail(detail::WRONG_TYPE);
    match want {
        _ if place.status.kind == Kind::SYMLINK => Err(wrong(ELOOP)),
        Want::Directory(_) if !directory => Err(wrong(ENOTDIR)),
        Want::File(_) if directory => Err(wrong(EISDIR)),
        _ => Ok(place),
    }
}

/// The open directory above a path's last name, made where missing, and that name.
pub(crate) fn parent(root: Handle, path: &CStr) -> Outcome<(Fd, Name)> {
    let mut bytes = path.to_bytes();
    while let [rest @ .., b'/'] = bytes {
        bytes = rest;
    }
    let start = bytes
        .iter()
        .rposition(|&byte| byte == b'/')
        .map_or(0, |slash| slash + 1);
    let (above, name) = bytes.split_at_checked(start).unwrap_or_default();
    if matches!(name, b"" | b"." | b"..") {
        return Err(Failure::os(Call::Openat, EINVAL).detail(detail::WRONG_TYPE));
    }
    let above = Path::of(&[b"/", above])?;
    let place = make(root, above.c_str(), Want::Directory(DIRECTORY_MODE), Last::Follow)?;
    Ok((place.fd, Name::of(&[name])?))
}

/// What a name in an open directory is; a symbolic link is not followed.
pub(crate) fn child(dir: Handle, name: &CStr) -> Outcome<Place> {
    let fd = files::open(dir, name, open::PATH | open::NO_FOLLOW, 0, ONE_NAME)?;
    Ok(Place {
        status: files::status(fd.at())?,
        fd,
        made: false,
    })
}

/// A walk through the root by hand, name by name.
struct Walk {
    root: Handle,
    /// The directory reached; None for the root itself.
    here: Option<Fd>,
    /// Its path, free of symbolic links.
    done: Path,
    /// What is still to be walked, from `at` on.
    rest: Path,
    at: usize,
    links: u32,
}

fn walk(root: Handle, path: &CStr, want: Want, last: Last) -> Outcome<Place> {
    let rest = Path::of(&[path.to_bytes()])?;
    let mut walk = Walk {
        root,
        here: None,
        done: Path::new(),
        rest,
        at: 0,
        links: 0,
    };
    let mut made = false;
    for _ in 0..MAX_STEPS {
        let Some((name, is_last)) = walk.next()? else {
            let fd = files::open(walk.dir(), c".", open::PATH | open::DIRECTORY, 0, 0)?;
            return Ok(Place {
                status: files::status(fd.at())?,
                fd,
                made,
            });
        };
        let found = child(walk.dir(), name.c_str()).except(&[ENOENT])?;
        made = found.is_none();
        match found {
            None => walk.create(
                &name,
                if is_last {
                    want
                } else {
                    Want::Directory(DIRECTORY_MODE)
                },
            )?,
            Some(place) if place.status.kind == Kind::SYMLINK && !(is_last && last == Last::Stay) => {
                walk.follow(&place, &name)?;
            }
            Some(place) if is_last => return Ok(place),
            Some(place) => walk.enter(place, &name)?,
        }
        if made && is_last {
            // What was made is opened like anything else that is found: it may have been exchanged already.
            let place = child(walk.dir(), name.c_str()).except(&[ENOENT])?;
            if let Some(place) = place {
                return Ok(Place { made, ..place });
            }
        }
    }
    Err(Failure::os(Call::Openat, ELOOP)
        .detail(detail::LIMIT)
        .value(MAX_STEPS.into()))
}

impl Walk {
    fn dir(&self) -> Handle {
        self.here.as_ref().map_or(self.root, Fd::at)
    }

    /// The next name and whether it is the last one; it is consumed only by [`Walk::enter`] and [`Walk::follow`].
    fn next(&mut self) -> Outcome<Option<(Name, bool)>> {
        loop {
            let bytes = self.rest.bytes().get(self.at..).unwrap_or_default();
            let start = bytes.iter().take_while(|&&byte| byte == b'/').count();
            let bytes = bytes.get(start..).unwrap_or_default();
            let length = bytes.iter().take_while(|&&byte| byte != b'/').count();
            let (name, behind) = bytes.split_at_checked(length).unwrap_or_default();
            let is_last = behind.iter().all(|&byte| byte == b'/');
            match name {
                b"" => return Ok(None),
                b"." => self.at += start + length,
                b".." => {
                    self.at += start + length;
                    self.leave()?;
                }
                _ => {
                    self.at += start;
                    return Ok(Some((Name::of(&[name])?, is_last)));
                }
            }
        }
    }

    /// Up by one. The parent is found by its path from the root, not by `..`: somebody may have moved the directory
    /// out of the root since.
    fn leave(&mut self) -> Outcome {
        let above = self
            .done
            .bytes()
            .iter()
            .rposition(|&byte| byte == b'/')
            .unwrap_or(0);
        self.done.truncate(above);
        self.here = None;
        if !self.done.bytes().is_empty() {
            let how = IN_ROOT | resolve::NO_SYMLINKS;
            self.here = Some(files::open(
                self.root,
                self.done.c_str(),
                open::PATH | open::DIRECTORY,
                0,
                how,
            )?);
        }
        Ok(())
    }

    fn enter(&mut self, place: Place, name: &Name) -> Outcome {
        if place.status.kind != Kind::DIRECTORY {
            return Err(Failure::os(Call::Openat, ENOTDIR).detail(detail::WRONG_TYPE));
        }
        self.done.push(b"/")?;
        self.done.push(name.bytes())?;
        self.at += name.bytes().len();
        self.here = Some(place.fd);
        Ok(())
    }

    /// Puts a link's target in the place of its name.
    fn follow(&mut self, link: &Place, name: &Name) -> Outcome {
        self.links += 1;
        // The links of procfs are not paths (magic links); nothing that init makes lies behind one.
        if self.links > MAX_LINKS || files::filesystem(link.fd.at())? == PROC {
            return Err(Failure::os(Call::Openat, ELOOP));
        }
        let mut target = [0; PATH_MAX];
        let length = files::read_link(link.fd.at(), c"", &mut target)?;
        let target = target.get(..length).unwrap_or_default();
        let behind = self
            .rest
            .bytes()
            .get(self.at + name.bytes().len()..)
            .unwrap_or_default();
        self.rest = Path::of(&[target, b"/", behind])?;
        self.at = 0;
        if target.first() == Some(&b'/') {
            self.here = None;
            self.done.truncate(0);
        }
        Ok(())
    }

    /// Makes a name here. That somebody else was faster is fine: the next look tells what it is.
    fn create(&self, name: &Name, want: Want) -> Outcome {
        match want {
            Want::Directory(mode) => files::make_dir(self.dir(), name.c_str(), mode),
            Want::File(mode) => files::make_node(self.dir(), name.c_str(), mode | Kind::REGULAR.bits(), 0),
        }
        .except(&[EEXIST])
        .map(drop)
    }
}
