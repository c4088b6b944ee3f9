//! What the options of commands that touch containers do, seen from outside: each does what its help says.
#![allow(clippy::print_stderr, reason = "a skip must be seen")]

mod place;

use std::path::Path;
use std::process::Command;

use place::{Place, err, out, pid_of, received};
use serde_json::{Value, json};

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn create_takes_bundle_and_configuration_by_name() {
    let Some(place) = Place::new("create") else { return };
    place.configure("other.json", "true", |config| config["hostname"] = "other".into());
    let id = place.id("");
    let bundle = place.bundle();
    let mut command = place.command(&["create", &id, "--bundle", text(&bundle), "--config", "other.json"]);
    // Another directory than the bundle, and options behind the id.
    command.current_dir("/");
    let output = place.finish(command);
    assert!(output.status.success(), "{}", err(&output));
    assert_eq!(place.state(&id)["bundle"], text(&bundle));
    assert!(
        err(&place.call(&["run", "-f", "none.json", "x"]))
            .contains("JSON specification file none.json not found")
    );
}

#[test]
fn run_takes_bundle_and_configuration_by_name() {
    let Some(place) = Place::new("run") else { return };
    place.configure("other.json", "hostname", |config| {
        config["hostname"] = "other".into()
    });
    let bundle = place.bundle();
    let id = place.id("");
    assert_eq!(
        place.expect(&["run", "--bundle", text(&bundle), "--config", "other.json", &id]),
        "other\n"
    );
}

#[test]
fn pid_files_and_pidfds_name_the_first_process() {
    let Some(place) = Place::new("pids") else { return };
    for (verb, more) in [("create", &[][..]), ("run", &["--detach"])] {
        let (listener, socket) = place.listener(verb);
        let file = place.dir.join(format!("{verb}.pid"));
        let id = place.id("");
        let flags = ["--pid-file", text(&file), "--pidfd-socket", &socket, &id];
        place.expect(&[&[verb], more, &flags[..]].concat());
        let pid = place.state(&id)["pid"].as_i64().expect("a pid");
        assert_eq!(
            std::fs::read_to_string(&file).expect("a pid file"),
            pid.to_string()
        );
        assert_eq!(pid_of(&received(&listener)), Some(pid));
        place.expect(&["delete", "--force", &id]);
    }
}

#[test]
fn a_console_socket_gets_the_master() {
    let Some(place) = Place::new("console") else {
        return;
    };
    place.configure("config.json", "tty; exec sleep 1000", |config| {
        config["process"]["terminal"] = true.into();
    });
    for (verb, more) in [("create", &[][..]), ("run", &["--detach"])] {
        let (listener, socket) = place.listener(verb);
        let id = place.id("");
        place.expect(&[&[verb], more, &["--console-socket", &socket, &id]].concat());
        assert!(rustix::termios::isatty(received(&listener)), "{verb}");
        place.expect(&["delete", "--force", &id]);
    }
    let (listener, socket) = place.listener("exec");
    let id = place.id("");
    place.configure("config.json", "exec sleep 1000", |_| {});
    place.expect(&["run", "--detach", &id]);
    place.expect(&[
        "exec",
        "--detach",
        "--tty",
        "--console-socket",
        &socket,
        &id,
        "sleep",
        "100",
    ]);
    assert!(rustix::termios::isatty(received(&listener)), "exec");
}

#[test]
fn without_pivot_the_root_is_the_containers_all_the_same() {
    let Some(place) = Place::new("pivot") else { return };
    place.configure("config.json", "ls /; test ! -e /usr", |_| {});
    for (verb, prefix) in [("run", &["run"][..]), ("create", &["create"])] {
        let id = place.id("");
        let output = place.call(&[prefix, &["--no-pivot", &id]].concat());
        assert!(output.status.success(), "{verb}: {}", err(&output));
        if verb == "create" {
            let pid = place.state(&id)["pid"].as_i64().expect("a pid");
            assert!(Path::new(&format!("/proc/{pid}/root/bin/busybox")).exists());
        } else {
            assert!(out(&output).starts_with("bin\n"), "{}", out(&output));
        }
    }
    assert!(place.expect(&["plan"]).contains("pivot root"));
    assert!(!place.expect(&["plan", "--no-pivot"]).contains("pivot root"));
}

