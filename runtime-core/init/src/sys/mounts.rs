//! Mounts: the calls of the new mount interface, and the four old ones that it has no counterpart for.

use core::ffi::CStr;
use core::mem::size_of;

use super::files::AT_EMPTY_PATH;
use super::{Fd, Handle, invoke};
use crate::failure::Outcome;

/// Bits for [`open_tree`].
pub(crate) const CLONE: u32 = 1;
pub(crate) const RECURSIVE: u32 = 0x8000;
pub(crate) const NO_FOLLOW: u32 = 0x100;
const CLOSE_ON_EXEC: u32 = 0o2_000_000;

/// MOUNT_ATTR_* bits (mount_setattr(2)).
pub(crate) mod attribute {
    pub(crate) const READ_ONLY: u64 = 1;
    pub(crate) const NO_SUID: u64 = 2;
    pub(crate) const NO_DEV: u64 = 4;
    pub(crate) const NO_EXEC: u64 = 8;
    /// What a mount is locked to when it comes from a more privileged mount namespace (and the access-time mode).
    pub(crate) const LOCKABLE: u64 = READ_ONLY | NO_SUID | NO_DEV | NO_EXEC;
    /// Every bit of the choice between relatime, noatime and strictatime.
    pub(crate) const ACCESS_TIME: u64 = 0x70;
}

/// MS_* bits that steps use for propagation.
const MS_REC: u64 = 0x4000;
/// MS_SLAVE | MS_REC.
pub(crate) const SLAVE_TREE: u64 = 1 << 19 | MS_REC;
/// MS_PRIVATE.
pub(crate) const PRIVATE: u64 = 1 << 18;
const MNT_DETACH: u32 = 2;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const FSCONFIG_CMD_RECONFIGURE: u32 = 7;
const MOVE_BOTH_EMPTY: u32 = 0x04 | 0x40;
const CLOEXEC_FLAG: u32 = 1;
/// FSPICK_CLOEXEC | FSPICK_SYMLINK_NOFOLLOW | FSPICK_EMPTY_PATH.
const PICK: u32 = 1 | 2 | 8;

/// struct mount_attr.
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// open_tree(2) of a path: the mount, or with [`CLONE`] a detached copy of it.
pub(crate) fn open_tree(dir: Handle, path: &CStr, flags: u32) -> Outcome<Fd> {
    // SAFETY: the kernel reads the path.
    unsafe { invoke!(OpenTree, OPEN_TREE, dir, path, flags | CLOSE_ON_EXEC) }.map(Fd::from_result)
}

/// open_tree(2) of what is open.
pub(crate) fn clone_tree(fd: Handle, recursive: bool) -> Outcome<Fd> {
    open_tree(
        fd,
        c"",
        CLONE | AT_EMPTY_PATH | if recursive { RECURSIVE } else { 0 },
    )
}

/// Attaches a detached mount on the open `target`; no path is looked up.
pub(crate) fn attach(mount: Handle, target: Handle) -> Outcome {
    // SAFETY: the kernel reads two empty paths.
    unsafe { invoke!(MoveMount, MOVE_MOUNT, mount, c"", target, c"", MOVE_BOTH_EMPTY) }.map(drop)
}

/// mount_setattr(2) on an open mount.
pub(crate) fn set_attributes(mount: Handle, set: u64, clear: u64, recursive: bool) -> Outcome {
    change(
        mount,
        c"",
        &Attributes {
            set,
            clear,
            propagation: 0,
            user_namespace: 0,
        },
        recursive,
    )
}

/// Sets the propagation of an open mount: an MS_* word, MS_REC for the whole tree.
pub(crate) fn set_propagation(mount: Handle, word: u64) -> Outcome {
    propagate(mount, c"", word)
}

/// The same for a path.
pub(crate) fn set_propagation_of(path: &CStr, word: u64) -> Outcome {
    propagate(Handle::CWD, path, word)
}

fn propagate(dir: Handle, path: &CStr, word: u64) -> Outcome {
    let attributes = Attributes {
        set: 0,
        clear: 0,
        propagation: word & !MS_REC,
        user_namespace: 0,
    };
    change(dir, path, &attributes, word & MS_REC != 0)
}

