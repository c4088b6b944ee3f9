//! The schedule's lines: actor, operation, origin.

use serde::{Serialize, Serializer};

use super::hooks::PlannedHook;
use super::namespaces::IdMap;
use crate::cgroup::Write;
use crate::gpu::driver::FileIdentity;
use crate::gpu::hooks::ImageWork;
use crate::seccomp::Agent;
use crate::state::Status;

/// A descriptor that init will inherit, named before it exists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FdName {
    /// None: the step does without.
    Absent,
    /// The listening socket that `start` connects to.
    Listener,
    /// The standard descriptor of this number as the caller gave it.
    Standard(u8),
    /// The preserved descriptor of this position.
    Preserved(u32),
    /// The namespace of this CLONE_NEW* kind.
    Namespace(u32),
    /// The `tasks` file of this v1 hierarchy.
    Tasks(String),
    /// The cgroup in the unified hierarchy.
    Cgroup,
    /// CRIU's end of the socket that it is asked over.
    Criu,
    /// The `tasks` file of the resctrl group.
    RdtGroup,
    /// The `tasks` file of the resctrl group that measures.
    RdtMonitor,
}

impl Serialize for FdName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = match self {
            Self::Absent => "none".to_owned(),
            Self::Listener => "start-socket".to_owned(),
            Self::Standard(number) => format!("standard-{number}"),
            Self::Preserved(number) => format!("preserved-{number}"),
            Self::Namespace(kind) => format!("namespace-{}", super::namespaces::name_of(*kind)),
            Self::Tasks(name) => format!("cgroup-{name}"),
            Self::Cgroup => "cgroup".to_owned(),
            Self::Criu => "criu-socket".to_owned(),
            Self::RdtGroup => "resctrl-group".to_owned(),
            Self::RdtMonitor => "resctrl-monitor".to_owned(),
        };
        serializer.serialize_str(&text)
    }
}

/// A step of init. No `non_exhaustive` enum: init, another crate, has to have an arm for every step.
pub type Step = runtime_core_program::StepBuf<FdName>;

