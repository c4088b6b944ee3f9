//! The built program with the systemd driver, on hosts where systemd runs; elsewhere everything here is skipped with its
//! reason. Root's containers are scopes of the system's manager, with cgroups of either version; those of other users are
//! scopes of their own, with version 2 alone: the test is whoever runs it. `cargo xtask vm` brings such hosts.
#![allow(clippy::print_stderr, reason = "a skip must be seen")]

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A bundle with a state directory of its own; its container goes with it.
struct Place {
    dir: PathBuf,
    id: String,
}

impl Place {
    fn new(test: &str) -> Option<Self> {
        let skip = |why: &str| {
            eprintln!("SKIPPED {test}: {why}");
            None
        };
        if !Path::new("/run/systemd/system").is_dir() {
            return skip("needs a host with systemd");
        }
        if !is_unified() && !is_root() {
            return skip("needs cgroup v2 alone, or root");
        }
        let Some(busybox) = ["/usr/bin/busybox", "/bin/busybox"]
            .into_iter()
            .find(|path| Path::new(path).is_file())
        else {
            return skip("needs a static busybox (Debian: busybox-static)");
        };
        let id = format!("sdtest-{test}-{}", std::process::id());
        let place = Self {
            dir: std::env::temp_dir().join(&id),
            id,
        };
        let root = place.dir.join("rootfs");
        for folder in ["bin", "dev", "proc", "sys"] {
            std::fs::create_dir_all(root.join(folder)).expect("a folder");
        }
        std::fs::copy(busybox, root.join("bin/busybox")).expect("a copy of busybox");
        for applet in ["sh", "cat", "sleep"] {
            symlink("busybox", root.join("bin").join(applet)).expect("a link");
        }
        let arguments: &[&str] = if is_root() {
            &["spec"]
        } else {
            &["spec", "--rootless"]
        };
        place.expect(arguments);
        place.configure(|config| {
            config["process"]["terminal"] = false.into();
            config["process"]["args"] = json!(["sleep", "1000"]);
        });
        Some(place)
    }

    fn configure(&self, edit: impl FnOnce(&mut Value)) {
        let path = self.dir.join("config.json");
        let mut config: Value =
            serde_json::from_slice(&std::fs::read(&path).expect("config.json")).expect("JSON");
        edit(&mut config);
        std::fs::write(path, config.to_string()).expect("config.json");
    }

    fn call(&self, arguments: &[&str]) -> Output {
        // Files and not pipes: the container keeps its descriptors.
        let file = |name: &str| std::fs::File::create(self.dir.join(name)).expect("a file");
        let status = Command::new(env!("CARGO_BIN_EXE_runtime"))
            .args(["--systemd-cgroup", "--root"])
            .arg(self.dir.join("state"))
            .args(arguments)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"))
            .status()
            .expect("the program starts");
        let read = |name: &str| std::fs::read(self.dir.join(name)).expect("a file");
        Output {
            status,
            stdout: read("out"),
            stderr: read("err"),
        }
    }

