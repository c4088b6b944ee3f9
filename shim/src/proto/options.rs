//! containerd.runc.v1: what a user of containerd chooses for a container; and what the clients of containerd 1.6 and 1.7 send
//! in its place (containerd.linux.runc) to each runtime whose name does not begin with io.containerd.runc.

use prost::Message;
use serde::{Deserialize, Serialize};

/// The name of [`Options`].
pub const OPTIONS: &str = "containerd.runc.v1.Options";
/// The name of [`CheckpointOptions`].
pub const CHECKPOINT_OPTIONS: &str = "containerd.runc.v1.CheckpointOptions";
/// The name of [`ProcessDetails`].
pub const PROCESS_DETAILS: &str = "containerd.runc.v1.ProcessDetails";

#[derive(Clone, PartialEq, Eq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    #[prost(bool, tag = "1")]
    pub no_pivot_root: bool,
    #[prost(bool, tag = "2")]
    pub no_new_keyring: bool,
    #[prost(string, tag = "3")]
    pub shim_cgroup: String,
    #[prost(uint32, tag = "4")]
    pub io_uid: u32,
    #[prost(uint32, tag = "5")]
    pub io_gid: u32,
    #[prost(string, tag = "6")]
    pub binary_name: String,
    #[prost(string, tag = "7")]
    pub root: String,
    #[prost(bool, tag = "9")]
    pub systemd_cgroup: bool,
    #[prost(string, tag = "10")]
    pub criu_image_path: String,
    #[prost(string, tag = "11")]
    pub criu_work_path: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct CheckpointOptions {
    #[prost(bool, tag = "1")]
    pub exit: bool,
    #[prost(bool, tag = "2")]
    pub open_tcp: bool,
    #[prost(bool, tag = "3")]
    pub external_unix_sockets: bool,
    #[prost(bool, tag = "4")]
    pub terminal: bool,
    #[prost(bool, tag = "5")]
    pub file_locks: bool,
    #[prost(string, repeated, tag = "6")]
    pub empty_namespaces: Vec<String>,
    #[prost(string, tag = "7")]
    pub cgroups_mode: String,
    #[prost(string, tag = "8")]
    pub image_path: String,
    #[prost(string, tag = "9")]
    pub work_path: String,
}

/// The name of [`LegacyCreateOptions`].
pub const LEGACY_CREATE_OPTIONS: &str = "containerd.linux.runc.CreateOptions";
/// The same message as [`CheckpointOptions`], but for the numbers of the two paths, which are exchanged.
pub const LEGACY_CHECKPOINT_OPTIONS: &str = "containerd.linux.runc.CheckpointOptions";

/// The fields that ask for something at create; the others are CRIU's, of whose restore a shim of today is told otherwise.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LegacyCreateOptions {
    #[prost(bool, tag = "1")]
    pub no_pivot_root: bool,
    #[prost(bool, tag = "8")]
    pub no_new_keyring: bool,
    #[prost(string, tag = "9")]
    pub shim_cgroup: String,
    #[prost(uint32, tag = "10")]
    pub io_uid: u32,
    #[prost(uint32, tag = "11")]
    pub io_gid: u32,
    #[prost(string, tag = "12")]
    pub criu_work_path: String,
    #[prost(string, tag = "13")]
    pub criu_image_path: String,
}

impl From<LegacyCreateOptions> for Options {
    fn from(legacy: LegacyCreateOptions) -> Self {
        Self {
            no_pivot_root: legacy.no_pivot_root,
            no_new_keyring: legacy.no_new_keyring,
            shim_cgroup: legacy.shim_cgroup,
            io_uid: legacy.io_uid,
            io_gid: legacy.io_gid,
            criu_image_path: legacy.criu_image_path,
            criu_work_path: legacy.criu_work_path,
            ..Self::default()
        }
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ProcessDetails {
    #[prost(string, tag = "1")]
    pub exec_id: String,
}
