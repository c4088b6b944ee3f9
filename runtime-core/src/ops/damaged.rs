//! delete by force of a container whose record is damaged: by what the record still tells, else by the saved
//! configuration, and never by what could be somebody else's.

use std::path::Path;

use super::delete::destroy;
use super::{Deleted, Runtime};
use crate::cgroup::{Cgroup, CgroupRecord};
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::plan::{PlanRequest, cgroup_plan};
use crate::record::{CONFIG, Lock, ProcessIdentity, Record, Salvaged, StateDir};
use crate::spec::LoadedSpec;

impl Runtime {
    /// Deletes what can still be told of a container; `why` is what is wrong with its record.
    ///
    /// # Errors
    /// As of delete: the record is kept then.
    pub(super) fn delete_damaged(
        &self,
        dir: StateDir,
        lock: Lock,
        id: &ContainerId,
        why: &Error,
    ) -> Result<Deleted> {
        let Salvaged {
            mut record,
            tells_cgroup,
        } = dir.salvage(id)?;
        if !tells_cgroup {
            record.cgroup = self.cgroup_by_config(&dir, id)?;
            record.cgroup_made = record.cgroup.is_some();
        }
        if let Some(cgroup) = &record.cgroup
            && !self.is_its_own(cgroup, id, record.init.as_ref())?
        {
            record.cgroup = None;
            record.cgroup_made = false;
        }
        let warning = warning(why, id, &record);
        let mut deleted = destroy(dir, lock, Some(&record), &self.trace)?;
        deleted.warnings.insert(0, warning);
        Ok(deleted)
    }

    /// Where create puts a container of this configuration, as far as it is there. A configuration that is damaged, too, tells
    /// nothing; one that cannot be read now is an error.
    fn cgroup_by_config(&self, dir: &StateDir, id: &ContainerId) -> Result<Option<CgroupRecord>> {
        let spec = dir
            .read(CONFIG)?
            .map(|bytes| LoadedSpec::from_slice(&bytes, CONFIG));
        let Some(Ok(spec)) = spec else {
            return Ok(None);
        };
        let (facts, _) = self.gather()?;
        let request = PlanRequest {
            driver: self.driver,
            rootless: self.is_rootless(&facts),
            ..PlanRequest::new(id.clone(), dir.path())
        };
        let Ok(Some(plan)) = cgroup_plan(&spec, &facts, &request, &mut Vec::new()) else {
            return Ok(None);
        };
        let mut directories = plan.paths.directories;
        directories.retain(|directory| directory.path().is_dir());
        Ok((!directories.is_empty()).then(|| CgroupRecord {
            directories,
            scope: plan.scope.map(|plan| plan.scope),
        }))
    }

    /// Whether nobody else is known to be in these cgroups: not the calling process, no other container of the state
    /// directory; and init is, where it lives.
    fn is_its_own(
        &self,
        cgroup: &CgroupRecord,
        id: &ContainerId,
        init: Option<&ProcessIdentity>,
    ) -> Result<bool> {
        let pids = Cgroup::open(cgroup).pids()?;
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let outside = match init {
            Some(init) => init.is_alive()? && !pids.contains(&init.pid),
            None => false,
        };
        if outside || pids.contains(&own) {
            return Ok(false);
        }
        let others = self.containers()?.filter(|(name, _)| name != id.as_str());
        let theirs: Vec<_> = others
            .filter_map(|(_, container)| container.ok()?.record.cgroup)
            .flat_map(|cgroup| cgroup.directories)
            .map(|directory| directory.path())
            .collect();
        let is_shared = |path: &Path| theirs.iter().any(|other| other.starts_with(path));
        let mut directories = cgroup.directories.iter();
        Ok(!directories.any(|directory| is_shared(&directory.path())))
    }
}

/// What was done, and what nobody could do.
fn warning(why: &Error, id: &ContainerId, record: &Record) -> Error {
    let groups = record.cgroup.iter().flat_map(|cgroup| &cgroup.directories);
    let groups: Vec<_> = groups
        .map(|directory| directory.path().display().to_string())
        .collect();
    let removed = match (&record.init, groups.as_slice()) {
        (None, []) => {
            return Error::new(
                why.kind(),
                format!(
                    "{why}; it names neither a process nor a cgroup: what there is of the container still runs (look for \
                     {id} in /proc/*/cgroup)"
                ),
            );
        }
        (Some(init), []) => format!("process {}; no cgroup could be told", init.pid),
        (None, groups) => format!("cgroup {}", groups.join(", ")),
        (Some(init), groups) => format!("process {}, cgroup {}", init.pid, groups.join(", ")),
    };
    Error::new(
        why.kind(),
        format!("{why}; ended and removed by what is left of it: {removed}"),
    )
}
