//! What checks stand on: a driver that does not exist, root file systems, CDI files, bundles, and calls of the runtime
//! with a time limit. Everything lies in one scratch folder and is gone at the end, whatever happens.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fixtures::driver::rootfs::{self, Variant};
use fixtures::driver::{Driver, Shape, UVM_MAJOR};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};

/// The longest that one call may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How many GPUs the driver has.
pub(crate) const GPUS: u32 = 2;

/// What the runtime is compared with.
#[derive(Debug, Default, Clone)]
pub(crate) struct Others {
    /// Other runtimes, by name.
    pub(crate) peers: Vec<(String, PathBuf)>,
    /// The program that the hooks of NVIDIA's toolkit name, for those that execute it.
    pub(crate) hook_program: Option<PathBuf>,
    /// NVIDIA's program that writes CDI files.
    pub(crate) toolkit: Option<PathBuf>,
    /// How many containers are made in races.
    pub(crate) races: u32,
}

/// The folder of a run.
#[derive(Debug)]
pub(crate) struct World {
    runtime: PathBuf,
    others: Others,
    pub(crate) dir: PathBuf,
    pub(crate) driver: Driver,
    count: AtomicU32,
}

/// A bundle of a check.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) dir: PathBuf,
    pub(crate) id: String,
    pub(crate) config: Value,
}

/// A call's end.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) good: bool,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) took: Duration,
}

/// Why there is nothing to stand on.
#[derive(Debug)]
pub(crate) enum Unbuilt {
    /// It cannot be made on this host, by this user.
    NotHere(String),
    /// It could not be made where it can.
    Broken(String),
}

fn fixtures(dir: &Path) -> std::io::Result<Driver> {
    fs::create_dir(dir.join("state"))?;
    let driver = Driver::build(dir.join("fixture"), Shape::Debian, GPUS)?;
    rootfs::build(&dir.join("rootfs/debian"), Variant::Debian)?;
    Ok(driver)
}

impl World {
    /// Makes the driver and a root file system.
    pub(crate) fn build(runtime: PathBuf, others: Others) -> Result<Self, Unbuilt> {
        if !rustix::process::geteuid().is_root() {
            let why = "needs root, for device nodes and cgroups".to_owned();
            return Err(Unbuilt::NotHere(why));
        }
        let dir = PathBuf::from(format!("/tmp/gpu-conformance-{}", std::process::id()));
        let broken = |error: std::io::Error| Unbuilt::Broken(format!("cannot make the fixtures: {error}"));
        // Not one that somebody else has made there.
        fs::create_dir(&dir).map_err(broken)?;
        let built = fixtures(&dir).map_err(|error| {
            // Device nodes are among what is half made.
            let _ = fs::remove_dir_all(&dir);
            broken(error)
        });
        let driver = built?;
        Ok(Self {
            runtime,
            others,
            dir,
            driver,
            count: AtomicU32::new(0),
        })
    }

    /// The runtimes to compare with.
    pub(crate) fn peers(&self) -> &[(String, PathBuf)] {
        &self.others.peers
    }

    /// The program of hooks.
    pub(crate) fn hook_program(&self) -> Option<&Path> {
        self.others.hook_program.as_deref()
    }

    /// The program that writes CDI files.
    pub(crate) fn toolkit(&self) -> Option<&Path> {
        self.others.toolkit.as_deref()
    }

    /// How many containers are made in races.
    pub(crate) fn races(&self) -> u32 {
        self.others.races
    }

    fn number(&self) -> u32 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    /// A root file system of this sort, made once.
    pub(crate) fn template(&self, name: &str, variant: Variant) -> Result<PathBuf, String> {
        let root = self.dir.join("rootfs").join(name);
        if !root.exists() {
            rootfs::build(&root, variant).map_err(|error| error.to_string())?;
        }
        Ok(root)
    }

    /// A bundle whose program is a script; its root is a copy of the Debian one.
    pub(crate) fn bundle(&self, script: &str) -> Result<Bundle, String> {
        self.bundle_of("debian", &["/bin/sh", "-c", script])
    }

