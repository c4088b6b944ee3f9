//! The main road of create: the order of time, in calls.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Process;
use runtime_core_program::Text;

use super::labels::Labels;
use super::mounts::Mounts;
use super::namespaces::{MOUNT, NETWORK, Namespaces, USER, UTS};
use super::process::{Given, Program};
use super::rdt::RdtPlan;
use super::schedule::{FdName, ParentStep, Schedule, Step};
use super::{Plan, cgroup, delegation, devices, hooks, laws, net_devices};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::HostFacts;
use crate::gpu::Placed;
use crate::gpu::hooks::GpuRequest;
use crate::id::ContainerId;
use crate::request::CgroupDriver;
use crate::seccomp::{self, Filter};
use crate::spec::capability::{self, CapabilityMasks};
use crate::spec::{LoadedSpec, check, no_process};
use crate::state::Status;

/// What start says where the configuration has no program.
pub(crate) const NO_PROCESS: &str = "the field is missing: there is no program to start";

/// Who gives the word to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartBy {
    /// Another process, through the socket in the state directory.
    Socket,
    /// The caller itself, at once (`run`).
    Caller,
}

/// What the caller asks for beside the configuration; plain data, no descriptor.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlanRequest {
    /// The container's id.
    pub id: ContainerId,
    /// The bundle, an absolute path.
    pub bundle: PathBuf,
    /// What of the configuration came from a request for devices.
    pub placed: Placed,
    /// Who starts the program.
    pub start_by: StartBy,
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
    /// The host's directory that holds the container's notify socket.
    pub notify_dir: Option<PathBuf>,
    /// Where the pid goes.
    pub pid_file: Option<PathBuf>,
    /// Where the pidfd goes.
    pub pidfd_socket: Option<PathBuf>,
    /// Move mounts instead of pivot_root.
    pub no_pivot: bool,
    /// Leave the keyring.
    pub no_new_keyring: bool,
    /// The cgroup driver.
    pub driver: CgroupDriver,
    /// Tolerate refused cgroup operations.
    pub rootless: bool,
    /// What is done without the hook programs of GPU vendors.
    pub gpu: GpuRequest,
}

impl PlanRequest {
    /// A request without options, for planning only.
    pub fn new(id: ContainerId, bundle: impl Into<PathBuf>) -> Self {
        Self {
            id,
            bundle: bundle.into(),
            placed: Placed::default(),
            start_by: StartBy::Socket,
            stdio: [false; 3],
            console_socket: None,
            preserve_fds: 0,
            listen_fds: 0,
            listen_fd_names: None,
            notify_dir: None,
            pid_file: None,
            pidfd_socket: None,
            no_pivot: false,
            no_new_keyring: false,
            driver: CgroupDriver::Cgroupfs,
            rootless: false,
            gpu: GpuRequest::default(),
        }
    }
}

