//! Mount sources that init cannot open itself: behind directories of the host that the container's root may not enter,
//! or with ids to be mapped. They are opened in init's mount namespace, so that earlier mounts of the list count, with
//! the caller's credentials.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::mount::OpenTreeFlags;

use super::{Launched, Link, maps, spawn_init};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::driver::FileIdentity;
use crate::lower::{Descriptors, lower};
use crate::plan::{Action, LentIdMap, Line, Step};
use crate::sys;

/// A detached copy of the mount at `source`.
pub(super) fn open(
    init: &Launched,
    source: &str,
    recursive: bool,
    nofollow: bool,
    idmap: Option<&LentIdMap>,
) -> Result<OwnedFd> {
    let path = CString::new(source)
        .map_err(|_| Error::new(ErrorKind::InvalidSpec, "the source contains a null byte"))?;
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    flags.set(OpenTreeFlags::AT_SYMLINK_NOFOLLOW, nofollow);
    let tree = sys::elsewhere::open_tree(init.pidfd.as_fd(), &path, flags.bits())
        .map_err(|refused| Error::os(format!("{}({source:?})", refused.call), refused.source))?;
    if let Some(idmap) = idmap {
        let userns = if idmap.uids.is_empty() {
            own_userns(init)?
        } else {
            mapped_userns(idmap)?
        };
        sys::mount::map_ids(&tree, userns.as_fd(), idmap.recursive)
            .map_err(|error| not_mapped(source, error))?;
    }
    Ok(tree)
}

/// mount_setattr(2): EINVAL also where the filesystem knows nothing of it (tmpfs before 6.3, overlayfs before 5.19).
fn not_mapped(source: &str, error: std::io::Error) -> Error {
    let error = Error::os(format!("mount_setattr({source:?}, MOUNT_ATTR_IDMAP)"), error);
    match error.errno() {
        Some(libc::EINVAL) => {
            error.with_hint("the filesystem may not support id-mapped mounts on this kernel")
        }
        _ => error,
    }
}

/// Refuses to lend what was put in the place of what was looked at.
pub(super) fn check(tree: &OwnedFd, source: &str, expected: FileIdentity) -> Result<()> {
    let found = rustix::fs::fstat(tree).map_err(|errno| Error::os(format!("fstat({source:?})"), errno))?;
    let found = FileIdentity {
        device: found.st_dev,
        inode: found.st_ino,
    };
    if found == expected {
        return Ok(());
    }
    let message = format!("{source:?} is not what it was when it was looked at: somebody has exchanged it");
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

fn namespace_of(pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/user");
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, rustix::fs::Mode::empty())
        .map_err(|errno| Error::os(format!("open({path:?})"), errno))
}

fn own_userns(init: &Launched) -> Result<OwnedFd> {
    namespace_of(init.pid)
}

/// A user namespace with these maps: the only form in which the kernel takes them. It lives by its descriptor; the
/// process that made it ends at once.
pub(crate) fn mapped_userns(idmap: &LentIdMap) -> Result<OwnedFd> {
    let line = |step| Line {
        action: Action::Init(step),
        from: "(id map)".to_owned(),
    };
    let lines = [line(Step::CloseStray { keep: Vec::new() }), line(Step::Sync {})];
    let descriptors = Descriptors::default();
    let program = lower(&lines, &descriptors)?;
    let (link, theirs) = Link::pair()?;
    let namespaces = libc::CLONE_NEWUSER.cast_unsigned();
    let child = spawn_init(namespaces.into(), None, &program, &theirs, &descriptors, None)?;
    drop(theirs);
    let result =
        maps::write(child.pid, &idmap.uids, &idmap.gids, false, false).and_then(|()| namespace_of(child.pid));
    // The end of the report socket ends the process.
    drop(link);
    sys::wait::reap(&child.pidfd);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};

    #[test]
    fn what_was_exchanged_is_not_lent() {
        let open = |path: &str| rustix::fs::open(path, OFlags::PATH, Mode::empty()).unwrap();
        let about = rustix::fs::stat("/proc").unwrap();
        let identity = FileIdentity {
            device: about.st_dev,
            inode: about.st_ino,
        };
        assert!(check(&open("/proc"), "/proc", identity).is_ok());
        let error = check(&open("/"), "/proc", identity).unwrap_err().to_string();
        assert!(
            error.contains("\"/proc\"") && error.contains("exchanged"),
            "{error}"
        );
    }
}
