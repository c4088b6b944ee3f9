//! create and run: plan, walk the schedule, keep the record true, leave nothing behind on failure.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::delete::destroy;
use super::state::document;
use super::{Container, Runtime};
use crate::cgroup::systemd::{self, Manager, ScopePlan};
use crate::cgroup::{Cgroup, CgroupRecord};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::HostFacts;
use crate::gpu;
use crate::launch::{HookRun, Host, Launch, Launched, listener, run_hook};
use crate::lower::Descriptors;
use crate::plan::{Action, HookKind, Plan, PlanRequest, PlannedHook, StartBy, Step, planned_hooks};
use crate::record::{CONFIG, Lock, NOTIFY, ProcessIdentity, Record, START_SOCKET, StartLine, StateDir};
use crate::request::{CgroupDriver, CreateRequest, PrepareTerminal};
use crate::resctrl::RdtRecord;
use crate::spec::{LoadedSpec, Warning};
use crate::state::Status;
use crate::trace::Trace;

impl Runtime {
    /// Creates a container: everything is set up, its program waits for [`Container::start`].
    ///
    /// # Errors
    /// Any kind; the host is then as before.
    pub fn create(&self, request: CreateRequest) -> Result<Container> {
        self.make(request, StartBy::Socket)
    }

    /// Creates and starts a container; cheaper than create and start.
    ///
    /// # Errors
    /// Any kind; the host is then as before.
    pub fn run(&self, request: CreateRequest) -> Result<Container> {
        self.make(request, StartBy::Caller)
    }

    /// What this host can do, as far as creating a container with this runtime's options is concerned.
    ///
    /// # Errors
    /// System; Unsupported, where cgroups are to be made by a systemd that does not run.
    pub fn facts(&self) -> Result<HostFacts> {
        self.gather().map(|(facts, _)| facts)
    }

    /// The facts, and the connection to systemd where it is asked.
    pub(super) fn gather(&self) -> Result<(HostFacts, Option<Manager>)> {
        let mut facts = self.trace.time("look at the host", HostFacts::gather)?;
        if self.driver != CgroupDriver::Systemd {
            return Ok((facts, None));
        }
        let mut manager = Manager::connect_traced(self.is_rootless(&facts), &self.trace)?;
        facts.systemd = Some(manager.facts()?);
        Ok((facts, Some(manager)))
    }

    pub(super) fn is_rootless(&self, facts: &HostFacts) -> bool {
        self.rootless
            .unwrap_or(facts.euid != 0 || facts.in_user_namespace)
    }

    /// The schedule that create would follow for this request on this host, without doing any of it.
    ///
    /// # Errors
    /// As create, as far as the configuration alone can be at fault.
    pub fn plan(&self, request: &CreateRequest, facts: &HostFacts) -> Result<Plan> {
        let mut spec = request.spec.clone();
        let injected = gpu::inject(&mut spec, &request.bundle, &request.devices, facts)?;
        let mut asked = self.plan_request(request, facts, StartBy::Socket)?;
        asked.take(&injected);
        let mut plan = Plan::create(&spec, facts, &asked)?;
        plan.warnings.extend(injected.warnings);
        Ok(plan)
    }

