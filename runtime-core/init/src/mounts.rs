//! Mounts into the container's root. A mount is made detached, gets its attributes while nobody can reach it, and is
//! then attached to the open target; the target is never looked up by path again (CVE-2021-30465).

use core::ffi::CStr;

use runtime_core_program::step::mount_flags;
use runtime_core_program::{Texts, Words, detail};

use crate::copy_up;
use crate::failure::{Failure, Outcome};
use crate::paths::{self, Last, PROC, Place, Want};
use crate::sys::errno::{EBUSY, EINVAL, ELOOP, ENOENT, EPERM};
use crate::sys::files::{self, Kind, open};
use crate::sys::mounts::{self, attribute};
use crate::sys::{Fd, Handle};
use crate::text::{PATH_MAX, Text, digits};
use runtime_core_program::Call;

/// The inode of a procfs's root directory (PROC_ROOT_INO).
const PROC_ROOT: u64 = 1;
/// Modes of what is made for a mount to lie on.
const DIRECTORY: Want = Want::Directory(0o755);
const FILE: Want = Want::File(0o644);

/// What changes about a mount: attributes of itself, of its whole tree, and propagation.
pub(crate) struct Change<'a> {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    pub(crate) unasked: u64,
    pub(crate) recursive_set: u64,
    pub(crate) recursive_clear: u64,
    pub(crate) propagation: Words<'a>,
}

/// The MountFs step.
pub(crate) struct Filesystem<'a> {
    pub(crate) kind: &'a CStr,
    pub(crate) source: &'a CStr,
    pub(crate) options: Texts<'a>,
    pub(crate) change: Change<'a>,
    pub(crate) target: &'a CStr,
    pub(crate) fallback: &'a CStr,
    pub(crate) flags: u32,
}

/// The MountPage step.
pub(crate) struct Page<'a> {
    pub(crate) kind: &'a CStr,
    pub(crate) source: &'a CStr,
    pub(crate) data: &'a CStr,
    pub(crate) superblock: u64,
    pub(crate) change: Change<'a>,
    pub(crate) target: &'a CStr,
    pub(crate) flags: u32,
}

/// The MountBind step.
pub(crate) struct Bind<'a> {
    pub(crate) source: &'a CStr,
    pub(crate) target: &'a CStr,
    pub(crate) change: Change<'a>,
    pub(crate) flags: u32,
}

impl Change<'_> {
    fn attributes(&self, mount: Handle) -> Outcome {
        if self.set | self.clear | self.unasked != 0 {
            match mounts::set_attributes(mount, self.set, self.clear | self.unasked, false) {
                // Locked, because the mount came from a more privileged mount namespace (mount_namespaces(7)).
                Err(failure) if failure.errno == EPERM && self.unasked & attribute::LOCKABLE != 0 => {
                    let clear = self.clear | self.unasked & !attribute::LOCKABLE;
                    mounts::set_attributes(mount, self.set, clear, false)?;
                }
                changed => changed?,
            }
        }
        if self.recursive_set | self.recursive_clear != 0 {
            mounts::set_attributes(mount, self.recursive_set, self.recursive_clear, true)?;
        }
        Ok(())
    }

    /// Only after attaching: a mount that lands on a shared one becomes shared itself.
    fn propagation(&self, mount: Handle) -> Outcome {
        self.propagation
            .iter()
            .try_for_each(|word| mounts::set_propagation(mount, word))
    }
}

/// Sets the propagation of what is mounted at a path of the present root.
pub(crate) fn propagate(path: &CStr, word: u64) -> Outcome {
    mounts::set_propagation_of(path, word)
}

pub(crate) fn mount_filesystem(root: Handle, wanted: &Filesystem<'_>) -> Outcome {
    let has = |flag| wanted.flags & flag != 0;
    let stay = has(mount_flags::TARGET_REAL) || has(mount_flags::TARGET_NOFOLLOW);
    let target = paths::make(
        root,
        wanted.target,
        DIRECTORY,
        if stay { Last::Stay } else { Last::Follow },
    )?;
    let mount = match make_filesystem(wanted, &target) {
        Err(failure) if has(mount_flags::BIND_FALLBACK) && matches!(failure.errno, EPERM | EBUSY) => {
            bind_instead(wanted)?
        }
        made => made?,
    };
    check_target(root, &target, mount.at(), has(mount_flags::ALLOW_PROC))?;
    put(&mount, &target, &wanted.change)
}

/// Attaches a mount that has its own attributes already.
fn put(mount: &Fd, target: &Place, wanted: &Change<'_>) -> Outcome {
    let change = Change {
        set: 0,
        clear: 0,
        unasked: 0,
        ..*wanted
    };
    change.attributes(mount.at())?;
    mounts::attach(mount.at(), target.fd.at())?;
    change.propagation(mount.at())
}

