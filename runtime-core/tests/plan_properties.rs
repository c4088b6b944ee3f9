//! Properties of planning, on random configurations, hosts and requests: it never panics, never breaks a law, and says
//! the same thing twice.
//!
//! Nothing is executed. A broken law comes out of [`Plan::create`] as an error of the kind Internal, which no
//! configuration may cause.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use runtime_core::ErrorKind;
use runtime_core::facts::HostFacts;
use runtime_core::plan::{Action, FdName, ParentStep, Plan, PlanRequest, StartBy, Step, laws};
use runtime_core::spec::LoadedSpec;
use serde_json::{Value, json};

const HOSTS: [&str; 4] = [
    include_str!("../../fixtures/facts/hybrid-v1.json"),
    include_str!("../../fixtures/facts/pure-v2.json"),
    include_str!("../../fixtures/facts/rootless-v2.json"),
    include_str!("../../fixtures/facts/selinux-v2.json"),
];
const KINDS: [&str; 8] = ["pid", "network", "ipc", "uts", "mount", "cgroup", "user", "time"];
const CAPABILITIES: [&str; 5] = [
    "CAP_KILL",
    "CAP_CHOWN",
    "CAP_SYS_ADMIN",
    "CAP_NET_RAW",
    "CAP_SETUID",
];

/// A field that is there or not.
fn maybe(strategy: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop_oneof![1 => Just(Value::Null), 2 => strategy].boxed()
}

/// An object without its null fields.
fn object(fields: Vec<(&'static str, Value)>) -> Value {
    let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn namespaces() -> impl Strategy<Value = Value> {
    let one = subsequence(KINDS.to_vec(), 0..=8).prop_flat_map(|kinds| {
        let joined = vec(prop::bool::weighted(0.25), kinds.len());
        (Just(kinds), joined)
    });
    one.prop_map(|(kinds, joined)| {
        let list = kinds.iter().zip(joined).map(|(kind, joined)| {
            if joined {
                json!({"type": kind, "path": format!("/proc/77/ns/{kind}")})
            } else {
                json!({"type": kind})
            }
        });
        list.collect()
    })
}

fn maps() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!([{"containerID": 0, "hostID": 1000, "size": 1}])),
        Just(json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}])),
        Just(
            json!([{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 100_000, "size": 65_536}])
        ),
        Just(json!([])),
        any::<(u32, u32, u32)>().prop_map(|(inside, outside, size)| {
            json!([{"containerID": inside, "hostID": outside, "size": size}])
        }),
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec![
            "/",
            "/proc",
            "/sys",
            "/dev",
            "/dev/pts",
            "/dev/shm",
            "/sys/fs/cgroup",
            "/proc/cpuinfo",
            "/proc/self",
            "/etc/hosts",
            "data",
            "../up",
            "/a/../../b",
            "",
        ])
        .prop_map(str::to_owned),
        "(/[a-z.]{1,4}){1,3}",
    ]
}

fn mount() -> impl Strategy<Value = Value> {
    let fstype = maybe(
        select(vec![
            "bind", "none", "proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "overlay",
            "ext4", "",
        ])
        .prop_map(Value::from),
    );
    let options = vec(
        select(vec![
            "bind",
            "rbind",
            "ro",
            "rw",
            "rro",
            "nosuid",
            "noexec",
            "nodev",
            "rprivate",
            "rslave",
            "shared",
            "mode=755",
            "size=64k",
            "remount",
            "tmpcopyup",
            "idmap",
            "ridmap",
            "relatime",
            "strictatime",
            "newinstance",
            "ptmxmode=0666",
            "src-nofollow",
            "dest-nofollow",
            "nonsense",
            "idmap=uids=0-1000-10;gids=@0-0-10",
        ]),
        0..5,
    );
    (path(), fstype, maybe(path().prop_map(Value::from)), options).prop_map(|(to, kind, from, options)| {
        object(vec![
            ("destination", to.into()),
            ("type", kind),
            ("source", from),
            ("options", json!(options)),
        ])
    })
}

