//! What a test's body can call: one folder, one `--root`, one container id, and the runtime with a deadline.
//!
//! Lives here: everything that every chapter needs, so that a body is a few lines. Must not live here: sentences of the
//! specification. Every command is bounded by the test's deadline, every container's cgroup lies in the suite's own
//! folder, and [`Case::clean_up`] runs whether the body passed or not.

use crate::command::{self, Finished, Running};
use crate::host::Host;
use crate::ids::Who;
use crate::leftovers;
use crate::suite::{Check, Failure, ensure};
use fixtures::{Bundle, Report, config};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Time that the cleanup of one test may take.
const CLEANUP_LIMIT: Duration = Duration::from_secs(12);
/// Time between two looks at something that is not ready.
const PAUSE: Duration = Duration::from_millis(5);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// One test's surroundings.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    host: &'a Host,
    runtime: &'a Path,
    dir: PathBuf,
    id: String,
    deadline: Instant,
    ids: RefCell<Vec<String>>,
    commands: Cell<u32>,
    bundles: Cell<u32>,
    host_mounts: RefCell<Vec<PathBuf>>,
    note: RefCell<String>,
    oci_version: Option<&'static str>,
}

impl<'a> Case<'a> {
    /// Makes the folder.
    pub(crate) fn new(host: &'a Host, runtime: &'a Path, limit: Duration) -> std::io::Result<Case<'a>> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("cf-{}-{number:04}", std::process::id());
        let dir = host.work.join(number.to_string());
        std::fs::create_dir_all(&dir)?;
        let dir = dir.canonicalize()?;
        let ids = RefCell::new(vec![id.clone()]);
        let deadline = Instant::now() + limit;
        let host_mounts = RefCell::default();
        Ok(Case {
            host,
            runtime,
            dir,
            id,
            deadline,
            ids,
            commands: Cell::new(0),
            bundles: Cell::new(0),
            host_mounts,
            note: RefCell::default(),
            oci_version: None,
        })
    }

    /// The container's id, unique on the machine.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// One more id, cleaned up like the first.
    pub(crate) fn second_id(&self, suffix: &str) -> String {
        let id = format!("{}{suffix}", self.id);
        self.ids.borrow_mut().push(id.clone());
        id
    }

    /// Writes this version into configurations: one that old runtimes take too, so that they do not refuse an attack for
    /// its number.
    pub(crate) fn set_oci_version(&mut self, version: &'static str) {
        self.oci_version = Some(version);
    }

    /// Something to tell beside the verdict, such as how often a race was run.
    pub(crate) fn note(&self, text: String) {
        *self.note.borrow_mut() = text;
    }

    /// What was told.
    pub(crate) fn noted(&self) -> String {
        self.note.borrow().clone()
    }

    /// How many containers a race may take.
    pub(crate) fn race_runs(&self) -> u32 {
        self.host.race_runs
    }

    /// The test's own folder, on the host.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The `--root` of every command.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Gives the container `id` its cgroup, where it can have one. Without one a user's container has no limits either,
    /// as in what `spec --rootless` writes.
    pub(crate) fn set_cgroup(&self, config: &mut Value, id: &str) {
        match self.host.place.cgroups_path(id) {
            Some(path) => config["linux"]["cgroupsPath"] = path.into(),
            None => {
                if let Some(linux) = config["linux"].as_object_mut() {
                    linux.remove("resources");
                }
            }
        }
    }

    /// Whether containers are scopes of systemd.
    pub(crate) fn is_systemd(&self) -> bool {
        self.host.place.is_systemd()
    }

    /// The container's cgroup below a hierarchy's mount point.
    pub(crate) fn cgroup_below(&self, mount_point: &Path) -> PathBuf {
        self.host.place.below(mount_point, &self.id)
    }

    /// Controllers that a user was given.
    pub(crate) fn controllers(&self) -> &[String] {
        self.host.place.controllers().unwrap_or_default()
    }

    /// In whose name containers are made.
    pub(crate) fn who(&self) -> &Who {
        &self.host.who
    }

    /// Gives a path of the test's folder to a user and a group of the container, which is in a user namespace made by
    /// [`Who::with_user_namespace`] when `mapped` says so, and always for callers without root.
    pub(crate) fn chown(&self, path: &Path, id: u32, mapped: bool) -> Check {
        if self.who().is_root() {
            let [uid, gid] = if mapped { self.who().on_host(id) } else { [id, id] };
            return Ok(std::os::unix::fs::chown(path, Some(uid), Some(gid))?);
        }
        let script = format!("chown {id}:{id} '{}'", text(path));
        self.who().as_mapped_root(&script).map_err(Failure::Failed)
    }

    /// A bundle of the default configuration, edited; each call makes another one.
    pub(crate) fn bundle(&self, args: &[&str], edit: impl FnOnce(&mut Value)) -> Check<Bundle> {
        let made = self.bundles.get();
        self.bundles.set(made + 1);
        let name = match made {
            0 => "bundle".to_owned(),
            number => format!("bundle-{number}"),
        };
        self.bundle_for(&name, &self.id, args, edit)
    }

    /// A bundle in the folder `name` for the container `id`.
    pub(crate) fn bundle_for(
        &self,
        name: &str,
        id: &str,
        args: &[&str],
        edit: impl FnOnce(&mut Value),
    ) -> Check<Bundle> {
        let mut config = config::container(args);
        self.host.who.fit(&mut config);
        self.set_cgroup(&mut config, id);
        if let Some(version) = self.oci_version {
            config["ociVersion"] = version.into();
        }
        edit(&mut config);
        let builder = Bundle::builder(self.dir.join(name))
            .template(&self.host.template)
            .config(config);
        Ok(builder.build()?)
    }

    /// The runtime with `--root` and `args`, not started yet.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = command::plain(self.runtime);
        command.args(self.globals()).args(args).current_dir(&self.dir);
        command
    }

    /// The options in front of each command.
    fn globals(&self) -> Vec<String> {
        let systemd = self.is_systemd().then(|| "--systemd-cgroup".to_owned());
        let root = ["--root".to_owned(), text(&self.root())];
        let given = self.host.globals.iter().cloned();
        systemd.into_iter().chain(given).chain(root).collect()
    }

    /// The runtime and those options, for a shell; the suite's paths hold nothing that a shell would change.
    pub(crate) fn shell_words(&self) -> String {
        format!("{} {}", text(self.runtime), self.globals().join(" "))
    }

    /// The runtime's path.
    pub(crate) fn runtime_path(&self) -> &Path {
        self.runtime
    }

    /// Starts a command with this test's deadline.
    pub(crate) fn start_command(&self, command: Command, what: &str) -> Check<Running> {
        self.start_until(command, what, self.deadline)
    }

    /// Starts a command that must end within `limit`, if the test's own deadline does not come first.
    pub(crate) fn start_within(&self, command: Command, what: &str, limit: Duration) -> Check<Running> {
        self.start_until(command, what, self.deadline.min(Instant::now() + limit))
    }

    fn start_until(&self, command: Command, what: &str, deadline: Instant) -> Check<Running> {
        let number = self.commands.get();
        self.commands.set(number + 1);
        command::start(
            command,
            what,
            &self.dir.join(format!("command-{number}")),
            deadline,
        )
    }

    /// Runs the runtime with `args` to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Check<Finished> {
        self.start_command(self.command(args), &args.join(" "))?.finish()
    }

    /// `create` of `bundle`, whatever comes.
    pub(crate) fn try_create(&self, bundle: &Bundle) -> Check<Finished> {
        self.run(&["create", "--bundle", &text(bundle.dir()), &self.id])
    }

    /// `create` that must succeed.
    pub(crate) fn create(&self, bundle: &Bundle) -> Check<Finished> {
        self.try_create(bundle)?.ok()
    }

    /// `run` of `bundle` in the foreground, whatever comes.
    pub(crate) fn try_run(&self, bundle: &Bundle) -> Check<Finished> {
        self.run(&["run", "--bundle", &text(bundle.dir()), &self.id])
    }

    /// `run --detach` that must succeed.
    pub(crate) fn run_detached(&self, bundle: &Bundle) -> Check<Finished> {
        self.run(&["run", "--detach", "--bundle", &text(bundle.dir()), &self.id])?
            .ok()
    }

    /// `start` that must succeed.
    pub(crate) fn start(&self) -> Check<Finished> {
        self.run(&["start", &self.id])?.ok()
    }

    /// `VERB ID` that must succeed.
    pub(crate) fn verb(&self, verb: &str) -> Check<Finished> {
        self.run(&[verb, &self.id])?.ok()
    }

    /// Sends SIGKILL and waits for the end.
    pub(crate) fn kill_and_wait(&self) -> Check {
        self.run(&["kill", &self.id, "KILL"])?.ok()?;
        self.wait_for("stopped")
    }

    /// The state document of `id`.
    pub(crate) fn state_of(&self, id: &str) -> Check<Value> {
        Ok(serde_json::from_str(&self.run(&["state", id])?.ok()?.stdout)?)
    }

    /// The state document.
    pub(crate) fn state(&self) -> Check<Value> {
        self.state_of(&self.id)
    }

    /// The container's process id, on the host.
    pub(crate) fn pid(&self) -> Check<i64> {
        let state = self.state()?;
        state["pid"]
            .as_i64()
            .filter(|pid| *pid > 0)
            .ok_or_else(|| Failure::Failed(format!("no pid in {state}")))
    }

    /// Waits for a status.
    pub(crate) fn wait_for(&self, status: &str) -> Check {
        self.until(&format!("status {status}"), || {
            Ok(self.state()?["status"] == status)
        })
    }

    /// Waits until `ready` says so, at most until the deadline.
    pub(crate) fn until(&self, what: &str, mut ready: impl FnMut() -> Check<bool>) -> Check {
        while !ready()? {
            ensure!(
                Instant::now() < self.deadline,
                "did not come within the test's time limit: {what}"
            );
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Time left for the body.
    pub(crate) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Runs the probe with options in the default configuration, edited, and returns what it saw.
    pub(crate) fn probe(&self, options: &[&str], edit: impl FnOnce(&mut Value)) -> Check<Report> {
        let args: Vec<&str> = std::iter::once("/bin/probe")
            .chain(options.iter().copied())
            .collect();
        let bundle = self.bundle(&args, edit)?;
        self.probe_in(&bundle)
    }

    /// Runs a bundle whose program is the probe.
    pub(crate) fn probe_in(&self, bundle: &Bundle) -> Check<Report> {
        parse(&self.try_run(bundle)?.ok()?.stdout)
    }

    /// Runs a shell script in the default configuration, edited, and returns its stdout.
    pub(crate) fn shell(&self, script: &str, edit: impl FnOnce(&mut Value)) -> Check<String> {
        let bundle = self.bundle(&["/bin/sh", "-c", script], edit)?;
        Ok(self.try_run(&bundle)?.ok()?.stdout.trim().to_owned())
    }

    /// `create` must be refused in words and leave nothing.
    pub(crate) fn refused(&self, bundle: &Bundle) -> Check<Finished> {
        let finished = self.try_create(bundle)?.refused()?;
        self.nothing_left()?;
        Ok(finished)
    }

    /// Demands that no trace of the container is left, before any cleanup by the suite.
    pub(crate) fn nothing_left(&self) -> Check {
        let left = self.left(&self.id);
        ensure!(left.is_empty(), "left behind: {}", short(&left));
        Ok(())
    }

    /// Traces of `id`, and mounts that the test did not make itself.
    fn left(&self, id: &str) -> Vec<String> {
        let own = self.host_mounts.borrow();
        let mounts = leftovers::mounts_below(&self.dir)
            .into_iter()
            .filter(|point| !own.contains(&PathBuf::from(point)));
        leftovers::find(id, &self.root())
            .into_iter()
            .chain(mounts.map(|point| format!("mount {point}")))
            .collect()
    }

    /// Mounts a tmpfs in the test's folder on the host; the cleanup unmounts it.
    pub(crate) fn host_tmpfs(&self, name: &str) -> Check<PathBuf> {
        let path = self.dir.join(name);
        std::fs::create_dir_all(&path)?;
        rustix::mount::mount("tmpfs", &path, "tmpfs", rustix::mount::MountFlags::empty(), None)
            .map_err(|errno| Failure::Failed(format!("host tmpfs on {}: {errno}", path.display())))?;
        self.host_mounts.borrow_mut().push(path.clone());
        Ok(path)
    }

    /// What belongs to other ids of the caller's is removed in their name.
    fn remove_dir(&self) -> Result<(), String> {
        let Err(error) = std::fs::remove_dir_all(&self.dir) else {
            return Ok(());
        };
        let error = format!("{}: {error}", self.dir.display());
        if self.who().is_root() || self.who().lacks_ids().is_some() {
            return Err(error);
        }
        self.who()
            .as_mapped_root(&format!("rm -rf '{}'", text(&self.dir)))
            .map_err(|again| format!("{error}; {again}"))
    }

    /// Deletes the containers by force, reports what is left after that, and clears it.
    pub(crate) fn clean_up(self, keep: bool) -> Result<(), String> {
        let deadline = Instant::now() + CLEANUP_LIMIT;
        let mut left = Vec::new();
        for id in self.ids.borrow().iter().rev() {
            if !self.left(id).is_empty() {
                let args = ["delete", "--force", id];
                let forced = self.start_until(self.command(&args), &args.join(" "), deadline);
                // Its failure shows as something left.
                let _ = forced.and_then(Running::finish);
            }
            left.extend(self.left(id));
            leftovers::clear(id, &self.dir);
        }
        if !keep {
            self.remove_dir()?;
        }
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("left behind after delete --force: {}", short(&left)))
        }
    }
}

/// The first of several things, and how many there are.
fn short(things: &[String]) -> String {
    let first = things.first().map(String::as_str).unwrap_or_default();
    if things.len() < 2 {
        first.to_owned()
    } else {
        format!("{first} and {} more", things.len() - 1)
    }
}

/// A path as text; the suite's own paths are ASCII.
pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Reads a probe's report.
pub(crate) fn parse(text: &str) -> Check<Report> {
    serde_json::from_str(text)
        .map_err(|error| Failure::Failed(format!("no report of the probe ({error}): {text:?}")))
}
