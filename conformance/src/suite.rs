//! What a test is: a name, the sentence of the specification it stands for, what it needs of the host, a body.
//!
//! Lives here: the types that chapters are written in, and the checks that bodies use. Must not live here: how a test is
//! run (`runner`) or what it can call (`case`).

use crate::case::Case;
use std::fmt;

/// A part of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Chapter {
    /// State, operations, command line.
    Lifecycle,
    /// Namespaces, id maps, host and domain name.
    Namespace,
    /// Mounts, devices, masks, sysctl.
    Mount,
    /// Identity, privileges, limits, seccomp, descriptors.
    Process,
    /// The six kinds of hooks.
    Hook,
    /// Cgroup path and limits.
    Cgroup,
    /// Bad input: refused with words, nothing left behind.
    Error,
    /// What is special to users without root.
    Rootless,
    /// Attacks that worked on some runtime once, replayed.
    Attacks,
}

impl Chapter {
    /// Every chapter, in the order of a run.
    pub(crate) const ALL: [Chapter; 9] = [
        Chapter::Lifecycle,
        Chapter::Namespace,
        Chapter::Mount,
        Chapter::Process,
        Chapter::Hook,
        Chapter::Cgroup,
        Chapter::Error,
        Chapter::Rootless,
        Chapter::Attacks,
    ];
}

impl fmt::Display for Chapter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Chapter::Lifecycle => "lifecycle",
            Chapter::Namespace => "namespace",
            Chapter::Mount => "mount",
            Chapter::Process => "process",
            Chapter::Hook => "hook",
            Chapter::Cgroup => "cgroup",
            Chapter::Error => "error",
            Chapter::Rootless => "rootless",
            Chapter::Attacks => "attacks",
        })
    }
}

/// What a test needs of the host; without it the test is skipped and says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Effective user id 0 in the initial user namespace, for what the text says.
    Root(&'static str),
    /// The opposite: an unprivileged user.
    User,
    /// More ids than the caller's own: root, or subordinate ids with newuidmap(1) and newgidmap(1).
    Ids,
    /// A cgroup for each container, of whatever kind: root, or a user to whom one is delegated.
    OwnCgroup,
    /// The opposite.
    NoCgroup,
    /// The v1 controller of this name is mounted.
    CgroupV1(&'static str),
    /// `/sys/fs/cgroup` is cgroup2 and offers this controller.
    CgroupV2(&'static str),
    /// What this controller of version 1 does can be had in either version.
    Cgroup(&'static str),
    /// A kernel of at least this version.
    Kernel(u32, u32),
    /// The kernel has this kind of namespace (name in `/proc/self/ns`).
    Namespace(&'static str),
    /// This program is on the host.
    Program(&'static str),
    /// AppArmor is on, or off.
    AppArmor(bool),
    /// SELinux is on, or off.
    Selinux(bool),
    /// A resctrl filesystem is mounted, or none.
    Resctrl(bool),
}

impl fmt::Display for Need {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Root(why) => write!(out, "root: {why}"),
            Need::User => write!(out, "an unprivileged user"),
            Need::Ids => write!(out, "more than one id"),
            Need::OwnCgroup => write!(out, "a cgroup of its own"),
            Need::NoCgroup => write!(out, "a caller without cgroups"),
            Need::CgroupV1(name) => write!(out, "cgroup v1 controller {name}"),
            Need::CgroupV2(name) => write!(out, "cgroup v2 controller {name}"),
            Need::Cgroup(name) => write!(out, "cgroup controller {name}"),
            Need::Kernel(major, minor) => write!(out, "kernel {major}.{minor}"),
            Need::Namespace(name) => write!(out, "{name} namespaces"),
            Need::Program(path) => write!(out, "program {path}"),
            Need::AppArmor(on) => write!(out, "a host {} AppArmor", with(*on)),
            Need::Selinux(on) => write!(out, "a host {} SELinux", with(*on)),
            Need::Resctrl(on) => write!(out, "a host {} resctrl", with(*on)),
        }
    }
}

fn with(on: bool) -> &'static str {
    if on { "with" } else { "without" }
}

/// Why a body did not pass.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The runtime does not do what the sentence asks.
    Failed(String),
    /// The host cannot show it; only found out on the way.
    Skipped(String),
}

impl From<String> for Failure {
    fn from(text: String) -> Failure {
        Failure::Failed(text)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Failed(format!("the test's own file work: {error}"))
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Failure {
        Failure::Failed(format!("not the JSON that was expected: {error}"))
    }
}

/// Result of a body.
pub(crate) type Check<T = ()> = Result<T, Failure>;

/// Why a test is skipped for users: the words that several chapters share.
pub(crate) mod why {
    /// mknod(2) is refused in user namespaces.
    pub(crate) const NODES: &str = "device nodes are made";
    /// What the suite mounts on the host.
    pub(crate) const HOST_MOUNT: &str = "the test mounts on the host";
    /// A program on the host is given such a device or file.
    pub(crate) const HOST_NODE: &str = "the test makes device nodes on the host";
    /// Only root can write what an attack leads to.
    pub(crate) const BAIT: &str = "the bait is a kernel parameter that only root writes";
    /// Programs of type BPF_PROG_TYPE_CGROUP_DEVICE, and the controller of version 1.
    pub(crate) const DEVICE_RULES: &str = "device rules need rights over the host";
    /// Profiles are loaded by the test.
    pub(crate) const PROFILE: &str = "the test loads an AppArmor profile";
}

/// One test.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Test {
    /// Unique within its chapter, words joined by `-`.
    pub(crate) name: &'static str,
    /// File and heading in the runtime specification, `cli` for what engines expect of the command line, or
    /// the CVEs (or the class) that an attack comes from.
    pub(crate) anchor: &'static str,
    /// All must be met.
    pub(crate) needs: &'static [Need],
    /// Uses the runtime through the case and judges.
    pub(crate) body: fn(&Case<'_>) -> Check,
}

/// A test that root runs as it is, and an unprivileged user in a user namespace.
pub(crate) const fn test(name: &'static str, anchor: &'static str, body: fn(&Case<'_>) -> Check) -> Test {
    Test {
        name,
        anchor,
        needs: &[],
        body,
    }
}

impl Test {
    /// Replaces what it needs.
    pub(crate) const fn needs(mut self, needs: &'static [Need]) -> Test {
        self.needs = needs;
        self
    }
}

/// Fails the body with a message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::suite::Failure::Failed(format!($($message)+)));
        }
    };
}

/// Fails the body unless both are equal; the text names what was compared.
macro_rules! ensure_eq {
    ($found:expr, $wanted:expr, $($what:tt)+) => {
        match (&$found, &$wanted) {
            (found, wanted) => {
                if *found != *wanted {
                    let what = format!($($what)+);
                    let text = format!("{what}: {found:?}, expected {wanted:?}");
                    return Err($crate::suite::Failure::Failed(text));
                }
            }
        }
    };
}

pub(crate) use {ensure, ensure_eq};
