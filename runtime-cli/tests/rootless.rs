//! The built program as a user without privileges calls it: a container in a user namespace of that user's own id, from
//! the configuration that `spec --rootless` writes. Where a test says nothing else, nothing is delegated to the user, so
//! no cgroup is made, and the user has no other ids.
#![allow(clippy::print_stderr, reason = "a skip must be seen")]

use std::os::unix::fs::{chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Some user that no host gives more than it gives to everybody.
const USER: u32 = 54_321;
/// For one call of the program.
const LIMIT: Duration = Duration::from_secs(30);

/// A bundle that the user owns; goes away with its owner.
struct Place {
    dir: PathBuf,
}

impl Place {
    /// None, with the reason told, where there can be none.
    fn new(test: &str) -> Option<Self> {
        let skip = |why: &str| {
            eprintln!("SKIPPED {test}: {why}");
            None
        };
        if !rustix::process::geteuid().is_root() {
            return skip("needs root, to become a user to whom nothing is delegated");
        }
        let Some(busybox) = ["/usr/bin/busybox", "/bin/busybox"]
            .into_iter()
            .find(|path| Path::new(path).is_file())
        else {
            return skip("needs a static busybox (Debian: busybox-static)");
        };
        let place = Self {
            dir: PathBuf::from(format!("/tmp/runtime-rootless-{test}-{}", std::process::id())),
        };
        let root = place.dir.join("rootfs");
        for folder in ["bin", "dev", "proc", "sys", "run"] {
            std::fs::create_dir_all(root.join(folder)).expect("a folder in /tmp");
        }
        std::fs::copy(busybox, root.join("bin/busybox")).expect("a copy of busybox");
        for applet in ["sh", "cat", "sleep", "grep"] {
            symlink("busybox", root.join("bin").join(applet)).expect("a link");
        }
        for path in [
            &place.dir,
            &root,
            &root.join("bin"),
            &root.join("dev"),
            &root.join("run"),
        ] {
            chown(path, Some(USER), Some(USER)).expect("chown");
        }
        // A copy: the user may be unable to reach the build's folder.
        // Made by another process: a child that another test forks meanwhile would hold it open for writing (ETXTBSY).
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_runtime"))
            .arg(place.program())
            .status();
        assert!(
            copied.is_ok_and(|status| status.success()),
            "a copy of the program"
        );
        let written = place.call(&["spec", "--rootless"]);
        if err(&written).contains("max_user_namespaces") {
            return skip("this host has no user namespaces for users");
        }
        assert!(written.status.success(), "{}", err(&written));
        Some(place)
    }

    fn program(&self) -> PathBuf {
        self.dir.join("program")
    }

    /// Sets the program that the container runs; other changes by `edit`.
    fn configure(&self, script: &str, edit: impl FnOnce(&mut serde_json::Value)) {
        let path = self.dir.join("config.json");
        let text = std::fs::read(&path).expect("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = serde_json::json!(["sh", "-c", script]);
        edit(&mut config);
        std::fs::write(path, config.to_string()).expect("config.json");
    }

    /// The program as the user, with the state directory that the user has by default.
    fn call(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.program());
        command.args(arguments).uid(USER).gid(USER);
        self.run(command)
    }

    /// The program as the user, after root did `before` in a shell with a mount namespace of its own.
    fn call_after(&self, before: &str, arguments: &[&str]) -> Output {
        let user = USER.to_string();
        let script = format!("{before}\nexec setpriv --reuid {user} --regid {user} --clear-groups \"$@\"");
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-ec", &script, "sh"])
            .arg(self.program())
            .args(arguments);
        self.run(command)
    }

    fn run(&self, mut command: Command) -> Output {
        let mut child = command
            .current_dir(&self.dir)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("XDG_RUNTIME_DIR", &self.dir)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(self.dir.join("out")).expect("a file"))
            .stderr(std::fs::File::create(self.dir.join("err")).expect("a file"))
            .spawn()
            .expect("the program starts");
        let deadline = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = child.try_wait().expect("wait") {
                break status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("{command:?} takes longer than {LIMIT:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let read = |name: &str| std::fs::read(self.dir.join(name)).expect("a file");
        Output {
            status,
            stdout: read("out"),
            stderr: read("err"),
        }
    }

    /// As `call`, for what has to succeed; gives the standard output.
    fn expect(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", err(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = Command::new(self.program())
            .args(["delete", "--force", "c"])
            .env("XDG_RUNTIME_DIR", &self.dir)
            .uid(USER)
            .gid(USER)
            .output();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_life_without_privileges() {
    let Some(place) = Place::new("life") else { return };
    place.configure("exec sleep 1000", |_| {});
    place.expect(&["create", "c"]);
    assert!(place.expect(&["state", "c"]).contains("\"created\""));
    place.expect(&["start", "c"]);
    assert!(place.expect(&["state", "c"]).contains("\"running\""));
    let map = place.expect(&["exec", "c", "cat", "/proc/self/uid_map"]);
    assert_eq!(
        map.split_whitespace().collect::<Vec<_>>(),
        ["0", &USER.to_string(), "1"]
    );
    // There is no cgroup that could be frozen.
    let paused = place.call(&["pause", "c"]);
    assert!(
        !paused.status.success() && err(&paused).contains("cgroup"),
        "{}",
        err(&paused)
    );
    place.expect(&["kill", "c", "KILL"]);
    place.expect(&["delete", "--force", "c"]);
    assert!(err(&place.call(&["state", "c"])).contains("does not exist"));
}

#[test]
fn without_a_runtime_directory_the_way_out_is_told() {
    let Some(place) = Place::new("without_a_runtime_directory_the_way_out_is_told") else {
        return;
    };
    place.configure("true", |_| {});
    let mut command = Command::new("env");
    command.args(["-u", "XDG_RUNTIME_DIR"]).arg(place.program());
    command.args(["create", "c1"]).uid(USER).gid(USER);
    let output = place.run(command);
    assert_eq!(output.status.code(), Some(1));
    let text = err(&output);
    for part in [
        "/run/runtime",
        "permission denied",
        "set XDG_RUNTIME_DIR",
        "--root DIR",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn processes_are_known_and_reached_without_a_cgroup() {
    let Some(place) = Place::new("processes") else {
        return;
    };
    place.configure("sleep 1001 & exec sleep 1000", |_| {});
    place.expect(&["run", "--detach", "c"]);
    let listed = || -> Vec<u32> {
        serde_json::from_str(&place.expect(&["ps", "--format", "json", "c"])).expect("a list of pids")
    };
    // The shell may not have come to its child yet.
    let deadline = Instant::now() + LIMIT;
    while listed().len() < 2 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(listed().len(), 2);
    place.expect(&["exec", "--detach", "c", "sleep", "1002"]);
    assert_eq!(listed().len(), 3);
    place.expect(&["kill", "--all", "c", "KILL"]);
    let deadline = Instant::now() + LIMIT;
    while !place.expect(&["state", "c"]).contains("\"stopped\"") {
        assert!(Instant::now() < deadline, "kill --all ended nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(listed(), Vec::<u32>::new());
}

#[test]
fn a_cgroup_of_the_same_name_is_somebody_elses() {
    let Some(place) = Place::new("foreign") else {
        return;
    };
    let id = format!("foreign-{}", std::process::id());
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let own = std::fs::read_to_string("/proc/self/cgroup").expect("cgroups");
    let mut made = Vec::new();
    for fields in own.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>()) {
        let path = fields[2].trim_start_matches('/');
        // Where a container without cgroupsPath has its own: beside the caller's in version 2, else below it.
        let place = match (fields[1], unified) {
            ("", true) => Path::new("/sys/fs/cgroup").join(path).with_file_name(&id),
            ("", false) => Path::new("/sys/fs/cgroup/unified").join(&id),
            (controllers, _) => Path::new("/sys/fs/cgroup").join(controllers).join(path).join(&id),
        };
        if std::fs::create_dir(&place).is_ok() {
            made.push(place);
        }
    }
    place.configure("true", |_| {});
    let output = place.call(&["run", &id]);
    let removed: Vec<_> = made.iter().map(std::fs::remove_dir).collect();
    assert!(output.status.success(), "{}", err(&output));
    assert!(removed.iter().all(Result::is_ok), "{removed:?} of {made:?}");
    assert!(!made.is_empty(), "no cgroup could be made, so nothing was shown");
}

#[test]
fn a_fifo_is_made_in_a_user_namespace() {
    let Some(place) = Place::new("fifo") else { return };
    place.configure("test -p /dev/queue && echo made", |config| {
        config["linux"]["devices"] =
            serde_json::json!([{"path": "/dev/queue", "type": "p", "fileMode": 0o600}]);
    });
    assert_eq!(place.expect(&["run", "c"]), "made\n");
}

#[test]
fn the_hosts_cgroups_are_not_shown() {
    let Some(place) = Place::new("cgroups") else {
        return;
    };
    // /sys is bound from the host with its cgroups in it: what covers them is the last mount there.
    place.configure("cat /proc/self/mountinfo; cat /proc/self/setgroups", |_| {});
    let seen = place.expect(&["run", "c"]);
    let last = seen
        .lines()
        .rfind(|line| line.split(' ').nth(4) == Some("/sys/fs/cgroup"));
    let fields: Vec<&str> = last.expect("a mount at /sys/fs/cgroup").split(' ').collect();
    assert!(fields[5].starts_with("ro,"), "{fields:?}");
    assert_eq!(seen.lines().last(), Some("deny"));
}

#[test]
fn without_a_cgroup_of_its_own_the_callers_is_shown_read_only() {
    let Some(place) = Place::new("callers") else {
        return;
    };
    if !Path::new("/sys/fs/cgroup/pids/tasks").exists() {
        fixtures::skip::test("no hierarchy of version 1 with the pids controller");
        return;
    }
    place.configure(
        "test -f /sys/fs/cgroup/pids/tasks && awk '$5 == \"/sys/fs/cgroup/pids\" { print $6 }' /proc/self/mountinfo",
        |config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
            namespaces.retain(|namespace| namespace["type"] != "cgroup");
        },
    );
    let seen = place.expect(&["run", "c"]);
    // The first one came with the host's /sys and is covered.
    let last = seen.lines().last().expect("a mount");
    assert!(last.starts_with("ro,"), "{seen}");
}

#[test]
fn a_limit_that_cannot_hold_is_refused() {
    let Some(place) = Place::new("limit") else { return };
    place.configure("true", |config| {
        config["linux"]["resources"] = serde_json::json!({ "pids": { "limit": 10 } });
    });
    let refused = place.call(&["run", "c"]);
    let message = err(&refused);
    assert!(!refused.status.success());
    for part in ["linux.resources.pids.limit", "pids", "delegated"] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

/// With subordinate ids newuidmap(1) writes the maps, and the container's root may choose its groups.
#[test]
fn a_range_of_ids_by_newuidmap() {
    let Some(place) = Place::new("range") else { return };
    let files = ["passwd", "group", "subuid", "subgid"];
    let has = |path: &str| Path::new(path).exists();
    if !has("/usr/bin/newuidmap") || !files.iter().all(|file| has(&format!("/etc/{file}"))) {
        eprintln!("SKIPPED range: needs newuidmap (Debian: uidmap), /etc/subuid and /etc/subgid");
        return;
    }
    for (file, line) in [
        ("passwd", format!("tester:x:{USER}:{USER}::/:/bin/sh\n")),
        ("group", format!("tester:x:{USER}:\n")),
        ("subuid", "tester:700000:1000\n".to_owned()),
        ("subgid", "tester:800000:1000\n".to_owned()),
    ] {
        let text = std::fs::read_to_string(format!("/etc/{file}")).expect("a file of /etc");
        std::fs::write(place.dir.join(file), text + &line).expect("a copy");
    }
    place.configure(
        "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups",
        |config| {
            for (field, first) in [("uidMappings", 700_000), ("gidMappings", 800_000)] {
                config["linux"][field] = serde_json::json!([
                    {"containerID": 0, "hostID": USER, "size": 1},
                    {"containerID": 1, "hostID": first, "size": 1000},
                ]);
            }
        },
    );
    let before = files
        .map(|file| format!("mount --bind {file} /etc/{file}"))
        .join("\n");
    let output = place.call_after(&before, &["run", "c"]);
    assert!(output.status.success(), "{}", err(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words: Vec<&str> = text.split_whitespace().collect();
    let user = USER.to_string();
    let expected = [
        "0", &user, "1", "1", "700000", "1000", "0", &user, "1", "1", "800000", "1000", "allow",
    ];
    assert_eq!(words, expected);
    // As on NixOS: in no usual directory, but in one of $PATH.
    let elsewhere = format!(
        "{before}\nmkdir wrappers\nmount -t tmpfs -o suid tmpfs wrappers\nfor name in newuidmap newgidmap; do cp -p /usr/bin/$name wrappers/; mount --bind /dev/null \
         /usr/bin/$name; done"
    );
    let hidden = place.call_after(&elsewhere, &["run", "c"]);
    assert!(
        !hidden.status.success() && err(&hidden).contains("$PATH"),
        "{}",
        err(&hidden)
    );
    let found = elsewhere.replace("mkdir wrappers", "mkdir -p wrappers")
        + "\nexport PATH=relative:$PATH:$PWD/wrappers";
    let output = place.call_after(&found, &["run", "c"]);
    assert!(output.status.success(), "{}", err(&output));
    // Ids that nobody gave the user are refused by newuidmap, in its words.
    place.configure("true", |config| {
        config["linux"]["uidMappings"][1]["hostID"] = 1.into()
    });
    let refused = place.call_after(&before, &["run", "c"]);
    assert!(
        !refused.status.success() && err(&refused).contains("uid range"),
        "{}",
        err(&refused)
    );
}

/// A group in every hierarchy that root made and gave to the user; goes away with its owner.
struct Given {
    name: String,
    directories: Vec<PathBuf>,
}

impl Given {
    fn new(test: &str) -> Self {
        let name = format!("runtime-rootless-{test}-{}", std::process::id());
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
        let mut given = Self {
            name,
            directories: Vec::new(),
        };
        for fields in mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()) {
            let (top, kind) = (Path::new(fields[1]), fields[2]);
            if !kind.starts_with("cgroup") || !top.starts_with("/sys/fs/cgroup") {
                continue;
            }
            let directory = top.join(&given.name);
            std::fs::create_dir(&directory).expect("a cgroup");
            given.directories.push(directory.clone());
            for file in ["cpuset.cpus", "cpuset.mems"] {
                // Version 1 begins with none.
                if kind == "cgroup" && top.join(file).exists() {
                    let all = std::fs::read(top.join(file)).expect("a list");
                    std::fs::write(directory.join(file), all).expect("a list");
                }
            }
            for file in [
                "",
                "tasks",
                "cgroup.procs",
                "cgroup.threads",
                "cgroup.subtree_control",
            ] {
                if directory.join(file).exists() {
                    chown(directory.join(file), Some(USER), Some(USER)).expect("chown");
                }
            }
        }
        given
    }

    /// In version 2 who moves a process needs rights where it comes from, too: the caller has to begin inside.
    fn entering(&self) -> String {
        let unified = self
            .directories
            .iter()
            .find(|directory| directory.join("cgroup.type").exists());
        unified.map_or_else(String::new, |directory| {
            let inner = directory.join("caller");
            std::fs::create_dir(&inner).expect("a cgroup");
            chown(&inner, Some(USER), Some(USER)).expect("chown");
            chown(inner.join("cgroup.procs"), Some(USER), Some(USER)).expect("chown");
            format!("echo $$ > {}/cgroup.procs", inner.display())
        })
    }

    /// The file of the container's group, in whichever hierarchy has it.
    fn file(&self, name: &str) -> Option<String> {
        let mut files = self
            .directories
            .iter()
            .map(|directory| directory.join("c").join(name));
        files.find_map(|file| std::fs::read_to_string(file).ok())
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        for directory in &self.directories {
            for inner in ["c", "caller", ""] {
                let _ = std::fs::remove_dir(directory.join(inner));
            }
        }
    }
}

#[test]
fn a_cgroup_that_was_given_holds_limits() {
    let Some(place) = Place::new("given") else { return };
    let given = Given::new("given");
    place.configure("exec sleep 1000", |config| {
        config["linux"]["cgroupsPath"] = format!("/{}/c", given.name).into();
        config["linux"]["resources"] = serde_json::json!({ "pids": { "limit": 10 } });
    });
    let enter = given.entering();
    let started = place.call_after(&enter, &["run", "--detach", "c"]);
    assert!(started.status.success(), "{}", err(&started));
    assert_eq!(given.file("pids.max").as_deref(), Some("10\n"));
    assert!(given.file("cgroup.procs").is_some_and(|pids| !pids.is_empty()));
    let paused = place.call_after(&enter, &["pause", "c"]);
    assert!(paused.status.success(), "{}", err(&paused));
    assert!(place.expect(&["state", "c"]).contains("\"paused\""));
    place.expect(&["delete", "--force", "c"]);
    assert_eq!(given.file("cgroup.procs"), None);
}

#[test]
fn a_refused_cgroup_is_tolerated_unless_told_otherwise() {
    let Some(place) = Place::new("tolerated") else {
        return;
    };
    place.configure("true", |_| {});
    for globals in [&[][..], &["--rootless", "auto"], &["--rootless", "true"]] {
        let output = place.call(&[globals, &["run", "c"]].concat());
        assert!(output.status.success(), "{globals:?}: {}", err(&output));
    }
    let refused = place.call(&["--rootless", "false", "run", "c"]);
    assert!(!refused.status.success());
    assert!(err(&refused).contains("cgroup"), "{}", err(&refused));
}
