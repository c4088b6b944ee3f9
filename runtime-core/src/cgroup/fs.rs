//! Creates a container's cgroups and hands out what is needed to enter them, through directory descriptors.
//!
//! Here: which failure of which hierarchy is tolerated, what was made and has to be unmade, how a process gets in. The
//! mount table was read once, by `facts`; nothing is looked up again. Limits are written by `apply`, processes
//! and removal belong to `life`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::io::Errno;

use super::dir;
use super::limits::{Version, Write};
use super::path::{CgroupPaths, CgroupRecord, Directory, FIELD};
use super::systemd::Scope;
use super::{cpuset, subtree};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::cgroup::HierarchyKind;

/// The cgroups of one container: a directory in each hierarchy.
#[derive(Debug)]
pub struct Cgroup {
    pub(super) groups: Vec<Group>,
    /// The unit of systemd that they belong to.
    pub(super) scope: Option<Scope>,
    pub(super) made: Vec<Made>,
}

/// A directory with its descriptor, which is opened when it is first needed.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) directory: Directory,
    fd: OnceLock<OwnedFd>,
}

/// A directory that [`Cgroup::create`] made.
#[derive(Debug)]
pub(super) struct Made {
    group: usize,
    relative: PathBuf,
}

/// How a process enters the cgroups of a container.
///
/// Version 1: the process writes `0` into each `tasks` file itself, while it has one thread. `0` means the writer, and
/// for the writer's own thread the kernel (`cgroup_procs_write_start`) takes no `cgroup_threadgroup_rwsem`: that lock is
/// global, taking it waits for an RCU grace period (milliseconds) and stalls every fork and exit of the host meanwhile.
/// Writing the pid from outside, or writing to `cgroup.procs`, takes the lock once for every hierarchy.
#[derive(Debug)]
pub struct Join {
    /// Version 1: one file for each hierarchy.
    pub tasks: Vec<JoinTasks>,
    /// Version 2: the directory (O_PATH) for `clone3(CLONE_INTO_CGROUP)`.
    pub unified: Option<OwnedFd>,
}

/// The `tasks` file of one hierarchy of version 1, open for writing.
#[derive(Debug)]
pub struct JoinTasks {
    /// The controllers of the hierarchy with commas, for messages.
    pub name: String,
    /// O_WRONLY | O_CLOEXEC.
    pub fd: OwnedFd,
}

impl Group {
    pub(super) fn new(directory: Directory) -> Self {
        Self {
            directory,
            fd: OnceLock::new(),
        }
    }

    /// The directory; an error of [`dir::is_gone`] when it does not exist.
    pub(super) fn fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        if let Some(fd) = self.fd.get() {
            return Ok(fd.as_fd());
        }
        let mount = dir::mount_of(&self.directory)?;
        let fd = dir::open_below(mount.as_fd(), &self.directory.relative)?;
        Ok(self.fd.get_or_init(|| fd).as_fd())
    }

    pub(super) fn is_unified(&self) -> bool {
        self.directory.kind == HierarchyKind::Unified
    }

    pub(super) fn has(&self, controller: &str) -> bool {
        self.directory.controllers.iter().any(|name| name == controller)
    }

    /// An error of a call on a file of the group.
    pub(super) fn os_error(&self, call: &str, file: &str, errno: Errno) -> Error {
        let path = self.directory.path().join(file);
        // Before a file is read or written it is opened, and no other of the calls can be missing.
        let call = if errno == Errno::NOSYS { "openat2" } else { call };
        Error::os(
            format!("{call}({:?})", path.display().to_string()),
            dir::as_io(errno),
        )
    }
}

