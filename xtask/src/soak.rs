//! `cargo xtask soak`: thousands of containers and execs, then a look at what is left.
//!
//! Lives here: the commands and the counting of remains. Must not live here: time limits or figures that pass or fail
//! (see `compare`): only a remnant or a failed command fails.
//!
//! What belongs to the soak is known by its folder and its ids: processes by their mounts, mounts by their source,
//! cgroups and files by their names. Orphans become children of this process (it is a subreaper), so none can hide.

mod crowd;
mod random;

use crate::workspace::{Scratch, build_release, programs};
use crate::{Outcome, bundle, host, steps};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Lives or execs without an option.
const ROUNDS: usize = 10_000;
/// Commands at once.
const WORKERS: usize = 4;
/// How long the kernel may take to end what was killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs it and prints what was done and what is left.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let options = options(words)?;
    if !host::is_root() {
        return Err("soak: has to run as root: it looks into all processes and cgroups".to_owned());
    }
    nix::sys::prctl::set_child_subreaper(true).map_err(|errno| format!("subreaper: {errno}"))?;
    if let Some(lives) = options.random {
        host::install(&host::Need::ALL)?;
        return random::run(lives, options.seed);
    }
    let (folder, runtime) = match options.programs {
        Some(folder) => {
            let runtime = options.runtime.unwrap_or_else(|| folder.join("runtime"));
            (folder, runtime)
        }
        None => built(options.runtime)?,
    };
    let soak = Soak::new(runtime, options.systemd)?;
    let outcome = match options.together {
        Some(count) => soak.crowd(&folder, count),
        None => soak.all(&folder, options.rounds),
    };
    // Whatever happened: nothing of it may live on.
    for id in soak.known() {
        let _ = soak.command(&["delete", "--force", &id]);
    }
    // What a command that failed leaves is worth knowing, too.
    let clean = soak.is_clean();
    outcome?;
    Ok(clean)
}

/// Builds for release; the folder of the programs, and the runtime in it unless another is to be tried.
fn built(runtime: Option<PathBuf>) -> Result<(PathBuf, PathBuf), String> {
    host::install(&host::Need::ALL)?;
    build_release(&["--package", "fixtures", "--bins"])?;
    let release = programs("release")?;
    let runtime = match runtime {
        Some(path) => path,
        None => {
            build_release(&["--package", "runtime-cli"])?;
            release.join("runtime")
        }
    };
    Ok((release, runtime))
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    rounds: usize,
    /// Containers at the same time, instead of lives and execs.
    together: Option<usize>,
    /// Lives by chance in a program that embeds the library, instead.
    random: Option<usize>,
    /// What the chances of those come from; None: from the clock.
    seed: Option<usize>,
    systemd: bool,
    runtime: Option<PathBuf>,
    /// Where the programs lie that were built already: nothing is built or installed, as in a guest without cargo.
    programs: Option<PathBuf>,
}

fn options(words: &[&str]) -> Result<Options, String> {
    let mut options = Options {
        rounds: ROUNDS,
        together: None,
        random: None,
        seed: None,
        systemd: false,
        runtime: None,
        programs: None,
    };
    let mut words = words.iter();
    while let Some(option) = words.next() {
        let mut value = || words.next().ok_or(format!("soak: {option} needs a value"));
        let number = |value: &str| {
            let number = value.parse().ok().filter(|number: &usize| *number > 0);
            number.ok_or(format!("soak: {option} {value:?} is not a number above 0"))
        };
        match *option {
            "--rounds" => options.rounds = number(value()?)?,
            "--together" => options.together = Some(number(value()?)?),
            "--random" => options.random = Some(number(value()?)?),
            "--seed" => options.seed = Some(number(value()?)?),
            "--systemd-cgroup" => options.systemd = true,
            "--runtime" => options.runtime = Some(PathBuf::from(value()?)),
            "--programs" => options.programs = Some(PathBuf::from(value()?)),
            other => {
                return Err(format!(
                    "soak: {other:?} is not --rounds, --together, --random, --seed, --systemd-cgroup, --runtime or --programs"
                ));
            }
        }
    }
    if options.seed.is_some() && options.random.is_none() {
        return Err("soak: --seed goes with --random alone".to_owned());
    }
    let others = options.systemd
        || options.rounds != ROUNDS
        || options.together.is_some()
        || options.runtime.is_some()
        || options.programs.is_some();
    if options.random.is_some() && others {
        return Err("soak: --random is the library's own, and goes with --seed alone".to_owned());
    }
    Ok(options)
}

