//! What this version of the library can do, in the form of runtime-spec's features.md, for engines that ask before
//! they write a configuration.
//!
//! The lists come from the tables that the work itself is done by. A part that is refused by name for now stands in
//! the constants below; the tests plan a container with each of them and compare, so neither can be changed alone.
//! Whether this host can do it is not the question here: that is [`crate::facts`]' work.

use std::collections::HashMap;

use libseccomp::ScmpVersion;
use oci_spec::runtime::{
    Apparmor, Cgroup, IDMap, IntelRdt, MemoryPolicy, MountExtensions, NetDevices, Seccomp, Selinux,
};
pub use oci_spec::runtime::{Features, LinuxFeature};

use crate::plan::HookKind;
use crate::seccomp::known;
use crate::spec::check::NAMESPACE_TYPES;
use crate::spec::{capability, default, mount_options};

/// `process.apparmorProfile` takes effect.
pub(crate) const APPARMOR: bool = true;
/// `process.selinuxLabel` and `linux.mountLabel` take effect.
pub(crate) const SELINUX: bool = true;
/// `linux.intelRdt` takes effect.
const INTEL_RDT: bool = true;
/// `linux.memoryPolicy` takes effect.
const MEMORY_POLICY: bool = true;
/// There is a systemd cgroup driver, for the system's manager and for a user's.
pub(crate) const SYSTEMD: bool = true;
/// `checkpoint` and `restore` are there.
pub(crate) const CHECKPOINT: bool = true;

/// Annotations of a configuration that change what the runtime does on the host. A name that ends in a dot stands for
/// all that begin with it.
const UNSAFE_ANNOTATIONS: [&str; 2] = ["org.criu.config", "org.systemd.property."];

/// The oldest version of the specification whose configurations are accepted.
const OCI_VERSION_MIN: &str = "1.0.0";

/// What this version of the library can do.
pub fn features() -> Features {
    let mut features = Features::default();
    features.set_oci_version_min(OCI_VERSION_MIN.to_owned());
    features.set_oci_version_max(default::OCI_VERSION.to_owned());
    features.set_hooks(Some(texts(&HookKind::ALL.map(HookKind::as_str))));
    features.set_mount_options(Some(mount_options::known_options()));
    features.set_linux(Some(linux()));
    features.set_annotations(Some(annotations()));
    features.set_potentially_unsafe_config_annotations(Some(texts(&UNSAFE_ANNOTATIONS)));
    features
}

fn linux() -> LinuxFeature {
    let mut linux = LinuxFeature::default();
    linux.set_namespaces(Some(NAMESPACE_TYPES.to_vec()));
    linux.set_capabilities(Some(texts(capability::names())));
    linux.set_cgroup(Some(cgroup()));
    linux.set_seccomp(Some(seccomp()));
    let mut apparmor = Apparmor::default();
    apparmor.set_enabled(Some(APPARMOR));
    linux.set_apparmor(Some(apparmor));
    let mut selinux = Selinux::default();
    selinux.set_enabled(Some(SELINUX));
    linux.set_selinux(Some(selinux));
    let mut rdt = IntelRdt::default();
    rdt.set_enabled(Some(INTEL_RDT));
    if INTEL_RDT {
        rdt.set_schemata(Some(true));
        rdt.set_monitoring(Some(true));
    }
    linux.set_intel_rdt(Some(rdt));
    linux.set_memory_policy(MEMORY_POLICY.then(memory_policy));
    let mut idmap = IDMap::default();
    idmap.set_enabled(Some(true));
    let mut extensions = MountExtensions::default();
    extensions.set_idmap(Some(idmap));
    linux.set_mount_extensions(Some(extensions));
    let mut devices = NetDevices::default();
    devices.set_enabled(Some(true));
    linux.set_net_devices(Some(devices));
    linux
}

fn cgroup() -> Cgroup {
    let mut cgroup = Cgroup::default();
    cgroup.set_v1(Some(true));
    cgroup.set_v2(Some(true));
    cgroup.set_systemd(Some(SYSTEMD));
    cgroup.set_systemd_user(Some(SYSTEMD));
    cgroup.set_rdma(Some(true));
    cgroup
}

fn seccomp() -> Seccomp {
    let names = |flags: &[_]| flags.iter().map(ToString::to_string).collect();
    let mut seccomp = Seccomp::default();
    seccomp.set_enabled(Some(true));
    seccomp.set_actions(Some(known::ACTIONS.to_vec()));
    seccomp.set_operators(Some(known::OPERATORS.iter().map(ToString::to_string).collect()));
    seccomp.set_archs(Some(known::ARCHITECTURES.to_vec()));
    seccomp.set_known_flags(Some(names(&known::FLAGS)));
    seccomp.set_supported_flags(Some(names(
        &known::honoured_flags(crate::facts::running_kernel()),
    )));
    seccomp
}

