//! exec: another program in a running, or only created, container.
//!
//! No lock is held: a program that comes to a container changes nothing that is recorded, and one that a container can
//! hold up (a paused one, a filesystem that it serves itself) must not hold up its end. What is opened of the container
//! is checked to be its own, and what comes too late for a container that ends finds its pid namespace dead.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use super::Container;
use super::state::document;
use crate::cgroup::systemd::{Manager, Scope};
use crate::cgroup::{Cgroup, CgroupRecord};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::HostFacts;
use crate::facts::cgroup::HierarchyKind;
use crate::id::Signal;
use crate::launch::{Host, Launch, Launched};
use crate::plan::{ExecPlanRequest, Plan};
use crate::record::ProcessIdentity;
use crate::request::{ExecRequest, PrepareTerminal, SubCgroup};
use crate::state::{Exit, Status};

/// A program that exec started. Dropping it does not end the program.
///
/// It is a child of this process, which has to wait for it: until then the kernel keeps what is left of it, and in a pid
/// namespace the container's init cannot end before (a delete by force helps itself).
#[derive(Debug)]
pub struct Executed {
    pid: i32,
    pidfd: OwnedFd,
    terminal: Option<OwnedFd>,
}

impl Executed {
    /// The program's pid as the caller sees it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// A descriptor of the program, readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The master of the terminal, once, where the request said [`crate::Terminal::Keep`].
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Waits until the program has ended. It is a child of this process: whoever else waits for all children may learn
    /// how it ended instead.
    ///
    /// # Errors
    /// System, where the descriptor cannot be waited for.
    pub fn wait(&self) -> Result<Exit> {
        crate::sys::wait::end_of(&self.pidfd)
    }

    /// Sends a signal to the program.
    ///
    /// # Errors
    /// NotRunning, where it has ended; System.
    pub fn kill(&self, signal: Signal) -> Result<()> {
        match crate::sys::wait::signal(&self.pidfd, signal.number()) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
                Err(Error::new(ErrorKind::NotRunning, "the program has ended"))
            }
            sent => sent.map_err(|error| Error::os(format!("pidfd_send_signal({})", signal.number()), error)),
        }
    }
}

/// How long a container that is ending may take until it counts as ended, when an exec has failed.
const END_PATIENCE: Duration = Duration::from_millis(500);

impl Container {
    /// Runs another program in the container; returns when the program has been executed.
    ///
    /// # Errors
    /// WrongState, where the container is stopped or paused; Program, where the program cannot be executed. What was
    /// started has been killed then.
    pub fn exec(&self, request: ExecRequest) -> Result<Executed> {
        if let Some(now) = self.now()? {
            return now.exec(request);
        }
        self.enter(request).map_err(|error| self.blame_the_end(error))
    }

    /// A container that ends while a program is on its way in shows in odd ways: its pid namespace takes no process
    /// (ENOMEM), its cgroup is gone, the newcomer is killed, the saved configuration is deleted. The cause is the end, of the
    /// process or of the thread that the kernel knows it by.
    fn blame_the_end(&self, error: Error) -> Error {
        let other_cause =
            error.is_of_its_own() || !matches!(error.kind(), ErrorKind::System | ErrorKind::State);
        let Some(pidfd) = self.pidfd.as_ref().filter(|_| !other_cause) else {
            return error;
        };
        // Its namespace refuses newcomers before the last process of it is gone.
        match crate::sys::wait::ready_within(pidfd, Some(END_PATIENCE)) {
            Ok(true) => Error::new(
                ErrorKind::WrongState,
                "cannot exec in a stopped container: it ended while the program was being started",
            ),
            _ if self
                .record
                .init
                .is_some_and(|init| init.has_lost_its_first_thread()) =>
            {
                Error::new(
                    ErrorKind::WrongState,
                    "cannot exec in a container whose first process has ended its first thread: the kernel shows that process's \
                 namespaces to nobody any more",
                )
            }
            _ => error,
        }
    }

