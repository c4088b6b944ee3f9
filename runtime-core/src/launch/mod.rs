//! Walks a schedule: does the parent's lines, waits where init reports, and turns a failure into an error with words.
//!
//! The lines are obeyed in their order; nothing is decided here. What was made is kept in [`Launched`], and everything
//! that can outlive a failure is in the record before it is made.

mod affinity;
mod agent;
mod hook;
mod image;
mod lend;
mod link;
mod maps;
mod net_device;
mod rdt;
mod words;

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use runtime_core_program::FrameKind;
use rustix::io::Errno;

pub(crate) use agent::hand_over;
pub(crate) use hook::{HookRun, run_hook};
pub(crate) use link::{Link, Report, send};
pub(crate) use words::failure;

use crate::cgroup::systemd::ScopePlan;
use crate::cgroup::{Cgroup, DeviceRules, Join, Write};
use crate::error::{Error, ErrorKind, Result};
use crate::lower::{Descriptors, lower};
use crate::plan::{Action, FdName, Line, ParentStep, Plan, Step};
use crate::record::{ProcessIdentity, START_SOCKET};
use crate::resctrl::RdtRecord;
use crate::seccomp::Agent;
use crate::state::Status;
use crate::sys::spawn;

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
    fn see_terminal(&self, _master: BorrowedFd<'_>) -> Result<()> {
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
    /// init was started outside of the cgroup that it belongs to: the kernel did not let this caller.
    outside: bool,
    /// What the kernel had killed in the cgroup for lack of memory before this walk.
    killed_before: u64,
    descriptors: Descriptors,
    /// init, once it was spawned.
    pub(crate) init: Option<Launched>,
    /// A master that init sent and nobody has passed on yet.
    master: Option<OwnedFd>,
    /// Whether init has announced exec.
    starting: bool,
}

impl<'a> Launch<'a> {
    /// A walk of `plan` with the caller's descriptors.
    pub(crate) fn new(plan: &'a Plan, descriptors: Descriptors) -> Self {
        Self {
            plan,
            cgroup: None,
            rdt: None,
            outside: false,
            killed_before: 0,
            descriptors,
            init: None,
            master: None,
            starting: false,
        }
    }