/// A filesystem with options in one text.
pub(crate) fn mount_page(root: Handle, wanted: &Page<'_>) -> Outcome {
    let has = |flag| wanted.flags & flag != 0;
    let stay = has(mount_flags::TARGET_REAL) || has(mount_flags::TARGET_NOFOLLOW);
    let target = paths::make(
        root,
        wanted.target,
        DIRECTORY,
        if stay { Last::Stay } else { Last::Follow },
    )?;
    let mount = make_staged(wanted, target.fd.at())?;
    check_target(root, &target, mount.at(), has(mount_flags::ALLOW_PROC))?;
    set_all_attributes(&mount, wanted.change.set)?;
    put(&mount, &target, &wanted.change)
}

/// mount(2) takes a path, and gives no descriptor. So it gets a directory of a private tmpfs, which lies on the target for
/// that moment and which nobody else knows: what is mounted there is found by name, and no name can be exchanged.
fn make_staged(wanted: &Page<'_>, target: Handle) -> Outcome<Fd> {
    on_stage(target, |stage| mount_in(stage, wanted))
}

/// Does something in a private tmpfs that lies on the directory `target` for that moment.
pub(crate) fn on_stage(target: Handle, act: impl FnOnce(Handle) -> Outcome<Fd>) -> Outcome<Fd> {
    let back = files::open(Handle::CWD, c".", open::PATH | open::DIRECTORY, 0, 0)?;
    let parameters = mounts::open_filesystem(c"tmpfs")?;
    mounts::create(parameters.at())?;
    let stage = mounts::mount(
        parameters.at(),
        attribute::NO_SUID | attribute::NO_DEV | attribute::NO_EXEC,
    )?;
    mounts::attach(stage.at(), target)?;
    mounts::set_propagation(stage.at(), mounts::PRIVATE)?;
    let made = act(stage.at());
    files::change_dir_to(stage.at())?;
    mounts::unmount(c".")?;
    files::change_dir_to(back.at())?;
    made
}

fn mount_in(stage: Handle, wanted: &Page<'_>) -> Outcome<Fd> {
    files::make_dir(stage, c"new", 0o700)?;
    let place = files::open(stage, c"new", open::PATH | open::DIRECTORY, 0, 0)?;
    files::change_dir_to(place.at())?;
    mounts::mount_here(wanted.source, wanted.kind, wanted.superblock, wanted.data)?;
    mounts::open_tree(stage, c"new", mounts::CLONE)
}

/// What takes the place of a filesystem that this user namespace may not mount.
fn bind_instead(wanted: &Filesystem<'_>) -> Outcome<Fd> {
    let flags = mounts::CLONE | mounts::RECURSIVE;
    let mount = match mounts::open_tree(Handle::CWD, wanted.fallback, flags) {
        // What lies under the target may be the host's own (/sys bound from there): it has to be hidden.
        Err(failure) if failure.errno == ENOENT && wanted.flags & mount_flags::MAY_LACK != 0 => {
            let parameters = mounts::open_filesystem(c"tmpfs")?;
            mounts::create(parameters.at())?;
            return mounts::mount(parameters.at(), wanted.change.set | attribute::READ_ONLY);
        }
        opened => opened.map_err(|failure| failure.detail(detail::SOURCE))?,
    };
    set_all_attributes(&mount, wanted.change.set)?;
    Ok(mount)
}

/// Gives a mount that exists the attributes that a new one is made with.
fn set_all_attributes(mount: &Fd, set: u64) -> Outcome {
    let clear = if set & attribute::ACCESS_TIME == 0 {
        0
    } else {
        attribute::ACCESS_TIME
    };
    mounts::set_attributes(mount.at(), set, clear, false)
}

fn make_filesystem(wanted: &Filesystem<'_>, target: &Place) -> Outcome<Fd> {
    let parameters = mounts::open_filesystem(wanted.kind)?;
    if !wanted.source.is_empty() {
        mounts::set_string(parameters.at(), c"source", wanted.source)?;
    }
    // First, so that a mode among the options has the last word; and only a directory that was there has a mode to
    // hand on.
    if wanted.flags & mount_flags::INHERIT_MODE != 0 && !target.made {
        let mode = digits(target.status.mode & 0o7777, 8)?;
        mounts::set_string(parameters.at(), c"mode", mode.c_str())?;
    }
    set_options(parameters.at(), wanted.options)?;
    mounts::create(parameters.at())?;
    let copies = wanted.flags & mount_flags::COPY_UP != 0;
    let late = if copies {
        wanted.change.set & attribute::READ_ONLY
    } else {
        0
    };
    let mount = mounts::mount(parameters.at(), wanted.change.set & !late)?;
    if copies {
        copy_up::copy(target.fd.at(), mount.at())?;
    }
    if late != 0 {
        mounts::set_attributes(mount.at(), late, 0, false)?;
    }
    Ok(mount)
}

