//! From a process of ours to the container's program: terminal, limits, identity, capabilities, seccomp, exec.

use std::path::Path;

use oci_spec::runtime::{Linux, Process};
use runtime_core_program::Text;
use runtime_core_program::step::NO_HOME;

use super::create::{PlanRequest, StartBy, text, texts};
use super::labels::Labels;
use super::namespaces::Namespaces;
use super::rlimits;
use super::schedule::{FdName, ParentStep, Schedule, Step};
use super::scheduling::{self, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::seccomp::Filter;
use crate::spec::Warning;
use crate::spec::capability::{self, CapabilityMasks};

/// Where a program without PATH in its environment is searched, as runc does.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The umask of a process whose configuration names none (runc's).
const DEFAULT_UMASK: u32 = 0o022;

/// What a program gets beside its configuration.
#[derive(Debug)]
pub(super) struct Given<'a> {
    /// The container's id, which names the keyring.
    pub(super) id: &'a ContainerId,
    /// Which of the three standard descriptors the caller provides.
    pub(super) stdio: [bool; 3],
    /// The socket that gets the terminal's master; None: the caller keeps it.
    pub(super) console_socket: Option<&'a Path>,
    /// How many descriptors the program gets above the standard ones.
    pub(super) preserve_fds: u32,
    /// How many of them are LISTEN_FDS.
    pub(super) listen_fds: u32,
    /// Their names.
    pub(super) listen_fd_names: Option<&'a str>,
    /// Whether it has a notify socket of its own.
    pub(super) notify: bool,
    /// Leave the keyring.
    pub(super) no_new_keyring: bool,
    /// What all programs of the container share.
    pub(super) shared: Shared<'a>,
}

impl<'a> Given<'a> {
    /// What the first program of a container gets.
    pub(super) fn at_create(request: &'a PlanRequest, linux: Option<&'a Linux>) -> Self {
        Self {
            id: &request.id,
            stdio: request.stdio,
            console_socket: request.console_socket.as_deref(),
            preserve_fds: request.preserve_fds,
            listen_fds: request.listen_fds,
            listen_fd_names: request.listen_fd_names.as_deref(),
            notify: request.notify_dir.is_some(),
            no_new_keyring: request.no_new_keyring,
            shared: Shared::of(linux),
        }
    }
}

/// What the last part of the schedule is planned from.
pub(super) struct Program<'a> {
    process: &'a Process,
    given: Given<'a>,
    env: Vec<String>,
    labels: Labels<'a>,
    filter: Option<&'a Filter>,
    can_set_groups: bool,
    parent_sets_limits: bool,
}

impl<'a> Program<'a> {
    pub(super) fn of(
        process: &'a Process,
        given: Given<'a>,
        labels: Labels<'a>,
        namespaces: &Namespaces,
        filter: Option<&'a Filter>,
    ) -> Self {
        let mut env = deduplicated(process.env().as_deref().unwrap_or_default());
        // systemd's protocol: the program is pid 1 of its own world, or at least the one that was meant.
        if given.listen_fds > 0 {
            env.push(format!("LISTEN_FDS={}", given.listen_fds));
            env.push("LISTEN_PID=1".to_owned());
            env.extend(
                given
                    .listen_fd_names
                    .map(|names| format!("LISTEN_FDNAMES={names}")),
            );
        }
        if given.notify {
            env.retain(|entry| !entry.starts_with("NOTIFY_SOCKET="));
            env.push("NOTIFY_SOCKET=/run/notify/notify.sock".to_owned());
        }
        Self {
            process,
            given,
            env,
            labels,
            filter,
            can_set_groups: namespaces.can_set_groups(),
            parent_sets_limits: namespaces.parent_sets_limits(),
        }
    }

    /// The environment that the configuration and the protocols give, without HOME where that is looked up.
    pub(super) fn env(&self) -> Vec<String> {
        self.env
            .iter()
            .filter(|entry| *entry != "HOME=")
            .cloned()
            .collect()
    }

    /// The uid whose home directory is looked up; [`NO_HOME`] where HOME is set.
    pub(super) fn home(&self) -> u32 {
        let given = self
            .env
            .iter()
            .any(|entry| entry.len() > "HOME=".len() && entry.starts_with("HOME="));
        if given { NO_HOME } else { self.process.user().uid() }
    }

    /// Ambient capabilities that the kernel will refuse (capabilities(7)); they are left out, as runc does.
    pub(super) fn unraisable(&self) -> impl Iterator<Item = Warning> {
        let masks = CapabilityMasks::of(self.process.capabilities().as_ref());
        let refused = masks.ambient & !(masks.permitted & masks.inheritable);
        (0..=capability::LAST)
            .filter(move |number| refused & 1 << number != 0)
            .map(|number| {
                let name = capability::name(number).unwrap_or("of that number");
                Warning::new(
                    "process.capabilities.ambient",
                    format!(
                        "can't raise ambient capability {name}: it is not both permitted and inheritable"
                    ),
                )
            })
    }

