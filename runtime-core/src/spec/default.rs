//! The default configuration, as `runc spec` writes it: the start of every hand-made bundle, and what scripts edit.
//!
//! The text is a contract (tab-indented, fields in the order of the Go types), so it is kept as text; the typed form is
//! read from it. What depends on the machine or the caller comes in as a parameter.

use super::LoadedSpec;
use crate::error::Result;
use oci_spec::runtime::Spec;

/// The version of the runtime-spec that the default configuration follows.
pub const OCI_VERSION: &str = "1.3.0";

/// What the default configuration depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DefaultSpec {
    /// For a caller without privileges: its effective uid and gid, which become root inside.
    pub rootless: Option<(u32, u32)>,
    /// Add a cgroup namespace: true where /sys/fs/cgroup is the unified hierarchy.
    pub cgroup_namespace: bool,
}

/// The default configuration as the text that `spec` writes, without a final newline.
pub fn default_json(what: DefaultSpec) -> String {
    let linux = match what.rootless {
        Some((uid, gid)) => rootless_ids(uid, gid),
        None => DEVICE_RULES.to_owned(),
    };
    let template = TEMPLATE.trim_end();
    template
        .replace("@version@", OCI_VERSION)
        .replace(
            "@gid5@",
            if what.rootless.is_some() {
                ""
            } else {
                ",\n\t\t\t\t\"gid=5\""
            },
        )
        .replace(
            "@sys@",
            if what.rootless.is_some() {
                SYS_BOUND
            } else {
                SYS_FRESH
            },
        )
        .replace("@linux@", &linux)
        .replace("@namespaces@", &namespaces(what))
}

/// The default configuration.
///
/// # Errors
/// None that depends on the arguments: the text is this library's own.
pub fn default_spec(what: DefaultSpec) -> Result<Spec> {
    LoadedSpec::from_slice(default_json(what).as_bytes(), "the default configuration")
        .map(|loaded| loaded.spec)
}

/// Without privileges there is no network namespace to set up, but a user namespace.
fn namespaces(what: DefaultSpec) -> String {
    let names = [
        ("pid", true),
        ("network", what.rootless.is_none()),
        ("ipc", true),
        ("uts", true),
        ("mount", true),
        ("cgroup", what.cgroup_namespace),
        ("user", what.rootless.is_some()),
    ];
    let entries: Vec<String> = names
        .into_iter()
        .filter(|(_, present)| *present)
        .map(|(name, _)| format!("\t\t\t{{\n\t\t\t\t\"type\": \"{name}\"\n\t\t\t}}"))
        .collect();
    entries.join(",\n")
}

fn rootless_ids(uid: u32, gid: u32) -> String {
    let list = |name: &str, id: u32| {
        format!(
            "\t\t\"{name}\": [\n\t\t\t{{\n\t\t\t\t\"containerID\": 0,\n\t\t\t\t\"hostID\": {id},\n\t\t\t\t\"size\": 1\n\t\t\t}}\n\t\t],\n"
        )
    };
    list("uidMappings", uid) + &list("gidMappings", gid)
}

const DEVICE_RULES: &str = "\t\t\"resources\": {
\t\t\t\"devices\": [
\t\t\t\t{
\t\t\t\t\t\"allow\": false,
\t\t\t\t\t\"access\": \"rwm\"
\t\t\t\t}
\t\t\t]
\t\t},
";

const SYS_FRESH: &str = "\t\t\t\"type\": \"sysfs\",
\t\t\t\"source\": \"sysfs\",
\t\t\t\"options\": [
";

/// A fresh sysfs needs an own network namespace, so the caller's is bound.
const SYS_BOUND: &str = "\t\t\t\"type\": \"none\",
\t\t\t\"source\": \"/sys\",
\t\t\t\"options\": [
\t\t\t\t\"rbind\",
";

const TEMPLATE: &str = include_str!("default/config.json.template");

#[cfg(test)]
mod tests;