impl Cgroup {
    /// Makes the directories of a container, and in version 2 hands the controllers down to it.
    ///
    /// `writes` are those that will be applied: they tell which controllers are needed. `rootless` is a caller without
    /// privileges over the host: hierarchies that it may not write to are left out, as long as the configuration names no
    /// path and wants nothing of them. After a failure nothing that was made is left.
    ///
    /// # Errors
    /// A directory cannot be made, has processes in it or is frozen, by itself or from above, or a needed controller cannot
    /// be had.
    pub fn create(paths: &CgroupPaths, writes: &[Write], rootless: bool) -> Result<Self> {
        let mut cgroup = Self {
            groups: Vec::with_capacity(paths.directories.len()),
            scope: None,
            made: Vec::new(),
        };
        let beside_v1 = has_v1(paths);
        for (directory, needed) in wanted(paths, writes, rootless) {
            let made_before = cgroup.made.len();
            match cgroup.add(directory, &needed, beside_v1) {
                Ok(()) => {}
                Err(error) if tolerable(&error, directory, rootless && !paths.explicit, &needed) => {
                    cgroup.unmake(made_before);
                    cgroup.groups.pop();
                }
                Err(error) => {
                    cgroup.unmake(0);
                    return Err(explain(error, directory, &needed, rootless, paths.explicit));
                }
            }
        }
        Ok(cgroup)
    }

    /// The cgroups of a container that was created before, perhaps by another process. Nothing is touched yet: what no
    /// longer exists shows when it is used.
    pub fn open(record: &CgroupRecord) -> Self {
        Self {
            groups: record.directories.iter().cloned().map(Group::new).collect(),
            scope: record.scope.clone(),
            made: Vec::new(),
        }
    }

    /// What to keep in the state file, for [`Cgroup::open`].
    pub fn record(&self) -> CgroupRecord {
        CgroupRecord {
            directories: self.groups.iter().map(|group| group.directory.clone()).collect(),
            scope: self.scope.clone(),
        }
    }

    /// Descriptors to enter the cgroups with: for the first process, and for exec.
    ///
    /// # Errors
    /// A group is gone or may not be entered by this caller.
    pub fn join(&self) -> Result<Join> {
        let mut join = Join {
            tasks: Vec::with_capacity(self.groups.len()),
            unified: None,
        };
        for group in &self.groups {
            let fd = group.fd().map_err(|errno| group.os_error("openat2", "", errno))?;
            if group.is_unified() {
                let fd = fd
                    .try_clone_to_owned()
                    .map_err(|error| Error::os("fcntl(F_DUPFD_CLOEXEC)", error))?;
                join.unified = Some(fd);
                continue;
            }
            match dir::open_to_write(fd, "tasks") {
                Ok(fd) => join.tasks.push(JoinTasks {
                    name: group.directory.name(),
                    fd,
                }),
                // As in runc: a hierarchy that only has a name is entered where that is possible.
                Err(_) if group.directory.kind == HierarchyKind::Named => {}
                Err(errno) => return Err(group.os_error("openat", "tasks", errno)),
            }
        }
        Ok(join)
    }

    /// Takes back [`Cgroup::create`]: removes the directories that it made, also the parents, and no others. Processes
    /// have been killed before; up to `patience` is waited for their end. Does nothing on an opened cgroup.
    ///
    /// # Errors
    /// A process does not end in time.
    pub fn undo(&self, patience: Duration) -> Result<()> {
        let ours = |index: usize, group: &Group| {
            self.made
                .iter()
                .any(|made| made.group == index && made.relative == group.directory.relative)
        };
        let leaves = self
            .groups
            .iter()
            .enumerate()
            .filter(|(index, group)| ours(*index, group));
        let removed = self.remove_groups(leaves.map(|(_, group)| group), patience);
        self.unmake_parents(0);
        removed
    }

    fn add(&mut self, directory: &Directory, needed: &[&Write], beside_v1: bool) -> Result<()> {
        let index = self.groups.len();
        self.groups.push(Group::new(directory.clone()));
        let made_before = self.made.len();
        let mount = self.make_group(index, directory)?;
        let group = &self.groups[index];
        let fd = dir::open_below(mount.as_fd(), &directory.relative)
            .map_err(|errno| group.os_error("openat2", "", errno))?;
        let fd = group.fd.get_or_init(|| fd).as_fd();
        if self.made.len() == made_before {
            group.refuse_if_foreign()?;
            group.refuse_if_used()?;
        }
        group.refuse_if_frozen_above()?;
        match directory.kind {
            HierarchyKind::Unified => subtree::prepare(group, mount.as_fd(), needed, !beside_v1),
            HierarchyKind::V1 if group.has("cpuset") => cpuset::inherit(group, mount.as_fd(), fd, needed),
            HierarchyKind::V1 | HierarchyKind::Named => Ok(()),
        }
    }

