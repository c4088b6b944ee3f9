//! The serving process: this program once more, with the listening socket as its standard input.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::thread::CoreSchedulingScope;

use super::form::Question;
use super::socket::Place;
use crate::ttrpc::Status;

/// Starts it in a process group of its own, in the cgroup and with the oom_score_adj that a shim is to have.
pub(super) fn serve(question: &Question, place: &Place, listener: OwnedFd) -> Result<(), Status> {
    if std::env::var_os("SCHED_CORE").is_some_and(|value| !value.is_empty()) {
        keep_cores_apart()?;
    }
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    command.args(["-namespace", &question.namespace, "-id", &question.id]);
    command.args(["-address", &question.address, "-socket"]);
    command.arg(place.path());
    if question.debug {
        command.arg("-debug");
    }
    command
        .arg("serve")
        .env("TTRPC_ADDRESS", &question.ttrpc_address)
        .stdin(Stdio::from(listener))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    let mut child = command
        .spawn()
        .map_err(|error| Status::os("execve(\"/proc/self/exe\", [\"serve\"])", error))?;
    let placed = place_child(child.id(), &question.options.shim_cgroup);
    if placed.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    placed
}

/// Gives this process a core scheduling cookie of its own. The shim and its containers inherit it: the kernel lets nobody else
/// run on the other threads of a core while one of them does.
fn keep_cores_apart() -> Result<(), Status> {
    let this = rustix::process::getpid();
    let made = rustix::thread::create_core_scheduling_cookie(this, CoreSchedulingScope::ThreadGroup);
    made.map_err(|errno| {
        let why = match errno {
            Errno::INVAL => "the kernel is built without CONFIG_SCHED_CORE",
            Errno::NODEV => {
                "no core of this host runs two threads (SMT), so that there is nothing to keep apart"
            }
            _ => "core scheduling was asked for",
        };
        Status::os("prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE)", errno).context(format!(
            "SCHED_CORE (enable_core_scheduling of containerd): {why}"
        ))
    })
}

fn place_child(pid: u32, cgroup: &str) -> Result<(), Status> {
    if !cgroup.is_empty() {
        join(pid, cgroup)?;
    }
    // The kernel is to prefer a shim to its containerd, whose value is that of our parent.
    let own = std::os::unix::process::parent_id();
    let path = format!("/proc/{own}/oom_score_adj");
    let text =
        std::fs::read_to_string(&path).map_err(|error| Status::os(format!("open({path:?})"), error))?;
    let score: i32 = text.trim().parse().unwrap_or(0);
    let path = format!("/proc/{pid}/oom_score_adj");
    std::fs::write(&path, (score + 1).min(1000).to_string())
        .map_err(|error| Status::os(format!("write({path:?}, {})", score + 1), error))
}

/// Moves the shim into an existing cgroup, in every hierarchy that has it.
fn join(pid: u32, cgroup: &str) -> Result<(), Status> {
    let relative = cgroup.trim_start_matches('/');
    let mut roots = vec![PathBuf::from("/sys/fs/cgroup")];
    let below = std::fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten();
    roots.extend(below.map(|entry| entry.path()).filter(|path| is_root(path)));
    let mut found = false;
    for procs in roots
        .iter()
        .filter(|path| is_root(path))
        .map(|root| root.join(relative).join("cgroup.procs"))
    {
        if !procs.exists() {
            continue;
        }
        found = true;
        std::fs::write(&procs, pid.to_string())
            .map_err(|error| Status::os(format!("Options.shim_cgroup: write({procs:?}, {pid})"), error))?;
    }
    if found {
        Ok(())
    } else {
        Err(Status::precondition(format!(
            "Options.shim_cgroup: cgroup {cgroup:?} does not exist in any hierarchy below /sys/fs/cgroup"
        )))
    }
}

/// Whether a cgroup hierarchy is mounted here, and not just a folder left.
fn is_root(path: &Path) -> bool {
    const CGROUP: u64 = 0x0027_e0eb;
    const CGROUP2: u64 = 0x6367_7270;
    let link = path.is_symlink();
    let kind = rustix::fs::statfs(path).map(|found| u64::try_from(found.f_type).unwrap_or(0));
    !link && kind.is_ok_and(|kind| kind == CGROUP || kind == CGROUP2)
}
