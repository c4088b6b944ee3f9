//! The processes in a container's cgroups, their end, and the end of the cgroups.
//!
//! Works from the descriptors of [`Cgroup`] alone, in any process, as often as one likes: what is gone already is fine.
//! Waiting is by events (pidfds, cgroup.events) with a deadline given by the caller; sleeping only where version 1 says
//! "busy" with nobody in the group, which has no event.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::below::{self, Visit};
use super::fs::{Cgroup, Group};
use super::{dir, freeze};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::cgroup::HierarchyKind;

/// How long [`Cgroup::kill_all`] tries to freeze before it kills what runs.
const FREEZE_TO_KILL: Duration = Duration::from_millis(500);

/// How many times the killer without `cgroup.kill` looks for processes that were forked meanwhile.
const KILL_ROUNDS: u32 = 100;

impl Cgroup {
    /// The container's cgroup is there.
    pub fn exists(&self) -> bool {
        self.tracker()
            .is_some_and(|group| group.fd().and_then(dir::procs).is_ok())
    }

    /// The ids of all processes in the cgroup and below, as seen from the caller's pid namespace; empty where the cgroup is
    /// gone.
    ///
    /// # Errors
    /// A list cannot be read.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let Some(group) = self.tracker() else {
            return Ok(Vec::new());
        };
        match group.all_pids() {
            Err(errno) if dir::is_gone(errno) => Ok(Vec::new()),
            Err(errno) => Err(group.os_error("read", "cgroup.procs", errno)),
            Ok(pids) => Ok(pids),
        }
    }

    /// SIGKILL to every process in the cgroup and below, also to frozen ones (they are thawed: a task that the freezer of
    /// version 1 holds does not die). Does not wait for their end: [`Cgroup::remove`] does.
    ///
    /// # Errors
    /// The kernel refuses a kill or a list.
    pub fn kill_all(&self) -> Result<()> {
        let unified = self.groups.iter().find(|group| group.is_unified());
        if let Some(group) = unified {
            match group.fd().and_then(|fd| dir::write(fd, "cgroup.kill", "1")) {
                Ok(()) => return self.thaw_all(),
                // Not there before 5.14; a threaded group has none. Or the group is gone, and the list will be empty.
                Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(group.os_error("write", "cgroup.kill", errno)),
            }
        }
        self.kill_by_list()
    }

    /// Removes the cgroups and all below them. Up to `patience` is waited for processes that are about to end; nothing is
    /// killed. What is gone already is a success, so it can be repeated.
    ///
    /// # Errors
    /// A process is still there at the end, or the kernel refuses. The other hierarchies have been removed then.
    pub fn remove(&self, patience: Duration) -> Result<()> {
        self.remove_groups(self.groups.iter(), patience)
    }

    /// How many processes of the container the kernel has killed for lack of memory; nothing where no memory controller
    /// counts for it or the cgroup is gone.
    ///
    /// # Errors
    /// The counter cannot be read.
    pub fn oom_kills(&self) -> Result<Option<u64>> {
        let v1 = self
            .groups
            .iter()
            .find(|group| !group.is_unified() && group.has("memory"));
        let unified = self.groups.iter().find(|group| group.is_unified());
        let (group, file) = match (v1, unified) {
            (Some(group), _) => (group, "memory.oom_control"),
            (None, Some(group)) => (group, "memory.events"),
            (None, None) => return Ok(None),
        };
        match group.fd().and_then(|fd| dir::read(fd, file)) {
            Ok(text) => Ok(text
                .lines()
                .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())),
            Err(errno) if dir::is_gone(errno) => Ok(None),
            Err(errno) => Err(group.os_error("read", file, errno)),
        }
    }

    /// The hierarchy that tells which processes belong to the container: the unified one, else one that every runtime
    /// enters.
    fn tracker(&self) -> Option<&Group> {
        let unified = self.groups.iter().find(|group| group.is_unified());
        let devices = || self.groups.iter().find(|group| group.has("devices"));
        let other = || {
            self.groups
                .iter()
                .find(|group| group.directory.kind == HierarchyKind::V1)
        };
        unified
            .or_else(devices)
            .or_else(other)
            .or_else(|| self.groups.first())
    }

    /// Without cgroup.kill: freezing keeps processes from forking away from the list. It may fail (a process in the kernel
    /// that does not return), hence the rounds: each kills those that the round before did not know.
    fn kill_by_list(&self) -> Result<()> {
        let freezer = self.freezer().ok();
        if let Some((group, v1)) = freezer {
            let deadline = Instant::now() + FREEZE_TO_KILL;
            let _ = if v1 {
                group.freeze_v1(deadline)
            } else {
                group.freeze_v2(deadline)
            };
        }
        let killed = self.kill_rounds();
        let thawed = self.thaw_all();
        killed.and(thawed)
    }

    fn kill_rounds(&self) -> Result<()> {
        let mut known = BTreeSet::new();
        for _ in 0..KILL_ROUNDS {
            let new: Vec<i32> = self
                .pids()?
                .into_iter()
                .filter(|pid| known.insert(*pid))
                .collect();
            if new.is_empty() {
                return Ok(());
            }
            for pid in new.into_iter().filter_map(Pid::from_raw) {
                match rustix::process::kill_process(pid, Signal::KILL) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(errno) => {
                        let call = format!("kill({}, SIGKILL)", pid.as_raw_nonzero());
                        return Err(Error::os(call, dir::as_io(errno)));
                    }
                }
            }
        }
        let message = format!("new processes appeared {KILL_ROUNDS} times while the container was killed");
        Err(Error::new(ErrorKind::System, message))
    }

    /// Thaws the container and every group that it made inside: a killed task dies when it is thawed. The writes do not
    /// wait for anything.
    fn thaw_all(&self) -> Result<()> {
        let Ok((group, v1)) = self.freezer() else {
            return Ok(());
        };
        match group.fd().and_then(|fd| thaw_tree(fd, v1)) {
            Err(errno) if !dir::is_gone(errno) => {
                Err(group.os_error("write", if v1 { "freezer.state" } else { "cgroup.freeze" }, errno))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn remove_groups<'a>(
        &self,
        groups: impl Iterator<Item = &'a Group>,
        patience: Duration,
    ) -> Result<()> {
        let deadline = crate::time::deadline(patience);
        let mut result = Ok(());
        let mut groups: Vec<&Group> = groups.collect();
        // The unified hierarchy tells when its last process is gone; after that the others are empty.
        groups.sort_by_key(|group| !group.is_unified());
        for group in groups {
            let removed = match dir::mount_of(&group.directory) {
                Ok(mount) => remove_tree(
                    mount.as_fd(),
                    &group.directory.relative,
                    group.is_unified(),
                    deadline,
                ),
                Err(errno) => Err(errno),
            };
            match removed {
                Ok(()) => {}
                Err(errno) if dir::is_gone(errno) => {}
                Err(errno) => result = result.and(Err(self.not_removed(group, errno))),
            }
        }
        result
    }

    fn not_removed(&self, group: &Group, errno: Errno) -> Error {
        let pids = group.all_pids().unwrap_or_default();
        let error = group.os_error("rmdir", "", errno);
        match pids.as_slice() {
            [] => error.context("failed to remove cgroup"),
            [first, ..] => error.context(format!(
                "failed to remove cgroup: {} process(es) in it, the first is {first}",
                pids.len()
            )),
        }
    }
}

impl Group {
    /// The processes here and below.
    pub(super) fn all_pids(&self) -> Result<Vec<i32>, Errno> {
        let mut pids = Pids(Vec::new());
        let group = self.fd()?;
        pids.enter(group)?;
        below::walk(group, &mut pids)?;
        Ok(pids.0)
    }
}

/// Collects the processes of all groups.
struct Pids(Vec<i32>);

impl Visit for Pids {
    fn enter(&mut self, group: BorrowedFd<'_>) -> Result<(), Errno> {
        self.0.extend(dir::procs(group)?);
        Ok(())
    }
}

/// Thaws all groups.
struct Thaw {
    v1: bool,
}

impl Visit for Thaw {
    fn enter(&mut self, group: BorrowedFd<'_>) -> Result<(), Errno> {
        if self.v1 {
            dir::write(group, "freezer.state", "THAWED")
        } else if dir::read(group, "cgroup.freeze").is_ok_and(|state| state.trim() == "1") {
            dir::write(group, "cgroup.freeze", "0")
        } else {
            Ok(())
        }
    }
}

fn thaw_tree(group: BorrowedFd<'_>, v1: bool) -> Result<(), Errno> {
    let mut thaw = Thaw { v1 };
    thaw.enter(group)?;
    below::walk(group, &mut thaw)
}

/// Removes all groups that can be removed now, deepest first.
#[derive(Default)]
struct Sweep {
    /// A group that is still in use, to wait for.
    busy: Option<OwnedFd>,
}

impl Visit for Sweep {
    fn meet(&mut self, parent: BorrowedFd<'_>, name: &CString) -> Result<bool, Errno> {
        match dir::unmake(parent, name) {
            Err(Errno::BUSY | Errno::NOTEMPTY) => Ok(true),
            other => other.map(|()| false),
        }
    }

    fn leave(&mut self, parent: BorrowedFd<'_>, name: &CString) -> Result<(), Errno> {
        match dir::unmake(parent, name) {
            Err(Errno::BUSY | Errno::NOTEMPTY) if self.busy.is_none() => {
                self.busy = Some(dir::open_child(parent, name)?);
                Ok(())
            }
            Err(Errno::BUSY | Errno::NOTEMPTY) => Ok(()),
            other => other,
        }
    }
}

/// rmdir, deepest first.
fn remove_tree(mount: BorrowedFd<'_>, path: &Path, unified: bool, deadline: Instant) -> Result<(), Errno> {
    let mut pause = Duration::from_micros(50);
    loop {
        let refusal = match dir::unmake(mount, path) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(errno) => errno,
        };
        // A read-only mount answers EROFS for what does not exist, too.
        let group = dir::open_below(mount, path)?;
        if !matches!(refusal, Errno::BUSY | Errno::NOTEMPTY) {
            return Err(refusal);
        }
        let mut sweep = Sweep::default();
        below::walk(group.as_fd(), &mut sweep)?;
        if Instant::now() >= deadline {
            return Err(refusal);
        }
        if unified {
            // Counts those below, too.
            freeze::wait_event(group.as_fd(), "populated", "0", deadline)?;
        }
        let busy = sweep.busy.as_ref().unwrap_or(&group);
        let waited = match wait_for_one(busy.as_fd(), deadline) {
            Err(errno) if dir::is_gone(errno) => true,
            other => other?,
        };
        if !waited {
            // Empty, and busy all the same: the last process is between its exit and its leaving of the group (since 6.18
            // after its last switch), or a child is being torn down.
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }
}

/// Waits for the end of a process in the group. Gives false where there is nothing to wait for: nobody is there, or who
/// is there has ended already and only waits to leave.
fn wait_for_one(group: BorrowedFd<'_>, deadline: Instant) -> Result<bool, Errno> {
    let Some(pid) = dir::procs(group)?.into_iter().find_map(Pid::from_raw) else {
        return Ok(false);
    };
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) if freeze::poll(pidfd.as_fd(), PollFlags::IN, Instant::now())? => Ok(false),
        Ok(pidfd) => freeze::poll(pidfd.as_fd(), PollFlags::IN, deadline),
        // Ended in between, or a thread of a threaded group, which has no pidfd.
        Err(Errno::SRCH | Errno::INVAL) => Ok(false),
        Err(errno) => Err(errno),
    }
}
