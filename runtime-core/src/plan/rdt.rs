//! linux.intelRdt: the container's class of service for caches and memory bandwidth (config-linux.md, IntelRdt).
//!
//! Without a closID the group is the container's own, named by its id, and goes with it. A closID names a group that may
//! be others' too: it is made where it is missing and something is asked of it, must otherwise be what is asked for, and
//! stays. `/` is the group of the whole machine.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxIntelRdt};

use super::schedule::{FdName, ParentStep, Schedule, Step};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::HostFacts;
use crate::facts::resctrl::ResctrlFacts;
use crate::id::ContainerId;

/// Directories of resctrl that are no groups.
const RESERVED: [&str; 3] = ["info", "mon_data", "mon_groups"];
const FIELD: &str = "linux.intelRdt";

/// Where the container's processes go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RdtPlan {
    /// Where resctrl is mounted.
    pub root: PathBuf,
    /// The group.
    pub group: PathBuf,
    /// Whether the group goes with the container.
    pub own: bool,
    /// The group that measures the container.
    pub monitor: Option<PathBuf>,
    /// What the group is to have, in the order of writing.
    pub schemata: Vec<String>,
}

impl RdtPlan {
    /// What the configuration asks for, where this host has it.
    pub(super) fn of(linux: Option<&Linux>, id: &ContainerId, facts: &HostFacts) -> Result<Option<Self>> {
        let Some(rdt) = linux.and_then(|linux| linux.intel_rdt().as_ref()) else {
            return Ok(None);
        };
        let lacks = |field: &str, message: &str| {
            Err(Error::spec(format!("{FIELD}{field}"), message).with_kind(ErrorKind::Unsupported))
        };
        let Some(ResctrlFacts {
            root,
            cache,
            bandwidth,
            monitoring,
        }) = &facts.resctrl
        else {
            let message = "intelRdt is specified in config, but Intel RDT is not enabled: no resctrl filesystem is mounted";
            return lacks("", message);
        };
        if given(rdt.l3_cache_schema()).is_some() && !cache {
            let message = "intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled";
            return lacks(".l3CacheSchema", message);
        }
        if given(rdt.mem_bw_schema()).is_some() && !bandwidth {
            let message = "intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled";
            return lacks(".memBwSchema", message);
        }
        let measured = *rdt.enable_monitoring() == Some(true);
        if measured && !monitoring {
            return lacks(
                ".enableMonitoring",
                "this processor measures neither caches nor memory bandwidth",
            );
        }
        let clos = given(rdt.clos_id());
        let name = clos.unwrap_or(id.as_str());
        if RESERVED.contains(&name) {
            let message = format!("{name:?} is a directory of resctrl that is no group");
            return Err(Error::spec(format!("{FIELD}.closID"), message));
        }
        let group = if name == "/" {
            root.clone()
        } else {
            root.join(name)
        };
        Ok(Some(Self {
            root: root.clone(),
            own: clos.is_none(),
            monitor: measured.then(|| group.join("mon_groups").join(id.as_str())),
            schemata: schemata(rdt),
            group,
        }))
    }

    /// The group is ready before init starts.
    pub(super) fn make(&self, schedule: &mut Schedule) {
        let shown = |path: &Path| path.to_string_lossy().into_owned();
        let group = shown(&self.group);
        // The group of the machine is there; a foreign one of which nothing is asked has to be.
        let make = self.own || (!self.schemata.is_empty() && self.group != self.root);
        schedule.parent(
            ParentStep::RdtGroup {
                group: group.clone(),
                make,
            },
            if self.own {
                FIELD.to_owned()
            } else {
                format!("{FIELD}.closID")
            },
        );
        if !self.schemata.is_empty() {
            let step = ParentStep::RdtSchemata {
                group: group.clone(),
                own: self.own,
                lines: self.schemata.clone(),
            };
            schedule.parent(step, FIELD);
        }
        if let Some(monitor) = &self.monitor {
            let group = shown(monitor);
            schedule.parent(
                ParentStep::RdtMonitor { group },
                format!("{FIELD}.enableMonitoring"),
            );
        }
        open_tasks(schedule, &self.group, self.monitor.as_deref(), false);
    }

    /// Before anything of the container exists, so that all of it is inside.
    pub(super) fn join(&self, schedule: &mut Schedule) {
        join(schedule, self.monitor.is_some());
    }
}

