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
        Property::new("DevicePolicy", Value::text(policy), FIELD),
        Property::new("DeviceAllow", Value::Array("(ss)".to_owned(), list), FIELD),
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
