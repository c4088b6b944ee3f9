//! The sockets of NVIDIA's daemons, and whether a container may have them.
//!
//! They are the one thing of the driver that containers can write to, and one of them lies in /tmp, where every user of
//! the host may put what he likes under that name: a link to /root would be /root, writable, in every container with a
//! GPU. So nothing is taken that others than root can have chosen, and where they could put something else there later,
//! what was looked at is told by device and inode, and the mount takes only that.
//!
//! nvidia-cuda-mps-control makes its directory with mode 0777, as its clients are of all users; who may write *in* it
//! does not matter here, only whose it is.

use std::fmt;

use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};

use super::root::Found;
use super::{Capabilities, DriverFile, FileKind};
use crate::gpu::trust;

/// What makes a file that file: the filesystem's number and the inode's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

/// A socket that is there and that no container gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsafe {
    /// Where it lies on the host.
    pub path: String,
    /// Why no container gets it.
    pub why: String,
    /// Who would have it: any of these is enough.
    pub capabilities: Capabilities,
}

impl fmt::Display for Unsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is left out: {}", self.path, self.why)
    }
}

/// The socket of a daemon, or the directory of one.
const SOCKETS: [(&str, FileType, Capabilities); 3] = [
    (
        "/run/nvidia-persistenced/socket",
        FileType::Socket,
        Capabilities::ALL,
    ),
    (
        "/run/nvidia-fabricmanager/socket",
        FileType::Socket,
        Capabilities::ALL,
    ),
    ("/tmp/nvidia-mps", FileType::Directory, Capabilities::COMPUTE),
];

/// Those that containers may have, and those that are there and that they may not have.
pub(super) fn collect(found: &Found) -> (Vec<DriverFile>, Vec<Unsafe>) {
    let (mut files, mut left_out) = (Vec::new(), Vec::new());
    for (path, kind, capabilities) in SOCKETS {
        match look(found, path, kind) {
            Ok(None) => {}
            Ok(Some(identity)) => files.push(DriverFile {
                kind: FileKind::Socket,
                on_host: found.on_host(path),
                in_container: path.to_owned(),
                capabilities,
                links: Vec::new(),
                identity,
            }),
            Err(why) => left_out.push(Unsafe {
                path: found.on_host(path),
                why,
                capabilities,
            }),
        }
    }
    (files, left_out)
}

/// Whether it is there, and what has to be mounted and nothing else: None inside where root alone can exchange it.
fn look(found: &Found, path: &str, kind: FileType) -> Result<Option<Option<FileIdentity>>, String> {
    let image = &found.image;
    let Some(entry) = image.status(path) else {
        return Ok(None);
    };
    let type_of = |status: &Stat| FileType::from_raw_mode(status.st_mode);
    if type_of(&entry) != kind {
        return Err(format!("it is a {:?}, allowed: a {kind:?}", type_of(&entry)));
    }
    let (above, _) = path.rsplit_once('/').ok_or("it lies nowhere")?;
    // Links on the way are followed once, here; what they led to is judged part by part.
    let above = image
        .resolved(above)
        .ok_or("a directory above it cannot be read")?;
    let root = trust::host_root();
    let is_root = |uid: u32| uid == 0 || uid == root;
    let mut others_write = false;
    let mut everybody_writes = false;
    let mut owner = 0;
    let parts: Vec<usize> = above.match_indices('/').map(|(at, _)| at).skip(1).collect();
    for end in parts.into_iter().chain([above.len()]) {
        let part = &above[..end];
        let status = image.status(part).ok_or_else(|| format!("{part} is gone"))?;
        let part = found.on_host(part);
        let is_last = end == above.len();
        // A daemon's own directory may belong to the user that root has given it, for its socket alone.
        if !(is_root(status.st_uid) || is_last && kind == FileType::Socket) {
            return Err(format!(
                "{part} belongs to user {}, and must belong to root",
                status.st_uid
            ));
        }
        let is_open = status.st_mode & 0o022 != 0;
        if is_open && status.st_mode & 0o1000 == 0 {
            return Err(format!(
                "{part} is writable by others (mode {:04o})",
                status.st_mode & 0o7777
            ));
        }
        everybody_writes |= is_open;
        others_write |= is_open || !is_root(status.st_uid);
        owner = status.st_uid;
    }
    if everybody_writes && root != 0 && entry.st_uid == root {
        return Err("in this user namespace root's and other users' cannot be told apart".to_owned());
    }
    // In a directory of that user's: his. In one where everybody makes files: root's. A link to a socket of somebody
    // else's can be made by anybody who can write in the directory.
    if others_write && entry.st_uid != owner {
        return Err(format!(
            "it belongs to user {}, and must belong to user {owner}, as the directory does",
            entry.st_uid
        ));
    }
    Ok(Some(others_write.then_some(FileIdentity {
        device: entry.st_dev,
        inode: entry.st_ino,
    })))
}
