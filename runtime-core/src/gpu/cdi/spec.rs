//! The content of a CDI file as data: what SPEC.md lists, field by field, and which version of the format it needs.
//!
//! Reading files, judging values and applying edits live elsewhere. What is written here as JSON is read back equal,
//! and is a file that other engines take, once [`CdiSpec::minimum_version`] is its `cdiVersion`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One CDI file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CdiSpec {
    /// The version of the format; a leading `v` is allowed.
    #[serde(default)]
    pub cdi_version: String,
    /// Vendor and class: `nvidia.com/gpu`.
    #[serde(default)]
    pub kind: String,
    /// About the file, for people and tools; never for the container.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What can be asked for.
    #[serde(default)]
    pub devices: Vec<CdiDevice>,
    /// What any device of the file changes, once.
    #[serde(default, skip_serializing_if = "ContainerEdits::is_empty")]
    pub container_edits: ContainerEdits,
}

/// One device of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CdiDevice {
    /// Its name behind the kind: `0` in `nvidia.com/gpu=0`.
    #[serde(default)]
    pub name: String,
    /// About the device.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What the device changes.
    #[serde(default)]
    pub container_edits: ContainerEdits,
}

/// Changes of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContainerEdits {
    /// Variables, `NAME=VALUE`; one of the same name is replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Device nodes, each with its rule in the device cgroup; one at the same path is replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_nodes: Vec<DeviceNode>,
    /// Network devices that move into the container (1.1.0).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub net_devices: Vec<NetDevice>,
    /// Hooks, added behind those of the same kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<CdiHook>,
    /// Mounts; one at the same destination is replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<CdiMount>,
    /// The resctrl group (0.7.0); the last one counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<IntelRdt>,
    /// Supplementary groups of the program (0.7.0); 0 is not added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_gids: Vec<u32>,
}

/// A device node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeviceNode {
    /// Where it lies in the container.
    #[serde(default)]
    pub path: String,
    /// Where it lies on the host (0.5.0); empty: at `path`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host_path: String,
    /// `b`, `c`, `u` or `p`; empty: as the host's node.
    #[serde(default, rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Major number; 0: as the host's node.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub major: i64,
    /// Minor number; means something beside `major` only.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub minor: i64,
    /// Permission bits; None: as the host's node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<u32>,
    /// What the cgroup allows, letters of `rwm`; empty: all three; `none`: no rule that allows anything.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub permissions: String,
    /// Owner; None: the program's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Group; None: the program's group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

impl DeviceNode {
    /// Where the node lies on the host.
    pub fn on_host(&self) -> &str {
        if self.host_path.is_empty() {
            &self.path
        } else {
            &self.host_path
        }
    }
}

/// A network device that moves into the container (1.1.0).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetDevice {
    /// Its name on the host.
    #[serde(default)]
    pub host_interface_name: String,
    /// Its name in the container.
    #[serde(default)]
    pub name: String,
}

/// A hook.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CdiHook {
    /// Its kind: `prestart`, `createRuntime`, `createContainer`, `startContainer`, `poststart`, `poststop`.
    #[serde(default)]
    pub hook_name: String,
    /// The program on the host.
    #[serde(default)]
    pub path: String,
    /// All arguments, `argv[0]` first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The whole environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}

/// A mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CdiMount {
    /// The source.
    #[serde(default)]
    pub host_path: String,
    /// The destination.
    #[serde(default)]
    pub container_path: String,
    /// As in config.json: `ro`, `nosuid`, `bind`, ...
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// The type of the filesystem (0.4.0).
    #[serde(default, rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
}

/// A resctrl group (0.7.0); as `linux.intelRdt`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IntelRdt {
    /// The class of service.
    #[serde(default, rename = "closID", skip_serializing_if = "String::is_empty")]
    pub clos_id: String,
    /// A line for the L3 cache.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema: String,
    /// A line for memory bandwidth.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema: String,
    /// Whole lines (1.1.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schemata: Option<Vec<String>>,
    /// Whether a monitoring group is made (1.1.0).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enable_monitoring: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A released version of the format, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CdiVersion {
    /// 0.1.0: known, but what it said is no longer enough for any file.
    V010,
    /// 0.2.0: likewise.
    V020,
    /// 0.3.0, the oldest that a file may declare.
    V030,
    /// 0.4.0: the type of a mount.
    V040,
    /// 0.5.0: `hostPath` of a node, names of devices that begin with a digit.
    V050,
    /// 0.6.0: annotations, dots in the class.
    V060,
    /// 0.7.0: `intelRdt`, `additionalGids`.
    V070,
    /// 0.8.0: nothing new in files.
    V080,
    /// 1.0.0: nothing new in files.
    V100,
    /// 1.1.0: `netDevices`, `intelRdt.schemata`, `intelRdt.enableMonitoring`.
    V110,
}

impl CdiVersion {
    /// Every version, oldest first.
    pub const ALL: [Self; 10] = [
        Self::V010,
        Self::V020,
        Self::V030,
        Self::V040,
        Self::V050,
        Self::V060,
        Self::V070,
        Self::V080,
        Self::V100,
        Self::V110,
    ];

    /// As files write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V010 => "0.1.0",
            Self::V020 => "0.2.0",
            Self::V030 => "0.3.0",
            Self::V040 => "0.4.0",
            Self::V050 => "0.5.0",
            Self::V060 => "0.6.0",
            Self::V070 => "0.7.0",
            Self::V080 => "0.8.0",
            Self::V100 => "1.0.0",
            Self::V110 => "1.1.0",
        }
    }

    /// The version of this name, with or without a leading `v`.
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('v').unwrap_or(text);
        Self::ALL.into_iter().find(|version| version.as_str() == bare)
    }
}

