//! update: other limits for a container that exists.
//!
//! The same table as at create makes writes of what is asked for. Either all of it holds then, in the cgroups and in the
//! saved configuration, or nothing of it: a write that fails takes the others back. The lock of the container is held
//! throughout, so that of two updates one comes after the other, and none comes behind a delete.

use super::Container;
use super::unit::Unit;
use crate::cgroup::merge::{Merged, merge};
use crate::cgroup::{self, Cgroup};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::cgroup::CgroupFacts;
use crate::record::{CONFIG, TEMPORARY_CONFIG};
use crate::request::UpdateRequest;
use crate::resctrl::{RdtRecord, SchemataChange};
use crate::spec::{LoadedSpec, Warning};
use crate::state::Status;

impl Container {
    /// Changes limits of the container, which may also be paused or only created. Gives the fields that had no effect.
    ///
    /// # Errors
    /// NotRunning, where it is stopped; InvalidSpec, Unsupported, Permission and System as for the limits of create, and
    /// WrongState, where checkBeforeUpdate found the use above the limit. The limits are then as before; where one could
    /// not be set back, the message names it.
    pub fn update(&mut self, request: &UpdateRequest) -> Result<Vec<Warning>> {
        let _lock = self.trace.time("wait for the lock", || self.dir.lock())?;
        self.refresh()?;
        if self.status()? == Status::Stopped {
            return Err(Error::new(ErrorKind::NotRunning, "container not running"));
        }
        let mut config = self.fresh_config()?;
        let saved = config
            .spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.resources().clone());
        let saved = saved.unwrap_or_default();
        let Merged { kept, written } = merge(&saved, &request.resources)?;
        let facts = self.trace.time("look at the cgroups", CgroupFacts::gather)?;
        let mut limits = cgroup::limits(&written, &facts)?;
        let cgroup = self.own_cgroup(limits.writes.first())?;
        let scope = self
            .record
            .cgroup
            .as_ref()
            .and_then(|cgroup| cgroup.scope.as_ref());
        let mut unit = match scope {
            Some(scope) => Some(Unit::of(
                scope,
                &mut limits,
                &cgroup::limits(&saved, &facts)?,
                &self.trace,
            )?),
            None => None,
        };
        let schemata = change_schemata(request, &mut config, self.record.rdt.as_ref())?;
        let back = |error: Error| match &schemata {
            Some(schemata) => schemata.undo_for(error),
            None => error,
        };
        let mut linux = config.spec.linux().clone().unwrap_or_default();
        linux.set_resources(Some(kept));
        config.spec.set_linux(Some(linux));
        if let (Some(unit), Some(cgroup)) = (&mut unit, &cgroup) {
            cgroup
                .check(&limits.writes)
                .and_then(|()| unit.tell())
                .map_err(back)?;
        }
        let changed = self.trace.time("write the limits", || {
            self.write(cgroup.as_ref(), &limits.writes, &config)
        });
        changed.map_err(|error| match unit {
            Some(unit) => back(unit.take_back_for(error)),
            None => back(error),
        })?;
        Ok(limits.warnings)
    }

    /// Writes limits and the saved configuration, or neither.
    fn write(&self, cgroup: Option<&Cgroup>, writes: &[cgroup::Write], config: &LoadedSpec) -> Result<()> {
        let change = cgroup.map(|cgroup| cgroup.change(writes)).transpose()?;
        match (self.save_config(config), change) {
            (Err(error), Some(change)) => Err(change.undo_for(error)),
            (saved, _) => saved,
        }
    }

    /// The container's cgroup; where it has none, there must be nothing to write.
    fn own_cgroup(&self, first: Option<&cgroup::Write>) -> Result<Option<Cgroup>> {
        match (self.cgroup(), first) {
            (None, Some(write)) => {
                let message = "limits need a cgroup, and the container has none";
                Err(Error::new(ErrorKind::Unsupported, message).with_field(&write.origin))
            }
            (cgroup, _) => Ok(cgroup),
        }
    }

    fn save_config(&self, config: &LoadedSpec) -> Result<()> {
        let bytes = serde_json::to_vec(&config.spec)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("the configuration: {error}")))?;
        self.dir.write(CONFIG, TEMPORARY_CONFIG, &bytes)
    }
}

/// New schemata of the container's resctrl group, written; None where none are asked for.
fn change_schemata(
    request: &UpdateRequest,
    config: &mut LoadedSpec,
    record: Option<&RdtRecord>,
) -> Result<Option<SchemataChange>> {
    let asked = [
        ("linux.intelRdt.l3CacheSchema", &request.l3_cache_schema),
        ("linux.intelRdt.memBwSchema", &request.mem_bw_schema),
    ];
    let lines: Vec<String> = asked.iter().filter_map(|(_, schema)| (*schema).clone()).collect();
    let Some((field, _)) = asked.into_iter().find(|(_, schema)| schema.is_some()) else {
        return Ok(None);
    };
    let missing = || {
        let message = "updating a non-existent Intel RDT configuration is not supported: the container was created without \
                       linux.intelRdt";
        Error::new(ErrorKind::Unsupported, message).with_field(field)
    };
    let mut linux = config.spec.linux().clone().ok_or_else(missing)?;
    let (mut rdt, record) = linux.intel_rdt().clone().zip(record).ok_or_else(missing)?;
    if let Some(schema) = &request.l3_cache_schema {
        rdt.set_l3_cache_schema(Some(schema.clone()));
    }
    if let Some(schema) = &request.mem_bw_schema {
        rdt.set_mem_bw_schema(Some(schema.clone()));
    }
    linux.set_intel_rdt(Some(rdt));
    config.spec.set_linux(Some(linux));
    crate::spec::check(config)?;
    SchemataChange::write(&record.group, lines)
        .map(Some)
        .map_err(|error| error.with_field(field))
}
