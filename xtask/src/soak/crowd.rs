//! Many containers at the same time below one parent cgroup: what each costs as they become more.
//!
//! Figures only: whether the cost is flat is for the reader, since a busy host makes any ratio. What is left fails, as
//! with the rest of the soak.

use super::{Soak, names};
use crate::{bundle, steps};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Commands at once.
pub(super) const WORKERS: usize = 8;
/// How many of the first and of the last are compared.
const EDGE: usize = 50;

impl Soak {
    /// `count` containers that stay, then their end.
    pub(super) fn crowd(&self, programs: &Path, count: usize) -> Result<(), String> {
        let stays = self.scratch.join("stays");
        steps::must(&mut bundle::make(programs, &stays, &["/bin/sleep", "36000"]))?;
        let bundles = self.bundles(&stays, count)?;
        let costs = Mutex::new(Vec::with_capacity(count));
        let outcome = self.repeat("containers", count, WORKERS, |number| {
            let begin = Instant::now();
            let folder = bundles[number].to_string_lossy();
            self.command(&["run", "--detach", "--bundle", &folder, &self.id(number)])?;
            if let Ok(mut costs) = costs.lock() {
                costs.push((begin, begin.elapsed()));
            }
            Ok(())
        });
        if outcome.is_ok() {
            let living = self.processes().len();
            if living < count {
                return Err(format!(
                    "{count} containers were started, {living} processes live"
                ));
            }
            let mut costs = costs.into_inner().map_err(|_| "a worker panicked")?;
            costs.sort();
            print_costs(&costs.into_iter().map(|(_, took)| took).collect::<Vec<_>>());
        }
        let ended = self.repeat("deletes", count, WORKERS, |number| {
            self.command(&["delete", "--force", &self.id(number)])
        });
        self.remove_parent();
        outcome.and(ended)
    }

    fn id(&self, number: usize) -> String {
        format!("{}-{number}", self.name)
    }

    /// A name without dashes: a dash in the name of a slice means a slice above it.
    fn parent(&self) -> String {
        let name = self.name.replace('-', "");
        if self.systemd {
            format!("{name}.slice")
        } else {
            name
        }
    }

    /// A bundle for each, with one root file system: only the configuration has the path of the cgroup.
    fn bundles(&self, model: &Path, count: usize) -> Result<Vec<PathBuf>, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("the bundles: {error}");
        let text = std::fs::read(model.join("config.json")).map_err(|error| wrong(&error))?;
        let mut config: Value = serde_json::from_slice(&text).map_err(|error| wrong(&error))?;
        config["root"]["path"] = model.join("rootfs").to_string_lossy().into();
        let mut folders = Vec::with_capacity(count);
        for number in 0..count {
            config["linux"]["cgroupsPath"] = match self.systemd {
                true => format!("{}:soak:{}", self.parent(), self.id(number)).into(),
                false => format!("/{}/{}", self.parent(), self.id(number)).into(),
            };
            let folder = self.scratch.join("crowd").join(number.to_string());
            std::fs::create_dir_all(&folder).map_err(|error| wrong(&error))?;
            std::fs::write(folder.join("config.json"), config.to_string()).map_err(|error| wrong(&error))?;
            folders.push(folder);
        }
        Ok(folders)
    }

    /// The parent is the caller's, as a pod's cgroup is its engine's. What is not empty stays, and is found.
    fn remove_parent(&self) {
        if self.systemd {
            let _ = Command::new("systemctl").args(["stop", &self.parent()]).status();
        }
        let root = Path::new("/sys/fs/cgroup");
        let hierarchies = names(root).into_iter().map(|name| root.join(name));
        for folder in hierarchies.chain([root.to_owned()]) {
            let _ = std::fs::remove_dir(folder.join(self.parent()));
        }
    }

    /// The parent counts as a remnant, too.
    pub(super) fn parent_remains(&self) -> Vec<String> {
        let root = Path::new("/sys/fs/cgroup");
        let hierarchies = names(root).into_iter().map(|name| root.join(name));
        hierarchies
            .chain([root.to_owned()])
            .map(|folder| folder.join(self.parent()))
            .filter(|folder| folder.is_dir())
            .map(|folder| format!("cgroup {}", folder.display()))
            .collect()
    }
}

fn print_costs(costs: &[Duration]) {
    let edge = EDGE.min(costs.len());
    let (first, last) = (median(&costs[..edge]), median(&costs[costs.len() - edge..]));
    println!(
        "run: median of the first {edge} {:.1} ms, of the last {edge} {:.1} ms, ratio {:.2}",
        first * 1000.0,
        last * 1000.0,
        last / first
    );
}

fn median(costs: &[Duration]) -> f64 {
    let mut sorted = costs.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).map_or(0.0, Duration::as_secs_f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_one_counts() {
        let costs = [5, 1, 900].map(Duration::from_millis);
        assert!((median(&costs) - 0.005).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
    }
}
