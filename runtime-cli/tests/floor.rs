//! The floor that figures are compared with makes the same container as the runtime, seen from inside.
#![allow(clippy::print_stderr, reason = "a skip must be seen")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fixtures::{Bundle, Report, binaries, config};

/// What the probe looks at beside itself.
const LOOKS: [&str; 32] = [
    "--stat",
    "/dev",
    "--stat",
    "/dev/null",
    "--stat",
    "/dev/zero",
    "--stat",
    "/dev/full",
    "--stat",
    "/dev/random",
    "--stat",
    "/dev/urandom",
    "--stat",
    "/dev/tty",
    "--stat",
    "/dev/ptmx",
    "--stat",
    "/dev/fd",
    "--stat",
    "/dev/stdin",
    "--stat",
    "/dev/shm",
    "--list",
    "/dev",
    "--list",
    "/sys/fs/cgroup",
    "--list",
    "/sys/class/net",
    "--read",
    "/sys/fs/cgroup/devices/devices.list",
    "--try-write",
    "/new",
];

struct Place {
    dir: PathBuf,
    bundle: Bundle,
}

impl Place {
    fn new(test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() || fixtures::rootfs::host_busybox().is_err() {
            eprintln!("SKIPPED {test}: needs root and the package busybox-static");
            return None;
        }
        let dir = std::env::temp_dir().join(format!("{test}-{}", std::process::id()));
        let args = [&["/bin/probe"][..], &LOOKS].concat();
        let bundle = Bundle::builder(dir.join("bundle"))
            .config(config::container(&args))
            .build()
            .expect("a bundle");
        Some(Self { dir, bundle })
    }

    fn id(&self) -> String {
        let name = self.dir.file_name().expect("a name");
        name.to_string_lossy().into_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn call(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().expect("a program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

fn seen(output: &Output) -> Report {
    serde_json::from_slice(&output.stdout).expect("the probe's document")
}

/// Signals 32 and 33: glibc's posix_spawn(3), by which this test may start programs, has its own two ignored in them. The
/// runtime resets them for the container, the floor passes on what it got.
const OF_THE_C_LIBRARY: u64 = 0b11 << 31;

/// Namespaces that are not this process's.
fn own_namespaces(report: &Report) -> BTreeSet<&str> {
    let host = |name: &str| std::fs::read_link(Path::new("/proc/self/ns").join(name)).ok();
    let is_own = |name: &&String, number: u64| {
        host(name).is_some_and(|link| !link.to_string_lossy().contains(&number.to_string()))
    };
    let names = report.namespaces.iter();
    names
        .filter(|(name, number)| is_own(name, **number))
        .map(|(name, _)| name.as_str())
        .collect()
}

/// Mounts without numbers that differ each time; masks may come in any order.
fn mounts(report: &Report, id: &str) -> BTreeSet<String> {
    let lines = report.mounts.iter().map(|mount| {
        let mut own = mount.clone();
        own.super_options.sort();
        format!(
            "{} {} {:?} {:?} {} {} {:?}",
            own.mount_point,
            own.root.replace(id, "ID"),
            own.options,
            own.propagation,
            own.fs_type,
            own.source,
            own.super_options
        )
    });
    lines.collect()
}

/// Everything else, as text.
fn rest(report: &Report, id: &str) -> String {
    let own = report.clone();
    format!(
        "{:?}",
        (
            (
                own.args,
                own.env,
                own.cwd,
                own.hostname,
                own.domainname,
                own.machine
            ),
            (
                own.identity.uid,
                own.identity.gid,
                own.identity.groups,
                own.identity.umask
            ),
            (
                own.capabilities,
                own.no_new_privs,
                own.seccomp_mode,
                own.rlimits,
                own.oom_score_adj
            ),
            (
                own.pid,
                own.ppid,
                own.sid,
                own.pgid,
                own.signals
                    .map(|(blocked, ignored)| (blocked, ignored & !OF_THE_C_LIBRARY & !ignored_here())),
                own.fds.into_keys().collect::<Vec<_>>()
            ),
            (
                own.uid_map,
                own.gid_map,
                own.personality,
                own.scheduling.nice,
                own.scheduling.policy
            ),
            own.cgroup
                .iter()
                .map(|line| line.replace(id, "ID"))
                .collect::<Vec<_>>(),
            (own.stats, own.lists, own.reads, own.writes, own.unobserved),
        )
    )
}

/// The signals that this process ignores, as one of a shell's background does: the floor hands them on.
fn ignored_here() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    u64::from_str_radix(mask.expect("SigIgn").trim(), 16).expect("a mask")
}

#[test]
fn the_floor_makes_the_same_container() {
    let Some(place) = Place::new("floor-same") else {
        return;
    };
    let id = place.id();
    let ours = call(
        Command::new(env!("CARGO_BIN_EXE_runtime"))
            .arg("--root")
            .arg(place.dir.join("state"))
            .args(["run", "--bundle"])
            .arg(place.bundle.dir())
            .arg(&id),
    );
    let places = fixtures::floor::places(&id).expect("this host's cgroups");
    let floor = binaries::find(binaries::Program::Floor, None).expect("the floor");
    let theirs = call(
        Command::new(floor)
            .args(["run", &id])
            .arg(place.bundle.rootfs())
            .args(places)
            .args(["--", "/bin/probe"])
            .args(LOOKS),
    );
    let (ours, theirs) = (seen(&ours), seen(&theirs));
    assert_eq!(own_namespaces(&ours), own_namespaces(&theirs));
    assert!(own_namespaces(&ours).len() >= 5, "{:?}", own_namespaces(&ours));
    assert_eq!(mounts(&ours, &id), mounts(&theirs, &id));
    assert!(ours.mounts.len() > 10, "{:?}", ours.mounts);
    assert_eq!(rest(&ours, &id), rest(&theirs, &id));
}

#[test]
fn the_floor_leaves_nothing() {
    let Some(place) = Place::new("floor-left") else {
        return;
    };
    let id = place.id();
    let places = fixtures::floor::places(&id).expect("this host's cgroups");
    let folders: Vec<&String> = places.iter().filter(|word| word.starts_with('/')).collect();
    let floor = binaries::find(binaries::Program::Floor, None).expect("the floor");
    let (fifo, pid_file) = (place.dir.join("fifo"), place.dir.join("pid"));
    // A waiting container keeps what it inherits: a pipe would not end before it does.
    let status = Command::new(&floor)
        .args(["create", &id])
        .arg(place.bundle.rootfs())
        .args([&fifo, &pid_file])
        .args(&places)
        .args(["--", "/bin/true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    assert!(status.is_ok_and(|status| status.success()));
    let bytes = std::fs::read(&pid_file).expect("the pid");
    let pid = i32::from_ne_bytes(bytes.try_into().expect("four bytes"));
    let process = PathBuf::from(format!("/proc/{pid}"));
    // It waits, and for the program that was asked for: it did not run yet.
    let status = std::fs::read_to_string(process.join("status")).expect("a process");
    assert!(status.starts_with("Name:\tfloor\n"), "{status}");
    assert!(!folders.is_empty() && folders.iter().all(|folder| Path::new(folder).is_dir()));
    call(Command::new(&floor).arg("delete").arg(&pid_file).args(&places));
    let state = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
    assert!(folders.iter().all(|folder| !Path::new(folder).exists()));
}