/// Hands `key=value` and `key` options to the filesystem.
fn set_options(parameters: Handle, options: Texts<'_>) -> Outcome {
    for (at, option) in options.iter().enumerate() {
        let bytes = option.to_bytes_with_nul();
        let split = bytes.iter().position(|&byte| byte == b'=');
        let set = match split.and_then(|split| bytes.split_at_checked(split)) {
            Some((key, [_, value @ ..])) => {
                let key: Text<256> = Text::of(&[key])?;
                mounts::set_string(
                    parameters,
                    key.c_str(),
                    CStr::from_bytes_with_nul(value).unwrap_or_default(),
                )
            }
            _ => mounts::set_flag(parameters, option),
        };
        set.map_err(|failure| failure.detail(detail::OPTION).value(at as u64))?;
    }
    Ok(())
}

/// Refuses targets that would hide what the container's procfs says (CVE-2019-16884, CVE-2019-19921): on /proc itself
/// only the root of a procfs may be mounted, below it only what the planner allows by name.
fn check_target(root: Handle, target: &Place, mount: Handle, allowed: bool) -> Outcome {
    let forbidden = Err(Failure::os(Call::MoveMount, EINVAL).detail(detail::FORBIDDEN_TARGET));
    if paths::find(root, c"/proc", Last::Follow)?.is_some_and(|proc| proc.status.is_same(&target.status)) {
        let procfs = files::filesystem(mount)? == PROC && files::status(mount)?.inode == PROC_ROOT;
        return if procfs { Ok(()) } else { forbidden };
    }
    if !allowed && files::filesystem(target.fd.at())? == PROC {
        forbidden
    } else {
        Ok(())
    }
}

/// Binds a tree that the host or an earlier mount has. `lent` is the detached mount of the last Borrow step.
pub(crate) fn mount_bind(root: Handle, wanted: &Bind<'_>, lent: Option<Fd>) -> Outcome {
    let has = |flag| wanted.flags & flag != 0;
    if has(mount_flags::UNLESS_THERE) && paths::find(root, wanted.target, Last::Stay)?.is_some() {
        return Ok(());
    }
    if has(mount_flags::COPY_SYMLINK) && copy_link(root, wanted)? {
        return Ok(());
    }
    let mount = if has(mount_flags::LENT) {
        lent.ok_or(Failure::malformed())?
    } else {
        match open_source(wanted) {
            Err(failure) if failure.errno == ENOENT && has(mount_flags::MAY_LACK) => return Ok(()),
            opened => opened.map_err(|failure| failure.detail(detail::SOURCE))?,
        }
    };
    let kind = files::status(mount.at())?.kind;
    if kind == Kind::SYMLINK {
        return Err(Failure::os(Call::OpenTree, ELOOP).detail(detail::SOURCE));
    }
    let want = if kind == Kind::DIRECTORY { DIRECTORY } else { FILE };
    let stay = has(mount_flags::TARGET_REAL) || has(mount_flags::TARGET_NOFOLLOW);
    let target = paths::make(
        root,
        wanted.target,
        want,
        if stay { Last::Stay } else { Last::Follow },
    )?;
    check_target(root, &target, mount.at(), has(mount_flags::ALLOW_PROC))?;
    wanted.change.attributes(mount.at())?;
    mounts::attach(mount.at(), target.fd.at())?;
    wanted.change.propagation(mount.at())
}

fn open_source(wanted: &Bind<'_>) -> Outcome<Fd> {
    let recursive = if wanted.flags & mount_flags::RECURSIVE != 0 {
        mounts::RECURSIVE
    } else {
        0
    };
    let stay = if wanted.flags & mount_flags::SOURCE_NOFOLLOW != 0 {
        mounts::NO_FOLLOW
    } else {
        0
    };
    mounts::open_tree(Handle::CWD, wanted.source, mounts::CLONE | recursive | stay)
}

/// Makes the source's link at the target, where the source is one.
fn copy_link(root: Handle, wanted: &Bind<'_>) -> Outcome<bool> {
    let mut buffer = [0; PATH_MAX];
    let length = match files::read_link(Handle::CWD, wanted.source, &mut buffer) {
        Ok(length) => length,
        Err(failure) if failure.errno == EINVAL => return Ok(false),
        Err(failure) => return Err(failure.detail(detail::SOURCE)),
    };
    let link = crate::text::Path::of(&[buffer.get(..length).unwrap_or_default()])?;
    crate::nodes::make_link(root, link.c_str(), wanted.target)?;
    Ok(true)
}

pub(crate) fn remount(root: Handle, target: &CStr, options: Texts<'_>, change: &Change<'_>) -> Outcome {
    let place = paths::find(root, target, Last::Follow)?.ok_or(Failure::os(Call::Openat, ENOENT))?;
    if !options.is_empty() {
        let parameters = mounts::pick_filesystem(place.fd.at())?;
        set_options(parameters.at(), options)?;
        mounts::reconfigure(parameters.at())?;
    }
    change.attributes(place.fd.at())?;
    change.propagation(place.fd.at())
}
