//! What the global options mean: where the records are, which cgroup driver, where the log goes.
//!
//! This is the first place that asks the system anything: who the caller is, for the default state directory.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use runtime_core::{CgroupDriver, Container, ContainerId, Error, ErrorKind, Result, Runtime, Trace};
use rustix::io::Errno;

use crate::args::{Flag, Matches, bad_value, parse_bool};
use crate::inherited::Inherited;
use crate::log::Log;

/// The global options.
pub(crate) const GLOBALS: &[Flag] = &[
    Flag::switch("debug", "the same as --log-level debug"),
    Flag::option(
        "log",
        "FILE",
        "append the log to this file, or to journald:NAME or syslog:NAME (default: standard error)",
    ),
    Flag::option("log-format", "FORMAT", "text or json (default: text)").choices(&["text", "json"]),
    Flag::option(
        "log-level",
        "LEVEL",
        "what is logged: error, warning or debug, each with those before it (default: warning)",
    )
    .choices(&["error", "warning", "debug"]),
    Flag::option(
        "root",
        "DIR",
        "state directory (default: /run/runtime; for users $XDG_RUNTIME_DIR/runtime; without that variable they need this option)",
    ),
    Flag::option(
        "trace",
        "FILE",
        "write how long each step took, in the runtime and in init, to this file (a new one, mode 0600)",
    ),
    Flag::option(
        "trace-format",
        "FORMAT",
        "json, for ui.perfetto.dev and chrome://tracing, or table (default: json)",
    )
    .choices(&["json", "table"]),
    Flag::switch("systemd-cgroup", "the same as --cgroup-manager systemd"),
    Flag::option(
        "cgroup-manager",
        "DRIVER",
        "cgroupfs, systemd or disabled (default: cgroupfs)",
    )
    .choices(&["cgroupfs", "systemd", "disabled"]),
    Flag::option(
        "rootless",
        "WHEN",
        "tolerate refused cgroup operations: true, false or auto (default: auto)",
    )
    .choices(&["true", "false", "auto"]),
];

/// One invocation of the program.
#[derive(Debug)]
pub(crate) struct Session {
    /// Where events and the final error go.
    pub(crate) log: Log,
    /// How long what takes, where that is asked for.
    pub(crate) trace: Trace,
    runtime: Runtime,
    root_given: bool,
    inherited: RefCell<Result<Inherited>>,
}

impl Session {
    /// Gives the global options their meaning.
    ///
    /// # Errors
    /// What is wrong with a global option, and the log to say it in.
    pub(crate) fn new(
        globals: &Matches,
        log: Log,
        inherited: Result<Inherited>,
        trace: &Trace,
    ) -> std::result::Result<Self, (Log, Error)> {
        let inherited = RefCell::new(inherited);
        match Self::meaning(globals, &log) {
            Ok(runtime) => Ok(Self {
                log,
                trace: trace.clone(),
                runtime: runtime.traced(trace),
                root_given: globals.given("root"),
                inherited,
            }),
            Err(error) => Err((log, error)),
        }
    }

    fn meaning(globals: &Matches, log: &Log) -> Result<Runtime> {
        let set = [
            ("cgroupfs", CgroupDriver::Cgroupfs),
            ("systemd", CgroupDriver::Systemd),
            ("disabled", CgroupDriver::Disabled),
        ];
        let mut driver = globals.choice("cgroup-manager", CgroupDriver::Cgroupfs, &set)?;
        if globals.has("systemd-cgroup") {
            driver = CgroupDriver::Systemd;
        }
        let rootless = match globals.value("rootless") {
            None => None,
            Some(value) if value.eq_ignore_ascii_case("auto") => None,
            Some(value) => {
                Some(parse_bool(value).ok_or_else(|| bad_value("rootless", value, "true, false, auto"))?)
            }
        };
        let root = if globals.given("root") {
            explicit_root(globals)?
        } else {
            default_root()?
        };
        log.debug(format_args!("state directory {}", root.display()));
        Ok(Runtime::new(root).cgroup_driver(driver).rootless(rootless))
    }

    /// The runtime. Commands that look at or end what exists follow the container's record, whatever driver the caller
    /// names.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The container of an id.
    pub(crate) fn container(&self, id: &ContainerId) -> Result<Container> {
        self.runtime.container(id)
    }

    /// Adds what can be done about a state directory that only root may use.
    pub(crate) fn explained(&self, error: Error) -> Error {
        let root = format!("(\"{}", self.runtime.root().display());
        let refused = [Errno::ACCESS, Errno::PERM, Errno::ROFS].map(|errno| Some(errno.raw_os_error()));
        let is_it = refused.contains(&error.errno()) && error.call().is_some_and(|call| call.contains(&root));
        let root_is_roots = || !self.root_given && is_a_user() && runtime_directory().is_none();
        if is_it && root_is_roots() {
            return error.with_hint(
                "set XDG_RUNTIME_DIR to a directory of the user, as a login session does, or give --root DIR",
            );
        }
        error
    }

