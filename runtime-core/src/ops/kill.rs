//! kill, pause and resume: by process descriptors and cgroups, never by a pid that could be somebody else's.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::Pid;

use super::Container;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Signal;
use crate::record::ProcessIdentity;
use crate::state::Status;

/// How long who started programs in a container may take to wait for those that have ended, before it is done for them.
const CHILDREN_PATIENCE: Duration = Duration::from_millis(100);
/// How long a cgroup may take to freeze.
const FREEZE_PATIENCE: Duration = Duration::from_secs(10);

impl Container {
    /// Sends a signal to init, or to every process of the container with `all`.
    ///
    /// SIGKILL without a pid namespace of the container's own goes to all its processes, also when init is gone: nothing
    /// else would end them. Without a cgroup they are those of [`Container::processes`].
    ///
    /// # Errors
    /// NotRunning, where there is nobody to signal; System.
    pub fn kill(&self, signal: Signal, all: bool) -> Result<()> {
        if let Some(now) = self.now()? {
            return now.kill(signal, all);
        }
        let _span = self.trace.span("signal");
        let cgroup = self.cgroup();
        let everyone = all || (signal == Signal::KILL && !self.record.own_pid_namespace);
        if let Some(cgroup) = cgroup.as_ref().filter(|_| everyone) {
            if signal == Signal::KILL {
                return cgroup.kill_all();
            }
            let pids = cgroup.pids()?;
            if pids.is_empty() {
                return Err(not_running());
            }
            return pids.into_iter().try_for_each(|pid| signal_pid(pid, signal));
        }
        if self.status()? == Status::Stopped {
            return Err(not_running());
        }
        if everyone && cgroup.is_none() {
            return self
                .processes()?
                .into_iter()
                .try_for_each(|pid| signal_pid(pid, signal));
        }
        let pidfd = self.pidfd.as_ref().ok_or_else(not_running)?;
        match crate::sys::wait::signal(pidfd, signal.number()) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Err(not_running()),
            Err(error) => {
                return Err(Error::os(
                    format!("pidfd_send_signal({})", signal.number()),
                    error,
                ));
            }
            Ok(()) => {}
        }
        // On version 1 a frozen process does not even die.
        if signal == Signal::KILL
            && let Some(cgroup) = cgroup
            && cgroup.is_frozen()?
        {
            cgroup.resume()?;
        }
        Ok(())
    }

    /// Freezes all processes of a running container.
    ///
    /// # Errors
    /// NotRunning; Unsupported without a cgroup; System.
    pub fn pause(&self) -> Result<()> {
        let _lock = self.dir.lock()?;
        match self.status()? {
            Status::Running | Status::Created => {}
            status => {
                return Err(Error::new(
                    ErrorKind::NotRunning,
                    format!("container not running or created: {}", status.as_str()),
                ));
            }
        }
        self.trace
            .time("freeze the cgroup", || self.freezer()?.pause(FREEZE_PATIENCE))
    }

    /// Lets a paused container go on.
    ///
    /// # Errors
    /// WrongState, where it is not paused; System.
    pub fn resume(&self) -> Result<()> {
        let _lock = self.dir.lock()?;
        if self.status()? != Status::Paused {
            return Err(Error::new(ErrorKind::WrongState, "container not paused"));
        }
        self.trace.time("thaw the cgroup", || self.freezer()?.resume())
    }

    fn freezer(&self) -> Result<crate::cgroup::Cgroup> {
        self.cgroup().ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                "the container has no cgroup that could be frozen",
            )
        })
    }
}

fn not_running() -> Error {
    Error::new(ErrorKind::NotRunning, "container not running")
}

/// A process of the cgroup's list may have ended since; its number is checked behind the descriptor.
fn signal_pid(pid: i32, signal: Signal) -> Result<()> {
    let Some(number) = Pid::from_raw(pid) else {
        return Ok(());
    };
    let identity = match ProcessIdentity::of(pid) {
        Ok(identity) => identity,
        Err(error) if error.errno() == Some(libc::ESRCH) => return Ok(()),
        Err(error) => return Err(error),
    };
    let Some(pidfd) = identity.open()? else {
        return Ok(());
    };
    match crate::sys::wait::signal(&pidfd, signal.number()) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(Error::os(
            format!("pidfd_send_signal({number}, {})", signal.number()),
            error,
        )),
        _ => Ok(()),
    }
}

/// Kills a process and waits for its end; reaps it where it is a child.
pub(super) fn end(pidfd: &OwnedFd) -> Result<()> {
    match crate::sys::wait::signal(pidfd, libc::SIGKILL) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
            return Err(Error::os("pidfd_send_signal(SIGKILL)", error));
        }
        _ => {}
    }
    let deadline = Instant::now() + super::delete::PATIENCE;
    while !crate::sys::wait::ready_within(pidfd, Some(CHILDREN_PATIENCE))? {
        if Instant::now() > deadline {
            return Err(Error::os("pidfd_send_signal(SIGKILL)", Errno::TIMEDOUT)
                .context("container init still running"));
        }
        super::children::reap_in_namespace_of(pidfd);
    }
    crate::sys::wait::reap_if_child(pidfd);
    Ok(())
}