fn hook() -> impl Strategy<Value = Value> {
    let args = maybe(vec("[a-z]{0,4}", 0..3).prop_map(|args| json!(args)));
    let env = maybe(vec("[A-Z]{1,3}=[a-z]{0,3}", 0..3).prop_map(|env| json!(env)));
    let timeout = maybe((-1i64..5).prop_map(Value::from));
    (select(vec!["/hook", "/bin/hook", "relative"]), args, env, timeout).prop_map(
        |(path, args, env, timeout)| {
            object(vec![
                ("path", path.into()),
                ("args", args),
                ("env", env),
                ("timeout", timeout),
            ])
        },
    )
}

fn hooks() -> impl Strategy<Value = Value> {
    vec(vec(hook(), 0..3), 6).prop_map(|lists| {
        let names = [
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ];
        Value::Object(
            names
                .iter()
                .zip(lists)
                .map(|(name, list)| ((*name).to_owned(), json!(list)))
                .collect(),
        )
    })
}

fn capabilities() -> impl Strategy<Value = Value> {
    vec(subsequence(CAPABILITIES.to_vec(), 0..=5), 5).prop_map(|sets| {
        let names = ["bounding", "effective", "permitted", "inheritable", "ambient"];
        Value::Object(
            names
                .iter()
                .zip(sets)
                .map(|(name, set)| ((*name).to_owned(), json!(set)))
                .collect(),
        )
    })
}

fn seccomp() -> impl Strategy<Value = Value> {
    let action = || {
        select(vec![
            "SCMP_ACT_ALLOW",
            "SCMP_ACT_ERRNO",
            "SCMP_ACT_KILL",
            "SCMP_ACT_LOG",
        ])
    };
    let names = subsequence(vec!["read", "write", "mkdir", "getcwd", "chmod"], 1..=5);
    (action(), action(), names, any::<bool>()).prop_map(|(default, rule, names, asks)| {
        let mut rules = vec![json!({"names": names, "action": rule})];
        if asks {
            rules.push(json!({"names": ["mknod", "sendmsg"], "action": "SCMP_ACT_NOTIFY"}));
        }
        json!({"defaultAction": default, "syscalls": rules, "listenerPath": "/run/agent.sock"})
    })
}

fn resources() -> impl Strategy<Value = Value> {
    let memory = maybe((-2i64..1 << 40).prop_map(|limit| json!({"limit": limit})));
    let pids = maybe((-1i64..100).prop_map(|limit| json!({"limit": limit})));
    let cpu = maybe(
        (0u64..300_000, -1i64..1_000_000, 0u64..2_000_000)
            .prop_map(|(shares, quota, period)| json!({"shares": shares, "quota": quota, "period": period})),
    );
    let huge = maybe(subsequence(vec!["2MB", "1GB", "64KB"], 0..=3).prop_map(|sizes| {
        sizes
            .iter()
            .map(|size| json!({"pageSize": size, "limit": 2_097_152}))
            .collect()
    }));
    let unified = maybe(
        subsequence(
            vec!["memory.high", "memory.low", "cpu.weight", "pids.max", "io.weight"],
            0..=5,
        )
        .prop_map(|files| {
            Value::Object(
                files
                    .iter()
                    .map(|file| ((*file).to_owned(), "7".into()))
                    .collect(),
            )
        }),
    );
    let rdma = maybe(Just(
        json!({"mlx5_0": {"hcaHandles": 1}, "mlx5_1": {"hcaObjects": 2}, "hfi1_0": {"hcaHandles": 3}}),
    ));
    let devices = maybe(
        (
            any::<bool>(),
            select(vec!["a", "b", "c"]),
            maybe((-1i64..300).prop_map(Value::from)),
            select(vec!["rwm", "r", "", "x"]),
        )
            .prop_map(|(allow, kind, major, access)| {
                json!([object(vec![
                    ("allow", allow.into()),
                    ("type", kind.into()),
                    ("major", major),
                    ("access", access.into()),
                ])])
            }),
    );
    (memory, pids, cpu, huge, unified, rdma, devices).prop_map(
        |(memory, pids, cpu, huge, unified, rdma, devices)| {
            object(vec![
                ("memory", memory),
                ("pids", pids),
                ("cpu", cpu),
                ("hugepageLimits", huge),
                ("unified", unified),
                ("rdma", rdma),
                ("devices", devices),
            ])
        },
    )
}

