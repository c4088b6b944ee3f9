//! A low-level OCI container runtime as a library.
//!
//! Everything is decided first, as data, and then done:
//!
//! ```text
//! config.json -parse-> Spec -plan(Spec, HostFacts, Request): pure-> Plan -order-> Schedule -open fds, make cgroup->
//!   Prepared -lower-> Program -clone, exec init, run-> Running -save-> Record -later-> start kill exec delete
//! ```

pub mod cgroup;
mod criu;
mod dbus;
pub mod doctor;
pub mod error;
pub mod facts;
pub mod features;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod gpu;
mod id;
mod id_mapped;
mod init_image;
mod launch;
mod lower;
pub mod memory;
mod netlink;
mod ops;
pub mod plan;
mod record;
mod request;
mod resctrl;
pub mod seccomp;
pub mod spec;
mod state;
mod sys;
pub mod time;
pub mod trace;
mod whole;

pub use cgroup::Stats;
pub use error::{Error, ErrorKind, Result};
pub use id::{ContainerId, Signal};
pub use id_mapped::id_mapped_copy;
pub use init_image::{INSTALLED_INIT, init_image};
pub use ops::{Container, Containers, Deleted, Event, Events, Executed, Runtime};
pub use request::{
    CgroupDriver, CheckpointRequest, CreateRequest, CriuOptions, ExecRequest, ManageCgroups, NetworkLock,
    PrepareTerminal, RestoreRequest, Stdio, SubCgroup, Terminal, UpdateRequest,
};
pub use state::{Exit, State, Status};
pub use trace::Trace;
