//! Control groups: where a container's groups are, what is written into them, and their life.
//!
//! Pure: [`path`] (directories from linux.cgroupsPath), [`limits`] (linux.resources to writes, the only conversion
//! table), [`devices`] (device rules to lines or to an eBPF program). Effects: [`fs`] (create, apply, join, remove
//! through directory descriptors) and [`life`] (processes, freezing, killing). Every operation after create works from a
//! [`CgroupRecord`], never from the configuration. Nothing here knows a Plan, a Program or the command line.

pub mod devices;
pub mod fs;
pub mod life;
pub mod limits;
pub mod path;

pub use devices::{DeviceFilter, DeviceRules};
pub use fs::{Cgroup, Join, JoinTasks};
pub use limits::{Limits, Write, limits};
pub use path::{CgroupPaths, CgroupRecord, Directory, resolve};
