//! What all contestants share: bundles, places, and the way in which a command is measured.
//!
//! Must not live here: which commands are measured.

use super::contestant::{Act, Contestant};
use super::options::{Cores, Options};
use super::sample::{self, How, Sample};
use super::{CDI_HOOK, profile};
use crate::workspace::Scratch;
use crate::{bundle, steps};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The first id of the host that a user namespace's ids are mapped to, and how many are.
const IDS: (u32, u32) = (100_000, 65_536);

/// The bundles, and where things are.
#[derive(Debug)]
pub(crate) struct Stage {
    scratch: Scratch,
    /// Of a container that ends at once.
    pub(crate) ends: PathBuf,
    /// Of one that stays.
    pub(crate) stays: PathBuf,
    /// Of one that ends at once, to get another seccomp profile each time.
    pub(crate) new_profile: PathBuf,
    /// The same with docker's profile.
    pub(crate) profile: PathBuf,
    /// Of one that ends at once, in a user namespace.
    pub(crate) user: PathBuf,
    /// Of one that ends at once, on a terminal.
    pub(crate) terminal: PathBuf,
    /// Of one that ends at once and has GPUs.
    pub(crate) gpu: PathBuf,
    /// Of one that is a scope of systemd; none without systemd.
    pub(crate) scope: Option<PathBuf>,
    /// Whether there is a program for the hooks of `gpu`; a runtime that does them itself needs none.
    pub(crate) gpu_hook: bool,
    /// This program built for release, whose own memory hides less.
    pub(crate) sampler: PathBuf,
    /// The core that everything is pinned to, if it is.
    pub(crate) core: Option<usize>,
}

impl Stage {
    /// Makes the bundles; `programs` is the folder of release builds.
    ///
    /// # Errors
    /// One cannot be made.
    pub(crate) fn build(options: &Options, programs: &Path) -> Result<Stage, String> {
        let scratch = Scratch::new("bench")?;
        let hook = std::env::var("NVIDIA_CDI_HOOK").unwrap_or_else(|_| CDI_HOOK.to_owned());
        let at = |name: &str| scratch.join(name);
        let has_systemd = Path::new("/run/systemd/system").is_dir();
        let stage = Stage {
            ends: at("true"),
            stays: at("sleep"),
            new_profile: at("new-profile"),
            profile: at("profile"),
            user: at("user"),
            terminal: at("terminal"),
            gpu: at("gpu"),
            scope: has_systemd.then(|| at("scope")),
            gpu_hook: Path::new(&hook).exists(),
            sampler: programs.join("xtask"),
            core: match options.cores {
                Cores::Last => Some(sample::last_core()?),
                Cores::One(core) => Some(core),
                Cores::All => None,
            },
            scratch,
        };
        steps::must(&mut bundle::make(programs, &stage.stays, &["/bin/sleep", "3600"]))?;
        let ending = [
            &stage.ends,
            &stage.new_profile,
            &stage.profile,
            &stage.user,
            &stage.terminal,
        ];
        for dir in ending.into_iter().chain(&stage.scope) {
            steps::must(&mut bundle::make(programs, dir, &["/bin/true"]))?;
        }
        steps::must(
            Command::new(programs.join("gpu-driver"))
                .arg("bundle")
                .arg(&stage.gpu)
                .arg(&hook),
        )?;
        profile::put(&stage.new_profile)?;
        profile::put(&stage.profile)?;
        edit(&stage.user, into_user_namespace)?;
        edit(&stage.terminal, |config| {
            config["process"]["terminal"] = true.into()
        })?;
        if let Some(scope) = &stage.scope {
            edit(scope, |config| {
                config["linux"]["cgroupsPath"] = format!("system.slice:bench:{}", std::process::id()).into();
            })?;
        }
        Ok(stage)
    }

    /// What is left out on this host for all, with the reason.
    pub(crate) fn skipped(&self) -> Vec<String> {
        let mut all = Vec::new();
        if self.scope.is_none() {
            all.push("run, systemd scope: this host's first process is not systemd".to_owned());
        }
        if !self.gpu_hook {
            all.push(format!(
                "GPUs with other runtimes: no {CDI_HOOK} here, which they need for the hooks"
            ));
        }
        all
    }

    /// A place for a file or folder, gone at the end.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// Measures one thing.
    ///
    /// # Errors
    /// It failed; `None` where the contestant cannot do it.
    pub(crate) fn take(&self, who: &Contestant, act: Act<'_>, trace: bool) -> Result<Option<Sample>, String> {
        let Some(words) = who.words(act) else {
            return Ok(None);
        };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let how = How {
            core: self.core,
            trace,
            console: match act {
                Act::RunTerminal(_, _, path) => Some(path),
                _ => None,
            },
        };
        sample::take(&self.sampler, how, &who.path, &words)
            .map(Some)
            .map_err(|error| format!("{}: {}: {error}", who.name, words.join(" ")))
    }
}

/// Changes the configuration of a bundle.
///
/// # Errors
/// It cannot be read or written.
pub(crate) fn edit(bundle: &Path, change: impl FnOnce(&mut Value)) -> Result<(), String> {
    let path = bundle.join("config.json");
    let show = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let bytes = std::fs::read(&path).map_err(|error| show(&error))?;
    let mut config: Value = serde_json::from_slice(&bytes).map_err(|error| show(&error))?;
    change(&mut config);
    std::fs::write(&path, config.to_string()).map_err(|error| show(&error))
}

fn into_user_namespace(config: &mut Value) {
    if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        namespaces.push(json!({"type": "user"}));
    }
    for key in ["uidMappings", "gidMappings"] {
        config["linux"][key] = json!([{"containerID": 0, "hostID": IDS.0, "size": IDS.1}]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_namespace_comes_with_its_maps() {
        let mut config = json!({"linux": {"namespaces": [{"type": "pid"}]}});
        into_user_namespace(&mut config);
        assert_eq!(config["linux"]["namespaces"][1]["type"], "user");
        assert_eq!(config["linux"]["uidMappings"][0]["hostID"], 100_000);
        assert_eq!(config["linux"]["gidMappings"][0]["size"], 65_536);
    }
}
