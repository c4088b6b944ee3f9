//! Files of procfs that init writes: about itself on the host's procfs, and sysctls on a private one that no container
//! process can replace or cover (CVE-2025-52881).

use core::ffi::CStr;

use runtime_core_program::{Call, detail};

use crate::failure::{Failure, Outcome};
use crate::paths::PROC;
use crate::sys::errno::{EINTR, EPERM, EXDEV};
use crate::sys::files::{self, open, resolve};
use crate::sys::{Fd, Handle, mounts};

const PROC_ROOT: u64 = 1;
/// Below the private procfs nothing may lead elsewhere.
const INSIDE: u64 = resolve::BENEATH | resolve::NO_XDEV | resolve::NO_SYMLINKS | resolve::NO_MAGICLINKS;

/// Writes a value in one call, as procfs and cgroup files demand.
pub(crate) fn write_value(file: Handle, value: &[u8]) -> Outcome {
    loop {
        match files::write(file, value) {
            Ok(length) if length == value.len() => return Ok(()),
            // What a file of the kernel takes only in part it did not understand.
            Ok(length) => {
                return Err(Failure::os(Call::Write, EXDEV)
                    .detail(detail::LIMIT)
                    .value(length as u64));
            }
            Err(failure) if failure.errno == EINTR => {}
            Err(failure) => return Err(failure),
        }
    }
}

/// Writes a file below /proc/self of the present root, checked to be on a procfs.
pub(crate) fn write_self(path: &CStr, value: &[u8]) -> Outcome {
    let file = files::open(Handle::CWD, path, open::WRITE | open::NO_FOLLOW, 0, 0)?;
    if files::filesystem(file.at())? != PROC {
        return Err(Failure::os(Call::Statfs, EXDEV).detail(detail::WRONG_TYPE));
    }
    write_value(file.at(), value)
}

/// A procfs of this pid namespace that is attached nowhere. Where the kernel refuses one (a user namespace in which
/// parts of every visible procfs are covered) the container's own serves, if it is one: lookups do not cross mounts, so
/// what covers parts of it cannot take their place.
pub(crate) fn open_proc(root: Option<Handle>) -> Outcome<Fd> {
    let made = mounts::open_filesystem(c"proc").and_then(|parameters| {
        mounts::create(parameters.at())?;
        mounts::mount(
            parameters.at(),
            mounts::attribute::NO_SUID | mounts::attribute::NO_DEV | mounts::attribute::NO_EXEC,
        )
    });
    let (Err(Failure { errno: EPERM, .. }), Some(root)) = (&made, root) else {
        return made;
    };
    let how = resolve::IN_ROOT | resolve::NO_SYMLINKS | resolve::NO_MAGICLINKS;
    let proc = files::open(root, c"/proc", open::PATH | open::DIRECTORY, 0, how)?;
    let genuine = files::filesystem(proc.at())? == PROC && files::status(proc.at())?.inode == PROC_ROOT;
    if genuine { Ok(proc) } else { made }
}

/// Writes a sysctl; `path` is relative to /proc/sys.
pub(crate) fn write_sysctl(proc: Handle, path: &CStr, value: &[u8]) -> Outcome {
    let dir = files::open(proc, c"sys", open::PATH | open::DIRECTORY, 0, INSIDE)?;
    let file = files::open(dir.at(), path, open::WRITE, 0, INSIDE)?;
    write_value(file.at(), value)
}
