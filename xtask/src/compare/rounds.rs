//! The rounds: which commands every runtime follows, in which order.
//!
//! Must not live here: statistics.

use super::profile;
use super::sample::{Sample, take};
use crate::workspace::Scratch;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is measured, in the order of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    /// `run` of a container that ends at once: create, start, wait, delete.
    Run,
    /// `create` of a container that stays.
    Create,
    /// `start` of it.
    Start,
    /// `state` of it.
    State,
    /// `exec` of a program that ends at once in it.
    Exec,
    /// `delete --force` of it while it runs.
    Delete,
    /// `run` under a seccomp profile of docker's size that the runtime has not seen before.
    RunNewProfile,
    /// `run` under docker's profile, again and again.
    RunProfile,
    /// `run` with two GPUs: nodes, 29 mounts, and six hooks, by NVIDIA's program where it is installed.
    RunGpu,
}

/// The name of the runtime that is measured against the others.
pub(crate) const OWN: &str = "runtime";

impl Operation {
    /// All.
    pub(crate) const ALL: [Operation; 9] = [
        Operation::Run,
        Operation::Create,
        Operation::Start,
        Operation::State,
        Operation::Exec,
        Operation::Delete,
        Operation::RunNewProfile,
        Operation::RunProfile,
        Operation::RunGpu,
    ];

    /// For tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Operation::Run => "run true",
            Operation::Create => "create",
            Operation::Start => "start",
            Operation::State => "state",
            Operation::Exec => "exec true",
            Operation::Delete => "delete --force",
            Operation::RunNewProfile => "run, new profile",
            Operation::RunProfile => "run, profile",
            Operation::RunGpu => "run, 2 GPUs",
        }
    }
}

/// A runtime that takes part.
#[derive(Debug)]
pub(crate) struct Contestant {
    name: String,
    path: PathBuf,
    version: String,
    state: String,
    has_exec: bool,
}

impl Contestant {
    /// Asks the program for its version and whether it has `exec`.
    ///
    /// # Errors
    /// It cannot be run.
    pub(crate) fn look(name: &str, path: &Path, scratch: &Scratch) -> Result<Contestant, String> {
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
            state: scratch
                .join(&format!("state-{name}"))
                .to_string_lossy()
                .into_owned(),
            has_exec: ask(&["exec", "--help"])?.status.success(),
        })
    }

    /// For the report.
    pub(crate) fn about(&self) -> Value {
        json!({
            "name": self.name,
            "version": self.version,
            "bytes": std::fs::metadata(&self.path).map(|file| file.len()).ok(),
        })
    }

    fn delete(&self, id: &str) {
        let _ = Command::new(&self.path)
            .args(["--root", &self.state, "delete", "--force", id])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// One measured command.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    /// The runtime's name.
    pub(crate) runtime: String,
    /// The command.
    pub(crate) operation: Operation,
    /// The figures.
    pub(crate) sample: Sample,
}

/// All that was measured.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// In the order of measuring.
    pub(crate) all: Vec<Measured>,
    /// The highest floor that a measuring process had, in KiB.
    pub(crate) floor_kib: u64,
}

/// What all runtimes share.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Bundle of a container that ends at once.
    pub(crate) ends: PathBuf,
    /// Bundle of a container that stays.
    pub(crate) stays: PathBuf,
    /// Bundle of a container that ends at once, to get another seccomp profile each time.
    pub(crate) new_profile: PathBuf,
    /// The same with docker's profile.
    pub(crate) profile: PathBuf,
    /// Bundle of a container that ends at once and has GPUs.
    pub(crate) gpu: PathBuf,
    /// Whether there is a program for its hooks; a runtime that does them itself needs none.
    pub(crate) gpu_hook: bool,
    /// This program built for release, whose own memory hides less.
    pub(crate) sampler: PathBuf,
    /// The core that everything is pinned to, if it is.
    pub(crate) core: Option<usize>,
}

impl Stage {
    /// Rounds that are thrown away; a runtime that fails in them is taken out, with its reason.
    pub(crate) fn warm_up(&self, contestants: &mut Vec<Contestant>, rounds: usize) -> Vec<String> {
        let mut reasons = Vec::new();
        for _ in 0..rounds {
            contestants.retain(|contestant| match self.turn(contestant) {
                Ok(_) => true,
                Err(error) => {
                    // Some runtimes add a page of stack trace.
                    reasons.push(error.lines().next().unwrap_or_default().to_owned());
                    false
                }
            });
        }
        reasons
    }

    /// Measures.
    ///
    /// # Errors
    /// A command failed: a figure over fewer samples would not be comparable.
    pub(crate) fn measure(&self, contestants: &mut [Contestant], rounds: usize) -> Result<Samples, String> {
        let mut samples = Samples::default();
        for round in 0..rounds {
            if round % 10 == 0 {
                println!("round {round} of {rounds}");
            }
            for contestant in contestants.iter() {
                samples.all.extend(self.turn(contestant)?);
            }
            // The next round begins with another one.
            contestants.rotate_left(usize::from(!contestants.is_empty()));
        }
        samples.floor_kib = samples
            .all
            .iter()
            .map(|measured| measured.sample.floor_kib)
            .max()
            .unwrap_or(0);
        Ok(samples)
    }

    /// All commands of one runtime, once. Leaves no container, on failure neither.
    fn turn(&self, contestant: &Contestant) -> Result<Vec<Measured>, String> {
        let ids = ["run", "stay"].map(|kind| format!("xtask-bench-{}-{kind}", std::process::id()));
        let measured = self.follow(contestant, &ids[0], &ids[1]);
        if measured.is_err() {
            ids.iter().for_each(|id| contestant.delete(id));
        }
        measured
    }

    fn follow(&self, contestant: &Contestant, short: &str, long: &str) -> Result<Vec<Measured>, String> {
        let (ends, stays) = (self.ends.to_string_lossy(), self.stays.to_string_lossy());
        let gpu = self.gpu.to_string_lossy();
        let (new, known) = (self.new_profile.to_string_lossy(), self.profile.to_string_lossy());
        profile::put_new(&self.new_profile)?;
        let mut measured = Vec::new();
        for operation in Operation::ALL {
            let arguments = match operation {
                Operation::Run => vec!["run", "--bundle", &ends, short],
                Operation::Create => vec!["create", "--bundle", &stays, long],
                Operation::Start => vec!["start", long],
                Operation::State => vec!["state", long],
                Operation::Exec if !contestant.has_exec => continue,
                Operation::Exec => vec!["exec", long, "/bin/true"],
                Operation::Delete => vec!["delete", "--force", long],
                Operation::RunNewProfile => vec!["run", "--bundle", &new, short],
                Operation::RunGpu if !self.gpu_hook && contestant.name != OWN => continue,
                Operation::RunGpu => vec!["run", "--bundle", &gpu, short],
                Operation::RunProfile => vec!["run", "--bundle", &known, short],
            };
            let words: Vec<&str> = ["--root", &contestant.state]
                .into_iter()
                .chain(arguments)
                .collect();
            let sample = take(&self.sampler, self.core, &contestant.path, &words)
                .map_err(|error| format!("{}: {}: {error}", contestant.name, operation.name()))?;
            measured.push(Measured {
                runtime: contestant.name.clone(),
                operation,
                sample,
            });
        }
        Ok(measured)
    }
}
