//! Schedules of exec: one whole as text, what changes its lines, and the laws on broken and on random ones.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::plan::Action;

fn facts(privileged: bool) -> HostFacts {
    HostFacts {
        kernel: (6, 1),
        euid: if privileged { 0 } else { 1000 },
        egid: if privileged { 0 } else { 1000 },
        capabilities: if privileged { u64::MAX } else { 0 },
        in_user_namespace: false,
        groups_are_fixed: false,
        apparmor: false,
        selinux: false,
        resctrl: None,
        nvidia_params: None,
        has_kcore: true,
        systemd: None,
        cgroup: crate::facts::cgroup::CgroupFacts {
            mode: crate::facts::cgroup::CgroupMode::V2,
            hierarchies: Vec::new(),
            has_kill: true,
            has_freeze: true,
        },
    }
}

fn config(kinds: &[&str]) -> Value {
    let namespaces: Vec<Value> = kinds.iter().map(|kind| json!({"type": kind})).collect();
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {
            "user": {"uid": 0, "gid": 0, "umask": 0o77}, "args": ["app"], "cwd": "/", "env": ["PATH=/bin"],
            "noNewPrivileges": true, "oomScoreAdj": 5,
            "capabilities": {"bounding": ["CAP_KILL"]},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}],
        },
        "linux": {
            "namespaces": namespaces,
            "uidMappings": if kinds.contains(&"user") { map.clone() } else { json!([]) },
            "gidMappings": if kinds.contains(&"user") { map } else { json!([]) },
        },
    })
}

fn saved(config: &Value) -> LoadedSpec {
    LoadedSpec::from_slice(config.to_string().as_bytes(), "config.json").unwrap()
}

fn process(description: &Value) -> Process {
    crate::spec::LoadedProcess::from_slice(description.to_string().as_bytes(), "process.json")
        .unwrap()
        .process
}

fn request() -> ExecPlanRequest {
    let directory = |kind, controllers: &[&str], mount: &str| Directory {
        kind,
        controllers: controllers.iter().map(ToString::to_string).collect(),
        mount_point: mount.into(),
        relative: "c1".into(),
        read_only: false,
    };
    ExecPlanRequest {
        cgroup: vec![
            directory(HierarchyKind::V1, &["cpu"], "/sys/fs/cgroup/cpu"),
            directory(HierarchyKind::Unified, &[], "/sys/fs/cgroup/unified"),
        ],
        ..ExecPlanRequest::new("c1".parse().unwrap(), 42, 4711, "/bundle/rootfs")
    }
}

fn plan(config: &Value, description: &Value, privileged: bool) -> Plan {
    Plan::exec(
        &saved(config),
        &process(description),
        &facts(privileged),
        &request(),
    )
    .unwrap()
}

/// The lines without their numbers and origins.
fn lines(plan: &Plan) -> Vec<String> {
    plan.lines
        .iter()
        .map(|line| format!("{} {line}", line.actor()))
        .collect()
}

fn index(lines: &[String], wanted: &str) -> usize {
    lines
        .iter()
        .position(|line| line.contains(wanted))
        .unwrap_or_else(|| panic!("{wanted} in {lines:#?}"))
}

const ALL: [&str; 8] = ["pid", "network", "ipc", "uts", "mount", "user", "cgroup", "time"];

/// user_namespaces(7): "deny" in /proc/PID/setgroups holds for the namespace and all below it.
#[test]
fn groups_that_are_fixed_are_left_alone() {
    let sets_groups = |config: &Value, privileged, fixed| {
        let mut facts = facts(privileged);
        facts.groups_are_fixed = fixed;
        let plan = Plan::exec(
            &saved(config),
            &process(&json!({"args": ["id"], "cwd": "/"})),
            &facts,
            &request(),
        );
        let mut found: Vec<bool> = Vec::new();
        for line in plan.unwrap().lines {
            match line.action {
                Action::Init(Step::BecomeRoot { drop_groups }) => found.push(drop_groups),
                Action::Init(Step::User { set_groups, .. }) => found.push(set_groups),
                _ => {}
            }
        }
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{found:?}");
        found[0]
    };
    let mut config = config(&["user", "mount"]);
    assert!(sets_groups(&config, true, false));
    assert!(!sets_groups(&config, true, true));
    assert!(sets_groups(&config, false, false), "one range of many groups");
    config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    assert!(!sets_groups(&config, false, false));
}