    /// Makes the directory of a group and those above it; gives the mount point.
    pub(super) fn make_group(&mut self, index: usize, directory: &Directory) -> Result<OwnedFd> {
        let mount = dir::mount_of(directory).map_err(|errno| {
            Error::os(
                format!("open({:?})", directory.mount_point.display().to_string()),
                dir::as_io(errno),
            )
        })?;
        let result = make_all(mount.as_fd(), &directory.relative, |relative| {
            self.made.push(Made {
                group: index,
                relative: relative.to_path_buf(),
            });
        });
        result.map_err(|(relative, errno)| {
            let path = directory.mount_point.join(relative);
            Error::os(
                format!("mkdirat({:?}, 0755)", path.display().to_string()),
                dir::as_io(errno),
            )
        })?;
        Ok(mount)
    }

    /// Removes what was made from the given position on, the newest first.
    pub(super) fn unmake(&mut self, from: usize) {
        self.unmake_parents(from);
        self.made.truncate(from);
    }

    fn unmake_parents(&self, from: usize) {
        for made in self.made[from..].iter().rev() {
            let Ok(mount) = dir::mount_of(&self.groups[made.group].directory) else {
                continue;
            };
            // Fails where another container came below a parent in the meantime; then it is no longer ours alone.
            let _ = dir::unmake(mount.as_fd(), &made.relative);
        }
    }
}

impl Group {
    /// A group of the same name may be somebody else's: then it is as if this one could not be made. Otherwise the
    /// container would be found in it later, although it never was.
    fn refuse_if_foreign(&self) -> Result<()> {
        let refused = self.fd().and_then(|fd| {
            rustix::fs::accessat(
                fd,
                "cgroup.procs",
                rustix::fs::Access::WRITE_OK,
                rustix::fs::AtFlags::EACCESS,
            )
        });
        refused.map_err(|errno| self.os_error("faccessat", "cgroup.procs", errno))
    }

    /// A group that was there before is taken over only when nothing lives in it: a container that shares its cgroup with
    /// other processes has no limits of its own, and killing it kills them.
    pub(super) fn refuse_if_used(&self) -> Result<()> {
        let in_use = |message: String| {
            Error::new(ErrorKind::WrongState, message)
                .with_step(format!("use cgroup {}", self.directory.path().display()))
        };
        match self.all_pids() {
            Ok(pids) if pids.is_empty() => {}
            Ok(pids) => {
                let count = pids.len();
                let message = format!("container's cgroup is not empty: {count} process(es) found");
                return Err(in_use(message)
                    .with_hint("another container, or what is left of one, has this linux.cgroupsPath"));
            }
            Err(errno) if dir::is_gone(errno) => {}
            Err(errno) => return Err(self.os_error("read", "cgroup.procs", errno)),
        }
        let frozen = match self.directory.kind {
            HierarchyKind::Unified => self.is_frozen_v2(),
            HierarchyKind::V1 if self.has("freezer") => self.is_frozen_v1(),
            HierarchyKind::V1 | HierarchyKind::Named => Ok(false),
        };
        match frozen {
            Ok(true) => Err(in_use("container's cgroup unexpectedly frozen".into())),
            _ => Ok(()),
        }
    }

    /// Init would never run there, and whoever creates the container would wait for it for ever.
    pub(super) fn refuse_if_frozen_above(&self) -> Result<()> {
        let Some(above) = self.frozen_above()? else {
            return Ok(());
        };
        let message = format!(
            "container's cgroup would be frozen: the cgroup {} above it is",
            above.display()
        );
        Err(Error::new(ErrorKind::WrongState, message)
            .with_step(format!("use cgroup {}", self.directory.path().display()))
            .with_hint("thaw it first; or name another cgroup in linux.cgroupsPath"))
    }
}

