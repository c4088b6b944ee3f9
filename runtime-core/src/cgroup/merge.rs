//! What an update asks for, put into what a container has.
//!
//! Pure. A request names some limits and leaves the others as they are. Two things come out of it: the resources to keep,
//! for the next update and for whoever asks what the container has, and the resources to write now. Only what was asked
//! for is written, because somebody else may have changed other files; but a limit whose meaning depends on another one
//! (memory and swap, quota and period) brings that one along from what is kept. The merge works on the JSON form, where
//! each field is there or not.

use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};

/// The outcome of [`merge`].
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// What the container has then.
    pub kept: LinuxResources,
    /// What has to be written for it.
    pub written: LinuxResources,
}

/// Numbers for which 0 means that nothing is asked, as in every other runtime and in the form that runc documents.
const ZERO_IS_NOTHING: &[(&str, &[&str])] = &[
    ("memory", &["limit", "reservation", "swap", "kernel", "kernelTCP"]),
    (
        "cpu",
        &["shares", "quota", "period", "realtimeRuntime", "realtimePeriod"],
    ),
    ("blockIO", &["weight", "leafWeight"]),
    ("network", &["classID"]),
];

/// What tells the entries of a list apart.
const KEYS: &[(&str, &[&str])] = &[
    ("hugepageLimits", &["pageSize"]),
    ("priorities", &["name"]),
    ("weightDevice", &["major", "minor"]),
    ("throttleReadBpsDevice", &["major", "minor"]),
    ("throttleWriteBpsDevice", &["major", "minor"]),
    ("throttleReadIOPSDevice", &["major", "minor"]),
    ("throttleWriteIOPSDevice", &["major", "minor"]),
];

/// Puts `asked` into `saved`. Device rules are never changed by an update: what engines send along is left out.
///
/// # Errors
/// Internal, where the types and their JSON form do not fit.
pub fn merge(saved: &LinuxResources, asked: &LinuxResources) -> Result<Merged> {
    let mut asked = object(asked)?;
    asked.remove("devices");
    drop_zeros(&mut asked);
    let mut kept = object(saved)?;
    let mut addition = asked.clone();
    // It is about one update, not about the container.
    remove(&mut addition, "memory", "checkBeforeUpdate");
    unset(&mut kept, &asked);
    put_in(&mut kept, addition);
    let mut written = asked;
    bring_along(&mut written, &kept, "memory", &["limit", "swap"]);
    bring_along(&mut written, &kept, "cpu", &["quota", "period"]);
    Ok(Merged {
        kept: typed(kept)?,
        written: typed(written)?,
    })
}

fn object(resources: &LinuxResources) -> Result<Map<String, Value>> {
    match serde_json::to_value(resources) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(internal("not an object")),
        Err(error) => Err(internal(error)),
    }
}

fn typed(object: Map<String, Value>) -> Result<LinuxResources> {
    serde_json::from_value(Value::Object(object)).map_err(internal)
}

fn internal(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, format!("linux.resources: {why}"))
}

fn drop_zeros(asked: &mut Map<String, Value>) {
    for (section, fields) in ZERO_IS_NOTHING {
        if let Some(Value::Object(section)) = asked.get_mut(*section) {
            section.retain(|name, value| !(fields.contains(&name.as_str()) && value.as_i64() == Some(0)));
        }
    }
}

/// Takes away what a request makes meaningless without replacing it.
fn unset(kept: &mut Map<String, Value>, asked: &Map<String, Value>) {
    let has = |section: &str, field: &str| asked.get(section).and_then(|section| section.get(field));
    // Without a limit on memory there is none on memory and swap.
    if has("memory", "limit").and_then(Value::as_i64) == Some(-1) && has("memory", "swap").is_none() {
        remove(kept, "memory", "swap");
    }
    // The kernel sets the shares when a group becomes idle or stops to be.
    if has("cpu", "idle").is_some() && has("cpu", "shares").is_none() {
        remove(kept, "cpu", "shares");
    }
}

fn remove(object: &mut Map<String, Value>, section: &str, field: &str) {
    if let Some(Value::Object(section)) = object.get_mut(section) {
        section.remove(field);
    }
}

/// Objects member by member, lists entry by entry; everything else is replaced.
fn put_in(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => put_in(old, new),
            (Some(Value::Array(old)), Value::Array(new)) => {
                let keys = KEYS.iter().find(|(list, _)| *list == name);
                put_entries(old, new, keys.map_or(&[], |(_, keys)| *keys));
            }
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}

/// Of several entries for one thing the last counts, for the kernel too.
fn put_entries(old: &mut Vec<Value>, new: Vec<Value>, keys: &[&str]) {
    for entry in new {
        let same = |other: &&mut Value| keys.iter().all(|key| other.get(key) == entry.get(key));
        match (old.iter_mut().rev().find(same), entry) {
            (Some(Value::Object(old)), Value::Object(new)) => put_in(old, new),
            (_, entry) => old.push(entry),
        }
    }
}