#[test]
fn a_whole_schedule() {
    let plan = plan(&config(&ALL), &json!({"args": ["id"], "cwd": "/srv"}), true);
    let expected = [
        "parent open cgroup /sys/fs/cgroup/cpu/c1 /sys/fs/cgroup/unified/c1",
        "parent open network namespace /proc/42/ns/net",
        "parent open ipc namespace /proc/42/ns/ipc",
        "parent open uts namespace /proc/42/ns/uts",
        "parent open time namespace /proc/42/ns/time",
        "parent open cgroup namespace /proc/42/ns/cgroup",
        "parent open pid namespace /proc/42/ns/pid",
        "parent open mount namespace /proc/42/ns/mnt",
        "parent open user namespace /proc/42/ns/user",
        "parent check that process 42 is the one started at 4711",
        "parent spawn init in no new namespaces",
        "init close stray descriptors",
        "init go on in a sibling, inside the cgroup",
        "init report; wait",
        "parent set oom_score_adj 5",
        "parent let init go on",
        "init become undumpable",
        "init new session",
        "init join cgroup cpu",
        "init join network namespace",
        "init join ipc namespace",
        "init join uts namespace",
        "init join time namespace",
        "init join cgroup namespace",
        "init join pid namespace",
        "init join mount namespace",
        "init join user namespace",
        "init become root of the user namespace",
        "init go on in a sibling, inside the pid namespace",
        "init new session",
        "init become undumpable",
        "init open root /",
        "init use the container's null device",
        "init run on all CPUs of the cgroup",
        "init new session keyring _ses.c1",
        "init no new privileges",
        "init limit the bounding set to 0x20",
        "init change directory to /srv",
        "init give the standard descriptors to uid 0",
        "init report; wait",
        "parent set RLIMIT_NOFILE 10:20",
        "parent let init go on",
        "init become uid 0 gid 0 groups []",
        "init change directory to /srv",
        "init umask 077",
        "init keep the capabilities 0x0",
        "init find id",
        "init execve id",
        "parent wait until the program runs",
    ];
    assert_eq!(lines(&plan), expected);
}

#[test]
fn an_unprivileged_caller_gets_its_power_first() {
    let lines = lines(&plan(
        &config(&["user", "mount", "pid"]),
        &json!({"args": ["id"], "cwd": "/"}),
        false,
    ));
    let user = index(&lines, "join user");
    assert!(user < index(&lines, "become root") && index(&lines, "become root") < index(&lines, "join pid"));
    assert!(index(&lines, "join pid") < index(&lines, "join mount"));
}

