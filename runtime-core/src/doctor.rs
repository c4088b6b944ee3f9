//! What a host can do for containers, what it cannot, and how to get it: a judgement of facts, without a look at
//! anything else. The facts may be those of another machine.

use serde::Serialize;

use crate::facts::cgroup::{CgroupMode, HierarchyKind};
use crate::facts::{KERNEL_FLOOR, SupportFacts};
use crate::features;
use crate::spec::capability;

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is there.
    Ok,
    /// A part of it is missing, or it is missing and only some containers need it.
    Limited,
    /// It is missing, and without it no container can be made here.
    Missing,
}

impl State {
    /// The word in the report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Limited => "limited",
            Self::Missing => "missing",
        }
    }
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at; stable.
    pub name: &'static str,
    /// How it stands.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What it is needed for.
    pub why: &'static str,
    /// How to get what is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<String>,
}

impl Finding {
    pub(crate) fn ok(name: &'static str, why: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Ok,
            found: found.into(),
            why,
            how: None,
        }
    }

    /// Only some containers miss it.
    pub(crate) fn limited(self, how: impl Into<String>) -> Self {
        Self {
            state: State::Limited,
            how: Some(how.into()),
            ..self
        }
    }

    /// No container can do without.
    pub(crate) fn missing(self, how: impl Into<String>) -> Self {
        Self {
            state: State::Missing,
            ..self.limited(how)
        }
    }
}

/// Judges a host for the caller whose facts these are.
pub fn examine(facts: &SupportFacts) -> Vec<Finding> {
    let mut findings = vec![
        kernel(facts),
        init(facts),
        namespaces(facts),
        capabilities(facts),
        cgroups(facts),
        controllers(facts),
        systemd(facts),
        user_namespaces(facts),
    ];
    if facts.host.euid != 0 {
        findings.push(id_ranges(facts));
        findings.push(delegation(facts));
    }
    findings.extend([
        seccomp(facts),
        label("apparmor", "AppArmor", facts.host.apparmor, features::APPARMOR),
        label("selinux", "SELinux", facts.host.selinux, features::SELINUX),
        checkpoint(facts),
        ps(facts),
    ]);
    findings
}

fn kernel(facts: &SupportFacts) -> Finding {
    let (major, minor) = facts.host.kernel;
    let why = "the oldest kernel with all calls that containers are made by is 5.14";
    let finding = Finding::ok("kernel", why, format!("Linux {major}.{minor}"));
    if facts.host.kernel < KERNEL_FLOOR {
        return finding.missing("a newer kernel: RHEL 9, Debian 12, Ubuntu 22.04 and later have one");
    }
    finding
}

fn init(facts: &SupportFacts) -> Finding {
    let why = "init, the first program in a container, is executed from memory or from an installed copy";
    let finding = |found: &str| Finding::ok("init", why, found);
    match (facts.memfd_noexec, facts.installed_init) {
        (Some(2..), false) => finding("vm.memfd_noexec is 2: nothing may be executed from memory")
            .missing("runtime install-init, or sysctl vm.memfd_noexec=1"),
        (Some(2..), true) => finding("from the installed copy (vm.memfd_noexec is 2)"),
        _ => finding("from memory"),
    }
}

fn namespaces(facts: &SupportFacts) -> Finding {
    let why = "what a container has of its own: its processes, mounts, network, names, users, clocks";
    let absent: Vec<&str> = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"]
        .into_iter()
        .filter(|kind| !facts.namespaces.iter().any(|name| name == kind))
        .collect();
    if absent.is_empty() {
        return Finding::ok("namespaces", why, facts.namespaces.join(" "));
    }
    let finding = Finding::ok(
        "namespaces",
        why,
        format!("not in this kernel: {}", absent.join(" ")),
    );
    let how =
        "a kernel with CONFIG_NAMESPACES and the option of each kind (CONFIG_TIME_NS, CONFIG_USER_NS, ...)";
    if absent.contains(&"mnt") {
        finding.missing(how)
    } else {
        finding.limited(how)
    }
}

