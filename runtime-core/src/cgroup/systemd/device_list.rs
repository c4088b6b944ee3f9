//! Device rules as `DevicePolicy=` and `DeviceAllow=` of a unit.
//!
//! Pure. The container's own program filters devices exactly; the kernel wants a yes from every program on the group, so
//! systemd's must never say no where ours says yes. What systemd can express is told to it, and it puts its list in force
//! again at each daemon-reload. What it cannot (a list of what is denied, one minor of every major) makes it keep out
//! of the matter: a list of a part would take devices away at the next reload.

use std::collections::BTreeMap;

use super::properties::Property;
use crate::cgroup::devices::{DeviceKind, DeviceRules, Devices};
use crate::dbus::Value;
use crate::error::{Error, ErrorKind, Result};

/// The properties that say which devices a unit allows, in the order of [`DeviceList::of`].
pub(super) const NAMES: [&str; 2] = ["DevicePolicy", "DeviceAllow"];
const FIELD: &str = "linux.resources.devices";

/// The properties; always both, as an update has to take back what was set before.
pub fn device_properties(rules: &DeviceRules) -> Vec<Property> {
    let allowed: Option<Vec<Value>> = rules
        .allow_list()
        .and_then(|list| list.into_iter().map(entry).collect());
    let (policy, list) = match allowed {
        Some(list) => ("strict", list),
        None => ("auto", Vec::new()),
    };
    vec![
        Property::new(NAMES[0], Value::text(policy), FIELD),
        Property::new(NAMES[1], Value::Array("(ss)".to_owned(), list), FIELD),
    ]
}

/// The properties beside version 1, where there is one list for systemd and for us: it writes its own at each
/// daemon-reload, and what it cannot say is gone then.
///
/// # Errors
/// The rules say something that systemd cannot: a device that is denied would be open after the next reload.
pub fn device_properties_v1(rules: &DeviceRules) -> Result<Vec<Property>> {
    let properties = device_properties(rules);
    let is_open = properties
        .iter()
        .any(|property| property.value == Value::text("auto"));
    if is_open && !rules.allow_everything() {
        let message = "systemd beside cgroup v1 knows lists of what is allowed only: these rules deny a part of what they \
                       allow, or a minor number of every major one";
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_field(FIELD)
            .with_hint("deny everything first and allow single devices, or use --cgroup-manager cgroupfs"));
    }
    Ok(properties)
}

/// `/dev/char/1:3` is taken by its numbers, no such file is needed (since 240); `char-195` is a whole major.
fn entry((devices, access): (Devices, u8)) -> Option<Value> {
    let kind = match devices.kind {
        DeviceKind::Block => "block",
        DeviceKind::Char => "char",
    };
    let path = match (devices.major, devices.minor) {
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
        (Some(major), None) => format!("{kind}-{major}"),
        (None, None) => format!("{kind}-*"),
        (None, Some(_)) => return None,
    };
    let letters: String = [(2, 'r'), (4, 'w'), (1, 'm')]
        .into_iter()
        .filter(|(bit, _)| access & bit != 0)
        .map(|(_, letter)| letter)
        .collect();
    Some(Value::Struct(vec![Value::Text(path), Value::Text(letters)]))
}

impl DeviceRules {
    /// The rules as a list of what is allowed; None where a list cannot say it.
    fn allow_list(&self) -> Option<BTreeMap<Devices, u8>> {
        let (default, _) = self.effective();
        if default {
            return None;
        }
        let exceptions = self.exceptions().ok()?;
        let list = exceptions
            .into_iter()
            .map(|(devices, (access, _))| (devices, access));
        Some(list.filter(|(_, access)| *access != 0).collect())
    }
}

/// `DevicePolicy=` and `DeviceAllow=` as a manager tells them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceList {
    policy: String,
    allow: BTreeMap<String, String>,
}

impl DeviceList {
    /// Out of the values of both properties; None, where they are of other types.
    pub(super) fn of(values: &[Value]) -> Option<Self> {
        let [Value::Text(policy), Value::Array(_, entries)] = values else {
            return None;
        };
        let mut allow: BTreeMap<String, String> = BTreeMap::new();
        for entry in entries {
            let Value::Struct(parts) = entry else { return None };
            let [Value::Text(path), Value::Text(access)] = parts.as_slice() else {
                return None;
            };
            let known = allow.entry(path.clone()).or_default();
            let mut letters: Vec<char> = known.chars().chain(access.chars()).collect();
            letters.sort_unstable();
            letters.dedup();
            *known = letters.into_iter().collect();
        }
        Some(Self {
            policy: policy.clone(),
            allow,
        })
    }

