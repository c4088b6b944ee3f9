//! What a caller asks for beside the configuration: the options of create, run, exec and update as plain data.
//!
//! Nothing here is looked up or opened; descriptors that the caller hands over are owned.

mod criu;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use oci_spec::runtime::{LinuxResources, Process};

use crate::error::Result;
use crate::gpu::DeviceRequest;
use crate::gpu::hooks::GpuRequest;
use crate::id::ContainerId;
use crate::spec::LoadedSpec;

pub use criu::{CheckpointRequest, CriuOptions, ManageCgroups, NetworkLock, RestoreRequest};

/// How cgroups are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CgroupDriver {
    /// By writing to the cgroup filesystems.
    #[default]
    Cgroupfs,
    /// As scopes of systemd: of the system's for root, of a user's own for others.
    Systemd,
    /// Not at all: the container stays in the caller's cgroups, and limits in the configuration are an error.
    Disabled,
}

/// Where the container's standard input, output and error come from, when it has no terminal. There are three and no
/// fourth, so that this is no `non_exhaustive` struct: a literal names them.
#[derive(Debug, Default)]
pub struct Stdio {
    /// Standard input; None: the caller's own.
    pub input: Option<OwnedFd>,
    /// Standard output; None: the caller's own.
    pub output: Option<OwnedFd>,
    /// Standard error; None: the caller's own.
    pub error: Option<OwnedFd>,
}

/// Where the master of the container's terminal goes, when `process.terminal` is set.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Terminal {
    /// No provision: a configuration that asks for a terminal is refused.
    #[default]
    None,
    /// To the listener of this unix socket, by one message with SCM_RIGHTS.
    Socket(PathBuf),
    /// To the caller: [`crate::Container::take_terminal`], [`crate::Executed::take_terminal`].
    Keep,
}

/// What is done with the master of a terminal that the caller keeps ([`Terminal::Keep`]) before the program runs: to set its
/// size and modes.
///
/// ```no_run
/// # use runtime_core::{Error, PrepareTerminal};
/// # use rustix::termios::{Winsize, tcsetwinsize};
/// # let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
/// let prepare = PrepareTerminal::new(move |master| {
///     tcsetwinsize(master, size).map_err(|errno| Error::os("ioctl(TIOCSWINSZ)", errno))
/// });
/// ```
pub struct PrepareTerminal(Box<dyn FnOnce(BorrowedFd<'_>) -> Result<()> + Send>);

impl PrepareTerminal {
    /// Calls this function, at most once; its error ends the operation.
    pub fn new(prepare: impl FnOnce(BorrowedFd<'_>) -> Result<()> + Send + 'static) -> Self {
        Self(Box::new(prepare))
    }

    /// Does it.
    pub(crate) fn call(self, master: BorrowedFd<'_>) -> Result<()> {
        (self.0)(master)
    }
}

impl std::fmt::Debug for PrepareTerminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrepareTerminal")
    }
}

/// Everything that create needs.
#[derive(Debug)]
#[non_exhaustive]
pub struct CreateRequest {
    /// The container's id.
    pub id: ContainerId,
    /// The bundle's directory: relative paths of the configuration start there.
    pub bundle: PathBuf,
    /// The configuration.
    pub spec: LoadedSpec,
    /// Devices of vendors beside those of the configuration.
    pub devices: DeviceRequest,
    /// The standard descriptors.
    pub stdio: Stdio,
    /// The terminal.
    pub terminal: Terminal,
    /// Called with the master of a terminal that the caller keeps, before the program runs; run starts it at once.
    pub prepare_terminal: Option<PrepareTerminal>,
    /// Descriptors that the program gets as 3, 4, ...
    pub preserve_fds: Vec<OwnedFd>,
    /// How many of `preserve_fds`, counted from the first, are sockets of the LISTEN_FDS protocol: the program gets
    /// LISTEN_FDS with this number and LISTEN_PID=1. 0: none.
    pub listen_fds: u32,
    /// LISTEN_FDNAMES for the program, where the caller had it.
    pub listen_fd_names: Option<String>,
    /// The host's NOTIFY_SOCKET: the container gets a socket of its own at /run/notify/notify.sock.
    pub notify_socket: Option<PathBuf>,
    /// Write the pid of init to this file (atomically, the bare number) before create returns.
    pub pid_file: Option<PathBuf>,
    /// Send a pidfd of init to the listener of this unix socket.
    pub pidfd_socket: Option<PathBuf>,
    /// Change the root by moving mounts instead of pivot_root(2).
    pub no_pivot: bool,
    /// Leave the session keyring as it is.
    pub no_new_keyring: bool,
    /// What is done without the hook programs of GPU vendors.
    pub gpu: GpuRequest,
}

impl CreateRequest {
    /// A request without any option.
    pub fn new(id: ContainerId, bundle: impl Into<PathBuf>, spec: LoadedSpec) -> Self {
        Self {
            id,
            bundle: bundle.into(),
            spec,
            devices: DeviceRequest::default(),
            stdio: Stdio::default(),
            terminal: Terminal::None,
            prepare_terminal: None,
            preserve_fds: Vec::new(),
            listen_fds: 0,
            listen_fd_names: None,
            notify_socket: None,
            pid_file: None,
            pidfd_socket: None,
            no_pivot: false,
            no_new_keyring: false,
            gpu: GpuRequest::default(),
        }
    }
}

/// A directory below the container's cgroup for a program that exec starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubCgroup {
    /// The controller of a version 1 hierarchy that it is in; None: all hierarchies.
    pub controller: Option<String>,
    /// The path from the container's cgroup on; a leading slash means nothing.
    pub path: String,
}

