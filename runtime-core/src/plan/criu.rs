//! Checkpoint and restore: how CRIU is started, and what of the container's configuration it has to be told.
//!
//! The mounts that CRIU cannot save, because they show the host's files, are those that the schedule of create binds: so
//! they are read off that schedule and not found a second time.

use std::path::{Path, PathBuf};

use runtime_core_program::Text;
use runtime_core_program::step::NO_HOME;

use super::create::{PlanRequest, text};
use super::mounts::Mounts;
use super::namespaces::{CGROUP, IdMap, MOUNT, NETWORK, Namespaces, PID, USER, name_of};
use super::schedule::{Action, FdName, LentIdMap, ParentStep, Schedule, Step};
use super::{Plan, cgroup, clean, delegation, devices};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::HostFacts;
use crate::spec::LoadedSpec;
use crate::state::Status;

/// The number of the socket in CRIU: the first after the standard descriptors.
const SOCKET: i32 = 3;

/// The program and its environment.
#[derive(Debug, Clone)]
pub(crate) struct CriuProgram {
    /// An absolute path.
    pub(crate) path: PathBuf,
    /// Each `NAME=value`.
    pub(crate) env: Vec<Vec<u8>>,
}

/// A file or directory of the host that the container sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExternalMount {
    /// Where in the container, without `..`; links in it are not resolved. It is CRIU's name for the mount, too.
    pub(crate) target: PathBuf,
    /// Where on the host.
    pub(crate) source: PathBuf,
    /// It covers a masked path; CRIU knows all of these by the name of the null device.
    pub(crate) mask: bool,
}

/// A namespace that the container joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinedNamespace {
    /// The CLONE_NEW* kind.
    pub(crate) kind: u32,
    pub(crate) path: String,
    pub(crate) field: String,
}

impl JoinedNamespace {
    /// Whether CRIU leaves the namespace alone at a checkpoint and finds it under a name at the restore; it takes a
    /// namespace of any other kind for the container's own, and joins at the restore.
    pub(crate) fn is_external(&self) -> bool {
        self.kind == NETWORK || self.kind == PID
    }

    /// The kind as CRIU spells it.
    pub(crate) fn word(&self) -> &'static str {
        match name_of(self.kind) {
            "network" => "net",
            "mount" => "mnt",
            name => name,
        }
    }

    /// The name of an external one; runc's, so that either can restore what the other saved.
    pub(crate) fn key(&self) -> String {
        let word = if self.kind == NETWORK { "Net" } else { "Pid" };
        format!("extRoot{word}NS")
    }
}

/// What of a container is not its own.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) mounts: Vec<ExternalMount>,
    pub(crate) joined: Vec<JoinedNamespace>,
    /// It has a network namespace that was made for it.
    pub(crate) own_network: bool,
    /// Who its root is on the host, where it has a user namespace: id 0 of files to that id.
    pub(crate) root: Option<LentIdMap>,
}

/// The two schedules of a restore, and what CRIU is told.
#[derive(Debug)]
pub(crate) struct RestorePlan {
    /// Makes the cgroup and starts CRIU in it.
    pub(crate) criu: Plan,
    /// Makes the places that mounts are put on, in a mount namespace that nobody keeps. It ends with a process that waits.
    pub(crate) mount_points: Plan,
    pub(crate) surroundings: Surroundings,
    /// The names of descriptors that CRIU has, and their numbers there.
    pub(crate) inherited: Vec<(String, i32)>,
}

impl Plan {
    /// Starts CRIU for a checkpoint: with these standard descriptors and the socket.
    pub(crate) fn criu(program: &CriuProgram) -> Result<Self> {
        let mut schedule = Schedule::default();
        schedule.init(Step::CloseStray { keep: Vec::new() }, "(security)");
        // What the user of a terminal types must not end it in the middle of a dump.
        schedule.init(Step::NewSession {}, "(checkpoint)");
        stdio(&mut schedule, [true; 3]);
        become_criu(&mut schedule, program, vec![FdName::Criu])?;
        Ok(Self::of(schedule))
    }

    fn of(schedule: Schedule) -> Self {
        let mut plan = Self {
            lines: schedule.lines,
            warnings: Vec::new(),
            cgroup: None,
            rdt: None,
        };
        plan.keep_descriptors();
        plan
    }