    /// Walks to the end of the schedule, or to where another process goes on with it (`start`).
    ///
    /// # Errors
    /// The first line that fails, in the words of the plan. init may still live then.
    pub(crate) fn walk(&mut self, host: &mut dyn Host) -> Result<()> {
        let plan = self.plan;
        for line in &plan.lines {
            match &line.action {
                // What fails then is a line of init, and named already.
                Action::Parent(ParentStep::AwaitExec) => self.started()?,
                Action::Parent(step) => self.parent(step, host).map_err(|error| named(error, line))?,
                Action::Init(step) => self.follow(step, line, host)?,
            }
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
            ParentStep::SaveRecord { status } => {
                let init = self
                    .init
                    .as_ref()
                    .map(|init| ProcessIdentity::of(init.pid))
                    .transpose()?;
                host.save(*status, init)
            }
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
            ParentStep::Release => self.link()?.go(None),
            ParentStep::Lend {
                source,
                recursive,
                nofollow,
                idmap,
            } => {
                let init = self.init.as_ref().ok_or_else(no_init)?;
                let tree = lend::open(init, source, *recursive, *nofollow, idmap.as_ref())?;
                init.link.go(Some(tree.as_fd()))
            }
            ParentStep::MoveNetDevice { name, new_name } => {
                net_device::move_in(self.init.as_ref().ok_or_else(no_init)?, name, new_name)
            }
            ParentStep::Hook { hook } => {
                let pid = self.pid()?;
                let state = host.hook_state(Status::Creating, pid);

                run_hook(HookRun {
                    hook,
                    state: &state,
                    cwd: host.bundle(),
                })
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

    /// Waits where the step makes init report.
    fn follow(&mut self, step: &Step, line: &Line, host: &mut dyn Host) -> Result<()> {
        let kind = match step {
            Step::Sync {} | Step::Tell {} | Step::WaitStart { .. } => FrameKind::Reached,
            Step::Borrow {} => FrameKind::Wanted,
            Step::Console { .. } => FrameKind::Descriptor,
            Step::Fork {} => FrameKind::Sibling,
            _ => return Ok(()),
        };
        let report = match self.link()?.expect(kind)? {
            Ok(report) => report,
            Err(failed) => return Err(self.failed(failed)),
        };
        let missing = || {
            Error::new(
                ErrorKind::Internal,
                format!("init sent no descriptor with {kind:?}"),
            )
            .with_step(line.to_string())
        };
        match kind {
            FrameKind::Descriptor => self.master = Some(report.fd.ok_or_else(missing)?),
            FrameKind::Sibling => {
                let init = self.init.as_mut().ok_or_else(no_init)?;
                crate::sys::wait::reap(&init.pidfd);
                init.pidfd = report.fd.ok_or_else(missing)?;
                init.pid = i32::try_from(report.frame.value)
                    .map_err(|_| Error::new(ErrorKind::Internal, "init sent a pid out of range"))?;
                let identity = ProcessIdentity::of(init.pid)?;
                host.save(Status::Creating, Some(identity))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The end of the walk: the program runs, or a step after the last handshake failed.
    pub(crate) fn started(&self) -> Result<()> {
        let line = |number| self.plan.line(number).cloned();
        follow_exec(line, self.link()?, self.starting, unexpected)
            .map_err(|error| self.killed_by_memory(error))
    }

    /// A filter that is loaded directly before exec is announced by it: nothing else may come in between.
    fn pass_listener(&mut self, agent: &Agent, host: &dyn Host) -> Result<()> {
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

    fn failed(&self, report: Option<Report>) -> Error {
        let error = match report {
            Some(report) => failure(self.plan.line(report.frame.line), report),
            None => Error::new(ErrorKind::System, "init ended without a word"),
        };
        self.killed_by_memory(error)
    }

    /// A container whose memory limit is too small for init dies without a word; say so.
    fn killed_by_memory(&self, error: Error) -> Error {
        // An end with a word had another cause.
        let said = error.step().is_some() || matches!(error.kind(), ErrorKind::Program | ErrorKind::Exec);
        if said || self.memory_kills() <= self.killed_before {
            return error;
        }
        let text = if self.plan.cgroup.is_some() {
            "container init was OOM-killed (memory limit too low?)"
        } else {
            "init ended before the program was executed, possibly OOM-killed"
        };
        Error::new(ErrorKind::System, text).with_field("linux.resources.memory.limit")
    }

    fn memory_kills(&self) -> u64 {
        self.cgroup
            .as_ref()
            .and_then(|cgroup| cgroup.oom_kills().ok().flatten())
            .unwrap_or(0)
    }

    fn link(&self) -> Result<&Link> {
        self.init.as_ref().map(|init| &init.link).ok_or_else(no_init)
    }

    fn pid(&self) -> Result<i32> {
        self.init.as_ref().map(|init| init.pid).ok_or_else(no_init)
    }

    fn make_cgroup(&mut self, host: &mut dyn Host) -> Result<()> {
        let Some(plan) = &self.plan.cgroup else {
            return Ok(());
        };
        let cgroup = Cgroup::create(&plan.paths, &plan.writes, plan.rootless)?;
        host.keep_cgroup(&cgroup);
        self.cgroup = Some(cgroup);
        Ok(())
    }

    fn start_scope(&mut self, host: &mut dyn Host) -> Result<()> {
        let Some(plan) = &self.plan.cgroup else {
            return Ok(());
        };
        let Some(scope) = &plan.scope else {
            return Ok(());
        };
        host.start_scope(scope, self.pid()?)?;
        let cgroup = Cgroup::adopt(&plan.paths, scope.scope.clone(), &plan.writes)?;
        host.keep_cgroup(&cgroup);
        self.cgroup = Some(cgroup);
        Ok(())
    }

    fn limit(&self, write: &Write) -> Result<()> {
        match &self.cgroup {
            Some(cgroup) => cgroup.apply(std::slice::from_ref(write)),
            None => Ok(()),
        }
    }

    fn device_rules(&self) -> Result<()> {
        let rules: Option<(&Cgroup, &DeviceRules, bool)> = self
            .cgroup
            .as_ref()
            .zip(self.plan.cgroup.as_ref())
            .map(|(cgroup, plan)| (cgroup, &plan.devices, plan.rootless));
        rules.map_or(Ok(()), |(cgroup, rules, rootless)| {
            cgroup.apply_devices(rules, rootless).map(drop)
        })
    }

    fn delegate(&self, uid: u32) -> Result<()> {
        let rootless = self.plan.cgroup.as_ref().is_some_and(|plan| plan.rootless);
        self.cgroup
            .as_ref()
            .map_or(Ok(()), |cgroup| cgroup.delegate(uid, rootless))
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

    fn spawn(&mut self, namespaces: u64, host: &mut dyn Host) -> Result<()> {
        let spawned = match self.spawn_in(namespaces) {
            // A cgroup that is gone, or one of version 2 that has children with controllers: a container may have done
            // either to its own.
            Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ENODEV | libc::EBUSY)) => {
                let Some(other) = host.other_cgroup()? else {
                    return Err(error);
                };
                self.cgroup = Some(other);
                self.spawn_in(namespaces)?
            }
            Err(error) if error.errno() == Some(libc::EACCES) && host.may_stay_outside() => {
                self.cgroup = None;
                self.outside = true;
                self.spawn_in(namespaces)?
            }
            other => other?,
        };
        self.descriptors = Descriptors::default();
        let pid = spawned.pid;
        self.init = Some(spawned);
        // init works by itself now: time to write down whom to end if this process dies, and what later commands need.
        host.save(Status::Creating, Some(ProcessIdentity::of(pid)?))?;
        host.save_config()
    }

    fn spawn_in(&mut self, namespaces: u64) -> Result<Launched> {
        let mut unified = None;
        if let Some(cgroup) = &self.cgroup {
            let Join {
                tasks,
                unified: directory,
            } = cgroup
                .join()
                .map_err(|error| error.context("error adding pid of the new process to cgroups"))?;
            for each in tasks {
                self.descriptors.insert(FdName::Tasks(each.name), each.fd)?;
            }
            unified = directory;
        }
        let (link, theirs) = Link::pair()?;
        let program = lower(&self.plan.lines, &self.descriptors)?;
        let child = spawn_init(
            namespaces,
            unified.as_ref().map(AsFd::as_fd),
            &program,
            &theirs,
            &self.descriptors,
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

    fn pass_terminal(&mut self, socket: Option<&str>, host: &dyn Host) -> Result<()> {
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

/// Starts init with its program and the report socket.
pub(crate) fn spawn_init(
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
    program: &OwnedFd,
    report: &OwnedFd,
    descriptors: &Descriptors,
) -> Result<spawn::Child> {
    let number = |fd: &OwnedFd| CString::new(fd.as_raw_fd().to_string()).unwrap_or_default();
    let (program_number, report_number) = (number(program), number(report));
    let args = [c"init", program_number.as_c_str(), report_number.as_c_str()];
    let mut keep: Vec<i32> = descriptors.numbers().collect();
    keep.extend([program.as_raw_fd(), report.as_raw_fd()]);
    let start = |image: &OwnedFd| {
        spawn::init(&spawn::Start {
            image: image.as_fd(),
            args: &args,
            keep: &keep,
            namespaces,
            cgroup,
        })
    };
    let result = match start(&image::sealed()?) {
        Err(refused)
            if refused.call == "execveat"
                && matches!(refused.source.raw_os_error(), Some(libc::EACCES | libc::EPERM)) =>
        {
            start(&image::installed()?)
        }
        other => other,
    };
    result.map_err(|refused| match refused.call {
        "clone3" => not_cloned(namespaces, cgroup.is_some(), refused.source),
        call => Error::os(format!("{call}(init)"), refused.source),
    })
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

/// Sends a descriptor to the listener of a unix socket.
fn send_to(socket: &str, name: &[u8], fd: BorrowedFd<'_>) -> Result<()> {
    let stream = std::os::unix::net::UnixStream::connect(socket)
        .map_err(|error| Error::os(format!("connect({socket:?})"), error))?;
    send(&stream, name, Some(fd)).map_err(|errno| Error::os(format!("sendmsg({socket:?})"), errno))
}

/// The bare number, under a temporary name first: who sees the file sees all of it.
fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let name = path.file_name().ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("pid file {path:?} has no file name"),
        )
    })?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    let temporary = path.with_file_name(temporary);
    std::fs::write(&temporary, pid.to_string())
        .map_err(|error| Error::os(format!("write({temporary:?})"), error))?;
    std::fs::rename(&temporary, path)
        .map_err(|error| Error::os(format!("rename({temporary:?}, {path:?})"), error))
}

/// A socket named `start.sock` that listens, in the directory behind `short`.
pub(crate) fn listener(short: &Path) -> Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| Error::os("socket(AF_UNIX, SOCK_SEQPACKET)", errno))?;
    let address = SocketAddrUnix::new(short).map_err(|errno| Error::os(format!("bind({short:?})"), errno))?;
    let os = |call: &str, errno: Errno| Error::os(format!("{call}({START_SOCKET:?})"), errno);
    rustix::net::bind(&socket, &address).map_err(|errno| os("bind", errno))?;
    rustix::net::listen(&socket, 8).map_err(|errno| os("listen", errno))?;
    Ok(socket)
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
