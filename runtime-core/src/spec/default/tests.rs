//! The text against golden files, and the configuration against our own checks.

use super::*;

const ROOTLESS: DefaultSpec = DefaultSpec {
    rootless: Some((1000, 1000)),
    cgroup_namespace: false,
};

#[test]
fn the_text_is_the_one_that_scripts_edit() {
    assert_eq!(
        default_json(DefaultSpec::default()),
        include_str!("privileged.json")
    );
    assert_eq!(default_json(ROOTLESS), include_str!("rootless.json"));
}

#[test]
fn every_variant_loads_and_passes_the_checks_without_a_warning() {
    for rootless in [None, Some((0, 0)), Some((1000, 100))] {
        for cgroup_namespace in [false, true] {
            let text = default_json(DefaultSpec {
                rootless,
                cgroup_namespace,
            });
            assert!(!text.contains('@'), "{text}");
            let loaded = LoadedSpec::from_slice(text.as_bytes(), "config.json").unwrap();
            assert_eq!(loaded.warnings, []);
            assert_eq!(crate::spec::check(&loaded).unwrap(), []);
        }
    }
}

#[test]
fn the_cgroup_namespace_comes_before_the_user_namespace() {
    let spec = default_spec(DefaultSpec {
        cgroup_namespace: true,
        ..ROOTLESS
    })
    .unwrap();
    let namespaces = spec.linux().as_ref().unwrap().namespaces().as_ref().unwrap();
    let kinds: Vec<String> = namespaces
        .iter()
        .map(|namespace| namespace.typ().to_string())
        .collect();
    assert_eq!(kinds, ["pid", "ipc", "uts", "mnt", "cgroup", "user"]);
    let ids = spec.linux().as_ref().unwrap().uid_mappings().as_ref().unwrap();
    assert_eq!(
        (ids[0].host_id(), ids[0].container_id(), ids[0].size()),
        (1000, 0, 1)
    );
}
