//! Writes limits into the files of a container's cgroups.
//!
//! Takes the table of [`super::limits`] as it is: no value is converted here. Here are the answers of the kernel: a file
//! that is not there, a value that is right only after another one, a limit that is below the use.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::change::Old;
use super::fs::{Cgroup, Group, belongs};
use super::limits::{Absent, Guard, Version, Write};
use super::{dir, subtree};
use crate::error::{Error, ErrorKind, Result};

/// The file that was written last; device rules are a dozen writes into one.
type LastFile<'a> = Option<(&'a str, OwnedFd)>;

impl Cgroup {
    /// Writes the limits, in their order. For a cgroup that was just made; [`Cgroup::change`] is for one in use.
    ///
    /// # Errors
    /// Names the field of the configuration, the file, the value and the kernel's answer. Writes before the failed one
    /// stay.
    pub fn apply(&self, writes: &[Write]) -> Result<()> {
        self.write_all(writes, None)
    }

    /// Tests the conditions of the writes (linux.resources.memory.checkBeforeUpdate).
    ///
    /// # Errors
    /// WrongState, where the use is above a limit.
    pub fn check(&self, writes: &[Write]) -> Result<()> {
        let guarded = writes
            .iter()
            .filter_map(|write| Some((write, write.guard.as_ref()?)));
        for (write, guard) in guarded {
            self.group_for(write)?.check(write, guard)?;
        }
        Ok(())
    }

    /// The same as `apply`; `journal` gets what each file held before.
    pub(super) fn write_all<'a>(
        &'a self,
        writes: &'a [Write],
        mut journal: Option<&mut Vec<Old<'a>>>,
    ) -> Result<()> {
        self.check(writes)?;
        let mut last: LastFile<'_> = None;
        let mut postponed: Vec<&Write> = Vec::new();
        for (position, write) in writes.iter().enumerate() {
            let group = self.group_for(write)?;
            match group.put_noted(write, &mut last, &mut journal) {
                Ok(()) => {}
                Err(Errno::INVAL) if write.retry => postponed.push(write),
                Err(errno) => return Err(group.explain(write, errno)),
            }
            let next = writes.get(position + 1);
            if next.is_none_or(|next| next.controller != write.controller) {
                for write in postponed.drain(..) {
                    group
                        .put_noted(write, &mut last, &mut journal)
                        .map_err(|errno| group.explain(write, errno))?;
                }
            }
        }
        Ok(())
    }

    fn group_for(&self, write: &Write) -> Result<&Group> {
        self.groups
            .iter()
            .find(|group| belongs(write, &group.directory))
            .ok_or_else(|| {
                let message = format!(
                    "cannot set {} limit: container could not join or create cgroup",
                    write.controller
                );
                Error::new(ErrorKind::Permission, message).with_field(&write.origin)
            })
    }
}