    /// The descriptors for the container, once.
    pub(crate) fn take_inherited(&self) -> Result<Inherited> {
        self.inherited.replace(Ok(Inherited::default()))
    }

    /// Whether the caller chose the state directory.
    pub(crate) fn root_given(&self) -> bool {
        self.root_given
    }

    /// Shows what was odd about the configuration, and tells who debugs that the container's first half is done, in the
    /// words of runc that are looked for in logs (debug.bats, seccomp.bats). Both are true once create has returned: init is in its namespaces and has reported itself ready.
    pub(crate) fn set_up(&self, container: &Container) {
        for warning in container.warnings() {
            self.log.warn(format_args!("{warning}"));
        }
        if let Some(pid) = self.pid_for_debug(container) {
            self.log.debug(format_args!(
                "nsexec container setup: pid {pid} is in its namespaces"
            ));
            self.log.debug(format_args!(
                "child process in init(): pid {pid} has set the container up"
            ));
            if let Some(flags) = container.filter_flags() {
                self.log.debug(format_args!("seccomp filter flags: {flags}"));
            }
        }
    }

    /// The second half: end of file on init's socket, by close-on-exec, is what start waits for.
    pub(crate) fn running(&self, container: &Container) {
        if let Some(pid) = self.pid_for_debug(container) {
            self.log.debug(format_args!(
                "init: closing the pipe to signal completion: pid {pid} is the program now"
            ));
        }
    }

    fn pid_for_debug(&self, container: &Container) -> Option<i32> {
        if !self.log.is_debug() {
            return None;
        }
        // What create noted: a short program has ended by now, and a state has no pid of it.
        container.pid()
    }

    /// The directory of a container's record.
    pub(crate) fn container_dir(&self, id: &ContainerId) -> PathBuf {
        self.runtime.root().join(id.as_str())
    }
}

/// The directory of --root, absolute and without dots.
fn explicit_root(globals: &Matches) -> Result<PathBuf> {
    let typed = globals.value("root").unwrap_or(OsStr::new("."));
    let root = absolute(Path::new(typed))?;
    if root == Path::new("/") {
        // An empty value, "." in / and "../.." end here too; runc's words.
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "Option --root argument should not be set to /",
        )
        .with_hint("allowed is any other directory; a tmpfs is best"));
    }
    Ok(root)
}

/// The path from / on, with dots resolved by their text alone, as runc does.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    let absolute =
        std::path::absolute(path).map_err(|error| Error::os(format!("getcwd() for {path:?}"), error))?;
    let mut clean = PathBuf::from("/");
    for part in absolute.components() {
        match part {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            std::path::Component::Normal(name) => clean.push(name),
            _ => {}
        }
    }
    Ok(clean)
}

/// /run/runtime for root, $XDG_RUNTIME_DIR/runtime for users.
fn default_root() -> Result<PathBuf> {
    match runtime_directory().filter(|_| is_a_user()) {
        Some(dir) => {
            let root = dir.join("runtime");
            make_sticky(&root)?;
            Ok(root)
        }
        None => Ok(PathBuf::from("/run/runtime")),
    }
}

/// Who may not write /run: because of the uid, or because root here is only root of a user namespace that does not own /run.
fn is_a_user() -> bool {
    let owns_run = || std::fs::metadata("/run").is_ok_and(|run| run.uid() == 0);
    !rustix::process::geteuid().is_root() || !owns_run()
}

fn runtime_directory() -> Option<PathBuf> {
    let xdg = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    xdg.map(PathBuf::from)
}

/// Makes the directory with the sticky bit, which keeps it from being pruned (XDG Base Directory Specification).
fn make_sticky(dir: &Path) -> Result<()> {
    let hint = "$XDG_RUNTIME_DIR must be a directory that the user can write to";
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| Error::os(format!("mkdir({dir:?}, 0700)"), error).with_hint(hint))?;
    std::fs::set_permissions(dir, Permissions::from_mode(0o1700))
        .map_err(|error| Error::os(format!("chmod({dir:?}, 01700)"), error).with_hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_resolved_by_text() {
        for (typed, clean) in [
            ("/a/../b/./c", "/b/c"),
            ("/..", "/"),
            ("/a//b/", "/a/b"),
            ("/../../a", "/a"),
        ] {
            assert_eq!(
                absolute(Path::new(typed)).ok(),
                Some(PathBuf::from(clean)),
                "{typed}"
            );
        }
    }
}