/// The `tasks` files of the groups; `may_lack`: groups that are gone hold nobody.
pub(super) fn open_tasks(schedule: &mut Schedule, group: &Path, monitor: Option<&Path>, may_lack: bool) {
    let shown = |path: &Path| path.to_string_lossy().into_owned();
    schedule.parent(
        ParentStep::RdtTasks {
            group: shown(group),
            monitor: monitor.map(shown),
            may_lack,
        },
        FIELD,
    );
}

/// First the group, then the one below it that measures: resctrl takes only members into that.
pub(super) fn join(schedule: &mut Schedule, monitored: bool) {
    schedule.init(
        Step::JoinCgroup {
            tasks: FdName::RdtGroup,
        },
        FIELD,
    );
    if monitored {
        schedule.init(
            Step::JoinCgroup {
                tasks: FdName::RdtMonitor,
            },
            FIELD,
        );
    }
}

/// In the order of the specification: the cache, the memory, then what is to be taken as it is.
fn schemata(rdt: &LinuxIntelRdt) -> Vec<String> {
    let first = [rdt.l3_cache_schema(), rdt.mem_bw_schema()]
        .into_iter()
        .filter_map(given);
    let rest = rdt.schemata().iter().flatten().map(String::as_str);
    first
        .chain(rest)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plan(rdt: serde_json::Value, id: &str) -> Result<Vec<String>> {
        let facts = include_str!("../../../fixtures/facts/selinux-v2.json");
        let facts: HostFacts = serde_json::from_str(facts).unwrap();
        plan_on(rdt, id, &facts)
    }

    fn plan_on(rdt: serde_json::Value, id: &str, facts: &HostFacts) -> Result<Vec<String>> {
        let linux: Linux = serde_json::from_value(json!({"intelRdt": rdt})).unwrap();
        let plan = RdtPlan::of(Some(&linux), &id.parse().unwrap(), facts)?.unwrap();
        let mut schedule = Schedule::default();
        plan.make(&mut schedule);
        plan.join(&mut schedule);
        Ok(schedule.lines.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_class_is_made_only_where_something_is_asked_of_it() {
        let lines = plan(json!({"closID": "gold", "schemata": ["L3:0=f"]}), "c1").unwrap();
        assert_eq!(
            lines[..2],
            [
                "create resctrl group /sys/fs/resctrl/gold, if it is missing",
                "write schemata L3:0=f to a new group, compare those of another"
            ]
        );
        let lines = plan(json!({"closID": "gold"}), "c1").unwrap();
        assert_eq!(
            lines,
            [
                "find resctrl group /sys/fs/resctrl/gold",
                "open tasks of resctrl group /sys/fs/resctrl/gold",
                "join the resctrl group"
            ]
        );
        let lines = plan(json!({"closID": "/", "l3CacheSchema": "L3:0=f"}), "c1").unwrap();
        assert_eq!(lines[0], "find resctrl group /sys/fs/resctrl");
        let lines = plan(json!({}), "c1").unwrap();
        assert_eq!(
            lines[0],
            "create resctrl group /sys/fs/resctrl/c1, if it is missing"
        );
        let lines = plan(json!({"closID": "gold", "enableMonitoring": true}), "c1").unwrap();
        assert_eq!(
            lines[1],
            "create resctrl group /sys/fs/resctrl/gold/mon_groups/c1"
        );
        assert_eq!(
            lines[3..],
            ["join the resctrl group", "join the resctrl group that measures"]
        );
    }

    #[test]
    fn what_the_host_lacks_is_named() {
        for name in RESERVED {
            let error = plan(json!({"closID": name}), "c1").unwrap_err();
            assert_eq!(error.field(), Some("linux.intelRdt.closID"), "{error}");
            assert!(plan(json!({}), name).is_err());
        }
        let facts = include_str!("../../../fixtures/facts/selinux-v2.json");
        let mut facts: HostFacts = serde_json::from_str(facts).unwrap();
        let resctrl = facts.resctrl.as_mut().unwrap();
        (resctrl.cache, resctrl.bandwidth, resctrl.monitoring) = (false, false, false);
        for (field, value) in [
            ("l3CacheSchema", json!("L3:0=f")),
            ("memBwSchema", json!("MB:0=20")),
            ("enableMonitoring", json!(true)),
        ] {
            let error = plan_on(json!({field: value}), "c1", &facts).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert_eq!(error.field().unwrap(), format!("linux.intelRdt.{field}"));
        }
        assert!(plan_on(json!({"schemata": ["L2:0=f"]}), "c1", &facts).is_ok());
        facts.resctrl = None;
        assert_eq!(
            plan_on(json!({}), "c1", &facts).unwrap_err().kind(),
            ErrorKind::Unsupported
        );
    }
}
