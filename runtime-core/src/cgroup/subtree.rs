//! Version 2: hands controllers down from the root to a container's group, and knows the types of groups.
//!
//! A group has a controller only when every group above it lists the controller in cgroup.subtree_control. On a pure
//! version 2 host a container gets all that can be had, as with runc and crun: engines read its statistics, an update may
//! come later, and an init system inside wants them. Beside version 1 only what a limit needs is handed down.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::dir;
use super::fs::Group;
use super::limits::Write;
use crate::error::{Error, ErrorKind, Result};

/// How an unprivileged user comes to controllers.
pub(super) const DELEGATE: &str = "the cgroup has to be delegated to this user with its controllers: start below a unit \
     with Delegate=yes (systemd-run --user --scope -p Delegate=yes ...), or let root give the directory and its \
     cgroup.procs, cgroup.threads and cgroup.subtree_control to the user";

/// Controllers that cannot be used in a threaded group, cgroups(7).
const DOMAIN: [&str; 5] = ["memory", "io", "hugetlb", "rdma", "misc"];

/// Hands down what is needed (and with `all` what there is), and makes a group usable whose parent has processes.
pub(super) fn prepare(group: &Group, mount: BorrowedFd<'_>, needed: &[&Write], all: bool) -> Result<()> {
    let mut wanted: Vec<&str> = Vec::new();
    if all {
        wanted.extend(group.directory.controllers.iter().map(String::as_str));
    }
    for write in needed {
        if write.controller != "cgroup" && !wanted.contains(&write.controller.as_str()) {
            wanted.push(&write.controller);
        }
    }
    let missing = enable(group, mount, &wanted)?;
    let refusal = |write: &Write| {
        missing
            .iter()
            .find(|refused| refused.controller == write.controller)
    };
    let lacking = needed.iter().find(|write| refusal(write).is_some());
    if let Some(write) = lacking.filter(|write| !write.file.ends_with(".pressure")) {
        return Err(not_delegated(group, write, refusal(write)));
    }
    accept_processes(group, needed)
}

/// A controller that a group above does not hand down.
#[derive(Debug)]
pub(super) struct Refused<'a> {
    controller: &'a str,
    /// Which group, from the mount point.
    level: PathBuf,
    errno: Errno,
}

/// Lists the controllers in cgroup.subtree_control of every group above; gives those that could not be had below, each
/// with the first refusal.
pub(super) fn enable<'a>(
    group: &Group,
    mount: BorrowedFd<'_>,
    wanted: &[&'a str],
) -> Result<Vec<Refused<'a>>> {
    let Some(parent) = group.directory.relative.parent() else {
        return Ok(Vec::new());
    };
    let mut missing = lacks(mount, parent, wanted).map_err(|errno| failed(group, "read", parent, errno))?;
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let mut refused: Vec<Refused<'_>> = Vec::new();
    let mut levels: Vec<&Path> = parent.ancestors().collect();
    levels.reverse();
    for level in levels {
        let here = lacks(mount, level, &missing).map_err(|errno| failed(group, "read", level, errno))?;
        if here.is_empty() {
            continue;
        }
        let fd = dir::open_below(mount, level).map_err(|errno| failed(group, "openat2", level, errno))?;
        let all: Vec<String> = here.iter().map(|name| format!("+{name}")).collect();
        if dir::write(fd.as_fd(), "cgroup.subtree_control", &all.join(" ")).is_ok() {
            continue;
        }
        for name in here {
            if let Err(errno) = dir::write(fd.as_fd(), "cgroup.subtree_control", &format!("+{name}")) {
                missing.retain(|other| *other != name);
                refused.push(Refused {
                    controller: name,
                    level: level.to_path_buf(),
                    errno,
                });
            }
        }
    }
    Ok(refused)
}

