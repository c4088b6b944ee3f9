//! What is kept about a container between commands, and the directory it is kept in.
//!
//! The record exists before the first effect outside the state directory and lists what may exist, so that delete can
//! always clean up, also after a runtime that was killed. It is written to a temporary name and renamed: a reader sees
//! the old or the new one, never half of one. Nothing is synced to disk: after a power cut the containers are gone too.

mod identity;
mod salvage;
mod stamp;
mod start_line;
mod version;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::cgroup::CgroupRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::InjectedDevice;
use crate::id::ContainerId;
use crate::plan::PlannedHook;
use crate::resctrl::RdtRecord;
use crate::state::Status;
use crate::time;
use crate::whole;

pub(crate) use identity::{ProcessIdentity, parent_of};
pub(crate) use salvage::Salvaged;
pub(crate) use stamp::Stamp;
pub(crate) use start_line::StartLine;

const FILE: &str = "state.json";
const TEMPORARY: &str = ".state.json";
/// The saved configuration: exec plans from it, never from the bundle, which may have changed.
pub(crate) const CONFIG: &str = "config.json";
/// What a new configuration is called until it is complete.
pub(crate) const TEMPORARY_CONFIG: &str = ".config.json";
/// The socket that `start` connects to.
pub(crate) const START_SOCKET: &str = "start.sock";
/// The directory of the container's notify socket.
pub(crate) const NOTIFY: &str = "notify";
/// A record is a few KiB; its annotations are limited by the configuration's size.
const MAX_LEN: u64 = 32 << 20;

/// The record of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) version: u32,
    /// The version of the runtime that wrote it, for who finds a version of the record that it does not know.
    #[serde(default)]
    pub(crate) written_by: String,
    pub(crate) id: ContainerId,
    pub(crate) oci_version: String,
    pub(crate) status: Status,
    /// The runtime process that makes the container; while it lives, the container is in its hands.
    pub(crate) creator: ProcessIdentity,
    /// init, once it exists.
    pub(crate) init: Option<ProcessIdentity>,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    /// RFC 3339, UTC.
    pub(crate) created: String,
    pub(crate) annotations: BTreeMap<String, String>,
    /// The user id whose container it is.
    pub(crate) owner: u32,
    /// The devices of vendors that it was asked to get; what they changed is in the saved configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) devices: Vec<InjectedDevice>,
    /// Whether the end of init ends all processes of the container.
    pub(crate) own_pid_namespace: bool,
    pub(crate) cgroup: Option<CgroupRecord>,
    /// Whether the cgroup was made: until then its directories may exist or not, and may be somebody else's.
    pub(crate) cgroup_made: bool,
    #[serde(default)]
    pub(crate) rdt: Option<RdtRecord>,
    pub(crate) poststart: Vec<PlannedHook>,
    pub(crate) poststop: Vec<PlannedHook>,
    /// The schedule's lines behind the wait for start.
    pub(crate) start: Vec<StartLine>,
    /// What the first program's standard descriptors are, as the kernel names them.
    #[serde(default)]
    pub(crate) stdio: Vec<String>,
}

/// A container's directory below the state directory.
#[derive(Debug)]
pub(crate) struct StateDir {
    fd: OwnedFd,
    path: PathBuf,
}

impl StateDir {
    /// Makes the directory of a new container and takes its lock; where that fails nothing is left.
    ///
    /// # Errors
    /// AlreadyExists; System, also where somebody has deleted it by force meanwhile.
    pub(crate) fn create(root: &Path, id: &ContainerId) -> Result<(Self, Lock)> {
        let dir = Self::make(absolute(root)?, id).map_err(deleted)?;
        match dir.lock() {
            Ok(lock) => Ok((dir, lock)),
            Err(error) => {
                // One of the same name is somebody else's by now.
                if error.kind() != ErrorKind::NotFound {
                    dir.remove_empty();
                }
                Err(deleted(error))
            }
        }
    }

    /// Takes the lock again that was given up while a container is made.
    ///
    /// # Errors
    /// System, also where somebody has deleted the container by force meanwhile.
    pub(crate) fn lock_again(&self) -> Result<Lock> {
        self.lock().map_err(deleted)
    }