    /// What of a container of this configuration is the host's.
    ///
    /// # Errors
    /// As create; Unsupported, where CRIU cannot restore it.
    pub(crate) fn surroundings(
        loaded: &LoadedSpec,
        facts: &HostFacts,
        request: &PlanRequest,
    ) -> Result<Surroundings> {
        let plan = Self::create(loaded, facts, request)?;
        let namespaces = Namespaces::of(&loaded.spec, facts)?;
        surroundings(&plan, &namespaces)
    }

    /// Plans the restore of a container.
    ///
    /// # Errors
    /// As create; Unsupported, where CRIU cannot restore it.
    pub(crate) fn restore(
        loaded: &LoadedSpec,
        facts: &HostFacts,
        request: &PlanRequest,
        program: &CriuProgram,
    ) -> Result<RestorePlan> {
        let create = Self::create(loaded, facts, request)?;
        let spec = &loaded.spec;
        let namespaces = Namespaces::of(spec, facts)?;
        let surroundings = surroundings(&create, &namespaces)?;
        if !namespaces.is_new(MOUNT) {
            let message =
                "a container is restored into a mount namespace of its own, and the configuration has none";
            return Err(Error::spec("linux.namespaces", message).with_kind(ErrorKind::Unsupported));
        }
        let paths = create.cgroup.as_ref().map(|cgroup| &cgroup.paths);
        let mounts = Mounts::of(spec, facts, request, &namespaces, paths)?;
        let external = || surroundings.joined.iter().filter(|joined| joined.is_external());
        let inherited = external().map(JoinedNamespace::key).zip(SOCKET + 1..).collect();
        let mut fds = vec![FdName::Criu];
        fds.extend(external().map(|joined| FdName::Namespace(joined.kind)));

        let mut schedule = Schedule::default();
        let delegate = |schedule: &mut Schedule| delegation::delegate(schedule, spec, facts, &namespaces);
        prepare(&mut schedule, &create, delegate);
        for joined in external() {
            let step = ParentStep::OpenNamespace {
                path: joined.path.clone(),
                kind: joined.kind,
            };
            schedule.parent(step, joined.field.clone());
        }
        enter(&mut schedule, &create, delegate);
        root(&mut schedule, mounts.rootfs())?;
        stdio(&mut schedule, request.stdio);
        become_criu(&mut schedule, program, fds)?;
        schedule.parent(ParentStep::AwaitExec, "(restore)");

        let mount_points = mount_points(&mounts)?;
        let mut criu = Self::of(schedule);
        criu.warnings = create.warnings;
        criu.cgroup = create.cgroup;
        criu.rdt = create.rdt;
        Ok(RestorePlan {
            criu,
            mount_points,
            surroundings,
            inherited,
        })
    }
}

/// The record, and what is there before the first process.
fn prepare(schedule: &mut Schedule, create: &Plan, delegate: impl Fn(&mut Schedule)) {
    let creating = ParentStep::SaveRecord {
        status: Status::Creating,
    };
    schedule.parent(creating, "(crash rule)");
    if let Some(cgroup) = create.cgroup.as_ref().filter(|cgroup| cgroup.scope.is_none()) {
        cgroup::make(schedule, cgroup);
        delegate(schedule);
    }
    if let Some(rdt) = &create.rdt {
        rdt.make(schedule);
    }
}

/// The process that becomes CRIU, and the cgroup around it: what CRIU makes is born there. CRIU wants a root that is a
/// mount point: in a mount namespace of its own nobody else sees that, and it is gone with CRIU.
fn enter(schedule: &mut Schedule, create: &Plan, delegate: impl Fn(&mut Schedule)) {
    let namespace = ParentStep::Spawn {
        namespaces: MOUNT.into(),
    };
    schedule.parent(namespace, "(restore)");
    schedule.init(Step::CloseStray { keep: Vec::new() }, "(security)");
    if let Some(cgroup) = &create.cgroup {
        cgroup::start_scope(schedule, cgroup, delegate);
        cgroup::join(schedule, cgroup);
    }
    if let Some(rdt) = &create.rdt {
        rdt.join(schedule);
    }
    schedule.init(Step::AllCpus {}, "(restore)");
}