/// Where one of the fields is asked for, the others come from what is kept.
fn bring_along(written: &mut Map<String, Value>, kept: &Map<String, Value>, section: &str, fields: &[&str]) {
    let Some(Value::Object(asked)) = written.get_mut(section) else {
        return;
    };
    if !fields.iter().any(|field| asked.contains_key(*field)) {
        return;
    }
    for field in fields {
        if let (false, Some(value)) = (
            asked.contains_key(*field),
            kept.get(section).and_then(|kept| kept.get(*field)),
        ) {
            asked.insert((*field).to_owned(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(saved: Value, asked: Value) -> (Value, Value) {
        let typed = |value: Value| serde_json::from_value(value).unwrap();
        let merged = merge(&typed(saved), &typed(asked)).unwrap();
        (
            serde_json::to_value(merged.kept).unwrap(),
            serde_json::to_value(merged.written).unwrap(),
        )
    }

    #[test]
    fn what_is_not_asked_for_stays_and_is_not_written() {
        let saved =
            json!({"memory": {"limit": 10, "reservation": 5}, "pids": {"limit": 7}, "cpu": {"shares": 100}});
        let (kept, written) = merged(saved, json!({"memory": {"reservation": 6}}));
        assert_eq!(
            kept,
            json!({"memory": {"limit": 10, "reservation": 6}, "pids": {"limit": 7}, "cpu": {"shares": 100}})
        );
        assert_eq!(written, json!({"memory": {"reservation": 6}}));
    }

    #[test]
    fn pairs_are_written_together() {
        let saved =
            json!({"memory": {"limit": 10, "swap": 30, "reservation": 3}, "cpu": {"quota": 5, "period": 9}});
        let (_, written) = merged(
            saved.clone(),
            json!({"memory": {"limit": 20}, "cpu": {"period": 8}}),
        );
        assert_eq!(
            written,
            json!({"memory": {"limit": 20, "swap": 30}, "cpu": {"quota": 5, "period": 8}})
        );
        let (_, written) = merged(saved, json!({"memory": {"swap": -1}, "cpu": {"burst": 1}}));
        assert_eq!(
            written,
            json!({"memory": {"limit": 10, "swap": -1}, "cpu": {"burst": 1}})
        );
    }

    #[test]
    fn no_limit_on_memory_takes_that_on_swap_along() {
        let saved = json!({"memory": {"limit": 10, "swap": 30}});
        let (kept, written) = merged(saved.clone(), json!({"memory": {"limit": -1}}));
        assert_eq!(kept, json!({"memory": {"limit": -1}}));
        assert_eq!(written, kept);
        let (kept, _) = merged(saved, json!({"memory": {"limit": -1, "swap": 40}}));
        assert_eq!(kept, json!({"memory": {"limit": -1, "swap": 40}}));
    }

    #[test]
    fn zeros_ask_for_nothing_where_no_runtime_takes_them_for_a_limit() {
        let saved = json!({"memory": {"limit": 10}, "cpu": {"quota": 5, "idle": 1}, "pids": {"limit": 3}});
        let asked = json!({"memory": {"limit": 0, "swap": 0}, "cpu": {"quota": 0, "burst": 0, "idle": 0},
            "pids": {"limit": 0}, "blockIO": {"weight": 0}});
        let (kept, written) = merged(saved, asked);
        assert_eq!(
            kept,
            json!({"memory": {"limit": 10}, "cpu": {"quota": 5, "idle": 0, "burst": 0}, "pids": {"limit": 0}, "blockIO": {}})
        );
        assert_eq!(
            written,
            json!({"memory": {}, "cpu": {"burst": 0, "idle": 0}, "pids": {"limit": 0}, "blockIO": {}})
        );
    }

    #[test]
    fn lists_are_merged_by_what_their_entries_are_about() {
        let list = |rates: &[(i64, u64)]| -> Value {
            rates
                .iter()
                .map(|(minor, rate)| json!({"major": 8, "minor": minor, "rate": rate}))
                .collect()
        };
        let saved = json!({"blockIO": {"throttleReadBpsDevice": list(&[(0, 1), (0, 2), (16, 3)])},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 1}], "unified": {"a.b": "1"}});
        let asked = json!({"blockIO": {"throttleReadBpsDevice": list(&[(0, 9), (32, 4)])},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 5}, {"pageSize": "1GB", "limit": 6}],
            "unified": {"c.d": "2"}});
        let (kept, written) = merged(saved, asked.clone());
        assert_eq!(
            kept,
            json!({"blockIO": {"throttleReadBpsDevice": list(&[(0, 1), (0, 9), (16, 3), (32, 4)])},
                "hugepageLimits": [{"pageSize": "2MB", "limit": 5}, {"pageSize": "1GB", "limit": 6}],
                "unified": {"a.b": "1", "c.d": "2"}})
        );
        assert_eq!(written, asked);
    }

    #[test]
    fn device_rules_and_the_check_are_not_kept() {
        let rules = json!([{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"}]);
        let (kept, written) = merged(
            json!({"devices": rules}),
            json!({"devices": [], "memory": {"limit": 5, "checkBeforeUpdate": true}}),
        );
        assert_eq!(kept, json!({"devices": rules, "memory": {"limit": 5}}));
        assert_eq!(
            written,
            json!({"memory": {"limit": 5, "checkBeforeUpdate": true}})
        );
    }

    #[test]
    fn idle_makes_the_shares_the_kernels() {
        let (kept, written) = merged(json!({"cpu": {"shares": 512}}), json!({"cpu": {"idle": 1}}));
        assert_eq!(kept, json!({"cpu": {"idle": 1}}));
        assert_eq!(written, kept);
    }
}
