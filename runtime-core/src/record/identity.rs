//! Which process a number means: pids are reused, a pid with its start time is not.

use std::os::fd::OwnedFd;

use procfs::FromRead;
use procfs::process::Stat;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::sys::wait::has_ended;
use crate::whole;

/// A process of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessIdentity {
    /// Its pid as the runtime sees it.
    pub(crate) pid: i32,
    /// When it started, in clock ticks since boot (proc_pid_stat(5), field 22).
    pub(crate) start_time: u64,
}

impl ProcessIdentity {
    /// The calling process.
    pub(crate) fn own() -> Result<Self> {
        Self::of(rustix::process::getpid().as_raw_nonzero().get())
    }

    /// The process that has this pid now.
    pub(crate) fn of(pid: i32) -> Result<Self> {
        match stat(pid)? {
            Some(stat) => Ok(Self {
                pid,
                start_time: stat.starttime,
            }),
            None => Err(Error::os(format!("open(\"/proc/{pid}/stat\")"), Errno::SRCH)),
        }
    }

    /// The process that was started with this pid and descriptor. Where somebody has reaped it already (a caller that ignores
    /// SIGCHLD: the kernel itself), it is one that no process is any more, never one that has the pid now.
    pub(crate) fn of_started(pid: i32, pidfd: &OwnedFd) -> Result<Self> {
        let found = stat(pid)?;
        // Behind the look: as long as the descriptor leads to a process, ended or not, nobody else has its pid.
        let reaped =
            crate::sys::wait::signal(pidfd, 0).is_err_and(|error| error.raw_os_error() == Some(libc::ESRCH));
        let start_time = match found {
            Some(stat) if !reaped => stat.starttime,
            _ => u64::MAX,
        };
        Ok(Self { pid, start_time })
    }

    /// Whether it is still the same process and has not ended. A process whose first thread is gone lives on in the others.
    pub(crate) fn is_alive(&self) -> Result<bool> {
        Ok(self.open()?.is_some())
    }

    /// A descriptor of it; None where it has ended.
    pub(crate) fn open(&self) -> Result<Option<OwnedFd>> {
        let Some(fd) = self.open_any()? else {
            return Ok(None);
        };
        Ok((!has_ended(&fd)?).then_some(fd))
    }

    /// A descriptor of it where it has ended and nobody has reaped it yet.
    pub(crate) fn open_ended(&self) -> Result<Option<OwnedFd>> {
        let Some(fd) = self.open_any()? else {
            return Ok(None);
        };
        Ok(has_ended(&fd)?.then_some(fd))
    }

    /// Whether it lives on in other threads only.
    pub(crate) fn has_lost_its_first_thread(&self) -> bool {
        let first = stat(self.pid).ok().flatten();
        first.is_some_and(|stat| stat.starttime == self.start_time && stat.state == 'Z')
            && self.is_alive().unwrap_or(false)
    }

    /// A descriptor of it, whether it has ended or not; None where it is gone. The descriptor is opened first and the identity
    /// checked behind it, so that no other process can slip in between.
    fn open_any(&self) -> Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        let fd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => fd,
            // While a process group or session still has the number of an ended process, kernels before 6.16 answer
            // EINVAL, as they do for a thread (ENOENT since then): no process has this pid.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(Error::os(format!("pidfd_open({})", self.pid), errno)),
        };
        let same = stat(self.pid)?.is_some_and(|stat| stat.starttime == self.start_time);
        Ok(same.then_some(fd))
    }
}

/// The parent of a process; None where there is no such process any more.
pub(crate) fn parent_of(pid: i32) -> Result<Option<i32>> {
    Ok(stat(pid)?.map(|stat| stat.ppid))
}

/// What the kernel tells of a process; None where there is no such process.
fn stat(pid: i32) -> Result<Option<Stat>> {
    let path = format!("/proc/{pid}/stat");
    let opened = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let text = match opened.and_then(|fd| whole::read(fd, u64::MAX)) {
        Ok(text) => text,
        Err(Errno::NOENT | Errno::SRCH) => return Ok(None),
        Err(errno) => return Err(Error::os(format!("open({path:?})"), errno)),
    };
    parse(&text).map(Some).ok_or_else(|| {
        Error::new(
            crate::error::ErrorKind::System,
            format!("{path} is not as proc_pid_stat(5) says"),
        )
    })
}

fn parse(text: &[u8]) -> Option<Stat> {
    Stat::from_read(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_and_no_other() {
        let own = ProcessIdentity::own().unwrap();
        assert!(own.is_alive().unwrap() && own.open().unwrap().is_some());
        let other = ProcessIdentity {
            start_time: own.start_time + 1,
            ..own
        };
        assert!(!other.is_alive().unwrap() && other.open().unwrap().is_none());
        assert!(other.open_ended().unwrap().is_none());
    }

    #[test]
    fn an_ended_process_is_there_until_it_is_reaped() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let identity = ProcessIdentity::of(child.id().cast_signed()).unwrap();
        let fd = identity.open_any().unwrap().unwrap();
        assert!(crate::sys::wait::ready_within(&fd, Some(std::time::Duration::from_secs(30))).unwrap());
        assert!(!identity.is_alive().unwrap() && identity.open_ended().unwrap().is_some());
        child.wait().unwrap();
        assert!(has_ended(&fd).unwrap());
        assert!(identity.open_any().unwrap().is_none());
    }

    #[test]
    fn a_process_that_was_reaped_meanwhile_is_nobody() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id().cast_signed();
        let pidfd = rustix::process::pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
        assert!(crate::sys::wait::ready_within(&pidfd, Some(std::time::Duration::from_secs(30))).unwrap());
        let ended = ProcessIdentity::of_started(pid, &pidfd).unwrap();
        assert!(ended.open_ended().unwrap().is_some());
        child.wait().unwrap();
        assert_eq!(
            ProcessIdentity::of_started(pid, &pidfd).unwrap().start_time,
            u64::MAX
        );
        // Somebody else has the pid now.
        let own = ProcessIdentity::own().unwrap();
        let other = ProcessIdentity::of_started(own.pid, &pidfd).unwrap();
        assert!(other.pid == own.pid && !other.is_alive().unwrap());
    }

    #[test]
    fn names_with_parentheses() {
        let text = b"7 (a) b) S 1 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 4242 5001216 37 18446744073709551615 1 1 0 0 0 0 0 \
            4096 1 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0";
        let stat = parse(text).unwrap();
        assert_eq!((stat.starttime, stat.state, stat.ppid), (4242, 'S', 1));
    }
}
