//! Walks a schedule: does the parent's lines, waits where init reports, and turns a failure into an error with words.
//!
//! The lines are obeyed in their order; nothing is decided here. What was made is kept in [`Launched`], and everything
//! that can outlive a failure is in the record before it is made.

mod affinity;
mod agent;
mod cgroup;
mod follow;
mod hook;
mod image;
mod lend;
mod link;
mod look;
mod map_check;
mod maps;
mod net_device;
mod pid_file;
mod rdt;
mod spawning;
mod watch;
mod words;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

pub(crate) use agent::hand_over;
use follow::awaited;
pub(crate) use follow::{await_exec, follow_exec};
pub(crate) use hook::{HookRun, run_hook};
pub(crate) use lend::mapped_userns;
pub(crate) use link::{Link, Report, listener, send, send_to, start_socket};
pub(crate) use pid_file::write_pid_file;
pub(crate) use spawning::{spawn_init, start_program};
pub(crate) use watch::Watch;
pub(crate) use words::failure;

use crate::cgroup::Cgroup;
use crate::cgroup::systemd::ScopePlan;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::hooks::Picture;
use crate::lower::Descriptors;
use crate::plan::{Action, FdName, Line, ParentStep, Plan, PlannedHook};
use crate::record::ProcessIdentity;
use crate::resctrl::RdtRecord;
use crate::state::Status;
use crate::trace::{Span, Trace};

/// What the walk needs from the verb that walks: everything that is about the container's record and the caller.
pub(crate) trait Host {
    /// Saves the record with this status; `init` is known from its start on.
    fn save(&mut self, status: Status, init: Option<ProcessIdentity>) -> Result<()>;
    /// Remembers that the cgroup is the container's own, made for it.
    fn keep_cgroup(&mut self, cgroup: &Cgroup);
    /// Saves what the container has of resctrl, before it has it.
    fn keep_rdt(&mut self, _record: &RdtRecord) -> Result<()> {
        Ok(())
    }
    /// Saves the configuration for later commands.
    fn save_config(&mut self) -> Result<()>;
    /// The state document for a hook that the parent runs.
    fn hook_state(&self, status: Status, pid: i32) -> Vec<u8>;
    /// The state document for the agent that gets a listener of this init or program.
    fn agent_state(&self, pid: i32) -> Vec<u8>;
    /// The directory that host-side hooks run in.
    fn bundle(&self) -> &Path;
    /// Runs a hook on the host, which may take long, and may call the runtime for its container.
    fn run_hook(&mut self, hook: &PlannedHook, state: &[u8]) -> Result<()> {
        let cwd = self.bundle();
        run_hook(HookRun { hook, state, cwd })
    }
    /// A socket in the state directory that listens for `start`.
    fn listen(&self) -> Result<OwnedFd>;
    /// Lets systemd make the scope around init.
    fn start_scope(&mut self, _plan: &ScopePlan, _init: i32) -> Result<()> {
        Err(Error::new(
            ErrorKind::Internal,
            "there is no systemd to make a scope",
        ))
    }
    /// Lets systemd move init into the container's scope.
    fn attach_to_scope(&mut self, _init: i32) -> Result<()> {
        Ok(())
    }
    /// The cgroup of a container that exists.
    fn cgroup(&self) -> Option<Cgroup> {
        None
    }
    /// The cgroup to enter where the other one is gone, or is one that no process can be in.
    fn other_cgroup(&self) -> Result<Option<Cgroup>> {
        Ok(None)
    }
    /// Whether a program may run outside of the cgroup that this caller may not move processes into.
    fn may_stay_outside(&self) -> bool {
        false
    }
    /// Sees the terminal that the caller keeps, before the program does.
    fn see_terminal(&mut self, _master: BorrowedFd<'_>) -> Result<()> {
        Ok(())
    }
}

/// A started init and what belongs to it.
#[derive(Debug)]
pub(crate) struct Launched {
    /// Its pid in the caller's pid namespace.
    pub(crate) pid: i32,
    /// Its descriptor.
    pub(crate) pidfd: OwnedFd,
    /// The connection on which it reports.
    pub(crate) link: Link,
    /// The terminal's master, where the caller keeps it.
    pub(crate) terminal: Option<OwnedFd>,
}