    fn no_new_privileges(&self) -> bool {
        self.process.no_new_privileges().unwrap_or(false)
    }

    /// The OOM score, while init is still who its parent is: raising it is everybody's right, lowering it the parent's.
    pub(super) fn oom_score(&self, schedule: &mut Schedule) {
        let Some(value) = self.process.oom_score_adj() else {
            return;
        };
        let field = "process.oomScoreAdj";
        if self.parent_sets_limits {
            schedule.parent(ParentStep::OomScore { value }, field);
        } else if let Some(path) = Text::new("/proc/self/oom_score_adj") {
            schedule.init(
                Step::WriteSelf {
                    path,
                    value: value.to_string().into_bytes(),
                },
                field,
            );
        }
    }

    /// Resource limits: the last thing before the identity changes, so that init itself is not hit by them.
    fn limits(&self, schedule: &mut Schedule) {
        let limits = self
            .process
            .rlimits()
            .iter()
            .flatten()
            .enumerate()
            .map(|(position, limit)| {
                let (name, resource) = rlimits::of(limit.typ());
                (
                    name,
                    resource,
                    limit.soft(),
                    limit.hard(),
                    format!("process.rlimits[{position}]"),
                )
            });
        if !self.parent_sets_limits {
            for (_, resource, soft, hard, field) in limits {
                schedule.init(Step::Rlimit { resource, soft, hard }, field);
            }
            return;
        }
        let steps: Vec<_> = limits
            .map(|(name, resource, soft, hard, field)| {
                (
                    ParentStep::Rlimit {
                        resource,
                        name: name.to_owned(),
                        soft,
                        hard,
                    },
                    field,
                )
            })
            .collect();
        if !steps.is_empty() {
            schedule.barrier("process.rlimits", steps);
        }
    }

    /// The standard descriptors.
    pub(super) fn stdio(&self, schedule: &mut Schedule) {
        if !self.process.terminal().unwrap_or(false) && self.given.stdio.iter().any(|given| *given) {
            let name = |number: u8| {
                let given = self
                    .given
                    .stdio
                    .get(usize::from(number))
                    .copied()
                    .unwrap_or(false);
                if given {
                    FdName::Standard(number)
                } else {
                    FdName::Absent
                }
            };
            schedule.init(
                Step::Stdio {
                    input: name(0),
                    output: name(1),
                    error: name(2),
                },
                "(caller's descriptors)",
            );
        }
    }

    /// The terminal, once /dev/pts is there.
    pub(super) fn terminal(&self, schedule: &mut Schedule, bind: bool) -> Result<()> {
        if !self.process.terminal().unwrap_or(false) {
            schedule.init(Step::ReopenNull {}, "(caller's descriptors)");
            return Ok(());
        }
        let size = |number: u64, field: &str| {
            u16::try_from(number).map(u32::from).map_err(|_| {
                Error::spec(
                    format!("process.consoleSize.{field}"),
                    format!("{number} is more than 65535"),
                )
            })
        };
        let console = self.process.console_size();
        let (rows, columns) = match console {
            Some(console) => (size(console.height(), "height")?, size(console.width(), "width")?),
            None => (0, 0),
        };
        schedule.init(
            Step::Console {
                bind,
                rows,
                columns,
                uid: self.process.user().uid(),
            },
            "process.terminal",
        );
        schedule.parent(
            ParentStep::PassTerminal {
                socket: self
                    .given
                    .console_socket
                    .map(|path| path.to_string_lossy().into_owned()),
            },
            "process.terminal",
        );
        Ok(())
    }

    /// The working directory, made where it is missing, while the root can still be written to (as runc does).
    pub(super) fn make_cwd(&self, schedule: &mut Schedule) -> Result<()> {
        let path = text("process.cwd", &self.process.cwd().to_string_lossy())?;
        schedule.init(Step::MakeDir { path, mode: 0o755 }, "process.cwd");
        Ok(())
    }

    /// Who the program is: everything between the finished root and the loss of privileges.
    pub(super) fn identity(&self, schedule: &mut Schedule) -> Result<()> {
        self.settings(schedule)?;
        self.user(schedule)
    }

    /// What holds for the process whoever it becomes.
    fn settings(&self, schedule: &mut Schedule) -> Result<()> {
        let process = self.process;
        if !self.given.no_new_keyring {
            let name = format!("_ses.{}", self.given.id);
            let name = text("(keyring)", &name)?;
            self.labels.keyring(schedule, Step::NewKeyring { name })?;
        }
        self.labels.at_exec(schedule)?;
        if self.no_new_privileges() {
            schedule.init(Step::NoNewPrivs {}, "process.noNewPrivileges");
        }
        scheduling::set(schedule, process, self.given.shared)
    }

