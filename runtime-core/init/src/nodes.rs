//! Single files in the container's root: directories, links, device nodes. No mounts but the bind of a device.

use core::ffi::CStr;

use runtime_core_program::{Call, detail};

use crate::failure::{Except, Failure, Outcome};
use crate::paths::{self, Last, Place, Want};
use crate::sys::errno::{EEXIST, ENOSYS, EOPNOTSUPP};
use crate::sys::files::{self, Kind};
use crate::sys::{Handle, mounts};
use crate::text::{Text, digits};

/// The permission bits of a mode.
const PERMISSIONS: u32 = 0o7777;

/// A device node or fifo, as the Device step describes it.
pub(crate) struct Node<'a> {
    pub(crate) path: &'a CStr,
    pub(crate) mode: u32,
    pub(crate) device: u64,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

pub(crate) fn make_dir(root: Handle, path: &CStr, mode: u32) -> Outcome {
    paths::make(root, path, Want::Directory(mode & PERMISSIONS), Last::Follow).map(drop)
}

pub(crate) fn make_link(root: Handle, target: &CStr, path: &CStr) -> Outcome {
    let (dir, name) = paths::parent(root, path)?;
    files::make_link(target, dir.at(), name.c_str())
        .except(&[EEXIST])
        .map(drop)
}

/// Makes the node, or takes the same one that is there, and gives it mode and owner through its descriptor.
pub(crate) fn make_node(root: Handle, node: &Node<'_>) -> Outcome {
    let (dir, name) = paths::parent(root, node.path)?;
    let made = files::make_node(dir.at(), name.c_str(), node.mode, node.device).except(&[EEXIST])?;
    let place = paths::child(dir.at(), name.c_str())?;
    check(&place, node.mode, node.device)?;
    if place.status.mode & PERMISSIONS != node.mode & PERMISSIONS {
        set_mode(place.fd.at(), node.mode & PERMISSIONS)?;
    }
    if made.is_some() || (place.status.uid, place.status.gid) != (node.uid, node.gid) {
        files::give(place.fd.at(), c"", node.uid, node.gid)?;
    }
    Ok(())
}

/// Binds a device of the host, checked to be the one that is meant, on a file of the container.
pub(crate) fn bind_device(root: Handle, source: &CStr, path: &CStr, mode: u32, device: u64) -> Outcome {
    let source_fault = |failure: Failure| failure.detail(detail::SOURCE);
    let mount =
        mounts::open_tree(Handle::CWD, source, mounts::CLONE | mounts::NO_FOLLOW).map_err(source_fault)?;
    let status = files::status(mount.at())?;
    let place = Place {
        fd: mount,
        status,
        made: false,
    };
    check(&place, mode, device).map_err(source_fault)?;
    let (dir, name) = paths::parent(root, path)?;
    let permissions = mode & PERMISSIONS;
    files::make_node(dir.at(), name.c_str(), Kind::REGULAR.bits() | permissions, 0).except(&[EEXIST])?;
    let target = paths::child(dir.at(), name.c_str())?;
    if matches!(target.status.kind, Kind::SYMLINK | Kind::DIRECTORY) {
        return Err(Failure::os(Call::Mknod, EEXIST).detail(detail::WRONG_TYPE));
    }
    mounts::attach(place.fd.at(), target.fd.at())
}

/// Whether an open file is the node that is meant: its type first, since only devices have a number.
fn check(place: &Place, mode: u32, device: u64) -> Outcome {
    let kind = Kind::of(mode);
    let numbered = matches!(kind, Kind::CHARACTER | Kind::BLOCK);
    if place.status.kind != kind || numbered && place.status.device != device {
        return Err(Failure::os(Call::Mknod, EEXIST).detail(detail::WRONG_TYPE));
    }
    Ok(())
}

/// chmod by descriptor. Before fchmodat2 (kernel 6.6) the only way for an O_PATH descriptor is its magic link; the
/// /proc of the host is still there, as no node is made after the root changed.
pub(crate) fn set_mode(fd: Handle, mode: u32) -> Outcome {
    if files::set_mode_of_place(fd, mode)
        .except(&[ENOSYS, EOPNOTSUPP])?
        .is_some()
    {
        return Ok(());
    }
    let number = digits(fd.number().unsigned_abs(), 10)?;
    let path: Text<64> = Text::of(&[b"/proc/self/fd/", number.bytes()])?;
    files::set_mode_of_path(path.c_str(), mode)
}