impl Group {
    fn put_noted<'a>(
        &'a self,
        write: &'a Write,
        last: &mut LastFile<'a>,
        journal: &mut Option<&mut Vec<Old<'a>>>,
    ) -> Result<(), Errno> {
        let old = journal.as_ref().and_then(|_| self.remember(write));
        let result = self.put(write, last);
        // Of several lines some may have been taken before one was refused.
        if let Some(journal) = journal
            && (result.is_ok() || write.value.contains('\n'))
        {
            journal.extend(old);
        }
        result
    }

    fn put<'a>(&self, write: &'a Write, last: &mut LastFile<'a>) -> Result<(), Errno> {
        let fd = self.fd()?;
        if last.as_ref().is_none_or(|(file, _)| *file != write.file) {
            *last = None;
            match dir::open_to_write(fd, &write.file) {
                Ok(opened) => *last = Some((&write.file, opened)),
                Err(Errno::NOENT) => match self.open_absent(write)? {
                    Found::Itself(opened) => *last = Some((&write.file, opened)),
                    Found::Other(opened, value) => return put_lines(&opened, value),
                    Found::Nothing => return Ok(()),
                },
                Err(errno) => return Err(errno),
            }
        }
        match last {
            Some((_, opened)) => put_lines(opened, &write.value),
            None => Ok(()),
        }
    }

    /// The file is not there: because the controller was not handed down (an update may want one that create did not),
    /// because somebody is just handing it down, or because this kernel lacks it.
    fn open_absent<'a>(&self, write: &'a Write) -> Result<Found<'a>, Errno> {
        let fd = self.fd()?;
        if write.version == Version::V2
            && (self.hand_down(&write.controller) || self.settle(&write.controller))
            && let Ok(opened) = dir::open_to_write(fd, &write.file)
        {
            return Ok(Found::Itself(opened));
        }
        match &write.absent {
            Absent::Fail => Err(Errno::NOENT),
            Absent::Skip => Ok(Found::Nothing),
            Absent::Instead { file, value } => Ok(Found::Other(dir::open_to_write(fd, file)?, value)),
        }
    }

    /// Has a missing controller of version 2 handed down to the group; whether that was needed and done.
    pub(super) fn hand_down(&self, controller: &str) -> bool {
        self.lacks(controller)
            && dir::mount_of(&self.directory).is_ok_and(|mount| {
                subtree::enable(self, mount.as_fd(), &[controller]).is_ok_and(|refused| refused.is_empty())
            })
    }

    /// Waits for whoever hands a controller of version 2 down to the group, which has it by its own account; whether that
    /// could be done.
    fn settle(&self, controller: &str) -> bool {
        dir::mount_of(&self.directory)
            .is_ok_and(|mount| subtree::settle(self, mount.as_fd(), controller).is_ok())
    }

    fn lacks(&self, controller: &str) -> bool {
        let Ok(fd) = self.fd() else { return false };
        let Ok(list) = dir::read(fd, "cgroup.controllers") else {
            return false;
        };
        controller != "cgroup" && !list.split_ascii_whitespace().any(|name| name == controller)
    }

    /// Best effort, as in runc: without the file that tells the use there is nothing to compare with.
    fn check(&self, write: &Write, guard: &Guard) -> Result<()> {
        let usage = self.number(&guard.file);
        match usage {
            Some(usage) if usage >= guard.below => {
                let message = format!("rejecting {} {} <= usage {usage}", guard.what, guard.below);
                Err(Error::new(ErrorKind::WrongState, message).with_field(&write.origin))
            }
            _ => Ok(()),
        }
    }

    fn number(&self, file: &str) -> Option<u64> {
        dir::read(self.fd().ok()?, file).ok()?.trim().parse().ok()
    }

    fn explain(&self, write: &Write, errno: Errno) -> Error {
        let unknown = || "unknown".to_owned();
        let number = |file| {
            self.number(file)
                .map_or_else(unknown, |number| number.to_string())
        };
        if errno == Errno::BUSY && write.file == "memory.limit_in_bytes" {
            let message = format!(
                "unable to set memory limit to {} (current usage: {}, peak usage: {})",
                write.value,
                number("memory.usage_in_bytes"),
                number("memory.max_usage_in_bytes")
            );
            return Error::new(ErrorKind::System, message)
                .with_field(&write.origin)
                .with_errno(libc::EBUSY);
        }
        if errno == Errno::NOENT && write.version == Version::V2 && self.lacks(&write.controller) {
            return subtree::not_delegated(self, write, None);
        }
        let path = self.directory.path().join(&write.file);
        let call = format!("write({:?}, {:?})", path.display().to_string(), write.value);
        let error = Error::os(call, dir::as_io(errno)).with_field(&write.origin);
        match errno {
            Errno::NOENT => error
                .with_kind(ErrorKind::Unsupported)
                .context(format!("this kernel has no {}", write.file)),
            Errno::ACCESS | Errno::PERM | Errno::ROFS => error.with_kind(ErrorKind::Permission),
            _ => error,
        }
    }
}

/// What was found where a file is missing.
enum Found<'a> {
    /// The file, after the controller was handed down.
    Itself(OwnedFd),
    /// Another file and the value for it.
    Other(OwnedFd, &'a str),
    /// Nothing, and that is right.
    Nothing,
}

/// A control file takes one entry in each write; `unified` values may hold several lines.
fn put_lines(fd: &OwnedFd, value: &str) -> Result<(), Errno> {
    if value.is_empty() {
        return dir::put(fd.as_fd(), value);
    }
    value
        .split_inclusive('\n')
        .try_for_each(|line| dir::put(fd.as_fd(), line))
}
