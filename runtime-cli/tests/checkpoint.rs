//! checkpoint and restore with the CRIU in the search path. Where it is missing, or cannot save even a plain process of
//! this host, the tests are skipped and say why.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a skip must be seen; a test may panic"
)]

mod place;

use std::fs::{create_dir_all, read_to_string};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use place::{Place, err, received};
use serde_json::{Value, json};

/// Counts in a variable of the shell and shows the count in a file, with a word that only its memory knows.
const COUNTER: &str = "read w < /proc/sys/kernel/random/uuid; n=0
    while :; do n=$((n+1)); echo $n $w > /tmp/n; sleep 0.02; done";

/// A place for a container; None, with the reason told, where there can be none or CRIU cannot work.
fn place(test: &str) -> Option<Place> {
    static WHY_NOT: OnceLock<Option<String>> = OnceLock::new();
    let place = Place::new(test)?;
    if let Some(why) = WHY_NOT.get_or_init(place::criu::why_not) {
        eprintln!("SKIPPED {test}: {why}");
        return None;
    }
    Some(place)
}

trait Criu {
    fn images(&self, name: &str) -> String;
    fn run(&self, id: &str);
    fn save(&self, id: &str, more: &[&str]) -> Output;
    fn again(&self, id: &str, more: &[&str]) -> Output;
    fn count(&self) -> u64;
    fn shown(&self) -> (u64, String);
    fn at_least(&self, count: u64);
    fn program(&self, script: &str, edit: impl FnOnce(&mut Value));
}

