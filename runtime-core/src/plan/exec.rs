//! Another program in a container that exists: a shorter schedule, whose first half joins instead of making.
//!
//! Planned from the configuration that was saved at create, never from the bundle, which may have changed since. What
//! the program's own description leaves out it has from the container, as in runc.

use std::path::PathBuf;

use oci_spec::runtime::{Process, Spec};

use super::create::{tell_pid, text};
use super::labels::Labels;
use super::namespaces::{CGROUP, IPC, MOUNT, NETWORK, Namespaces, PID, TIME, USER, UTS, name_of};
use super::process::{Given, Program};
use super::rdt;
use super::schedule::{FdName, ParentStep, Schedule, Step};
use super::scheduling::Shared;
use super::{Plan, laws};
use crate::cgroup::Directory;
use crate::error::{Error, ErrorKind, Result};
use crate::facts::HostFacts;
use crate::facts::cgroup::HierarchyKind;
use crate::id::ContainerId;
use crate::seccomp::{self, Filter};
use crate::spec::{LoadedSpec, check_process, numbers};

/// The most CPUs that a set has room for (CPU_SETSIZE of sched_setaffinity(2)).
const MAX_CPUS: u32 = 1024;

/// All namespaces but that of users in the order of joining: that of mounts last, since paths of the host (/proc/self)
/// mean something else behind it.
const KINDS: [u32; 7] = [NETWORK, IPC, UTS, TIME, CGROUP, PID, MOUNT];

/// What the caller asks for beside the program, and what the record knows; plain data, no descriptor.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExecPlanRequest {
    /// The container's id.
    pub id: ContainerId,
    /// The pid of the container's init as the caller sees it.
    pub pid: i32,
    /// When init started, in clock ticks since boot (proc_pid_stat(5)).
    pub start_time: u64,
    /// The container's root as a path of the host; needed only where the container has no mount namespace.
    pub rootfs: PathBuf,
    /// The resctrl group to enter, and the one below it that measures.
    pub rdt: Option<(PathBuf, Option<PathBuf>)>,
    /// The directories of the cgroup to enter.
    pub cgroup: Vec<Directory>,
    /// The unit that systemd has to move init into, for a caller whom the kernel may forbid to do so.
    pub attach: Option<String>,
    /// Which of the three standard descriptors the caller provides.
    pub stdio: [bool; 3],
    /// The socket that gets the terminal's master; None: the caller keeps it.
    pub console_socket: Option<PathBuf>,
    /// How many descriptors the program gets above the standard ones.
    pub preserve_fds: u32,
    /// How many of them are LISTEN_FDS.
    pub listen_fds: u32,
    /// Their names.
    pub listen_fd_names: Option<String>,
    /// Where the pid goes.
    pub pid_file: Option<PathBuf>,
    /// Where the pidfd goes.
    pub pidfd_socket: Option<PathBuf>,
    /// Leave the keyring.
    pub no_new_keyring: bool,
}

impl ExecPlanRequest {
    /// A request without options.
    pub fn new(id: ContainerId, pid: i32, start_time: u64, rootfs: impl Into<PathBuf>) -> Self {
        Self {
            id,
            pid,
            start_time,
            rootfs: rootfs.into(),
            rdt: None,
            cgroup: Vec::new(),
            attach: None,
            stdio: [false; 3],
            console_socket: None,
            preserve_fds: 0,
            listen_fds: 0,
            listen_fd_names: None,
            pid_file: None,
            pidfd_socket: None,
            no_new_keyring: false,
        }
    }

    fn given<'a>(&'a self, spec: &'a Spec) -> Given<'a> {
        Given {
            id: &self.id,
            stdio: self.stdio,
            console_socket: self.console_socket.as_deref(),
            preserve_fds: self.preserve_fds,
            listen_fds: self.listen_fds,
            listen_fd_names: self.listen_fd_names.as_deref(),
            notify: false,
            no_new_keyring: self.no_new_keyring,
            shared: Shared::of(spec.linux().as_ref()),
        }
    }
}

