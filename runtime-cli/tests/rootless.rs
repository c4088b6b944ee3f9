//! The built program as a user without privileges calls it: a container in a user namespace of that user's own id, from
//! the configuration that `spec --rootless` writes. Nothing is delegated to the user, so no cgroup is made.
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
        let mut child = Command::new(self.program())
            .args(arguments)
            .current_dir(&self.dir)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("XDG_RUNTIME_DIR", &self.dir)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(self.dir.join("out")).expect("a file"))
            .stderr(std::fs::File::create(self.dir.join("err")).expect("a file"))
            .uid(USER)
            .gid(USER)
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
                panic!("{arguments:?} takes longer than {LIMIT:?}");
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
