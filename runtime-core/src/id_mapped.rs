//! Detached, id-mapped copies of mounts, for a caller that puts a root filesystem together before it creates a container:
//! an engine's layers belong to the host's ids, and a container with a user namespace is to see them as its own.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::LinuxIdMapping;
use rustix::fs::CWD;
use rustix::mount::OpenTreeFlags;

use crate::error::{Error, Result};
use crate::launch::mapped_userns;
use crate::plan::{IdMap, LentIdMap};
use crate::sys;

/// A detached copy of the mount at `source` whose files are shown with other ids: an id that the filesystem holds within
/// `containerID` of a range is seen as one from `hostID` on. `recursive`: with the mounts below it.
///
/// The copy is attached nowhere; move_mount(2) does that, and the end of the descriptor ends a copy that never was.
///
/// # Errors
/// System: the source is missing, the caller may not mount, the maps overlap, or the filesystem cannot be id-mapped
/// (EINVAL; mount_setattr(2) lists them).
pub fn id_mapped_copy(
    source: &Path,
    uids: &[LinuxIdMapping],
    gids: &[LinuxIdMapping],
    recursive: bool,
) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    let tree = rustix::mount::open_tree(CWD, source, flags)
        .map_err(|errno| Error::os(format!("open_tree({source:?}, {flags:?})"), errno))?;
    let maps = LentIdMap {
        uids: uids.iter().map(IdMap::from).collect(),
        gids: gids.iter().map(IdMap::from).collect(),
        recursive,
    };
    let userns = mapped_userns(&maps)?;
    sys::mount::map_ids(&tree, userns.as_fd(), recursive)
        .map_err(|error| Error::os(format!("mount_setattr({source:?}, MOUNT_ATTR_IDMAP)"), error))?;
    Ok(tree)
}
