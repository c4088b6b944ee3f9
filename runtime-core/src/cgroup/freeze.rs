//! Freezing and thawing a container's cgroups.
//!
//! Version 1 has a controller of its own, which may answer FREEZING again and again while processes appear and which
//! tells nobody when it is done; version 2 freezes for certain and tells by cgroup.events. Where both are there, the
//! controller of version 1 is used, as in runc: engines look at its file. Every wait ends, and a group that could not be
//! frozen is thawed again: half frozen it would hang whoever waits for it.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::dir;
use super::fs::{Cgroup, Group};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::cgroup::HierarchyKind;

impl Cgroup {
    /// Freezes every process; returns when all are frozen.
    ///
    /// # Errors
    /// There is no freezer, the cgroup is gone, or it does not freeze within `patience`; then it is thawed again.
    pub fn pause(&self, patience: Duration) -> Result<()> {
        let (group, v1) = self.freezer()?;
        let deadline = crate::time::deadline(patience);
        let file = if v1 { "freezer.state" } else { "cgroup.freeze" };
        let result = if v1 {
            group.freeze_v1(deadline)
        } else {
            group.freeze_v2(deadline)
        };
        match result {
            Ok(true) => Ok(()),
            Ok(false) => {
                let _ = group.thaw(v1);
                let message = format!("unable to freeze within {} ms", patience.as_millis());
                Err(Error::new(ErrorKind::System, message)
                    .with_step(format!("freeze cgroup {}", group.directory.path().display())))
            }
            Err(errno) => {
                let _ = group.thaw(v1);
                Err(group.os_error("write", file, errno))
            }
        }
    }

    /// Thaws what [`Cgroup::pause`] froze.
    ///
    /// # Errors
    /// There is no freezer or the cgroup is gone.
    pub fn resume(&self) -> Result<()> {
        let (group, v1) = self.freezer()?;
        let file = if v1 { "freezer.state" } else { "cgroup.freeze" };
        group
            .thaw(v1)
            .map_err(|errno| group.os_error("write", file, errno))
    }

    /// The container is frozen by itself and not by a cgroup above it. A container without a freezer, or whose cgroup is
    /// gone, is not frozen.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn is_frozen(&self) -> Result<bool> {
        let Ok((group, v1)) = self.freezer() else {
            return Ok(false);
        };
        let result = if v1 {
            group.is_frozen_v1()
        } else {
            group.is_frozen_v2()
        };
        match result {
            Err(errno) if dir::is_gone(errno) => Ok(false),
            Err(errno) => {
                Err(group.os_error("read", if v1 { "freezer.state" } else { "cgroup.freeze" }, errno))
            }
            Ok(frozen) => Ok(frozen),
        }
    }

    /// The cgroup above the container's, if any, that is frozen and keeps all from running that enters the container's.
    ///
    /// # Errors
    /// The state cannot be read.
    pub(crate) fn frozen_above(&self) -> Result<Option<PathBuf>> {
        for group in &self.groups {
            if let Some(path) = group.frozen_above()? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// The group to freeze with, and whether it is one of version 1.
    pub(super) fn freezer(&self) -> Result<(&Group, bool)> {
        let v1 = self
            .groups
            .iter()
            .find(|group| !group.is_unified() && group.has("freezer"));
        let unified = self.groups.iter().find(|group| group.is_unified());
        v1.map(|group| (group, true))
            .or(unified.map(|group| (group, false)))
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Unsupported,
                    "cannot toggle freezer: cgroups not configured for container",
                )
            })
    }
}