    /// The first difference to the properties of [`device_properties`].
    pub(crate) fn difference(&self, wanted: &[Property]) -> Option<String> {
        let values: Vec<Value> = wanted.iter().map(|property| property.value.clone()).collect();
        let wanted = Self::of(&values)?;
        if self.policy != wanted.policy {
            return Some(format!(
                "DevicePolicy is {:?}, and should be {:?}",
                self.policy, wanted.policy
            ));
        }
        let all = wanted.allow.keys().chain(self.allow.keys());
        let mut differing = all.filter(|path| self.allow.get(*path) != wanted.allow.get(*path));
        differing.next().map(|path| {
            let shown = |list: &Self| {
                list.allow
                    .get(path)
                    .cloned()
                    .unwrap_or_else(|| "nothing".to_owned())
            };
            format!(
                "DeviceAllow has {} for {path}, and should have {}",
                shown(self),
                shown(&wanted)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::device_rules;

    fn shown(rules: &str) -> Vec<String> {
        let rules: Vec<oci_spec::runtime::LinuxDeviceCgroup> = serde_json::from_str(rules).unwrap();
        device_properties(&device_rules(&rules, &[]).unwrap())
            .into_iter()
            .map(|property| format!("{}={}", property.name, property.value))
            .collect()
    }

    #[test]
    fn a_list_of_what_is_allowed() {
        let properties = shown(
            r#"[{"allow":false,"access":"rwm"},
                {"allow":true,"type":"c","major":195,"minor":0,"access":"rw"},
                {"allow":true,"type":"c","major":510,"access":"rwm"},
                {"allow":true,"type":"b","major":8,"minor":0,"access":"r"},
                {"allow":false,"type":"c","major":195,"minor":0,"access":"w"}]"#,
        );
        assert_eq!(properties[0], "DevicePolicy=\"strict\"");
        for part in [
            "(\"char-*\", \"m\")",
            "(\"block-*\", \"m\")",
            "(\"/dev/char/195:0\", \"r\")",
            "(\"char-510\", \"rwm\")",
            "(\"/dev/block/8:0\", \"r\")",
            "(\"char-136\", \"rwm\")",
            "(\"/dev/char/1:3\", \"rwm\")",
        ] {
            assert!(properties[1].contains(part), "{part}: {}", properties[1]);
        }
    }

    #[test]
    fn the_first_difference_of_a_unit_is_named() {
        let properties = |rules: &str| {
            let rules: Vec<oci_spec::runtime::LinuxDeviceCgroup> = serde_json::from_str(rules).unwrap();
            device_properties(&device_rules(&rules, &[]).unwrap())
        };
        let told = |properties: &[Property]| {
            let values: Vec<Value> = properties.iter().map(|property| property.value.clone()).collect();
            DeviceList::of(&values).unwrap()
        };
        let wanted = properties(r#"[{"allow":true,"type":"c","major":195,"minor":0,"access":"rw"}]"#);
        let shorter = properties("[]");
        let open = properties(r#"[{"allow":true,"access":"rwm"}]"#);
        assert_eq!(told(&wanted).difference(&wanted), None);
        assert_eq!(
            told(&shorter).difference(&wanted).unwrap(),
            "DeviceAllow has nothing for /dev/char/195:0, and should have rw"
        );
        assert!(
            told(&open)
                .difference(&wanted)
                .unwrap()
                .contains("DevicePolicy is \"auto\"")
        );
    }

    #[test]
    fn what_it_cannot_say_is_not_its_matter() {
        for rules in [
            // Everything.
            r#"[{"allow":true,"access":"rwm"}]"#,
            // All but one.
            r#"[{"allow":true,"access":"rwm"},{"allow":false,"type":"c","major":1,"minor":3,"access":"rwm"}]"#,
            // One minor of every major.
            r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","minor":5,"access":"rw"}]"#,
            // A major without one of its minors.
            r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":7,"access":"rw"},
                {"allow":false,"type":"c","major":7,"minor":1,"access":"rw"}]"#,
        ] {
            assert_eq!(
                shown(rules),
                ["DevicePolicy=\"auto\"", "DeviceAllow=@a(ss) []"],
                "{rules}"
            );
            let rules: Vec<oci_spec::runtime::LinuxDeviceCgroup> = serde_json::from_str(rules).unwrap();
            let all = rules.len() == 1;
            let v1 = device_properties_v1(&device_rules(&rules, &[]).unwrap());
            assert_eq!(v1.is_ok(), all, "{rules:?}");
        }
    }
}
