//! update: other limits for a container that exists.
//!
//! The same table as at create makes writes of what is asked for. Either all of it holds then, in the cgroups and in the
//! saved configuration, or nothing of it: a write that fails takes the others back. The lock of the container is held
//! throughout, so that of two updates one comes after the other, and none comes behind a delete.

use super::Container;
use crate::cgroup::merge::{Merged, merge};
use crate::cgroup::systemd::{self, Manager, Property, Scope};
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
        let _lock = self.dir.lock()?;
        self.refresh()?;
        if self.status()? == Status::Stopped {
            return Err(Error::new(ErrorKind::NotRunning, "container not running"));
        }
        let mut config = self.config()?;
        let saved = config
            .spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.resources().clone());
        let Merged { kept, written } = merge(&saved.unwrap_or_default(), &request.resources)?;
        let mut limits = cgroup::limits(&written, &CgroupFacts::gather()?)?;
        let mut unit = match self
            .record
            .cgroup
            .as_ref()
            .and_then(|cgroup| cgroup.scope.as_ref())
        {
            Some(scope) => Some(Unit::prepare(scope, &mut limits.writes)?),
            None => None,
        };
        let cgroup = self.own_cgroup(limits.writes.first())?;
        let schemata = change_schemata(request, &mut config, self.record.rdt.as_ref())?;
        let back = |error: Error| match &schemata {
            Some(schemata) => schemata.undo_for(error),
            None => error,
        };
        let change = cgroup
            .as_ref()
            .map(|cgroup| cgroup.change(&limits.writes))
            .transpose()
            .map_err(back)?;
        let mut linux = config.spec.linux().clone().unwrap_or_default();
        linux.set_resources(Some(kept));
        config.spec.set_linux(Some(linux));
        // systemd last: it takes all of its properties or none, and nothing that comes behind it could fail.
        let mut tell = || unit.as_mut().map_or(Ok(()), Unit::tell);
        let before = self.dir.read(CONFIG)?;
        let saved = self.save_config(&config).and_then(|()| {
            tell().inspect_err(|_| {
                let _ = before.map(|bytes| self.dir.write(CONFIG, TEMPORARY_CONFIG, &bytes));
            })
        });
        match (saved, change) {
            (Ok(()), _) => {}
            (Err(error), Some(change)) => return Err(back(change.undo_for(error))),
            (Err(error), None) => return Err(back(error)),
        }
        Ok(limits.warnings)
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

/// The container's unit, which has to know its new limits: at the next daemon-reload systemd writes those that it knows.
struct Unit<'a> {
    scope: &'a Scope,
    manager: Manager,
    properties: Vec<Property>,
}

impl<'a> Unit<'a> {
    /// Finds the properties for the writes, and makes the writes what they have to be beside them.
    fn prepare(scope: &'a Scope, writes: &mut Vec<cgroup::Write>) -> Result<Self> {
        let mut manager = Manager::connect(scope.user)?;
        let (properties, kept) = systemd::properties(writes, manager.facts()?.version)?;
        *writes = kept;
        Ok(Self {
            scope,
            manager,
            properties,
        })
    }

    fn tell(&mut self) -> Result<()> {
        if self.properties.is_empty() {
            return Ok(());
        }
        self.manager.set(self.scope, &self.properties)
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
