//! Which processes a container has, and the configuration that it was made from.

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
        let damaged = |why: String| {
            let path = self.dir.path().join(CONFIG);
            Error::new(ErrorKind::State, format!("{}: {why}", path.display()))
                .with_hint("delete --force removes the container")
        };
        let bytes = self
            .dir
            .read(CONFIG)?
            .ok_or_else(|| damaged("the file is missing".to_owned()))?;
        let mut saved = LoadedSpec::from_slice(&bytes, CONFIG).map_err(|error| damaged(error.to_string()))?;
        // They were given at create.
        saved.warnings.clear();
        Ok(saved)
    }
}