    fn make(&self, mut request: CreateRequest, start_by: StartBy) -> Result<Container> {
        let (facts, manager) = self.gather()?;
        request.bundle = real_bundle(&request.bundle)?;
        let injected = self.trace.time("find devices", || {
            gpu::inject(&mut request.spec, &request.bundle, &request.devices, &facts)
        })?;
        let mut asked = self.plan_request(&request, &facts, start_by)?;
        asked.take(&injected);
        let mut plan = super::planned(&self.trace, || Plan::create(&request.spec, &facts, &asked))?;
        plan.warnings.extend(injected.warnings);
        let rootfs = check_rootfs(&request.spec, &request.bundle)?;

        let stdio = super::stdio_names(&request.stdio);
        let descriptors = super::descriptors(
            std::mem::take(&mut request.stdio),
            std::mem::take(&mut request.preserve_fds),
        )?;

        let span = self.trace.span("make the state directory");
        let (dir, lock) = StateDir::create(self.root(), &request.id)?;
        drop(span);
        let record = match record_of(&request, rootfs, &plan) {
            Ok(record) => Record {
                stdio,
                devices: injected.devices,
                ..record
            },
            Err(error) => {
                dir.remove()?;
                return Err(error);
            }
        };
        let mut making = Making {
            dir: &dir,
            lock: Some(lock),
            record,
            spec: &request.spec,
            manager,
            prepare_terminal: request.prepare_terminal.take(),
            trace: self.trace.clone(),
        };
        let result = making
            .prepare(&request)
            .and_then(|()| making.walk(&plan, descriptors, start_by));
        match result {
            Ok(Launched { pidfd, terminal, .. }) => {
                let record = making.record;
                let filter_flags = filter_flags(&plan);
                let mut warnings = plan.warnings;
                warnings.extend(unkillable(&record));
                Ok(Container {
                    dir,
                    record,
                    seen: None,
                    terminal,
                    pidfd: Some(pidfd),
                    filter_flags,
                    warnings,
                    config: Mutex::default(),
                    trace: self.trace.clone(),
                })
            }
            Err(error) => {
                let _span = self.trace.span("remove what was made");
                let (record, lock) = (making.record, making.lock);
                give_up(dir, lock, record, &self.trace);
                Err(error)
            }
        }
    }

    pub(super) fn plan_request(
        &self,
        request: &CreateRequest,
        facts: &HostFacts,
        start_by: StartBy,
    ) -> Result<PlanRequest> {
        let process = request.spec.spec.process().as_ref();
        let console_socket = super::console_socket(process, &request.terminal)?;
        Ok(PlanRequest {
            start_by,
            stdio: super::given(&request.stdio),
            console_socket,
            preserve_fds: super::count(&request.preserve_fds)?,
            listen_fds: request.listen_fds,
            listen_fd_names: request.listen_fd_names.clone(),
            notify_dir: request
                .notify_socket
                .is_some()
                .then(|| self.root().join(request.id.as_str()).join(NOTIFY)),
            pid_file: request.pid_file.clone(),
            pidfd_socket: request.pidfd_socket.clone(),
            no_pivot: request.no_pivot,
            no_new_keyring: request.no_new_keyring,
            gpu: request.gpu.clone(),
            driver: self.driver,
            rootless: self.is_rootless(facts),
            ..PlanRequest::new(request.id.clone(), &request.bundle)
        })
    }
}

/// Ends and removes what there is of a container that failed. What went wrong first is what the caller must hear; what
/// cannot be removed is in the record. Without the lock there is nothing to do: who deleted the container while a hook ran
/// has removed it, and its id may mean another one by now.
pub(super) fn give_up(dir: StateDir, lock: Option<Lock>, mut record: Record, trace: &Trace) {
    let Some(lock) = lock else { return };
    // Nobody makes it any more: what cannot be removed now is not "creating" but may be deleted.
    record.status = Status::Stopped;
    if !record.cgroup_made {
        record.cgroup = None;
    }
    let _ = dir.save(&record);
    let _ = destroy(dir, lock, Some(&record), trace);
}

/// A container that is being made.
pub(super) struct Making<'a> {
    pub(super) dir: &'a StateDir,
    /// Keeps others out, but not while a hook runs. None: the container was deleted meanwhile.
    pub(super) lock: Option<Lock>,
    pub(super) record: Record,
    pub(super) spec: &'a LoadedSpec,
    /// The connection to systemd, with its driver.
    pub(super) manager: Option<Manager>,
    pub(super) prepare_terminal: Option<PrepareTerminal>,
    pub(super) trace: Trace,
}

