//! The shim under the containerd that is installed, whatever its version: the steps of the README's quick start.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a skip must be seen; what does not hold here fails the test"
)]

mod place;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use place::{PATIENCE, ready, until};

const RUNTIME: &str = "io.containerd.runtime-core.v2";
const IMAGE: &str = "docker.io/library/tiny:1";

/// A containerd of our own; it and what it runs end with the value.
struct Containerd {
    dir: PathBuf,
    process: Child,
}

impl Containerd {
    fn start() -> Self {
        let dir = std::env::temp_dir().join(format!("ctrd{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        // The shim is found by its name.
        let shim = Path::new(env!("CARGO_BIN_EXE_containerd-shim-runtime-core-v2"));
        let path = format!(
            "{}:{}",
            shim.parent().unwrap().display(),
            std::env::var("PATH").unwrap()
        );
        let config = dir.join("config.toml");
        let text = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n",
            dir.join("lib"),
            dir.join("run"),
            dir.join("c.sock"),
            dir.join("c.sock.ttrpc"),
        );
        std::fs::write(&config, text).unwrap();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let process = Command::new("containerd")
            .arg("--config")
            .arg(&config)
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let this = Self { dir, process };
        until("containerd answers", || this.ctr(&["version"]).status.success());
        this
    }

    fn ctr(&self, args: &[&str]) -> Output {
        let mut child = Command::new("ctr")
            .arg("--address")
            .arg(self.dir.join("c.sock"))
            .args(["--namespace", "shim-test"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("ctr {args:?} took longer than {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        child.wait_with_output().unwrap()
    }

    /// Runs ctr, which has to succeed; gives what it printed.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.ctr(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ctr {args:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn status(&self, id: &str) -> String {
        let list = self.ok(&["task", "ls"]);
        let line = list
            .lines()
            .find(|line| line.split_whitespace().next() == Some(id));
        line.and_then(|line| line.split_whitespace().nth(2))
            .unwrap_or_default()
            .to_owned()
    }

    fn import(&self) {
        let dir = self.dir.join("image");
        std::fs::create_dir_all(dir.join("root/bin")).unwrap();
        let busybox = fixtures::rootfs::host_busybox().unwrap();
        std::fs::copy(busybox, dir.join("root/bin/busybox")).unwrap();
        let script = r#"
            tar -C root -cf layer.tar . && sum=$(sha256sum layer.tar | cut -d' ' -f1) || exit 1
            arch=$(dpkg --print-architecture 2>/dev/null || echo amd64)
            printf '{"architecture":"%s","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$arch" "$sum" > config.json
            printf '[{"Config":"config.json","RepoTags":["docker.io/library/tiny:1"],"Layers":["layer.tar"]}]' > manifest.json
            tar -cf tiny.tar manifest.json config.json layer.tar"#;
        let made = Command::new("/bin/sh")
            .args(["-c", script])
            .current_dir(&dir)
            .status()
            .unwrap();
        assert!(made.success());
        let tar = dir.join("tiny.tar").display().to_string();
        self.ok(&["image", "import", "--snapshotter", "native", &tar]);
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        for id in ["c1", "c2"] {
            let _ = self.ctr(&["task", "rm", "-f", id]);
            let _ = self.ctr(&["container", "rm", id]);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn installed(test: &str) -> bool {
    for program in ["containerd", "ctr"] {
        let asked = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !asked.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED {test}: needs {program} (Debian: containerd)");
            return false;
        }
    }
    true
}

#[test]
fn ctr_runs_execs_kills_and_deletes() {
    let test = "ctr_runs_execs_kills_and_deletes";
    if !ready(test) || !installed(test) {
        return;
    }
    let containerd = Containerd::start();
    containerd.import();
    let run = ["run", "--snapshotter", "native", "--runtime", RUNTIME];
    let hello = [&run[..], &["--rm", IMAGE, "c1", "/bin/busybox", "echo", "hello"]].concat();
    assert_eq!(containerd.ok(&hello), "hello\n");
    let seven = [
        &run[..],
        &["--rm", IMAGE, "c1", "/bin/busybox", "sh", "-c", "exit 7"],
    ]
    .concat();
    assert_eq!(containerd.ctr(&seven).status.code(), Some(7));
    let missing = [&run[..], &[IMAGE, "c1", "/no/such"]].concat();
    let output = containerd.ctr(&missing);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("no such file"), "{error}");
    containerd.ok(&["container", "rm", "c1"]);
    let sleep = [&run[..], &["-d", IMAGE, "c2", "/bin/busybox", "sleep", "1000"]].concat();
    containerd.ok(&sleep);
    assert_eq!(containerd.status("c2"), "RUNNING");
    let exec = [
        "task",
        "exec",
        "--exec-id",
        "x1",
        "c2",
        "/bin/busybox",
        "echo",
        "in there",
    ];
    assert_eq!(containerd.ok(&exec), "in there\n");
    containerd.ok(&["task", "pause", "c2"]);
    assert_eq!(containerd.status("c2"), "PAUSED");
    containerd.ok(&["task", "resume", "c2"]);
    assert!(containerd.ok(&["task", "metrics", "c2"]).contains("memory"));
    containerd.ok(&["task", "kill", "-s", "SIGKILL", "c2"]);
    until("it has stopped", || containerd.status("c2") == "STOPPED");
    let removed = containerd.ctr(&["task", "rm", "c2"]);
    assert!(
        String::from_utf8_lossy(&removed.stderr).contains("137"),
        "{removed:?}"
    );
    containerd.ok(&["container", "rm", "c2"]);
    let bundles = containerd.dir.join("run/io.containerd.runtime.v2.task/shim-test");
    assert_eq!(std::fs::read_dir(bundles).unwrap().count(), 0);
}
