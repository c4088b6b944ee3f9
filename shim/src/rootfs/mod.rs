//! The root filesystem of a container: containerd says what to mount, the shim mounts it on `rootfs` in the bundle.

mod idmapped;
mod options;
mod overlay;

use std::ffi::CString;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::proto::types::Mount;
use crate::ttrpc::Status;

use options::Parsed;

/// Longest text of options that mount(2) takes: a page with its end.
const PAGE: usize = 4095;

/// Mounts the list in its order; nothing of it stays where one of them fails.
pub(crate) fn mount(mounts: &[Mount], rootfs: &Path) -> Result<(), Status> {
    for (position, mount) in mounts.iter().enumerate() {
        if let Err(status) = one(mount, rootfs) {
            let _ = unmount(rootfs);
            return Err(status.context(format!("rootfs[{position}]")));
        }
    }
    Ok(())
}

fn one(mount: &Mount, rootfs: &Path) -> Result<(), Status> {
    let parsed = Parsed::of(mount)?;
    let target = if mount.target.is_empty() {
        rootfs.to_owned()
    } else {
        rootfs.join(mount.target.trim_start_matches('/'))
    };
    match (&parsed.ids, mount.kind.as_str()) {
        (Some(ids), _) => idmapped::mount(mount, &parsed, ids, &target),
        (None, "overlay") if parsed.data().len() > PAGE => overlay::mount_long(mount, &parsed, &target),
        (None, _) => plain(mount, &parsed, &target),
    }
}

/// mount(2), and again where a bind mount gets flags of its own or the propagation is set.
fn plain(mount: &Mount, parsed: &Parsed, target: &Path) -> Result<(), Status> {
    let data = CString::new(parsed.data()).map_err(|_| Status::invalid("options: a null byte"))?;
    let bind = parsed.flags & (MountFlags::BIND | MountFlags::REC);
    let first = if parsed.flags.contains(MountFlags::BIND) {
        bind
    } else {
        parsed.flags
    };
    let call = || {
        format!(
            "mount({:?}, {target:?}, {:?}, {:?})",
            mount.source, mount.kind, parsed.flags
        )
    };
    rustix::mount::mount(&mount.source, target, &mount.kind, first, data.as_c_str())
        .map_err(|errno| Status::os(call(), errno))?;
    if !bind.is_empty() && !(parsed.flags - bind).is_empty() {
        rustix::mount::mount_remount(target, parsed.flags | MountFlags::BIND, data.as_c_str())
            .map_err(|errno| Status::os(format!("{} again with its flags", call()), errno))?;
    }
    parsed.propagate(target)
}

/// Unmounts whatever is mounted there, as often as it is.
pub(crate) fn unmount(rootfs: &Path) -> Result<(), Status> {
    loop {
        let mut done = rustix::mount::unmount(rootfs, UnmountFlags::NOFOLLOW);
        if done == Err(Errno::BUSY) {
            // Somebody outside of the container is in it: it goes when that one leaves.
            done = rustix::mount::unmount(rootfs, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH);
        }
        match done {
            Ok(()) => {}
            // Nothing is mounted there, or there is no such directory.
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(Status::os(format!("umount2({rootfs:?})"), errno)),
        }
    }
}
