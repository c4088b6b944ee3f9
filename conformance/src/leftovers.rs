//! What a container may leave behind, how to find it, and how to clear it away whatever the runtime did.
//!
//! Only things that carry the test's own names are touched: cgroups whose name contains the container's id, mounts
//! below the test's folder, processes in those cgroups.

use crate::host::CGROUP_ROOT;
use fixtures::mountinfo;
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Cgroup folders deeper than this are not looked at.
const DEPTH: usize = 8;
/// File system types of cgroup v1 and v2, statfs(2).
const CGROUP_MAGIC: [i64; 2] = [0x0027_e0eb, 0x6367_7270];
/// How long a killed process may take to leave its cgroup.
const GRACE: Duration = Duration::from_secs(2);

/// Lists what is left of the container `id`: its state under `root` and its cgroups.
pub(crate) fn find(id: &str, root: &Path) -> Vec<String> {
    let state = root.join(id);
    let state = state.exists().then(|| format!("state {}", state.display()));
    let cgroups = cgroups_of(id)
        .into_iter()
        .map(|path| format!("cgroup {}", path.display()));
    state.into_iter().chain(cgroups).collect()
}

/// Mount points below `folder` in our mount namespace, innermost last.
pub(crate) fn mounts_below(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let entries = mountinfo::parse(&text).into_iter().map(|entry| entry.mount_point);
    entries
        .filter(|point| Path::new(point).starts_with(folder))
        .collect()
}

/// Kills what is in the container's cgroups, removes them, and unmounts what is below `folder`.
pub(crate) fn clear(id: &str, folder: &Path) {
    remove(&cgroups_of(id));
    for point in mounts_below(folder).iter().rev() {
        // Lazy: a process that still stands in it must not keep the mount; failure shows as a leftover folder.
        let _ = rustix::mount::unmount(point.as_str(), UnmountFlags::DETACH);
    }
}

/// Removes the suite's own folders of every hierarchy.
pub(crate) fn remove_cgroups(name: &str) {
    remove(&cgroups_of(name));
}

/// Cgroup folders whose name contains `name`, the innermost last. Only real hierarchies are looked at: some programs
/// leave plain folders with stale `cgroup.procs` files beside them, and a stale number may be anybody's process.
fn cgroups_of(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for root in hierarchies() {
        walk(&root, DEPTH, &mut |path| {
            if path
                .components()
                .any(|part| part.as_os_str().to_string_lossy().contains(name))
            {
                found.push(path.to_owned());
            }
        });
    }
    found
}

/// Mount points of cgroup file systems below the usual place; asked of the place itself, because something else may
/// be mounted on top of one.
fn hierarchies() -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mountinfo::parse(&text)
        .into_iter()
        .map(|entry| PathBuf::from(entry.mount_point));
    let below = points.filter(|point| point.starts_with(CGROUP_ROOT));
    let is_cgroup =
        |point: &PathBuf| rustix::fs::statfs(point).is_ok_and(|facts| CGROUP_MAGIC.contains(&facts.f_type));
    let mut found: Vec<PathBuf> = below.filter(is_cgroup).collect();
    found.sort();
    found.dedup();
    found
}

fn walk(folder: &Path, depth: usize, visit: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && depth > 0 {
            visit(&entry.path());
            walk(&entry.path(), depth - 1, visit);
        }
    }
}

fn remove(folders: &[PathBuf]) {
    let deadline = Instant::now() + GRACE;
    for folder in folders.iter().rev() {
        // Thawed first: a frozen process does not die in v1. The file exists only in that hierarchy.
        let _ = std::fs::write(folder.join("freezer.state"), "THAWED");
        while folder.exists() && std::fs::remove_dir(folder).is_err() && Instant::now() < deadline {
            kill_all(folder);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn kill_all(folder: &Path) {
    let text = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    for pid in text
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter_map(Pid::from_raw)
    {
        // It may have ended in the meantime.
        let _ = kill_process(pid, Signal::KILL);
    }
}