/// A walk in progress. Its parts are public to the verb, which cleans up after a failure.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    plan: &'a Plan,
    cgroup: Option<Cgroup>,
    rdt: Option<RdtRecord>,
    /// The cgroup is the other one that the host has named.
    elsewhere: bool,
    /// init was started outside of the cgroup that it belongs to: the kernel did not let this caller.
    outside: bool,
    /// What the kernel had killed in the cgroup for lack of memory before this walk.
    killed_before: u64,
    descriptors: Descriptors,
    /// init, once it was spawned.
    pub(crate) init: Option<Launched>,
    /// Which process that is, found out when it was started: it may have ended since, and its pid be somebody else's.
    identity: Option<ProcessIdentity>,
    /// The root that init has lent and nobody has looked into yet.
    root: Option<OwnedFd>,
    /// What was in the root when a hook was to be verified.
    seen: Option<Picture>,
    /// A master that init sent and nobody has passed on yet.
    master: Option<OwnedFd>,
    /// Whether init has announced exec.
    starting: bool,
    trace: Trace,
    /// The times of init, where they are taken.
    watch: Option<Watch>,
}

impl<'a> Launch<'a> {
    /// A walk of `plan` with the caller's descriptors.
    pub(crate) fn new(plan: &'a Plan, descriptors: Descriptors) -> Self {
        Self {
            plan,
            cgroup: None,
            rdt: None,
            elsewhere: false,
            outside: false,
            killed_before: 0,
            descriptors,
            init: None,
            identity: None,
            root: None,
            seen: None,
            master: None,
            starting: false,
            trace: Trace::off(),
            watch: None,
        }
    }

    /// Records how long the lines take.
    pub(crate) fn traced(mut self, trace: &Trace) -> Self {
        self.trace = trace.clone();
        self
    }

    /// Walks to the end of the schedule, or to where another process goes on with it (`start`).
    ///
    /// # Errors
    /// The first line that fails, in the words of the plan. init may still live then.
    pub(crate) fn walk(&mut self, host: &mut dyn Host) -> Result<()> {
        let plan = self.plan;
        for (number, line) in plan.lines.iter().enumerate() {
            let mut span = self.span(number, line);
            let done = match &line.action {
                // What fails then is a line of init, and named already.
                Action::Parent(ParentStep::AwaitExec) => self.started(),
                Action::Parent(step) => self.parent(step, host).map_err(|error| named(error, line)),
                Action::Init(step) => self.follow(step, line, host),
            };
            span.fails(&done);
            drop(span);
            done?;
            let created = ParentStep::SaveRecord {
                status: Status::Created,
            };
            if line.action == Action::Parent(created) {
                break;
            }
        }
        Ok(())
    }

    fn parent(&mut self, step: &ParentStep, host: &mut dyn Host) -> Result<()> {
        match step {
            ParentStep::SaveRecord { status } => host.save(*status, self.identity),
            ParentStep::MakeCgroup { .. } => self.make_cgroup(host),
            ParentStep::StartScope { .. } => self.start_scope(host),
            ParentStep::AttachToScope { .. } if self.outside => host.attach_to_scope(self.pid()?),
            ParentStep::AttachToScope { .. } => Ok(()),
            ParentStep::Limit { write } => self.limit(write),
            ParentStep::DeviceRules { .. } => self.device_rules(),
            ParentStep::DelegateCgroup { uid } => self.delegate(*uid),
            ParentStep::RdtGroup { group, make } => self.rdt_group(group, *make, host),
            ParentStep::RdtSchemata { group, own, lines } => self.rdt_schemata(group, *own, lines),
            ParentStep::RdtMonitor { group } => self.rdt_monitor(group, host),
            ParentStep::RdtTasks {
                group,
                monitor,
                may_lack,
            } => self.rdt_tasks(group, monitor.as_deref(), *may_lack),
            ParentStep::OpenCgroup { .. } => {
                self.cgroup = host.cgroup();
                self.killed_before = self.memory_kills();
                Ok(())
            }
            ParentStep::CheckProcess { pid, start_time } => check_process(*pid, *start_time),
            ParentStep::OpenNamespace { path, kind } => self.open_namespace(path, *kind),
            ParentStep::Listen => self.descriptors.insert(FdName::Listener, host.listen()?),
            ParentStep::Spawn { namespaces } => self.spawn(*namespaces, host),
            ParentStep::WriteIdMaps {
                uids,
                gids,
                deny_setgroups,
                helpers,
            } => maps::write(self.pid()?, uids, gids, *deny_setgroups, *helpers),
            ParentStep::CheckIdMaps { uids, gids } => map_check::check(self.pid()?, uids, gids),
            ParentStep::Release => self.link()?.go(None),
            ParentStep::Lend {
                source,
                recursive,
                nofollow,
                idmap,
                identity,
            } => {
                let init = self.init.as_ref().ok_or_else(no_init)?;
                let tree = lend::open(init, source, *recursive, *nofollow, idmap.as_ref())?;
                if let Some(identity) = identity {
                    lend::check(&tree, source, *identity)?;
                }
                init.link.go(Some(tree.as_fd()))
            }
            ParentStep::Look { work } => {
                let root = self.root.take();
                let mut seen = self.seen.take();
                let answered = look::answer(self.link()?, root, work, &mut seen);
                self.seen = seen;
                answered
            }
            ParentStep::MoveNetDevice { name, new_name } => {
                net_device::move_in(self.init.as_ref().ok_or_else(no_init)?, name, new_name)
            }
            ParentStep::Hook { hook } => {
                let pid = self.pid()?;
                let state = host.hook_state(Status::Creating, pid);
                host.run_hook(hook, &state)
            }
            ParentStep::OomScore { value } => self.oom_score(*value),
            ParentStep::Rlimit {
                resource, soft, hard, ..
            } => crate::sys::limit::set(self.pid()?, *resource, *soft, *hard).map_err(|error| {
                let error = Error::os(format!("prlimit64({resource}, {soft}, {hard})"), error);
                if error.errno() == Some(libc::EPERM) {
                    error.with_hint("raising a hard limit needs CAP_SYS_RESOURCE")
                } else {
                    error
                }
            }),
            ParentStep::Affinity { cpus } => affinity::set(self.pid()?, cpus),
            ParentStep::PassTerminal { socket } => self.pass_terminal(socket.as_deref(), host),
            ParentStep::PassListener { agent } => self.pass_listener(agent, host),
            ParentStep::AwaitExec => self.started(),
            ParentStep::SendPidfd { socket } => {
                let init = self.init.as_ref().ok_or_else(no_init)?;
                send_to(socket, b"pidfd", init.pidfd.as_fd())
            }
            ParentStep::PidFile { path } => write_pid_file(Path::new(path), self.pid()?),
        }
    }