impl Criu for Place {
    fn images(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    fn run(&self, id: &str) {
        let output = self.detached(&["run", "--detach", id]);
        assert!(output.status.success(), "{}", err(&output));
    }

    fn save(&self, id: &str, more: &[&str]) -> Output {
        let image = self.images("image");
        let mut line = vec!["checkpoint", "--image-path", &image];
        line.extend(more);
        line.push(id);
        self.detached(&line)
    }

    fn again(&self, id: &str, more: &[&str]) -> Output {
        let image = self.images("image");
        let mut line = vec!["restore", "--detach", "--image-path", &image];
        line.extend(more);
        line.push(id);
        self.detached(&line)
    }

    fn count(&self) -> u64 {
        self.shown().0
    }

    fn shown(&self) -> (u64, String) {
        let text = read_to_string(self.bundle().join("rootfs/tmp/n")).unwrap_or_default();
        let mut words = text.split_whitespace();
        let count = words.next().and_then(|word| word.parse().ok());
        (count.unwrap_or(0), words.next().unwrap_or_default().to_owned())
    }

    fn at_least(&self, count: u64) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.count() < count {
            assert!(Instant::now() < deadline, "the count stays at {}", self.count());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn program(&self, script: &str, edit: impl FnOnce(&mut Value)) {
        self.configure("config.json", script, |config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.push(json!({"type": "network"}));
            edit(config);
        });
    }
}

fn succeeds(output: &Output) {
    assert!(output.status.success(), "{}", err(output));
}

fn mounts() -> usize {
    read_to_string("/proc/self/mountinfo").unwrap().lines().count()
}

/// The container's directories in the hierarchies of cgroups: the place's name is theirs.
fn cgroups(place: &Place) -> Vec<PathBuf> {
    let name = place.dir.file_name().unwrap();
    let tops = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
    let tops = tops.map(|top| top.path());
    // In version 1 they lie below the caller's own.
    let own = read_to_string("/proc/self/cgroup").unwrap();
    let own = own
        .lines()
        .filter_map(|line| line.split_once(':')?.1.split_once(':'))
        .map(|(controllers, path)| PathBuf::from(format!("/sys/fs/cgroup/{controllers}{path}")));
    let places = tops.chain(own).map(|top| top.join(name));
    places.filter(|place| place.is_dir()).collect()
}

#[test]
fn a_counter_goes_on_where_it_was() {
    let Some(place) = place("a_counter_goes_on_where_it_was") else {
        return;
    };
    place.program(COUNTER, |_| {});
    let id = place.id("a");
    place.run(&id);
    place.at_least(20);
    let mut word = String::new();
    while word.is_empty() {
        word = place.shown().1;
    }
    let before = mounts();
    for _ in 0..2 {
        succeeds(&place.save(&id, &[]));
        assert!(
            !place.call(&["state", &id]).status.success(),
            "the container is deleted"
        );
        assert_eq!(cgroups(&place), Vec::<PathBuf>::new());
        let count = place.count();
        succeeds(&place.again(&id, &[]));
        place.at_least(count + 5);
        let deadline = Instant::now() + Duration::from_secs(20);
        while place.shown().1 != word {
            assert!(
                Instant::now() < deadline,
                "{word} is forgotten: {:?}",
                place.shown()
            );
        }
        assert_eq!(place.state(&id)["status"], "running");
        // The clocks of the restored processes are in a time namespace; exec goes there too.
        let own = place.expect(&[
            "exec",
            &id,
            "sh",
            "-c",
            "ls -l /proc/1/ns/time /proc/self/ns/time",
        ]);
        let names: Vec<_> = own.lines().filter_map(|line| line.split("-> ").nth(1)).collect();
        assert!(names.len() == 2 && names[0] == names[1], "{own}");
    }
    assert_eq!(mounts(), before);
}

#[test]
fn it_runs_on_where_asked_to() {
    let Some(place) = place("it_runs_on_where_asked_to") else {
        return;
    };
    place.program(COUNTER, |_| {});
    let id = place.id("a");
    place.run(&id);
    place.at_least(5);
    let pid = place.state(&id)["pid"].clone();
    succeeds(&place.save(&id, &["--leave-running"]));
    place.at_least(place.count() + 5);
    assert_eq!(place.state(&id)["pid"], pid);
    // A paused one stays paused.
    place.expect(&["pause", &id]);
    succeeds(&place.save(&id, &["--leave-running"]));
    assert_eq!(place.state(&id)["status"], "paused");
    place.expect(&["resume", &id]);
    place.at_least(place.count() + 5);
    // What was saved is a container of its own.
    place.expect(&["delete", "--force", &id]);
    succeeds(&place.again(&id, &[]));
    place.at_least(place.count() + 5);
}

#[test]
fn a_pre_dump_is_the_parent_of_the_next() {
    const TEST: &str = "a_pre_dump_is_the_parent_of_the_next";
    let Some(place) = place(TEST) else { return };
    place.program(COUNTER, |_| {});
    let id = place.id("a");
    place.run(&id);
    place.at_least(5);
    let parent = place.images("parent");
    let first = place.detached(&["checkpoint", "--pre-dump", "--image-path", &parent, &id]);
    let said = err(&first);
    assert_eq!(place.state(&id)["status"], "running");
    if said.contains("memory tracking") {
        eprintln!("SKIPPED {TEST}: {}", said.trim());
        return;
    }
    succeeds(&first);
    succeeds(&place.save(&id, &["--parent-path", "../parent"]));
    assert!(place.dir.join("image/parent").exists());
    let count = place.count();
    succeeds(&place.again(&id, &[]));
    place.at_least(count + 5);
}

#[test]
fn a_parent_is_relative_and_there() {
    let Some(place) = place("a_parent_is_relative_and_there") else {
        return;
    };
    place.program(COUNTER, |_| {});
    let id = place.id("a");
    place.run(&id);
    for wrong in ["/tmp", "../nowhere"] {
        let output = place.save(&id, &["--parent-path", wrong]);
        assert!(
            !output.status.success() && err(&output).contains("--parent-path"),
            "{}",
            err(&output)
        );
        assert_eq!(place.state(&id)["status"], "running");
    }
}

#[test]
fn a_failed_checkpoint_leaves_it_running_and_tells_why() {
    let Some(place) = place("a_failed_checkpoint_leaves_it_running_and_tells_why") else {
        return;
    };
    place.program(COUNTER, |_| {});
    let id = place.id("a");
    // Its standard output is a file that its mount namespace does not have.
    place.expect(&["run", "--detach", &id]);
    place.at_least(5);
    let output = place.save(&id, &[]);
    let said = err(&output);
    let log = place.dir.join("image/dump.log");
    assert!(!output.status.success());
    assert!(
        said.contains("criu failed: dump: ") && said.contains("lookup mount"),
        "{said}"
    );
    assert!(
        said.contains(&format!("(log: {})", log.display())) && log.is_file(),
        "{said}"
    );
    assert_eq!(place.state(&id)["status"], "running");
    place.at_least(place.count() + 5);
}

#[test]
fn only_what_runs_can_be_saved() {
    let Some(place) = place("only_what_runs_can_be_saved") else {
        return;
    };
    let id = place.id("a");
    let output = place.save(&id, &[]);
    assert!(
        err(&output).contains("container does not exist"),
        "{}",
        err(&output)
    );
    let output = place.detached(&["create", &id]);
    succeeds(&output);
    let output = place.save(&id, &[]);
    assert!(
        err(&output).contains("cannot be checkpointed in created state"),
        "{}",
        err(&output)
    );
    assert!(!place.dir.join("image").exists());
}

#[test]
fn bind_mounts_come_from_the_host() {
    let Some(place) = place("bind_mounts_come_from_the_host") else {
        return;
    };
    let root = place.bundle().join("rootfs");
    create_dir_all(root.join("real/conf")).unwrap();
    symlink("/real/conf", root.join("conf")).unwrap();
    for (volume, text) in [("one", "1"), ("two", "2"), ("new", "3")] {
        create_dir_all(place.dir.join(volume)).unwrap();
        std::fs::write(place.dir.join(volume).join("file"), text).unwrap();
    }
    let volumes = |second: &str| {
        let bind = |source: &str, destination: &str, option: &str| {
            json!({"type": "bind", "source": place.dir.join(source), "destination": destination,
                   "options": ["bind", option]})
        };
        [
            bind("one", "/data", "rw"),
            bind(second, "/data/deep/er", "ro"),
            bind("one", "/conf", "rw"),
        ]
    };
    let configure = |second: &str| {
        place.program(COUNTER, |config| {
            config["mounts"].as_array_mut().unwrap().extend(volumes(second));
            config["linux"]["maskedPaths"] = json!(["/proc/keys", "/proc/acpi", "/proc/fs"]);
            config["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
        });
    };
    configure("two");
    let id = place.id("a");
    place.run(&id);
    place.at_least(3);
    succeeds(&place.save(&id, &[]));
    // Places of mounts that are gone are made again, and the sources are those of the new configuration.
    std::fs::remove_dir_all(place.dir.join("one/deep")).unwrap();
    configure("new");
    succeeds(&place.again(&id, &[]));
    let read = |path: &str| place.expect(&["exec", &id, "cat", path]);
    assert_eq!(
        [read("/data/file"), read("/data/deep/er/file"), read("/conf/file")],
        ["1", "3", "1"]
    );
    let write = place.call(&["exec", &id, "sh", "-c", "echo x > /data/deep/er/x"]);
    assert!(err(&write).contains("Read-only"), "{}", err(&write));
    assert_eq!(read("/proc/keys"), "");
    // And once more, from what was restored.
    succeeds(&place.save(&id, &[]));
    succeeds(&place.again(&id, &[]));
    assert_eq!(read("/data/deep/er/file"), "3");
}

#[test]
fn a_terminal_is_handed_over() {
    let Some(place) = place("a_terminal_is_handed_over") else {
        return;
    };
    place.program("unused", |config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["args"] = json!(["sh"]);
    });
    let id = place.id("a");
    let (listener, socket) = place.listener("console.sock");
    let start = |line: &[&str]| {
        let waiting = listener.try_clone().unwrap();
        let master = std::thread::spawn(move || received(&waiting));
        let output = place.detached(line);
        succeeds(&output);
        std::fs::File::from(master.join().unwrap())
    };
    let mut terminal = start(&["run", "--detach", "--console-socket", &socket, &id]);
    let ask = |terminal: &mut std::fs::File, line: &str, expected: &str| {
        writeln!(terminal, "{line}").unwrap();
        let mut read = String::new();
        let mut buffer = [0; 1024];
        while !read.contains(expected) {
            let count = terminal.read(&mut buffer).unwrap();
            read.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    };
    ask(&mut terminal, "word=kept; echo $word-1", "kept-1");
    let image = place.images("image");
    succeeds(&place.save(&id, &[]));
    let restore = [
        "restore",
        "--detach",
        "--image-path",
        &image,
        "--console-socket",
        &socket,
        &id,
    ];
    let mut terminal = start(&restore);
    ask(&mut terminal, "echo $word-2; tty", "kept-2");
    place.expect(&["delete", "--force", &id]);
    // Without a receiver nothing is begun.
    let output = place.again(&id, &[]);
    assert!(err(&output).contains("cannot allocate tty"), "{}", err(&output));
}

#[test]
fn limits_are_those_of_the_configuration_at_the_restore() {
    let Some(place) = place("limits_are_those_of_the_configuration_at_the_restore") else {
        return;
    };
    let pids = Path::new("/sys/fs/cgroup/pids");
    if !pids.is_dir() {
        eprintln!(
            "SKIPPED limits_are_those_of_the_configuration_at_the_restore: no pids controller of version 1"
        );
        return;
    }
    let limit = |pids: i64| {
        place.program(COUNTER, |config| {
            config["linux"]["resources"] = json!({"pids": {"limit": pids}});
        });
    };
    limit(50);
    let id = place.id("a");
    place.run(&id);
    place.at_least(3);
    let at = |place: &Place| {
        let name = place.dir.file_name().unwrap();
        read_to_string(pids.join(name).join("pids.max"))
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(at(&place), "50");
    succeeds(&place.save(&id, &["--manage-cgroups-mode", "ignore"]));
    limit(60);
    succeeds(&place.again(&id, &["--manage-cgroups-mode", "ignore"]));
    assert_eq!(at(&place), "60");
    let pid = place.state(&id)["pid"].to_string();
    let groups = read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let name = place.dir.file_name().unwrap().to_str().unwrap();
    assert!(
        groups.lines().all(|line| line.ends_with(&format!("/{name}"))),
        "{groups}"
    );
    // A limit for new processes counts for restored ones.
    place.expect(&["update", "--pids-limit", "70", &id]);
    assert_eq!(at(&place), "70");
}

#[test]
fn a_failed_restore_leaves_nothing() {
    let Some(place) = place("a_failed_restore_leaves_nothing") else {
        return;
    };
    place.program(COUNTER, |config| {
        config["hooks"] = json!({"poststop": [{"path": "/bin/sh", "args": ["sh", "-c",
            format!("echo gone > {}", place.dir.join("poststop").display())]}]});
    });
    let id = place.id("a");
    let output = place.again(&id, &[]);
    assert!(
        err(&output).contains("there is no checkpoint at"),
        "{}",
        err(&output)
    );
    place.run(&id);
    place.at_least(3);
    succeeds(&place.save(&id, &[]));
    let before = mounts();
    std::fs::remove_file(place.dir.join("poststop")).unwrap();
    let tree = place.dir.join("image/pstree.img");
    let whole = std::fs::read(&tree).unwrap();
    std::fs::write(&tree, &whole[..whole.len() / 2]).unwrap();
    // An image may come from anywhere: a link in the place of the log is not followed.
    let victim = place.dir.join("victim");
    std::fs::write(&victim, "precious").unwrap();
    let _ = std::fs::remove_file(place.dir.join("image/restore.log"));
    symlink(&victim, place.dir.join("image/restore.log")).unwrap();
    let output = place.again(&id, &[]);
    let said = err(&output);
    assert!(!output.status.success());
    assert!(
        said.contains("criu failed: restore: ") && said.contains("image/restore.log"),
        "{said}"
    );
    assert_eq!(read_to_string(&victim).unwrap(), "precious");
    assert!(!place.call(&["state", &id]).status.success());
    assert_eq!(cgroups(&place), Vec::<PathBuf>::new());
    assert_eq!(mounts(), before);
    assert!(place.dir.join("poststop").exists());
    // The image is as good as before.
    std::fs::write(&tree, &whole).unwrap();
    succeeds(&place.again(&id, &[]));
    place.at_least(place.count() + 3);
}

/// T-27 of docs/attacks.md: an archive may come from anywhere. Devices, mounts, hooks and annotations are those of the
/// configuration at the restore, whatever documents lie beside the images, and no link in it is followed.
#[test]
fn an_archive_is_believed_nothing_but_processes() {
    let Some(place) = place("an_archive_is_believed_nothing_but_processes") else {
        return;
    };
    place.program(COUNTER, |_| {});
    let id = place.id("a");
    place.run(&id);
    place.at_least(3);
    succeeds(&place.save(&id, &[]));
    let ran = place.dir.join("ran");
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("echo ran > {}", ran.display())]}]);
    let foreign = json!({
        "ociVersion": "1.3.0", "root": {"path": "/"}, "annotations": {"foreign": "yes"},
        "hooks": {"prestart": hook, "createRuntime": hook, "poststart": hook, "poststop": hook},
        "mounts": [{"destination": "/host", "type": "bind", "source": "/", "options": ["rbind"]}],
        "linux": {"devices": [{"path": "/dev/foreign", "type": "c", "major": 1, "minor": 1}],
                  "resources": {"devices": [{"allow": true, "access": "rwm"}]}}
    });
    let image = place.dir.join("image");
    for name in [
        "config.json",
        "config.dump",
        "spec.dump",
        "state.json",
        "container.json",
    ] {
        std::fs::write(image.join(name), foreign.to_string()).unwrap();
    }
    succeeds(&place.again(&id, &[]));
    let state = place.state(&id);
    assert!(state["annotations"]["foreign"].is_null(), "{state}");
    let root = PathBuf::from(format!("/proc/{}/root", state["pid"]));
    assert!(root.join("tmp/n").exists());
    assert!(!root.join("host").exists() && !root.join("dev/foreign").exists());
    succeeds(&place.save(&id, &[]));
    assert!(!ran.exists());
    // The names of descriptors, from a file outside.
    let names = image.join("descriptors.json");
    let outside = place.dir.join("outside");
    std::fs::rename(&names, &outside).unwrap();
    symlink(&outside, &names).unwrap();
    let output = place.again(&id, &[]);
    assert!(!output.status.success());
    assert!(err(&output).contains("descriptors.json"), "{}", err(&output));
    assert!(!place.call(&["state", &id]).status.success());
}