impl Plan {
    /// What create decides, with the fields of the configuration as they stand there.
    pub(super) fn compile(loaded: &LoadedSpec, facts: &HostFacts, request: &PlanRequest) -> Result<Self> {
        let mut warnings = loaded.warnings.clone();
        warnings.extend(check(loaded)?);
        facts.check_floor()?;
        let spec = &loaded.spec;
        let linux = spec.linux().as_ref();
        let runs = spec.process().is_some();
        if !runs && request.start_by == StartBy::Caller {
            return Err(Error::spec("process", NO_PROCESS));
        }
        let process = &spec.process().clone().unwrap_or_else(no_process);
        let namespaces = Namespaces::of(spec, facts)?;
        let filter = linux
            .and_then(|linux| linux.seccomp().as_ref())
            .map(seccomp::compile)
            .transpose()?;
        warnings.extend(filter.iter().flat_map(|filter: &Filter| filter.warnings.clone()));
        let cgroup = cgroup::plan(loaded, facts, request, &mut warnings)?;
        let rdt = RdtPlan::of(linux, &request.id, facts)?;
        let paths = cgroup.as_ref().map(|cgroup| &cgroup.paths);
        let mounts = Mounts::of(spec, facts, request, &namespaces, paths)?;
        let given = Given::at_create(request, linux);
        let labels = Labels::of(process, facts)?;
        let program = Program::of(process, given, labels, &namespaces, filter.as_ref());
        if !namespaces.has(USER) {
            check_capabilities(process, facts)?;
        }

        let mut schedule = Schedule::default();
        schedule.parent(
            ParentStep::SaveRecord {
                status: Status::Creating,
            },
            "(crash rule)",
        );
        let scope = cgroup.as_ref().filter(|cgroup| cgroup.scope.is_some());
        if let (Some(cgroup), None) = (&cgroup, scope) {
            cgroup::make(&mut schedule, cgroup);
            delegation::delegate(&mut schedule, spec, facts, &namespaces);
        }
        if let Some(rdt) = &rdt {
            rdt.make(&mut schedule);
        }
        namespaces.open(&mut schedule);
        if request.start_by == StartBy::Socket {
            schedule.parent(ParentStep::Listen, "(start)");
        }
        namespaces.enter(&mut schedule, |schedule| {
            if let Some(cgroup) = scope {
                cgroup::start_scope(schedule, cgroup, |schedule| {
                    delegation::delegate(schedule, spec, facts, &namespaces);
                });
            }
            program.oom_score(schedule);
        });
        if let Some(cgroup) = &cgroup {
            cgroup::join(&mut schedule, cgroup);
        }
        if let Some(rdt) = &rdt {
            rdt.join(&mut schedule);
        }
        // Which CPUs the caller happens to run on is no limit of the container; its cgroup is.
        schedule.init(Step::AllCpus {}, "(create)");
        namespaces.enter_cgroup(&mut schedule);
        if namespaces.is_new(NETWORK) {
            // Nothing else would: who gives the container a network comes by a namespace of its own or by hooks, later.
            schedule.init(Step::Loopback {}, "linux.namespaces");
        }
        program.stdio(&mut schedule);

        mounts.build(&mut schedule)?;
        if mounts.makes_dev() {
            devices::fill(&mut schedule, spec, facts, &namespaces, &request.placed)?;
        }
        mounts.prepare_protection(&mut schedule)?;
        net_devices::move_in(&mut schedule, spec, request, &namespaces)?;
        hooks::runtime(&mut schedule, spec);
        let natively = namespaces.has(MOUNT);
        hooks::container(&mut schedule, spec, facts, request, natively)?;
        mounts.change_root(&mut schedule)?;

        program.terminal(&mut schedule, mounts.makes_dev() && namespaces.has(MOUNT))?;
        if runs {
            program.make_cwd(&mut schedule)?;
        }
        mounts.finish(&mut schedule)?;
        names(&mut schedule, loaded, &namespaces);
        labels.open_proc(&mut schedule, has_sysctls(loaded));
        sysctls(&mut schedule, loaded)?;
        mounts.protect(&mut schedule)?;
        if runs {
            program.identity(&mut schedule)?;
            program.drop_privileges(&mut schedule)?;
        }

        program.created(&mut schedule, request.start_by);
        // Init had to be made, and what it makes itself.
        let last = cgroup.iter().flat_map(|cgroup| &cgroup.writes);
        last.filter(|write| write.admits_nobody())
            .for_each(|write| cgroup::limit(&mut schedule, write));
        hand_over(&mut schedule, request);
        if runs {
            // Hooks of the container run under its filter.
            program.late_filter(&mut schedule);
            hooks::start(&mut schedule, spec, request, &program.env(), program.home())?;
            program.execute(&mut schedule)?;
        }

        warnings.extend(program.unraisable());
        let mut plan = Self {
            lines: schedule.lines,
            warnings,
            cgroup,
            rdt,
        };
        plan.keep_descriptors();
        laws::check(&plan).map_err(|broken| Error::new(ErrorKind::Internal, broken))?;
        Ok(plan)
    }

    /// CloseStray keeps what later steps of init name.
    pub(super) fn keep_descriptors(&mut self) {
        let mut keep: Vec<FdName> = self
            .lines
            .iter()
            .filter_map(|line| match &line.action {
                super::Action::Init(step) => Some(step.descriptors()),
                super::Action::Parent(_) => None,
            })
            .flatten()
            .filter(|name| **name != FdName::Absent)
            .cloned()
            .collect();
        keep.sort();
        keep.dedup();
        for line in &mut self.lines {
            if let super::Action::Init(Step::CloseStray { keep: kept }) = &mut line.action {
                kept.clone_from(&keep);
            }
        }
    }
}