    /// User, groups, and what must be done on the border between two users.
    fn user(&self, schedule: &mut Schedule) -> Result<()> {
        let process = self.process;
        let user = process.user();
        let masks = CapabilityMasks::of(process.capabilities().as_ref());
        let cwd = text("process.cwd", &process.cwd().to_string_lossy())?;
        schedule.init(
            Step::LimitBounding { keep: masks.bounding },
            "process.capabilities.bounding",
        );
        // With every right first: the user may lack them. Without them next: the mount may ask for the user's.
        schedule.init(
            Step::WorkDir {
                path: cwd.clone(),
                may_fail: true,
            },
            "process.cwd",
        );
        schedule.init(Step::OwnStdio { uid: user.uid() }, "process.user.uid");
        self.limits(schedule);
        let groups = user.additional_gids().as_deref().unwrap_or_default();
        if !self.can_set_groups && !groups.is_empty() {
            return Err(Error::spec(
                "process.user.additionalGids",
                "an unprivileged user namespace of one group cannot have additional groups",
            )
            .with_kind(ErrorKind::Permission)
            .with_hint("map a range of groups (/etc/subgid) so that newgidmap writes the map"));
        }
        schedule.init(
            Step::User {
                uid: user.uid(),
                gid: user.gid(),
                groups: groups.iter().map(|group| u64::from(*group)).collect(),
                set_groups: self.can_set_groups,
            },
            "process.user",
        );
        schedule.init(
            Step::WorkDir {
                path: cwd,
                may_fail: false,
            },
            "process.cwd",
        );
        schedule.init(
            Step::Umask {
                mask: user.umask().unwrap_or(DEFAULT_UMASK),
            },
            "process.user.umask",
        );
        Ok(())
    }

    /// Gives the privileges up and looks for the program with what is left of them.
    pub(super) fn drop_privileges(&self, schedule: &mut Schedule) -> Result<()> {
        let process = self.process;
        let masks = CapabilityMasks::of(process.capabilities().as_ref());
        // Without no_new_privs the kernel wants CAP_SYS_ADMIN for a filter: it goes in before the capabilities go.
        if !self.no_new_privileges() {
            self.seccomp(schedule);
        }
        schedule.init(
            Step::Capabilities {
                effective: masks.effective,
                permitted: masks.permitted,
                inheritable: masks.inheritable,
                ambient: masks.ambient,
            },
            "process.capabilities",
        );
        let args = process.args().as_deref().unwrap_or_default();
        let name = args
            .first()
            .ok_or_else(|| Error::spec("process.args", "the list is empty"))?;
        let search = self
            .env
            .iter()
            .find_map(|entry| entry.strip_prefix("PATH="))
            .unwrap_or(DEFAULT_PATH);
        schedule.init(
            Step::FindProgram {
                name: text("process.args[0]", name)?,
                search: text("process.env", search)?,
            },
            "process.args[0]",
        );
        if self.given.preserve_fds > 0 {
            let fds = (0..self.given.preserve_fds).map(FdName::Preserved).collect();
            schedule.init(Step::PlaceFds { fds }, "(--preserve-fds)");
        }
        Ok(())
    }

    fn seccomp(&self, schedule: &mut Schedule) {
        if let Some(filter) = self.filter {
            schedule.init(
                Step::Seccomp {
                    filter: filter.program.clone(),
                    flags: filter.flags,
                },
                "linux.seccomp",
            );
            if let Some(agent) = &filter.agent {
                let agent = agent.clone();
                schedule.parent(ParentStep::PassListener { agent }, "linux.seccomp.listenerPath");
            }
        }
    }

    /// The moment when the container is created.
    pub(super) fn created(&self, schedule: &mut Schedule, start_by: StartBy) {
        let listener = match start_by {
            StartBy::Socket => FdName::Listener,
            StartBy::Caller => FdName::Absent,
        };
        schedule.init(Step::WaitStart { listener }, "(start)");
    }

    /// The filter, where it needs no privilege: then it goes in as late as possible.
    pub(super) fn late_filter(&self, schedule: &mut Schedule) {
        if self.no_new_privileges() {
            self.seccomp(schedule);
        }
    }

    /// The program itself.
    pub(super) fn execute(&self, schedule: &mut Schedule) -> Result<()> {
        let args = self.process.args().as_deref().unwrap_or_default();
        schedule.init(
            Step::Exec {
                args: texts("process.args", args)?,
                env: texts("process.env", &self.env())?,
                home: self.home(),
                keep: self.given.preserve_fds,
            },
            "process.args",
        );
        Ok(())
    }
}

/// The last entry of a name wins and stands where the first one stood, as runc has it.
fn deduplicated(env: &[String]) -> Vec<String> {
    let mut names: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
    let mut kept: Vec<String> = Vec::with_capacity(env.len());
    for entry in env {
        let name = entry.split_once('=').map_or(entry.as_str(), |(name, _)| name);
        match names.get(name).and_then(|at| kept.get_mut(*at)) {
            Some(earlier) => entry.clone_into(earlier),
            None => {
                names.insert(name, kept.len());
                kept.push(entry.clone());
            }
        }
    }
    kept
}
