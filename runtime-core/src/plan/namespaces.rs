//! Namespaces: which are new, which are joined, in what order init gets into them.
//!
//! Two ways. Mostly all new namespaces are made by the one clone that starts init, and init then joins the rest. Where
//! a user or pid namespace is joined, or a new user namespace stands beside joined ones, the order matters (who owns
//! what, who is privileged over what): init starts in the caller's namespaces, joins, unshares, and goes on in a sibling
//! for the pid namespace to take effect.

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};
use serde::{Deserialize, Serialize};

use super::schedule::{FdName, ParentStep, Schedule, Step};
use crate::error::{Error, Result};
use crate::facts::HostFacts;

/// One line of uid_map or gid_map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// First id inside.
    pub container: u32,
    /// First id outside.
    pub host: u32,
    /// How many.
    pub size: u32,
}

impl From<&LinuxIdMapping> for IdMap {
    fn from(map: &LinuxIdMapping) -> Self {
        Self {
            container: map.container_id(),
            host: map.host_id(),
            size: map.size(),
        }
    }
}

pub(super) const MOUNT: u32 = libc::CLONE_NEWNS.cast_unsigned();
pub(super) const PID: u32 = libc::CLONE_NEWPID.cast_unsigned();
pub(super) const USER: u32 = libc::CLONE_NEWUSER.cast_unsigned();
pub(super) const NETWORK: u32 = libc::CLONE_NEWNET.cast_unsigned();
pub(super) const IPC: u32 = libc::CLONE_NEWIPC.cast_unsigned();
pub(super) const UTS: u32 = libc::CLONE_NEWUTS.cast_unsigned();
pub(super) const CGROUP: u32 = libc::CLONE_NEWCGROUP.cast_unsigned();
/// CLONE_NEWTIME; clone3(2) and unshare(2) only.
pub(super) const TIME: u32 = 0x80;

/// The name of a kind as config.json has it.
pub(super) fn name_of(kind: u32) -> &'static str {
    match kind {
        MOUNT => "mount",
        PID => "pid",
        USER => "user",
        NETWORK => "network",
        IPC => "ipc",
        UTS => "uts",
        CGROUP => "cgroup",
        TIME => "time",
        _ => "unknown",
    }
}

fn kind_of(name: LinuxNamespaceType) -> u32 {
    match name {
        LinuxNamespaceType::Mount => MOUNT,
        LinuxNamespaceType::Pid => PID,
        LinuxNamespaceType::User => USER,
        LinuxNamespaceType::Network => NETWORK,
        LinuxNamespaceType::Ipc => IPC,
        LinuxNamespaceType::Uts => UTS,
        LinuxNamespaceType::Cgroup => CGROUP,
        LinuxNamespaceType::Time => TIME,
    }
}

/// A namespace that is joined.
#[derive(Debug, Clone)]
struct Joined {
    kind: u32,
    path: String,
    field: String,
}

/// The container's namespaces.
#[derive(Debug, Clone)]
pub(super) struct Namespaces {
    new: u32,
    joined: Vec<Joined>,
    uids: Vec<IdMap>,
    gids: Vec<IdMap>,
    offsets: Option<Vec<u8>>,
    privileged: bool,
    groups_are_fixed: bool,
}

impl Namespaces {
    pub(super) fn of(spec: &Spec, facts: &HostFacts) -> Result<Self> {
        let mut new = 0;
        let mut joined = Vec::new();
        let linux = spec.linux().as_ref();
        let list = linux
            .and_then(|linux| linux.namespaces().as_deref())
            .unwrap_or_default();
        for (position, namespace) in list.iter().enumerate() {
            let kind = kind_of(namespace.typ());
            match namespace.path() {
                Some(path) if !path.as_os_str().is_empty() => joined.push(Joined {
                    kind,
                    path: path.to_string_lossy().into_owned(),
                    field: format!("linux.namespaces[{position}].path"),
                }),
                _ => new |= kind,
            }
        }
        let maps = |list: Option<&Vec<LinuxIdMapping>>| list.into_iter().flatten().map(IdMap::from).collect();
        let offsets = linux
            .and_then(|linux| linux.time_offsets().as_ref())
            .map(|offsets| {
                let mut lines: Vec<String> = offsets
                    .iter()
                    .map(|(clock, offset)| {
                        format!(
                            "{clock} {} {}\n",
                            offset.secs().unwrap_or(0),
                            offset.nanosecs().unwrap_or(0)
                        )
                    })
                    .collect();
                lines.sort();
                lines.concat().into_bytes()
            });
        let namespaces = Self {
            new,
            joined,
            uids: maps(linux.and_then(|linux| linux.uid_mappings().as_ref())),
            gids: maps(linux.and_then(|linux| linux.gid_mappings().as_ref())),
            offsets,
            privileged: facts.privileged(),
            groups_are_fixed: facts.groups_are_fixed,
        };
        if !namespaces.privileged && namespaces.new & USER == 0 && namespaces.joined(USER).is_none() {
            return Err(Error::spec(
                "linux.namespaces",
                "an unprivileged caller needs a user namespace, and the configuration has none",
            )
            .with_kind(crate::error::ErrorKind::Permission)
            .with_hint("add a namespace of type \"user\" with mappings, or run as root"));
        }
        Ok(namespaces)
    }