/// One sibling is enough where the caller keeps its rights over the cgroup up to there; behind the container's cgroup
/// namespace it would have none.
#[test]
fn the_sibling_of_the_pid_namespace_is_born_in_the_cgroup() {
    let all = ["pid", "mount", "cgroup", "uts"];
    let described = json!({"args": ["id"], "cwd": "/"});
    let lines = lines(&plan(&config(&all), &described, true));
    let born = index(&lines, "inside the cgroup");
    assert_eq!(lines.iter().filter(|line| line.contains("sibling")).count(), 1);
    for before in ["join pid", "join mount", "join uts", "join cgroup cpu"] {
        assert!(index(&lines, before) < born, "{before}: {lines:#?}");
    }
    for behind in ["join cgroup namespace", "open root", "run on all CPUs"] {
        assert!(born < index(&lines, behind), "{behind}: {lines:#?}");
    }
    // What systemd may have to move is out of the cgroup before it is asked: who is behind in a sibling would stay there.
    let mut attached = request();
    attached.attach = Some("c1.scope".to_owned());
    let plan = Plan::exec(
        &saved(&config(&all)),
        &process(&described),
        &facts(true),
        &attached,
    )
    .unwrap();
    let order = self::lines(&plan);
    assert!(
        index(&order, "inside the cgroup") < index(&order, "c1.scope"),
        "{order:#?}"
    );
    assert!(
        index(&order, "c1.scope") < index(&order, "inside the pid namespace"),
        "{order:#?}"
    );
    // Without a unified hierarchy nobody is born in it.
    let mut version_1 = request();
    version_1.cgroup.pop();
    let plan = Plan::exec(
        &saved(&config(&all)),
        &process(&described),
        &facts(true),
        &version_1,
    )
    .unwrap();
    let lines = self::lines(&plan);
    assert!(!lines.iter().any(|line| line.contains("inside the cgroup")));
    index(&lines, "sibling, inside the pid namespace");
}

#[test]
fn what_the_container_shares_is_not_joined() {
    let lines = lines(&plan(
        &config(&["uts"]),
        &json!({"args": ["id"], "cwd": "/"}),
        true,
    ));
    assert_eq!(
        lines.iter().filter(|line| line.contains("init join ")).count(),
        2,
        "uts and one cgroup"
    );
    assert!(
        !lines
            .iter()
            .any(|line| line.contains("sibling, inside the pid namespace"))
    );
    assert!(index(&lines, "open root /bundle/rootfs") < index(&lines, "change root"));
}

#[test]
fn what_is_left_out_comes_from_the_container_and_nothing_else() {
    let config = saved(&config(&["mount"]));
    let container = config.spec.process().as_ref();
    let bare = completed(&process(&json!({"args": ["id"], "cwd": "/"})), container);
    assert_eq!(bare.user().umask(), Some(0o77));
    assert_eq!(bare.oom_score_adj(), Some(5));
    assert_eq!(bare.no_new_privileges(), Some(true));
    assert_eq!(bare.rlimits().as_ref().map(Vec::len), Some(1));
    assert!(bare.capabilities().is_some() && bare.env().is_none());
    let own = json!({"args": ["id"], "cwd": "/", "user": {"uid": 7, "umask": 0}, "noNewPrivileges": false,
        "oomScoreAdj": 0, "capabilities": {},
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]});
    let own = process(&own);
    assert_eq!(completed(&own, container), own);
}

#[test]
fn the_filter_goes_in_by_the_value_of_no_new_privs() {
    for (value, before) in [(false, "keep the capabilities"), (true, "execve")] {
        let mut config = config(&["mount"]);
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]});
        let description = json!({"args": ["id"], "cwd": "/", "noNewPrivileges": value});
        let lines = lines(&plan(&config, &description, true));
        let filter = index(&lines, "load seccomp");
        assert_eq!(filter + 1, index(&lines, before), "{lines:#?}");
        assert!(
            lines
                .iter()
                .skip(filter)
                .all(|line| !line.contains("wait") || line.starts_with("parent"))
        );
    }
}

#[test]
fn cpus_before_and_after_the_cgroups() {
    let description = |first: &str| json!({"args": ["id"], "cwd": "/", "execCPUAffinity": {"initial": first, "final": "1,3-4"}});
    let lines = lines(&plan(&config(&["mount"]), &description("0"), true));
    assert!(index(&lines, "CPUs [0] only") < index(&lines, "join cgroup"));
    assert!(index(&lines, "join mount") < index(&lines, "CPUs [1, 3, 4] only"));
    for wrong in ["1024", "4-3"] {
        let process = process(&description(wrong));
        let error = Plan::exec(&saved(&config(&["mount"])), &process, &facts(true), &request()).unwrap_err();
        assert_eq!(error.field(), Some("process.execCPUAffinity.initial"), "{error}");
    }
}