#[test]
fn hooks_see_the_new_namespaces() {
    let Some(place) = place("hooks_see_the_new_namespaces") else {
        return;
    };
    let seen = place.dir.join("seen");
    let hook = |name: &str, then: &str| {
        json!({"path": "/bin/sh", "env": ["PATH=/usr/bin:/bin"], "args": ["sh", "-c",
            format!("cat > {}-{name}; {then}", seen.display())]})
    };
    place.program(COUNTER, |config| {
        config["hooks"] = json!({"createRuntime": [hook("created", "exit 0")],
                                 "poststart": [hook("started", "exit 0")]});
    });
    let id = place.id("a");
    place.run(&id);
    place.at_least(3);
    succeeds(&place.save(&id, &[]));
    let file = |name: &str| place.dir.join(format!("seen-{name}"));
    for name in ["created", "started"] {
        std::fs::remove_file(file(name)).unwrap();
    }
    succeeds(&place.again(&id, &[]));
    let state: Value = serde_json::from_str(&read_to_string(file("created")).unwrap()).unwrap();
    assert_eq!((&state["status"], &state["id"]), (&json!("creating"), &json!(id)));
    assert_eq!(state["pid"], place.state(&id)["pid"]);
    assert!(!file("started").exists());
    succeeds(&place.save(&id, &[]));
    // One that fails stops the restore.
    place.program(COUNTER, |config| {
        config["hooks"] = json!({"createRuntime": [hook("created", "echo no good >&2; exit 3")]});
    });
    let output = place.again(&id, &[]);
    assert!(err(&output).contains("no good"), "{}", err(&output));
    assert!(!place.call(&["state", &id]).status.success());
}