impl Making<'_> {
    /// What must be in the state directory before the first line of the schedule.
    fn prepare(&self, request: &CreateRequest) -> Result<()> {
        if request.notify_socket.is_some() {
            let mode = rustix::fs::Mode::from_raw_mode(0o755);
            rustix::fs::mkdirat(self.dir.as_fd(), NOTIFY, mode)
                .map_err(|errno| Error::os(format!("mkdir({NOTIFY:?}, 0755)"), errno))?;
        }
        Ok(())
    }

    fn walk(&mut self, plan: &Plan, descriptors: Descriptors, start_by: StartBy) -> Result<Launched> {
        let mut launch = Launch::new(plan, descriptors).traced(&self.trace);
        let walked = launch.walk(self).and_then(|()| match start_by {
            StartBy::Socket => Ok(()),
            StartBy::Caller => {
                self.trace
                    .time("wait for the program to run", || launch.started())?;
                self.after_start()
            }
        });
        match (walked, launch.init.take()) {
            (Ok(()), Some(init)) => Ok(init),
            (Ok(()), None) => Err(Error::new(ErrorKind::Internal, "the schedule spawned no init")),
            (Err(error), init) => {
                if let Some(init) = init {
                    super::kill::end(&init.pidfd)?;
                }
                Err(error)
            }
        }
    }

    /// The program runs: say so, and run the poststart hooks.
    fn after_start(&mut self) -> Result<()> {
        self.record.status = Status::Running;
        self.record.leave_shared_groups();
        self.trace
            .time("save the record", || self.dir.save(&self.record))?;
        self.lock = None;
        // Nothing of the record changes behind the hooks: somebody may even have deleted what has ended meanwhile.
        poststart(&self.record, &self.trace).inspect_err(|_| self.lock = self.dir.lock_again().ok())
    }

    /// Lets others at the container while hooks run, which they may be themselves: a hook that calls the runtime for its
    /// container would wait for ever, and so would a delete for a hook that does not end.
    pub(super) fn unlocked(&mut self, hooks: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        self.lock = None;
        let ran = hooks(self);
        self.lock = Some(self.dir.lock_again()?);
        ran
    }
}

fn filter_flags(plan: &Plan) -> Option<u32> {
    plan.lines.iter().find_map(|line| match &line.action {
        Action::Init(Step::Seccomp { flags, .. }) => Some(*flags),
        _ => None,
    })
}

/// Runs the poststart hooks (config.md: a failure is an error, and the container is to be stopped).
pub(super) fn poststart(record: &Record, trace: &Trace) -> Result<()> {
    let pid = record.init.map_or(0, |init| init.pid);
    for hook in &record.poststart {
        let state = document(record, Status::Running, pid);
        super::hook(
            trace,
            HookRun {
                hook,
                state: &state,
                cwd: &record.bundle,
            },
        )?;
    }
    Ok(())
}

impl Host for Making<'_> {
    fn save(&mut self, status: Status, init: Option<ProcessIdentity>) -> Result<()> {
        self.record.status = status;
        if status != Status::Creating {
            self.record.leave_shared_groups();
        }
        self.record.init = init;
        self.dir.save(&self.record)
    }

    fn keep_cgroup(&mut self, cgroup: &Cgroup) {
        self.record.cgroup = Some(cgroup.record());
        self.record.cgroup_made = true;
    }

    fn keep_rdt(&mut self, record: &RdtRecord) -> Result<()> {
        self.record.rdt = Some(record.clone());
        self.dir.save(&self.record)
    }

    fn start_scope(&mut self, plan: &ScopePlan, init: i32) -> Result<()> {
        let manager = self
            .manager
            .as_mut()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "there is no connection to systemd"))?;
        manager.start(plan, init)?;
        self.record.cgroup_made = true;
        self.dir.save(&self.record)?;
        let planned = self.record.cgroup.iter().flat_map(|cgroup| &cgroup.directories);
        planned
            .into_iter()
            .try_for_each(|directory| systemd::check_place(init, directory))
    }

    fn save_config(&mut self) -> Result<()> {
        let bytes = serde_json::to_vec(&self.spec.spec)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("the configuration: {error}")))?;
        self.dir.write_new(CONFIG, &bytes)
    }

    fn hook_state(&self, status: Status, pid: i32) -> Vec<u8> {
        document(&self.record, status, pid)
    }

    fn agent_state(&self, pid: i32) -> Vec<u8> {
        document(&self.record, Status::Creating, pid)
    }

    fn bundle(&self) -> &Path {
        &self.record.bundle
    }

    fn run_hook(&mut self, hook: &PlannedHook, state: &[u8]) -> Result<()> {
        self.unlocked(|making| {
            let cwd = &making.record.bundle;
            run_hook(HookRun { hook, state, cwd })
        })
    }

    fn listen(&self) -> Result<OwnedFd> {
        listener(&self.dir.short_path(START_SOCKET))
    }

    fn see_terminal(&mut self, master: BorrowedFd<'_>) -> Result<()> {
        self.prepare_terminal
            .take()
            .map_or(Ok(()), |prepare| prepare.call(master))
    }
}

