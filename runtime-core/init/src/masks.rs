//! Masked and read-only paths. What covers a masked path comes from the host or is made here, before the root changes;
//! the container's own /dev is never asked (CVE-2025-31133).

use core::ffi::CStr;

use runtime_core_program::{Call, detail};

use crate::failure::{Failure, Outcome};
use crate::paths::{self, Last};
use crate::sys::errno::ENXIO;
use crate::sys::files::{self, Kind};
use crate::sys::mounts::{self, attribute};
use crate::sys::{Fd, Handle};

/// What covers masked paths.
pub(crate) struct Masks {
    null: Cover,
    empty: Cover,
}

/// A mount that is attached at its first use; later uses attach clones of it. Cloning it while it is detached would
/// need kernel 6.15.
struct Cover {
    mount: Fd,
    attached: bool,
}

impl Cover {
    fn put_on(&mut self, target: Handle) -> Outcome {
        if self.attached {
            let clone = mounts::clone_tree(self.mount.at(), false)?;
            return mounts::attach(clone.at(), target);
        }
        mounts::attach(self.mount.at(), target)?;
        self.attached = true;
        Ok(())
    }
}

/// Opens the host's null device and makes one empty read-only filesystem for all masked directories, with this SELinux
/// label where it is not empty.
pub(crate) fn prepare(label: &CStr) -> Outcome<Masks> {
    let null = mounts::open_tree(Handle::CWD, c"/dev/null", mounts::CLONE | mounts::NO_FOLLOW)
        .map_err(|failure| failure.detail(detail::SOURCE))?;
    if !files::status(null.at())?.is_null_device() {
        return Err(Failure::os(Call::OpenTree, ENXIO).detail(detail::SOURCE));
    }
    let parameters = mounts::open_filesystem(c"tmpfs")?;
    mounts::set_string(parameters.at(), c"source", c"tmpfs")?;
    mounts::set_string(parameters.at(), c"nr_blocks", c"1")?;
    mounts::set_string(parameters.at(), c"nr_inodes", c"1")?;
    mounts::set_flag(parameters.at(), c"ro")?;
    if !label.is_empty() {
        mounts::set_string(parameters.at(), c"context", label)?;
    }
    mounts::create(parameters.at())?;
    let attributes = attribute::READ_ONLY | attribute::NO_SUID | attribute::NO_DEV | attribute::NO_EXEC;
    let empty = mounts::mount(parameters.at(), attributes)?;
    let cover = |mount| Cover {
        mount,
        attached: false,
    };
    Ok(Masks {
        null: cover(null),
        empty: cover(empty),
    })
}

impl Masks {
    /// Covers what is at the path, where something is; what a symbolic link leads to in the container's root.
    pub(crate) fn put_on(&mut self, root: Handle, path: &CStr) -> Outcome {
        let Some(place) = paths::find(root, path, Last::Follow)? else {
            return Ok(());
        };
        match place.status.kind {
            Kind::DIRECTORY => self.empty.put_on(place.fd.at()),
            _ => self.null.put_on(place.fd.at()),
        }
    }
}

/// Binds the tree at the path on itself, read-only.
pub(crate) fn make_read_only(root: Handle, path: &CStr) -> Outcome {
    let Some(place) = paths::find(root, path, Last::Follow)? else {
        return Ok(());
    };
    let tree = mounts::clone_tree(place.fd.at(), true)?;
    mounts::set_attributes(tree.at(), attribute::READ_ONLY, 0, true)?;
    mounts::attach(tree.at(), place.fd.at())
}
