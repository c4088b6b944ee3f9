//! Files: opening, looking at, making and changing them, always relative to a descriptor.

use core::ffi::CStr;
use core::mem::size_of;

use super::errno::{EAGAIN, EINTR, ENOSYS, EPERM};
use super::{Fd, Handle, invoke};
use crate::failure::{Failure, Outcome};

/// Open flags (asm-generic/fcntl.h; those that differ between architectures are chosen here).
pub(crate) mod open {
    pub(crate) const READ: u64 = 0;
    pub(crate) const WRITE: u64 = 1;
    pub(crate) const READ_WRITE: u64 = 2;
    pub(crate) const CREATE: u64 = 0o100;
    pub(crate) const EXCLUSIVE: u64 = 0o200;
    pub(crate) const NO_TTY: u64 = 0o400;
    pub(crate) const NONBLOCK: u64 = 0o4000;
    pub(crate) const CLOSE_ON_EXEC: u64 = 0o2_000_000;
    pub(crate) const PATH: u64 = 0o10_000_000;
    #[cfg(target_arch = "x86_64")]
    pub(crate) const DIRECTORY: u64 = 0o200_000;
    #[cfg(target_arch = "x86_64")]
    pub(crate) const NO_FOLLOW: u64 = 0o400_000;
    #[cfg(target_arch = "aarch64")]
    pub(crate) const DIRECTORY: u64 = 0o40_000;
    #[cfg(target_arch = "aarch64")]
    pub(crate) const NO_FOLLOW: u64 = 0o100_000;
}

/// How openat2 resolves a path (openat2(2)).
pub(crate) mod resolve {
    pub(crate) const NO_XDEV: u64 = 1;
    pub(crate) const NO_MAGICLINKS: u64 = 2;
    pub(crate) const NO_SYMLINKS: u64 = 4;
    pub(crate) const BENEATH: u64 = 8;
    pub(crate) const IN_ROOT: u64 = 0x10;
}

pub(crate) const AT_EMPTY_PATH: u32 = 0x1000;
pub(crate) const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_EACCESS: u32 = 0x200;
const X_OK: u32 = 1;
const STATX_BASIC: u32 = 0x7ff;
const STATX_MOUNT: u32 = 0x1000;

/// Attempts at a lookup that a rename somewhere on the system made uncertain (EAGAIN, openat2(2)). A bound, because an
/// attacker could otherwise keep init busy for ever.
const ATTEMPTS: u32 = 256;

/// struct open_how.
#[repr(C)]
struct How {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// struct statx_timestamp, and struct timespec for utimensat: the same first twelve bytes.
#[repr(C)]
#[derive(Clone, Copy)]
struct Stamp {
    seconds: i64,
    nanoseconds: u32,
    padding: i32,
}

/// struct statx, as far as init reads it, to its full size.
#[repr(C)]
struct Statx {
    mask: u32,
    block_size: u32,
    attributes: u64,
    links: u32,
    uid: u32,
    gid: u32,
    mode: u16,
    padding: u16,
    inode: u64,
    size: u64,
    blocks: u64,
    attributes_mask: u64,
    accessed: Stamp,
    born: Stamp,
    changed: Stamp,
    modified: Stamp,
    rdev_major: u32,
    rdev_minor: u32,
    dev_major: u32,
    dev_minor: u32,
    mount: u64,
    rest: [u64; 13],
}

const _: () = assert!(size_of::<Statx>() == 256);

/// struct statfs of 64-bit machines.
#[repr(C)]
struct Statfs {
    kind: i64,
    rest: [u64; 14],
}

/// What kind of file something is (inode(7)).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind(u32);

impl Kind {
    pub(crate) const CHARACTER: Self = Self(0o020_000);
    pub(crate) const DIRECTORY: Self = Self(0o040_000);
    pub(crate) const BLOCK: Self = Self(0o060_000);
    pub(crate) const REGULAR: Self = Self(0o100_000);
    pub(crate) const SYMLINK: Self = Self(0o120_000);

