//! facts

pub mod cgroup;