/// The kernel lists a controller in cgroup.subtree_control before it makes the files in the groups below, and whoever reads
/// the list meanwhile has no files yet. Both is done under one lock, which a write takes and a read does not: after writing what
/// is there already the files are there as well, for groups that were made before.
pub(super) fn settle(group: &Group, mount: BorrowedFd<'_>, controller: &str) -> Result<(), Errno> {
    let parent = group.directory.relative.parent().ok_or(Errno::NOENT)?;
    let fd = dir::open_below(mount, parent)?;
    dir::write(fd.as_fd(), "cgroup.subtree_control", &format!("+{controller}"))
}

/// Which of the controllers the group at `level` does not hand to its children.
fn lacks<'a>(mount: BorrowedFd<'_>, level: &Path, wanted: &[&'a str]) -> Result<Vec<&'a str>, Errno> {
    let fd = dir::open_below(mount, level)?;
    let has = dir::read(fd.as_fd(), "cgroup.subtree_control")?;
    let has: Vec<&str> = has.split_ascii_whitespace().collect();
    Ok(wanted
        .iter()
        .copied()
        .filter(|name| !has.contains(name))
        .collect())
}

fn failed(group: &Group, call: &str, level: &Path, errno: Errno) -> Error {
    let path = group
        .directory
        .mount_point
        .join(level)
        .join("cgroup.subtree_control");
    Error::os(
        format!("{call}({:?})", path.display().to_string()),
        dir::as_io(errno),
    )
}

/// Controllers that systemd can delegate to a user.
const BY_SYSTEMD: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// How root makes a group hand a controller down. On most hosts it is systemd that keeps some of them from users.
fn hand_down(controller: &str, level: &Path) -> String {
    let by_hand = format!(
        "root has to write +{controller} to {}/cgroup.subtree_control",
        level.display()
    );
    if !BY_SYSTEMD.contains(&controller) {
        return by_hand;
    }
    format!(
        "with systemd, root delegates it to all users by a file /etc/systemd/system/user@.service.d/delegate.conf with \
         the lines [Service] and Delegate={}, and systemctl daemon-reload; the user has to log in anew. Without, {by_hand}",
        BY_SYSTEMD.join(" ")
    )
}

/// A limit whose controller the group does not have.
pub(super) fn not_delegated(group: &Group, write: &Write, refused: Option<&Refused<'_>>) -> Error {
    let message = format!(
        "cannot set {} limit: the controller {} is not delegated to the cgroup {}",
        write.controller,
        write.controller,
        group.directory.path().display()
    );
    let error = Error::new(ErrorKind::Permission, message).with_field(&write.origin);
    let Some(Refused { level, errno, .. }) = refused else {
        return error.with_hint(hand_down(&write.controller, &group.directory.mount_point));
    };
    let level = group.directory.mount_point.join(level);
    let error = error.with_errno(errno.raw_os_error());
    if *errno == Errno::BUSY {
        return error.with_hint(format!(
            "the cgroup {} has processes of its own, and such a group cannot hand controllers down: move them into a \
             group beside the container's",
            level.display()
        ));
    }
    error.with_hint(hand_down(&write.controller, &level))
}

/// Below a group with processes that hands out threaded controllers, a new group is of type "domain invalid" and takes no
/// process until it is made threaded; a threaded group cannot have the other controllers (cgroups(7)).
fn accept_processes(group: &Group, needed: &[&Write]) -> Result<()> {
    let fd = group.fd().map_err(|errno| group.os_error("openat2", "", errno))?;
    // Not there in the root group, and nothing to say then.
    let Ok(kind) = dir::read(fd, "cgroup.type") else {
        return Ok(());
    };
    let kind = kind.trim();
    if kind == "domain" {
        return Ok(());
    }
    if let Some(write) = needed
        .iter()
        .find(|write| DOMAIN.contains(&write.controller.as_str()))
    {
        let message = format!(
            "cannot enter cgroup v2 {:?} with domain controllers: it is of the type {kind}",
            group.directory.path().display().to_string()
        );
        return Err(Error::new(ErrorKind::Unsupported, message).with_field(&write.origin));
    }
    if kind == "domain invalid" {
        dir::write(fd, "cgroup.type", "threaded")
            .map_err(|errno| group.os_error("write", "cgroup.type", errno))?;
    }
    Ok(())
}