fn memory_policy() -> MemoryPolicy {
    let mut policy = MemoryPolicy::default();
    policy.set_modes(Some(texts(&[
        "MPOL_BIND",
        "MPOL_DEFAULT",
        "MPOL_INTERLEAVE",
        "MPOL_LOCAL",
        "MPOL_PREFERRED",
        "MPOL_PREFERRED_MANY",
        "MPOL_WEIGHTED_INTERLEAVE",
    ])));
    policy.set_flags(Some(texts(&[
        "MPOL_F_NUMA_BALANCING",
        "MPOL_F_RELATIVE_NODES",
        "MPOL_F_STATIC_NODES",
    ])));
    policy
}

/// podman and CRI-O look for the checkpoint key under runc's name; runc keeps its own version and commit keys to itself.
fn annotations() -> HashMap<String, String> {
    let mut annotations = HashMap::from([
        (
            "org.opencontainers.runc.checkpoint.enabled".to_owned(),
            CHECKPOINT.to_string(),
        ),
        (
            "runtime-core.version".to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
    ]);
    if let Some(version) = libseccomp_version() {
        annotations.insert("io.github.seccomp.libseccomp.version".to_owned(), version);
    }
    annotations
}

/// The version of libseccomp that is linked in.
pub fn libseccomp_version() -> Option<String> {
    ScmpVersion::current().ok().map(|version| version.to_string())
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::HostFacts;
    use crate::plan::{Plan, PlanRequest};
    use crate::spec::{LoadedSpec, MountOptions};
    use serde_json::{Value, json};

    /// Whether a field is refused because nobody has built it yet, rather than for what the host lacks.
    fn is_unbuilt(section: &str, name: &str, value: Value) -> bool {
        let mut config = json!({
            "ociVersion": "1.3.0", "root": {"path": "rootfs"},
            "process": {"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}},
            "linux": {"namespaces": [{"type": "mount"}]},
        });
        config[section][name] = value;
        let loaded = LoadedSpec::from_slice(config.to_string().as_bytes(), "config.json").unwrap();
        let mut facts: HostFacts =
            serde_json::from_str(include_str!("../../fixtures/facts/pure-v2.json")).unwrap();
        facts.apparmor = true;
        let request = PlanRequest::new("c1".parse().unwrap(), "/bundle");
        Plan::create(&loaded, &facts, &request)
            .is_err_and(|error| error.to_string().contains("not supported yet"))
    }

    #[test]
    fn the_answers_are_what_the_plan_does() {
        let policy = json!({"mode": "MPOL_DEFAULT"});
        for (section, name, value, told) in [
            ("process", "apparmorProfile", json!("unconfined"), APPARMOR),
            ("process", "selinuxLabel", json!("a:b:c:d"), SELINUX),
            ("linux", "mountLabel", json!("a:b:c:d"), SELINUX),
            ("linux", "intelRdt", json!({"closID": "c1"}), INTEL_RDT),
            ("linux", "memoryPolicy", policy, MEMORY_POLICY),
        ] {
            assert_eq!(is_unbuilt(section, name, value), !told, "{section}.{name}");
        }
    }

    #[test]
    fn each_mount_option_is_taken_and_none_is_left_to_the_filesystem() {
        let options = mount_options::known_options();
        for name in ["rro", "idmap", "tmpcopyup", "nosymfollow", "bind", "rw"] {
            assert!(options.iter().any(|option| option == name), "{name}");
        }
        for option in options {
            let parsed = MountOptions::parse(std::slice::from_ref(&option)).unwrap();
            assert!(parsed.data.is_empty(), "{option}");
        }
    }

    #[test]
    fn every_word_of_the_specification_is_listed() {
        let features = features();
        let linux = features.linux().as_ref().unwrap();
        assert_eq!(features.hooks().as_ref().unwrap().len(), 6);
        assert_eq!(linux.namespaces().as_ref().unwrap().len(), 8);
        assert_eq!(linux.capabilities().as_ref().unwrap().len(), 41);
        assert_eq!(features.oci_version_max(), "1.3.0");
    }

    #[test]
    fn a_document_of_features_reads_back() {
        let features = features();
        let text = serde_json::to_string(&features).unwrap();
        assert_eq!(serde_json::from_str::<Features>(&text).unwrap(), features);
    }
}