    /// The kind as the bits of a mode word.
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// The kind in a mode word.
    pub(crate) const fn of(mode: u32) -> Self {
        Self(mode & 0o170_000)
    }
}

/// What is known about a file.
#[derive(Clone, Copy)]
pub(crate) struct Status {
    pub(crate) kind: Kind,
    /// Kind and permissions.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) inode: u64,
    /// The device that the node stands for, encoded as makedev(3).
    pub(crate) device: u64,
    /// The mount that the file was reached through.
    pub(crate) mount: u64,
    /// The filesystem: major and minor number.
    pub(crate) filesystem: (u32, u32),
    accessed: Stamp,
    modified: Stamp,
}

/// The null device's number.
pub(crate) const NULL_DEVICE: u64 = device(1, 3);
/// The number of the pty multiplexer.
pub(crate) const PTMX_DEVICE: u64 = device(5, 2);

/// A device number as makedev(3) and the kernel encode it, in the 32 bits that mknod(2) takes.
const fn device(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    (major & 0xfff) << 8 | (minor & 0xff) | (minor & 0xf_ff00) << 12
}

impl Status {
    /// Whether this is the null device; the number alone says nothing (CVE-2026-88265).
    pub(crate) fn is_null_device(&self) -> bool {
        self.kind == Kind::CHARACTER && self.device == NULL_DEVICE
    }

    /// Whether both are the same file, reached through the same mount.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.inode, self.filesystem, self.mount) == (other.inode, other.filesystem, other.mount)
    }
}

/// openat2(2); close-on-exec is added. EAGAIN is tried again, a bounded number of times.
pub(crate) fn open(dir: Handle, path: &CStr, flags: u64, mode: u64, resolve: u64) -> Outcome<Fd> {
    let how = How {
        flags: flags | open::CLOSE_ON_EXEC,
        mode,
        resolve,
    };
    let mut attempt = 0;
    loop {
        // SAFETY: the kernel reads the path and `how`, whose size is given.
        match unsafe { invoke!(Openat, OPENAT2, dir, path, &raw const how, size_of::<How>()) } {
            Err(failure) if matches!(failure.errno, EAGAIN | EINTR) && attempt < ATTEMPTS => attempt += 1,
            result => return result.map(Fd::from_result),
        }
    }
}

/// statx(2) of an open file.
pub(crate) fn status(fd: Handle) -> Outcome<Status> {
    status_of(fd, c"", AT_EMPTY_PATH)
}

/// statx(2) of a name.
pub(crate) fn status_of(dir: Handle, path: &CStr, flags: u32) -> Outcome<Status> {
    let zero = Stamp {
        seconds: 0,
        nanoseconds: 0,
        padding: 0,
    };
    let mut found = Statx {
        mask: 0,
        block_size: 0,
        attributes: 0,
        links: 0,
        uid: 0,
        gid: 0,
        mode: 0,
        padding: 0,
        inode: 0,
        size: 0,
        blocks: 0,
        attributes_mask: 0,
        accessed: zero,
        born: zero,
        changed: zero,
        modified: zero,
        rdev_major: 0,
        rdev_minor: 0,
        dev_major: 0,
        dev_minor: 0,
        mount: 0,
        rest: [0; 13],
    };
    // SAFETY: the kernel reads the path and writes one struct statx.
    unsafe {
        invoke!(
            Fstat,
            STATX,
            dir,
            path,
            flags,
            STATX_BASIC | STATX_MOUNT,
            &raw mut found
        )
    }?;
    let mode = u32::from(found.mode);
    Ok(Status {
        kind: Kind::of(mode),
        mode,
        uid: found.uid,
        gid: found.gid,
        size: found.size,
        inode: found.inode,
        device: device(found.rdev_major, found.rdev_minor),
        mount: found.mount,
        filesystem: (found.dev_major, found.dev_minor),
        accessed: found.accessed,
        modified: found.modified,
    })
}

/// The magic number of the filesystem that a file is on (statfs(2)).
pub(crate) fn filesystem(fd: Handle) -> Outcome<i64> {
    let mut found = Statfs {
        kind: 0,
        rest: [0; 14],
    };
    const _: () = assert!(size_of::<Statfs>() == 120);
    // SAFETY: the kernel writes one struct statfs.
    unsafe { invoke!(Statfs, FSTATFS, fd, &raw mut found) }?;
    Ok(found.kind)
}

