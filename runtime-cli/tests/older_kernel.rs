//! Every system call of docs/kernel-features.md, hidden from the runtime and from all that it starts: with a fallback a
//! container lives its whole life; without one the error names the call, and nothing is left.
//!
//! The kernel seems older by a filter (`hide-syscalls` of the crate fixtures). Needs root and a static busybox.
#![allow(clippy::print_stderr, reason = "a skip must be seen")]

mod place;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fixtures::binaries::{Program, find};
use place::{Place, err};
use serde_json::{Value, json};

/// What is hidden, as `hide-syscalls` takes it, and a configuration that needs it.
type Hidden = (&'static str, fn(&mut Value));

/// Rows with a fallback.
const FALLBACKS: [Hidden; 8] = [
    ("memfd_create:1&0x10", any),
    ("memfd_create:1&0x8", any),
    ("fchmodat2", device),
    ("faccessat2", user),
    ("keyctl", any),
    // Where device rules are those of version 1; in version 2 they need it.
    ("bpf", device),
    // Not in the table: whether the libraries below fall back as they say.
    ("copy_file_range,sendfile", any),
    // All that a kernel of the floor lacks.
    ("memfd_create:1&0x18,fchmodat2,faccessat2,keyctl", device),
];

/// Calls that a filter of the container itself refuses, already in force while init still needs them.
const REFUSED_WITHIN: [&str; 4] = [
    "close_range",
    "faccessat2",
    "faccessat2,close_range,openat2",
    "statx",
];

/// Rows without a fallback: what is hidden, who needs it, what the error says.
const NAMED: [(Hidden, &str); 23] = [
    (("clone3", any), "clone3("),
    (("execveat", any), "execveat(init)"),
    (("memfd_create", any), "memfd_create("),
    (("openat2", any), "openat2"),
    (("open_tree", any), "open_tree"),
    (("move_mount", any), "move_mount"),
    (("fsopen", any), "fsopen"),
    (("fsconfig", any), "fsconfig"),
    (("fsmount", any), "fsmount"),
    (("mount_setattr", any), "mount_setattr"),
    (("statx", any), "statx"),
    (("pivot_root", any), "pivot_root"),
    (("setns", joined), "setns"),
    (("unshare", time), "unshare"),
    (("seccomp", filter), "seccomp"),
    (
        ("ioprio_set", |config| {
            config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 4})
        }),
        "ioprio_set",
    ),
    (
        ("sched_setattr", |config| {
            config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5})
        }),
        "sched_setattr",
    ),
    (
        ("set_mempolicy", |config| {
            config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0"})
        }),
        "set_mempolicy",
    ),
    (
        ("prlimit64", |config| {
            config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}]);
        }),
        "prlimit64",
    ),
    // F_ADD_SEALS.
    (("fcntl:1=1033", any), "F_ADD_SEALS"),
    // NS_GET_NSTYPE.
    (("ioctl:1=0xb703", joined), "is no namespace"),
    // PR_CAP_AMBIENT.
    (
        ("prctl:0=47", |config| {
            let sets = json!(["CAP_KILL"]);
            config["process"]["capabilities"] = json!({"bounding": sets, "permitted": sets, "effective": sets,
                                                   "inheritable": sets, "ambient": sets});
        }),
        "prctl",
    ),
    // TIOCGPTPEER.
    (
        ("ioctl:1=0x5441", |config| {
            config["process"]["terminal"] = json!(true)
        }),
        "ioctl",
    ),
];

fn any(_: &mut Value) {}

/// A node with a mode of its own.
fn device(config: &mut Value) {
    config["linux"]["devices"] =
        json!([{"path": "/dev/thing", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640}]);
}

fn user(config: &mut Value) {
    config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
}

fn joined(config: &mut Value) {
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
    namespaces.push(json!({"type": "network", "path": "/proc/self/ns/net"}));
}

fn time(config: &mut Value) {
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
    namespaces.push(json!({"type": "time"}));
    config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 100}});
}

fn filter(config: &mut Value) {
    config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]});
}

fn on_v1() -> bool {
    Path::new("/sys/fs/cgroup/devices").is_dir()
}

fn hide() -> Option<PathBuf> {
    find(Program::HideSyscalls, None)
        .inspect_err(|error| eprintln!("SKIPPED older_kernel: {error}"))
        .ok()
}

/// A call of the runtime on the kernel that seems older.
fn call(place: &Place, hidden: &str, arguments: &[&str]) -> Output {
    let (Some(hide), program) = (hide(), place.command(arguments)) else {
        unreachable!("looked for before")
    };
    let mut command = Command::new(hide);
    command
        .args([hidden, "--"])
        .arg(program.get_program())
        .args(program.get_args())
        .current_dir(place.bundle())
        .stdin(Stdio::null());
    place.finish(command)
}

fn succeeds(what: &str, output: &Output) {
    assert!(output.status.success(), "{what}: {}", err(output));
}

/// What a life leaves, by the name of the place.
fn nothing_is_left(place: &Place, what: &str) {
    let state = std::fs::read_dir(place.dir.join("state")).expect("a folder");
    let left: Vec<_> = state.flatten().map(|entry| entry.path()).collect();
    assert_eq!(left, Vec::<PathBuf>::new(), "{what}");
    assert_eq!(place.cgroups(), Vec::<PathBuf>::new(), "{what}");
}

