//! Gives a container's cgroup of version 2 to a user, in the way of cgroups(7) "Cgroup delegation".
//!
//! Only the directory and the files that the kernel lists for it change their owner; with the limits' files the user
//! could lift the container's own limits.

use rustix::fs::{AtFlags, Uid};
use rustix::io::Errno;

use super::fs::{Cgroup, Group};
use crate::error::{Error, Result};

/// The kernel's list.
const LIST: &str = "/sys/kernel/cgroup/delegate";

/// What cgroups(7) names where there is no list (before 4.15).
const USUAL: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

impl Cgroup {
    /// Makes `uid` the owner of the cgroup in the unified hierarchy. With `rootless` a refusal is left as it is: who has
    /// no privileges may give nothing away.
    ///
    /// # Errors
    /// The owner cannot be changed.
    pub fn delegate(&self, uid: u32, rootless: bool) -> Result<()> {
        let Some(group) = self.groups.iter().find(|group| group.is_unified()) else {
            return Ok(());
        };
        let list = std::fs::read_to_string(LIST).unwrap_or_else(|_| USUAL.to_owned());
        let files = list
            .lines()
            .filter(|file| !file.is_empty() && !file.contains('/'));
        for file in std::iter::once("").chain(files) {
            match group.give(file, Uid::from_raw(uid)) {
                Ok(()) => {}
                // Not every group has every file.
                Err(Errno::NOENT) if !file.is_empty() => {}
                Err(Errno::PERM) if rootless => return Ok(()),
                Err(errno) => return Err(owner_error(group, file, uid, errno)),
            }
        }
        Ok(())
    }
}

impl Group {
    /// The group itself where `file` is empty.
    fn give(&self, file: &str, owner: Uid) -> Result<(), Errno> {
        let flags = match file {
            "" => AtFlags::EMPTY_PATH,
            _ => AtFlags::SYMLINK_NOFOLLOW,
        };
        rustix::fs::chownat(self.fd()?, file, Some(owner), None, flags)
    }
}

fn owner_error(group: &Group, file: &str, uid: u32, errno: Errno) -> Error {
    let path = group.directory.path().join(file);
    let call = format!("fchownat({:?}, {uid})", path.display().to_string());
    Error::os(call, super::dir::as_io(errno))
}