#[test]
fn the_exit_code_comes_back() {
    let Some(place) = place("the_exit_code_comes_back") else {
        return;
    };
    place.program("until [ -e /tmp/go ]; do sleep 0.02; done; exit 7", |_| {});
    let id = place.id("a");
    place.run(&id);
    place.until(&id, "running");
    succeeds(&place.save(&id, &[]));
    std::fs::write(place.bundle().join("rootfs/tmp/go"), "").unwrap();
    let (image, pid_file) = (place.images("image"), place.images("pid"));
    let line = ["restore", "--image-path", &image, "--pid-file", &pid_file, &id];
    let output = place.detached(&line);
    assert_eq!(output.status.code(), Some(7), "{}", err(&output));
    assert!(read_to_string(&pid_file).unwrap().parse::<i32>().unwrap() > 1);
    assert!(
        !place.call(&["state", &id]).status.success(),
        "the container is deleted"
    );
}

#[test]
fn a_flag_with_a_wrong_value_is_named() {
    let Some(place) = Place::new("a_flag_with_a_wrong_value_is_named") else {
        return;
    };
    for (command, flag, value) in [
        ("checkpoint", "--manage-cgroups-mode", "hard"),
        ("checkpoint", "--empty-ns", "pid"),
        ("checkpoint", "--page-server", "nowhere"),
        ("checkpoint", "--status-fd", "x"),
        ("checkpoint", "--network-lock", "none"),
        ("checkpoint", "--parent-path", "/absolute"),
        ("restore", "--lsm-profile", "smack:x"),
    ] {
        let output = place.call(&[command, flag, value, "c1"]);
        assert!(!output.status.success());
        let said = err(&output);
        assert!(
            said.contains(value) || said.contains(flag),
            "{command} {flag}: {said}"
        );
    }
    let mut command = place.command(&["checkpoint", "c1"]);
    command.env("PATH", "/nowhere");
    place.configure("config.json", "exec sleep 1000", |_| {});
    let id = place.id("a");
    succeeds(&place.detached(&["run", "--detach", &id]));
    let mut command = place.command(&["checkpoint", &id]);
    command.env("PATH", "/nowhere");
    let output = place.finish(command);
    assert!(err(&output).contains("criu is not installed"), "{}", err(&output));
    assert_eq!(place.state(&id)["status"], "running");
}
