//! The schedule as people and programs read it.

use std::fmt::{self, Write as _};

use runtime_core_program::step::mount_flags;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::Plan;
use super::namespaces::name_of;
use super::schedule::{Action, FdName, Line, ParentStep, Step};
use crate::seccomp::FLAG_NEW_LISTENER;

impl Plan {
    /// One line of text for each step: number, actor, what it does, where that comes from; then the warnings.
    pub fn to_text(&self) -> String {
        let mut text = String::from("   #  actor   step  <- from\n");
        for (number, line) in self.lines.iter().enumerate() {
            let actor = line.actor();
            let _ = writeln!(text, "{number:4}  {actor:6}  {line}  <- {}", line.from);
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
        text
    }

    /// The same as a JSON document: `{"steps": [...], "warnings": [...]}`.
    ///
    /// # Panics
    /// Never: all parts of a plan can be serialised.
    pub fn to_json(&self) -> serde_json::Value {
        let steps: Vec<serde_json::Value> = self
            .lines
            .iter()
            .map(|line| serde_json::to_value(line).unwrap_or_default())
            .collect();
        let warnings: Vec<_> = self
            .warnings
            .iter()
            .map(|warning| serde_json::json!({"field": warning.field, "message": warning.message}))
            .collect();
        serde_json::json!({"steps": steps, "warnings": warnings})
    }
}

impl Line {
    /// `parent` or `init`.
    pub fn actor(&self) -> &'static str {
        match self.action {
            Action::Parent(_) => "parent",
            Action::Init(_) => "init",
        }
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("actor", self.actor())?;
        map.serialize_entry("text", &self.to_string())?;
        map.serialize_entry("from", &self.from)?;
        match &self.action {
            Action::Parent(step) => map.serialize_entry("step", step)?,
            // The filter is shown by its size: its bytes say nothing to a reader.
            Action::Init(Step::Seccomp { filter, flags }) => map.serialize_entry(
                "step",
                &serde_json::json!({"op": "seccomp", "instructions": filter.len() / 8, "flags": flags}),
            )?,
            Action::Init(step) => map.serialize_entry("step", step)?,
        }
        map.end()
    }
}

/// What the line does, in a few words.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.action {
            Action::Parent(step) => parent(f, step),
            Action::Init(step) => init(f, step),
        }
    }
}

/// CLONE_NEW* flags as names.
fn namespaces(flags: u64) -> String {
    let names: Vec<_> = (0..32)
        .map(|bit| 1u32 << bit)
        .filter(|kind| flags & u64::from(*kind) != 0)
        .map(name_of)
        .collect();
    if names.is_empty() {
        "no".to_owned()
    } else {
        names.join(",")
    }
}