fn devices() -> impl Strategy<Value = Value> {
    let one = (
        path(),
        select(vec!["c", "b", "p", "u", "a"]),
        -1i64..300,
        -1i64..300,
        maybe((0u32..0o10000).prop_map(Value::from)),
    );
    vec(one, 0..3).prop_map(|list| {
        let nodes = list.into_iter().map(|(path, kind, major, minor, mode)| {
            object(vec![
                ("path", path.into()),
                ("type", kind.into()),
                ("major", major.into()),
                ("minor", minor.into()),
                ("fileMode", mode),
            ])
        });
        nodes.collect()
    })
}

fn process() -> impl Strategy<Value = Value> {
    let rlimits = maybe(
        subsequence(
            vec!["RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_AS", "RLIMIT_RTTIME"],
            0..=4,
        )
        .prop_map(|kinds| {
            kinds
                .iter()
                .map(|kind| json!({"type": kind, "soft": 10, "hard": 20}))
                .collect()
        }),
    );
    let user = (
        any::<u32>(),
        0u32..70_000,
        vec(0u32..70_000, 0..3),
        maybe((0u32..0o2000).prop_map(Value::from)),
    )
        .prop_map(|(uid, gid, groups, umask)| {
            object(vec![
                ("uid", uid.into()),
                ("gid", gid.into()),
                ("additionalGids", json!(groups)),
                ("umask", umask),
            ])
        });
    let console = maybe(
        (0u64..100_000, 0u64..100).prop_map(|(height, width)| json!({"height": height, "width": width})),
    );
    let scheduler = maybe(
        (
            select(vec!["SCHED_OTHER", "SCHED_FIFO", "SCHED_DEADLINE", "SCHED_IDLE"]),
            -20i32..20,
            -1i32..99,
        )
            .prop_map(
                |(policy, nice, priority)| json!({"policy": policy, "nice": nice, "priority": priority}),
            ),
    );
    let io = maybe(
        (
            select(vec!["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"]),
            -1i64..10,
        )
            .prop_map(|(class, priority)| json!({"class": class, "priority": priority})),
    );
    let env = vec("[A-Z]{1,4}=[a-z]{0,3}", 0..4).prop_map(|env| json!(env));
    (
        (
            vec("[a-z/]{0,6}", 0..3),
            env,
            select(vec!["/", "/work", "relative", ""]),
            user,
            any::<(bool, bool)>(),
        ),
        (
            maybe(capabilities()),
            rlimits,
            console,
            scheduler,
            io,
            maybe((-1000i32..1001).prop_map(Value::from)),
        ),
    )
        .prop_map(
            |((args, env, cwd, user, (terminal, nnp)), (caps, rlimits, console, scheduler, io, oom))| {
                object(vec![
                    ("args", json!(args)),
                    ("env", env),
                    ("cwd", cwd.into()),
                    ("user", user),
                    ("terminal", terminal.into()),
                    ("noNewPrivileges", nnp.into()),
                    ("capabilities", caps),
                    ("rlimits", rlimits),
                    ("consoleSize", console),
                    ("scheduler", scheduler),
                    ("ioPriority", io),
                    ("oomScoreAdj", oom),
                ])
            },
        )
}

