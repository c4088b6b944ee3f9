//! The decisions: a configuration becomes a schedule, a list of typed steps in the order of time.
//!
//! Pure: (configuration, facts about the host, what the caller asks for) in, data out. Nothing here opens a file, reads
//! the environment or the clock; `runtime plan` prints the result without doing it, golden files keep it, the launcher
//! walks it, errors quote it. Each line names its actor and the field of config.json that it comes from. The steps of
//! init are the steps of the program format ([`runtime_core_program::StepBuf`]); those of the parent are
//! [`ParentStep`]. Each topic has its file here; [`Plan::create`] and [`Plan::exec`] are the
//! orders of time.

mod cgroup;
mod create;
mod criu;
mod delegation;
mod devices;
mod exec;
mod hooks;
mod labels;
pub mod laws;
mod memory_policy;
mod mounts;
mod namespaces;
mod net_devices;
mod origins;
mod print;
mod process;
mod rdt;
mod rlimits;
mod schedule;
mod scheduling;

pub(crate) use cgroup::plan as cgroup_plan;
pub(crate) use create::NO_PROCESS;
pub use create::{PlanRequest, StartBy};
pub(crate) use criu::{CriuProgram, ExternalMount, RestorePlan, Surroundings};
pub use exec::{ExecPlanRequest, completed};
pub(crate) use hooks::planned as planned_hooks;
pub use hooks::{HookKind, PlannedHook};
pub use memory_policy::{memory_policy_flags, memory_policy_modes};
pub(crate) use mounts::clean;
pub use namespaces::IdMap;
pub use rdt::RdtPlan;
pub use schedule::{Action, FdName, LentIdMap, Line, ParentStep, Step};

use crate::cgroup::systemd::ScopePlan;
use crate::cgroup::{CgroupPaths, DeviceRules, Write};
use crate::spec::Warning;

/// How the container's cgroup is made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CgroupPlan {
    /// The scope of systemd that it is; None: it is made by directories.
    pub scope: Option<ScopePlan>,
    /// Its directory in every hierarchy.
    pub paths: CgroupPaths,
    /// What is written there, in order.
    pub writes: Vec<Write>,
    /// What may be done with devices.
    pub devices: DeviceRules,
    /// Whether refused operations are tolerated where nothing was asked for.
    pub rootless: bool,
}

/// What will happen, in order, and what the reader of the configuration should know.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// The schedule.
    pub lines: Vec<Line>,
    /// Accepted oddities of the configuration.
    pub warnings: Vec<Warning>,
    /// The cgroup; None with the driver `disabled`.
    pub cgroup: Option<CgroupPlan>,
    /// The resctrl group, where one is asked for.
    pub rdt: Option<RdtPlan>,
}

impl Plan {
    /// The line of the schedule of this number, as frames and errors name it.
    pub fn line(&self, number: u32) -> Option<&Line> {
        self.lines.get(usize::try_from(number).ok()?)
    }
}