impl Plan {
    /// Plans the start of another program in a container. `saved` is the container's configuration, `process` describes
    /// the program; see [`completed`] for what it may leave out.
    ///
    /// # Errors
    /// InvalidSpec names the field of the process that is wrong; Unsupported and Permission name what this host or
    /// caller lacks.
    pub fn exec(
        saved: &LoadedSpec,
        process: &Process,
        facts: &HostFacts,
        request: &ExecPlanRequest,
    ) -> Result<Self> {
        facts.check_floor()?;
        let spec = &saved.spec;
        let process = &completed(process, spec.process().as_ref());
        check_process(process, spec.linux().as_ref())?;
        let labels = Labels::of(process, facts)?;
        let filter = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.seccomp().as_ref())
            .map(seccomp::compile)
            .transpose()?;
        let namespaces = Namespaces::of(spec, facts)?;
        let given = request.given(spec);
        let program = Program::of(process, given, labels, &namespaces, filter.as_ref());
        let affinity = Affinity::of(process)?;

        let birth = Birth::of(request, &namespaces);
        let mut schedule = Schedule::default();
        open(&mut schedule, &namespaces, request);
        schedule.parent(ParentStep::Spawn { namespaces: 0 }, "(exec)");
        schedule.init(Step::CloseStray { keep: Vec::new() }, "(security)");
        affinity.initial(&mut schedule);
        if birth == Birth::Early {
            fork_into(&mut schedule);
        }
        if let Some(unit) = request.attach.clone() {
            // Before init has a sibling, which would stay outside.
            schedule.barrier(
                "(exec)",
                [(ParentStep::AttachToScope { unit }, "(exec)".to_owned())],
            );
        }
        match process.oom_score_adj() {
            // The sibling behind Fork has the score only if it was set before.
            Some(value) if namespaces.parent_sets_limits() => {
                let field = "process.oomScoreAdj";
                schedule.barrier(field, [(ParentStep::OomScore { value }, field.to_owned())]);
            }
            _ => program.oom_score(&mut schedule),
        }
        schedule.init(Step::Undumpable {}, "(security)");
        schedule.init(Step::NewSession {}, "(security)");
        join_cgroup(&mut schedule, request);
        if let Some((_, monitor)) = &request.rdt {
            rdt::join(&mut schedule, monitor.is_some());
        }
        join(&mut schedule, &namespaces, birth);
        take_root(&mut schedule, &namespaces, request)?;
        program.stdio(&mut schedule);
        program.terminal(&mut schedule, false)?;
        if process.terminal() == Some(true) {
            // Nothing else may hold init up from here on: the program must not run before its terminal is ready.
            schedule.barrier("process.terminal", []);
        }
        affinity.all(&mut schedule);
        affinity.last(&mut schedule);
        labels.open_proc(&mut schedule, false);
        program.identity(&mut schedule)?;
        program.drop_privileges(&mut schedule)?;
        program.late_filter(&mut schedule);
        program.execute(&mut schedule)?;
        schedule.parent(ParentStep::AwaitExec, "(exec)");
        tell_pid(
            &mut schedule,
            request.pidfd_socket.as_deref(),
            request.pid_file.as_deref(),
        );

        let mut warnings: Vec<_> = filter
            .iter()
            .flat_map(|filter: &Filter| filter.warnings.clone())
            .collect();
        warnings.extend(program.unraisable());
        let mut plan = Self {
            lines: schedule.lines,
            warnings,
            cgroup: None,
            rdt: None,
        };
        plan.keep_descriptors();
        laws::check(&plan).map_err(|broken| Error::new(ErrorKind::Internal, broken))?;
        Ok(plan)
    }
}

