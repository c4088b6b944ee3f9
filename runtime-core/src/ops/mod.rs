//! The verbs: each loads a record, acts on the container, and saves.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::id::{ContainerId, Signal};
use crate::request::{CgroupDriver, CreateRequest};
use crate::state::{Exit, State};

fn later<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Internal, "not built yet"))
}

/// A runtime: where the records live and how cgroups are made. Cheap; holds no descriptor and no lock.
#[derive(Debug, Clone)]
pub struct Runtime {
    root: PathBuf,
    driver: CgroupDriver,
    rootless: Option<bool>,
}

impl Runtime {
    /// A runtime with its state directory at `root`, an absolute path; made with mode 0700 when first needed.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            driver: CgroupDriver::default(),
            rootless: None,
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

    /// The state directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Creates a container: everything is set up, its program waits for [`Container::start`].
    pub fn create(&self, _request: CreateRequest) -> Result<Container> {
        later()
    }

    /// Creates and starts a container; cheaper than create and start.
    pub fn run(&self, _request: CreateRequest) -> Result<Container> {
        later()
    }

    /// The container of this id.
    pub fn container(&self, _id: &ContainerId) -> Result<Container> {
        later()
    }

    /// All containers in the state directory in the order of their ids; what cannot be read comes as an error with
    /// its id. A missing state directory has none.
    pub fn containers(&self) -> Result<Vec<(String, Result<Container>)>> {
        later()
    }

    /// Deletes a container. Without `force` it must be stopped or only created; with it the container is killed
    /// first, remains of a killed runtime are cleaned too, and a missing container is fine.
    pub fn delete(&self, _id: &ContainerId, _force: bool) -> Result<()> {
        later()
    }
}

/// The form of [`Runtime::plan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PlanFormat {
    /// One line a step, for people.
    #[default]
    Text,
    /// The schedule as JSON.
    Json,
}

impl Runtime {
    /// The schedule of a request as text that ends in a newline: what create would do, and none of it done.
    pub fn plan(&self, _request: &CreateRequest, _format: PlanFormat) -> Result<String> {
        later()
    }

    /// A configuration to start from, as text; `rootless`: for the calling user without privileges. It has a cgroup
    /// namespace where /sys/fs/cgroup is the unified hierarchy.
    pub fn default_config(&self, rootless: bool) -> Result<String> {
        const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
        let kind = rustix::fs::statfs("/sys/fs/cgroup").map(|hierarchy| hierarchy.f_type);
        let caller = || (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Ok(crate::spec::default_json(crate::spec::DefaultSpec {
            rootless: rootless.then(caller),
            cgroup_namespace: kind.is_ok_and(|kind| u64::try_from(kind) == Ok(CGROUP2_SUPER_MAGIC)),
        }))
    }
}

/// A container.
#[derive(Debug)]
pub struct Container {
    terminal: Option<OwnedFd>,
    pidfd: Option<OwnedFd>,
}

impl Container {
    /// The state as the runtime-spec has it, looked up now.
    pub fn state(&self) -> Result<State> {
        later()
    }

    /// Starts the program of a created container.
    pub fn start(&mut self) -> Result<()> {
        later()
    }

    /// Sends a signal to init, or to every process of the container with `all`.
    pub fn kill(&self, _signal: Signal, _all: bool) -> Result<()> {
        later()
    }

    /// The master of the terminal, once, where the request said [`crate::Terminal::Keep`].
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// A descriptor of the process init, readable when it has ended; None when it had ended before.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Waits until the container's program has ended. Only the process that called create or run learns how.
    pub fn wait(&self) -> Result<Exit> {
        later()
    }
}