fn capabilities(facts: &SupportFacts) -> Finding {
    let why = "a container without a user namespace gets capabilities that its maker has, and no others";
    if facts.host.euid != 0 {
        return Finding::ok(
            "capabilities",
            why,
            "not root: containers need a user namespace, where they have all",
        );
    }
    let absent: Vec<&str> = (0..=capability::LAST)
        .filter(|number| facts.host.capabilities & 1 << number == 0)
        .filter_map(capability::name)
        .collect();
    if absent.is_empty() {
        return Finding::ok("capabilities", why, "all");
    }
    let finding = Finding::ok("capabilities", why, format!("root lacks {}", absent.join(", ")));
    let how = "call the runtime outside of the container or service that took them away, or give them to it";
    if facts.host.privileged() {
        finding.limited(how)
    } else {
        finding.missing(how)
    }
}

fn cgroups(facts: &SupportFacts) -> Finding {
    let why = "limits, statistics, pausing, and ending every process of a container";
    let hierarchies = &facts.host.cgroup.hierarchies;
    if hierarchies.is_empty() {
        return Finding::ok("cgroup", why, "no hierarchy is mounted").limited(
            "mount -t cgroup2 none /sys/fs/cgroup, or --cgroup-manager disabled and no linux.resources",
        );
    }
    let mode = match facts.host.cgroup.mode {
        CgroupMode::V1 => "version 1",
        CgroupMode::Hybrid => "version 1, and version 2 beside it",
        CgroupMode::V2 => "version 2",
    };
    if hierarchies.iter().all(|hierarchy| hierarchy.read_only) {
        return Finding::ok("cgroup", why, format!("{mode}, read-only"))
            .limited("mount /sys/fs/cgroup writable, or --cgroup-manager disabled and no linux.resources");
    }
    Finding::ok("cgroup", why, mode)
}

fn controllers(facts: &SupportFacts) -> Finding {
    let why = "linux.resources: each limit belongs to a controller";
    let cgroup = &facts.host.cgroup;
    let known: Vec<&str> = cgroup
        .hierarchies
        .iter()
        .filter(|hierarchy| hierarchy.kind != HierarchyKind::Named)
        .flat_map(|hierarchy| hierarchy.controllers.iter().map(String::as_str))
        .collect();
    let absent: Vec<&str> = ["cpu", "cpuset", "memory", "pids"]
        .into_iter()
        .filter(|name| !known.contains(name))
        .collect();
    let finding = Finding::ok("controllers", why, known.join(" "));
    if absent.is_empty() {
        return finding;
    }
    let found = format!("{}; not: {}", finding.found, absent.join(" "));
    Finding { found, ..finding }.limited(
        "a kernel with them (see /proc/cgroups), without cgroup_disable= on its command line; in version 1 each must \
         be mounted",
    )
}

fn systemd(facts: &SupportFacts) -> Finding {
    let why = "--systemd-cgroup: systemd makes the container's cgroup and knows about it";
    let running = if facts.systemd {
        "systemd runs this host"
    } else {
        "systemd does not run this host"
    };
    let finding = Finding::ok("systemd", why, running);
    match (facts.systemd, features::SYSTEMD) {
        (_, false) => Finding {
            found: format!("{running}; this version has no systemd cgroup driver"),
            ..finding
        }
        .limited("--cgroup-manager cgroupfs, the default"),
        (false, true) => finding.limited("--cgroup-manager cgroupfs, the default, needs no systemd"),
        (true, true) if facts.host.cgroup.mode != CgroupMode::V2 && facts.host.euid != 0 => Finding {
            found: format!("{running}; for users without root its driver needs cgroup v2 alone"),
            ..finding
        }
        .limited(
            "--cgroup-manager cgroupfs, or systemd.unified_cgroup_hierarchy=1 on the kernel's command line",
        ),
        (true, true) => finding,
    }
}

