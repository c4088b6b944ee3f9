//! The executable image of init as a descriptor that nobody can write to (CVE-2019-5736).
//!
//! A sealed memfd; where the host refuses those (vm.memfd_noexec=2, or execution of it by policy), an installed copy of
//! the same bytes behind a detached read-only mount.

use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags};

use crate::error::{Error, ErrorKind, Result};
use crate::init_image::{INIT, INSTALLED_INIT};

/// Where an installed copy is looked for.
const INSTALLED: [&str; 2] = [INSTALLED_INIT, "/usr/local/libexec/runtime-core/init"];

/// A sealed memfd that holds init.
///
/// # Errors
/// System, where the kernel gives no memfd at all.
pub(super) fn sealed() -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // MFD_EXEC is wanted since kernel 6.3 and unknown before.
    let fd = match rustix::fs::memfd_create(c"runtime-init", flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(c"runtime-init", flags),
        other => other,
    };
    let fd = match fd {
        Ok(fd) => fd,
        Err(Errno::ACCESS | Errno::PERM | Errno::NOSYS) => return installed(),
        Err(errno) => return Err(Error::os("memfd_create(\"runtime-init\", MFD_EXEC)", errno)),
    };
    let mut file = std::fs::File::from(fd);
    file.write_all(INIT)
        .map_err(|error| Error::os("write(memfd of init)", error))?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals)
        .map_err(|errno| Error::os("fcntl(memfd of init, F_ADD_SEALS)", errno))?;
    Ok(file.into())
}

/// An installed copy, checked byte by byte.
///
/// # Errors
/// Unsupported, where there is none: the hint says how to get one.
pub(super) fn installed() -> Result<OwnedFd> {
    let found = INSTALLED
        .iter()
        .find(|path| std::fs::read(path).is_ok_and(|bytes| bytes == INIT));
    let path = found.ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            "this host refuses to execute a memfd, and no copy of init is installed",
        )
        .with_hint("run 'runtime install-init' once, or set vm.memfd_noexec to 0 or 1")
    })?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    match rustix::mount::open_tree(rustix::fs::CWD, *path, flags) {
        Ok(tree) => {
            crate::sys::mount::set_attributes(
                &tree,
                MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(),
                0,
                false,
            )
            .map_err(|error| Error::os(format!("mount_setattr({path:?}, MOUNT_ATTR_RDONLY)"), error))?;
            Ok(tree)
        }
        // An unprivileged caller cannot write a file of root either.
        Err(Errno::PERM) => rustix::fs::open(
            *path,
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .map_err(|errno| Error::os(format!("open({path:?}, O_PATH)"), errno)),
        Err(errno) => Err(Error::os(format!("open_tree({path:?}, OPEN_TREE_CLONE)"), errno)),
    }
}
