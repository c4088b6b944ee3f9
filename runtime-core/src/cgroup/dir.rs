//! One cgroup directory as a descriptor, and the few things that can be done with it.
//!
//! Every access goes from the descriptor of the mount point or of the group, with one name or a path that may not leave
//! it: no path is resolved twice, so a rename or a link cannot send a write elsewhere (compare CVE-2022-0811's class of
//! writes to the wrong control file). Nothing here knows limits, containers or what a failure means to the caller: errors
//! are those of the call.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::path::Directory;
use crate::facts::cgroup::HierarchyKind;

/// Linux's CGROUP_SUPER_MAGIC, statfs(2).
const CGROUP1_MAGIC: i64 = 0x0027_e0eb;
/// Linux's CGROUP2_SUPER_MAGIC.
const CGROUP2_MAGIC: i64 = 0x6367_7270;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The mount point of a hierarchy; ENODEV where something else is mounted there now.
pub(super) fn mount_of(directory: &Directory) -> Result<OwnedFd, Errno> {
    let fd = rustix::fs::openat(
        CWD,
        &directory.mount_point,
        DIRECTORY | OFlags::NOFOLLOW,
        Mode::empty(),
    )?;
    let magic = match directory.kind {
        HierarchyKind::Unified => CGROUP2_MAGIC,
        HierarchyKind::V1 | HierarchyKind::Named => CGROUP1_MAGIC,
    };
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_lossless,
        reason = "the type differs between architectures"
    )]
    let found = rustix::fs::fstatfs(&fd)?.f_type as i64;
    if found == magic { Ok(fd) } else { Err(Errno::NODEV) }
}

/// A group below `from`: `path` has no links, no `..` and stays in the file system.
pub(super) fn open_below(from: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    loop {
        match rustix::fs::openat2(from, path, DIRECTORY, Mode::empty(), resolve) {
            // openat2(2): a rename somewhere raced with the test for `..`; or a signal.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Makes one directory; the parents exist.
pub(super) fn make(from: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    rustix::fs::mkdirat(from, path, Mode::from_raw_mode(0o755))
}

/// Removes one directory that has no processes and no children.
pub(super) fn unmake(from: BorrowedFd<'_>, path: impl rustix::path::Arg + Copy) -> Result<(), Errno> {
    loop {
        match rustix::fs::unlinkat(from, path, AtFlags::REMOVEDIR) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// A control file, open for writing.
pub(super) fn open_to_write(group: BorrowedFd<'_>, file: &str) -> Result<OwnedFd, Errno> {
    open_file(group, file, OFlags::WRONLY)
}

/// A control file, open for reading.
pub(super) fn open_to_read(group: BorrowedFd<'_>, file: &str) -> Result<OwnedFd, Errno> {
    open_file(group, file, OFlags::RDONLY)
}

fn open_file(group: BorrowedFd<'_>, file: &str, how: OFlags) -> Result<OwnedFd, Errno> {
    // `file` is one name: limits.rs refuses slashes, and the other callers use constants.
    debug_assert!(!file.contains('/'), "{file:?}");
    rustix::fs::openat(
        group,
        file,
        how | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    )
}

/// The whole content of a control file.
pub(super) fn read(group: BorrowedFd<'_>, file: &str) -> Result<String, Errno> {
    let fd = open_to_read(group, file)?;
    let mut content = Vec::new();
    read_all(fd.as_fd(), &mut content)?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}

/// Everything from the position of `fd` to the end.
pub(super) fn read_all(fd: BorrowedFd<'_>, content: &mut Vec<u8>) -> Result<(), Errno> {
    let mut chunk = [0u8; 4096];
    loop {
        match rustix::io::read(fd, &mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => content.extend_from_slice(&chunk[..length]),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Opens a control file and writes one value.
pub(super) fn write(group: BorrowedFd<'_>, file: &str, value: &str) -> Result<(), Errno> {
    put(open_to_write(group, file)?.as_fd(), value)
}

/// Writes one value in one call: the kernel takes each write(2) as a whole value.
pub(super) fn put(fd: BorrowedFd<'_>, value: &str) -> Result<(), Errno> {
    loop {
        match rustix::io::write(fd, value.as_bytes()) {
            Ok(written) if written == value.len() => return Ok(()),
            // A control file takes all or nothing; half of a value must not pass for the whole.
            Ok(_) => return Err(Errno::IO),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The names of the groups directly below: bytes that whoever may make groups has chosen.
pub(super) fn children(group: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    names(group, rustix::fs::FileType::Directory)
}

/// The names of the control files, which the kernel has chosen.
pub(super) fn files(group: BorrowedFd<'_>) -> Result<Vec<String>, Errno> {
    let names = names(group, rustix::fs::FileType::RegularFile)?;
    Ok(names
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .collect())
}

fn names(group: BorrowedFd<'_>, kind: rustix::fs::FileType) -> Result<Vec<CString>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(group, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(fd)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == kind && name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// A group directly below.
pub(super) fn open_child(group: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(group, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
}

/// The process ids in one group, without those below. A threaded group of version 2 lists threads.
pub(super) fn procs(group: BorrowedFd<'_>) -> Result<Vec<i32>, Errno> {
    let text = match read(group, "cgroup.procs") {
        Err(Errno::OPNOTSUPP) => read(group, "cgroup.threads")?,
        other => other?,
    };
    // 0 stands for a process outside the pid namespace of the reader; kill(0) would be our own group.
    Ok(text
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| *pid > 0)
        .collect())
}

/// The group is gone: its directory (ENOENT), or the group behind an open file (ENODEV).
pub(super) fn is_gone(error: Errno) -> bool {
    error == Errno::NOENT || error == Errno::NODEV
}

/// The errno as the error of the standard library.
pub(super) fn as_io(error: Errno) -> io::Error {
    io::Error::from_raw_os_error(error.raw_os_error())
}
