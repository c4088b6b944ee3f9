//! Which processes a container has, and the configuration that it was made from.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::PoisonError;

use super::Container;
use crate::error::{Error, ErrorKind, Result};
use crate::record::{CONFIG, Stamp, parent_of};
use crate::spec::LoadedSpec;
use crate::state::Status;

impl Container {
    /// The pids of all processes of the container as the caller sees them, in ascending order; none where it is stopped.
    ///
    /// Where no cgroup tells them, they are init, its descendants, and who is in a pid namespace of the container's own.
    /// Processes that an exec brought into a container without either are not found.
    ///
    /// # Errors
    /// System.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let _span = self.trace.span("list the processes");
        let mut pids = match (self.cgroup(), &self.record.init) {
            (Some(cgroup), _) => cgroup.pids()?,
            (None, Some(init)) if self.status()? != Status::Stopped => {
                family(init.pid, self.record.own_pid_namespace)?
            }
            (None, _) => Vec::new(),
        };
        pids.sort_unstable();
        Ok(pids)
    }

    /// The configuration that the container was created from, as it was then: the bundle may have changed since.
    ///
    /// # Errors
    /// State, where it is missing or damaged; System.
    pub fn config(&self) -> Result<LoadedSpec> {
        let file = self.config_file()?;
        let stamp = Stamp::of(&file).map_err(|errno| Error::os(format!("fstat({CONFIG})"), errno))?;
        let mut known = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = known.as_ref().filter(|(of, _)| *of == stamp) {
            return Ok(config.clone());
        }
        let saved = self.parse_config(file.as_fd())?;
        *known = Some((stamp, saved.clone()));
        Ok(saved)
    }

    /// As it is in the file now, for who is about to change it.
    pub(super) fn fresh_config(&self) -> Result<LoadedSpec> {
        self.parse_config(self.config_file()?.as_fd())
    }

    fn config_file(&self) -> Result<OwnedFd> {
        let missing = || self.damaged("the file is missing");
        self.dir.open_file(CONFIG)?.ok_or_else(missing)
    }

    fn parse_config(&self, file: BorrowedFd<'_>) -> Result<LoadedSpec> {
        let bytes = self.dir.read_opened(CONFIG, file)?;
        let mut saved =
            LoadedSpec::from_slice(&bytes, CONFIG).map_err(|error| self.damaged(&error.to_string()))?;
        // They were given at create.
        saved.warnings.clear();
        Ok(saved)
    }

    fn damaged(&self, why: &str) -> Error {
        let path = self.dir.path().join(CONFIG);
        Error::new(ErrorKind::State, format!("{}: {why}", path.display()))
            .with_hint("delete --force removes the container")
    }
}

/// A process and all below it; with `namespace` also all that are in its pid namespace, where the caller may look.
fn family(init: i32, namespace: bool) -> Result<Vec<i32>> {
    let namespace_of = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace_of(init).filter(|_| namespace);
    let mut found = vec![init];
    let mut others = Vec::new();
    let listed = std::fs::read_dir("/proc").map_err(|error| Error::os("open(\"/proc\")", error))?;
    for entry in listed.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Who has ended meanwhile has no parent.
        let Some(parent) = parent_of(pid)? else { continue };
        if pid == init {
            continue;
        }
        if own.is_some() && namespace_of(pid) == own {
            found.push(pid);
        } else {
            others.push((pid, parent));
        }
    }
    // Each round finds one more generation.
    loop {
        let (children, rest): (Vec<_>, Vec<_>) =
            others.iter().partition(|(_, parent)| found.contains(parent));
        if children.is_empty() {
            return Ok(found);
        }
        found.extend(children.iter().map(|(pid, _)| *pid));
        others = rest;
    }
}