/// MOUNT_ATTR_* flags as the options of mount(8).
fn attributes(flags: u64) -> String {
    let names = [
        (libc::MOUNT_ATTR_RDONLY, "ro"),
        (libc::MOUNT_ATTR_NOSUID, "nosuid"),
        (libc::MOUNT_ATTR_NODEV, "nodev"),
        (libc::MOUNT_ATTR_NOEXEC, "noexec"),
        (libc::MOUNT_ATTR_NOATIME, "noatime"),
        (libc::MOUNT_ATTR_STRICTATIME, "strictatime"),
        (libc::MOUNT_ATTR_NODIRATIME, "nodiratime"),
        (libc::MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow"),
    ];
    let known: Vec<_> = names
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    known.join(",")
}

fn propagation(flags: u64) -> String {
    let kind = [
        (libc::MS_SHARED, "shared"),
        (libc::MS_SLAVE, "slave"),
        (libc::MS_PRIVATE, "private"),
        (libc::MS_UNBINDABLE, "unbindable"),
    ]
    .into_iter()
    .find(|(bit, _)| flags & bit != 0)
    .map_or("unchanged", |(_, name)| name);
    if flags & libc::MS_REC == 0 {
        kind.to_owned()
    } else {
        format!("r{kind}")
    }
}

fn propagations(changes: &[u64]) -> String {
    let names: Vec<_> = changes.iter().map(|flags| propagation(*flags)).collect();
    names.join(",")
}

/// Words with a blank before each; what is empty is left out.
fn words(f: &mut fmt::Formatter<'_>, words: &[String]) -> fmt::Result {
    words
        .iter()
        .filter(|word| !word.is_empty())
        .try_for_each(|word| write!(f, " {word}"))
}

fn parent(f: &mut fmt::Formatter<'_>, step: &ParentStep) -> fmt::Result {
    match step {
        ParentStep::SaveRecord { status } => write!(f, "save record {:?}", status.as_str()),
        ParentStep::MakeCgroup { directories } => write!(f, "create cgroup {}", directories.join(" ")),
        ParentStep::StartScope {
            unit,
            slice,
            properties,
        } => write!(
            f,
            "start scope {unit} in {slice} around init: {}",
            properties.join(" ")
        ),
        ParentStep::AttachToScope { unit } => write!(f, "move init into {unit}, if it is not in it"),
        ParentStep::Limit { write } => write!(f, "limit {}={}", write.file, write.value),
        ParentStep::DeviceRules { rules } => write!(f, "{} device rules", rules.len()),
        ParentStep::DelegateCgroup { uid } => write!(f, "give the cgroup to user {uid}"),
        ParentStep::RdtGroup { group, make: true } => {
            write!(f, "create resctrl group {group}, if it is missing")
        }
        ParentStep::RdtGroup { group, make: false } => write!(f, "find resctrl group {group}"),
        ParentStep::RdtSchemata { lines, own: true, .. } => write!(f, "write schemata {}", lines.join(" ")),
        ParentStep::RdtSchemata {
            lines, own: false, ..
        } => {
            write!(
                f,
                "write schemata {} to a new group, compare those of another",
                lines.join(" ")
            )
        }
        ParentStep::RdtMonitor { group } => write!(f, "create resctrl group {group}"),
        ParentStep::RdtTasks { group, .. } => write!(f, "open tasks of resctrl group {group}"),
        ParentStep::OpenNamespace { path, kind } => write!(f, "open {} namespace {path}", name_of(*kind)),
        ParentStep::OpenCgroup { directories } => write!(f, "open cgroup {}", directories.join(" ")),
        ParentStep::CheckProcess { pid, start_time } => {
            write!(f, "check that process {pid} is the one started at {start_time}")
        }
        ParentStep::Listen => f.write_str("listen for start"),
        ParentStep::Spawn { namespaces: flags } => {
            write!(f, "spawn init in {} new namespaces", namespaces(*flags))
        }
        ParentStep::WriteIdMaps {
            uids, gids, helpers, ..
        } => write!(
            f,
            "write {} uid and {} gid ranges{}",
            uids.len(),
            gids.len(),
            if *helpers {
                " by newuidmap and newgidmap"
            } else {
                ""
            }
        ),
        ParentStep::CheckIdMaps { uids, gids } => write!(
            f,
            "check that the namespace has these {} uid and {} gid ranges",
            uids.len(),
            gids.len()
        ),
        ParentStep::Release => f.write_str("let init go on"),
        ParentStep::Lend {
            source,
            idmap,
            identity,
            ..
        } => {
            write!(
                f,
                "lend {source}{}{} to init",
                if identity.is_some() {
                    ", as it was found,"
                } else {
                    ""
                },
                if idmap.is_some() { ", ids mapped," } else { "" }
            )
        }
        ParentStep::Look { work } => write!(f, "look for {}; tell init what to make", work.words()),
        ParentStep::MoveNetDevice { name, new_name } if name == new_name => {
            write!(f, "move network device {name} to init")
        }
        ParentStep::MoveNetDevice { name, new_name } => {
            write!(f, "move network device {name} to init as {new_name}")
        }
        ParentStep::Hook { hook } => {
            write!(
                f,
                "run hook {}[{}] {}",
                hook.kind.as_str(),
                hook.position,
                hook.path
            )
        }
        ParentStep::OomScore { value } => write!(f, "set oom_score_adj {value}"),
        ParentStep::Rlimit { name, soft, hard, .. } => write!(f, "set {name} {soft}:{hard}"),
        ParentStep::Affinity { cpus } => write!(f, "run on the CPUs {cpus:?} only"),
        ParentStep::PassListener { agent } => write!(f, "send the listener to {}", agent.socket),
        ParentStep::AwaitExec => f.write_str("wait until the program runs"),
        ParentStep::PassTerminal { socket: Some(socket) } => write!(f, "send the terminal to {socket}"),
        ParentStep::PassTerminal { socket: None } => f.write_str("give the terminal to the caller"),
        ParentStep::SendPidfd { socket } => write!(f, "send the pidfd to {socket}"),
        ParentStep::PidFile { path } => write!(f, "write the pid to {path}"),
    }
}

#[allow(clippy::too_many_lines, reason = "a table: one line for each step")]
fn init(f: &mut fmt::Formatter<'_>, step: &Step) -> fmt::Result {
    let list = |texts: &[runtime_core_program::Text]| -> String {
        texts
            .iter()
            .map(|text| text.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    match step {
        Step::CloseStray { .. } => f.write_str("close stray descriptors"),
        Step::Undumpable {} => f.write_str("become undumpable"),
        Step::NewSession {} => f.write_str("new session"),
        Step::Sync {} => f.write_str("report; wait"),
        Step::Tell {} => f.write_str("report"),
        Step::Borrow {} => f.write_str("ask for a mount source; wait"),
        Step::Join { kind, .. } => write!(f, "join {} namespace", name_of(*kind)),
        Step::Unshare { namespaces: flags } => write!(f, "unshare {} namespaces", namespaces(*flags)),
        Step::Fork {} => f.write_str("go on in a sibling, inside the pid namespace"),
        Step::ForkInto { .. } => f.write_str("go on in a sibling, inside the cgroup"),
        Step::BecomeRoot { .. } => f.write_str("become root of the user namespace"),
        Step::EnterTime { offsets } => {
            write!(
                f,
                "enter a new time namespace {:?}",
                String::from_utf8_lossy(offsets).trim_end()
            )
        }
        Step::JoinCgroup {
            tasks: FdName::Tasks(name),
        } => write!(f, "join cgroup {name}"),
        Step::JoinCgroup {
            tasks: FdName::RdtGroup,
        } => f.write_str("join the resctrl group"),
        Step::JoinCgroup {
            tasks: FdName::RdtMonitor,
        } => f.write_str("join the resctrl group that measures"),
        Step::JoinCgroup { .. } => f.write_str("join no cgroup"),
        Step::AllCpus {} => f.write_str("run on all CPUs of the cgroup"),
        Step::WriteSelf { path, value } => write!(f, "write {:?} to {path}", String::from_utf8_lossy(value)),
        Step::Propagation { path, flags } => write!(f, "make {path} {}", propagation(*flags)),
        Step::OpenRoot { path, clone, .. } => {
            write!(f, "{} root {path}", if *clone { "mount" } else { "open" })
        }
        Step::MountFs {
            fstype,
            options,
            attributes: flags,
            target,
            propagation: changes,
            ..
        } => {
            write!(f, "mount {fstype} on {target}")?;
            words(f, &[attributes(*flags), list(options), propagations(changes)])
        }
        Step::MountPage {
            fstype,
            data,
            attributes: flags,
            target,
            propagation: changes,
            ..
        } => {
            write!(f, "mount {fstype} on {target}")?;
            words(f, &[attributes(*flags), data.to_string(), propagations(changes)])
        }
        Step::MountBind {
            source,
            target,
            set,
            recursive_set,
            propagation: changes,
            flags,
            ..
        } => {
            let has = |flag| *flags & flag != 0;
            write!(
                f,
                "{} {source} on {target}{}{}",
                if has(mount_flags::RECURSIVE) {
                    "rbind"
                } else {
                    "bind"
                },
                if has(mount_flags::MAY_LACK) {
                    " if it exists"
                } else {
                    ""
                },
                if has(mount_flags::UNLESS_THERE) {
                    " unless something is there"
                } else {
                    ""
                }
            )?;
            words(f, &[attributes(*set), propagations(changes)])?;
            if *recursive_set == 0 {
                Ok(())
            } else {
                write!(f, " recursively {}", attributes(*recursive_set))
            }
        }
        Step::Remount { target, set, .. } => write!(f, "remount {target} {}", attributes(*set)),
        Step::MakeDir { path, mode } => write!(f, "make directory {path} mode {mode:o}"),
        Step::Symlink { target, path } => write!(f, "link {path} -> {target}"),
        Step::ReplaceLink { target, path } => {
            write!(f, "link {path} -> {target}, in the place of what is there")
        }
        Step::WriteFile { path, content, mode } => {
            write!(f, "write {path}, {} bytes, mode {mode:o}", content.len())
        }
        Step::CoverFile { path, content, .. } => write!(f, "cover {path} by {} bytes", content.len()),
        Step::SetMode { path, mode } => write!(f, "give {path} the mode {mode:o}, if it exists"),
        Step::Extend {} => f.write_str("lend the root; make what the answer says"),
        Step::Device {
            path, mode, device, ..
        } => write!(
            f,
            "make device {path} {}:{} mode {:o}",
            libc::major(*device),
            libc::minor(*device),
            mode & 0o7777
        ),
        Step::BindDevice { path, .. } => write!(f, "bind device {path}"),
        Step::PrepareMasks { .. } => f.write_str("prepare masks"),
        Step::Mask { path } => write!(f, "mask {path}"),
        Step::ReadOnlyPath { path } => write!(f, "make {path} read-only"),
        Step::ReadOnlyRoot {} => f.write_str("make the root read-only"),
        Step::Pivot {} => f.write_str("pivot root"),
        Step::MoveRoot {} => f.write_str("move root"),
        Step::Chroot {} => f.write_str("change root"),
        Step::OpenProc {} => f.write_str("open a private procfs"),
        Step::Sysctl { path, value } => {
            write!(f, "sysctl {path}={}", String::from_utf8_lossy(value))
        }
        Step::ExecProfile { profile } => write!(f, "take the AppArmor profile {profile} at execve"),
        Step::ExecLabel { label } => write!(f, "take the SELinux label {label} at execve"),
        Step::KeyLabel { label } if label.as_bytes().is_empty() => {
            f.write_str("label keyrings by the policy")
        }
        Step::KeyLabel { label } => write!(f, "label keyrings {label}"),
        Step::LabelFile { path, label, .. } => write!(f, "label {path} {}", String::from_utf8_lossy(label)),
        Step::Loopback {} => f.write_str("set the loopback device up"),
        Step::Hostname { name } => write!(f, "hostname {}", String::from_utf8_lossy(name)),
        Step::Domainname { name } => write!(f, "domainname {}", String::from_utf8_lossy(name)),
        Step::Hook { path, .. } => write!(f, "run hook {path}"),
        Step::Console { rows, columns, .. } => write!(f, "open the terminal {columns}x{rows}"),
        Step::Stdio { .. } => f.write_str("take the caller's standard descriptors"),
        Step::ReopenNull {} => f.write_str("use the container's null device"),
        Step::OwnStdio { uid } => write!(f, "give the standard descriptors to uid {uid}"),
        Step::PlaceFds { fds } => write!(f, "place {} descriptors", fds.len()),
        Step::NewKeyring { name } => write!(f, "new session keyring {name}"),
        Step::NoNewPrivs {} => f.write_str("no new privileges"),
        Step::Scheduler {
            policy,
            nice,
            priority,
            ..
        } => {
            write!(f, "scheduler policy {policy} nice {nice} priority {priority}")
        }
        Step::IoPriority { value } => write!(f, "I/O priority class {} level {}", value >> 13, value & 7),
        Step::Personality { persona } => write!(f, "personality {persona:#x}"),
        Step::MemoryPolicy { mode, .. } => write!(f, "memory policy {mode:#x}"),
        Step::Umask { mask } => write!(f, "umask {mask:03o}"),
        Step::LimitBounding { keep } => write!(f, "limit the bounding set to {keep:#x}"),
        Step::Rlimit { resource, soft, hard } => {
            write!(f, "limit {} to {soft}:{hard}", super::rlimits::name(*resource))
        }
        Step::User { uid, gid, groups, .. } => write!(f, "become uid {uid} gid {gid} groups {groups:?}"),
        Step::WorkDir { path, .. } => write!(f, "change directory to {path}"),
        Step::Capabilities { effective, .. } => write!(f, "keep the capabilities {effective:#x}"),
        Step::FindProgram { name, .. } => write!(f, "find {name}"),
        Step::WaitStart { .. } => f.write_str("report created; wait for start"),
        Step::Seccomp { filter, flags } => {
            let listener = if *flags & FLAG_NEW_LISTENER == 0 {
                ""
            } else {
                ", with a listener"
            };
            write!(f, "load seccomp ({} instructions{listener})", filter.len() / 8)
        }
        Step::Exec { args, .. } => write!(f, "execve {}", list(args)),
    }
}