/// Everything that create mounts, on the container's root, for the places that the mounts need.
fn mount_points(mounts: &Mounts<'_>) -> Result<Plan> {
    let mut schedule = Schedule::default();
    let spawn = ParentStep::Spawn {
        namespaces: MOUNT.into(),
    };
    schedule.parent(spawn, "(mount points)");
    schedule.init(Step::CloseStray { keep: Vec::new() }, "(security)");
    mounts.build(&mut schedule)?;
    schedule.init(Step::Sync {}, "(mount points)");
    Ok(Plan::of(schedule))
}

/// The root with a mount of its own, in a mount namespace of its own.
fn root(schedule: &mut Schedule, rootfs: &Path) -> Result<()> {
    let flags = libc::MS_SLAVE | libc::MS_REC;
    schedule.init(
        Step::Propagation {
            path: text("root.path", "/")?,
            flags,
        },
        "(mounts must not reach the host)",
    );
    schedule.init(
        Step::OpenRoot {
            path: text("root.path", &rootfs.to_string_lossy())?,
            lent: false,
            clone: true,
            detach: false,
        },
        "root.path",
    );
    Ok(())
}

fn stdio(schedule: &mut Schedule, given: [bool; 3]) {
    let name = |number: u8, given: bool| match given {
        true => FdName::Standard(number),
        false => FdName::Absent,
    };
    let [input, output, error] = given;
    schedule.init(
        Step::Stdio {
            input: name(0, input),
            output: name(1, output),
            error: name(2, error),
        },
        "(caller's descriptors)",
    );
}

/// `criu swrk 3`: one request, over descriptor 3.
fn become_criu(schedule: &mut Schedule, program: &CriuProgram, fds: Vec<FdName>) -> Result<()> {
    let origin = "(criu)";
    let path = program.path.to_string_lossy();
    let keep = u32::try_from(fds.len()).unwrap_or(1);
    schedule.init(Step::PlaceFds { fds }, origin);
    let find = Step::FindProgram {
        name: text(origin, &path)?,
        search: text(origin, "")?,
    };
    schedule.init(find, origin);
    let exec = Step::Exec {
        args: vec![
            text(origin, &path)?,
            text(origin, "swrk")?,
            text(origin, &SOCKET.to_string())?,
        ],
        // The kernel hands out no variable with a null byte.
        env: program.env.iter().cloned().filter_map(Text::new).collect(),
        home: NO_HOME,
        keep,
    };
    schedule.init(exec, origin);
    Ok(())
}

fn surroundings(plan: &Plan, namespaces: &Namespaces) -> Result<Surroundings> {
    let mut mounts = Vec::new();
    for line in &plan.lines {
        let (target, source, mask) = match &line.action {
            Action::Parent(ParentStep::Lend { idmap: Some(_), .. }) => {
                let message = "CRIU does not restore the ids of an id-mapped mount";
                return Err(Error::new(ErrorKind::Unsupported, message).with_field(line.from.clone()));
            }
            Action::Init(Step::MountBind { source, target, .. }) => (target, source, false),
            Action::Init(Step::BindDevice { source, path, .. }) => (path, source, false),
            Action::Init(Step::Mask { path }) => (path, path, true),
            _ => continue,
        };
        let path = |text: &Text| clean(Path::new(text.to_string_lossy().as_ref()));
        mounts.push(ExternalMount {
            target: path(target),
            source: if mask { devices::NULL.into() } else { path(source) },
            mask,
        });
    }
    let joined: Vec<_> = namespaces
        .all_joined()
        .map(|(kind, path, field)| JoinedNamespace {
            kind,
            path: path.to_owned(),
            field: field.to_owned(),
        })
        .collect();
    if let Some(joined) = joined.iter().find(|joined| joined.kind == CGROUP) {
        let message = "CRIU cannot join a cgroup namespace";
        return Err(Error::new(ErrorKind::Unsupported, message).with_field(joined.field.clone()));
    }
    Ok(Surroundings {
        mounts,
        joined,
        own_network: namespaces.is_new(NETWORK),
        root: root_of(namespaces),
    })
}

fn root_of(namespaces: &Namespaces) -> Option<LentIdMap> {
    let root = |maps: &[IdMap]| {
        let map = maps.iter().find(|map| map.container == 0 && map.size > 0)?;
        Some(vec![IdMap { size: 1, ..*map }])
    };
    namespaces.is_new(USER).then_some(())?;
    Some(LentIdMap {
        uids: root(namespaces.uids())?,
        gids: root(namespaces.gids())?,
        recursive: false,
    })
}
