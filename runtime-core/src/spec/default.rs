//! default
use oci_spec::runtime::Spec;

/// What the default configuration depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DefaultSpec {
    /// For a caller without privileges: its effective uid and gid, which become root inside.
    pub rootless: Option<(u32, u32)>,
    /// Add a cgroup namespace: true where /sys/fs/cgroup is the unified hierarchy.
    pub cgroup_namespace: bool,
}

/// The default configuration as the text that `spec` writes.
pub fn default_json(what: DefaultSpec) -> String {
    let _ = what;
    String::new()
}

/// The default configuration.
pub fn default_spec(what: DefaultSpec) -> Spec {
    let _ = what;
    Spec::default()
}