fn user_namespaces(facts: &SupportFacts) -> Finding {
    let why = "containers whose root is an ordinary user of the host, and containers made without root";
    let rootless = facts.host.euid != 0;
    let refused = |found: &str, how: &str| {
        let finding = Finding::ok("user-namespaces", why, found);
        if rootless {
            finding.missing(how)
        } else {
            finding.limited(how)
        }
    };
    if !facts.namespaces.iter().any(|name| name == "user") {
        return refused("not in this kernel", "a kernel with CONFIG_USER_NS");
    }
    if facts.max_user_namespaces == Some(0) {
        return refused(
            "user.max_user_namespaces is 0",
            "sysctl user.max_user_namespaces=15000",
        );
    }
    if rootless && facts.unprivileged_userns_clone == Some(0) {
        return refused(
            "kernel.unprivileged_userns_clone is 0: only root may make them",
            "sysctl kernel.unprivileged_userns_clone=1",
        );
    }
    if rootless && facts.apparmor_restrict_userns == Some(1) {
        return refused(
            "kernel.apparmor_restrict_unprivileged_userns is 1: only programs with a profile may make them",
            "an AppArmor profile with `userns,` for this program, or the sysctl set to 0",
        );
    }
    Finding::ok("user-namespaces", why, "may be made")
}

fn id_ranges(facts: &SupportFacts) -> Finding {
    let why = "more than one user in a container that is made without root";
    let finding = |found: &str| Finding::ok("id-ranges", why, found);
    match (facts.id_map_helpers, facts.subordinate_ids) {
        (true, true) => finding("newuidmap and newgidmap, with ranges in /etc/subuid and /etc/subgid"),
        (false, _) => finding("newuidmap and newgidmap are not installed, or without their privilege").limited(
            "install the package uidmap (Debian) or shadow-utils (Fedora); the programs are set-user-id root",
        ),
        (true, false) => finding("no ranges for this user in /etc/subuid and /etc/subgid")
            .limited("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER"),
    }
}

fn delegation(facts: &SupportFacts) -> Finding {
    let why =
        "limits on containers that are made without root: the user must own a cgroup with the controllers";
    let how = "in /etc/systemd/system/user@.service.d/delegate.conf: [Service] and Delegate=cpu cpuset io memory pids; \
               then systemctl daemon-reload, and log in anew";
    let Some(delegated) = &facts.delegated else {
        return Finding::ok("delegation", why, "the caller's cgroup is not the caller's").limited(format!(
            "call the runtime in a session or a scope of systemd --user (systemd-run --user --scope); {how}"
        ));
    };
    let absent: Vec<&str> = ["cpu", "cpuset", "io", "memory", "pids"]
        .into_iter()
        .filter(|name| !delegated.iter().any(|known| known == name))
        .collect();
    if absent.is_empty() {
        return Finding::ok("delegation", why, delegated.join(" "));
    }
    Finding::ok("delegation", why, format!("not delegated: {}", absent.join(" "))).limited(how)
}

fn seccomp(facts: &SupportFacts) -> Finding {
    let why = "linux.seccomp: which system calls a container's programs may make";
    if facts.seccomp_actions.is_empty() {
        return Finding::ok("seccomp", why, "no filters in this kernel")
            .limited("a kernel with CONFIG_SECCOMP_FILTER, or a configuration without linux.seccomp");
    }
    Finding::ok("seccomp", why, facts.seccomp_actions.join(" "))
}

/// A security module: both the host and this version must have it.
fn label(name: &'static str, proper: &str, enabled: bool, built: bool) -> Finding {
    let why = "labels on a container's processes and mounts";
    match (enabled, built) {
        (true, true) => Finding::ok(name, why, "enabled"),
        (false, _) => Finding::ok(name, why, "not enabled on this host").limited(format!(
            "a configuration without {proper} labels, or a kernel started with lsm=...,{name}"
        )),
        (true, false) => Finding::ok(name, why, "enabled, and this version cannot set its labels")
            .limited(format!("a configuration without {proper} labels")),
    }
}

fn checkpoint(facts: &SupportFacts) -> Finding {
    let why = "checkpoint and restore, which criu does";
    match (&facts.criu, features::CHECKPOINT) {
        (_, false) => Finding::ok("checkpoint", why, "not in this version").limited("a later version"),
        (None, true) => {
            Finding::ok("checkpoint", why, "criu is not installed").limited("install the package criu")
        }
        (Some(path), true) => Finding::ok("checkpoint", why, path.display().to_string()),
    }
}

fn ps(facts: &SupportFacts) -> Finding {
    let why = "the table of the command ps";
    match &facts.ps {
        Some(path) => Finding::ok("ps", why, path.display().to_string()),
        None => {
            Finding::ok("ps", why, "not installed").limited("install the package procps, or ps --format json")
        }
    }
}

#[cfg(test)]
mod tests;