fn linux() -> impl Strategy<Value = Value> {
    let paths = || maybe(vec(path(), 0..4).prop_map(|paths| json!(paths)));
    let sysctl = maybe(
        subsequence(
            vec![
                "net.ipv4.ip_forward",
                "kernel.msgmax",
                "kernel.shm_rmid_forced",
                "fs.mqueue.msg_max",
                "kernel.hostname",
            ],
            0..=4,
        )
        .prop_map(|keys| Value::Object(keys.iter().map(|key| ((*key).to_owned(), "1".into())).collect())),
    );
    let offsets = maybe((-5i64..100, 0u32..1000).prop_map(|(secs, nanosecs)| {
        json!({"monotonic": {"secs": secs, "nanosecs": nanosecs}, "boottime": {"secs": secs}})
    }));
    let propagation = maybe(
        select(vec!["", "private", "rshared", "slave", "unbindable", "sideways"]).prop_map(Value::from),
    );
    let cgroup =
        maybe(select(vec!["/box/one", "relative", "", "a.slice:b:c", "/../up"]).prop_map(Value::from));
    let names = vec!["eth0", "eth1", "eth%d", "a/b", "lo", "", "sixteen-bytes-xx"];
    let renamed = maybe(select(names.clone()).prop_map(Value::from));
    let net_devices = maybe(vec((select(names), renamed), 0..4).prop_map(|list| {
        let device = |name| object(vec![("name", name)]);
        Value::Object(
            list.into_iter()
                .map(|(name, new)| (name.to_owned(), device(new)))
                .collect(),
        )
    }));
    let personality = maybe(select(vec!["LINUX", "LINUX32"]).prop_map(|domain| json!({"domain": domain})));
    (
        (
            namespaces(),
            maybe(maps()),
            maybe(maps()),
            maybe(devices()),
            maybe(seccomp()),
            maybe(resources()),
        ),
        (
            paths(),
            paths(),
            sysctl,
            offsets,
            propagation,
            cgroup,
            personality,
            net_devices,
        ),
    )
        .prop_map(
            |(
                (list, uids, gids, nodes, seccomp, resources),
                (masked, read_only, sysctl, offsets, propagation, cgroup, personality, net_devices),
            )| {
                object(vec![
                    ("namespaces", list),
                    ("uidMappings", uids),
                    ("gidMappings", gids),
                    ("devices", nodes),
                    ("seccomp", seccomp),
                    ("resources", resources),
                    ("maskedPaths", masked),
                    ("readonlyPaths", read_only),
                    ("sysctl", sysctl),
                    ("timeOffsets", offsets),
                    ("rootfsPropagation", propagation),
                    ("cgroupsPath", cgroup),
                    ("personality", personality),
                    ("netDevices", net_devices),
                ])
            },
        )
}

fn config() -> impl Strategy<Value = Value> {
    let annotations = maybe(
        subsequence(vec!["a", "b", "c", "d", "e"], 0..=5)
            .prop_map(|keys| Value::Object(keys.iter().map(|key| ((*key).to_owned(), "x".into())).collect())),
    );
    (
        process(),
        linux(),
        maybe(vec(mount(), 0..4).prop_map(|list| json!(list))),
        maybe(hooks()),
        annotations,
        any::<bool>(),
    )
        .prop_map(|(process, linux, mounts, hooks, annotations, read_only)| {
            object(vec![
                ("ociVersion", "1.2.0".into()),
                ("process", process),
                ("linux", linux),
                ("mounts", mounts),
                ("hooks", hooks),
                ("annotations", annotations),
                ("root", json!({"path": "rootfs", "readonly": read_only})),
                ("hostname", "box".into()),
            ])
        })
}