/// The description with what it leaves out taken from the container's own program: capabilities, limits, OOM score,
/// no_new_privs, umask, scheduling, labels. User, arguments, environment and terminal are its own always.
#[must_use]
pub fn completed(process: &Process, container: Option<&Process>) -> Process {
    let mut process = process.clone();
    let Some(container) = container else {
        return process;
    };
    macro_rules! inherit {
        ($($field:ident $set:ident;)*) => {
            $(if process.$field().is_none() {
                process.$set(container.$field().clone());
            })*
        };
    }
    inherit! {
        capabilities set_capabilities;
        no_new_privileges set_no_new_privileges;
        apparmor_profile set_apparmor_profile;
        selinux_label set_selinux_label;
        oom_score_adj set_oom_score_adj;
        io_priority set_io_priority;
        scheduler set_scheduler;
        exec_cpu_affinity set_exec_cpu_affinity;
    }
    if process.rlimits().as_ref().is_none_or(Vec::is_empty) {
        process.set_rlimits(container.rlimits().clone());
    }
    if process.user().umask().is_none() {
        let umask = container.user().umask();
        process.user_mut().set_umask(umask);
    }
    process
}

/// The parent's part before init exists: everything that names the container on the host is opened, and then checked to
/// be still the container's.
fn open(schedule: &mut Schedule, namespaces: &Namespaces, request: &ExecPlanRequest) {
    if !request.cgroup.is_empty() {
        let directories = request
            .cgroup
            .iter()
            .map(|directory| directory.path().to_string_lossy().into_owned())
            .collect();
        schedule.parent(ParentStep::OpenCgroup { directories }, "(exec)");
    }
    if let Some((group, monitor)) = &request.rdt {
        rdt::open_tasks(schedule, group, monitor.as_deref(), true);
    }
    let pid = request.pid;
    for kind in KINDS
        .into_iter()
        .chain([USER])
        .filter(|kind| namespaces.has(*kind))
    {
        let path = format!("/proc/{pid}/ns/{}", file_of(kind));
        schedule.parent(ParentStep::OpenNamespace { path, kind }, "linux.namespaces");
    }
    schedule.parent(
        ParentStep::CheckProcess {
            pid,
            start_time: request.start_time,
        },
        "(security)",
    );
}

/// The name of a namespace's file (namespaces(7)).
fn file_of(kind: u32) -> &'static str {
    match kind {
        MOUNT => "mnt",
        NETWORK => "net",
        _ => name_of(kind),
    }
}

/// When init goes on in a sibling that is born in the container's cgroup of the unified hierarchy: a process is not moved
/// there, because that waits for a grace period of the whole host.
///
/// Nor is init itself born there, as at a create: until it has executed its image it shares the caller's memory, and where
/// `memory.oom.group` is set the kernel kills a whole cgroup and whoever shares memory with one of its processes. In a
/// frozen cgroup it would not come to execute it, and hold up the calling thread with all signals blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Birth {
    /// There is no unified hierarchy.
    None,
    /// First, by the caller's own right: behind the step into a user namespace the kernel would refuse. And before systemd
    /// is asked to move what the kernel did not let the caller have born there.
    Early,
    /// Where init goes on in a sibling anyhow.
    Late,
}

impl Birth {
    fn of(request: &ExecPlanRequest, namespaces: &Namespaces) -> Self {
        let unified = |directory: &Directory| directory.kind == HierarchyKind::Unified;
        if !request.cgroup.iter().any(unified) {
            Self::None
        } else if namespaces.has(PID) && !namespaces.has(USER) && request.attach.is_none() {
            Self::Late
        } else {
            Self::Early
        }
    }
}

fn fork_into(schedule: &mut Schedule) {
    let cgroup = FdName::Cgroup;
    schedule.init(Step::ForkInto { cgroup }, "(exec)");
}

/// The hierarchies of version 1.
fn join_cgroup(schedule: &mut Schedule, request: &ExecPlanRequest) {
    for directory in &request.cgroup {
        if directory.kind != HierarchyKind::Unified && !directory.read_only {
            let tasks = FdName::Tasks(directory.name());
            schedule.init(Step::JoinCgroup { tasks }, "(exec)");
        }
    }
}