impl Group {
    /// Gives whether everything is frozen. There is no event to wait for: writing FROZEN again makes the kernel look
    /// again, a thaw in between lets new processes settle that appear while it freezes.
    pub(super) fn freeze_v1(&self, deadline: Instant) -> Result<bool, Errno> {
        let fd = self.fd()?;
        for attempt in 1u32.. {
            dir::write(fd, "freezer.state", "FROZEN")?;
            match dir::read(fd, "freezer.state")?.trim() {
                "FROZEN" => return Ok(true),
                "FREEZING" => {}
                _ => return Err(Errno::PROTO),
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            if attempt % 50 == 0 {
                dir::write(fd, "freezer.state", "THAWED")?;
                std::thread::sleep(Duration::from_millis(10));
            } else {
                std::thread::sleep(Duration::from_micros(u64::from(attempt.min(50)) * 10));
            }
        }
        Ok(false)
    }

    pub(super) fn freeze_v2(&self, deadline: Instant) -> Result<bool, Errno> {
        let fd = self.fd()?;
        dir::write(fd, "cgroup.freeze", "1")?;
        wait_event(fd, "frozen", "1", deadline)
    }

    /// Thaws this group alone.
    pub(super) fn thaw(&self, v1: bool) -> Result<(), Errno> {
        let fd = self.fd()?;
        if v1 {
            dir::write(fd, "freezer.state", "THAWED")
        } else {
            dir::write(fd, "cgroup.freeze", "0")
        }
    }

    pub(super) fn is_frozen_v1(&self) -> Result<bool, Errno> {
        let fd = self.fd()?;
        // FREEZING passes as soon as the processes come by; a group that stays so is not frozen.
        for _ in 0..20 {
            match dir::read(fd, "freezer.state")?.trim() {
                "FROZEN" => return Ok(dir::read(fd, "freezer.self_freezing")?.trim() == "1"),
                "FREEZING" => std::thread::sleep(Duration::from_millis(1)),
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    /// The frozen group above, whether this one is there already or not. A frozen group cannot be told from one whose
    /// processes are just being thawed by its own state; the one above that asked for it tells.
    pub(super) fn frozen_above(&self) -> Result<Option<PathBuf>> {
        let (effective, own) = match self.directory.kind {
            HierarchyKind::Unified => ("cgroup.events", "cgroup.freeze"),
            HierarchyKind::V1 if self.has("freezer") => ("freezer.parent_freezing", "freezer.self_freezing"),
            HierarchyKind::V1 | HierarchyKind::Named => return Ok(None),
        };
        let failed = |errno| self.os_error("read", effective, errno);
        match self.fd().and_then(|fd| dir::read(fd, effective)) {
            Ok(state) if !state.lines().any(|line| line == "1" || line == "frozen 1") => return Ok(None),
            Ok(_) => {}
            Err(errno) if dir::is_gone(errno) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let mount = dir::mount_of(&self.directory).map_err(failed)?;
        for above in self.directory.relative.ancestors().skip(1) {
            let state = dir::open_below(mount.as_fd(), above).and_then(|fd| dir::read(fd.as_fd(), own));
            match state {
                Ok(state) if state.trim() == "1" => {
                    return Ok(Some(self.directory.mount_point.join(above)));
                }
                Ok(_) => {}
                // The root of a hierarchy has no such file.
                Err(errno) if dir::is_gone(errno) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(None)
    }

    pub(super) fn is_frozen_v2(&self) -> Result<bool, Errno> {
        match dir::read(self.fd()?, "cgroup.freeze") {
            Ok(state) => Ok(state.trim() == "1"),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

/// Waits until `key` of cgroup.events has the value; gives whether it came to that before the deadline.
pub(super) fn wait_event(
    group: BorrowedFd<'_>,
    key: &str,
    value: &str,
    deadline: Instant,
) -> Result<bool, Errno> {
    let events = dir::open_to_read(group, "cgroup.events")?;
    loop {
        // The read comes before the wait: poll answers to changes since the last read.
        rustix::fs::seek(&events, rustix::fs::SeekFrom::Start(0))?;
        let mut content = Vec::new();
        dir::read_all(events.as_fd(), &mut content)?;
        let content = String::from_utf8_lossy(&content);
        let found = content
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        if found == Some(value) {
            return Ok(true);
        }
        if !poll(events.as_fd(), PollFlags::PRI, deadline)? {
            return Ok(false);
        }
    }
}

/// Waits for a descriptor; gives false at the deadline.
pub(super) fn poll(fd: BorrowedFd<'_>, flags: PollFlags, deadline: Instant) -> Result<bool, Errno> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = crate::sys::wait::timespec(left);
        let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