/// A step of the parent.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ParentStep {
    /// Save the record with this status.
    SaveRecord {
        /// The container's status from now on.
        status: Status,
    },
    /// Make the container's cgroup.
    MakeCgroup {
        /// Its directories, by hierarchy.
        directories: Vec<String>,
    },
    /// Let systemd make the container's cgroup around init.
    StartScope {
        /// Its name.
        unit: String,
        /// The slice that it is in.
        slice: String,
        /// Its properties, as `MemoryMax=uint64 1048576`.
        properties: Vec<String>,
    },
    /// Let systemd move init into the cgroup of a container that exists, where the kernel did not let the caller start it
    /// there.
    AttachToScope {
        /// The unit's name.
        unit: String,
    },
    /// Write one value into the cgroup.
    Limit {
        /// The write.
        #[serde(serialize_with = "write_as_text")]
        write: Box<Write>,
    },
    /// Give the cgroup its device rules.
    DeviceRules {
        /// The rules in the form of a v1 hierarchy: file and line.
        rules: Vec<(String, String)>,
    },
    /// Make a user of the host the owner of the cgroup.
    DelegateCgroup {
        /// The user.
        uid: u32,
    },
    /// Find the container's resctrl group, or, where `make`, make it if it is missing.
    RdtGroup {
        /// Its directory.
        group: String,
        /// Whether it may be made.
        make: bool,
    },
    /// Write these lines to the group's schemata where it was made for the container; else make sure that they are there.
    RdtSchemata {
        /// The group's directory.
        group: String,
        /// Whether the group is the container's.
        own: bool,
        /// The lines.
        lines: Vec<String>,
    },
    /// Make the resctrl group that measures the container.
    RdtMonitor {
        /// Its directory.
        group: String,
    },
    /// Open the `tasks` files of the resctrl groups for init.
    RdtTasks {
        /// The group's directory.
        group: String,
        /// The directory of the one that measures.
        monitor: Option<String>,
        /// A group that is gone is passed over.
        may_lack: bool,
    },
    /// Open a namespace that init joins.
    OpenNamespace {
        /// Its path.
        path: String,
        /// Its CLONE_NEW* kind.
        kind: u32,
    },
    /// Take the cgroup of a container that exists: the next Spawn and JoinCgroup go there.
    OpenCgroup {
        /// Its directories, by hierarchy.
        directories: Vec<String>,
    },
    /// Make sure that the descriptors opened so far belong to this process: it is still the one that the record names.
    CheckProcess {
        /// Its pid.
        pid: i32,
        /// When it started, in clock ticks since boot (proc_pid_stat(5)).
        start_time: u64,
    },
    /// Make the socket that `start` connects to.
    Listen,
    /// Start init in new namespaces, in the unified cgroup where there is one.
    Spawn {
        /// CLONE_NEW* flags.
        namespaces: u64,
    },
    /// Write the id maps of init's user namespace.
    WriteIdMaps {
        /// User ids.
        uids: Vec<IdMap>,
        /// Group ids.
        gids: Vec<IdMap>,
        /// Deny setgroups(2) first, as an unprivileged writer of gid_map must.
        deny_setgroups: bool,
        /// Write by newuidmap(1) and newgidmap(1).
        helpers: bool,
    },
    /// Check that the user namespace that init has joined has these id maps.
    CheckIdMaps {
        /// User ids.
        uids: Vec<IdMap>,
        /// Group ids.
        gids: Vec<IdMap>,
    },
    /// Let init go on.
    Release,
    /// Open the source of a mount in init's mount namespace with the caller's rights, map its ids, and lend it to init;
    /// init goes on.
    Lend {
        /// The source, a path of the host.
        source: String,
        /// With everything below it.
        recursive: bool,
        /// The source itself may not be a symbolic link.
        nofollow: bool,
        /// Whose ids the mount shows.
        idmap: Option<LentIdMap>,
        /// What the source must be still.
        #[serde(skip_serializing_if = "Option::is_none")]
        identity: Option<FileIdentity>,
    },
    /// Look into the container's root, which init lends, and tell init what to make there; init goes on.
    Look {
        /// What is looked for.
        work: ImageWork,
    },
    /// Move a network device of the caller's network namespace into init's, with its permanent global addresses, and
    /// set it up there. It is not moved back: what the kernel does when the namespace ends is what happens, also after
    /// a failure.
    MoveNetDevice {
        /// Its name in the caller's namespace.
        name: String,
        /// Its name in the container; `%d` stands for the first free number.
        new_name: String,
    },
    /// Run a hook in the runtime's namespaces.
    Hook {
        /// The hook.
        hook: Box<PlannedHook>,
    },
    /// Adjust init's OOM score.
    OomScore {
        /// From -1000 to 1000.
        value: i32,
    },
    /// Set a resource limit of init.
    Rlimit {
        /// RLIMIT_* number.
        resource: u32,
        /// The name in the configuration.
        name: String,
        /// Soft limit.
        soft: u64,
        /// Hard limit.
        hard: u64,
    },
    /// Let init run on these CPUs only.
    Affinity {
        /// Their numbers.
        cpus: Vec<u32>,
    },
    /// Pass the terminal's master on: to this socket, or to the caller.
    PassTerminal {
        /// Path of the socket.
        socket: Option<String>,
    },
    /// Take the listener of the filter that init has loaded and pass it on to the agent. Behind the wait for start this is
    /// done by the process that starts.
    PassListener {
        /// Who gets it.
        agent: Agent,
    },
    /// Wait until the program runs.
    AwaitExec,
    /// Send a pidfd of init to this socket.
    SendPidfd {
        /// Path of the socket.
        socket: String,
    },
    /// Write init's pid to this file.
    PidFile {
        /// The file.
        path: String,
    },
}

/// The mapping of an idmapped mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LentIdMap {
    /// User ids; empty: the mapping of the container's user namespace.
    pub uids: Vec<IdMap>,
    /// Group ids.
    pub gids: Vec<IdMap>,
    /// For all mounts of the tree.
    pub recursive: bool,
}

fn write_as_text<S: Serializer>(write: &Write, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{}={}", write.file, write.value))
}

/// Who acts and how. There are two processes and no third, so that this is no `non_exhaustive` enum.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Action {
    /// The caller's process.
    Parent(ParentStep),
    /// init.
    Init(Step),
}

/// One line of the schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The operation.
    pub action: Action,
    /// The field of config.json that it comes from, or the reason in parentheses.
    pub from: String,
}

/// Collects lines.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    pub(super) lines: Vec<Line>,
}

impl Schedule {
    pub(super) fn parent(&mut self, step: ParentStep, from: impl Into<String>) {
        self.lines.push(Line {
            action: Action::Parent(step),
            from: from.into(),
        });
    }

    pub(super) fn init(&mut self, step: Step, from: impl Into<String>) {
        self.lines.push(Line {
            action: Action::Init(step),
            from: from.into(),
        });
    }

    /// init stops; the parent does its steps; init goes on.
    pub(super) fn barrier(&mut self, from: &str, steps: impl IntoIterator<Item = (ParentStep, String)>) {
        self.init(Step::Sync {}, from);
        for (step, from) in steps {
            self.parent(step, from);
        }
        self.parent(ParentStep::Release, from);
    }
}
