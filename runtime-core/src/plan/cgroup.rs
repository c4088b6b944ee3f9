//! The container's cgroup: what it is going to be, and the lines that make it, by directories or as a scope of systemd.

use super::CgroupPlan;
use super::create::PlanRequest;
use super::schedule::{FdName, ParentStep, Schedule, Step};
use crate::cgroup::{self, systemd};
use crate::error::{Error, Result};
use crate::facts::HostFacts;
use crate::facts::cgroup::HierarchyKind;
use crate::request::CgroupDriver;
use crate::spec::{LoadedSpec, Warning};

/// Decides where it is and what is written there; None with the driver `disabled`.
pub(crate) fn plan(
    loaded: &LoadedSpec,
    facts: &HostFacts,
    request: &PlanRequest,
    warnings: &mut Vec<Warning>,
) -> Result<Option<CgroupPlan>> {
    let linux = loaded.spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let limits = resources.map(|resources| cgroup::limits(resources, &facts.cgroup));
    let mut limits = limits.transpose()?.unwrap_or_default();
    if request.driver == CgroupDriver::Disabled {
        return match limits.writes.first() {
            Some(write) => Err(Error::spec(
                write.origin.clone(),
                "limits need a cgroup, and the cgroup manager is \"disabled\"",
            )),
            None => Ok(None),
        };
    }
    let rules = resources
        .and_then(|resources| resources.devices().as_deref())
        .unwrap_or_default();
    let nodes = linux
        .and_then(|linux| linux.devices().as_deref())
        .unwrap_or_default();
    let devices = cgroup::devices::device_rules(rules, nodes)?;
    warnings.extend(cgroup::devices::access_warnings(rules));
    let id = request.id.as_str();
    let (scope, paths) = if request.driver == CgroupDriver::Systemd {
        let (scope, paths) = systemd::plan(&loaded.spec, id, facts, &mut limits, &devices)?;
        (Some(scope), paths)
    } else {
        let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
        (None, cgroup::resolve(path, id, &facts.cgroup)?)
    };
    warnings.extend(limits.warnings);
    Ok(Some(CgroupPlan {
        scope,
        paths,
        writes: limits.writes,
        devices,
        rootless: request.rootless,
    }))
}

pub(super) fn make(schedule: &mut Schedule, cgroup: &CgroupPlan) {
    let directories = cgroup
        .paths
        .directories
        .iter()
        .map(|directory| directory.path().to_string_lossy().into_owned())
        .collect();
    schedule.parent(ParentStep::MakeCgroup { directories }, "linux.cgroupsPath");
    fill(schedule, cgroup);
}

/// A scope is made around a process: init waits in it, before anything of the container exists, until its limits are
/// there.
pub(super) fn start_scope(
    schedule: &mut Schedule,
    cgroup: &CgroupPlan,
    delegate: impl FnOnce(&mut Schedule),
) {
    let Some(plan) = &cgroup.scope else { return };
    let field = "linux.cgroupsPath";
    schedule.init(Step::Sync {}, field);
    let start = ParentStep::StartScope {
        unit: plan.scope.unit.clone(),
        slice: plan.scope.slice.clone(),
        properties: plan.properties.iter().map(ToString::to_string).collect(),
    };
    schedule.parent(start, field);
    fill(schedule, cgroup);
    delegate(schedule);
    schedule.parent(ParentStep::Release, field);
}

fn fill(schedule: &mut Schedule, cgroup: &CgroupPlan) {
    for write in cgroup.writes.iter().filter(|write| !write.admits_nobody()) {
        limit(schedule, write);
    }
    schedule.parent(
        ParentStep::DeviceRules {
            rules: cgroup.devices.lines(),
        },
        "linux.resources.devices",
    );
}

pub(super) fn limit(schedule: &mut Schedule, write: &cgroup::Write) {
    schedule.parent(
        ParentStep::Limit {
            write: Box::new(write.clone()),
        },
        write.origin.clone(),
    );
}

/// The unified hierarchy is entered by the clone itself.
pub(super) fn join(schedule: &mut Schedule, cgroup: &CgroupPlan) {
    for directory in &cgroup.paths.directories {
        if directory.kind != HierarchyKind::Unified && !directory.read_only {
            schedule.init(
                Step::JoinCgroup {
                    tasks: FdName::Tasks(directory.name()),
                },
                "linux.cgroupsPath",
            );
        }
    }
}