/// Whether the effective user may execute a file. A filter of the container that is in force already may refuse
/// faccessat2(2); the older call asks for the real user, who is the same here.
pub(crate) fn may_execute(path: &CStr) -> Outcome {
    // SAFETY: the kernel reads the path.
    match unsafe { invoke!(None, FACCESSAT2, Handle::CWD, path, X_OK, AT_EACCESS) } {
        Err(Failure {
            errno: ENOSYS | EPERM,
            ..
        }) => {
            // SAFETY: the kernel reads the path.
            unsafe { invoke!(None, FACCESSAT, Handle::CWD, path, X_OK) }.map(drop)
        }
        answered => answered.map(drop),
    }
}

pub(crate) fn read(fd: Handle, bytes: &mut [u8]) -> Outcome<usize> {
    // SAFETY: the kernel writes at most `bytes.len()` bytes.
    unsafe { invoke!(Read, READ, fd, bytes.as_mut_ptr(), bytes.len()) }
}

pub(crate) fn write(fd: Handle, bytes: &[u8]) -> Outcome<usize> {
    // SAFETY: the kernel reads at most `bytes.len()` bytes.
    unsafe { invoke!(Write, WRITE, fd, bytes.as_ptr(), bytes.len()) }
}

/// Copies up to `count` bytes from a regular file to another; 0 at its end.
pub(crate) fn send_file(to: Handle, from: Handle, count: usize) -> Outcome<usize> {
    // SAFETY: without an offset the call takes numbers.
    unsafe { invoke!(Write, SENDFILE, to, from, 0usize, count) }
}

/// Directory entries in the kernel's form; 0 at the end.
pub(crate) fn entries(dir: Handle, bytes: &mut [u8]) -> Outcome<usize> {
    // SAFETY: the kernel writes at most `bytes.len()` bytes.
    unsafe { invoke!(Getdents, GETDENTS64, dir, bytes.as_mut_ptr(), bytes.len()) }
}

/// Where a symbolic link points: how many bytes of `bytes` it filled.
pub(crate) fn read_link(dir: Handle, path: &CStr, bytes: &mut [u8]) -> Outcome<usize> {
    // SAFETY: the kernel reads the path and writes at most `bytes.len()` bytes.
    unsafe { invoke!(Readlink, READLINKAT, dir, path, bytes.as_mut_ptr(), bytes.len()) }
}

pub(crate) fn make_link(target: &CStr, dir: Handle, path: &CStr) -> Outcome {
    // SAFETY: the kernel reads both strings.
    unsafe { invoke!(Symlink, SYMLINKAT, target, dir, path) }.map(drop)
}

pub(crate) fn make_dir(dir: Handle, path: &CStr, mode: u32) -> Outcome {
    // SAFETY: the kernel reads the path.
    unsafe { invoke!(Mkdir, MKDIRAT, dir, path, mode) }.map(drop)
}

/// mknod(2): a file of the kind that `mode` says; `device` as makedev(3).
pub(crate) fn make_node(dir: Handle, path: &CStr, mode: u32, device: u64) -> Outcome {
    // SAFETY: the kernel reads the path.
    unsafe { invoke!(Mknod, MKNODAT, dir, path, mode, device) }.map(drop)
}

/// renameat2(2) within one directory; what has the new name is replaced.
pub(crate) fn rename(dir: Handle, from: &CStr, to: &CStr) -> Outcome {
    // SAFETY: the kernel reads both names.
    unsafe { invoke!(Rename, RENAMEAT2, dir, from, dir, to, 0u32) }.map(drop)
}

/// unlinkat(2): takes a name away that is no directory.
pub(crate) fn remove(dir: Handle, path: &CStr) -> Outcome {
    // SAFETY: the kernel reads the name.
    unsafe { invoke!(Unlink, UNLINKAT, dir, path, 0u32) }.map(drop)
}