    /// The directory, and the state directory where it is missing.
    fn make(root: &Path, id: &ContainerId) -> Result<Self> {
        let path = root.join(id.as_str());
        let make = || rustix::fs::mkdirat(CWD, &path, Mode::RWXU);
        let made = match make() {
            Err(Errno::NOENT) => {
                make_root(root)?;
                make()
            }
            other => other,
        };
        match made {
            Ok(()) => {
                let opened = Self::open(root, id.as_str());
                if opened.is_err() {
                    let _ = rustix::fs::rmdir(&path);
                }
                opened?.ok_or_else(|| Error::new(ErrorKind::NotFound, "container does not exist"))
            }
            Err(Errno::EXIST) => Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("container with given ID already exists: {id}"),
            )),
            Err(errno) => Err(Error::os(format!("mkdir({path:?}, 0700)"), errno)),
        }
    }

    /// The directory of a container; None where there is none.
    pub(crate) fn open(root: &Path, name: &str) -> Result<Option<Self>> {
        let path = absolute(root)?.join(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, &path, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd, path })),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(Error::os(format!("open({path:?}, O_DIRECTORY)"), errno)),
        }
    }

    /// The directory's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory itself.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// A short path of a file in it, for socket addresses (108 bytes at most, whatever the state directory is called).
    pub(crate) fn short_path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.fd.as_raw_fd()))
    }

    /// Waits for every other operation that changes this container to end, and keeps others out while the lock lives.
    ///
    /// # Errors
    /// NotFound, where the container was deleted meanwhile: its id may mean another container by now, which this
    /// directory has no right to touch. System.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let fd = self.description()?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&fd, FlockOperation::LockExclusive))
            .map_err(|errno| Error::os(format!("flock({:?}, LOCK_EX)", self.path), errno))?;
        self.locked(fd)
    }

    /// The same, but None where others keep the lock longer than `patience`.
    ///
    /// # Errors
    /// As [`StateDir::lock`].
    pub(crate) fn lock_within(&self, patience: Duration) -> Result<Option<Lock>> {
        let fd = self.description()?;
        let deadline = Instant::now() + patience;
        // flock(2) knows no time limit, and nothing tells that a lock became free: this has to ask again.
        let mut pause = Duration::from_millis(1);
        loop {
            match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return self.locked(fd).map(Some),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if Instant::now() >= deadline => return Ok(None),
                Err(Errno::WOULDBLOCK) => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(20));
                }
                Err(errno) => {
                    return Err(Error::os(
                        format!("flock({:?}, LOCK_EX | LOCK_NB)", self.path),
                        errno,
                    ));
                }
            }
        }
    }

    /// A description of its own: the lock belongs to the open file description, and ends with it.
    fn description(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, ".", flags, Mode::empty())
            .map_err(|errno| Error::os(format!("open({:?})", self.path), errno))
    }

    fn locked(&self, fd: OwnedFd) -> Result<Lock> {
        let lock = Lock(fd);
        if !self.is_in_place()? {
            return Err(Error::new(ErrorKind::NotFound, "container does not exist"));
        }
        Ok(lock)
    }

    /// Whether the path still leads to this directory. The open descriptor keeps its number from being used again.
    fn is_in_place(&self) -> Result<bool> {
        let own = rustix::fs::fstat(&self.fd)
            .map_err(|errno| Error::os(format!("fstat({:?})", self.path), errno))?;
        match rustix::fs::statat(CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok((found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(Error::os(format!("stat({:?})", self.path), errno)),
        }
    }

    /// Writes a file of the directory in one step.
    pub(crate) fn write(&self, name: &str, temporary: &str, bytes: &[u8]) -> Result<()> {
        let show = |call: &str, name: &str| format!("{call}({:?})", self.path.join(name));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, temporary, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| Error::os(show("open", temporary), errno))?;
        File::from(fd)
            .write_all(bytes)
            .map_err(|error| Error::os(show("write", temporary), error))?;
        rustix::fs::renameat(&self.fd, temporary, &self.fd, name)
            .map_err(|errno| Error::os(show("rename", name), errno))
    }

    /// Writes a file that no other process reads before the record says so.
    pub(crate) fn write_new(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let show = |call: &str| format!("{call}({:?})", self.path.join(name));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| Error::os(show("open"), errno))?;
        File::from(fd)
            .write_all(bytes)
            .map_err(|error| Error::os(show("write"), error))
    }

    /// Saves the record.
    pub(crate) fn save(&self, record: &Record) -> Result<()> {
        let bytes = serde_json::to_vec(record).map_err(|error| {
            Error::new(
                ErrorKind::Internal,
                format!("the record cannot be written: {error}"),
            )
        })?;
        self.write(FILE, TEMPORARY, &bytes)
    }

    /// Reads a file of the directory; None where it is missing.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.open_file(name)?
            .map(|fd| self.read_opened(name, fd.as_fd()))
            .transpose()
    }

    /// Opens a file of the directory for reading; None where it is missing.
    pub(crate) fn open_file(&self, name: &str) -> Result<Option<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::os(self.show("open", name), errno)),
        }
    }

    /// Reads what [`StateDir::open_file`] opened.
    pub(crate) fn read_opened(&self, name: &str, fd: BorrowedFd<'_>) -> Result<Vec<u8>> {
        whole::read(fd, MAX_LEN).map_err(|errno| Error::os(self.show("read", name), errno))
    }

    fn show(&self, call: &str, name: &str) -> String {
        format!("{call}({:?})", self.path.join(name))
    }

    /// The record; None where the runtime died before it wrote one.
    ///
    /// # Errors
    /// State, where it is damaged; Unsupported, where a newer runtime wrote it.
    pub(crate) fn load(&self) -> Result<Option<Record>> {
        let Some(bytes) = self.read(FILE)? else {
            return Ok(None);
        };
        Record::parse(&bytes)
            .map(Some)
            .map_err(|unreadable| unreadable.at(&self.path.join(FILE)))
    }

    /// What a damaged record still tells.
    ///
    /// # Errors
    /// As of reading a file; nothing of the content is one.
    pub(crate) fn salvage(&self, id: &ContainerId) -> Result<Salvaged> {
        Salvaged::from_bytes(&self.read(FILE)?.unwrap_or_default(), id)
    }

    /// Which record there is; None where there is none.
    pub(crate) fn stamp(&self) -> Result<Option<Stamp>> {
        Stamp::at(&self.fd, FILE).map_err(|errno| Error::os(self.show("stat", FILE), errno))
    }

    /// The same directory, for another owner.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        let fd = self.fd.try_clone();
        Ok(Self {
            fd: fd.map_err(|error| Error::os("fcntl(F_DUPFD_CLOEXEC)", error))?,
            path: self.path.clone(),
        })
    }

    /// Removes a file of the directory; a missing one is fine.
    pub(crate) fn unlink(&self, name: &str) -> Result<()> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::os(format!("unlink({:?})", self.path.join(name)), errno)),
        }
    }

    /// Takes back a directory that was just made, where there is no descriptor or memory left to do more: one that holds
    /// anything by now stays.
    fn remove_empty(&self) {
        let _ = rustix::fs::rmdir(&self.path);
    }

    /// Removes the directory with all that is in it. Only under the lock: the path must still mean this directory.
    pub(crate) fn remove(self) -> Result<()> {
        // The usual content by name; what else there may be, the slow way.
        for name in [START_SOCKET, CONFIG, FILE] {
            self.unlink(name)?;
        }
        match rustix::fs::rmdir(&self.path) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(_) => {}
        }
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::os(format!("remove({:?})", self.path), error))
            }
            _ => Ok(()),
        }
    }
}