/// Whether hierarchies of version 1 are among them.
pub(super) fn has_v1(paths: &CgroupPaths) -> bool {
    paths
        .directories
        .iter()
        .any(|directory| directory.kind == HierarchyKind::V1)
}

/// The directories that a container is to have, each with what will be written there: without those that nobody may write
/// to and that it can do without.
pub(super) fn wanted<'a>(
    paths: &'a CgroupPaths,
    writes: &'a [Write],
    rootless: bool,
) -> impl Iterator<Item = (&'a Directory, Vec<&'a Write>)> {
    let beside_v1 = has_v1(paths);
    paths.directories.iter().filter_map(move |directory| {
        let needed: Vec<&Write> = writes.iter().filter(|write| belongs(write, directory)).collect();
        let left_out = directory.read_only && needed.is_empty() && may_lack(directory, beside_v1, rootless);
        (!left_out).then_some((directory, needed))
    })
}

/// A write goes into this directory.
pub(super) fn belongs(write: &Write, directory: &Directory) -> bool {
    match write.version {
        Version::V2 => directory.kind == HierarchyKind::Unified,
        Version::V1 => {
            directory.kind == HierarchyKind::V1 && directory.controllers.contains(&write.controller)
        }
    }
}

/// A container can do without this hierarchy. Without the one for devices it could open any device.
fn may_lack(directory: &Directory, beside_v1: bool, rootless: bool) -> bool {
    match directory.kind {
        HierarchyKind::Unified => beside_v1 || rootless,
        HierarchyKind::Named => true,
        HierarchyKind::V1 => rootless || !directory.controllers.iter().any(|name| name == "devices"),
    }
}

fn tolerable(error: &Error, directory: &Directory, rootless: bool, needed: &[&Write]) -> bool {
    if directory.kind == HierarchyKind::Named {
        return error.kind() != ErrorKind::WrongState;
    }
    rootless && needed.is_empty() && is_permission(error)
}

fn is_permission(error: &Error) -> bool {
    matches!(error.errno(), Some(libc::EACCES | libc::EPERM | libc::EROFS))
}

/// Says what a failed creation means: the first limit that cannot hold, or the path that cannot be made.
fn explain(error: Error, directory: &Directory, needed: &[&Write], rootless: bool, explicit: bool) -> Error {
    if error.errno().is_none() || error.kind() == ErrorKind::Permission {
        return error;
    }
    let refused = is_permission(&error);
    let error = match needed.first() {
        Some(write) if refused && rootless && !explicit => error
            .context(format!(
                "cannot set {} limit: container could not join or create cgroup",
                write.controller
            ))
            .with_field(&write.origin),
        _ if explicit => error
            .context("unable to apply cgroup configuration")
            .with_field(FIELD),
        _ => error.context("unable to apply cgroup configuration"),
    };
    if !refused {
        return error;
    }
    let error = error.with_kind(ErrorKind::Permission);
    match directory.kind {
        HierarchyKind::Unified => error.with_hint(subtree::DELEGATE),
        HierarchyKind::V1 | HierarchyKind::Named => error.with_hint(format!(
            "the cgroup hierarchy {} of version 1 is not delegated to this user: root has to make a directory in {} \
             and give it to the user",
            directory.name(),
            directory.mount_point.display()
        )),
    }
}

/// mkdir -p with one call where the parents exist. `made` hears of every new directory; an error tells which one failed.
fn make_all<'a>(
    mount: BorrowedFd<'_>,
    relative: &'a Path,
    mut made: impl FnMut(&Path),
) -> Result<(), (&'a Path, Errno)> {
    match dir::make(mount, relative) {
        Ok(()) => {
            made(relative);
            return Ok(());
        }
        Err(Errno::EXIST) => return Ok(()),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err((relative, errno)),
    }
    let mut levels: Vec<&Path> = relative
        .ancestors()
        .filter(|level| !level.as_os_str().is_empty())
        .collect();
    levels.reverse();
    for level in levels {
        match dir::make(mount, level) {
            Ok(()) => made(level),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err((level, errno)),
        }
    }
    Ok(())
}
