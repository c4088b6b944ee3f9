//! What the tests that run containers stand on: a bundle and a state directory of their own, a time limit, and a
//! cleanup that happens whatever the test does.
//!
//! Here: no assertion about the runtime. Needs root, a static busybox and writable cgroups; without them a test is
//! skipped and says why.
#![allow(
    dead_code,
    clippy::print_stderr,
    clippy::exit,
    reason = "each test binary uses a part; a skip must be seen; a test that hangs must end"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use runtime_core::spec::LoadedSpec;
use runtime_core::{Container, ContainerId, CreateRequest, Runtime};
use serde_json::{Value, json};

/// Tests compare what the whole process has: one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// The longest that one test may take.
const LIMIT: Duration = Duration::from_secs(120);

/// A place to run containers in; dropped, it leaves nothing.
pub(crate) struct Sandbox {
    dir: PathBuf,
    name: String,
    done: Arc<AtomicBool>,
    _one: MutexGuard<'static, ()>,
}

/// A sandbox, or None with the reason on standard error.
pub(crate) fn sandbox(test: &str) -> Option<Sandbox> {
    let skip = |why: &str| {
        eprintln!("SKIPPED {test}: {why}");
        None
    };
    if !rustix::process::geteuid().is_root() {
        return skip("needs root");
    }
    let Some(busybox) = ["/usr/bin/busybox", "/bin/busybox"]
        .iter()
        .find(|path| Path::new(path).is_file())
    else {
        return skip("needs a static busybox (Debian: busybox-static)");
    };
    if rustix::fs::access("/sys/fs/cgroup", rustix::fs::Access::WRITE_OK).is_err() {
        return skip("needs a writable /sys/fs/cgroup");
    }
    let one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = format!("rct-{}-{number}", std::process::id());
    let dir = PathBuf::from("/tmp").join(&name);
    make_rootfs(&dir.join("bundle/rootfs"), Path::new(busybox)).expect("a root filesystem in /tmp");
    let done = Arc::new(AtomicBool::new(false));
    watch(test.to_owned(), dir.clone(), name.clone(), Arc::clone(&done));
    Some(Sandbox {
        dir,
        name,
        done,
        _one: one,
    })
}

/// Ends the process when the test takes too long, after an attempt to leave nothing behind.
fn watch(test: String, dir: PathBuf, name: String, done: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let deadline = Instant::now() + LIMIT;
        while !done.load(Ordering::Acquire) {
            if Instant::now() > deadline {
                eprintln!("{test} takes longer than {LIMIT:?}; giving up");
                let cleaner = std::thread::spawn(move || clean(&dir, &name));
                let patience = Instant::now() + Duration::from_secs(15);
                while !cleaner.is_finished() && Instant::now() < patience {
                    std::thread::sleep(Duration::from_millis(50));
                }
                std::process::exit(124);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

fn make_rootfs(root: &Path, busybox: &Path) -> std::io::Result<()> {
    for folder in ["bin", "dev", "etc", "proc", "sys", "tmp", "run", "data"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::copy(busybox, root.join("bin/busybox"))?;
    for applet in [
        "sh", "sleep", "true", "false", "cat", "ls", "env", "kill", "id", "tty", "readlink", "test",
    ] {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")
}

/// Kills and deletes every container below `dir`, then its cgroups and files.
fn clean(dir: &Path, name: &str) {
    let runtime = Runtime::new(dir.join("state"));
    for id in runtime
        .containers()
        .into_iter()
        .flat_map(runtime_core::Containers::ids)
    {
        if let Ok(id) = id.parse::<ContainerId>() {
            let _ = runtime.delete(&id, true);
        }
    }
    for place in cgroups(name) {
        for child in fs::read_dir(&place).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(child.path());
        }
        let _ = fs::remove_dir(place);
    }
    let _ = fs::remove_dir_all(dir);
}

/// The directories of this name at the top of the hierarchies.
fn cgroups(name: &str) -> Vec<PathBuf> {
    let below = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let tops = below.map(|entry| entry.path()).filter(|path| path.is_dir());
    // In version 1 a configured path begins at the caller's own cgroup (cgroups(7), /proc/PID/cgroup).
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own: Vec<PathBuf> = own
        .lines()
        .filter_map(|line| line.split_once(':')?.1.split_once(':'))
        .filter(|(_, path)| *path != "/")
        .map(|(controllers, path)| PathBuf::from(format!("/sys/fs/cgroup/{controllers}{path}")))
        .collect();
    tops.chain([PathBuf::from("/sys/fs/cgroup")])
        .chain(own)
        .map(|top| top.join(name))
        .filter(|path| path.is_dir())
        .collect()
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        clean(&self.dir, &self.name);
        self.done.store(true, Ordering::Release);
    }
}

impl Sandbox {
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn bundle(&self) -> PathBuf {
        self.dir.join("bundle")
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.bundle().join("rootfs")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub(crate) fn runtime(&self) -> Runtime {
        Runtime::new(self.state())
    }

    /// A configuration that works, in a cgroup of the sandbox.
    pub(crate) fn config(&self, id: &str, args: &[&str]) -> Value {
        let all = [
            "CAP_KILL",
            "CAP_CHOWN",
            "CAP_SETUID",
            "CAP_SETGID",
            "CAP_SYS_CHROOT",
        ];
        json!({
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "process": {"args": args, "env": ["PATH=/bin"], "cwd": "/", "user": {"uid": 0, "gid": 0},
                "capabilities": {"bounding": all, "effective": all, "permitted": all}},
            "hostname": "box",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666", "mode=0620"]},
                {"destination": "/out", "type": "bind", "source": self.dir.join("out"), "options": ["bind"]},
            ],
            "linux": {"cgroupsPath": format!("/{}/{id}", self.name),
                "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}]},
        })
    }

    /// The directory that containers see as /out.
    pub(crate) fn out(&self) -> PathBuf {
        let out = self.dir.join("out");
        fs::create_dir_all(&out).expect("a directory for results");
        out
    }

    pub(crate) fn request(&self, id: &str, config: &Value) -> CreateRequest {
        self.out();
        let spec = LoadedSpec::from_slice(&serde_json::to_vec(config).expect("JSON"), "config.json")
            .expect("a configuration");
        CreateRequest::new(id.parse().expect("an id"), self.bundle(), spec)
    }

    /// Creates a container with a shell script as its program.
    pub(crate) fn create(&self, id: &str, script: &str) -> Container {
        let config = self.config(id, &["/bin/sh", "-c", script]);
        self.runtime().create(self.request(id, &config)).expect("create")
    }

    /// What of the container is left outside the state directory: cgroups, and processes in them.
    pub(crate) fn remains(&self, id: &str) -> Vec<PathBuf> {
        let places = cgroups(&self.name).into_iter().map(|top| top.join(id));
        places
            .filter(|path| path.exists())
            .chain([self.state().join(id)].into_iter().filter(|path| path.exists()))
            .collect()
    }
}

/// Waits until `found` gives true.
pub(crate) fn eventually(what: &str, mut found: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !found() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What the process has open, with what each is.
pub(crate) fn open_files() -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let to = fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
            // The directory that is being read.
            let own = format!("/proc/{}/fd", std::process::id());
            (to != own).then(|| format!("{} -> {to}", entry.file_name().to_string_lossy()))
        })
        .collect();
    found.sort();
    found
}

pub(crate) fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()
}