/// What it means to who makes a container that there is none.
fn deleted(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::new(
            ErrorKind::System,
            "the container was deleted while it was created",
        ),
        _ => error,
    }
}

/// Keeps other operations on the container out until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock(OwnedFd);

impl Drop for Lock {
    /// Closing is not enough: a child that another thread starts meanwhile has the descriptor, too, until it executes its
    /// program, and one that is made in a frozen cgroup does so when the cgroup is thawed, which takes the lock.
    fn drop(&mut self) {
        // Fails only for what is no lock.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// The state directory, as an absolute path: records and sockets name it, and callers change their directory.
///
/// # Errors
/// InvalidArgument.
pub(crate) fn absolute(root: &Path) -> Result<&Path> {
    if root.is_absolute() {
        return Ok(root);
    }
    let message = format!("state directory: found {root:?}, allowed is an absolute path");
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

/// Makes the state directory, 0700, and what is missing above it.
fn make_root(root: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(root)
        .map_err(|error| Error::os(format!("mkdir({root:?}, 0700)"), error))
}

impl Record {
    /// A resctrl group that a closID names stays when the container goes, although it was made for it: but not where the
    /// container was never made.
    pub(crate) fn leave_shared_groups(&mut self) {
        if let Some(rdt) = &mut self.rdt {
            rdt.made &= rdt.own;
        }
    }

    /// A record of a container that is being made.
    pub(crate) fn new(
        id: ContainerId,
        oci_version: String,
        bundle: PathBuf,
        rootfs: PathBuf,
    ) -> Result<Self> {
        Ok(Self {
            version: version::VERSION,
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
            id,
            oci_version,
            status: Status::Creating,
            creator: ProcessIdentity::own()?,
            init: None,
            bundle,
            rootfs,
            created: time::to_the_nanosecond(SystemTime::now()),
            annotations: BTreeMap::new(),
            owner: rustix::process::geteuid().as_raw(),
            devices: Vec::new(),
            own_pid_namespace: true,
            cgroup: None,
            cgroup_made: false,
            rdt: None,
            poststart: Vec::new(),
            poststop: Vec::new(),
            start: Vec::new(),
            stdio: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_is_named_stays_once_the_container_is_made() {
        let id: ContainerId = "c1".parse().unwrap();
        let mut record = Record::new(id, "1.3.0".to_owned(), "/b".into(), "/b/rootfs".into()).unwrap();
        for own in [true, false] {
            record.rdt = Some(RdtRecord {
                group: "/sys/fs/resctrl/x".into(),
                own,
                made: true,
                monitor: None,
            });
            record.leave_shared_groups();
            assert_eq!(record.rdt.as_ref().unwrap().made, own);
        }
        let text = serde_json::to_vec(&record).unwrap();
        assert_eq!(serde_json::from_slice::<Record>(&text).unwrap().rdt, record.rdt);
    }
}