#[test]
fn without_a_new_keyring_the_callers_stays() {
    if !Path::new("/proc/keys").exists() {
        eprintln!("SKIPPED without_a_new_keyring_the_callers_stays: needs a kernel with /proc/keys");
        return;
    }
    let Some(place) = Place::new("keyring") else {
        return;
    };
    // What /proc/keys shows is what its reader possesses: the container's own program has to read it.
    place.configure("config.json", "cat /proc/keys > /tmp/keys", |_| {});
    let has_own = |arguments: &[&str]| {
        let id = place.id("");
        place.expect(&[arguments, &["--no-new-keyring=false", &id]].concat());
        if arguments[0] == "create" {
            place.expect(&["start", &id]);
            place.until(&id, "stopped");
            place.expect(&["delete", &id]);
        }
        let keys = std::fs::read_to_string(place.bundle().join("rootfs/tmp/keys")).expect("keys");
        keys.contains(&format!("_ses.{id}:"))
    };
    assert!(has_own(&["run"]));
    assert!(has_own(&["create"]));
    // Another id: a keyring lingers after its last user.
    let id = place.id("-none");
    for verb in ["run", "create"] {
        place.expect(&[verb, "--no-new-keyring", &id]);
        if verb == "create" {
            place.expect(&["start", &id]);
            place.until(&id, "stopped");
        }
        let keys = std::fs::read_to_string(place.bundle().join("rootfs/tmp/keys")).expect("keys");
        assert!(!keys.contains(&format!("_ses.{id}:")), "{verb}: {keys}");
    }
    assert!(place.expect(&["plan"]).contains("keyring"));
    assert!(!place.expect(&["plan", "--no-new-keyring"]).contains("keyring"));
}

#[test]
fn descriptors_are_preserved_by_number() {
    let Some(place) = Place::new("preserve") else {
        return;
    };
    place.configure("config.json", "cat <&3", |_| {});
    let file = place.dir.join("passed");
    std::fs::write(&file, "passed on").expect("a file");
    let id = place.id("");
    let with_three = |arguments: &[&str]| {
        let inner = place.command(arguments);
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "exec \"$@\" 3<\"$0\"", text(&file)])
            .arg(inner.get_program())
            .args(inner.get_args())
            .current_dir(place.bundle());
        place.finish(shell)
    };
    assert_eq!(
        out(&with_three(&["run", "--preserve-fds", "1", &id])),
        "passed on"
    );
    assert!(!with_three(&["run", &id]).status.success());
    place.configure("config.json", "exec sleep 1000", |_| {});
    place.expect(&["run", "--detach", &id]);
    let arguments = ["exec", "--preserve-fds", "1", &id, "sh", "-c", "cat <&3"];
    assert_eq!(out(&with_three(&arguments)), "passed on");
}

#[test]
fn run_keeps_the_container_when_told_to() {
    let Some(place) = Place::new("keep") else { return };
    place.configure("config.json", "true", |_| {});
    let id = place.id("");
    place.expect(&["run", "--keep", &id]);
    assert_eq!(place.state(&id)["status"], "stopped");
    place.expect(&["delete", &id]);
    place.expect(&["run", &id]);
    assert!(err(&place.call(&["state", &id])).contains("does not exist"));
}

