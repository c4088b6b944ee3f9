//! What init says while the schedule is walked, and its last words: reports are awaited line by line, up to the end of file
//! that follows exec.
//!
//! Must not live here: how reports travel (`link`) and what a failure means in words (`words`).

use std::os::fd::OwnedFd;

use runtime_core_program::FrameKind;

use super::{Host, Launch, Link, Report, failure, hand_over, no_init};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Line, Step};
use crate::record::ProcessIdentity;
use crate::seccomp::Agent;
use crate::state::Status;

impl Launch<'_> {
    /// Waits where the step makes init report.
    pub(super) fn follow(&mut self, step: &Step, line: &Line, host: &mut dyn Host) -> Result<()> {
        let Some(kind) = awaited(step) else {
            return Ok(());
        };
        let report = match step {
            Step::ForkInto { .. } => self.born(host)?,
            _ => match self.link()?.expect(kind)? {
                Ok(report) => report,
                Err(failed) => return Err(self.failed(failed)),
            },
        };
        let missing = || {
            Error::new(
                ErrorKind::Internal,
                format!("init sent no descriptor with {kind:?}"),
            )
            .with_step(line.to_string())
        };
        match kind {
            FrameKind::Wanted => self.root = report.fd,
            FrameKind::Descriptor => self.master = Some(report.fd.ok_or_else(missing)?),
            FrameKind::Sibling => {
                let init = self.init.as_mut().ok_or_else(no_init)?;
                crate::sys::wait::reap(&init.pidfd);
                init.pidfd = report.fd.ok_or_else(missing)?;
                init.pid = i32::try_from(report.frame.value)
                    .map_err(|_| Error::new(ErrorKind::Internal, "init sent a pid out of range"))?;
                if let Some(watch) = &self.watch {
                    watch.pid.set(init.pid);
                }
                self.identity = Some(ProcessIdentity::of_started(init.pid, &init.pidfd)?);
                host.save(Status::Creating, self.identity)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The end of the walk: the program runs, or a step after the last handshake failed.
    pub(crate) fn started(&self) -> Result<()> {
        let line = |number| self.plan.line(number).cloned();
        follow_exec(line, self.link()?, self.starting, unexpected)
            .map_err(|error| self.killed_by_memory(error))?;
        if let Some(watch) = &self.watch {
            watch.executed();
        }
        Ok(())
    }

    /// A filter that is loaded directly before exec is announced by it: nothing else may come in between.
    pub(super) fn pass_listener(&mut self, agent: &Agent, host: &dyn Host) -> Result<()> {
        let listener = loop {
            match self.link()?.receive()? {
                Some(report) if report.frame.kind == FrameKind::Starting => self.starting = true,
                Some(Report { frame, fd: Some(fd) }) if frame.kind == FrameKind::Descriptor => break fd,
                Some(report) if report.frame.kind == FrameKind::Failed => {
                    return Err(self.failed(Some(report)));
                }
                Some(Report { frame, .. }) => {
                    let message = format!("init said {:?} where a listener was due", frame.kind);
                    return Err(Error::new(ErrorKind::Internal, message));
                }
                None => return Err(self.failed(None)),
            }
        };
        let pid = self.pid()?;
        hand_over(agent, listener, pid, &host.agent_state(pid))
    }

    pub(super) fn failed(&self, report: Option<Report>) -> Error {
        let error = match report {
            Some(report) => failure(self.plan.line(report.frame.line), report),
            None => Error::new(ErrorKind::System, "init ended without a word"),
        };
        self.killed_by_memory(error)
    }
}

/// What init reports of a step, where it does.
pub(super) fn awaited(step: &Step) -> Option<FrameKind> {
    match step {
        Step::Sync {} | Step::Tell {} | Step::WaitStart { .. } => Some(FrameKind::Reached),
        Step::Borrow {} | Step::Extend {} => Some(FrameKind::Wanted),
        Step::Console { .. } => Some(FrameKind::Descriptor),
        Step::Fork {} | Step::ForkInto { .. } => Some(FrameKind::Sibling),
        _ => None,
    }
}

/// Reads init's last words: the program runs when the end of file follows the announcement of exec. `line` gives a line
/// of the schedule.
pub(crate) fn await_exec(line: impl Fn(u32) -> Option<Line>, link: &Link) -> Result<()> {
    follow_exec(line, link, false, unexpected)
}

fn unexpected(_: OwnedFd) -> Result<()> {
    let message = "init sent a listener that nobody waits for";
    Err(Error::new(ErrorKind::Internal, message))
}

/// The same where the announcement may have been read before, and a filter may have a listener.
pub(crate) fn follow_exec(
    line: impl Fn(u32) -> Option<Line>,
    link: &Link,
    mut starting: bool,
    mut listener: impl FnMut(OwnedFd) -> Result<()>,
) -> Result<()> {
    loop {
        match link.receive()? {
            None if starting => return Ok(()),
            None => {
                let message = "init ended before the program was executed";
                return Err(Error::new(ErrorKind::System, message));
            }
            Some(Report { frame, fd: Some(fd) }) if frame.kind == FrameKind::Descriptor => listener(fd)?,
            Some(report) if report.frame.kind == FrameKind::Starting => starting = true,
            Some(report) if report.frame.kind == FrameKind::Failed => {
                return Err(failure(line(report.frame.line).as_ref(), report));
            }
            Some(Report { frame, .. }) => {
                let message = format!("init said {:?} where its end was due", frame.kind);
                return Err(Error::new(ErrorKind::Internal, message));
            }
        }
    }
}
