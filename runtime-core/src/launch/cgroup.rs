//! The lines about the container's cgroup, and what it says when init dies without a word.
//!
//! Must not live here: which limits and rules there are (`plan`), and how they are written (`crate::cgroup`).

use super::{Host, Launch};
use crate::cgroup::{Cgroup, DeviceRules, Write};
use crate::error::{Error, ErrorKind, Result};

impl Launch<'_> {
    pub(super) fn make_cgroup(&mut self, host: &mut dyn Host) -> Result<()> {
        let Some(plan) = &self.plan.cgroup else {
            return Ok(());
        };
        let cgroup = Cgroup::create(&plan.paths, &plan.writes, plan.rootless)?;
        host.keep_cgroup(&cgroup);
        self.cgroup = Some(cgroup);
        Ok(())
    }

    pub(super) fn start_scope(&mut self, host: &mut dyn Host) -> Result<()> {
        let Some(plan) = &self.plan.cgroup else {
            return Ok(());
        };
        let Some(scope) = &plan.scope else {
            return Ok(());
        };
        let pid = self.pid()?;
        Cgroup::refuse_used(&plan.paths, &plan.writes)?;
        host.start_scope(scope, pid)?;
        let cgroup = Cgroup::adopt(&plan.paths, scope.scope.clone(), &plan.writes, pid)?;
        host.keep_cgroup(&cgroup);
        self.cgroup = Some(cgroup);
        Ok(())
    }

    pub(super) fn limit(&self, write: &Write) -> Result<()> {
        match &self.cgroup {
            Some(cgroup) => cgroup.apply(std::slice::from_ref(write)),
            None => Ok(()),
        }
    }

    pub(super) fn device_rules(&self) -> Result<()> {
        let rules: Option<(&Cgroup, &DeviceRules, bool)> = self
            .cgroup
            .as_ref()
            .zip(self.plan.cgroup.as_ref())
            .map(|(cgroup, plan)| (cgroup, &plan.devices, plan.rootless));
        rules.map_or(Ok(()), |(cgroup, rules, rootless)| {
            cgroup.apply_devices(rules, rootless).map(drop)
        })
    }

    pub(super) fn delegate(&self, uid: u32) -> Result<()> {
        let rootless = self.plan.cgroup.as_ref().is_some_and(|plan| plan.rootless);
        self.cgroup
            .as_ref()
            .map_or(Ok(()), |cgroup| cgroup.delegate(uid, rootless))
    }

    /// A container whose memory limit is too small for init dies without a word; say so.
    pub(super) fn killed_by_memory(&self, error: Error) -> Error {
        // Version 2 refuses the memory for the exec of init, and kills nobody.
        if error.errno() == Some(libc::ENOMEM) && self.has_memory_limit() {
            return error
                .with_kind(ErrorKind::System)
                .with_field("linux.resources.memory.limit")
                .context("container init got no memory (memory limit too low?)");
        }
        // An end with a word had another cause.
        let said = error.step().is_some() || matches!(error.kind(), ErrorKind::Program | ErrorKind::Exec);
        if said || self.memory_kills() <= self.killed_before {
            return error;
        }
        let text = if self.plan.cgroup.is_some() {
            "container init was OOM-killed (memory limit too low?)"
        } else {
            "init ended before the program was executed, possibly OOM-killed"
        };
        Error::new(ErrorKind::System, text).with_field("linux.resources.memory.limit")
    }

    fn has_memory_limit(&self) -> bool {
        let plan = self.plan.cgroup.as_ref();
        plan.is_some_and(|plan| {
            plan.writes
                .iter()
                .any(|write| write.origin.starts_with("linux.resources.memory"))
        })
    }

    pub(super) fn memory_kills(&self) -> u64 {
        self.cgroup
            .as_ref()
            .and_then(|cgroup| cgroup.oom_kills().ok().flatten())
            .unwrap_or(0)
    }
}
