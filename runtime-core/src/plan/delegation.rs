//! Whose the container's cgroup is (config-linux.md, Cgroup ownership).
//!
//! A program that may write to its cgroup file system has to own its cgroup to make others in it. The rules are the
//! specification's: version 2 alone, a cgroup namespace of the container's own, and a writable mount of the hierarchy.

use std::path::Path;

use oci_spec::runtime::Spec;

use super::mounts::clean;
use super::namespaces::{CGROUP, Namespaces, USER};
use super::schedule::{ParentStep, Schedule};
use crate::facts::HostFacts;
use crate::facts::cgroup::CgroupMode;

/// Gives the cgroup to the user of the container's process.
pub(super) fn delegate(schedule: &mut Schedule, spec: &Spec, facts: &HostFacts, namespaces: &Namespaces) {
    if facts.cgroup.mode != CgroupMode::V2 || !namespaces.is_new(CGROUP) {
        return;
    }
    let (Some(mount), Some(owner)) = (writable_mount(spec), owner(spec, namespaces)) else {
        return;
    };
    // Whoever makes the cgroup owns it.
    if owner != facts.euid {
        schedule.parent(
            ParentStep::DelegateCgroup { uid: owner },
            format!("mounts[{mount}]"),
        );
    }
}

/// The mount through which the container can write to its cgroup.
fn writable_mount(spec: &Spec) -> Option<usize> {
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    mounts.iter().position(|mount| {
        let source = mount
            .source()
            .as_deref()
            .is_some_and(|source| source == Path::new("cgroup"));
        let read_only = mount
            .options()
            .iter()
            .flatten()
            .any(|option| option == "ro" || option == "rro");
        source && clean(mount.destination()) == Path::new("/sys/fs/cgroup") && !read_only
    })
}

/// The process's user as the caller sees it; nothing where that is not known here: a user namespace that is joined, an
/// id without a mapping (which fails elsewhere).
fn owner(spec: &Spec, namespaces: &Namespaces) -> Option<u32> {
    let uid = spec.process().as_ref()?.user().uid();
    if namespaces.is_new(USER) {
        let map = namespaces
            .uids()
            .iter()
            .find(|map| uid.checked_sub(map.container).is_some_and(|at| at < map.size))?;
        return map.host.checked_add(uid - map.container);
    }
    (!namespaces.has(USER)).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::cgroup::CgroupFacts;
    use crate::facts::cgroup::tests::{hybrid, v2};
    use serde_json::{Value, json};

    fn facts(cgroup: CgroupFacts) -> HostFacts {
        HostFacts {
            kernel: (6, 1),
            euid: 0,
            egid: 0,
            capabilities: u64::MAX,
            in_user_namespace: false,
            groups_are_fixed: false,
            apparmor: false,
            selinux: false,
            resctrl: None,
            systemd: None,
            nvidia_params: None,
            has_kcore: true,
            cgroup,
        }
    }

    /// The uid that the cgroup is given to.
    fn given(edit: impl FnOnce(&mut Value), cgroup: CgroupFacts) -> Option<u32> {
        let mut config = json!({"ociVersion": "1.3.0", "root": {"path": "rootfs"},
            "process": {"user": {"uid": 7, "gid": 0}, "args": ["x"], "cwd": "/"},
            "mounts": [{"destination": "/sys/fs/cgroup/", "type": "cgroup", "source": "cgroup", "options": ["nosuid"]}],
            "linux": {"namespaces": [{"type": "cgroup"}, {"type": "mount"}]}});
        edit(&mut config);
        let spec: Spec = serde_json::from_value(config).unwrap();
        let facts = facts(cgroup);
        let mut schedule = Schedule::default();
        delegate(
            &mut schedule,
            &spec,
            &facts,
            &Namespaces::of(&spec, &facts).unwrap(),
        );
        schedule.lines.first().map(|line| match line.action {
            crate::plan::Action::Parent(ParentStep::DelegateCgroup { uid }) => uid,
            _ => panic!("{line:?}"),
        })
    }

    #[test]
    fn the_rules_of_the_specification() {
        assert_eq!(given(|_| {}, v2()), Some(7));
        assert_eq!(given(|_| {}, hybrid()), None, "not secure in version 1");
        let read_only = |config: &mut Value| config["mounts"][0]["options"] = json!(["ro"]);
        assert_eq!(given(read_only, v2()), None);
        let inherited = |config: &mut Value| config["linux"]["namespaces"] = json!([{"type": "mount"}]);
        assert_eq!(given(inherited, v2()), None);
        let elsewhere = |config: &mut Value| config["mounts"][0]["destination"] = "/mnt".into();
        assert_eq!(given(elsewhere, v2()), None);
        let no_mount = |config: &mut Value| config["mounts"] = json!([]);
        assert_eq!(given(no_mount, v2()), None);
        let root = |config: &mut Value| config["process"]["user"]["uid"] = 0.into();
        assert_eq!(given(root, v2()), None, "it is root's already");
    }

    #[test]
    fn the_owner_is_a_user_of_the_host() {
        let mapped = |uid: u32| {
            move |config: &mut Value| {
                config["process"]["user"]["uid"] = uid.into();
                config["linux"]["namespaces"] =
                    json!([{"type": "cgroup"}, {"type": "mount"}, {"type": "user"}]);
                let map = json!([{"containerID": 0, "hostID": 100_000, "size": 10}, {"containerID": 50, "hostID": 5, "size": 1}]);
                config["linux"]["uidMappings"] = map.clone();
                config["linux"]["gidMappings"] = map;
            }
        };
        assert_eq!(given(mapped(0), v2()), Some(100_000));
        assert_eq!(given(mapped(9), v2()), Some(100_009));
        assert_eq!(given(mapped(50), v2()), Some(5));
        assert_eq!(given(mapped(10), v2()), None);
    }
}
