//! restore: a container whose processes come from an image, by CRIU.
//!
//! The container around them is made as create makes it, from the request and its configuration: record, cgroup with its
//! limits, the places of mounts, hooks. Nothing but processes comes from the image (what it says about mounts and
//! namespaces of the host has to be mapped by name), and nothing is left when it fails.

mod namespaces;

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags};

use super::checkpoint::DESCRIPTORS;
use super::create::{Making, check_rootfs, give_up, real_bundle, record_of};
use super::state::document;
use super::{Container, Runtime, stdio_names};
use crate::cgroup::Cgroup;
use crate::cgroup::systemd::Manager;
use crate::criu::{Criu, Kind, LSM_PROFILES, Notice, Options, Place};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu;
use crate::launch::{HookRun, Host, Launch, send_to, write_pid_file};
use crate::lower::Descriptors;
use crate::plan::{FdName, HookKind, Plan, RestorePlan, StartBy, planned_hooks};
use crate::record::{CONFIG, NOTIFY, ProcessIdentity, Record, StateDir, TEMPORARY_CONFIG};
use crate::request::{CreateRequest, RestoreRequest, Stdio, Terminal};
use crate::state::Status;

/// CRIU's log, in the working directory.
const LOG: &str = "restore.log";
/// How long a list of three names may be.
const MAX_DESCRIPTORS: u64 = 64 << 10;
/// The types of a profile.
const LSM_TYPES: [&str; 2] = ["apparmor", "selinux"];

impl Runtime {
    /// Makes a container whose processes come from an image that [`Container::checkpoint`] wrote; they run when this
    /// returns. The first one is a child of this process.
    ///
    /// Of the hooks, prestart and createRuntime are run, in new namespaces and before the processes are there, and poststop
    /// at the container's end.
    ///
    /// # Errors
    /// Any kind; System has CRIU's reason and the path of its log. The host is then as before.
    pub fn restore(&self, mut request: RestoreRequest) -> Result<Container> {
        let ready = self.trace.time("decide and open", || self.ready(&mut request))?;
        ready.make(self, &request)
    }

    /// All that can be decided and opened before there is anything of the container.
    fn ready(&self, request: &mut RestoreRequest) -> Result<Ready> {
        let (facts, manager) = self.gather()?;
        let mut like_create = like_create(request)?;
        let injected = gpu::inject(
            &mut request.spec,
            &like_create.bundle,
            &like_create.devices,
            &facts,
        )?;
        like_create.spec.clone_from(&request.spec);
        let printed = keep_printed(&mut like_create)?;
        check_profile(request.lsm_profile.as_deref())?;
        let program = crate::criu::program(&request.criu)?;
        let mut asked = self.plan_request(&like_create, &facts, StartBy::Socket)?;
        asked.take(&injected);
        let mut plan = Plan::restore(&request.spec, &facts, &asked, &program)?;
        plan.criu.warnings.extend(injected.warnings);
        let rootfs = check_rootfs(&request.spec, &like_create.bundle)?;
        let place = Place::open(&request.criu, LOG, false)?;
        let names = descriptor_names(&place)?;
        let mut record = record_of(&like_create, rootfs, &plan.criu)?;
        record.stdio = stdio_names(&like_create.stdio);
        record.devices = injected.devices;
        record.start.clear();
        record.poststart.clear();
        let descriptors = super::descriptors(std::mem::take(&mut like_create.stdio), Vec::new())?;
        Ok(Ready {
            manager,
            plan,
            record,
            place,
            names,
            descriptors,
            printed,
            terminal: like_create.terminal,
        })
    }
}

/// What a restore begins with.
struct Ready {
    manager: Option<Manager>,
    plan: RestorePlan,
    record: Record,
    place: Place,
    names: Vec<String>,
    descriptors: Descriptors,
    printed: Option<OwnedFd>,
    terminal: Terminal,
}