    fn expect(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", err(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Creates and starts the container.
    fn start(&self) {
        self.expect(&["create", &self.id]);
        self.expect(&["start", &self.id]);
    }

    fn unit(&self) -> String {
        format!("runc-{}.scope", self.id)
    }

    /// A property of the container's unit as systemctl shows it.
    /// Asked again while systemd does not answer: another test has it restart itself meanwhile.
    fn property(&self, name: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let output = systemctl(&["show", "--value", "--property", name, &self.unit()]);
            if output.status.success() {
                return String::from_utf8_lossy(&output.stdout).trim().to_owned();
            }
            assert!(Instant::now() < deadline, "systemctl show: {}", err(&output));
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The cgroup that a process of the container is in.
    fn cgroup(&self, arguments: &[&str]) -> String {
        let text = self.expect(&[&["exec", &self.id], arguments].concat());
        text.trim().to_owned()
    }

    fn pid(&self) -> u64 {
        let state: Value = serde_json::from_str(&self.expect(&["state", &self.id])).expect("JSON");
        state["pid"].as_u64().expect("a pid")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.call(&["delete", "--force", &self.id]);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Cgroups are of version 2 alone.
fn is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

fn systemctl(arguments: &[&str]) -> Output {
    let mut command = Command::new("systemctl");
    if !is_root() {
        command.arg("--user");
    }
    command.args(arguments).output().expect("systemctl")
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Where a process is in the hierarchy of a controller; without one, in the unified hierarchy.
fn own_cgroup(pid: u64, controller: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a process");
    let hierarchy = format!(":{controller}:");
    let line = text.lines().find_map(|line| line.split_once(&hierarchy));
    line.expect("the hierarchy").1.to_owned()
}

/// What a file of a cgroup holds, in the hierarchy that has the controller.
fn held(controller: &str, cgroup: &str, file: &str) -> String {
    let place = if is_unified() { "" } else { controller };
    let path = format!("/sys/fs/cgroup/{place}{cgroup}/{file}");
    std::fs::read_to_string(&path).expect(&path).trim().to_owned()
}

#[test]
fn a_container_is_a_scope_with_its_limits() {
    let Some(place) = Place::new("scope") else { return };
    place.configure(|config| {
        config["linux"]["resources"] = json!({
            "pids": {"limit": 77}, "memory": {"limit": 67_108_864}, "cpu": {"quota": 12_345, "period": 100_000},
        });
        config["annotations"] = json!({"org.systemd.property.TimeoutStopSec": "3"});
    });
    place.start();
    assert_eq!(place.property("ActiveState"), "active");
    assert_eq!(place.property("Delegate"), "yes");
    assert_eq!(place.property("TasksMax"), "77");
    let memory = if is_unified() { "MemoryMax" } else { "MemoryLimit" };
    assert_eq!(place.property(memory), "67108864");
    assert_eq!(place.property("CPUQuotaPerSecUSec"), "130ms");
    assert_eq!(place.property("TimeoutStopUSec"), "3s");
    let slice = if is_root() { "system.slice" } else { "user.slice" };
    assert_eq!(place.property("Slice"), slice);
    let cgroup = own_cgroup(place.pid(), "");
    assert_eq!(place.property("ControlGroup"), cgroup);
    assert!(
        cgroup.ends_with(&format!("/{slice}/{}", place.unit())),
        "{cgroup}"
    );
    let limits: &[(&str, &str, &str)] = if is_unified() {
        &[("", "memory.max", "67108864"), ("", "cpu.max", "13000 100000")]
    } else {
        &[
            ("memory", "memory.limit_in_bytes", "67108864"),
            ("cpu", "cpu.cfs_quota_us", "13000"),
            ("cpu", "cpu.cfs_period_us", "100000"),
        ]
    };
    let look = |pids: &str, when: &str| {
        assert_eq!(held("pids", &cgroup, "pids.max"), pids, "{when}");
        for (controller, file, value) in limits {
            assert_eq!(held(controller, &cgroup, file), *value, "{file} {when}");
        }
    };
    look("77", "at first");
    // In hierarchies that systemd does not know, it is in a group of the same name.
    if !is_unified() {
        let pid = place.pid().to_string();
        for controller in ["freezer", "cpuset", "devices", "perf_event"] {
            let procs = held(controller, &cgroup, "cgroup.procs");
            assert!(procs.lines().any(|line| line == pid), "{controller}: {procs}");
        }
        place.expect(&["pause", &place.id]);
        place.expect(&["resume", &place.id]);
    }
    // A program that comes later is in it, too: it reads the end of the same path.
    let seen = place.cgroup(&["cat", "/proc/self/cgroup"]);
    let outside: Vec<&str> = seen
        .lines()
        .filter(|line| !line.ends_with(&place.unit()) && !line.ends_with(":/"))
        .collect();
    assert!(outside.is_empty(), "{outside:?}");

    place.expect(&["update", "--pids-limit", "88", &place.id]);
    assert_eq!(place.property("TasksMax"), "88");
    systemctl(&["daemon-reload"]);
    look("88", "after daemon-reload");

    place.expect(&["delete", "--force", &place.id]);
    assert_eq!(place.property("LoadState"), "not-found");
    let hierarchies = ["", "unified", "memory", "freezer", "cpuset", "devices"];
    let left: Vec<String> = hierarchies
        .iter()
        .map(|name| format!("/sys/fs/cgroup/{name}{cgroup}"))
        .filter(|path| Path::new(path).exists())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn two_containers_cannot_be_one_unit() {
    let Some(place) = Place::new("twice") else { return };
    let path = if is_root() { "system" } else { "user" };
    place.configure(|config| {
        config["linux"]["cgroupsPath"] = format!("{path}.slice:sdtest:{}", place.id).into()
    });
    place.start();
    let second = place.call(&["create", "other"]);
    assert!(!second.status.success());
    assert!(err(&second).contains("cgroup is not empty"), "{}", err(&second));
    assert!(place.expect(&["state", &place.id]).contains("running"));
    assert_eq!(place.expect(&["list", "-q"]).trim(), place.id);
}

/// systemd would make a scope of a directory that is there already: with a foreign process in it, or frozen, where init
/// would never run and create never end.
#[test]
fn a_cgroup_that_is_frozen_or_in_use_becomes_no_scope() {
    let Some(place) = Place::new("taken") else { return };
    if !is_unified() {
        eprintln!("SKIPPED a_cgroup_that_is_frozen_or_in_use_becomes_no_scope: needs cgroup v2 alone");
        return;
    }
    let shown = systemctl(&["show", "--value", "--property", "ControlGroup"]);
    let manager = String::from_utf8_lossy(&shown.stdout).trim().to_owned();
    let slice = if is_root() { "system.slice" } else { "user.slice" };
    let group = PathBuf::from(format!("/sys/fs/cgroup{manager}/{slice}/{}", place.unit()));
    std::fs::create_dir_all(&group).expect("a cgroup");
    let write = |file: &str, value: &str| std::fs::write(group.join(file), value).expect(file);
    let refused = |words: &str| {
        let output = place.call(&["create", &place.id]);
        assert!(
            !output.status.success() && err(&output).contains(words),
            "{}",
            err(&output)
        );
        assert_eq!(place.property("LoadState"), "not-found");
    };
    write("cgroup.freeze", "1");
    refused("container's cgroup unexpectedly frozen");
    write("cgroup.freeze", "0");
    let mut stranger = Command::new("sleep").arg("1000").spawn().expect("sleep");
    write("cgroup.procs", &stranger.id().to_string());
    refused("container's cgroup is not empty: 1 process(es) found");
    stranger
        .kill()
        .and_then(|()| stranger.wait())
        .expect("the end of sleep");
    // It was there before and stays; an empty one is taken.
    assert!(group.is_dir());
    place.start();
}

#[test]
fn what_is_wrong_is_said_before_anything_is_made() {
    let Some(place) = Place::new("wrong") else { return };
    for (edit, word) in [
        (json!({"linux": {"cgroupsPath": "/a/b"}}), "slice:prefix:name"),
        (
            json!({"annotations": {"org.systemd.property.Delegate": "false"}}),
            "not a property that a container may set",
        ),
    ] {
        let saved = std::fs::read(place.dir.join("config.json")).expect("config.json");
        place.configure(|config| {
            for (key, value) in edit.as_object().expect("an object") {
                match value.as_object().filter(|_| key == "linux") {
                    Some(fields) => fields
                        .iter()
                        .for_each(|(field, value)| config[key][field] = value.clone()),
                    None => config[key] = value.clone(),
                }
            }
        });
        let refused = place.call(&["create", &place.id]);
        assert!(
            !refused.status.success() && err(&refused).contains(word),
            "{}",
            err(&refused)
        );
        assert_eq!(place.property("LoadState"), "not-found");
        std::fs::write(place.dir.join("config.json"), saved).expect("config.json");
    }
}

/// A major number without a driver, as that of nvidia-uvm here.
fn major_without_driver() -> u32 {
    let known = std::fs::read_to_string("/proc/devices").expect("/proc/devices");
    let taken = |major: &u32| {
        known
            .lines()
            .any(|line| line.trim().starts_with(&format!("{major} ")))
    };
    let free = (480..=510).rev().find(|major| !taken(major));
    free.expect("a major number that nobody has")
}

/// How opening three nodes ends: one allowed by its number, one not allowed, one allowed by its major. A node without a
/// driver opens with ENXIO where the rules allow it (x), and with EPERM where not (E).
fn probes(place: &Place) -> String {
    let letter = |node: &str| {
        let output = place.call(&["exec", &place.id, "cat", &format!("/dev/{node}")]);
        match err(&output) {
            said if said.contains("No such device or address") => "x".to_owned(),
            said if said.contains("Operation not permitted") => "E".to_owned(),
            said => format!("({said})"),
        }
    };
    ["t0", "t1", "t2"].map(letter).join(" ")
}

/// runc#4568, N-19 and N-20: what systemd does must take no device away and give none, at once and when it has had time to
/// act. A reload alone only marks a unit; the next start of any unit, or a property, has systemd act on it.
#[test]
#[allow(clippy::print_stdout, reason = "its verdict is a line of JSON")]
fn devices_survive_systemd() {
    let Some(place) = Place::new("devices") else {
        return;
    };
    if !is_root() {
        eprintln!("SKIPPED devices_survive_systemd: needs root");
        return;
    }
    let major = major_without_driver();
    place.configure(|config| {
        let node = |name: &str, major: u32, minor: u32| {
            json!({"path": format!("/dev/{name}"), "type": "c", "major": major, "minor": minor, "fileMode": 0o666})
        };
        config["linux"]["devices"] = json!([node("t0", 195, 0), node("t1", 195, 1), node("t2", major, 0)]);
        config["linux"]["resources"]["devices"] = json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 195, "minor": 0, "access": "rw"},
            {"allow": true, "type": "c", "major": major, "access": "rw"},
        ]);
    });
    place.start();
    // Sets: a reload turns systemd's order around. The kernel's list of version 1 can be read; the program of version 2 is
    // asked for by doctor.
    let set = |text: String| -> BTreeSet<String> { text.lines().map(str::to_owned).collect() };
    let kernel = || match is_unified() {
        true => String::new(),
        false => held("devices", &own_cgroup(place.pid(), "devices"), "devices.list"),
    };
    let state = || {
        [
            place.property("DevicePolicy"),
            place.property("DeviceAllow"),
            kernel(),
        ]
        .map(set)
    };
    let first = state();
    assert_eq!(first[0], BTreeSet::from(["strict".to_owned()]));
    for entry in ["/dev/char/195:0 rw".to_owned(), format!("char-{major} rw")] {
        assert!(first[1].contains(&entry), "{entry} is not in {:?}", first[1]);
    }
    let look = |when: &str| {
        assert_eq!(probes(&place), "x E x", "{when}");
        assert_eq!(state(), first, "{when}");
        let doctor = place.call(&["doctor", &place.id]);
        assert!(
            doctor.status.success(),
            "{when}: {}{}",
            String::from_utf8_lossy(&doctor.stdout),
            err(&doctor)
        );
    };
    look("at first");
    let unit = place.unit();
    let weight = if is_unified() {
        "CPUWeight=50"
    } else {
        "CPUShares=512"
    };
    let other = format!("sdtest-other-{}.service", std::process::id());
    let steps: [&[&str]; 4] = [
        &["systemctl", "daemon-reload"],
        &["systemd-run", "--unit", &other, "--wait", "--quiet", "true"],
        &["systemctl", "set-property", "--runtime", &unit, weight],
        &["systemctl", "daemon-reexec"],
    ];
    for step in steps {
        let output = Command::new(step[0]).args(&step[1..]).output().expect(step[0]);
        assert!(output.status.success(), "{step:?}: {}", err(&output));
        look(&step.join(" "));
        std::thread::sleep(Duration::from_secs(3));
        look(&format!("3 s after {}", step.join(" ")));
    }
    let (id, kept) = match is_unified() {
        true => ("N-19", "the program of the rules attached"),
        false => ("N-20", "devices.list as at first"),
    };
    println!(
        "{}",
        json!({"id": id, "verdict": "passed", "evidence": format!("195:0, 195:1, {major}:0 open with x E x, DeviceAllow \
            as at first, {kept}, at once and 3 s after each of: daemon-reload, the start of another unit, \
            set-property {weight}, daemon-reexec")})
    );
}
