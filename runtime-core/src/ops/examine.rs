//! One container against its record: are the device rules in force that its configuration asks for, and are its nodes still
//! those of the host? A container that has lost its GPUs, or has got too many, shows here.

use super::Container;
use crate::cgroup;
use crate::cgroup::systemd::{Manager, device_properties};
use crate::doctor::Finding;
use crate::error::Result;
use crate::facts::nodes::NodeFacts;
use crate::spec::Spec;

const HOW_RULES: &str =
    "somebody else has changed them: `runtime update` does not set device rules, make the container anew";

impl Container {
    /// What doctor finds about the container: the record, the devices it was given, the kernel's rules, systemd's.
    /// What is not ok names the first difference.
    ///
    /// # Errors
    /// State, where the saved configuration cannot be read; InvalidSpec, where its rules cannot be. What cannot be asked is a
    /// finding.
    pub fn examine(&self) -> Result<Vec<Finding>> {
        let spec = self.config()?.spec;
        let mut findings = vec![self.record_finding()?, self.devices_finding()];
        findings.push(nodes(&spec));
        let linux = spec.linux().as_ref();
        let resources = linux.and_then(|linux| linux.resources().as_ref());
        let rules = cgroup::device_rules(
            resources
                .and_then(|resources| resources.devices().as_deref())
                .unwrap_or_default(),
            linux
                .and_then(|linux| linux.devices().as_deref())
                .unwrap_or_default(),
        )?;
        findings.push(self.kernel(&rules));
        findings.extend(self.unit(&rules));
        Ok(findings)
    }

    fn record_finding(&self) -> Result<Finding> {
        let found = match self.pid() {
            Some(pid) => format!("{}, init is {pid}", self.status()?.as_str()),
            None => self.status()?.as_str().to_owned(),
        };
        Ok(Finding::ok(
            "record",
            "what the runtime knows of the container",
            found,
        ))
    }

    fn devices_finding(&self) -> Finding {
        let why = "what was asked for beside the configuration, and who answered";
        let shown: Vec<String> = self
            .record
            .devices
            .iter()
            .map(|device| match &device.file {
                Some(file) => format!("{} of {}", device.name, file.display()),
                None => format!("{} of the driver", device.name),
            })
            .collect();
        let found = if shown.is_empty() {
            "none".to_owned()
        } else {
            shown.join(", ")
        };
        Finding::ok("devices", why, found)
    }

    fn kernel(&self, rules: &cgroup::DeviceRules) -> Finding {
        let why = "which devices the container's processes may open and make";
        let Some(cgroup) = self.cgroup() else {
            return Finding::ok(
                "device rules",
                why,
                "the container has no cgroup, and so no rules",
            )
            .limited("another cgroup manager than disabled");
        };
        match cgroup.device_difference(rules) {
            Ok(None) => Finding::ok("device rules", why, "the kernel has those of the configuration"),
            Ok(Some(difference)) => Finding::ok("device rules", why, difference).missing(HOW_RULES),
            Err(error) => Finding::ok("device rules", why, format!("cannot be read: {error}"))
                .limited("ask as root, while the container exists"),
        }
    }

    /// systemd puts its own list in force at each daemon-reload; where it is shorter, the container loses devices then.
    fn unit(&self, rules: &cgroup::DeviceRules) -> Option<Finding> {
        let why = "which devices are allowed after the next daemon-reload";
        let scope = self.record.cgroup.as_ref()?.scope.as_ref()?;
        let told = Manager::connect(scope.user).and_then(|mut manager| manager.device_list(&scope.unit));
        Some(match told {
            Err(error) => Finding::ok("unit", why, format!("cannot be asked: {error}"))
                .limited("a systemd that answers"),
            Ok(found) => match found.difference(&device_properties(rules)) {
                None => Finding::ok(
                    "unit",
                    why,
                    format!("{} has those of the configuration", scope.unit),
                ),
                Some(difference) => Finding::ok("unit", why, difference).missing(HOW_RULES),
            },
        })
    }
}

/// Whether the nodes that the container was made with still have the host's numbers: the kernel gives drivers new ones when
/// their modules are loaded again.
fn nodes(spec: &Spec) -> Finding {
    let why = "the numbers by which the container's nodes reach their drivers";
    let linux = spec.linux().as_ref();
    let devices = linux
        .and_then(|linux| linux.devices().as_deref())
        .unwrap_or_default();
    let mut same = 0;
    for device in devices {
        let Ok(Some(found)) = NodeFacts::look(device.path()) else {
            continue;
        };
        let own = (device.major(), device.minor());
        if found.kind.is_some() && own != (i64::from(found.major), i64::from(found.minor)) {
            let text = format!(
                "{} is {}:{} in the container, and {}:{} on the host now",
                device.path().display(),
                own.0,
                own.1,
                found.major,
                found.minor
            );
            return Finding::ok("nodes", why, text).limited("make the container anew");
        }
        same += 1;
    }
    Finding::ok(
        "nodes",
        why,
        format!(
            "{} in the configuration, {same} of them at the same path on the host",
            devices.len()
        ),
    )
}