/// Everything that exec needs.
#[derive(Debug)]
#[non_exhaustive]
pub struct ExecRequest {
    /// The program. What it leaves out it has from the container; see [`crate::plan::completed`].
    pub process: Process,
    /// The standard descriptors.
    pub stdio: Stdio,
    /// The terminal.
    pub terminal: Terminal,
    /// Called with the master of a terminal that the caller keeps, before the program runs.
    pub prepare_terminal: Option<PrepareTerminal>,
    /// Descriptors that the program gets as 3, 4, ...
    pub preserve_fds: Vec<OwnedFd>,
    /// How many of `preserve_fds`, counted from the first, are sockets of the LISTEN_FDS protocol.
    pub listen_fds: u32,
    /// LISTEN_FDNAMES for the program, where the caller had it.
    pub listen_fd_names: Option<String>,
    /// Write the program's pid to this file (atomically, the bare number) once it runs.
    pub pid_file: Option<PathBuf>,
    /// Send a pidfd of the program to the listener of this unix socket once it runs.
    pub pidfd_socket: Option<PathBuf>,
    /// Where below the container's cgroup; empty: in it.
    pub sub_cgroups: Vec<SubCgroup>,
    /// Leave the session keyring as it is.
    pub no_new_keyring: bool,
    /// Also in a paused container: the program runs, and exec returns, when it is resumed.
    pub ignore_paused: bool,
}

impl ExecRequest {
    /// A request without any option.
    pub fn new(process: Process) -> Self {
        Self {
            process,
            stdio: Stdio::default(),
            terminal: Terminal::None,
            prepare_terminal: None,
            preserve_fds: Vec::new(),
            listen_fds: 0,
            listen_fd_names: None,
            pid_file: None,
            pidfd_socket: None,
            sub_cgroups: Vec::new(),
            no_new_keyring: false,
            ignore_paused: false,
        }
    }
}

/// What update changes.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct UpdateRequest {
    /// The limits to change; what they leave out stays as it is. Device rules in them are not looked at.
    pub resources: LinuxResources,
    /// linux.intelRdt.l3CacheSchema.
    pub l3_cache_schema: Option<String>,
    /// linux.intelRdt.memBwSchema.
    pub mem_bw_schema: Option<String>,
}

impl UpdateRequest {
    /// A request for these limits.
    pub fn new(resources: LinuxResources) -> Self {
        Self {
            resources,
            ..Self::default()
        }
    }
}