/// Configurations that are mostly right, so that most of them get a schedule.
fn tame(mut config: Value) -> Value {
    config["process"]["args"] = json!(["/bin/app"]);
    config["process"]["cwd"] = "/work".into();
    config["process"]["user"] = json!({"uid": 5, "gid": 6, "additionalGids": [7, 8]});
    for field in ["scheduler", "ioPriority", "consoleSize"] {
        config["process"].as_object_mut().unwrap().remove(field);
    }
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    if !namespaces.iter().any(|namespace| namespace["type"] == "mount") {
        namespaces.push(json!({"type": "mount"}));
    }
    if !namespaces.iter().any(|namespace| namespace["type"] == "uts") {
        namespaces.push(json!({"type": "uts"}));
    }
    let user_is_new = namespaces
        .iter()
        .any(|namespace| namespace["type"] == "user" && namespace.get("path").is_none());
    let has_network = namespaces.iter().any(|namespace| namespace["type"] == "network");
    let linux = config["linux"].as_object_mut().unwrap();
    for field in ["uidMappings", "gidMappings"] {
        linux.remove(field);
        if user_is_new {
            linux.insert(
                field.to_owned(),
                json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]),
            );
        }
    }
    for field in ["sysctl", "devices", "cgroupsPath", "timeOffsets", "resources"] {
        linux.remove(field);
    }
    // Devices with good names stay where they can move: half of the configurations have a network namespace.
    if let Some(devices) = linux.get_mut("netDevices") {
        *devices = json!({"eth1": {"name": "net%d"}, "eth0": {}});
    }
    if !has_network {
        linux.remove("netDevices");
    }
    if linux
        .get("rootfsPropagation")
        .is_some_and(|value| value == "sideways")
    {
        linux.remove("rootfsPropagation");
    }
    for field in ["maskedPaths", "readonlyPaths"] {
        if let Some(paths) = linux.get_mut(field).and_then(Value::as_array_mut) {
            paths.retain(|path| path.as_str().is_some_and(|path| path.starts_with('/')));
        }
    }
    if let Some(mounts) = config.get_mut("mounts") {
        *mounts = json!([{"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "mode=755"]},
            {"destination": "/data", "type": "bind", "source": "/data", "options": ["rbind", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}]);
    }
    for (_, list) in config
        .get_mut("hooks")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten()
    {
        for hook in list.as_array_mut().unwrap() {
            hook["path"] = "/hook".into();
            hook.as_object_mut().unwrap().remove("timeout");
        }
    }
    config
}

fn request() -> impl Strategy<Value = PlanRequest> {
    (
        any::<(bool, bool, bool, bool, bool)>(),
        any::<[bool; 3]>(),
        0u32..4,
    )
        .prop_map(|(bits, stdio, fds)| {
            let mut request = PlanRequest::new("random".parse().unwrap(), "/bundle");
            request.start_by = if bits.0 { StartBy::Caller } else { StartBy::Socket };
            request.no_pivot = bits.1;
            request.no_new_keyring = bits.2;
            request.notify_dir = bits.3.then(|| "/run/x/notify".into());
            request.pid_file = bits.4.then(|| "/run/pid".into());
            request.stdio = stdio;
            request.preserve_fds = fds;
            request.listen_fds = fds / 2;
            request
        })
}

fn plan(config: &Value, host: usize, request: &PlanRequest) -> Result<Plan, runtime_core::Error> {
    let facts: HostFacts = serde_json::from_str(HOSTS[host]).unwrap();
    let loaded = LoadedSpec::from_slice(&serde_json::to_vec(config).unwrap(), "config.json")?;
    Plan::create(&loaded, &facts, request)
}

fn steps(plan: &Plan) -> Vec<&Step> {
    let init = plan.lines.iter().filter_map(|line| match &line.action {
        Action::Init(step) => Some(step),
        Action::Parent(_) => None,
    });
    init.collect()
}

/// What must hold beside the laws, written without looking at how the planner gets there.
fn holds(plan: &Plan, request: &PlanRequest) -> Result<(), TestCaseError> {
    prop_assert_eq!(laws::check(plan), Ok(()));
    let steps = steps(plan);
    let count = |wanted: fn(&Step) -> bool| steps.iter().filter(|step| wanted(step)).count();
    let at = |wanted: fn(&Step) -> bool| steps.iter().position(|step| wanted(step));
    prop_assert!(
        matches!(steps.last(), Some(Step::Exec { .. })),
        "the program is the end"
    );
    prop_assert_eq!(count(|step| matches!(step, Step::Exec { .. })), 1);
    prop_assert_eq!(count(|step| matches!(step, Step::WaitStart { .. })), 1);
    prop_assert_eq!(
        count(|step| matches!(step, Step::Pivot {} | Step::MoveRoot {} | Step::Chroot {})),
        1
    );
    prop_assert_eq!(
        count(|step| matches!(step, Step::Capabilities { .. })),
        1,
        "also without a capabilities block"
    );
    prop_assert_eq!(count(|step| matches!(step, Step::User { .. })), 1);
    let moved: Vec<_> = plan
        .lines
        .iter()
        .filter(|line| matches!(line.action, Action::Parent(ParentStep::MoveNetDevice { .. })))
        .map(|line| &line.from)
        .collect();
    prop_assert!(moved.is_sorted(), "devices move in one order: {:?}", moved);
    let spawns = plan
        .lines
        .iter()
        .filter(|line| matches!(line.action, Action::Parent(ParentStep::Spawn { .. })));
    prop_assert_eq!(spawns.count(), 1);
    // R-40 and R-42.
    let bounding = at(|step| matches!(step, Step::LimitBounding { .. }));
    let user = at(|step| matches!(step, Step::User { .. }));
    let drop = at(|step| matches!(step, Step::Capabilities { .. }));
    prop_assert!(bounding < user && user < drop);
    let filter = at(|step| matches!(step, Step::Seccomp { .. }));
    if let (Some(filter), no_new_privileges) = (filter, at(|step| matches!(step, Step::NoNewPrivs {}))) {
        let start = at(|step| matches!(step, Step::WaitStart { .. }));
        if no_new_privileges.is_some() {
            prop_assert!(no_new_privileges < Some(filter) && start < Some(filter));
        } else {
            prop_assert!(user < Some(filter) && Some(filter) < drop);
        }
    }
    // Every descriptor that a step names survives the closing of strays.
    let Some(Step::CloseStray { keep }) = steps.first() else {
        return Err(TestCaseError::fail("stray descriptors are closed first"));
    };
    for name in steps.iter().flat_map(|step| step.descriptors()) {
        prop_assert!(
            *name == FdName::Absent || keep.contains(name),
            "{:?} is closed before it is used",
            name
        );
    }
    let placed = keep
        .iter()
        .filter(|name| matches!(name, FdName::Preserved(_)))
        .count();
    prop_assert_eq!(placed, request.preserve_fds as usize);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn wild_configurations_are_planned_or_refused(config in config(), host in 0usize..3, request in request()) {
        match plan(&config, host, &request) {
            Ok(plan) => holds(&plan, &request)?,
            Err(error) => prop_assert_ne!(error.kind(), ErrorKind::Internal, "{}", error),
        }
    }

    #[test]
    fn tame_configurations_keep_the_laws(config in config().prop_map(tame), host in 0usize..3, request in request()) {
        match plan(&config, host, &request) {
            Ok(plan) => holds(&plan, &request)?,
            Err(error) => prop_assert_ne!(error.kind(), ErrorKind::Internal, "{}", error),
        }
    }

    #[test]
    fn labels_groups_and_policies_are_never_left_out(
        config in config().prop_map(tame),
        (label, mounts, policy, closed, joined) in any::<(bool, bool, bool, bool, bool)>(),
        request in request(),
    ) {
        let mut config = config;
        let given = |on: bool, value: Value| if on { value } else { Value::Null };
        config["process"]["selinuxLabel"] = given(label, "u:r:t:s0".into());
        config["linux"]["mountLabel"] = given(mounts, "u:r:f:s0".into());
        config["linux"]["memoryPolicy"] = given(policy, json!({"mode": "MPOL_BIND", "nodes": "0"}));
        config["linux"]["intelRdt"] = given(joined, json!({"closID": given(closed, "class".into()), "l3CacheSchema": "L3:0=f"}));
        let Ok(plan) = plan(&config, 3, &request) else {
            return Ok(());
        };
        holds(&plan, &request)?;
        let steps = steps(&plan);
        let count = |wanted: fn(&Step) -> bool| steps.iter().filter(|step| wanted(step)).count();
        prop_assert_eq!(count(|step| matches!(step, Step::ExecLabel { .. })), usize::from(label));
        let keyrings = if label && !request.no_new_keyring { 2 } else { 0 };
        prop_assert_eq!(count(|step| matches!(step, Step::KeyLabel { .. })), keyrings);
        prop_assert_eq!(count(|step| matches!(step, Step::MemoryPolicy { .. })), usize::from(policy));
        let member = |step: &Step| matches!(step, Step::JoinCgroup { tasks: FdName::RdtGroup });
        prop_assert_eq!(count(member), usize::from(joined));
        // /dev and the masks are what tame configurations have of new filesystems.
        for step in &steps {
            match step {
                Step::MountFs { fstype, options, .. } if fstype.as_bytes() == b"tmpfs" => {
                    let labelled = options.iter().any(|option| option.as_bytes() == b"context=u:r:f:s0");
                    prop_assert_eq!(labelled, mounts);
                }
                Step::PrepareMasks { label } => prop_assert_eq!(!label.as_bytes().is_empty(), mounts),
                _ => {}
            }
        }
        // Without a process everything but the program is made.
        config.as_object_mut().unwrap().remove("process");
        let mut request = request;
        request.start_by = StartBy::Socket;
        let plan = self::plan(&config, 3, &request);
        let plan = plan.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let waits = matches!(self::steps(&plan).last(), Some(Step::WaitStart { .. }));
        prop_assert!(waits, "nothing comes behind the wait");
    }

    #[test]
    fn the_same_question_gets_the_same_answer(config in config().prop_map(tame), host in 0usize..3, request in request()) {
        let shown = || plan(&config, host, &request).map(|plan| plan.to_json()).map_err(|error| error.to_string());
        let first = shown();
        // Each parse has hash maps with seeds of their own.
        for _ in 0..4 {
            prop_assert_eq!(&shown(), &first);
        }
    }
}

/// Everything that is a map in the configuration, many entries each: an order that comes from hashing shows at once.
#[test]
fn maps_of_the_configuration_are_planned_in_one_order() {
    let text = include_str!("../../fixtures/configs/docker-privileged.json");
    let mut config: Value = serde_json::from_str(text).unwrap();
    let many = |prefix: &str, value: Value| -> Value {
        Value::Object(
            (0..12)
                .map(|number| (format!("{prefix}{number}"), value.clone()))
                .collect(),
        )
    };
    config["annotations"] = many("org.example.", "x".into());
    config["linux"]["resources"]["unified"] = many("memory.key", "1".into());
    config["linux"]["resources"]["rdma"] = many("mlx5_", json!({"hcaHandles": 1, "hcaObjects": 2}));
    config["linux"]["sysctl"] = Value::Object(
        (0..12)
            .map(|number| (format!("net.ipv4.conf.eth{number}.forwarding"), "1".into()))
            .collect(),
    );
    let mut request = PlanRequest::new("same".parse().unwrap(), "/bundle");
    request.console_socket = Some("/c".into());
    let first = plan(&config, 1, &request).unwrap().to_json();
    for _ in 0..20 {
        assert_eq!(plan(&config, 1, &request).unwrap().to_json(), first);
    }
}

/// The tame configurations must not all be refused: then the properties above would hold for nothing.
#[test]
fn most_tame_configurations_get_a_schedule() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut why = std::collections::BTreeMap::new();
    let strategy = config().prop_map(tame);
    for _ in 0..200 {
        let config = strategy.new_tree(&mut runner).unwrap().current();
        let request = PlanRequest::new("tame".parse().unwrap(), "/bundle");
        let outcome =
            plan(&config, 1, &request).map_or_else(|error| error.to_string(), |_| "planned".to_owned());
        *why.entry(outcome).or_insert(0) += 1;
    }
    assert!(
        why.get("planned").is_some_and(|planned| *planned > 100),
        "{why:#?}"
    );
}