/// Eight random bytes (getrandom(2); never blocks once the system is up).
pub(crate) fn random() -> Outcome<[u8; 8]> {
    let mut bytes = [0; 8];
    // SAFETY: the kernel writes at most 8 bytes.
    unsafe { invoke!(Random, GETRANDOM, bytes.as_mut_ptr(), bytes.len(), 0u32) }?;
    Ok(bytes)
}

/// Gives a file, or with an empty path the descriptor's own, to a user and group; u32::MAX leaves one as it is.
pub(crate) fn give(dir: Handle, path: &CStr, uid: u32, gid: u32) -> Outcome {
    let flags = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW;
    // SAFETY: the kernel reads the path.
    unsafe { invoke!(Chown, FCHOWNAT, dir, path, uid, gid, flags) }.map(drop)
}

/// Sets the permissions of a file that is open for reading or writing.
pub(crate) fn set_mode(fd: Handle, mode: u32) -> Outcome {
    // SAFETY: the call takes numbers.
    unsafe { invoke!(Chmod, FCHMOD, fd, mode) }.map(drop)
}

/// fchmodat2(2) of a descriptor opened with O_PATH; kernel 6.6.
pub(crate) fn set_mode_of_place(fd: Handle, mode: u32) -> Outcome {
    // SAFETY: the kernel reads an empty path.
    unsafe { invoke!(Chmod, FCHMODAT2, fd, c"", mode, AT_EMPTY_PATH) }.map(drop)
}

/// fchmodat(2): follows links.
pub(crate) fn set_mode_of_path(path: &CStr, mode: u32) -> Outcome {
    // SAFETY: the kernel reads the path.
    unsafe { invoke!(Chmod, FCHMODAT, Handle::CWD, path, mode) }.map(drop)
}

/// Gives a file the times of another; a symbolic link is not followed.
pub(crate) fn copy_times(dir: Handle, path: &CStr, from: &Status) -> Outcome {
    let plain = |stamp: Stamp| Stamp { padding: 0, ..stamp };
    let times = [plain(from.accessed), plain(from.modified)];
    // A statx stamp is a little-endian timespec where its padding is zero.
    // SAFETY: the kernel reads the path and two timespecs of 16 bytes.
    unsafe { invoke!(None, UTIMENSAT, dir, path, times.as_ptr(), AT_SYMLINK_NOFOLLOW) }.map(drop)
}

/// The names of a file's extended attributes, each with NUL behind it.
pub(crate) fn attribute_names(fd: Handle, bytes: &mut [u8]) -> Outcome<usize> {
    // SAFETY: the kernel writes at most `bytes.len()` bytes.
    unsafe { invoke!(Xattr, FLISTXATTR, fd, bytes.as_mut_ptr(), bytes.len()) }
}

pub(crate) fn attribute(fd: Handle, name: &CStr, bytes: &mut [u8]) -> Outcome<usize> {
    // SAFETY: the kernel reads the name and writes at most `bytes.len()` bytes.
    unsafe { invoke!(Xattr, FGETXATTR, fd, name, bytes.as_mut_ptr(), bytes.len()) }
}

pub(crate) fn set_attribute(fd: Handle, name: &CStr, bytes: &[u8]) -> Outcome {
    // SAFETY: the kernel reads the name and `bytes.len()` bytes.
    unsafe { invoke!(Xattr, FSETXATTR, fd, name, bytes.as_ptr(), bytes.len(), 0u32) }.map(drop)
}

pub(crate) fn change_dir(path: &CStr) -> Outcome {
    // SAFETY: the kernel reads the path.
    unsafe { invoke!(Chdir, CHDIR, path) }.map(drop)
}

pub(crate) fn change_dir_to(dir: Handle) -> Outcome {
    // SAFETY: the call takes a number.
    unsafe { invoke!(Fchdir, FCHDIR, dir) }.map(drop)
}

/// The working directory's name, as getcwd(2) writes it: what lies outside the root does not begin with `/`.
pub(crate) fn working_dir(bytes: &mut [u8]) -> Outcome<usize> {
    // SAFETY: the kernel writes at most `bytes.len()` bytes.
    unsafe { invoke!(Getcwd, GETCWD, bytes.as_mut_ptr(), bytes.len()) }
}
