//! A configuration by chance: sound ones of all kinds, and a few with a fault that create or start has to find.

use serde_json::{Value, json};

use crate::dice::Dice;

/// What a life begins with.
pub(crate) struct Drawn {
    pub(crate) config: Value,
    /// Whether the container's processes are all in a cgroup, or in a pid namespace of their own.
    pub(crate) cgroup: bool,
    pub(crate) terminal: bool,
}

/// The programs: that end, that stay, that cannot be ended politely, that leave others behind, that are not there.
const PROGRAMS: [&[&str]; 11] = [
    &["true"],
    &["false"],
    &["sleep", "1000"],
    &["sleep", "1000"],
    &["sh", "-c", "sleep 0.01; exit 7"],
    &["sh", "-c", "trap '' TERM INT HUP QUIT; while :; do sleep 1; done"],
    &["sh", "-c", "sleep 1000 & sleep 1000 & wait"],
    &["sh", "-c", "setsid sleep 1000 & exit 0"],
    &["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; wait"],
    &["sh", "-c", "kill -9 $$"],
    &["nowhere"],
];

const CAPABILITIES: [&str; 6] = [
    "CAP_KILL",
    "CAP_CHOWN",
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
];
const MASKED: [&str; 5] = [
    "/proc/kcore",
    "/proc/keys",
    "/proc/acpi",
    "/proc/timer_list",
    "/nowhere",
];
const READ_ONLY: [&str; 4] = ["/proc/sys", "/proc/bus", "/proc/irq", "/nowhere"];
const REFUSED_CALLS: [&str; 5] = ["swapon", "reboot", "keyctl", "personality", "no_such_call"];

/// The configuration of the container `id`; `shared` is a folder of the host that is mounted into some.
pub(crate) fn draw(dice: &mut Dice, place: &str, id: &str, shared: &str) -> Drawn {
    let pid = dice.percent(85);
    let mut namespaces = vec![json!({"type": "mount"})];
    let mut has = |kind: &str, times: u64, dice: &mut Dice| {
        let chosen = dice.percent(times);
        if chosen {
            namespaces.push(json!({"type": kind}));
        }
        chosen
    };
    if pid {
        has("pid", 100, dice);
    }
    let (ipc, uts) = (has("ipc", 50, dice), has("uts", 50, dice));
    let (network, user) = (has("network", 8, dice), has("user", 25, dice));
    has("cgroup", 30, dice);
    let time = has("time", 8, dice);
    let terminal = dice.percent(15);
    // Nothing but one of these finds every process at the end.
    let cgroup = !pid || dice.percent(93);
    let mut config = json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs", "readonly": dice.percent(40)},
        "process": process(dice, terminal),
        "mounts": mounts(dice, Kinds { ipc, user, network }, shared),
        "linux": {"namespaces": namespaces, "maskedPaths": dice.some(&MASKED),
                  "readonlyPaths": dice.some(&READ_ONLY)},
    });
    let linux = &mut config["linux"];
    if cgroup && dice.percent(90) {
        linux["cgroupsPath"] = json!(format!("/{place}/{id}"));
    }
    if cgroup && dice.percent(60) {
        linux["resources"] = resources(dice);
    }
    if user {
        for maps in ["uidMappings", "gidMappings"] {
            linux[maps] = json!([{"containerID": 0, "hostID": 100_000, "size": 60_000}]);
        }
    }
    if time {
        linux["timeOffsets"] = json!({"boottime": {"secs": dice.below(10_000)}});
    }
    if dice.percent(25) {
        linux["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls":
            [{"names": dice.some(&REFUSED_CALLS), "action": "SCMP_ACT_ERRNO"}]});
        if linux["seccomp"]["syscalls"][0]["names"] == json!([]) {
            linux["seccomp"]["syscalls"] = json!([]);
        }
    }
    if ipc && dice.percent(20) {
        linux["sysctl"] = json!({"kernel.msgmax": "4096"});
    }
    if dice.percent(10) {
        linux["rootfsPropagation"] = json!(dice.choose(&["private", "slave", "rslave", "shared"]));
    }
    if !user && dice.percent(10) {
        linux["devices"] = json!([{"path": "/dev/thing", "type": "c", "major": 1, "minor": 3}]);
    }
    if uts && dice.percent(60) {
        config["hostname"] = json!("box");
    }
    if dice.percent(15) {
        config["hooks"] = hooks(dice);
    }
    if dice.percent(5) {
        plant(dice, &mut config);
    }
    Drawn {
        config,
        cgroup,
        terminal,
    }
}