    /// A bundle with a copy of a template.
    pub(crate) fn bundle_of(&self, template: &str, args: &[&str]) -> Result<Bundle, String> {
        let id = format!("gpu-{}-{}", std::process::id(), self.number());
        let dir = self.dir.join("bundles").join(&id);
        let fail = |error: std::io::Error| error.to_string();
        fs::create_dir_all(&dir).map_err(fail)?;
        let copied = Command::new("cp")
            .arg("-a")
            .arg(self.dir.join("rootfs").join(template))
            .arg(dir.join("rootfs"))
            .status()
            .map_err(fail)?;
        if !copied.success() {
            return Err(format!("cp of the root file system: {copied}"));
        }
        let config = json!({
            "ociVersion": "1.3.0",
            "process": {"user": {"uid": 0, "gid": 0}, "args": args, "cwd": "/", "env": ["PATH=/bin:/usr/bin"],
                "capabilities": {"bounding": ["CAP_MKNOD", "CAP_CHOWN"], "effective": ["CAP_MKNOD", "CAP_CHOWN"],
                    "permitted": ["CAP_MKNOD", "CAP_CHOWN"]}},
            "root": {"path": "rootfs"},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}],
            "linux": {"cgroupsPath": format!("/{id}"),
                "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}],
                "resources": {"devices": [{"allow": false, "access": "rwm"}]}}
        });
        Ok(Bundle { dir, id, config })
    }

    /// A folder with one CDI file for the driver's GPUs, as NVIDIA's toolkit writes them, without hooks.
    pub(crate) fn cdi(&self) -> Result<PathBuf, String> {
        let nodes = |number: u32| json!([self.node(&format!("nvidia{number}"), 195, number)]);
        let device =
            |name: String, nodes: Value| json!({"name": name, "containerEdits": {"deviceNodes": nodes}});
        let all: Vec<Value> = (0..GPUS)
            .map(|number| self.node(&format!("nvidia{number}"), 195, number))
            .collect();
        let mut devices = vec![device("all".to_owned(), json!(all))];
        for number in 0..GPUS {
            devices.push(device(number.to_string(), nodes(number)));
            devices.push(device(Driver::uuid(number), nodes(number)));
        }
        let library = format!(
            "/{}/libcuda.so.{}",
            self.driver.library_dir(),
            fixtures::driver::VERSION
        );
        self.cdi_file(
            "nvidia.yaml",
            &json!({"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": devices, "containerEdits": {
                "env": ["NVIDIA_VISIBLE_DEVICES=void"],
                "deviceNodes": [self.node("nvidiactl", 195, 255), self.node("nvidia-uvm", UVM_MAJOR, 0)],
                "mounts": [{"hostPath": format!("{}{library}", self.driver.root().display()), "containerPath": library,
                    "options": ["ro", "nosuid", "nodev", "rbind", "rprivate"]}]}}),
        )
    }

    /// A node of the driver's, as CDI files describe them.
    pub(crate) fn node(&self, name: &str, major: u32, minor: u32) -> Value {
        json!({"path": format!("/dev/{name}"), "hostPath": self.driver.dev_root().join("dev").join(name),
            "type": "c", "major": major, "minor": minor})
    }

    /// A new folder with one CDI file.
    pub(crate) fn cdi_file(&self, name: &str, content: &Value) -> Result<PathBuf, String> {
        let dir = self.dir.join("cdi").join(self.number().to_string());
        write(&dir.join(name), &content.to_string())?;
        Ok(dir)
    }

    /// A configuration file for requests.
    pub(crate) fn config(&self, text: &str) -> Result<PathBuf, String> {
        let path = self.dir.join("config").join(format!("{}.toml", self.number()));
        write(&path, text)?;
        Ok(path)
    }

    /// The configuration that points at the fixture, with these lines.
    pub(crate) fn driver_config(&self, lines: &str) -> Result<PathBuf, String> {
        self.config_of(&self.driver, lines)
    }

    /// The configuration that points at a driver, with these lines.
    pub(crate) fn config_of(&self, driver: &Driver, lines: &str) -> Result<PathBuf, String> {
        let text = format!(
            "driver-root = {:?}\ndev-root = {:?}\nproc-root = {:?}\nsysfs-root = {:?}\ncdi-spec-dirs = []\n{lines}\n",
            driver.root(),
            driver.dev_root(),
            driver.proc_root(),
            driver.sysfs_root()
        );
        self.config(&text)
    }

    /// A driver of this shape, made once.
    pub(crate) fn driver_of(&self, shape: Shape) -> Result<Driver, String> {
        let dir = match shape {
            Shape::Debian => self.dir.join("fixture"),
            other => self.dir.join(format!("fixture-{other:?}")),
        };
        if dir.exists() {
            Driver::open(dir, shape, GPUS)
        } else {
            Driver::build(dir, shape, GPUS)
        }
        .map_err(|error| format!("cannot make a driver: {error}"))
    }

    /// Calls the runtime.
    pub(crate) fn call(&self, words: &[&str]) -> Result<Ended, String> {
        self.call_by(Command::new(&self.runtime), words)
    }

    /// Calls the runtime through another command line, whose last word it becomes.
    pub(crate) fn call_by(&self, mut command: Command, words: &[&str]) -> Result<Ended, String> {
        command.arg("--root").arg(self.dir.join("state")).args(words);
        finish(command, &self.dir, self.number())
    }

    /// The runtime's path.
    pub(crate) fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// Writes the configuration and runs the bundle to its end.
    pub(crate) fn run(&self, bundle: &Bundle, options: &[&str]) -> Result<Ended, String> {
        self.with(bundle, "run", options)
    }

    /// Writes the configuration and calls `create`, `run` or `run --detach`.
    pub(crate) fn with(&self, bundle: &Bundle, verb: &str, options: &[&str]) -> Result<Ended, String> {
        self.with_by(Command::new(&self.runtime), bundle, verb, options)
    }

    /// As `with`, by another command line, whose last word the runtime is.
    pub(crate) fn with_by(
        &self,
        command: Command,
        bundle: &Bundle,
        verb: &str,
        options: &[&str],
    ) -> Result<Ended, String> {
        write(&bundle.dir.join("config.json"), &bundle.config.to_string())?;
        let dir = bundle.dir.to_string_lossy().into_owned();
        let mut words: Vec<&str> = verb.split(' ').collect();
        words.extend(["--bundle", &dir]);
        words.extend(options);
        words.push(&bundle.id);
        self.call_by(command, &words)
    }

    /// Whether nothing is left of a container: no state, no cgroup, no mount below the bundle.
    pub(crate) fn leftovers(&self, bundle: &Bundle) -> Vec<String> {
        let mut left = Vec::new();
        if self.dir.join("state").join(&bundle.id).exists() {
            left.push(format!("state of {}", bundle.id));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let below = bundle.dir.to_string_lossy().into_owned();
        left.extend(
            mounts
                .lines()
                .filter(|line| line.contains(&below))
                .map(str::to_owned),
        );
        for line in mounts.lines().filter(|line| line.contains(" - cgroup")) {
            let place = line.split(' ').nth(4).unwrap_or_default();
            let group = Path::new(place).join(&bundle.id);
            if group.exists() {
                left.push(group.display().to_string());
            }
        }
        left
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let ids = self
            .call(&["list", "--quiet"])
            .map(|ended| ended.out)
            .unwrap_or_default();
        for id in ids.lines() {
            let _ = self.call(&["delete", "--force", id]);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Writes a file that only root can write.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), String> {
    let fail = |error: std::io::Error| format!("{}: {error}", path.display());
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(fail)?;
        fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).map_err(fail)?;
    }
    fs::write(path, text).map_err(fail)?;
    fs::set_permissions(path, PermissionsExt::from_mode(0o644)).map_err(fail)
}

/// Runs a command to its end. Output goes to files: who inherits a pipe could keep it open.
fn finish(mut command: Command, dir: &Path, number: u32) -> Result<Ended, String> {
    let files = ["out", "err"].map(|kind| dir.join(format!("{kind}-{number}")));
    let file = |path: &Path| fs::File::create(path).map_err(|error| error.to_string());
    let begin = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file(&files[0])?)
        .stderr(file(&files[1])?)
        .spawn()
        .map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    let in_time = ends_within(&child, LIMIT).map_err(|error| error.to_string())?;
    let took = begin.elapsed();
    if !in_time {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if !in_time {
        return Err(format!("{command:?} takes longer than {LIMIT:?}"));
    }
    let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    Ok(Ended {
        good: status.success(),
        out: read(&files[0]),
        err: read(&files[1]),
        took,
    })
}

/// Whether a child ends in this time; it is not reaped. Woken by its end, since some of the calls are timed.
fn ends_within(child: &Child, limit: Duration) -> std::io::Result<bool> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(std::io::ErrorKind::InvalidInput)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| std::io::ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
