//! What the tests that run containers through the built program stand on: a bundle, a state directory and a cgroup of
//! their own, a time limit for every call, and a cleanup that happens whatever the test does.
//!
//! Here: no assertion about the runtime. Needs root and a static busybox; without them a test is skipped and says why.
#![allow(
    dead_code,
    clippy::print_stderr,
    reason = "each test binary uses a part; a skip must be seen"
)]

pub(crate) mod criu;

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The longest that one call may take.
const LIMIT: Duration = Duration::from_secs(60);

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A bundle and a state directory; dropped, it leaves nothing.
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    name: String,
}

impl Place {
    /// None, with the reason told, where there can be none.
    pub(crate) fn new(test: &str) -> Option<Self> {
        let skip = |why: &str| {
            eprintln!("SKIPPED {test}: {why}");
            None
        };
        if !rustix::process::geteuid().is_root() {
            return skip("needs root");
        }
        let Some(busybox) = ["/usr/bin/busybox", "/bin/busybox"]
            .into_iter()
            .find(|path| Path::new(path).is_file())
        else {
            return skip("needs a static busybox (Debian: busybox-static)");
        };
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("rcli-{}-{number}", std::process::id());
        let place = Self {
            dir: Path::new("/tmp").join(&name),
            name,
        };
        place.furnish(Path::new(busybox)).expect("a bundle in /tmp");
        place.configure("config.json", "exec sleep 1000", |_| {});
        Some(place)
    }

    fn furnish(&self, busybox: &Path) -> std::io::Result<()> {
        let root = self.dir.join("bundle/rootfs");
        for folder in ["bin", "dev", "etc", "proc", "sys", "tmp", "run"] {
            std::fs::create_dir_all(root.join(folder))?;
        }
        std::fs::create_dir(self.dir.join("state"))?;
        std::fs::copy(busybox, root.join("bin/busybox"))?;
        for applet in [
            "sh", "cat", "sleep", "grep", "id", "tty", "pwd", "env", "true", "kill", "hostname", "ls",
        ] {
            symlink("busybox", root.join("bin").join(applet))?;
        }
        Ok(())
    }

    pub(crate) fn bundle(&self) -> PathBuf {
        self.dir.join("bundle")
    }

    /// An id in this place.
    pub(crate) fn id(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.name)
    }

    /// Writes a configuration whose program is a shell script; other changes by `edit`.
    pub(crate) fn configure(&self, file: &str, script: &str, edit: impl FnOnce(&mut Value)) {
        let mut config = json!({
            "ociVersion": "1.3.0",
            "process": {"user": {"uid": 0, "gid": 0}, "args": ["sh", "-c", script], "cwd": "/",
                        "env": ["PATH=/bin"]},
            "root": {"path": "rootfs"},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                       {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
                       {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                        "options": ["newinstance", "ptmxmode=0666", "mode=0620"]}],
            "linux": {"cgroupsPath": format!("/{}", self.name),
                      "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}]},
        });
        edit(&mut config);
        std::fs::write(self.bundle().join(file), config.to_string()).expect("a configuration");
    }

    /// The program with this state directory, in the bundle.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runtime"));
        command
            .arg("--root")
            .arg(self.dir.join("state"))
            .args(arguments)
            .current_dir(self.bundle())
            .env_remove("NOTIFY_SOCKET")
            .env_remove("LISTEN_PID")
            .stdin(Stdio::null());
        command
    }

    /// Calls the program and waits for its end. Output goes to files, so that nobody waits for who inherits a pipe.
    pub(crate) fn call(&self, arguments: &[&str]) -> Output {
        self.finish(self.command(arguments))
    }

    /// As `call`, for what has to succeed; gives the standard output.
    pub(crate) fn expect(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", err(&output));
        out(&output)
    }

    /// Runs a command to its end, with the time limit.
    pub(crate) fn finish(&self, command: Command) -> Output {
        let files = self.files();
        let child = self.start(command, &files);
        wait(child, &files)
    }

    fn files(&self) -> [PathBuf; 2] {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        ["out", "err"].map(|kind| self.dir.join(format!("{kind}-{number}")))
    }

    fn start(&self, mut command: Command, files: &[PathBuf; 2]) -> Child {
        let file = |path: &Path| std::fs::File::create(path).expect("a file");
        command
            .stdout(file(&files[0]))
            .stderr(file(&files[1]))
            .spawn()
            .expect("the program starts")
    }

    /// Starts the program; its end is waited for by the function that comes back.
    pub(crate) fn begin(&self, arguments: &[&str]) -> (u32, impl FnOnce() -> Output + use<>) {
        let files = self.files();
        let child = self.start(self.command(arguments), &files);
        (child.id(), move || wait(child, &files))
    }

    /// The state document of a container.
    pub(crate) fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.expect(&["state", id])).expect("JSON")
    }

    /// Waits until a container has this status.
    pub(crate) fn until(&self, id: &str, status: &str) {
        let deadline = Instant::now() + LIMIT;
        while self.state(id)["status"] != status {
            assert!(Instant::now() < deadline, "{id} does not become {status}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Cgroups of this place's name, in every hierarchy. In version 1 a configured path begins at the caller's own cgroup,
    /// which may lie deeper than the hierarchy's root.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        collect(Path::new("/sys/fs/cgroup"), &self.name, 4, &mut found);
        found
    }

    /// A socket that listens in this place, and its path.
    pub(crate) fn listener(&self, name: &str) -> (UnixListener, String) {
        let path = self.dir.join(name);
        let listener = UnixListener::bind(&path).expect("a socket");
        (listener, path.to_str().expect("UTF-8").to_owned())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let ids = self.call(&["list", "--quiet"]);
        for id in out(&ids).lines() {
            let _ = self.call(&["delete", "--force", id]);
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// How a call ends, within the time limit.
fn end_of(mut child: Child) -> ExitStatus {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("a call takes longer than {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Folders whose names contain this, the outermost ones.
fn collect(below: &Path, name: &str, depth: usize, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(below).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name().to_string_lossy().contains(name) {
            found.push(entry.path());
        } else if depth > 0 {
            collect(&entry.path(), name, depth - 1, found);
        }
    }
}

fn wait(child: Child, files: &[PathBuf; 2]) -> Output {
    let status = end_of(child);
    let read = |path: &Path| std::fs::read(path).unwrap_or_default();
    Output {
        status,
        stdout: read(&files[0]),
        stderr: read(&files[1]),
    }
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The descriptor that somebody sends to this socket.
pub(crate) fn received(listener: &UnixListener) -> std::os::fd::OwnedFd {
    let (stream, _) = listener.accept().expect("a connection");
    descriptor(&stream).expect("a descriptor")
}

/// The descriptor that comes by this connection; None, where it ends without.
pub(crate) fn descriptor(stream: &std::os::unix::net::UnixStream) -> Option<std::os::fd::OwnedFd> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 64];
    let mut data = [std::io::IoSliceMut::new(&mut bytes)];
    recvmsg(stream, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
    let mut fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    fds.next().and_then(|mut fds| fds.next())
}

/// The pid behind a pidfd (proc_pid_fdinfo(5)).
pub(crate) fn pid_of(pidfd: &impl std::os::fd::AsRawFd) -> Option<i64> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    line.trim().parse().ok()
}