#[test]
fn run_adopts_what_the_container_leaves_behind() {
    let Some(place) = Place::new("subreaper") else {
        return;
    };
    // A process whose parent has ended, in the host's pid namespace: whose child is it now?
    let script = "(sleep 60 & echo $! > /tmp/orphan); sleep 0.3; grep PPid /proc/$(cat /tmp/orphan)/status";
    place.configure("config.json", script, |config| {
        config["linux"]["namespaces"] = json!([{"type": "mount"}]);
    });
    let parent = |flags: &[&str]| {
        let id = place.id("");
        let (pid, finish) = place.begin(&[&["run"], flags, &[&id]].concat());
        let output = finish();
        let said = out(&output);
        let parent = said
            .split_whitespace()
            .last()
            .and_then(|pid| pid.parse::<u32>().ok());
        (parent.unwrap_or_else(|| panic!("{said} {}", err(&output))), pid)
    };
    let (adopter, runtime) = parent(&[]);
    assert_eq!(adopter, runtime);
    let (adopter, runtime) = parent(&["--no-subreaper"]);
    assert_ne!(adopter, runtime);
}

/// A running container whose program does nothing.
fn running(place: &Place) -> String {
    let id = place.id("");
    place.expect(&["run", "--detach", &id]);
    id
}

#[test]
fn exec_changes_what_its_options_name() {
    let Some(place) = Place::new("exec") else { return };
    let id = running(&place);
    let run = |flags: &[&str], program: &[&str]| {
        place.expect(&[&["exec"], flags, &[id.as_str()], program].concat())
    };
    assert_eq!(run(&["--cwd", "/tmp"], &["pwd"]), "/tmp\n");
    assert!(run(&["--env", "A=b", "-e", "C=d"], &["env"]).contains("A=b\nC=d"));
    let user = run(
        &["--user", "1000:1001", "--additional-gids", "7", "-g", "8"],
        &["id"],
    );
    assert!(user.contains("uid=1000") && user.contains("gid=1001"), "{user}");
    assert!(user.contains('7') && user.contains('8'), "{user}");
    let status = |flags: &[&str]| run(flags, &["grep", "-E", "NoNewPrivs|CapBnd", "/proc/self/status"]);
    assert!(status(&[]).contains("NoNewPrivs:\t0"));
    assert!(status(&["--no-new-privs"]).contains("NoNewPrivs:\t1"));
    assert!(
        status(&[]).contains("CapBnd:\t0000000000000000"),
        "{}",
        status(&[])
    );
    assert!(status(&["--cap", "CAP_KILL"]).contains("CapBnd:\t0000000000000020"));
    assert_eq!(run(&["--tty"], &["tty"]), "/dev/pts/0\n");
}

