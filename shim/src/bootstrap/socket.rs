//! The socket of a shim: where it is, who makes it, and who takes it away.
//!
//! Commands that look at a socket and then make or remove it hold a lock on the directory, so that of two starts in one
//! group one makes the shim and the other finds it.

use std::fs::{DirBuilder, File, Permissions};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};

use super::form::Question;
use crate::ttrpc::Status;

/// Longest path that a socket address takes.
const LONGEST: usize = 107;

/// Where a shim listens.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
}

impl Place {
    /// The place of a group: the hash of this runtime, of where containerd is, of namespace and group. containerd's own shim
    /// hashes the last three: under its name a container of one runtime would meet the shim of the other.
    pub(super) fn of(question: &Question, group: &str) -> Self {
        let name = format!(
            "{}/{}/{}/{group}",
            crate::NAME,
            question.address,
            question.namespace
        );
        let hash = Sha256::digest(name.as_bytes());
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            path: Path::new(&question.socket_dir).join(hex),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// As containerd reads it.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// A listener for a new shim; None where one listens already.
    ///
    /// # Errors
    /// The path is too long, or the directory or socket cannot be made.
    pub(super) fn listen(&self) -> Result<Option<OwnedFd>, Status> {
        let length = self.path.as_os_str().len();
        if length > LONGEST {
            return Err(Status::invalid(format!(
                "socket_dir: {:?} has {length} bytes, a socket address takes {LONGEST}",
                self.path
            )));
        }
        let _lock = self.lock()?;
        if UnixStream::connect(&self.path).is_ok() {
            return Ok(None);
        }
        self.remove();
        let listener = UnixListener::bind(&self.path)
            .map_err(|error| Status::os(format!("bind({:?})", self.path), error))?;
        // Nobody but root comes through the directory in between.
        std::fs::set_permissions(&self.path, Permissions::from_mode(0o600))
            .map_err(|error| Status::os(format!("chmod({:?}, 0600)", self.path), error))?;
        Ok(Some(listener.into()))
    }

    pub(super) fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }

    fn lock(&self) -> Result<File, Status> {
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| Status::os(format!("mkdir({dir:?}, 0700)"), error))?;
        let file = File::open(dir).map_err(|error| Status::os(format!("open({dir:?})"), error))?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .map_err(|errno| Status::os(format!("flock({dir:?})"), errno))?;
        Ok(file)
    }
}

/// Removes a socket that nobody listens at any more: a shim that was killed leaves it behind.
pub(crate) fn remove_if_dead(address: &str) {
    let Some(path) = address.trim().strip_prefix("unix://") else {
        return;
    };
    let place = Place { path: path.into() };
    let Ok(_lock) = place.lock() else { return };
    if let Err(error) = UnixStream::connect(&place.path)
        && error.kind() == ErrorKind::ConnectionRefused
    {
        place.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place of a group for a containerd whose API is at this address.
    fn place(address: &str, namespace: &str, group: &str) -> PathBuf {
        let words = ["-namespace", namespace, "-address", address, "-id", "c", "start"];
        let args = crate::args::Args::parse(words.into_iter().map(Into::into)).unwrap();
        Place::of(&Question::read(b"", &args, |_| None), group).path
    }

    #[test]
    fn each_group_has_a_place_that_is_not_that_of_another_shim() {
        let ours = place("/run/c.sock", "k8s.io", "pod");
        assert_eq!(ours, place("/run/c.sock", "k8s.io", "pod"));
        for other in [
            place("/run/d.sock", "k8s.io", "pod"),
            place("/run/c.sock", "moby", "pod"),
            place("/run/c.sock", "k8s.io", "pod2"),
        ] {
            assert_ne!(ours, other);
        }
        // sha256sum of /run/c.sock/k8s.io/pod, as containerd-shim-runc-v2 names it.
        let go = Sha256::digest(b"/run/c.sock/k8s.io/pod");
        let go: String = go.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_ne!(ours.file_name().unwrap().to_string_lossy(), go);
        assert_eq!(go.len(), ours.file_name().unwrap().len());
    }
}