    /// A line of this process, or its wait for a line of init.
    #[inline]
    fn span(&self, number: usize, line: &Line) -> Span {
        if !self.trace.is_on() {
            return Span::NONE;
        }
        let mut span = match &line.action {
            Action::Parent(_) => self.trace.open("line", line.to_string().into()),
            Action::Init(step) if awaited(step).is_some() => {
                self.trace.open("wait", format!("wait for init: {line}").into())
            }
            Action::Init(_) => return Span::NONE,
        };
        span.at_line(number);
        span.note("from", &line.from);
        span
    }

    fn link(&self) -> Result<&Link> {
        self.init.as_ref().map(|init| &init.link).ok_or_else(no_init)
    }

    fn pid(&self) -> Result<i32> {
        self.init.as_ref().map(|init| init.pid).ok_or_else(no_init)
    }

    fn open_namespace(&mut self, path: &str, kind: u32) -> Result<()> {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, rustix::fs::Mode::empty())
            .map_err(|errno| Error::os(format!("open({path:?})"), errno))?;
        match crate::sys::namespace::kind(&fd) {
            Ok(found) if found == kind => self.descriptors.insert(FdName::Namespace(kind), fd),
            Ok(_) => Err(Error::new(
                ErrorKind::InvalidSpec,
                format!("{path:?} is a namespace of another type"),
            )),
            Err(_) => Err(Error::new(
                ErrorKind::InvalidSpec,
                format!("{path:?} is no namespace"),
            )),
        }
    }

    fn oom_score(&self, value: i32) -> Result<()> {
        let path = format!("/proc/{}/oom_score_adj", self.pid()?);
        std::fs::write(&path, value.to_string()).map_err(|error| {
            let error = Error::os(format!("write({path:?}, \"{value}\")"), error);
            if error.errno() == Some(libc::EACCES) {
                error.with_hint("lowering the OOM score needs CAP_SYS_RESOURCE")
            } else {
                error
            }
        })
    }

    fn pass_terminal(&mut self, socket: Option<&str>, host: &mut dyn Host) -> Result<()> {
        let master = self
            .master
            .take()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "there is no terminal"))?;
        match socket {
            Some(socket) => send_to(socket, b"/dev/pts/ptmx", master.as_fd()),
            None => {
                host.see_terminal(master.as_fd())?;
                self.init.as_mut().ok_or_else(no_init)?.terminal = Some(master);
                Ok(())
            }
        }
    }
}

/// The namespaces were opened by this number: they are the container's if the number still is.
fn check_process(pid: i32, start_time: u64) -> Result<()> {
    if (ProcessIdentity { pid, start_time }).is_alive()? {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::NotRunning,
            "the container has stopped meanwhile",
        ))
    }
}

fn no_init() -> Error {
    Error::new(
        ErrorKind::Internal,
        "the schedule needs init before it was spawned",
    )
}

/// Adds the line's words where the error has none of its own.
fn named(error: Error, line: &Line) -> Error {
    let error = error.with_step(line.to_string());
    if line.from.starts_with('(') {
        error
    } else {
        error.with_field(line.from.clone())
    }
}