    fn joined(&self, kind: u32) -> Option<&Joined> {
        self.joined.iter().find(|joined| joined.kind == kind)
    }

    /// Those that are joined: kind, path, and the field of the configuration.
    pub(super) fn all_joined(&self) -> impl Iterator<Item = (u32, &str, &str)> {
        self.joined
            .iter()
            .map(|joined| (joined.kind, joined.path.as_str(), joined.field.as_str()))
    }

    /// Whether the container has this namespace for itself or shares another one than the caller's.
    pub(super) fn has(&self, kind: u32) -> bool {
        self.new & kind != 0 || self.joined(kind).is_some()
    }

    /// Whether this namespace is made for the container.
    pub(super) fn is_new(&self, kind: u32) -> bool {
        self.new & kind != 0
    }

    /// Whether the parent has rights over limits that init, in its user namespace, lacks.
    pub(super) fn parent_sets_limits(&self) -> bool {
        self.privileged && self.has(USER)
    }

    /// Whether mount sources must be opened with the caller's rights: the container's root may not reach them.
    pub(super) fn lends_sources(&self) -> bool {
        self.privileged && self.has(USER)
    }

    /// Where the user namespace's mapping sends an id of the container; the id itself without mappings.
    pub(super) fn uids(&self) -> &[IdMap] {
        &self.uids
    }

    pub(super) fn gids(&self) -> &[IdMap] {
        &self.gids
    }

    pub(super) fn privileged(&self) -> bool {
        self.privileged
    }

    /// Whether the container's processes may choose their groups: an unprivileged writer of the maps has to give that up,
    /// here or in a user namespace above.
    pub(super) fn can_set_groups(&self) -> bool {
        // newgidmap(1) gives it up, too, where nothing but the caller's own group is mapped.
        let several = || self.gids.iter().map(|map| u64::from(map.size)).sum::<u64>() > 1;
        !self.groups_are_fixed && (self.privileged || !self.has(USER) || several())
    }

    /// Opens what init joins; the parent's part before init exists.
    pub(super) fn open(&self, schedule: &mut Schedule) {
        for joined in &self.joined {
            schedule.parent(
                ParentStep::OpenNamespace {
                    path: joined.path.clone(),
                    kind: joined.kind,
                },
                joined.field.clone(),
            );
        }
    }

    /// Whether one clone makes all new namespaces.
    fn at_once(&self) -> bool {
        self.joined(USER).is_none()
            && self.joined(PID).is_none()
            && (self.new & USER == 0 || self.joined.is_empty())
    }