pub(super) fn record_of(request: &CreateRequest, rootfs: PathBuf, plan: &Plan) -> Result<Record> {
    let spec = &request.spec.spec;
    let mut record = Record::new(
        request.id.clone(),
        spec.version().clone(),
        request.bundle.clone(),
        rootfs,
    )?;
    record.annotations = spec
        .annotations()
        .iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect::<BTreeMap<_, _>>();
    record.own_pid_namespace = plan.lines.iter().any(|line| match &line.action {
        Action::Parent(crate::plan::ParentStep::Spawn { namespaces })
        | Action::Init(Step::Unshare { namespaces }) => {
            namespaces & u64::from(libc::CLONE_NEWPID.cast_unsigned()) != 0
        }
        _ => false,
    });
    record.poststart = planned_hooks(spec, HookKind::Poststart);
    record.poststop = planned_hooks(spec, HookKind::Poststop);
    record.start = StartLine::of(plan);
    // Where it is going to be; until it is made there may be somebody else's at that place.
    record.cgroup = plan.cgroup.as_ref().map(|cgroup| CgroupRecord {
        directories: cgroup.paths.directories.clone(),
        scope: cgroup.scope.as_ref().map(|plan| plan.scope.clone()),
    });
    Ok(record)
}

/// A container that nothing holds together: what it leaves behind cannot be found.
fn unkillable(record: &Record) -> Option<Warning> {
    let cgroup = record.cgroup.as_ref()?;
    (cgroup.directories.is_empty() && !record.own_pid_namespace).then(|| {
        let message = "creating a rootless container with no cgroup and no private pid namespace. Such configuration is \
                       strongly discouraged (as it is impossible to properly kill all container's processes)";
        Warning::new("linux.namespaces", message)
    })
}

/// The bundle as an absolute path: the caller may change its directory before the state is asked for.
pub(super) fn real_bundle(bundle: &Path) -> Result<PathBuf> {
    let bundle =
        std::path::absolute(bundle).map_err(|error| Error::os(format!("getcwd() for {bundle:?}"), error))?;
    if bundle.is_dir() {
        Ok(bundle)
    } else {
        Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("bundle {bundle:?} is not a directory"),
        ))
    }
}

/// The root must be a directory, and not a symbolic link to one: who can change the link chooses the root.
pub(super) fn check_rootfs(spec: &LoadedSpec, bundle: &Path) -> Result<PathBuf> {
    let root = spec
        .spec
        .root()
        .as_ref()
        .ok_or_else(|| Error::spec("root", "the field is missing"))?;
    let rootfs = crate::plan::clean(&bundle.join(root.path()));
    match std::fs::symlink_metadata(&rootfs) {
        Err(error) => Err(Error::os(format!("stat({rootfs:?})"), error).with_field("root.path")),
        Ok(found) if found.is_symlink() => Err(Error::spec(
            "root.path",
            format!("{} is a symbolic link", rootfs.display()),
        )),
        Ok(found) if !found.is_dir() => Err(Error::spec(
            "root.path",
            format!("{} is not a directory", rootfs.display()),
        )),
        Ok(_) => Ok(rootfs),
    }
}