fn process(dice: &mut Dice, terminal: bool) -> Value {
    let id = *dice.choose(&[&0, &0, &1000]);
    let sets = dice.some(&CAPABILITIES);
    let mut process = json!({
        "args": dice.choose(&PROGRAMS), "cwd": dice.choose(&["/", "/", "/tmp"]), "env": ["PATH=/bin"],
        "user": {"uid": id, "gid": id, "additionalGids": [5, 6]}, "terminal": terminal,
        "noNewPrivileges": dice.percent(50),
        "capabilities": {"bounding": sets, "permitted": sets, "effective": sets},
    });
    if dice.percent(20) {
        process["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128},
                                    {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
    }
    if dice.percent(20) {
        process["oomScoreAdj"] = json!(dice.below(1000));
    }
    process
}

#[derive(Clone, Copy)]
struct Kinds {
    ipc: bool,
    user: bool,
    network: bool,
}

fn mounts(dice: &mut Dice, kinds: Kinds, shared: &str) -> Vec<Value> {
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]}),
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
               "options": ["newinstance", "ptmxmode=0666", "mode=0620"]}),
    ];
    let mut add = |times: u64, dice: &mut Dice, mount: Value| {
        if dice.percent(times) {
            mounts.push(mount);
        }
    };
    add(
        50,
        dice,
        json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=256k"]}),
    );
    add(
        20,
        dice,
        json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["size=64k"]}),
    );
    if kinds.ipc {
        add(
            30,
            dice,
            json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"}),
        );
    }
    if !kinds.user || kinds.network {
        add(
            30,
            dice,
            json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro", "nosuid"]}),
        );
    }
    let how = *dice.choose(&[&"bind", &"rbind"]);
    let mode = *dice.choose(&[&"ro", &"rro", &"rw", &"rslave"]);
    add(
        30,
        dice,
        json!({"destination": "/data", "type": "none", "source": shared, "options": [how, mode]}),
    );
    add(
        15,
        dice,
        json!({"destination": "/etc/hosts", "type": "bind", "source": format!("{shared}/file"),
                         "options": ["bind", "ro", "nosuid"]}),
    );
    mounts
}

fn resources(dice: &mut Dice) -> Value {
    let mut resources = json!({});
    if dice.percent(50) {
        resources["pids"] = json!({"limit": 1 + dice.below(40)});
    }
    if dice.percent(50) {
        resources["memory"] = json!({"limit": (8 + dice.below(256)) << 20});
    }
    if dice.percent(40) {
        resources["cpu"] =
            json!({"shares": 2 + dice.below(2000), "quota": 20_000 + dice.below(50_000), "period": 50_000});
    }
    if dice.percent(40) {
        resources["devices"] = json!([{"allow": false, "access": "rwm"},
                                      {"allow": true, "type": "c", "major": 1, "access": "rw"}]);
    }
    resources
}

fn hooks(dice: &mut Dice) -> Value {
    const KINDS: [&str; 5] = [
        "prestart",
        "createRuntime",
        "createContainer",
        "poststart",
        "poststop",
    ];
    let mut hooks = json!({});
    for kind in dice.some(&KINDS) {
        hooks[kind] = match dice.below(10) {
            0 => json!([{"path": "/bin/false"}]),
            1..3 => json!([{"path": "/bin/sh", "args": ["sh", "-c", "sleep 0.02"]}]),
            _ => json!([{"path": "/bin/true"}]),
        };
    }
    hooks
}

/// One fault that somebody has to find.
fn plant(dice: &mut Dice, config: &mut Value) {
    let mount = |kind: &str, source: &str, options: &[&str]| json!({"destination": "/mnt", "type": kind, "source": source, "options": options});
    let mounts = config["mounts"].as_array().cloned().unwrap_or_default();
    let with = |mount: Value| json!(mounts.iter().cloned().chain([mount]).collect::<Vec<_>>());
    match dice.below(6) {
        0 => config["mounts"] = with(mount("none", "/nowhere", &["bind"])),
        1 => config["mounts"] = with(mount("no-such-filesystem", "none", &[])),
        2 => config["mounts"] = with(mount("tmpfs", "tmpfs", &["size=nonsense"])),
        3 => config["process"]["user"] = json!({"uid": 4_000_000_000_u32, "gid": 0}),
        4 => config["process"]["cwd"] = json!("/bin/busybox"),
        _ => config["linux"]["sysctl"] = json!({"kernel.no_such_thing": "1"}),
    }
}
