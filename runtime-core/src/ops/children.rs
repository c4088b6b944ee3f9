//! Children of this process that hold up the end of a container.
//!
//! The kernel lets the first process of a pid namespace end only when every other one is reaped. What exec started is a
//! child of who called it: one that has ended and was never waited for holds init, and with it the container, for ever.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::process::{Pid, PidfdFlags};

/// Reaps children of this process that have ended in the pid namespace of this init. Who waits for one of them learns how
/// it ended all the same, where the kernel keeps that.
pub(super) fn reap_in_namespace_of(init: &OwnedFd) {
    let Some(init) = pid_of(init) else { return };
    let Some(namespace) = namespace(init) else {
        return;
    };
    for child in all().into_iter().filter(|child| *child != init) {
        let Some(pid) = Pid::from_raw(child) else {
            continue;
        };
        // The descriptor first: what is asked about is then the process that is reaped, or nobody is.
        let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else {
            continue;
        };
        if self::namespace(child).as_ref() == Some(&namespace) {
            crate::sys::wait::reap_if_child(&pidfd);
        }
    }
}

/// Children of all threads; none where the kernel keeps no list of them (CONFIG_PROC_CHILDREN).
fn all() -> Vec<i32> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<i32>>()
        })
        .collect()
}

fn namespace(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// The number behind a pidfd as this process sees it (proc_pid_fdinfo(5)); None where it was reaped.
fn pid_of(pidfd: &OwnedFd) -> Option<i32> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    line.trim().parse().ok().filter(|pid| *pid > 0)
}
