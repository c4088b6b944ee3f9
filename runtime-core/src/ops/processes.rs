//! Which processes a container has, and the configuration that it was made from.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::PoisonError;

use super::Container;
use crate::error::{Error, ErrorKind, Result};
use crate::record::CONFIG;
use crate::spec::LoadedSpec;
use crate::state::Status;

impl Container {
    /// The pids of all processes of the container as the caller sees them, in ascending order; none where it is stopped.
    ///
    /// # Errors
    /// Unsupported, where the container has no cgroup that would tell; System.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let _span = self.trace.span("list the processes");
        let Some(cgroup) = self.cgroup() else {
            return match self.status()? {
                Status::Stopped => Ok(Vec::new()),
                _ => Err(Error::new(
                    ErrorKind::Unsupported,
                    "the container has no cgroup that could tell its processes",
                )),
            };
        };
        let mut pids = cgroup.pids()?;
        pids.sort_unstable();
        Ok(pids)
    }

    /// The configuration that the container was created from, as it was then: the bundle may have changed since.
    ///
    /// # Errors
    /// State, where it is missing or damaged; System.
    pub fn config(&self) -> Result<LoadedSpec> {
        let file = self.config_file()?;
        let stamp = Stamp::of(&file)?;
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

/// Which file it is that was read: an update puts another one in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    changed: (i64, u64),
}

impl Stamp {
    fn of(file: &OwnedFd) -> Result<Self> {
        let stat = rustix::fs::fstat(file).map_err(|errno| Error::os(format!("fstat({CONFIG})"), errno))?;
        Ok(Self {
            inode: stat.st_ino,
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        })
    }
}
