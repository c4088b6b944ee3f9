//! One table of faults: a change to a sound configuration, and the message that it must give.

use super::*;
use crate::error::ErrorKind;
use serde_json::{Value, json};

fn sound() -> Value {
    json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["sh"], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [
            {"type": "mount"}, {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}
        ]}
    })
}

/// The sound configuration with the value at each dotted place exchanged; `null` takes a member out.
fn with(changes: &[(&str, Value)]) -> LoadedSpec {
    let mut document = sound();
    for (path, value) in changes {
        let mut place = &mut document;
        for part in path.split('.') {
            place = match part.parse::<usize>() {
                Ok(index) => &mut place[index],
                Err(_) => &mut place[part],
            };
        }
        *place = value.clone();
    }
    LoadedSpec::from_slice(document.to_string().as_bytes(), "config.json").unwrap()
}

#[track_caller]
fn fault(changes: &[(&str, Value)]) -> String {
    let error = check(&with(changes)).expect_err("accepted");
    assert_eq!(error.kind(), ErrorKind::InvalidSpec);
    error.to_string()
}

#[track_caller]
fn accepted(changes: &[(&str, Value)]) -> Vec<String> {
    check(&with(changes))
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn userns(maps: Value) -> Vec<(&'static str, Value)> {
    vec![
        ("linux.namespaces", json!([{"type": "user"}, {"type": "mount"}])),
        ("linux.uidMappings", maps.clone()),
        ("linux.gidMappings", maps),
    ]
}

#[test]
fn the_sound_configuration_is_accepted_without_a_warning() {
    assert_eq!(accepted(&[]), Vec::<String>::new());
    assert_eq!(
        accepted(&[("process", Value::Null)]),
        Vec::<String>::new(),
        "only start needs a process"
    );
}

#[test]
fn versions_are_semver_with_major_1() {
    for good in [
        "1.0.0",
        "1.3.0",
        "1.99.7",
        "1.0.0-rc5",
        "1.0.2-dev",
        "1.1.0+dev",
        "1.2.0-rc.1+build.01",
        "1.0.0-0a",
    ] {
        assert!(is_version_1(good), "{good}");
    }
    for bad in [
        "", "1", "1.0", "2.0.0", "0.9.0", "1.0.0.0", "v1.0.0", "1.01.0", "1.0.0-", "1.0.0-01", "1.0.0+",
        "1.0.x", " 1.0.0",
    ] {
        assert!(!is_version_1(bad), "{bad}");
    }
    assert_eq!(
        fault(&[("ociVersion", json!("2.0.0"))]),
        "ociVersion: found \"2.0.0\", allowed is a version 1.x.y in SemVer form"
    );
    assert!(fault(&[("ociVersion", Value::Null)]).contains("found nothing"));
}

/// Change, and how the message must begin.
#[test]
fn single_faults_are_refused_by_field() {
    let table: &[(&str, Value, &str)] = &[
        ("root", Value::Null, "root: root must be specified"),
        ("root.path", json!(""), "root.path: found an empty path"),
        ("annotations", json!({"": "x"}), "annotations: found an empty key"),
        ("hostname", json!("x".repeat(65)), "hostname: found 65 bytes"),
        ("process.args", json!([]), "process.args: args must not be empty"),
        (
            "process.args",
            Value::Null,
            "process.args: args must not be empty",
        ),
        (
            "process.args",
            json!(["sh", "a\0b"]),
            "process.args[1]: found \"a\\0b\", which contains a null byte",
        ),
        (
            "process.cwd",
            json!(""),
            "process.cwd: Cwd property must not be empty",
        ),
        (
            "process.cwd",
            json!("tmp"),
            "process.cwd: Cwd must be an absolute path: found \"tmp\"",
        ),
        (
            "process.env",
            json!(["A=1", "B"]),
            "process.env[1]: invalid environment variable \"B\": missing '='",
        ),
        (
            "process.env",
            json!(["=1"]),
            "process.env[0]: invalid environment variable \"\": name cannot be empty",
        ),
        (
            "process.env",
            json!(["A=\0"]),
            "process.env[0]: invalid environment variable \"A\": contains nul byte",
        ),
        (
            "process.user.uid",
            json!(u32::MAX),
            "process.user.uid: found 4294967295",
        ),
        (
            "process.user.additionalGids",
            json!([1, u32::MAX]),
            "process.user.additionalGids[1]: found 4294967295",
        ),
        ("process.user.umask", json!(512), "process.user.umask: found 512"),
        (
            "process.oomScoreAdj",
            json!(1001),
            "process.oomScoreAdj: found 1001, allowed are -1000 to 1000",
        ),
        (
            "process.oomScoreAdj",
            json!(-1001),
            "process.oomScoreAdj: found -1001",
        ),
        (
            "process.ioPriority",
            json!({"class": "IOPRIO_CLASS_RT", "priority": 8}),
            "process.ioPriority.priority: invalid ioPriority.Priority: 8",
        ),
        (
            "process.consoleSize",
            json!({"height": 1, "width": 65536}),
            "process.consoleSize.width: found 65536",
        ),
        (
            "process.scheduler",
            json!({"policy": "SCHED_OTHER", "nice": 20}),
            "process.scheduler.nice: invalid scheduler.nice: 20 when scheduler.policy is SCHED_OTHER",
        ),
        (
            "process.scheduler",
            json!({"policy": "SCHED_BATCH", "priority": 1}),
            "process.scheduler.priority: scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
        ),
        (
            "process.scheduler",
            json!({"policy": "SCHED_FIFO"}),
            "process.scheduler.priority: found 0",
        ),
        (
            "process.scheduler",
            json!({"policy": "SCHED_ISO"}),
            "process.scheduler.policy: found SCHED_ISO",
        ),
        (
            "process.scheduler",
            json!({"policy": "SCHED_RR", "priority": 1, "period": 1}),
            "process.scheduler.period: scheduler runtime/deadline/period can only be specified for SchedDeadline policy",
        ),
        (
            "hooks",
            json!({"poststop": [{"path": "/a"}, {"path": "b"}]}),
            "hooks.poststop[1].path: found \"b\", allowed is an absolute path",
        ),
        (
            "hooks",
            json!({"prestart": [{"path": "/a", "timeout": 0}]}),
            "hooks.prestart[0].timeout: found 0",
        ),
        (
            "hooks",
            json!({"createRuntime": [{"path": "/a", "env": ["X"]}]}),
            "hooks.createRuntime[0].env[0]: invalid environment variable \"X\": missing '='",
        ),
        (
            "linux.rootfsPropagation",
            json!("public"),
            "linux.rootfsPropagation: rootfsPropagation=public is not supported",
        ),
        (
            "linux.timeOffsets",
            json!({"boottime": {"secs": 1}}),
            "linux.timeOffsets: time namespace offsets specified, but time namespace isn't enabled in the config",
        ),
        (
            "linux.memoryPolicy",
            json!({"mode": "MPOL_BIND"}),
            "linux.memoryPolicy.nodes: memory policy mode requires at least one node but got 0",
        ),
        (
            "linux.memoryPolicy",
            json!({"mode": "MPOL_LOCAL", "nodes": "0-7"}),
            "linux.memoryPolicy.nodes: memory policy mode requires 0 nodes but got 8",
        ),
        (
            "linux.memoryPolicy",
            json!({"mode": "MPOL_BIND", "nodes": "0-9876543210"}),
            "linux.memoryPolicy.nodes: invalid memory policy nodes \"0-9876543210\"",
        ),
        (
            "linux.memoryPolicy",
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}),
            "linux.memoryPolicy.flags: invalid memory policy flags",
        ),
        (
            "linux.memoryPolicy",
            json!({"mode": "MPOL_BIND", "nodes": "3-1"}),
            "linux.memoryPolicy.nodes: invalid memory policy nodes \"3-1\"",
        ),
        (
            "linux.intelRdt",
            json!({"closID": ".."}),
            "linux.intelRdt.closID: invalid intelRdt.ClosID \"..\"",
        ),
        (
            "linux.intelRdt",
            json!({"closID": "a/b"}),
            "linux.intelRdt.closID: invalid intelRdt.ClosID \"a/b\"",
        ),
        (
            "linux.intelRdt",
            json!({"memBwSchema": "L3:0=1"}),
            "linux.intelRdt.memBwSchema: found",
        ),
        (
            "linux.intelRdt",
            json!({"schemata": ["a", "b\nc"]}),
            "linux.intelRdt.schemata[1]: found",
        ),
        (
            "linux.maskedPaths",
            json!([""]),
            "linux.maskedPaths[0]: found an empty path",
        ),
        (
            "linux.netDevices",
            json!({"a/b": {}}),
            "linux.netDevices[\"a/b\"]: invalid network device name \"a/b\"",
        ),
        (
            "linux.netDevices",
            json!({"eth0": {"name": "sixteen-bytes-xx"}}),
            "linux.netDevices[\"eth0\"].name: invalid network device name",
        ),
        (
            "linux.netDevices",
            json!({"eth%d": {}}),
            "linux.netDevices[\"eth%d\"]: invalid network device name",
        ),
        (
            "linux.netDevices",
            json!({"eth0": {"name": "eth%s"}}),
            "linux.netDevices[\"eth0\"].name: invalid network device name \"eth%s\"",
        ),
        (
            "linux.netDevices",
            json!({"eth0": {"name": "%d%d"}}),
            "linux.netDevices[\"eth0\"].name: invalid network device name \"%d%d\"",
        ),
        (
            "linux.netDevices",
            json!({"eth0": {"name": "eth1"}, "eth1": {"name": ""}}),
            "linux.netDevices[\"eth1\"].name: the name \"eth1\" in the container is that of \"eth0\" too",
        ),
        (
            "linux.uidMappings",
            json!([{"containerID": 0, "hostID": 0, "size": 1}]),
            "linux.uidMappings: user namespace mappings specified, but user namespace isn't enabled in the config",
        ),
        (
            "mounts",
            json!([{"destination": ""}]),
            "mounts[0].destination: found an empty path",
        ),
        (
            "mounts",
            json!([{"destination": "/a", "source": "b\0"}]),
            "mounts[0].source: found",
        ),
        (
            "mounts",
            json!([{"destination": "/a", "options": ["bind", "size=1"]}]),
            "mounts[0].options: bind mounts cannot have any filesystem-specific options applied, found \"size=1\"",
        ),
        (
            "mounts",
            json!([{"destination": "/a", "options": ["idmap"], "type": "tmpfs"}]),
            "mounts[0]: id-mapped mounts are only supported for bind-mounts",
        ),
        (
            "mounts",
            json!([{"destination": "/a", "options": ["bind", "idmap"]}]),
            "mounts[0]: id-mapped mounts must have both",
        ),
        (
            "mounts",
            json!([{"destination": "/a", "options": ["bind"], "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}]),
            "mounts[0].gidMappings: id-mapped mounts must have both",
        ),
        (
            "mounts",
            json!([{"destination": "/a", "options": ["bind", "idmap=x"]}]),
            "mounts[0].options[1]: mount option",
        ),
        (
            "linux.seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}),
            "linux.seccomp.listenerMetadata: ",
        ),
    ];
    for (path, value, expected) in table {
        let message = fault(&[(path, value.clone())]);
        assert!(message.starts_with(expected), "{path} = {value}: {message}");
    }
}

#[test]
fn every_kind_of_namespace_may_occur_once() {
    for kind in ["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"] {
        let message = fault(&[(
            "linux.namespaces",
            json!([{"type": kind}, {"type": "pid"}, {"type": kind, "path": "/x"}]),
        )]);
        let at = if kind == "pid" { 1 } else { 2 };
        assert_eq!(
            message,
            format!("linux.namespaces[{at}].type: malformed spec file: duplicated ns \"{kind}\"")
        );
    }
    let message = fault(&[("linux.namespaces", json!([{"type": "pid", "path": "proc/1"}]))]);
    assert!(
        message.starts_with("linux.namespaces[0].path: found \"proc/1\""),
        "{message}"
    );
}

#[test]
fn duplicated_and_inverted_rlimits_are_refused() {
    let limit = |kind: &str, soft: u64, hard: u64| json!({"type": kind, "soft": soft, "hard": hard});
    let message = fault(&[(
        "process.rlimits",
        json!([
            limit("RLIMIT_CPU", 1, 1),
            limit("RLIMIT_CORE", 1, 1),
            limit("RLIMIT_CPU", 2, 2)
        ]),
    )]);
    assert!(
        message.starts_with("process.rlimits[2].type: duplicated rlimit RLIMIT_CPU"),
        "{message}"
    );
    let message = fault(&[("process.rlimits", json!([limit("RLIMIT_CPU", 2, 1)]))]);
    assert_eq!(
        message,
        "process.rlimits[0].soft: found 2, allowed is at most the hard limit 1"
    );
}

#[test]
fn names_need_a_uts_namespace_new_or_joined() {
    let without = json!([{"type": "mount"}]);
    for name in ["hostname", "domainname"] {
        let message = fault(&[(name, json!("x")), ("linux.namespaces", without.clone())]);
        assert_eq!(
            message,
            format!("{name}: unable to set {name} without a private UTS namespace")
        );
        accepted(&[
            (name, json!("x")),
            (
                "linux.namespaces",
                json!([{"type": "uts", "path": "/x"}, {"type": "mount"}]),
            ),
        ]);
    }
}

#[test]
fn masks_without_a_mount_namespace_are_refused_and_mounts_are_noticed() {
    for list in ["linux.maskedPaths", "linux.readonlyPaths"] {
        let message = fault(&[("linux.namespaces", json!([])), (list, json!(["/proc/kcore"]))]);
        assert_eq!(
            message,
            format!("{list}: unable to restrict sys entries without a private MNT namespace")
        );
    }
    assert_eq!(accepted(&[("linux.namespaces", json!([]))]).len(), 1);
}

#[test]
fn maps_of_ids_are_whole() {
    let map = |inside: u32, outside: u32, size: u32| json!({"containerID": inside, "hostID": outside, "size": size});
    accepted(&userns(json!([map(0, 1000, 10), map(10, 0, 1000)])));
    let faults: [(Value, &str); 7] = [
        (
            json!([]),
            "linux.uidMappings: user namespaces enabled, but no namespace path to join nor mappings",
        ),
        (json!([map(0, 0, 0)]), "linux.uidMappings[0].size: found 0"),
        (
            json!([map(0, 0, 10), map(9, 100, 5)]),
            "linux.uidMappings[1].containerID: the 5 ids from 9 overlap with linux.uidMappings[0]",
        ),
        (
            json!([map(0, 100, 10), map(50, 105, 5)]),
            "linux.uidMappings[1].hostID: the 5 ids from 105 overlap",
        ),
        (
            json!([map(0, u32::MAX, 1)]),
            "linux.uidMappings[0].hostID: 4294967295 and the 1 ids",
        ),
        (
            json!([map(1, 0, u32::MAX)]),
            "linux.uidMappings[0].containerID: 1 and the 4294967295 ids",
        ),
        (
            json!([map(5, 1000, 1)]),
            "process.user.uid: user namespaces enabled, but no mapping found for uid 0",
        ),
    ];
    for (maps, expected) in faults {
        let message = fault(&userns(maps.clone()));
        assert!(message.starts_with(expected), "{maps}: {message}");
    }
    let mut one_sided = userns(json!([map(0, 1000, 10)]));
    one_sided[2].1 = json!([]);
    assert_eq!(
        fault(&one_sided),
        "linux.gidMappings: user namespaces enabled, but no gid mappings found"
    );
    let many: Vec<Value> = (0..341).map(|index| map(index, index, 1)).collect();
    assert!(fault(&userns(json!(many))).starts_with("linux.uidMappings: found 341 mappings"));
    // Every id but the last one.
    accepted(&userns(json!([map(0, 0, u32::MAX)])));
    let mut joined = userns(json!([map(0, 0, 10)]));
    joined[0].1 = json!([{"type": "user", "path": "/proc/1/ns/user"}, {"type": "mount"}]);
    // Engines write both for each container, and a warning would be in each one's log: whether they agree is checked.
    assert_eq!(accepted(&joined), Vec::<String>::new());
}

#[test]
fn devices_are_checked() {
    let device = |path: &str, kind: &str, major: i64, minor: i64| json!({"path": path, "type": kind, "major": major, "minor": minor});
    accepted(&[(
        "linux.devices",
        json!([
            device("/dev/x", "c", 4095, 1_048_575), device("/srv/fifo", "p", -1, -1), device("/dev/b", "b", 8, 0),
            {"path": "/dev/kvm", "type": "u", "major": 10, "minor": 232, "fileMode": 0o020_660, "uid": 0, "gid": 107},
        ]),
    )]);
    let faults: [(Value, &str); 8] = [
        (
            device("dev/x", "c", 1, 1),
            "linux.devices[0].path: found \"dev/x\", allowed is an absolute path",
        ),
        (
            device("/dev/../x", "c", 1, 1),
            "linux.devices[0].path: found \"/dev/../x\"",
        ),
        (device("/", "c", 1, 1), "linux.devices[0].path: found \"/\""),
        (
            device("/dev/x", "a", 1, 1),
            "linux.devices[0].type: invalid device type \"a\"",
        ),
        (device("/dev/x", "c", -1, 1), "linux.devices[0].major: found -1"),
        (
            device("/dev/x", "b", 1, 1 << 20),
            "linux.devices[0].minor: found 1048576",
        ),
        (
            json!({"path": "/dev/x", "type": "c", "fileMode": 1 << 17}),
            "linux.devices[0].fileMode: found 131072",
        ),
        (
            json!({"path": "/dev/x", "type": "c", "uid": u32::MAX}),
            "linux.devices[0].uid: found 4294967295",
        ),
    ];
    for (device, expected) in faults {
        let message = fault(&[("linux.devices", json!([device]))]);
        assert!(message.starts_with(expected), "{message}");
    }
}

/// Every key against every set of namespaces.
#[test]
fn sysctls_belong_to_a_namespace_of_the_container() {
    let one = |key: &str, namespaces: Value| {
        check(&with(&[
            ("linux.namespaces", namespaces),
            ("linux.sysctl", json!({key: "1"})),
            ("mounts", json!([])),
        ]))
        .map_err(|error| error.to_string())
    };
    let owners = [
        (
            "kernel.msgmax",
            "ipc",
            "is not allowed in the hosts ipc namespace",
        ),
        (
            "kernel.shm_rmid_forced",
            "ipc",
            "is not allowed in the hosts ipc namespace",
        ),
        ("kernel/sem", "ipc", "is not allowed in the hosts ipc namespace"),
        (
            "fs.mqueue.queues_max",
            "ipc",
            "is not allowed in the hosts ipc namespace",
        ),
        (
            "net.ipv4.ip_forward",
            "network",
            "not allowed in host network namespace",
        ),
        (
            "net/ipv4/conf/eth0.100/forwarding",
            "network",
            "not allowed in host network namespace",
        ),
        (
            "net.ipv4.conf.eth0/100.forwarding",
            "network",
            "not allowed in host network namespace",
        ),
        (
            "kernel.domainname",
            "uts",
            "is not in a separate kernel namespace",
        ),
    ];
    for (key, owner, refusal) in owners {
        for kind in ["pid", "network", "mount", "ipc", "uts", "cgroup", "time"] {
            let result = one(key, json!([{"type": kind}]));
            if kind == owner {
                assert!(result.is_ok(), "{key} with {kind}: {result:?}");
            } else {
                let message = result.unwrap_err();
                assert!(
                    message.starts_with(&format!("linux.sysctl[{key:?}]: ")) && message.contains(refusal),
                    "{message}"
                );
            }
        }
    }
    let all = json!([{"type": "pid"}, {"type": "network"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "cgroup"}]);
    assert!(
        one("kernel.hostname", all.clone())
            .unwrap_err()
            .contains("conflicts with the OCI \"hostname\" field")
    );
    assert!(
        one("user.max_user_namespaces", all.clone())
            .unwrap_err()
            .contains("without a user namespace")
    );
    for key in [
        "kernel.core_pattern",
        "vm.swappiness",
        "kernel",
        "",
        "fs.mqueue",
        "kernel.shmmaxx",
    ] {
        assert!(one(key, all.clone()).is_err(), "{key}");
    }
    for key in [
        "net/../kernel/core_pattern",
        "/net/ipv4/x",
        "net..ipv4",
        "net.//.x",
        "net./x\0",
        "net/ipv4/",
        "net/./x",
    ] {
        assert!(
            one(key, all.clone())
                .unwrap_err()
                .contains("is not a name below /proc/sys"),
            "{key}"
        );
    }
    assert_eq!(
        sysctl::proc_path("net.ipv4.conf.eth0/100.forwarding"),
        "net/ipv4/conf/eth0.100/forwarding"
    );
    assert_eq!(
        sysctl::proc_path("net/ipv4/conf/eth0.100/forwarding"),
        "net/ipv4/conf/eth0.100/forwarding"
    );
}

#[test]
fn time_offsets_need_an_own_new_time_namespace() {
    let offsets = (
        "linux.timeOffsets",
        json!({"monotonic": {"secs": -1, "nanosecs": 999_999_999}}),
    );
    let namespaces = |value: Value| ("linux.namespaces", value);
    accepted(&[
        offsets.clone(),
        namespaces(json!([{"type": "time"}, {"type": "mount"}])),
    ]);
    let message = fault(&[offsets, namespaces(json!([{"type": "time", "path": "/x"}]))]);
    assert!(
        message.contains("both namespace path and time offsets specified"),
        "{message}"
    );
    let own = namespaces(json!([{"type": "time"}]));
    let message = fault(&[
        ("linux.timeOffsets", json!({"realtime": {"secs": 1}})),
        own.clone(),
    ]);
    assert!(
        message.contains("unknown clock \"realtime\", allowed are monotonic and boottime"),
        "{message}"
    );
    let message = fault(&[
        (
            "linux.timeOffsets",
            json!({"boottime": {"nanosecs": 1_000_000_000}}),
        ),
        own,
    ]);
    assert!(
        message.starts_with("linux.timeOffsets.boottime.nanosecs: found 1000000000"),
        "{message}"
    );
}

#[test]
fn network_devices_need_a_network_namespace() {
    let device = ("linux.netDevices", json!({"eth0": {"name": "eth%d"}}));
    accepted(std::slice::from_ref(&device));
    let others = json!({"eth0": {"name": "eth1"}, "eth1": {"name": "eth0"}, "b": {"name": "c%d"}, "c": {"name": "c%d"}});
    accepted(&[("linux.netDevices", others)]);
    let message = fault(&[device, ("linux.namespaces", json!([{"type": "mount"}]))]);
    assert_eq!(
        message,
        "linux.netDevices: unable to move network devices without a NET namespace"
    );
}

#[test]
fn oddities_are_noticed_and_accepted() {
    assert!(
        accepted(&[("mounts", json!([{"destination": "data", "type": "tmpfs"}]))])[0]
            .contains("is not absolute")
    );
    let noticed = accepted(&[(
        "mounts",
        json!([{"destination": "/x", "options": ["bind", "tmpcopyup"]}]),
    )]);
    assert_eq!(
        noticed,
        ["mounts[0].options: tmpcopyup is for tmpfs mounts only, ignored"]
    );
    let noticed = accepted(&[("linux.personality", json!({"domain": "LINUX32", "flags": ["x"]}))]);
    assert!(noticed[0].starts_with("linux.personality.flags: "));
}

#[test]
fn mounts_are_limited_in_number() {
    let mounts: Vec<Value> = (0..10_001)
        .map(|index| json!({"destination": format!("/{index}")}))
        .collect();
    assert_eq!(
        fault(&[("mounts", json!(mounts))]),
        "mounts: found 10001, allowed are at most 10000"
    );
}