impl Ready {
    fn make(mut self, runtime: &Runtime, request: &RestoreRequest) -> Result<Container> {
        let (dir, lock) = StateDir::create(runtime.root(), &request.id)?;
        // Until the container's own first process is known, only its cgroup tells who belongs to it.
        let own_pid_namespace = std::mem::replace(&mut self.record.own_pid_namespace, false);
        let mut restoring = Restoring {
            making: Making {
                dir: &dir,
                lock: Some(lock),
                record: self.record,
                spec: &request.spec,
                manager: self.manager,
                prepare_terminal: None,
                trace: runtime.trace.clone(),
            },
            request,
            place: self.place,
            plan: &self.plan,
            terminal: self.terminal,
            master: None,
            own_pid_namespace,
        };
        let result = restoring.run(self.descriptors, &self.names, self.printed);
        let (record, lock, terminal) = (restoring.making.record, restoring.making.lock, restoring.master);
        match result {
            Ok(pidfd) => Ok(Container {
                dir,
                record,
                seen: None,
                terminal,
                pidfd: Some(pidfd),
                warnings: self.plan.criu.warnings,
                filter_flags: None,
                config: Mutex::default(),
                trace: runtime.trace.clone(),
            }),
            Err(error) => {
                give_up(dir, lock, record, &runtime.trace);
                Err(error)
            }
        }
    }
}

/// What create would be asked for.
fn like_create(request: &mut RestoreRequest) -> Result<CreateRequest> {
    let bundle = real_bundle(&request.bundle)?;
    let mut like_create = CreateRequest::new(request.id.clone(), bundle, request.spec.clone());
    like_create.terminal = std::mem::take(&mut request.terminal);
    like_create.stdio = std::mem::take(&mut request.stdio);
    like_create.notify_socket = request.notify_socket.clone();
    Ok(like_create)
}

/// A container that is being restored.
struct Restoring<'a> {
    making: Making<'a>,
    request: &'a RestoreRequest,
    place: Place,
    plan: &'a RestorePlan,
    terminal: Terminal,
    /// The master of a terminal that the caller keeps.
    master: Option<OwnedFd>,
    own_pid_namespace: bool,
}