fn change(dir: Handle, path: &CStr, attributes: &Attributes, recursive: bool) -> Outcome {
    let flags = if path.is_empty() { AT_EMPTY_PATH } else { 0 } | if recursive { RECURSIVE } else { 0 };
    let size = size_of::<Attributes>();
    // SAFETY: the kernel reads the path and one struct mount_attr, whose size is given.
    unsafe {
        invoke!(
            MountSetattr,
            MOUNT_SETATTR,
            dir,
            path,
            flags,
            core::ptr::from_ref(attributes),
            size
        )
    }
    .map(drop)
}

/// A new filesystem's parameters, before it exists.
pub(crate) fn open_filesystem(kind: &CStr) -> Outcome<Fd> {
    // SAFETY: the kernel reads the name.
    unsafe { invoke!(Fsopen, FSOPEN, kind, CLOEXEC_FLAG) }.map(Fd::from_result)
}

/// The parameters of the filesystem that is mounted on the open `target`.
pub(crate) fn pick_filesystem(target: Handle) -> Outcome<Fd> {
    // SAFETY: the kernel reads an empty path.
    unsafe { invoke!(Fspick, FSPICK, target, c"", PICK) }.map(Fd::from_result)
}

pub(crate) fn set_string(parameters: Handle, key: &CStr, value: &CStr) -> Outcome {
    // SAFETY: the kernel reads both strings.
    unsafe {
        invoke!(
            Fsconfig,
            FSCONFIG,
            parameters,
            FSCONFIG_SET_STRING,
            key,
            value,
            0u32
        )
    }
    .map(drop)
}

pub(crate) fn set_flag(parameters: Handle, key: &CStr) -> Outcome {
    // SAFETY: the kernel reads the key.
    unsafe {
        invoke!(
            Fsconfig,
            FSCONFIG,
            parameters,
            FSCONFIG_SET_FLAG,
            key,
            0usize,
            0u32
        )
    }
    .map(drop)
}

/// Makes the filesystem with the parameters given.
pub(crate) fn create(parameters: Handle) -> Outcome {
    // SAFETY: the call takes numbers.
    unsafe {
        invoke!(
            Fsconfig,
            FSCONFIG,
            parameters,
            FSCONFIG_CMD_CREATE,
            0usize,
            0usize,
            0u32
        )
    }
    .map(drop)
}

/// Gives an existing filesystem the parameters.
pub(crate) fn reconfigure(parameters: Handle) -> Outcome {
    // SAFETY: the call takes numbers.
    unsafe {
        invoke!(
            Fsconfig,
            FSCONFIG,
            parameters,
            FSCONFIG_CMD_RECONFIGURE,
            0usize,
            0usize,
            0u32
        )
    }
    .map(drop)
}

/// A detached mount of a filesystem that was made.
pub(crate) fn mount(parameters: Handle, attributes: u64) -> Outcome<Fd> {
    // SAFETY: the call takes numbers.
    unsafe { invoke!(Fsmount, FSMOUNT, parameters, CLOEXEC_FLAG, attributes) }.map(Fd::from_result)
}

/// mount(2) of a new filesystem on the working directory, which is not looked up by any name.
pub(crate) fn mount_here(source: &CStr, kind: &CStr, flags: u64, data: &CStr) -> Outcome {
    // SAFETY: the kernel reads four strings; of the last one at most a page, and it stops where memory ends.
    unsafe { invoke!(Mount, MOUNT, source, c".", kind, flags, data) }.map(drop)
}

/// Makes the working directory both the new root and the place of the old one, which then lies on top of it.
pub(crate) fn pivot_here() -> Outcome {
    // SAFETY: the kernel reads two paths.
    unsafe { invoke!(PivotRoot, PIVOT_ROOT, c".", c".") }.map(drop)
}

/// Takes the working directory's mounts out of propagation to whoever they came from.
pub(crate) fn enslave_here() -> Outcome {
    set_propagation_of(c".", SLAVE_TREE)
}

/// Unmounts what is on top of a path, lazily.
pub(crate) fn unmount(path: &CStr) -> Outcome {
    // SAFETY: the kernel reads the path.
    unsafe { invoke!(Umount, UMOUNT2, path, MNT_DETACH) }.map(drop)
}

pub(crate) fn change_root_here() -> Outcome {
    // SAFETY: the kernel reads the path.
    unsafe { invoke!(Chroot, CHROOT, c".") }.map(drop)
}
