//! What a damaged record still tells: enough to end and to remove what it lists, read field by field.
//!
//! Each field counts for itself; one that is missing or makes no sense is as if nobody had written it. Nothing is looked
//! up on the host here, and nothing is guessed: that is for the verb that deletes.

use std::path::Component;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Record;
use crate::cgroup::{CgroupRecord, Directory};
use crate::error::Result;
use crate::id::ContainerId;
use crate::state::Status;

/// The rest of a damaged record.
#[derive(Debug)]
pub(crate) struct Salvaged {
    /// What is there, with values for everything else that remove nothing.
    pub(crate) record: Record,
    /// Whether it still says which cgroups the container has, be it none.
    pub(crate) tells_cgroup: bool,
}

impl Salvaged {
    /// What the bytes tell about the container of this id.
    ///
    /// # Errors
    /// System, where the calling process cannot be looked at.
    pub(crate) fn from_bytes(bytes: &[u8], id: &ContainerId) -> Result<Self> {
        let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let mut record = Record::new(
            id.clone(),
            field(&value, "oci_version").unwrap_or_default(),
            field(&value, "bundle").unwrap_or_default(),
            field(&value, "rootfs").unwrap_or_default(),
        )?;
        record.init = field(&value, "init");
        // Not told: everything in the cgroup is killed one by one, which is right for either.
        record.own_pid_namespace = field(&value, "own_pid_namespace").unwrap_or(false);
        record.annotations = field(&value, "annotations").unwrap_or_default();
        record.rdt = field(&value, "rdt");
        record.poststop = field(&value, "poststop").unwrap_or_default();
        record.cgroup = cgroup(value.get("cgroup"));
        let made = || {
            field(&value, "status").map_or(record.init.is_some(), |status: Status| status != Status::Creating)
        };
        record.cgroup_made = field(&value, "cgroup_made").unwrap_or_else(made);
        record.status = Status::Stopped;
        Ok(Self {
            tells_cgroup: record.cgroup.is_some() || matches!(value.get("cgroup"), Some(Value::Null)),
            record,
        })
    }
}

fn field<T: DeserializeOwned>(value: &Value, name: &str) -> Option<T> {
    T::deserialize(value.get(name)?).ok()
}

fn cgroup(value: Option<&Value>) -> Option<CgroupRecord> {
    let value = value?;
    let directories: Vec<Directory> = value
        .get("directories")?
        .as_array()?
        .iter()
        .filter_map(|directory| serde::Deserialize::deserialize(directory).ok())
        .filter(is_a_groups_own)
        .collect();
    (!directories.is_empty()).then(|| CgroupRecord {
        directories,
        scope: field(value, "scope"),
    })
}

/// Not a hierarchy as a whole, nor anything outside of one.
fn is_a_groups_own(directory: &Directory) -> bool {
    let mut parts = directory.relative.components().peekable();
    directory.mount_point.is_absolute()
        && parts.peek().is_some()
        && parts.all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(value: &Value) -> Salvaged {
        Salvaged::from_bytes(value.to_string().as_bytes(), &"c1".parse().unwrap()).unwrap()
    }

    fn group(relative: &str) -> Value {
        json!({"kind": "v1", "controllers": ["pids"], "mount_point": "/sys/fs/cgroup/pids", "relative": relative})
    }

    #[test]
    fn each_field_counts_for_itself() {
        let found = of(
            &json!({"version": 1, "id": 7, "init": {"pid": 4, "start_time": 5}, "status": "running",
            "cgroup": {"directories": [group("a/c1"), "no directory"], "scope": 3}, "poststop": {}}),
        );
        let record = found.record;
        let init = record.init.unwrap();
        assert_eq!((init.pid, init.start_time), (4, 5));
        let cgroup = record.cgroup.unwrap();
        assert_eq!(cgroup.directories.len(), 1);
        assert!(cgroup.scope.is_none() && record.cgroup_made && !record.own_pid_namespace);
        assert_eq!(record.id.as_str(), "c1");
    }

    #[test]
    fn a_pid_without_its_start_time_is_nobody() {
        assert!(of(&json!({"init": {"pid": 4}})).record.init.is_none());
    }

    #[test]
    fn no_group_is_a_hierarchy_or_outside_of_one() {
        for relative in ["", ".", "..", "a/../..", "/", "/a"] {
            let found = of(&json!({"cgroup": {"directories": [group(relative)]}}));
            assert!(
                found.record.cgroup.is_none() && !found.tells_cgroup,
                "{relative:?}"
            );
        }
    }

    #[test]
    fn no_cgroup_is_told_by_null_alone() {
        assert!(of(&json!({"cgroup": null})).tells_cgroup);
        assert!(!of(&json!({})).tells_cgroup);
        let nothing = Salvaged::from_bytes(b"\xff{", &"c1".parse().unwrap()).unwrap();
        assert!(!nothing.tells_cgroup && nothing.record.init.is_none() && !nothing.record.cgroup_made);
    }
}
