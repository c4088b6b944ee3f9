//! mount_setattr(2), which rustix does not have: attributes and id maps of a detached mount.
#![allow(unsafe_code, reason = "one system call without a wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// struct mount_attr, the only version so far.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

fn set(mount: BorrowedFd<'_>, attr: &MountAttr, recursive: bool) -> io::Result<()> {
    let recursive = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: an empty path with AT_EMPTY_PATH names the descriptor itself; the structure has the size that is passed
    // and lives through the call.
    // JUSTIFICATION: neither rustix nor nix offers the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets and clears MOUNT_ATTR_* flags.
///
/// # Errors
/// What mount_setattr(2) said.
pub(crate) fn set_attributes(
    mount: &impl AsFd,
    attributes: u64,
    clear: u64,
    recursive: bool,
) -> io::Result<()> {
    set(
        mount.as_fd(),
        &MountAttr {
            set: attributes,
            clear,
            ..MountAttr::default()
        },
        recursive,
    )
}

/// Shows the mount's files with the ids that the user namespace maps them to.
///
/// # Errors
/// What mount_setattr(2) said.
pub(crate) fn map_ids(mount: &impl AsFd, userns: BorrowedFd<'_>, recursive: bool) -> io::Result<()> {
    let attr = MountAttr {
        set: libc::MOUNT_ATTR_IDMAP,
        userns: u64::from(userns.as_raw_fd().cast_unsigned()),
        ..MountAttr::default()
    };
    set(mount.as_fd(), &attr, recursive)
}
