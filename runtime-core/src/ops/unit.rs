//! The container's unit when its limits change: at the next daemon-reload systemd writes the limits that it knows.
//!
//! systemd hears of new limits before the files do, since it writes those that it knows at once, some in a way that one file
//! alone does not allow (a weight for a group that was idle). It takes all properties or none; taking them back is telling
//! it the ones of the saved configuration.

use crate::cgroup::Limits;
use crate::cgroup::systemd::{self, Manager, Property, Scope, Split};
use crate::error::{Error, Result};
use crate::trace::Trace;

/// A unit that is about to change.
pub(super) struct Unit<'a> {
    scope: &'a Scope,
    manager: Manager,
    wanted: Vec<Property>,
    former: Vec<Property>,
}

impl<'a> Unit<'a> {
    /// Finds the properties for the limits, and makes these what they have to be beside them. `saved` are those before.
    pub(super) fn of(scope: &'a Scope, limits: &mut Limits, saved: &Limits, trace: &Trace) -> Result<Self> {
        let mut manager = Manager::connect_traced(scope.user, trace)?;
        let version = manager.facts()?.version;
        let former = systemd::properties(&saved.writes, version)?.properties;
        let Split {
            properties: wanted,
            writes,
            warnings,
        } = systemd::properties(&limits.writes, version)?;
        limits.writes = writes;
        limits.warnings.extend(warnings);
        let former = wanted
            .iter()
            .map(|property| {
                let before = former.iter().find(|former| former.name == property.name);
                before.cloned().unwrap_or_else(|| property.unset())
            })
            .collect();
        Ok(Self {
            scope,
            manager,
            wanted,
            former,
        })
    }

    pub(super) fn tell(&mut self) -> Result<()> {
        set(&mut self.manager, self.scope, &self.wanted)
    }

    /// What went wrong first is what the caller must hear; what cannot be taken back is told with it.
    pub(super) fn take_back_for(mut self, error: Error) -> Error {
        match set(&mut self.manager, self.scope, &self.former) {
            Ok(()) => error,
            Err(_) => error.context(format!(
                "partly changed, properties of {} could not be set back",
                self.scope.unit
            )),
        }
    }
}

fn set(manager: &mut Manager, scope: &Scope, properties: &[Property]) -> Result<()> {
    if properties.is_empty() {
        return Ok(());
    }
    manager.set(scope, properties)
}