/// The runtime, and the place where all of it happens.
struct Soak {
    runtime: PathBuf,
    scratch: Scratch,
    name: String,
    /// Containers are scopes of systemd.
    systemd: bool,
}

impl Soak {
    /// Prints what is left; whether nothing is.
    fn is_clean(&self) -> bool {
        let remains = self.remains();
        for remnant in &remains {
            println!("LEFT {remnant}");
        }
        println!("{} remnants", remains.len());
        remains.is_empty()
    }

    fn new(runtime: PathBuf, systemd: bool) -> Result<Self, String> {
        let scratch = Scratch::new("xtask-soak")?;
        let folder = scratch.path().file_name().unwrap_or_default();
        Ok(Self {
            runtime,
            systemd,
            name: folder.to_string_lossy().into_owned(),
            scratch,
        })
    }

    /// Lives of containers, then execs in one.
    fn all(&self, programs: &Path, rounds: usize) -> Result<(), String> {
        let (ends, stays) = (self.scratch.join("ends"), self.scratch.join("stays"));
        // Temporary files of the runtime, if it makes any, are among those that are looked at.
        std::fs::create_dir(self.scratch.join("tmp")).map_err(|error| error.to_string())?;
        steps::must(&mut bundle::make(programs, &ends, &["/bin/true"]))?;
        steps::must(&mut bundle::make(programs, &stays, &["/bin/sleep", "36000"]))?;
        let (ends, stays) = (ends.to_string_lossy(), stays.to_string_lossy());

        self.repeat("lives", rounds, WORKERS, |number| {
            let id = format!("{}-{number}", self.name);
            if number.is_multiple_of(2) {
                return self.command(&["run", "--bundle", &ends, &id]);
            }
            self.command(&["create", "--bundle", &stays, &id])?;
            self.command(&["start", &id])?;
            self.command(&["delete", "--force", &id])
        })?;
        let id = format!("{}-exec", self.name);
        self.command(&["run", "--detach", "--bundle", &stays, &id])?;
        let before = self.processes().len();
        self.repeat("execs", rounds, WORKERS, |_| {
            self.command(&["exec", &id, "/bin/true"])
        })?;
        let after = self.processes().len();
        // One that was never seen would never be missed.
        if before == 0 || before != after {
            return Err(format!("{before} processes before the execs, {after} after them"));
        }
        self.command(&["delete", "--force", &id])
    }

