//! Which file it was that was read. Files of a state directory are never changed: another one takes their place.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;

/// A file among those that had or will have the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    /// An inode's number may be used again.
    changed: (i64, u64),
}

impl Stamp {
    /// Of an open file.
    pub(crate) fn of(file: impl AsFd) -> Result<Self, Errno> {
        rustix::fs::fstat(file).map(Self::from)
    }

    /// Of the file that has this name in a directory now; None where there is none.
    pub(super) fn at(directory: impl AsFd, name: &str) -> Result<Option<Self>, Errno> {
        match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

impl From<Stat> for Stamp {
    fn from(stat: Stat) -> Self {
        Self {
            inode: stat.st_ino,
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}
