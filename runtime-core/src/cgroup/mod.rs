//! Control groups: where a container's groups are, what is written into them, and their life.
//!
//! Pure: [`path`] (directories from linux.cgroupsPath), [`limits`](mod@limits) (linux.resources to writes, the only conversion
//! table), [`merge`] (an update and what there is), [`devices`] (device rules to lines or to an eBPF program). Effects are
//! the methods of [`Cgroup`]: `fs` creates and joins, `adopt` takes over what systemd made, `delegation` gives to a user, `apply` writes limits, `change` does so
//! in a way that can be taken back, `freeze` and `life` pause, kill and remove, [`stats`] counts, `oom` hears of lack of
//! memory; `below` walks through all groups below one, `dir` is one directory. Every operation after create works from a [`CgroupRecord`], never from the
//! configuration. Nothing here knows a Plan, a Program or the command line.

mod adopt;
mod apply;
mod below;
mod change;
mod cpuset;
mod delegation;
pub mod devices;
mod dir;
mod freeze;
pub mod fs;
mod life;
pub mod limits;
pub mod merge;
mod oom;
pub mod path;
pub mod stats;
mod subtree;
pub mod systemd;

pub use change::Change;
pub use devices::{DeviceFilter, DeviceRules, device_rules};
pub use fs::{Cgroup, Join, JoinTasks};
pub use limits::{Limits, Write, limits};
pub(crate) use oom::OomWatch;
pub use path::{CgroupPaths, CgroupRecord, Directory, resolve};
pub use stats::Stats;

#[cfg(test)]
mod tests;
