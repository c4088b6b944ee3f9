//! Hosts that lack one thing each, and what is said about it.

use super::*;

fn facts() -> SupportFacts {
    SupportFacts {
        host: serde_json::from_str(include_str!("../../../fixtures/facts/pure-v2.json")).unwrap(),
        namespaces: ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"]
            .map(str::to_owned)
            .into(),
        memfd_noexec: Some(0),
        installed_init: false,
        max_user_namespaces: Some(10_000),
        unprivileged_userns_clone: None,
        apparmor_restrict_userns: None,
        seccomp_actions: vec!["allow".to_owned()],
        systemd: true,
        id_map_helpers: true,
        subordinate_ids: true,
        delegated: None,
        criu: None,
        ps: Some("/bin/ps".into()),
    }
}

fn user() -> SupportFacts {
    let host = serde_json::from_str(include_str!("../../../fixtures/facts/rootless-v2.json")).unwrap();
    SupportFacts { host, ..facts() }
}

fn of(facts: &SupportFacts, name: &str) -> Finding {
    examine(facts)
        .into_iter()
        .find(|finding| finding.name == name)
        .unwrap()
}

/// One change of the facts, the line that shows it, how it then stands, and words of the advice.
type Change = (fn(&mut SupportFacts), &'static str, State, &'static str);

fn check(facts: fn() -> SupportFacts, changes: &[Change]) {
    for (change, name, state, advice) in changes {
        let mut changed = facts();
        change(&mut changed);
        let finding = of(&changed, name);
        assert_eq!(finding.state, *state, "{finding:?}");
        let how = finding.how.clone().unwrap_or_default();
        assert!(how.contains(advice) && !how.is_empty(), "{finding:?}");
    }
}

#[test]
fn a_good_host_lacks_nothing_that_every_container_needs() {
    for facts in [facts(), user()] {
        let findings = examine(&facts);
        assert!(
            findings.iter().all(|finding| finding.state != State::Missing),
            "{findings:?}"
        );
        // Who is told that something is missing is told what to do, and nobody else.
        for finding in findings {
            assert_eq!(finding.how.is_some(), finding.state != State::Ok, "{finding:?}");
        }
    }
}

#[test]
fn what_is_missing_is_named_with_what_to_do() {
    check(
        facts,
        &[
            (
                |facts| facts.host.kernel = (5, 10),
                "kernel",
                State::Missing,
                "newer kernel",
            ),
            (
                |facts| facts.memfd_noexec = Some(2),
                "init",
                State::Missing,
                "install-init",
            ),
            (
                |facts| facts.namespaces.retain(|name| name != "time"),
                "namespaces",
                State::Limited,
                "CONFIG_TIME_NS",
            ),
            (
                |facts| facts.namespaces.retain(|name| name != "mnt"),
                "namespaces",
                State::Missing,
                "CONFIG_NAMESPACES",
            ),
            (
                |facts| facts.host.capabilities &= !(1 << 24),
                "capabilities",
                State::Limited,
                "outside",
            ),
            (
                |facts| facts.host.capabilities = 0,
                "capabilities",
                State::Missing,
                "outside",
            ),
            (
                |facts| facts.host.cgroup.hierarchies.clear(),
                "cgroup",
                State::Limited,
                "mount -t cgroup2",
            ),
            (
                |facts| facts.host.cgroup.hierarchies[0].read_only = true,
                "cgroup",
                State::Limited,
                "writable",
            ),
            (
                |facts| {
                    facts.host.cgroup.hierarchies[0]
                        .controllers
                        .retain(|name| name != "memory")
                },
                "controllers",
                State::Limited,
                "cgroup_disable",
            ),
            (
                |facts| facts.max_user_namespaces = Some(0),
                "user-namespaces",
                State::Limited,
                "sysctl",
            ),
            (
                |facts| facts.seccomp_actions.clear(),
                "seccomp",
                State::Limited,
                "CONFIG_SECCOMP_FILTER",
            ),
            (
                |facts| facts.host.apparmor = false,
                "apparmor",
                State::Limited,
                "lsm=",
            ),
            (
                |facts| facts.systemd = false,
                "systemd",
                State::Limited,
                "cgroupfs",
            ),
            (|facts| facts.ps = None, "ps", State::Limited, "procps"),
        ],
    );
}

#[test]
fn a_user_needs_more_than_root() {
    let mut root = facts();
    root.host.cgroup.mode = CgroupMode::Hybrid;
    assert_eq!(of(&root, "systemd").state, State::Ok);
    check(
        user,
        &[
            (
                |facts| facts.host.cgroup.mode = CgroupMode::Hybrid,
                "systemd",
                State::Limited,
                "unified_cgroup_hierarchy",
            ),
            (
                |facts| facts.max_user_namespaces = Some(0),
                "user-namespaces",
                State::Missing,
                "sysctl",
            ),
            (
                |facts| facts.unprivileged_userns_clone = Some(0),
                "user-namespaces",
                State::Missing,
                "=1",
            ),
            (
                |facts| facts.apparmor_restrict_userns = Some(1),
                "user-namespaces",
                State::Missing,
                "userns,",
            ),
            (
                |facts| facts.id_map_helpers = false,
                "id-ranges",
                State::Limited,
                "uidmap",
            ),
            (
                |facts| facts.subordinate_ids = false,
                "id-ranges",
                State::Limited,
                "usermod",
            ),
            (
                |facts| facts.delegated = None,
                "delegation",
                State::Limited,
                "systemd-run",
            ),
            (
                |facts| facts.delegated = Some(vec!["memory".to_owned(), "pids".to_owned()]),
                "delegation",
                State::Limited,
                "Delegate=",
            ),
        ],
    );
    let mut facts = user();
    facts.delegated = Some(vec!["memory".to_owned(), "pids".to_owned()]);
    assert_eq!(of(&facts, "delegation").found, "not delegated: cpu cpuset io");
}

#[test]
fn an_installed_init_serves_where_memory_may_not_be_executed() {
    let mut facts = facts();
    (facts.memfd_noexec, facts.installed_init) = (Some(2), true);
    assert_eq!(of(&facts, "init").state, State::Ok);
}