    /// Does `one` for all numbers, several at once, until the first failure.
    fn repeat(
        &self,
        what: &str,
        rounds: usize,
        workers: usize,
        one: impl Fn(usize) -> Result<(), String> + Sync,
    ) -> Result<(), String> {
        let begin = Instant::now();
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= rounds {
                    return Ok(());
                }
                if number.is_multiple_of(1000) {
                    println!("{what}: {number} of {rounds}, {} s", begin.elapsed().as_secs());
                }
                one(number)?;
            }
        };
        let outcomes: Vec<Result<(), String>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let ended = workers.into_iter().map(|worker| worker.join());
            ended
                .map(|outcome| outcome.unwrap_or_else(|_| Err("a worker panicked".to_owned())))
                .collect()
        });
        outcomes.into_iter().collect::<Result<Vec<()>, String>>()?;
        let (seconds, count) = (begin.elapsed().as_secs_f64(), rounds as f64);
        println!(
            "{rounds} {what} in {seconds:.1} s, {workers} at once: {:.0} a second",
            count / seconds
        );
        Ok(())
    }

    fn command(&self, words: &[&str]) -> Result<(), String> {
        // A container keeps what it inherits: a pipe would not end before it does.
        let mut command = Command::new(&self.runtime);
        if self.systemd {
            command.arg("--systemd-cgroup");
        }
        let status = command
            .arg("--root")
            .arg(self.scratch.join("state"))
            .args(words)
            .env("TMPDIR", self.scratch.join("tmp"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .map_err(|error| format!("{}: {error}", self.runtime.display()))?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("{} ended with {status}", words.join(" "))),
        }
    }

    /// The containers that the runtime's state names.
    fn known(&self) -> Vec<String> {
        names(&self.scratch.join("state"))
            .into_iter()
            .filter(|name| name.starts_with(&self.name))
            .collect()
    }

    /// Everything that should not be there, in words.
    fn remains(&self) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut found: Vec<String> = self
                .processes()
                .iter()
                .map(|pid| format!("process {pid}"))
                .collect();
            found.extend(children());
            found.extend(self.mounts());
            found.extend(self.cgroups(Path::new("/sys/fs/cgroup"), 0));
            found.extend(self.parent_remains());
            found.extend(self.known().iter().map(|id| format!("container {id}")));
            found.extend(
                names(&self.scratch.join("tmp"))
                    .iter()
                    .map(|name| format!("file {name} in TMPDIR")),
            );
            if found.is_empty() || Instant::now() > deadline {
                return found;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Processes that live on a mount of ours, in whatever namespace.
    fn processes(&self) -> Vec<String> {
        let own = format!("/{}/", self.name);
        names(Path::new("/proc"))
            .into_iter()
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            .filter(|pid| {
                let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo"));
                mounts.is_ok_and(|mounts| mounts.contains(&own))
            })
            .collect()
    }

    fn mounts(&self) -> Vec<String> {
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        text.lines()
            .filter(|line| line.contains(&self.name))
            .map(|line| format!("mount {line}"))
            .collect()
    }

    /// Container cgroups are at most a few levels down.
    fn cgroups(&self, folder: &Path, depth: usize) -> Vec<String> {
        let mut found = Vec::new();
        for name in names(folder) {
            let path = folder.join(&name);
            // Controllers such as cpu are links to cpu,cpuacct on some hosts: each would be seen twice.
            if !path.is_dir() || path.is_symlink() {
                continue;
            }
            if name.contains(&self.name) {
                found.push(format!("cgroup {}", path.display()));
            } else if depth < 4 {
                found.extend(self.cgroups(&path, depth + 1));
            }
        }
        found
    }
}

/// Orphans that fell to this process: those that have ended are buried, the others are remnants.
fn children() -> Vec<String> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return vec!["an orphan that lives".to_owned()],
            Ok(_) => {}
            // ECHILD: there is none.
            Err(_) => return Vec::new(),
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_refused() {
        let none = options(&[]).unwrap();
        assert_eq!((none.rounds, none.together, none.systemd), (ROUNDS, None, false));
        let given = options(&["--rounds", "7", "--runtime", "/r"]).unwrap();
        assert_eq!((given.rounds, given.runtime), (7, Some(PathBuf::from("/r"))));
        let given = options(&["--systemd-cgroup", "--together", "5"]).unwrap();
        assert_eq!((given.together, given.systemd), (Some(5), true));
        let given = options(&["--random", "9", "--seed", "3"]).unwrap();
        assert_eq!((given.random, given.seed), (Some(9), Some(3)));
        let given = options(&["--programs", "/p"]).unwrap();
        assert_eq!((none.programs, given.programs), (None, Some(PathBuf::from("/p"))));
        for wrong in [
            &["--random", "9", "--runtime", "/r"][..],
            &["--random", "9", "--rounds", "3"],
            &["--seed", "3"],
            &["--rounds"],
            &["--rounds", "0"],
            &["--rounds", "x"],
            &["--peer", "x"],
        ] {
            assert!(options(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_left_is_seen() {
        let soak = Soak::new(PathBuf::from("/bin/true"), false).unwrap();
        let id = format!("{}-1", soak.name);
        std::fs::create_dir_all(soak.scratch.join("state").join(&id)).unwrap();
        let tree = soak.scratch.join("tree/a/b");
        std::fs::create_dir_all(tree.join(&id)).unwrap();
        assert_eq!(soak.known(), [id]);
        assert_eq!(soak.cgroups(&soak.scratch.join("tree"), 0).len(), 1);
        assert!(soak.processes().is_empty() && soak.mounts().is_empty());
    }
}