    fn enter(&self, mut request: ExecRequest) -> Result<Executed> {
        let wrong_state = |message: &str| Err(Error::new(ErrorKind::WrongState, message));
        let (status, above) = self.status_and_frozen_above()?;
        match status {
            Status::Stopped => return wrong_state("cannot exec in a stopped container"),
            Status::Creating => return wrong_state("cannot exec in a container that is being created"),
            Status::Paused if !request.ignore_paused => {
                return wrong_state("cannot exec in a paused container (use --ignore-paused to override)");
            }
            Status::Paused | Status::Running | Status::Created => {}
        }
        if let Some(above) = above.filter(|_| !request.ignore_paused) {
            let message = format!(
                "cannot exec in a container whose cgroup is frozen from above, by {} (use --ignore-paused to override)",
                above.display()
            );
            return wrong_state(&message);
        }
        let init = self
            .record
            .init
            .ok_or_else(|| Error::new(ErrorKind::State, "the record names no init"))?;
        let mut facts = self.trace.time("look at the host", HostFacts::gather)?;
        // Root may come to a container that a user without privileges made.
        facts.groups_are_fixed |= crate::facts::groups_are_fixed(&format!("/proc/{}/setgroups", init.pid));
        let entry = Entry {
            container: self,
            rootless: facts.euid != 0 || facts.in_user_namespace,
            init,
            status,
            cgroup: self.entered_cgroup(&request.sub_cgroups)?,
            prepare: request.prepare_terminal.take(),
            chosen: !request.sub_cgroups.is_empty(),
        };
        let asked = entry.plan_request(&request)?;
        let config = self
            .trace
            .time("read the saved configuration", || self.config())?;
        let plan = super::planned(&self.trace, || {
            Plan::exec(&config, &request.process, &facts, &asked)
        })?;
        let descriptors = super::descriptors(
            std::mem::take(&mut request.stdio),
            std::mem::take(&mut request.preserve_fds),
        )?;
        entry.walk(&plan, descriptors)
    }

    /// The container's cgroup, or what the caller chose below it.
    fn entered_cgroup(&self, chosen: &[SubCgroup]) -> Result<Option<CgroupRecord>> {
        let Some(record) = &self.record.cgroup else {
            return match chosen.first() {
                None => Ok(None),
                Some(_) => Err(Error::new(ErrorKind::Unsupported, "the container has no cgroup")),
            };
        };
        let mut record = record.clone();
        for sub in chosen {
            let below = below(&sub.path)?;
            let mut found = false;
            for directory in &mut record.directories {
                let wanted = sub.controller.as_ref().is_none_or(|wanted| match directory.kind {
                    HierarchyKind::Unified => false,
                    _ => directory.controllers.contains(wanted),
                });
                if wanted {
                    directory.relative.extend(below);
                    found = true;
                }
            }
            if let (false, Some(controller)) = (found, &sub.controller) {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    format!("unknown controller {controller} of the sub cgroup {:?}", sub.path),
                ));
            }
        }
        Ok(Some(record))
    }
}

/// A path that does not leave the container's cgroup.
fn below(path: &str) -> Result<&Path> {
    let relative = Path::new(path.trim_start_matches('/'));
    let normal = |part| matches!(part, std::path::Component::Normal(_));
    if relative.components().all(normal) {
        Ok(relative)
    } else {
        Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "bad sub cgroup path: {path}: allowed is a path without \"..\" from the container's cgroup on"
            ),
        ))
    }
}

/// A container that a program is about to enter.
struct Entry<'a> {
    container: &'a Container,
    init: ProcessIdentity,
    /// Of the container.
    status: Status,
    cgroup: Option<CgroupRecord>,
    prepare: Option<PrepareTerminal>,
    /// The caller chose the cgroup: no other one will do.
    chosen: bool,
    /// The caller has no privileges over the host.
    rootless: bool,
}