impl Restoring<'_> {
    fn run(
        &mut self,
        mut descriptors: Descriptors,
        names: &[String],
        printed: Option<OwnedFd>,
    ) -> Result<OwnedFd> {
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(self.making.dir.as_fd(), NOTIFY, mode)
            .map_err(|errno| Error::os(format!("mkdir({NOTIFY:?}, 0755)"), errno))?;
        let (ours, theirs) = crate::criu::socket()?;
        descriptors.insert(FdName::Criu, theirs)?;
        let criu = self.start(descriptors, ours, printed)?;
        self.make_mount_points()?;
        let options = self.options(&criu.0, criu.1, names)?;
        let (criu, _) = criu;
        let trace = self.making.trace.clone();
        let span = trace.span("criu restores");
        let response = criu.work(Kind::Restore, &options, |notice| {
            let mut span = trace.span("criu asks");
            span.note("stage", &notice.stage);
            self.stage(notice)
        });
        drop(span);
        let response = response.map_err(|failed| self.place.explain(Kind::Restore, failed))?;
        let pid = response.restored.ok_or_else(|| {
            let message = "criu restored the container and does not say which process is its first";
            Error::new(ErrorKind::System, message)
        })?;
        self.finish(pid)
    }

    /// Makes the cgroup and starts CRIU in it; with its pid.
    fn start(
        &mut self,
        descriptors: Descriptors,
        socket: OwnedFd,
        printed: Option<OwnedFd>,
    ) -> Result<(Criu, i32)> {
        let mut launch = Launch::new(&self.plan.criu, descriptors).traced(&self.making.trace);
        let walked = launch.walk(&mut self.making);
        match (walked, launch.init.take()) {
            (Ok(()), Some(init)) => {
                let criu = Criu::meet(socket, init.pidfd, printed)?;
                let root = self.plan.surroundings.root.as_ref();
                self.place.enter(criu.pidfd(), root)?;
                Ok((criu, init.pid))
            }
            (Ok(()), None) => Err(Error::new(ErrorKind::Internal, "the schedule spawned no criu")),
            (Err(error), init) => {
                if let Some(init) = init {
                    super::kill::end(&init.pidfd)?;
                }
                Err(error.during(None))
            }
        }
    }

    /// Makes what the mounts need in the root and in each other, as at a create: CRIU expects to find it.
    fn make_mount_points(&self) -> Result<()> {
        let mut launch =
            Launch::new(&self.plan.mount_points, Descriptors::default()).traced(&self.making.trace);
        let walked = launch.walk(&mut Nobody);
        if let Some(init) = launch.init.take() {
            super::kill::end(&init.pidfd)?;
        }
        walked.map_err(|error| error.during(None).context("mount points for the restore"))
    }

    fn options(&self, criu: &Criu, pid: i32, names: &[String]) -> Result<Options> {
        let request = self.request;
        if request.lsm_profile.is_some() || request.lsm_mount_context.is_some() {
            criu.needs(LSM_PROFILES, "another LSM profile or mount context")?;
        }
        let surroundings = &self.plan.surroundings;
        let rootfs = &self.making.record.rootfs;
        let mut mounts = Vec::new();
        for mount in surroundings.mounts.iter().filter(|mount| !mount.mask) {
            // runc names a mount by where it comes to lie.
            let lies = crate::criu::resolved(rootfs, &mount.target);
            let other = lies.filter(|path| *path != mount.target);
            mounts.extend(other.map(|path| (path, mount.source.clone())));
            mounts.push((mount.target.clone(), mount.source.clone()));
        }
        mounts.push((crate::criu::MASK.into(), crate::criu::MASK.into()));
        // The image may have one although nobody asks for it now.
        mounts.push(("/run/notify".into(), self.making.dir.path().join(NOTIFY)));
        let mut inherited = self.plan.inherited.clone();
        let pipes = names.iter().zip(0..).filter(|(name, _)| name.contains("pipe:"));
        inherited.extend(pipes.map(|(name, number)| (name.clone(), number)));
        let joined = surroundings.joined.iter().filter(|joined| !joined.is_external());
        let record = &self.making.record;
        Ok(Options {
            evasive_devices: true,
            rst_sibling: true,
            tcp_close: request.tcp_close,
            lsm_profile: request.lsm_profile.clone(),
            lsm_mount_context: request.lsm_mount_context.clone(),
            join_ns: joined
                .map(|joined| (joined.word(), joined.path.clone()))
                .collect(),
            cgroup_roots: crate::criu::cgroup_roots(pid)?,
            inherit_fds: inherited,
            mounts,
            ..crate::criu::options(&request.criu, &self.place, &record.rootfs, &record.annotations)
        })
    }

    fn stage(&mut self, notice: Notice) -> Result<()> {
        match notice.stage.as_str() {
            "setup-namespaces" => self.set_up(notice.pid),
            "post-restore" => self.restored(notice.pid),
            "orphan-pts-master" => match (notice.fd, &self.terminal) {
                (Some(master), Terminal::Socket(path)) => {
                    send_to(&path.to_string_lossy(), b"/dev/pts/ptmx", master.as_fd())
                }
                (master, _) => {
                    self.master = master;
                    Ok(())
                }
            },
            _ => Ok(()),
        }
    }

    /// The namespaces are there and nobody is in them but the first process, which waits.
    fn set_up(&mut self, pid: i32) -> Result<()> {
        if self.plan.surroundings.own_network {
            namespaces::set_loopback_up(pid)?;
        }
        let spec = &self.request.spec.spec;
        let hooks = [HookKind::Prestart, HookKind::CreateRuntime]
            .into_iter()
            .flat_map(|kind| planned_hooks(spec, kind));
        for hook in hooks {
            self.making.unlocked(|making| {
                let record = &making.record;
                let state = document(record, Status::Creating, pid);
                let run = HookRun {
                    hook: &hook,
                    state: &state,
                    cwd: &record.bundle,
                };
                super::hook(&making.trace, run)
            })?;
        }
        Ok(())
    }

    /// All processes are there, and about to go on.
    fn restored(&mut self, pid: i32) -> Result<()> {
        let identity = ProcessIdentity::of(pid)?;
        self.making.record.own_pid_namespace = self.own_pid_namespace;
        self.making.save(Status::Running, Some(identity))?;
        if crate::criu::shares_namespace(pid, "time") {
            return Ok(());
        }
        // For clocks that go on where they were CRIU makes a time namespace; exec has to find it.
        match namespaces::with_time(self.request.spec.clone()) {
            Some(spec) => {
                let bytes = serde_json::to_vec(&spec.spec).map_err(|error| {
                    Error::new(ErrorKind::Internal, format!("the configuration: {error}"))
                })?;
                self.making.dir.write(CONFIG, TEMPORARY_CONFIG, &bytes)
            }
            None => Ok(()),
        }
    }

    /// The processes run: whoever waits for that is told.
    fn finish(&mut self, pid: i32) -> Result<OwnedFd> {
        let process = Pid::from_raw(pid)
            .ok_or_else(|| Error::new(ErrorKind::System, format!("criu restored process {pid}")))?;
        let pidfd = rustix::process::pidfd_open(process, PidfdFlags::empty())
            .map_err(|errno| Error::os(format!("pidfd_open({pid})"), errno))?;
        let last = self.plan.criu.cgroup.iter().flat_map(|cgroup| &cgroup.writes);
        let last: Vec<_> = last.filter(|write| write.admits_nobody()).cloned().collect();
        if let Some(cgroup) = self.making.record.cgroup.as_ref().filter(|_| !last.is_empty()) {
            Cgroup::open(cgroup).apply(&last)?;
        }
        if let Some(path) = &self.request.pid_file {
            write_pid_file(path, pid)?;
        }
        Ok(pidfd)
    }
}

