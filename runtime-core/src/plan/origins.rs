//! Who asked for what: lines and errors about a field that a request for devices brought name the request.

use super::schedule::{Action, ParentStep};
use super::{Plan, PlanRequest};
use crate::error::Result;
use crate::facts::HostFacts;
use crate::gpu::Injected;
use crate::spec::LoadedSpec;

impl PlanRequest {
    /// Takes over what a request for devices led to.
    pub(crate) fn take(&mut self, injected: &Injected) {
        self.placed = injected.placed.clone();
        self.gpu.native.extend_from_slice(&injected.native);
        if injected.params.is_some() {
            self.gpu.params.clone_from(&injected.params);
        }
    }
}

impl Plan {
    /// Plans the creation of a container, up to its program.
    ///
    /// # Errors
    /// InvalidSpec names the field that is wrong; Unsupported and Permission name what this host or caller lacks.
    pub fn create(loaded: &LoadedSpec, facts: &HostFacts, request: &PlanRequest) -> Result<Self> {
        let placed = &request.placed;
        let mut plan = Self::compile(loaded, facts, request)
            .map_err(|error| error.with_field_named(|field| placed.name(field)))?;
        for line in &mut plan.lines {
            if let Some(name) = placed.name(&line.from) {
                line.from = name;
            }
            if let Action::Parent(ParentStep::DeviceRules { rules }) = &mut line.action {
                for (_, origin) in rules {
                    *origin = placed.name(origin).unwrap_or_else(|| std::mem::take(origin));
                }
            }
        }
        Ok(plan)
    }
}
