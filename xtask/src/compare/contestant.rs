//! Who takes part: runtimes with runc's command line, and the floor, which has its own.
//!
//! Lives here: how each is told to do one thing. Must not live here: what is measured, and in which order.

use crate::steps;
use crate::workspace::Scratch;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The name of the runtime that is measured against the others.
pub(crate) const OWN: &str = "runtime";
/// The name of the program that makes the least of a container.
pub(crate) const FLOOR: &str = "floor";
/// Stands in the floor's words where the id goes.
const ID: &str = "bench-id-goes-here";
/// How long a container may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// One thing that a contestant is told to do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act<'a> {
    /// A container that ends at once, from its bundle to its end.
    Run(&'a Path, &'a str),
    /// One that is a scope of systemd.
    RunScope(&'a Path, &'a str),
    /// One that stays, up to its program.
    RunDetached(&'a Path, &'a str),
    /// One with a terminal, which goes to the socket.
    RunTerminal(&'a Path, &'a str, &'a Path),
    Create(&'a Path, &'a str),
    Start(&'a str),
    State(&'a str),
    Exec(&'a str),
    Kill(&'a str),
    /// Of one that has ended.
    Delete(&'a str),
    /// Of one that runs.
    DeleteForce(&'a str),
    List,
}

/// A runtime or the floor.
#[derive(Debug)]
pub(crate) struct Contestant {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    version: String,
    state: PathBuf,
    has_exec: bool,
    /// The words for the floor's cgroups; none for a runtime.
    places: Option<Vec<String>>,
}

impl Contestant {
    /// Asks the program for its version and whether it has `exec`.
    ///
    /// # Errors
    /// It cannot be run.
    pub(crate) fn look(name: &str, path: &Path, states: &Scratch) -> Result<Contestant, String> {
        let ask = |arguments: &[&str]| {
            Command::new(path)
                .args(arguments)
                .stdin(Stdio::null())
                .output()
                .map_err(|error| format!("{name}: {}: {error}", path.display()))
        };
        let version = ask(&["--version"])?;
        let version = String::from_utf8_lossy(&version.stdout)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        Ok(Contestant {
            name: name.to_owned(),
            path: path.to_owned(),
            version,
            state: states.join(&format!("state-{name}")),
            has_exec: ask(&["exec", "--help"])?.status.success(),
            places: None,
        })
    }

    /// The floor among the fixtures' programs.
    ///
    /// # Errors
    /// This host's cgroups cannot be told.
    pub(crate) fn floor(programs: &Path, states: &Scratch) -> Result<Contestant, String> {
        let told = steps::output(Command::new(programs.join("floor-places")).arg(ID))?;
        let state = states.join("state-floor");
        std::fs::create_dir(&state).map_err(|error| format!("{}: {error}", state.display()))?;
        Ok(Contestant {
            name: FLOOR.to_owned(),
            path: programs.join("floor"),
            version: "bare system calls".to_owned(),
            state,
            has_exec: false,
            places: Some(told.lines().map(str::to_owned).collect()),
        })
    }

    /// For the report.
    pub(crate) fn about(&self) -> Value {
        json!({"name": self.name, "version": self.version, "bytes": self.bytes()})
    }

    /// What it calls itself.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// The size of its file.
    pub(crate) fn bytes(&self) -> Option<u64> {
        std::fs::metadata(&self.path).map(|file| file.len()).ok()
    }

    pub(crate) fn is_own(&self) -> bool {
        self.name == OWN
    }

    pub(crate) fn is_floor(&self) -> bool {
        self.places.is_some()
    }

    /// Its command line for this; `None` for what it cannot do.
    pub(crate) fn words(&self, act: Act<'_>) -> Option<Vec<String>> {
        match &self.places {
            Some(places) => self.floor_words(places, act),
            None => self.runtime_words(act),
        }
    }

    fn runtime_words(&self, act: Act<'_>) -> Option<Vec<String>> {
        let state = self.state.to_string_lossy();
        let mut words = vec!["--root", &state];
        let bundle: String;
        let socket: String;
        match act {
            Act::Run(dir, id) | Act::RunScope(dir, id) => {
                bundle = dir.to_string_lossy().into_owned();
                words.extend(matches!(act, Act::RunScope(..)).then_some("--systemd-cgroup"));
                words.extend(["run", "--bundle", &bundle, id]);
            }
            Act::RunDetached(dir, id) => {
                bundle = dir.to_string_lossy().into_owned();
                words.extend(["run", "--detach", "--bundle", &bundle, id]);
            }
            Act::RunTerminal(dir, id, path) => {
                bundle = dir.to_string_lossy().into_owned();
                socket = path.to_string_lossy().into_owned();
                let options = ["run", "--detach", "--console-socket", &socket];
                words.extend(options.into_iter().chain(["--bundle", &bundle, id]));
            }
            Act::Create(dir, id) => {
                bundle = dir.to_string_lossy().into_owned();
                words.extend(["create", "--bundle", &bundle, id]);
            }
            Act::Start(id) => words.extend(["start", id]),
            Act::State(id) => words.extend(["state", id]),
            Act::Exec(_) if !self.has_exec => return None,
            Act::Exec(id) => words.extend(["exec", id, "/bin/true"]),
            Act::Kill(id) => words.extend(["kill", id, "KILL"]),
            Act::Delete(id) => words.extend(["delete", id]),
            Act::DeleteForce(id) => words.extend(["delete", "--force", id]),
            Act::List => words.push("list"),
        }
        Some(words.into_iter().map(str::to_owned).collect())
    }

    fn floor_words(&self, places: &[String], act: Act<'_>) -> Option<Vec<String>> {
        let file = |id: &str, end: &str| {
            self.state
                .join(format!("{id}.{end}"))
                .to_string_lossy()
                .into_owned()
        };
        let rootfs = |bundle: &Path| bundle.join("rootfs").to_string_lossy().into_owned();
        let (id, mut words) = match act {
            Act::Run(bundle, id) => (id, vec!["run".to_owned(), id.to_owned(), rootfs(bundle)]),
            Act::Create(bundle, id) => {
                let own = [id.to_owned(), rootfs(bundle), file(id, "fifo"), file(id, "pid")];
                (id, std::iter::once("create".to_owned()).chain(own).collect())
            }
            Act::DeleteForce(id) => (id, vec!["delete".to_owned(), file(id, "pid")]),
            _ => return None,
        };
        words.extend(places.iter().map(|place| place.replace(ID, id)));
        if !matches!(act, Act::DeleteForce(_)) {
            words.extend(["--", "/bin/true"].map(str::to_owned));
        }
        Some(words)
    }

    /// Does it, unmeasured.
    ///
    /// # Errors
    /// It cannot or it failed.
    pub(crate) fn must(&self, act: Act<'_>) -> Result<(), String> {
        let words = self
            .words(act)
            .ok_or_else(|| format!("{} cannot {act:?}", self.name))?;
        // A container keeps what it inherits: a pipe would not end before it does.
        let status = Command::new(&self.path)
            .args(&words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .map_err(|error| format!("{}: {error}", self.name))?;
        if let (Act::DeleteForce(id), true) = (act, self.is_floor()) {
            self.forget(id);
        }
        match status.success() {
            true => Ok(()),
            false => Err(format!("{}: {} ended with {status}", self.name, words.join(" "))),
        }
    }

    /// Removes what the floor needs of a container after its end: the next one of this name makes it anew.
    pub(crate) fn forget(&self, id: &str) {
        let _ = std::fs::remove_file(self.state.join(format!("{id}.fifo")));
    }

    /// Ends it if it is there, and says nothing.
    pub(crate) fn sweep(&self, id: &str) {
        if let Some(words) = self.words(Act::DeleteForce(id)) {
            let mut command = Command::new(&self.path);
            command.args(words).stdin(Stdio::null());
            let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }

    /// The state of a container, as the runtime tells it.
    ///
    /// # Errors
    /// It tells none.
    pub(crate) fn state(&self, id: &str) -> Result<Value, String> {
        let words = self.words(Act::State(id)).ok_or("the floor keeps no state")?;
        let text = steps::output(Command::new(&self.path).args(words).stdin(Stdio::null()))?;
        serde_json::from_str(&text).map_err(|error| format!("{}: state: {error}", self.name))
    }

    /// Waits until a container has ended.
    ///
    /// # Errors
    /// It does not.
    pub(crate) fn wait_stopped(&self, id: &str) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while self.state(id)?["status"] != "stopped" {
            if Instant::now() > deadline {
                return Err(format!("{}: {id} does not end", self.name));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contestant(places: Option<Vec<String>>) -> Contestant {
        Contestant {
            name: "x".to_owned(),
            path: PathBuf::from("/x"),
            version: String::new(),
            state: PathBuf::from("/s"),
            has_exec: false,
            places,
        }
    }

    fn line(who: &Contestant, act: Act<'_>) -> Option<String> {
        who.words(act).map(|words| words.join(" "))
    }

    #[test]
    fn runtimes_are_told_in_the_words_of_runc() {
        let who = contestant(None);
        let bundle = Path::new("/b");
        assert_eq!(
            line(&who, Act::Run(bundle, "c")).unwrap(),
            "--root /s run --bundle /b c"
        );
        assert_eq!(
            line(&who, Act::RunScope(bundle, "c")).unwrap(),
            "--root /s --systemd-cgroup run --bundle /b c"
        );
        assert_eq!(
            line(&who, Act::RunTerminal(bundle, "c", Path::new("/t"))).unwrap(),
            "--root /s run --detach --console-socket /t --bundle /b c"
        );
        assert_eq!(line(&who, Act::Kill("c")).unwrap(), "--root /s kill c KILL");
        assert_eq!(line(&who, Act::Exec("c")), None);
    }

    #[test]
    fn the_floor_is_told_its_cgroups() {
        let who = contestant(Some(vec!["-u".to_owned(), format!("/g/{ID}")]));
        let bundle = Path::new("/b");
        assert_eq!(
            line(&who, Act::Run(bundle, "c")).unwrap(),
            "run c /b/rootfs -u /g/c -- /bin/true"
        );
        assert_eq!(
            line(&who, Act::Create(bundle, "c")).unwrap(),
            "create c /b/rootfs /s/c.fifo /s/c.pid -u /g/c -- /bin/true"
        );
        assert_eq!(
            line(&who, Act::DeleteForce("c")).unwrap(),
            "delete /s/c.pid -u /g/c"
        );
        assert_eq!(line(&who, Act::State("c")), None);
    }
}