impl fmt::Display for CdiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl CdiSpec {
    /// The oldest version of the format that has all that is used here; a file that declares an older one is refused.
    pub fn minimum_version(&self) -> CdiVersion {
        let class = self.kind.split_once('/').map_or("", |(_, class)| class);
        let annotated = !self.annotations.is_empty()
            || self.devices.iter().any(|device| !device.annotations.is_empty())
            || class.contains('.');
        let named = self
            .devices
            .iter()
            .any(|device| device.name.starts_with(|c: char| c.is_ascii_digit()));
        let edits = self.devices.iter().map(|device| &device.container_edits);
        let floors = [
            annotated.then_some(CdiVersion::V060),
            named.then_some(CdiVersion::V050),
        ];
        edits
            .chain([&self.container_edits])
            .map(ContainerEdits::minimum_version)
            .chain(floors.into_iter().flatten())
            .max()
            .unwrap_or(CdiVersion::V030)
    }
}

impl ContainerEdits {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds other edits behind these; the resctrl group of the others counts, where they have one.
    pub fn append(&mut self, other: &Self) {
        self.env.extend_from_slice(&other.env);
        self.device_nodes.extend_from_slice(&other.device_nodes);
        self.net_devices.extend_from_slice(&other.net_devices);
        self.hooks.extend_from_slice(&other.hooks);
        self.mounts.extend_from_slice(&other.mounts);
        if other.intel_rdt.is_some() {
            self.intel_rdt.clone_from(&other.intel_rdt);
        }
        self.additional_gids.extend_from_slice(&other.additional_gids);
    }

    fn minimum_version(&self) -> CdiVersion {
        let newest_rdt = |rdt: &IntelRdt| rdt.schemata.is_some() || rdt.enable_monitoring;
        if !self.net_devices.is_empty() || self.intel_rdt.as_ref().is_some_and(newest_rdt) {
            CdiVersion::V110
        } else if self.intel_rdt.is_some() || !self.additional_gids.is_empty() {
            CdiVersion::V070
        } else if self.device_nodes.iter().any(|node| !node.host_path.is_empty()) {
            CdiVersion::V050
        } else if self.mounts.iter().any(|mount| !mount.kind.is_empty()) {
            CdiVersion::V040
        } else {
            CdiVersion::V030
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_survives_json() {
        let text = r#"{"cdiVersion":"1.1.0","kind":"v.com/c.d","annotations":{"a":"b"},
            "devices":[{"name":"0","annotations":{"x":"y"},"containerEdits":{
                "env":["A=b"],
                "deviceNodes":[{"path":"/dev/a","hostPath":"/dev/b","type":"c","major":195,"minor":3,"fileMode":438,
                    "permissions":"rw","uid":1,"gid":2}],
                "netDevices":[{"hostInterfaceName":"h0","name":"c0"}],
                "hooks":[{"hookName":"createContainer","path":"/bin/h","args":["h","x"],"env":["B=c"],"timeout":3}],
                "mounts":[{"hostPath":"/h","containerPath":"/c","options":["ro"],"type":"bind"}],
                "intelRdt":{"closID":"c","l3CacheSchema":"L3:0=f","memBwSchema":"MB:0=1","schemata":["L3:0=f"],
                    "enableMonitoring":true},
                "additionalGids":[5,6]}}],
            "containerEdits":{"env":["C=d"]}}"#;
        let spec: CdiSpec = serde_json::from_str(text).unwrap();
        let original: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(&spec).unwrap(), original);
        assert_eq!(spec.minimum_version(), CdiVersion::V110);
    }

    #[test]
    fn the_version_is_the_one_of_the_newest_field() {
        let version = |device: &str, rest: &str| {
            let text = format!(
                r#"{{"cdiVersion":"0.3.0","kind":"v.com/c","devices":[{{"name":"a","containerEdits":{device}}}]{rest}}}"#
            );
            serde_json::from_str::<CdiSpec>(&text)
                .unwrap()
                .minimum_version()
                .as_str()
        };
        assert_eq!(version(r#"{"env":["A=b"]}"#, ""), "0.3.0");
        assert_eq!(
            version(
                r#"{"mounts":[{"hostPath":"/a","containerPath":"/a","type":"bind"}]}"#,
                ""
            ),
            "0.4.0"
        );
        assert_eq!(
            version(r#"{"deviceNodes":[{"path":"/a","hostPath":"/b"}]}"#, ""),
            "0.5.0"
        );
        assert_eq!(version("{}", r#","annotations":{"a":"b"}"#), "0.6.0");
        assert_eq!(
            version("{}", r#","containerEdits":{"additionalGids":[1]}"#),
            "0.7.0"
        );
        assert_eq!(version(r#"{"intelRdt":{}}"#, ""), "0.7.0");
        assert_eq!(version(r#"{"intelRdt":{"schemata":[]}}"#, ""), "1.1.0");
    }

    #[test]
    fn versions_are_read_with_and_without_their_letter() {
        assert_eq!(CdiVersion::parse("v0.5.0"), Some(CdiVersion::V050));
        assert_eq!(CdiVersion::parse("0.5"), None);
        assert!(CdiVersion::V070 < CdiVersion::V110);
    }
}