/// A source that others than root could exchange is opened by the parent, which can tell what it has opened.
#[test]
fn a_source_that_was_looked_at_is_lent() {
    use runtime_core::gpu::driver::FileIdentity;
    use runtime_core_program::step::mount_flags;
    const MPS: &str = "/tmp/nvidia-mps";
    let text = include_str!("../../fixtures/configs/spec-default.json");
    let mut config: Value = serde_json::from_str(text).unwrap();
    let mount = json!({"destination": MPS, "source": MPS, "options": ["rbind", "nosuid"]});
    config["mounts"].as_array_mut().unwrap().push(mount);
    let loaded = LoadedSpec::from_slice(config.to_string().as_bytes(), "config.json").unwrap();
    let expected = FileIdentity { device: 7, inode: 9 };
    let mut request = PlanRequest::new("lent".parse().unwrap(), "/bundle");
    request.placed.identities = [(MPS.to_owned(), expected)].into();
    let facts: HostFacts = serde_json::from_str(HOSTS[1]).unwrap();
    let plan = Plan::create(&loaded, &facts, &request).unwrap();
    let lent = plan.lines.iter().filter_map(|line| match &line.action {
        Action::Parent(ParentStep::Lend {
            source,
            nofollow,
            identity,
            ..
        }) => Some((source.as_str(), *nofollow, *identity)),
        _ => None,
    });
    assert_eq!(lent.collect::<Vec<_>>(), [(MPS, true, Some(expected))]);
    let flags = plan.lines.iter().find_map(|line| match &line.action {
        Action::Init(Step::MountBind { source, flags, .. }) if source.to_string_lossy() == MPS => {
            Some(*flags)
        }
        _ => None,
    });
    let wanted = mount_flags::LENT | mount_flags::SOURCE_NOFOLLOW;
    assert_eq!(flags.unwrap() & wanted, wanted);
}
