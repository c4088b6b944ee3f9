//! The verbs: each loads a record, acts on the container, and saves.
//!
//! A verb that changes a container holds its lock, but not while hooks of the host run: these may call the runtime for the
//! container. Waiting is by process descriptors and sockets; only for a lock that has to come free in time is asked again.

mod checkpoint;
mod children;
mod containers;
mod create;
mod damaged;
mod delete;
mod events;
mod examine;
mod exec;
mod kill;
mod processes;
mod restore;
mod start;
mod state;
mod unit;
mod update;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

pub use containers::Containers;
pub use delete::Deleted;
pub use events::{Event, Events};
pub use exec::Executed;
pub(crate) use state::user_name;

use oci_spec::runtime::Process;

use crate::cgroup::Cgroup;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::launch::{HookRun, run_hook};
use crate::lower::Descriptors;
use crate::plan::{Action, FdName, Plan, Step};
use crate::record::{Record, Stamp, StateDir};
use crate::request::{CgroupDriver, Stdio, Terminal};
use crate::state::{Exit, Status};
use crate::trace::Trace;

/// A runtime: where the records live and how cgroups are made. Cheap; holds no descriptor and no lock.
#[derive(Debug, Clone)]
pub struct Runtime {
    root: PathBuf,
    driver: CgroupDriver,
    rootless: Option<bool>,
    trace: Trace,
}

impl Runtime {
    /// A runtime with its state directory at `root`, made with mode 0700 when first needed. It is an absolute path: with a
    /// relative one every operation fails with InvalidArgument.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            driver: CgroupDriver::default(),
            rootless: None,
            trace: Trace::off(),
        }
    }

    /// Chooses how cgroups are made.
    #[must_use]
    pub fn cgroup_driver(mut self, driver: CgroupDriver) -> Self {
        self.driver = driver;
        self
    }

    /// Whether refused cgroup operations are tolerated; None: when the caller is not root.
    #[must_use]
    pub fn rootless(mut self, rootless: Option<bool>) -> Self {
        self.rootless = rootless;
        self
    }

    /// Records in this trace how long operations take, those of containers that come from this value too. To tell several
    /// operations apart, give each a copy of the runtime with a trace of its own.
    #[must_use]
    pub fn traced(mut self, trace: &Trace) -> Self {
        self.trace = trace.clone();
        self
    }

    /// The state directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The container of this id.
    ///
    /// # Errors
    /// NotFound; State, where its record is damaged; Unsupported, where a newer version wrote it.
    pub fn container(&self, id: &ContainerId) -> Result<Container> {
        self.trace.time("load the record", || {
            let dir = StateDir::open(&self.root, id.as_str())?.ok_or_else(not_found)?;
            Container::load(dir, &self.trace)
        })
    }
}

impl Runtime {
    /// A configuration to start from, as text; `rootless`: for the calling user without privileges. It has a cgroup
    /// namespace where /sys/fs/cgroup is the unified hierarchy.
    pub fn default_config(&self, rootless: bool) -> Result<String> {
        const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
        let kind = rustix::fs::statfs("/sys/fs/cgroup").map(|hierarchy| hierarchy.f_type);
        let caller = || {
            (
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            )
        };
        Ok(crate::spec::default_json(crate::spec::DefaultSpec {
            rootless: rootless.then(caller),
            cgroup_namespace: kind.is_ok_and(|kind| u64::try_from(kind) == Ok(CGROUP2_SUPER_MAGIC)),
        }))
    }
}

/// A container.
///
/// The value may be kept while others, threads or processes, work on the container: its status is looked up whenever it is
/// needed. [`Container::pid`] and [`Container::pidfd`] are those of the moment it was made; they change only where it was made
/// from a container that was being created.
#[derive(Debug)]
pub struct Container {
    dir: StateDir,
    record: Record,
    /// Which of the files that the record was in one after the other was read; None where it was not read but made.
    seen: Option<Stamp>,
    terminal: Option<OwnedFd>,
    pidfd: Option<OwnedFd>,
    warnings: Vec<crate::spec::Warning>,
    filter_flags: Option<u32>,
    /// What [`Container::config`] has read.
    config: Mutex<Option<(Stamp, crate::spec::LoadedSpec)>>,
    trace: Trace,
}

impl Container {
    fn load(dir: StateDir, trace: &Trace) -> Result<Self> {
        // Before the record is read: what is written meanwhile is then seen to be new.
        let seen = dir.stamp()?;
        let record = dir.load()?.ok_or_else(not_found)?;
        let pidfd = match &record.init {
            Some(init) => init.open()?,
            None => None,
        };
        Ok(Self {
            dir,
            record,
            seen,
            terminal: None,
            pidfd,
            warnings: Vec::new(),
            filter_flags: None,
            config: Mutex::default(),
            trace: trace.clone(),
        })
    }

    /// The container's id.
    pub fn id(&self) -> &ContainerId {
        &self.record.id
    }

    /// Accepted oddities of the configuration, where this value came from create or run.
    pub fn warnings(&self) -> &[crate::spec::Warning] {
        &self.warnings
    }

    /// The `SECCOMP_FILTER_FLAG_*` bits of the program's seccomp filter, where this value came from create or run and there
    /// is one.
    pub fn filter_flags(&self) -> Option<u32> {
        self.filter_flags
    }