/// A privileged caller has power over every namespace below its own, and keeps it only as long as it stays there; an
/// unprivileged one gets its power from the user namespace.
fn join(schedule: &mut Schedule, namespaces: &Namespaces, birth: Birth) {
    // With `nsdelegate` nobody is born out of the cgroup namespace that he is in: that one comes behind.
    let behind = |kind: u32| birth == Birth::Late && kind == CGROUP;
    let others = KINDS
        .into_iter()
        .filter(|kind| namespaces.has(*kind) && !behind(*kind));
    let user = Some(USER).filter(|kind| namespaces.has(*kind));
    let order: Vec<u32> = if namespaces.privileged() {
        others.chain(user).collect()
    } else {
        user.into_iter().chain(others).collect()
    };
    for kind in order {
        enter(schedule, kind);
        if kind == USER {
            let drop_groups = namespaces.can_set_groups();
            schedule.init(Step::BecomeRoot { drop_groups }, "linux.namespaces");
        }
    }
    if namespaces.has(PID) {
        match birth {
            Birth::Late => fork_into(schedule),
            Birth::None | Birth::Early => schedule.init(Step::Fork {}, "linux.namespaces"),
        }
        // The sibling has a session of its own only if it makes one.
        schedule.init(Step::NewSession {}, "(security)");
    }
    if birth == Birth::Late && namespaces.has(CGROUP) {
        enter(schedule, CGROUP);
    }
    // New credentials give the flag a system-wide default (proc_sys_fs(5), suid_dumpable).
    schedule.init(Step::Undumpable {}, "(security)");
}

fn enter(schedule: &mut Schedule, kind: u32) {
    let namespace = FdName::Namespace(kind);
    schedule.init(Step::Join { namespace, kind }, "linux.namespaces");
}

/// A process that joined the mount namespace stands in its root; without one the container is only chrooted.
fn take_root(schedule: &mut Schedule, namespaces: &Namespaces, request: &ExecPlanRequest) -> Result<()> {
    let own = namespaces.has(MOUNT);
    let rootfs = request.rootfs.to_string_lossy();
    let path = if own { "/" } else { rootfs.as_ref() };
    schedule.init(
        Step::OpenRoot {
            path: text("root.path", path)?,
            lent: false,
            clone: false,
            detach: false,
        },
        "(exec)",
    );
    if !own {
        schedule.init(Step::Chroot {}, "root.path");
    }
    Ok(())
}

/// process.execCPUAffinity.
#[derive(Debug, Default)]
struct Affinity {
    initial: Option<Vec<u32>>,
    last: Option<Vec<u32>>,
}

impl Affinity {
    fn of(process: &Process) -> Result<Self> {
        let Some(asked) = process.exec_cpu_affinity() else {
            return Ok(Self::default());
        };
        let list = |name: &str, list: Option<&String>| {
            list.map(|list| cpus(&format!("process.execCPUAffinity.{name}"), list))
                .transpose()
        };
        Ok(Self {
            initial: list("initial", asked.initial().as_ref())?,
            last: list("final", asked.cpu_affinity_final().as_ref())?,
        })
    }

    /// Before the process enters the container's cgroups.
    fn initial(&self, schedule: &mut Schedule) {
        set_cpus(schedule, self.initial.as_ref(), "process.execCPUAffinity.initial");
    }

    /// In the container's cgroups: which CPUs the caller happens to run on is no limit of the program.
    fn all(&self, schedule: &mut Schedule) {
        if self.initial.is_none() {
            schedule.init(Step::AllCpus {}, "(exec)");
        }
    }

    fn last(&self, schedule: &mut Schedule) {
        set_cpus(schedule, self.last.as_ref(), "process.execCPUAffinity.final");
    }
}

/// Behind a barrier: the kernel takes this from the parent as long as the process is not another user's.
fn set_cpus(schedule: &mut Schedule, cpus: Option<&Vec<u32>>, field: &str) {
    if let Some(cpus) = cpus {
        let step = ParentStep::Affinity { cpus: cpus.clone() };
        schedule.barrier(field, [(step, field.to_owned())]);
    }
}

/// A list like `0-3,7`.
fn cpus(field: &str, list: &str) -> Result<Vec<u32>> {
    numbers::parse(list, MAX_CPUS)
        .filter(|cpus| !cpus.is_empty())
        .ok_or_else(|| {
            Error::spec(
                field,
                format!("found {list:?}, allowed are numbers below {MAX_CPUS} and ranges of them, as 0-3,7"),
            )
        })
}

#[cfg(test)]
#[path = "exec_tests.rs"]
mod tests;