#[test]
fn a_container_lives_by_the_fallbacks() {
    let (Some(place), Some(_)) = (Place::new("a_container_lives_by_the_fallbacks"), hide()) else {
        return;
    };
    for (hidden, edit) in FALLBACKS {
        place.configure("config.json", "exec sleep 1000", edit);
        let id = place.id("");
        if hidden == "bpf" && !on_v1() {
            let output = call(&place, hidden, &["create", &id]);
            let said = err(&output);
            let named = said.contains("linux.resources.devices") && said.contains("bpf(");
            assert!(!output.status.success() && named, "{said}");
            nothing_is_left(&place, hidden);
            continue;
        }
        succeeds(hidden, &call(&place, hidden, &["create", &id]));
        succeeds(hidden, &call(&place, hidden, &["start", &id]));
        let seen = call(&place, hidden, &["exec", &id, "ls", "-l", "/dev"]);
        succeeds(hidden, &seen);
        let config = std::fs::read_to_string(place.bundle().join("config.json")).expect("a file");
        let wants_device = config.contains("/dev/thing");
        let shown = place::out(&seen);
        let node = shown.lines().find(|line| line.ends_with("thing"));
        assert_eq!(node.is_some(), wants_device, "{hidden}: {shown}");
        assert!(
            node.is_none_or(|line| line.starts_with("crw-r-----")),
            "{hidden}: {shown}"
        );
        succeeds(hidden, &call(&place, hidden, &["kill", &id, "KILL"]));
        place.until(&id, "stopped");
        succeeds(hidden, &call(&place, hidden, &["delete", &id]));
        nothing_is_left(&place, hidden);
    }
}

/// Without no_new_privs the filter is in force before the last steps of init, which then meet it.
#[test]
fn init_goes_on_behind_the_filter_of_its_container() {
    let Some(place) = Place::new("init_goes_on_behind_the_filter_of_its_container") else {
        return;
    };
    for calls in REFUSED_WITHIN {
        for errno in [1, 38] {
            place.configure("config.json", "ls /proc/self/fd; exit 7", |config| {
                let names: Vec<&str> = calls.split(',').collect();
                config["process"]["noNewPrivileges"] = json!(false);
                user(config);
                config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno}]});
            });
            let id = place.id("");
            let output = place.call(&["run", &id]);
            assert_eq!(output.status.code(), Some(7), "{calls} {errno}: {}", err(&output));
            // The standard ones and the one by which ls reads the folder.
            assert_eq!(
                place::out(&output).split_whitespace().count(),
                4,
                "{calls}: {}",
                place::out(&output)
            );
            nothing_is_left(&place, calls);
        }
    }
}

#[test]
fn what_has_no_fallback_is_named() {
    let (Some(place), Some(_)) = (Place::new("what_has_no_fallback_is_named"), hide()) else {
        return;
    };
    for ((hidden, edit), word) in NAMED {
        place.configure("config.json", "exit 0", edit);
        let (listener, socket) = place.listener(&format!("console-{word}").replace(['(', ')'], ""));
        let id = place.id("");
        let with_terminal = ["run", "--detach", "--console-socket", &socket, &id];
        let output = match hidden {
            "ioctl:1=0x5441" => call(&place, hidden, &with_terminal),
            _ => call(&place, hidden, &["run", &id]),
        };
        drop(listener);
        let said = err(&output);
        assert!(!output.status.success(), "{hidden} is not needed");
        assert!(said.contains(word), "{hidden}: {said}");
        assert!(
            !said.contains("bug") && !said.contains("panicked"),
            "{hidden}: {said}"
        );
        // With the calls that clean up hidden too, the record stays for a delete on another day.
        place.call(&["delete", "--force", &id]);
        nothing_is_left(&place, hidden);
    }
}

/// Calls of a container's later life.
#[test]
fn later_commands_name_what_they_lack() {
    let (Some(place), Some(_)) = (Place::new("later_commands_name_what_they_lack"), hide()) else {
        return;
    };
    let id = place.id("");
    place.expect(&["create", &id]);
    place.expect(&["start", &id]);
    for (hidden, word, arguments) in [
        ("pidfd_open", "pidfd_open", &["kill", &id, "TERM"][..]),
        ("pidfd_send_signal", "pidfd_send_signal", &["kill", &id, "TERM"]),
        ("setns", "setns", &["exec", &id, "true"]),
        ("clone3", "clone3(", &["exec", &id, "true"]),
        ("openat2", "openat2", &["update", "--pids-limit", "20", &id]),
        ("pidfd_open", "pidfd_open", &["delete", "--force", &id]),
    ] {
        let output = call(&place, hidden, arguments);
        let said = err(&output);
        assert!(
            !output.status.success() && said.contains(word),
            "{hidden} {arguments:?}: {said}"
        );
        assert_eq!(place.state(&id)["status"], "running", "{hidden} {arguments:?}");
    }
    place.expect(&["delete", "--force", &id]);
    nothing_is_left(&place, "later commands");
}