impl Entry<'_> {
    /// The scope that systemd may have to move init into: this caller may not be allowed to.
    fn scope(&self) -> Option<&Scope> {
        let record = self.cgroup.as_ref().filter(|_| self.may_stay_outside())?;
        record.scope.as_ref()
    }

    fn plan_request(&self, request: &ExecRequest) -> Result<ExecPlanRequest> {
        let record = &self.container.record;
        let ProcessIdentity { pid, start_time } = self.init;
        let cgroup = self.cgroup.as_ref();
        Ok(ExecPlanRequest {
            rdt: record
                .rdt
                .as_ref()
                .map(|rdt| (rdt.group.clone(), rdt.monitor.clone())),
            cgroup: cgroup.map_or_else(Vec::new, |cgroup| cgroup.directories.clone()),
            attach: self.scope().map(|scope| scope.unit.clone()),
            stdio: super::given(&request.stdio),
            console_socket: super::console_socket(Some(&request.process), &request.terminal)?,
            preserve_fds: super::count(&request.preserve_fds)?,
            listen_fds: request.listen_fds,
            listen_fd_names: request.listen_fd_names.clone(),
            pid_file: request.pid_file.clone(),
            pidfd_socket: request.pidfd_socket.clone(),
            no_new_keyring: request.no_new_keyring,
            ..ExecPlanRequest::new(record.id.clone(), pid, start_time, &record.rootfs)
        })
    }

    fn walk(mut self, plan: &Plan, descriptors: crate::lower::Descriptors) -> Result<Executed> {
        let mut launch = Launch::new(plan, descriptors).traced(&self.container.trace);
        let walked = launch.walk(&mut self);
        match (walked, launch.init.take()) {
            (
                Ok(()),
                Some(Launched {
                    pid, pidfd, terminal, ..
                }),
            ) => Ok(Executed { pid, pidfd, terminal }),
            (Ok(()), None) => Err(Error::new(ErrorKind::Internal, "the schedule spawned no init")),
            (Err(error), init) => {
                // What went wrong first is what the caller must hear.
                if let Some(init) = init {
                    let _ = super::kill::end(&init.pidfd);
                }
                // Nothing of the container is being made here.
                Err(error.during(None))
            }
        }
    }
}

/// The record stays as it is, and the steps that would need more are not in a schedule of exec.
impl Host for Entry<'_> {
    fn save(&mut self, _status: Status, _init: Option<ProcessIdentity>) -> Result<()> {
        Ok(())
    }

    fn keep_cgroup(&mut self, _cgroup: &Cgroup) {}

    fn save_config(&mut self) -> Result<()> {
        Ok(())
    }

    fn hook_state(&self, _status: Status, _pid: i32) -> Vec<u8> {
        Vec::new()
    }

    /// The container's state, whose pid is that of its init; the program's own stands beside it.
    fn agent_state(&self, _pid: i32) -> Vec<u8> {
        document(&self.container.record, self.status, self.init.pid)
    }

    fn bundle(&self) -> &Path {
        &self.container.record.bundle
    }

    fn listen(&self) -> Result<OwnedFd> {
        Err(Error::new(ErrorKind::Internal, "exec does not wait for a start"))
    }

    fn cgroup(&self) -> Option<Cgroup> {
        self.cgroup.as_ref().map(Cgroup::open)
    }

    fn attach_to_scope(&mut self, init: i32) -> Result<()> {
        match self.scope() {
            Some(scope) => Manager::connect_traced(scope.user, &self.container.trace)?.attach(scope, init),
            None => Ok(()),
        }
    }

    /// Where init is now in the unified hierarchy: a container may have moved its processes and have removed or
    /// divided the cgroup that it was created in.
    fn other_cgroup(&self) -> Result<Option<Cgroup>> {
        let Some(mut record) = self.cgroup.clone().filter(|_| !self.chosen) else {
            return Ok(None);
        };
        let path = format!("/proc/{}/cgroup", self.init.pid);
        let text =
            std::fs::read_to_string(&path).map_err(|error| Error::os(format!("open({path:?})"), error))?;
        if !self.init.is_alive()? {
            return Ok(None);
        }
        let now = text.lines().find_map(|line| line.strip_prefix("0::/"));
        let unified = record
            .directories
            .iter_mut()
            .find(|directory| directory.kind == HierarchyKind::Unified);
        match (now, unified) {
            (Some(now), Some(unified)) if unified.relative != Path::new(now) => {
                unified.relative = now.into();
                Ok(Some(Cgroup::open(&record)))
            }
            _ => Ok(None),
        }
    }

    /// As in runc: a user who created the container from one unit and calls from another, as from a second login, may not
    /// move processes between the two.
    fn may_stay_outside(&self) -> bool {
        self.rootless && !self.chosen
    }

    fn see_terminal(&mut self, master: BorrowedFd<'_>) -> Result<()> {
        self.prepare.take().map_or(Ok(()), |prepare| prepare.call(master))
    }
}