    /// The container's own directory below the state directory.
    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// The pid of init as the caller sees it; None before it was started.
    pub fn pid(&self) -> Option<i32> {
        self.record.init.map(|init| init.pid)
    }

    /// The master of the terminal, once, where the request said [`crate::Terminal::Keep`].
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// A descriptor of the process init, readable when it has ended; None when it had ended before.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Waits until the container's program has ended. How, is known to the process that called create or run; to others
    /// from kernel 6.15 on, where its parent reaps it soon.
    ///
    /// # Errors
    /// System, where the descriptor cannot be waited for.
    pub fn wait(&self) -> Result<Exit> {
        // While a container is made there may be no process of its own yet, or another one than in the end.
        if self.record.status == Status::Creating
            && let Some(now) = self.now()?
        {
            return now.wait();
        }
        let Some(pidfd) = &self.pidfd else {
            return Ok(Exit::Unknown);
        };
        crate::sys::wait::end_of(pidfd)
    }

    /// The container's cgroup; None also where every hierarchy was refused to a caller without root, and before it was made:
    /// what is at its place until then is somebody else's.
    fn cgroup(&self) -> Option<Cgroup> {
        let record = self.record.cgroup.as_ref();
        record
            .filter(|record| self.record.cgroup_made && !record.directories.is_empty())
            .map(Cgroup::open)
    }

    /// Reads the record again, under the lock.
    fn refresh(&mut self) -> Result<()> {
        self.seen = self.dir.stamp()?;
        self.record = self.dir.load()?.ok_or_else(not_found)?;
        if let (None, Some(init)) = (&self.pidfd, &self.record.init) {
            self.pidfd = init.open()?;
        }
        Ok(())
    }
}

fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "container does not exist")
}

/// Decides, timed.
fn planned(trace: &Trace, plan: impl FnOnce() -> Result<Plan>) -> Result<Plan> {
    let mut span = trace.span("plan");
    let planned = plan();
    span.fails(&planned);
    if let (true, Ok(plan)) = (trace.is_on(), &planned) {
        span.note("lines", plan.lines.len());
        for line in &plan.lines {
            if let Action::Init(Step::Seccomp { filter, .. }) = &line.action {
                span.note("seccomp instructions", filter.len() / 8);
            }
        }
        let mut directories = plan.cgroup.iter().flat_map(|cgroup| &cgroup.paths.directories);
        if let Some(directory) = directories.next() {
            span.note("cgroup", directory.relative.display());
        }
    }
    planned
}

/// Runs a hook that is no line of a schedule, timed.
fn hook(trace: &Trace, run: HookRun<'_>) -> Result<()> {
    let mut span = trace.span("hook");
    span.note("kind", run.hook.kind.as_str());
    span.note("path", &run.hook.path);
    let done = run_hook(run);
    span.fails(&done);
    done
}

/// The caller's descriptors under the names of the plan.
fn descriptors(stdio: Stdio, preserve: Vec<OwnedFd>) -> Result<Descriptors> {
    let mut descriptors = Descriptors::default();
    let standard = [stdio.input, stdio.output, stdio.error];
    for (number, fd) in (0..).zip(standard) {
        if let Some(fd) = fd {
            descriptors.insert(FdName::Standard(number), fd)?;
        }
    }
    for (number, fd) in (0..).zip(preserve) {
        descriptors.insert(FdName::Preserved(number), fd)?;
    }
    Ok(descriptors)
}

/// What the three are, as the kernel names them (`pipe:[1234]`, a path): a checkpoint has to know which of the program's
/// pipes lead out of the container. Nothing for what cannot be told.
fn stdio_names(stdio: &Stdio) -> Vec<String> {
    let given = [&stdio.input, &stdio.output, &stdio.error];
    let name = |(number, fd): (i32, &Option<OwnedFd>)| {
        let number = fd.as_ref().map_or(number, std::os::fd::AsRawFd::as_raw_fd);
        let link = rustix::fs::readlink(format!("/proc/self/fd/{number}"), Vec::new());
        link.map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned())
            .unwrap_or_default()
    };
    (0..).zip(given).map(name).collect()
}

/// Which of the three the caller provides.
fn given(stdio: &Stdio) -> [bool; 3] {
    [
        stdio.input.is_some(),
        stdio.output.is_some(),
        stdio.error.is_some(),
    ]
}

fn count(preserve: &[OwnedFd]) -> Result<u32> {
    u32::try_from(preserve.len())
        .map_err(|_| Error::new(ErrorKind::InvalidArgument, "too many descriptors to preserve"))
}

/// The socket that gets the terminal, where there is a terminal and it goes to a socket.
fn console_socket(process: Option<&Process>, terminal: &Terminal) -> Result<Option<PathBuf>> {
    let wanted = process.and_then(Process::terminal).unwrap_or(false);
    match (terminal, wanted) {
        (Terminal::None, true) => Err(Error::spec(
            "process.terminal",
            "a terminal is asked for, and the caller takes none",
        )),
        (Terminal::Socket(path), true) => Ok(Some(path.clone())),
        _ => Ok(None),
    }
}
