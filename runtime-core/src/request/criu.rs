//! What a caller asks for at a checkpoint and at a restore, beside the container. CRIU's own words stand in criu(8).

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::{Stdio, Terminal};
use crate::id::ContainerId;
use crate::spec::LoadedSpec;

/// How CRIU saves and restores cgroups (criu(8), `--manage-cgroups`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ManageCgroups {
    /// As CRIU sees fit: `Soft`, so far.
    #[default]
    Default,
    /// Groups are made where they are missing, and what existed before keeps its properties.
    Soft,
    /// Groups are made where they are missing, and all properties are restored.
    Full,
    /// Every group has to be missing.
    Strict,
    /// Not at all: what is restored stays in the cgroup that is made for the container.
    Ignore,
}

/// How CRIU keeps the network still meanwhile (criu(8), `--network-lock`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkLock {
    /// By iptables, which has to be installed.
    Iptables,
    /// By nftables; CRIU has to be built with it.
    Nftables,
    /// Not at all.
    Skip,
}

/// What checkpoint and restore have in common.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CriuOptions {
    /// The directory of the image files. A checkpoint makes it where it is missing (mode 0700).
    pub image: PathBuf,
    /// The directory of CRIU's log (`dump.log`, `restore.log`) and statistics, made where it is missing; None: that of the
    /// image files.
    pub work: Option<PathBuf>,
    /// The program: a name is searched in the caller's PATH. It gets the caller's environment.
    pub program: PathBuf,
    /// Connections of TCP that are established are saved and restored.
    pub tcp_established: bool,
    /// Sockets that are connected to unix sockets outside of the container are allowed.
    pub ext_unix_sk: bool,
    /// The session and process group of the container's first process may be outside of it, and its terminal too.
    pub shell_job: bool,
    /// File locks are saved and restored.
    pub file_locks: bool,
    /// What a later image holds too is removed from the earlier one.
    pub auto_dedup: bool,
    /// Memory is fetched when it is needed (userfaultfd(2)), from a server that runs meanwhile.
    pub lazy_pages: bool,
    /// Cgroups.
    pub manage_cgroups: ManageCgroups,
    /// The network's lock; None: CRIU's own choice.
    pub network_lock: Option<NetworkLock>,
}

impl CriuOptions {
    /// No option, with the image files in this directory.
    pub fn new(image: impl Into<PathBuf>) -> Self {
        Self {
            image: image.into(),
            work: None,
            program: PathBuf::from("criu"),
            tcp_established: false,
            ext_unix_sk: false,
            shell_job: false,
            file_locks: false,
            auto_dedup: false,
            lazy_pages: false,
            manage_cgroups: ManageCgroups::Default,
            network_lock: None,
        }
    }
}

/// Everything that a checkpoint needs.
#[derive(Debug)]
#[non_exhaustive]
pub struct CheckpointRequest {
    /// What is common.
    pub criu: CriuOptions,
    /// The directory of an earlier checkpoint's images, relative to that of this one: what has not changed since is not
    /// written again.
    pub parent: Option<PathBuf>,
    /// The container runs on afterwards.
    pub leave_running: bool,
    /// Only memory is saved, and the container runs on: the next checkpoint, with this one as its parent, is short.
    pub pre_dump: bool,
    /// Connections of TCP that are about to be made are left out.
    pub tcp_skip_in_flight: bool,
    /// Files that are deleted but open get a name again.
    pub link_remap: bool,
    /// Address and port of the server that gets the memory; with `lazy_pages` where CRIU itself serves it.
    pub page_server: Option<(String, u16)>,
    /// With `lazy_pages`: gets a zero byte, and is closed, when memory is served.
    pub lazy_pages_ready: Option<OwnedFd>,
}

impl CheckpointRequest {
    /// A request without any option.
    pub fn new(image: impl Into<PathBuf>) -> Self {
        Self {
            criu: CriuOptions::new(image),
            parent: None,
            leave_running: false,
            pre_dump: false,
            tcp_skip_in_flight: false,
            link_remap: false,
            page_server: None,
            lazy_pages_ready: None,
        }
    }
}

/// Everything that a restore needs.
///
/// The processes come from the image as they are in it: their ids, capabilities, seccomp filters, limits and open files. An
/// image has to come from where the configuration could come from. Bind mounts, devices, joined namespaces, hooks, the
/// cgroup and its limits are those of the configuration, whatever the image says.
#[derive(Debug)]
#[non_exhaustive]
pub struct RestoreRequest {
    /// The container's id.
    pub id: ContainerId,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// The configuration, the same as at the checkpoint but for sources of mounts, paths of namespaces, and cgroups.
    pub spec: LoadedSpec,
    /// What is common.
    pub criu: CriuOptions,
    /// The standard descriptors: they take the place of pipes that the program had at its creation.
    pub stdio: Stdio,
    /// The terminal.
    pub terminal: Terminal,
    /// Write the pid of the first process to this file (atomically, the bare number) before restore returns.
    pub pid_file: Option<PathBuf>,
    /// The host's NOTIFY_SOCKET.
    pub notify_socket: Option<PathBuf>,
    /// Connections of TCP that the image holds are closed.
    pub tcp_close: bool,
    /// The profile of AppArmor or SELinux instead of that in the image, as TYPE:NAME.
    pub lsm_profile: Option<String>,
    /// The SELinux context of mounts instead of that in the image.
    pub lsm_mount_context: Option<String>,
}

impl RestoreRequest {
    /// A request without any option.
    pub fn new(
        id: ContainerId,
        bundle: impl Into<PathBuf>,
        spec: LoadedSpec,
        image: impl Into<PathBuf>,
    ) -> Self {
        Self {
            id,
            bundle: bundle.into(),
            spec,
            criu: CriuOptions::new(image),
            stdio: Stdio::default(),
            terminal: Terminal::None,
            pid_file: None,
            notify_socket: None,
            tcp_close: false,
            lsm_profile: None,
            lsm_mount_context: None,
        }
    }
}
