//! The line that starts init: in the cgroup where the kernel lets the caller, with what it needs for its program.
//!
//! Must not live here: the clone itself (`crate::sys::spawn`) and where the image of init comes from (`image`).

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use runtime_core_program::FrameKind;

use super::{Host, Launch, Launched, Link, Report, Watch, await_exec, image};
use crate::cgroup::{Cgroup, Join};
use crate::error::{Error, ErrorKind, Result};
use crate::lower::{Descriptors, lower};
use crate::plan::{Action, FdName, Line, Plan, Step};
use crate::record::ProcessIdentity;
use crate::state::Status;
use crate::sys::{spawn, wait};

impl Launch<'_> {
    pub(super) fn spawn(&mut self, namespaces: u64, host: &mut dyn Host) -> Result<()> {
        let spawned = match self.spawn_in(namespaces) {
            // Where the cgroup cannot even be opened.
            Err(error) if self.goes_elsewhere(error.errno(), host)? => self.spawn_in(namespaces)?,
            other => other.map_err(|error| self.killed_by_memory(error))?,
        };
        self.descriptors = Descriptors::default();
        let identity = ProcessIdentity::of_started(spawned.pid, &spawned.pidfd);
        self.init = Some(spawned);
        // init works by itself now: time to write down whom to end if this process dies, and what later commands need.
        self.identity = Some(identity?);
        host.save(Status::Creating, self.identity)?;
        host.save_config()
    }

    /// Waits for the sibling that init makes in a cgroup of version 2, and names other places where the kernel refuses.
    pub(super) fn born(&mut self, host: &mut dyn Host) -> Result<Report> {
        loop {
            let refused = match self.link()?.receive()? {
                Some(report) if report.frame.kind == FrameKind::Wanted => report.frame.errno,
                Some(report) if report.frame.kind == FrameKind::Sibling => return Ok(report),
                Some(Report { frame, .. }) if frame.kind != FrameKind::Failed => {
                    let message = format!("init said {:?} where a sibling was due", frame.kind);
                    return Err(Error::new(ErrorKind::Internal, message));
                }
                failed => return Err(self.failed(failed)),
            };
            let errno = refused.cast_signed();
            let goes = self.outside || self.goes_elsewhere(Some(errno), host)?;
            let error =
                || self.killed_by_memory(not_cloned(0, true, std::io::Error::from_raw_os_error(errno)));
            if !goes {
                return Err(error());
            }
            let unified = |cgroup: &Cgroup| cgroup.join().map_err(not_joined)?.unified.ok_or_else(error);
            let other = self.cgroup.as_ref().map(unified).transpose()?;
            self.link()?.go(other.as_ref().map(AsFd::as_fd))?;
        }
    }

    /// Chooses another place for init where the kernel did not let it into the cgroup; false: there is none.
    fn goes_elsewhere(&mut self, errno: Option<i32>, host: &dyn Host) -> Result<bool> {
        match errno {
            // A cgroup that is gone, or one of version 2 that has children with controllers: a container may have done
            // either to its own. The other one is tried once.
            Some(libc::ENOENT | libc::ENODEV | libc::EBUSY) if !self.elsewhere => {
                let Some(other) = host.other_cgroup()? else {
                    return Ok(false);
                };
                self.cgroup = Some(other);
                self.elsewhere = true;
                Ok(true)
            }
            Some(libc::EACCES) if host.may_stay_outside() => {
                self.cgroup = None;
                self.outside = true;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Whether init goes on in a sibling for it.
    fn enters_cgroup_later(&self) -> bool {
        let enters = |line: &Line| matches!(line.action, Action::Init(Step::ForkInto { .. }));
        self.plan.lines.iter().any(enters)
    }

    fn spawn_in(&mut self, namespaces: u64) -> Result<Launched> {
        let mut unified = None;
        if let Some(cgroup) = &self.cgroup {
            let _span = self.trace.span("open the cgroup");
            let Join {
                tasks,
                unified: directory,
            } = cgroup.join().map_err(not_joined)?;
            for each in tasks {
                self.descriptors.insert(FdName::Tasks(each.name), each.fd)?;
            }
            match directory {
                Some(directory) if self.enters_cgroup_later() => {
                    self.descriptors.insert(FdName::Cgroup, directory)?;
                }
                directory => unified = directory,
            }
        }
        let (link, theirs) = Link::pair()?;
        let program = self
            .trace
            .time("lower the program", || lower(&self.plan.lines, &self.descriptors))?;
        self.watch = Watch::new(&self.trace, (0..).zip(self.plan.lines.iter().cloned()));
        let child = spawn_init(
            namespaces,
            unified.as_ref().map(AsFd::as_fd),
            &program,
            &theirs,
            &self.descriptors,
            self.watch.as_ref(),
        )?;
        // The last of ours: from now on the end of init is the end of file.
        drop(theirs);
        Ok(Launched {
            pid: child.pid,
            pidfd: child.pidfd,
            link,
            terminal: None,
        })
    }
}

fn not_joined(error: Error) -> Error {
    error.context("error adding pid of the new process to cgroups")
}

/// Starts init with its program and the report socket, and the page of times where it is watched.
pub(crate) fn spawn_init(
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
    program: &OwnedFd,
    report: &OwnedFd,
    descriptors: &Descriptors,
    watch: Option<&Watch>,
) -> Result<spawn::Child> {
    let number = |fd: &OwnedFd| CString::new(fd.as_raw_fd().to_string()).unwrap_or_default();
    let (program_number, report_number) = (number(program), number(report));
    let page_number = watch.map(|watch| number(watch.page()));
    let mut args = vec![c"init", program_number.as_c_str(), report_number.as_c_str()];
    args.extend(page_number.as_deref());
    let mut keep: Vec<i32> = descriptors.numbers().collect();
    keep.extend([program.as_raw_fd(), report.as_raw_fd()]);
    keep.extend(watch.map(|watch| watch.page().as_raw_fd()));
    let start = |image: &OwnedFd| {
        let _span = Watch::span(watch, "clone, execute init");
        spawn::init(&spawn::Start {
            image: image.as_fd(),
            args: &args,
            keep: &keep,
            namespaces,
            cgroup,
        })
    };
    let sealing = Watch::span(watch, "seal a copy of init");
    let sealed = image::sealed()?;
    drop(sealing);
    let result = match start(&sealed) {
        Err(refused)
            if refused.call == "execveat"
                && matches!(refused.source.raw_os_error(), Some(libc::EACCES | libc::EPERM)) =>
        {
            start(&image::installed()?)
        }
        other => other,
    };
    if let (Some(watch), Ok(child)) = (watch, &result) {
        watch.pid.set(child.pid);
    }
    result.map_err(|refused| match refused.call {
        "clone3" => not_cloned(namespaces, cgroup.is_some(), refused.source),
        call => Error::os(format!("{call}(init)"), refused.source),
    })
}

/// Starts a program in the caller's namespaces: a schedule without a line of the parent. Returns when it runs.
///
/// # Errors
/// The step that failed.
pub(crate) fn start_program(plan: &Plan, descriptors: Descriptors) -> Result<spawn::Child> {
    let program = lower(&plan.lines, &descriptors)?;
    let (link, theirs) = Link::pair()?;
    let child = spawn_init(0, None, &program, &theirs, &descriptors, None)?;
    drop((theirs, descriptors));
    match await_exec(|number| plan.line(number).cloned(), &link) {
        Ok(()) => Ok(child),
        Err(error) => {
            // It may run for all that: its word did not arrive. Nobody would talk to it.
            let _ = wait::signal(&child.pidfd, libc::SIGKILL);
            wait::reap(&child.pidfd);
            Err(error)
        }
    }
}

/// What the kernel's answer to clone3 means; cgroups(7) "Delegation containment", user_namespaces(7).
fn not_cloned(namespaces: u64, into_cgroup: bool, error: std::io::Error) -> Error {
    let new_user = namespaces & u64::from(libc::CLONE_NEWUSER.cast_unsigned()) != 0;
    let into = if into_cgroup { ", into the cgroup" } else { "" };
    let error = Error::os(format!("clone3(namespaces {namespaces:#x}{into})"), error);
    match error.errno() {
        Some(libc::EBUSY) if into_cgroup => error
            .context("error adding pid of the new process to cgroups")
            .with_hint("a cgroup that hands domain controllers to its children takes no process: name one below it"),
        Some(libc::EACCES) if into_cgroup => error.with_hint(
            "a process is moved only by who may write to cgroup.procs of the nearest cgroup above both its old and its \
             new one: call the runtime from below the delegated unit (systemd-run --user --scope -p Delegate=yes ...)",
        ),
        Some(libc::EAGAIN) if into_cgroup => {
            error.with_hint("the cgroup has as many processes as it may have: see linux.resources.pids.limit")
        }
        Some(libc::EPERM | libc::ENOSPC | libc::EUSERS) if new_user => error.with_hint(
            "this host may not let users make user namespaces: see the sysctls user.max_user_namespaces, \
             kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns",
        ),
        _ => error,
    }
}