fn names(schedule: &mut Schedule, loaded: &LoadedSpec, namespaces: &Namespaces) {
    if !namespaces.has(UTS) {
        return;
    }
    let spec = &loaded.spec;
    if let Some(name) = spec.hostname().as_ref().filter(|name| !name.is_empty()) {
        schedule.init(
            Step::Hostname {
                name: name.clone().into_bytes(),
            },
            "hostname",
        );
    }
    if let Some(name) = spec.domainname().as_ref().filter(|name| !name.is_empty()) {
        schedule.init(
            Step::Domainname {
                name: name.clone().into_bytes(),
            },
            "domainname",
        );
    }
}

fn has_sysctls(loaded: &LoadedSpec) -> bool {
    let linux = loaded.spec.linux().as_ref();
    linux
        .and_then(|linux| linux.sysctl().as_ref())
        .is_some_and(|sysctl| !sysctl.is_empty())
}

fn sysctls(schedule: &mut Schedule, loaded: &LoadedSpec) -> Result<()> {
    let linux = loaded.spec.linux().as_ref();
    let sysctl = linux.and_then(|linux| linux.sysctl().as_ref());
    let sorted: std::collections::BTreeMap<_, _> = sysctl.into_iter().flatten().collect();
    for (key, value) in sorted {
        let field = format!("linux.sysctl.{key}");
        // A key with a slash is a path already (net/ipv4/conf/eth0.1/...); dots in it are part of names.
        let path = if key.contains('/') {
            key.clone()
        } else {
            key.replace('.', "/")
        };
        schedule.init(
            Step::Sysctl {
                path: text(&field, &path)?,
                value: value.clone().into_bytes(),
            },
            field,
        );
    }
    Ok(())
}

/// What callers wait for, once the container is created.
fn hand_over(schedule: &mut Schedule, request: &PlanRequest) {
    tell_pid(
        schedule,
        request.pidfd_socket.as_deref(),
        request.pid_file.as_deref(),
    );
    // The record has known init since its start: from here on init may wait without its parent, and what the record says
    // next stays true if this process is killed.
    schedule.parent(ParentStep::Release, "(create)");
    if request.start_by == StartBy::Socket {
        schedule.parent(
            ParentStep::SaveRecord {
                status: Status::Created,
            },
            "(create)",
        );
    }
}

/// Tells those who asked which process it is.
pub(super) fn tell_pid(schedule: &mut Schedule, pidfd_socket: Option<&Path>, pid_file: Option<&Path>) {
    let shown = |path: &Path| path.to_string_lossy().into_owned();
    if let Some(socket) = pidfd_socket {
        schedule.parent(
            ParentStep::SendPidfd {
                socket: shown(socket),
            },
            "(--pidfd-socket)",
        );
    }
    if let Some(path) = pid_file {
        schedule.parent(ParentStep::PidFile { path: shown(path) }, "(--pid-file)");
    }
}

/// Nobody can hand out a capability that he lacks; in a user namespace of its own the container has them all.
fn check_capabilities(process: &Process, facts: &HostFacts) -> Result<()> {
    let masks = CapabilityMasks::of(process.capabilities().as_ref());
    let missing = (masks.permitted | masks.effective | masks.inheritable) & !facts.capabilities;
    let names: Vec<_> = (0..=capability::LAST)
        .filter(|number| missing & 1 << number != 0)
        .filter_map(capability::name)
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Error::spec(
        "process.capabilities",
        format!(
            "unable to apply caps: the caller itself lacks {}",
            names.join(", ")
        ),
    )
    .with_kind(ErrorKind::Permission))
}

/// A string for init, which cannot hold NUL.
pub(super) fn text(field: &str, value: &str) -> Result<Text> {
    Text::new(value).ok_or_else(|| Error::spec(field, "the value contains a null byte"))
}

pub(super) fn texts(field: &str, values: &[String]) -> Result<Vec<Text>> {
    values
        .iter()
        .enumerate()
        .map(|(position, value)| text(&format!("{field}[{position}]"), value))
        .collect()
}

/// A path of the configuration: relative ones start in the bundle.
pub(super) fn absolute(bundle: &Path, path: &Path) -> PathBuf {
    if path.is_absolute() {
        path.to_path_buf()
    } else {
        bundle.join(path)
    }
}