#[test]
fn exec_takes_the_description_from_a_file() {
    let Some(place) = Place::new("process") else {
        return;
    };
    let id = running(&place);
    let file = place.dir.join("process.json");
    std::fs::write(&file, r#"{"cwd":"/tmp","args":["pwd"],"env":["PATH=/bin"]}"#).expect("a file");
    assert_eq!(place.expect(&["exec", "--process", text(&file), &id]), "/tmp\n");
}

#[test]
fn exec_detaches_and_tells_the_pid() {
    let Some(place) = Place::new("detach") else { return };
    let id = running(&place);
    let (listener, socket) = place.listener("socket");
    let file = place.dir.join("exec.pid");
    let flags = [
        "exec",
        "--detach",
        "--pid-file",
        text(&file),
        "--pidfd-socket",
        &socket,
    ];
    place.expect(&[&flags[..], &[&id, "sleep", "1000"]].concat());
    let pid: i64 = std::fs::read_to_string(&file)
        .expect("a pid file")
        .parse()
        .expect("a number");
    assert_eq!(pid_of(&received(&listener)), Some(pid));
    let pids: Vec<i64> = serde_json::from_str(&place.expect(&["ps", "--format", "json", &id])).expect("JSON");
    assert!(pids.contains(&pid), "{pids:?}");
}

/// A label that cannot be set is refused by the name of its field; with the security module it would be set.
#[test]
fn exec_labels_are_set_or_refused_by_name() {
    let Some(place) = Place::new("labels") else { return };
    let id = running(&place);
    for (flag, value, field, enabled) in [
        (
            "--process-label",
            "system_u:system_r:container_t:s0",
            "selinuxLabel",
            "/sys/fs/selinux/enforce",
        ),
        (
            "--apparmor",
            "no-such-profile",
            "apparmorProfile",
            "/sys/kernel/security/apparmor/profiles",
        ),
    ] {
        if Path::new(enabled).exists() {
            eprintln!("SKIPPED a part of exec_labels_are_set_or_refused_by_name: {flag} works on this host");
            continue;
        }
        let output = place.call(&["exec", flag, value, &id, "true"]);
        assert_eq!(output.status.code(), Some(255));
        assert!(err(&output).contains(field), "{flag}: {}", err(&output));
    }
}

#[test]
fn exec_starts_in_a_cgroup_below_the_containers() {
    let Some(place) = Place::new("cgroup") else { return };
    let id = running(&place);
    let pids = Path::new("/sys/fs/cgroup/pids");
    let (base, argument) = if pids.is_dir() {
        (pids, "pids:below")
    } else {
        (Path::new("/sys/fs/cgroup"), "below")
    };
    let below = base.join(place.id("")).join("below");
    std::fs::create_dir(&below).expect("a cgroup");
    let seen = place.expect(&["exec", "--cgroup", argument, &id, "cat", "/proc/self/cgroup"]);
    std::fs::remove_dir(&below).expect("an empty cgroup");
    assert!(seen.contains("/below\n"), "{seen}");
}

#[test]
fn exec_in_a_paused_container_needs_to_be_asked_for() {
    let Some(place) = Place::new("paused") else { return };
    let id = running(&place);
    place.expect(&["pause", &id]);
    let refused = place.call(&["exec", &id, "true"]);
    assert!(
        err(&refused).contains("cannot exec in a paused container (use --ignore-paused to override)"),
        "{}",
        err(&refused)
    );
    let (_, finish) = place.begin(&["exec", "--ignore-paused", &id, "pwd"]);
    std::thread::sleep(std::time::Duration::from_millis(100));
    place.expect(&["resume", &id]);
    let output = finish();
    assert_eq!(
        (out(&output).as_str(), output.status.code()),
        ("/\n", Some(0)),
        "{}",
        err(&output)
    );
}

#[test]
fn kill_all_reaches_every_process() {
    let Some(place) = Place::new("all") else { return };
    // Each process says that it was asked to end; the shell waits for its child.
    let script = "trap 'echo parent' TERM; (trap 'echo child; exit' TERM; touch /tmp/ready; \
                  while :; do sleep 0.05; done) & wait; wait";
    place.configure("config.json", script, |_| {});
    let id = place.id("");
    let (_, finish) = place.begin(&["run", "--keep", &id]);
    let ready = place.bundle().join("rootfs/tmp/ready");
    while !ready.exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    place.expect(&["kill", "--all", &id, "TERM"]);
    let said = out(&finish());
    assert!(said.contains("parent") && said.contains("child"), "{said}");
    // Nobody is left, which is a failure without the option.
    place.until(&id, "stopped");
    place.expect(&["kill", "--all", &id, "TERM"]);
    assert!(err(&place.call(&["kill", &id, "TERM"])).contains("container not running"));
}

/// Three containers, the last one stopped.
fn three(place: &Place) -> [String; 3] {
    let ids = ["-a1", "-a2", "-b"].map(|suffix| place.id(suffix));
    for id in &ids {
        place.configure("config.json", "exec sleep 1000", |config| {
            config["linux"]["cgroupsPath"] = format!("/{id}").into();
        });
        place.expect(&["run", "--detach", id]);
    }
    place.expect(&["kill", &ids[2], "KILL"]);
    place.until(&ids[2], "stopped");
    ids
}

#[test]
fn kill_takes_a_regular_expression() {
    let Some(place) = Place::new("kill-regex") else {
        return;
    };
    let ids = three(&place);
    place.expect(&["kill", "--regex", "a[0-9]$", "KILL"]);
    for id in &ids {
        place.until(id, "stopped");
    }
    let output = place.call(&["kill", "--regex", "(a1|b)$", "KILL"]);
    assert_eq!(output.status.code(), Some(1));
    for part in [
        &ids[0],
        &ids[2],
        "container not running",
        "2 of 2 containers were not signalled",
    ] {
        assert!(err(&output).contains(part), "{part}: {}", err(&output));
    }
    assert!(err(&place.call(&["kill", "--regex", "nobody"])).contains("no container's id matches"));
    assert!(err(&place.call(&["kill", "--regex", "(", "KILL"])).contains("invalid regular expression"));
    // Without the option the same word is an id.
    assert!(err(&place.call(&["kill", "a[0-9]$"])).contains("invalid container ID format"));
}

#[test]
fn delete_takes_a_regular_expression_and_force() {
    let Some(place) = Place::new("delete-regex") else {
        return;
    };
    let ids = three(&place);
    let log = place.dir.join("log.json");
    let output = place.call(&[
        "--log",
        text(&log),
        "--log-format",
        "json",
        "delete",
        "--regex",
        "^rcli-",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let line: Value =
        serde_json::from_str(&std::fs::read_to_string(&log).expect("a log")).expect("one JSON line");
    assert_eq!(line["msg"], "2 of 3 containers were not deleted");
    assert_eq!(line["warnings"].as_array().map(Vec::len), Some(2), "{line}");
    assert!(
        line["warnings"][0]
            .as_str()
            .is_some_and(|said| said.contains("that is not stopped: running"))
    );
    assert_eq!(
        place.expect(&["list", "--quiet"]),
        format!("{}\n{}\n", ids[0], ids[1])
    );
    assert!(!place.call(&["delete", &ids[0]]).status.success());
    place.expect(&["delete", "--force", "--regex", "[0-9]-a[0-9]"]);
    assert_eq!(place.expect(&["list", "--quiet"]), "");
    place.expect(&["delete", "--force", "--regex", "[0-9]-a[0-9]"]);
    place.expect(&["delete", "--force", &ids[0]]);
}

#[test]
fn a_disabled_cgroup_manager_makes_no_cgroup() {
    let Some(place) = Place::new("disabled") else {
        return;
    };
    let id = place.id("");
    place.expect(&["--cgroup-manager", "disabled", "run", "--detach", &id]);
    let pid = place.state(&id)["pid"].as_i64().expect("a pid");
    let of = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a list");
    assert_eq!(of(&pid.to_string()), of("self"));
    place.expect(&["delete", "--force", &id]);
    place.expect(&["--cgroup-manager", "cgroupfs", "run", "--detach", &id]);
    let pid = place.state(&id)["pid"].as_i64().expect("a pid");
    assert!(of(&pid.to_string()).contains(&id));
}

#[test]
fn list_and_ps_have_two_formats() {
    let Some(place) = Place::new("formats") else {
        return;
    };
    let id = running(&place);
    let pid = place.state(&id)["pid"].clone();
    let list: Value = serde_json::from_str(&place.expect(&["list", "--format", "json"])).expect("JSON");
    assert_eq!(list[0]["id"], id.as_str());
    assert_eq!(list[0]["owner"], "root");
    assert!(place.expect(&["list", "-f", "table"]).starts_with("ID "));
    assert_eq!(place.expect(&["list", "--quiet"]), format!("{id}\n"));
    let pids: Value = serde_json::from_str(&place.expect(&["ps", "--format", "json", &id])).expect("JSON");
    assert_eq!(pids[0], pid);
    assert!(
        place
            .expect(&["ps", "-f", "table", &id])
            .contains(&pid.to_string())
    );
}

#[test]
fn plan_has_two_formats_and_takes_a_configuration_by_name() {
    let Some(place) = Place::new("plan") else { return };
    place.configure("other.json", "true", |config| config["hostname"] = "other".into());
    assert!(!place.expect(&["plan"]).contains("other"));
    assert!(
        place
            .expect(&["plan", "--config", "other.json"])
            .contains("other")
    );
    let plan: Value = serde_json::from_str(&place.expect(&["plan", "--format", "json"])).expect("JSON");
    assert!(plan.is_object() || plan.is_array());
}

/// An option of update with its value, and the file that shows it: of version 1 (controller, file, content) and of the
/// unified hierarchy (file, content).
type Limit = (
    &'static str,
    &'static str,
    (&'static str, &'static str, &'static str),
    (&'static str, &'static str),
);

/// In an order in which each is allowed. "" for the unified file: only version 1 has this limit.
const LIMITS: &[Limit] = &[
    (
        "--cpu-share",
        "100",
        ("cpu", "cpu.shares", "100"),
        ("cpu.weight", "17"),
    ),
    (
        "--cpu-period",
        "50000",
        ("cpu", "cpu.cfs_period_us", "50000"),
        ("cpu.max", "max 50000"),
    ),
    (
        "--cpu-quota",
        "25000",
        ("cpu", "cpu.cfs_quota_us", "25000"),
        ("cpu.max", "25000 50000"),
    ),
    (
        "--cpu-burst",
        "10000",
        ("cpu", "cpu.cfs_burst_us", "10000"),
        ("cpu.max.burst", "10000"),
    ),
    (
        "--cpuset-cpus",
        "0",
        ("cpuset", "cpuset.cpus", "0"),
        ("cpuset.cpus", "0"),
    ),
    (
        "--cpuset-mems",
        "0",
        ("cpuset", "cpuset.mems", "0"),
        ("cpuset.mems", "0"),
    ),
    (
        "--memory",
        "64m",
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("memory.max", "67108864"),
    ),
    (
        "--memory-reservation",
        "32m",
        ("memory", "memory.soft_limit_in_bytes", "33554432"),
        ("memory.low", "33554432"),
    ),
    (
        "--memory-swap",
        "96m",
        ("memory", "memory.memsw.limit_in_bytes", "100663296"),
        ("memory.swap.max", "33554432"),
    ),
    (
        "--pids-limit",
        "42",
        ("pids", "pids.max", "42"),
        ("pids.max", "42"),
    ),
    (
        "--blkio-weight",
        "500",
        ("blkio", "blkio.bfq.weight", "500"),
        ("io.bfq.weight", "500"),
    ),
    ("--cpu-idle", "1", ("cpu", "cpu.idle", "1"), ("cpu.idle", "1")),
    (
        "--cpu-rt-period",
        "500000",
        ("cpu", "cpu.rt_period_us", "500000"),
        ("", ""),
    ),
    (
        "--cpu-rt-runtime",
        "0",
        ("cpu", "cpu.rt_runtime_us", "0"),
        ("", ""),
    ),
];

#[test]
fn update_changes_the_limit_that_an_option_names() {
    let Some(place) = Place::new("update") else { return };
    place.configure("config.json", "exec sleep 1000", |config| {
        config["linux"]["resources"] = json!({"memory": {"limit": 50331648}, "pids": {"limit": 100}});
    });
    let id = running(&place);
    let root = Path::new("/sys/fs/cgroup");
    for (flag, value, (controller, file, content), (unified, unified_content)) in LIMITS {
        let version1 = root.join(controller).join(&id).join(file);
        let version2 = root.join(&id).join(unified);
        let (path, content) = if version1.exists() {
            (version1, content)
        } else {
            (version2, unified_content)
        };
        if !path.is_file() {
            eprintln!(
                "SKIPPED a part of update_changes_the_limit_that_an_option_names: {flag} needs {}",
                path.display()
            );
            continue;
        }
        place.expect(&["update", flag, value, &id]);
        let found = std::fs::read_to_string(&path).expect("a limit");
        assert!(
            found
                .trim()
                .split('\n')
                .any(|line| line == *content || line == format!("default {content}")),
            "{flag}: {found}"
        );
    }
    // Values of the wrong kind are refused by the name of the option, with what is allowed.
    for flag in ["--memory", "--pids-limit", "--cpu-quota", "--cpu-period"] {
        let output = place.call(&["update", flag, "many", &id]);
        assert!(
            err(&output).contains(flag) && err(&output).contains("allowed"),
            "{}",
            err(&output)
        );
    }
    for flag in ["--l3-cache-schema", "--mem-bw-schema"] {
        let output = place.call(&["update", flag, "MB:0=70", &id]);
        assert!(
            !output.status.success() && err(&output).contains("Intel RDT"),
            "{}",
            err(&output)
        );
    }
    // Accepted for engines that still pass them, and without effect.
    for flag in ["--kernel-memory", "--kernel-memory-tcp"] {
        place.expect(&["update", flag, "64m", &id]);
    }
}

#[test]
fn update_reads_limits_from_a_file_and_from_standard_input() {
    let Some(place) = Place::new("resources") else {
        return;
    };
    let id = running(&place);
    let limit = || {
        let version1 = Path::new("/sys/fs/cgroup/pids").join(&id).join("pids.max");
        let version2 = Path::new("/sys/fs/cgroup").join(&id).join("pids.max");
        std::fs::read_to_string(if version1.exists() { version1 } else { version2 }).expect("a limit")
    };
    let file = place.dir.join("limits.json");
    std::fs::write(&file, r#"{"pids":{"limit":41}}"#).expect("a file");
    place.expect(&["update", "--resources", text(&file), &id]);
    assert_eq!(limit(), "41\n");
    std::fs::write(&file, r#"{"pids":{"limit":43}}"#).expect("a file");
    let mut command = place.command(&["update", "-r", "-", &id]);
    command.stdin(std::fs::File::open(&file).expect("a file"));
    assert!(place.finish(command).status.success());
    assert_eq!(limit(), "43\n");
}

#[test]
fn events_come_once_or_at_an_interval() {
    let Some(place) = Place::new("events") else { return };
    let id = running(&place);
    let once: Value = serde_json::from_str(&place.expect(&["events", "--stats", &id])).expect("one line");
    assert_eq!((&once["type"], &once["id"]), (&json!("stats"), &json!(id)));
    let begun = std::time::Instant::now();
    let (pid, finish) = place.begin(&["events", "--interval", "50ms", &id]);
    let said = || std::fs::read_to_string(format!("/proc/{pid}/fd/1")).unwrap_or_default();
    while said().matches("\"type\":\"stats\"").count() < 4 {
        assert!(
            begun.elapsed().as_secs() < 60,
            "four lines do not come: {}",
            said()
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    place.expect(&["kill", &id, "KILL"]);
    let said = out(&finish());
    // However slow the machine is: never more often than the interval allows, and one at the begin.
    let most = begun.elapsed().as_millis() / 50 + 1;
    let count = said.matches("\"type\":\"stats\"").count();
    assert!(
        count >= 4 && count as u128 <= most,
        "{count}, at most {most}: {said}"
    );
}

/// Engines call from processes with few descriptors left, on hosts with many containers.
#[test]
fn list_needs_no_more_descriptors_for_more_containers() {
    let Some(place) = Place::new("many") else {
        return;
    };
    let ids: Vec<String> = (10..40).map(|number| place.id(&format!("-{number}"))).collect();
    for id in &ids {
        place.configure("config.json", "exec sleep 1000", |config| {
            config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
        });
        place.expect(&["create", id]);
    }
    let list = place.command(&["list", "--quiet"]);
    let mut few = Command::new("sh");
    few.args(["-c", "ulimit -n 24; exec \"$@\"", "sh"])
        .arg(list.get_program())
        .args(list.get_args())
        .stdin(std::process::Stdio::null());
    let output = place.finish(few);
    assert!(output.status.success(), "{}", err(&output));
    assert_eq!(out(&output).lines().collect::<Vec<_>>(), ids);
}