#[test]
fn the_program_waits_for_its_terminal() {
    let description = json!({"args": ["id"], "cwd": "/", "terminal": true});
    let lines = lines(&plan(&config(&["mount"]), &description, true));
    let passed = index(&lines, "give the terminal to the caller");
    assert_eq!(
        lines[passed - 1..passed + 3],
        [
            "init open the terminal 0x0",
            "parent give the terminal to the caller",
            "init report; wait",
            "parent let init go on",
        ]
    );
}

#[test]
fn refusals_name_the_field() {
    for (field, value) in [
        ("args", json!([])),
        ("cwd", json!("srv")),
        ("env", json!(["NOTHING"])),
        ("selinuxLabel", json!("label")),
        ("apparmorProfile", json!("profile")),
    ] {
        let mut description = json!({"args": ["id"], "cwd": "/"});
        description[field] = value;
        let process = process(&description);
        let error = Plan::exec(&saved(&config(&["mount"])), &process, &facts(true), &request()).unwrap_err();
        let named = format!("process.{field}");
        assert!(
            error.field().is_some_and(|found| found.starts_with(&named)),
            "{error}"
        );
    }
}

/// Each change breaks one law.
#[test]
fn laws_find_what_is_wrong() {
    let good = plan(&config(&ALL), &json!({"args": ["id"], "cwd": "/"}), true);
    assert_eq!(laws::check(&good), Ok(()));
    let at = |wanted: &str| index(&lines(&good), wanted);
    let moved = |from: &str, to: &str| {
        let mut plan = good.clone();
        let (from, to) = (at(from), at(to));
        let line = plan.lines.remove(from);
        plan.lines.insert(if to > from { to - 1 } else { to }, line);
        laws::check(&plan).unwrap_err()
    };
    assert!(moved("check that process", "close stray").contains("checked to be its own"));
    assert!(moved("open user namespace", "spawn").contains("checked to be its own"));
    assert!(moved("join pid", "become undumpable").contains("CVE-2016-9962"));
    assert!(moved("open root", "join mount").contains("behind the last namespace"));
    assert!(moved("let init go on", "report; wait").contains("handshake"));
    assert!(moved("umask", "find id").contains("privilege"));
    let mut undumpable = good.clone();
    undumpable
        .lines
        .retain(|line| !matches!(line.action, Action::Init(Step::Undumpable {})));
    assert!(laws::check(&undumpable).unwrap_err().contains("CVE-2016-9962"));
    let mut recording = good.clone();
    recording.lines.push(super::super::Line {
        action: Action::Parent(ParentStep::Listen),
        from: String::new(),
    });
    assert!(laws::check(&recording).unwrap_err().contains("record"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Planning checks the laws itself: none is broken, whatever is asked for.
    #[test]
    fn no_schedule_breaks_a_law(
        kinds in proptest::sample::subsequence(ALL.to_vec(), 0..=ALL.len()),
        privileged: bool, terminal: bool, nnp: bool, filter: bool, fds in 0u32..4, final_cpus in any::<bool>(),
    ) {
        let mut config = config(&kinds);
        if filter {
            config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]});
        }
        let mut description = json!({"args": ["id"], "cwd": "/", "terminal": terminal, "noNewPrivileges": nnp});
        if final_cpus {
            description["execCPUAffinity"] = json!({"final": "0"});
        }
        let request = ExecPlanRequest { preserve_fds: fds, stdio: [true, false, true], ..request() };
        let made = Plan::exec(&saved(&config), &process(&description), &facts(privileged), &request);
        match made {
            Ok(plan) => prop_assert!(matches!(plan.lines.last().map(|line| &line.action),
                Some(Action::Parent(ParentStep::AwaitExec)))),
            Err(error) => {
                prop_assert!(!privileged && !kinds.contains(&"user"), "{error}");
                prop_assert_eq!(error.kind(), ErrorKind::Permission);
            }
        }
    }
}
