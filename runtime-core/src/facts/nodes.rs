//! What a device node of this host is.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A node as lstat(2) shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// `b`, `c` or `p` (fifo); None: it is no node, but a file, directory, symbolic link or socket.
    pub kind: Option<char>,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Its group.
    pub gid: u32,
}

impl NodeFacts {
    /// Looks at a path without following a symbolic link; None where nothing is.
    ///
    /// # Errors
    /// System.
    pub fn look(path: &Path) -> Result<Option<Self>> {
        let stat = match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(Error::os(format!("lstat({path:?})"), errno)),
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice => Some('c'),
            FileType::BlockDevice => Some('b'),
            FileType::Fifo => Some('p'),
            _ => None,
        };
        Ok(Some(Self {
            kind,
            major: rustix::fs::major(stat.st_rdev),
            minor: rustix::fs::minor(stat.st_rdev),
            mode: stat.st_mode & 0o7777,
            gid: stat.st_gid,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_told_from_what_is_none() {
        let null = NodeFacts::look(Path::new("/dev/null")).unwrap().unwrap();
        assert_eq!((null.kind, null.major, null.minor), (Some('c'), 1, 3));
        let link = NodeFacts::look(Path::new("/proc/self")).unwrap().unwrap();
        assert_eq!(link.kind, None);
        assert_eq!(NodeFacts::look(Path::new("/nowhere")).unwrap(), None);
    }
}
