//! The cpuset controller of version 1: a new group has no CPUs and no memory nodes and takes no process without both.
//!
//! What the configuration does not set comes from the parent, which may be as empty and then takes its parent's. A group
//! that has values keeps them. Version 2 needs none of this. (Mounts with `noprefix`, as in Android, are not supported.)

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::io::Errno;

use super::dir;
use super::fs::Group;
use super::limits::Write;
use crate::error::{Error, Result};

/// A group without these takes no process.
pub(super) const FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

pub(super) fn inherit(
    group: &Group,
    mount: BorrowedFd<'_>,
    fd: BorrowedFd<'_>,
    needed: &[&Write],
) -> Result<()> {
    for file in FILES {
        if needed.iter().any(|write| write.file == file) {
            // The value of the configuration comes later. The parents still need theirs, or it would be refused.
            let Some(parent) = group.directory.relative.parent() else {
                continue;
            };
            value_of(group, mount, parent, file)?;
            continue;
        }
        fill(group, mount, fd, &group.directory.relative, file)?;
    }
    Ok(())
}

/// The value of the group at `level`, after it got one from its parents.
fn value_of(group: &Group, mount: BorrowedFd<'_>, level: &Path, file: &str) -> Result<String> {
    let failed = |call: &str, errno| error(group, call, level, file, errno);
    let fd = dir::open_below(mount, level).map_err(|errno| failed("openat2", errno))?;
    fill(group, mount, fd.as_fd(), level, file)
}

fn fill(
    group: &Group,
    mount: BorrowedFd<'_>,
    fd: BorrowedFd<'_>,
    level: &Path,
    file: &str,
) -> Result<String> {
    let failed = |call: &str, errno| error(group, call, level, file, errno);
    let found = dir::read(fd, file).map_err(|errno| failed("read", errno))?;
    let found = found.trim();
    let parent = match level.parent() {
        Some(parent) if found.is_empty() => parent,
        _ => return Ok(found.to_owned()),
    };
    let value = value_of(group, mount, parent, file)?;
    dir::write(fd, file, &value).map_err(|errno| failed("write", errno))?;
    Ok(value)
}

fn error(group: &Group, call: &str, level: &Path, file: &str, errno: Errno) -> Error {
    let path = group.directory.mount_point.join(level).join(file);
    Error::os(
        format!("{call}({:?})", path.display().to_string()),
        dir::as_io(errno),
    )
}