    /// From the start of init to the moment when it is in all namespaces but the cgroup one. `first` is what init does
    /// to itself while it still is who its parent is.
    pub(super) fn enter(&self, schedule: &mut Schedule, first: impl FnOnce(&mut Schedule)) {
        // The cgroup namespace roots itself where init is when it is unshared, and the time namespace takes offsets
        // only while nobody is in it: both come later, by unshare.
        let early = self.new & !(CGROUP | TIME);
        if self.at_once() {
            schedule.parent(
                ParentStep::Spawn {
                    namespaces: early.into(),
                },
                "linux.namespaces",
            );
            schedule.init(Step::CloseStray { keep: Vec::new() }, "(security)");
            first(schedule);
            if self.new & USER != 0 {
                self.write_maps(schedule);
            }
            self.enter_time(schedule);
            schedule.init(Step::Undumpable {}, "(security)");
            schedule.init(Step::NewSession {}, "(security)");
            self.join(schedule, |_| true);
            return;
        }
        schedule.parent(ParentStep::Spawn { namespaces: 0 }, "linux.namespaces");
        schedule.init(Step::CloseStray { keep: Vec::new() }, "(security)");
        first(schedule);
        // An undumpable process cannot write its own timens_offsets from inside a user namespace.
        if self.privileged {
            self.enter_time(schedule);
        }
        schedule.init(Step::Undumpable {}, "(security)");
        schedule.init(Step::NewSession {}, "(security)");
        // A privileged caller has power over every namespace below its own, and keeps it only as long as it stays
        // there; an unprivileged one gets its power from the user namespace.
        if self.privileged {
            self.join(schedule, |kind| kind != USER);
        }
        if self.joined(USER).is_some() {
            self.join(schedule, |kind| kind == USER);
            self.check_maps(schedule);
            schedule.init(
                Step::BecomeRoot {
                    drop_groups: self.privileged && !self.groups_are_fixed,
                },
                "linux.namespaces",
            );
        }
        if self.new & USER != 0 {
            schedule.init(
                Step::Unshare {
                    namespaces: USER.into(),
                },
                "linux.namespaces",
            );
            self.write_maps(schedule);
        }
        if !self.privileged {
            self.join(schedule, |kind| kind != USER);
        }
        let rest = early & !USER;
        if rest != 0 {
            schedule.init(
                Step::Unshare {
                    namespaces: rest.into(),
                },
                "linux.namespaces",
            );
        }
        if !self.privileged {
            self.enter_time(schedule);
        }
        if self.has(PID) {
            schedule.init(Step::Fork {}, "linux.namespaces");
            // The sibling has a session of its own only if it makes one.
            schedule.init(Step::NewSession {}, "(security)");
        }
        schedule.init(Step::Undumpable {}, "(security)");
    }

    fn join(&self, schedule: &mut Schedule, which: impl Fn(u32) -> bool) {
        // The mount namespace last: paths of the host (/proc/self) mean something else behind it.
        let (mount, others): (Vec<_>, Vec<_>) = self
            .joined
            .iter()
            .filter(|joined| which(joined.kind))
            .partition(|joined| joined.kind == MOUNT);
        for joined in others.into_iter().chain(mount) {
            schedule.init(
                Step::Join {
                    namespace: FdName::Namespace(joined.kind),
                    kind: joined.kind,
                },
                joined.field.clone(),
            );
        }
    }

    fn write_maps(&self, schedule: &mut Schedule) {
        let single_own = |maps: &[IdMap]| maps.len() == 1 && maps.iter().all(|map| map.size == 1);
        let helpers = !(self.privileged || single_own(&self.uids) && single_own(&self.gids));
        let deny_setgroups = !self.privileged && !helpers;
        let maps = ParentStep::WriteIdMaps {
            uids: self.uids.clone(),
            gids: self.gids.clone(),
            deny_setgroups,
            helpers,
        };
        schedule.barrier(
            "linux.uidMappings",
            [(maps, "linux.uidMappings, linux.gidMappings".to_owned())],
        );
        schedule.init(
            Step::BecomeRoot {
                drop_groups: self.can_set_groups(),
            },
            "linux.uidMappings",
        );
    }

    /// Of a namespace that is joined the configuration may give the maps, too: plans are made by them.
    fn check_maps(&self, schedule: &mut Schedule) {
        if self.uids.is_empty() && self.gids.is_empty() {
            return;
        }
        let maps = ParentStep::CheckIdMaps {
            uids: self.uids.clone(),
            gids: self.gids.clone(),
        };
        let from = "linux.uidMappings, linux.gidMappings".to_owned();
        schedule.barrier("linux.uidMappings", [(maps, from)]);
    }

    fn enter_time(&self, schedule: &mut Schedule) {
        if self.is_new(TIME) {
            let offsets = self.offsets.clone().unwrap_or_default();
            schedule.init(Step::EnterTime { offsets }, "linux.timeOffsets");
        }
    }

    /// The cgroup namespace, once init is in its cgroup.
    pub(super) fn enter_cgroup(&self, schedule: &mut Schedule) {
        if self.is_new(CGROUP) {
            schedule.init(
                Step::Unshare {
                    namespaces: CGROUP.into(),
                },
                "linux.namespaces",
            );
        }
    }
}