/// CRIU hands its standard descriptors on. With a terminal there is nothing to hand on, and what CRIU prints is kept.
fn keep_printed(like_create: &mut CreateRequest) -> Result<Option<OwnedFd>> {
    let process = like_create.spec.spec.process().as_ref();
    let wants_terminal = process.and_then(oci_spec::runtime::Process::terminal);
    if !wants_terminal.unwrap_or(false) {
        return Ok(None);
    }
    let (input, output) = crate::criu::own_stdio()?;
    like_create.stdio = Stdio {
        input: Some(input),
        output: Some(crate::criu::copy(&output)?),
        error: Some(crate::criu::copy(&output)?),
    };
    Ok(Some(output))
}

fn check_profile(profile: Option<&str>) -> Result<()> {
    let Some(profile) = profile else { return Ok(()) };
    match profile.split_once(':') {
        Some((kind, name)) if LSM_TYPES.contains(&kind) && !name.is_empty() => Ok(()),
        _ => {
            let message =
                format!("invalid LSM profile {profile:?}: allowed is apparmor:NAME or selinux:NAME");
            Err(Error::new(ErrorKind::InvalidArgument, message))
        }
    }
}

/// What the first program's standard descriptors were.
fn descriptor_names(place: &Place) -> Result<Vec<String>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(place.image(), DESCRIPTORS, flags, Mode::empty())
        .map_err(|errno| Error::os(format!("open({DESCRIPTORS:?} of the checkpoint)"), errno))?;
    let mut bytes = Vec::new();
    std::fs::File::from(fd)
        .take(MAX_DESCRIPTORS)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::os(format!("read({DESCRIPTORS:?})"), error))?;
    let names: Option<Vec<String>> = serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("{DESCRIPTORS} of the checkpoint is no list of names: {error}");
        Error::new(ErrorKind::InvalidArgument, message)
    })?;
    let mut names = names.unwrap_or_default();
    names.truncate(3);
    Ok(names)
}

/// The walk that makes mount points leaves nothing that would have to be remembered.
struct Nobody;

impl Host for Nobody {
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

    fn agent_state(&self, _pid: i32) -> Vec<u8> {
        Vec::new()
    }

    fn bundle(&self) -> &std::path::Path {
        std::path::Path::new("/")
    }

    fn listen(&self) -> Result<OwnedFd> {
        Err(Error::new(
            ErrorKind::Internal,
            "a restore does not wait for a start",
        ))
    }
}
