//! The parent's steps in resctrl. What is about to be made is in the record before.

use std::path::Path;

use super::{Host, Launch};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::FdName;
use crate::resctrl::{self, RdtRecord};

impl Launch<'_> {
    /// Finds the group, or makes it.
    pub(super) fn rdt_group(&mut self, group: &str, make: bool, host: &mut dyn Host) -> Result<()> {
        let Some(plan) = &self.plan.rdt else {
            return Ok(());
        };
        let group = Path::new(group);
        let mut record = RdtRecord {
            group: group.to_owned(),
            own: plan.own,
            made: false,
            monitor: None,
        };
        if !resctrl::exists(group) {
            if !make {
                let message = format!(
                    "clos dir not accessible (must be pre-created when schemata, l3CacheSchema and memBwSchema are \
                     empty): there is no {}",
                    group.display()
                );
                return Err(Error::new(ErrorKind::InvalidSpec, message));
            }
            record.made = true;
            host.keep_rdt(&record)?;
            record.made = resctrl::make(&plan.root, group)?;
        }
        self.rdt = Some(record.clone());
        host.keep_rdt(&record)
    }

    /// Gives a group that is the container's the values, and compares those of another.
    pub(super) fn rdt_schemata(&self, group: &str, own: bool, lines: &[String]) -> Result<()> {
        let group = Path::new(group);
        match (&self.plan.rdt, &self.rdt) {
            (Some(plan), Some(record)) if own || record.made => {
                resctrl::write_schemata(&plan.root, group, lines)
            }
            _ => resctrl::compare_schemata(group, lines),
        }
    }

    pub(super) fn rdt_monitor(&mut self, group: &str, host: &mut dyn Host) -> Result<()> {
        let (Some(plan), Some(record)) = (&self.plan.rdt, &mut self.rdt) else {
            return Ok(());
        };
        record.monitor = Some(group.into());
        host.keep_rdt(record)?;
        // A leftover of this id measures as well as a new one.
        resctrl::make(&plan.root, Path::new(group)).map(drop)
    }

    pub(super) fn rdt_tasks(&mut self, group: &str, monitor: Option<&str>, may_lack: bool) -> Result<()> {
        let both = [(FdName::RdtGroup, Some(group)), (FdName::RdtMonitor, monitor)];
        for (name, group) in both {
            let Some(group) = group else { continue };
            match resctrl::tasks(Path::new(group)) {
                Err(error) if may_lack && error.errno() == Some(libc::ENOENT) => return Ok(()),
                opened => self.descriptors.insert(name, opened?)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use std::path::PathBuf;

    use crate::cgroup::Cgroup;
    use crate::lower::Descriptors;
    use crate::plan::{Plan, RdtPlan};
    use crate::record::ProcessIdentity;
    use crate::state::Status;

    /// Remembers what was saved, and whether the group was there by then.
    #[derive(Default)]
    struct Saved(Vec<(RdtRecord, bool)>);

    impl Host for Saved {
        fn save(&mut self, _: Status, _: Option<ProcessIdentity>) -> Result<()> {
            Ok(())
        }
        fn keep_cgroup(&mut self, _: &Cgroup) {}
        fn keep_rdt(&mut self, record: &RdtRecord) -> Result<()> {
            self.0.push((record.clone(), record.group.exists()));
            Ok(())
        }
        fn save_config(&mut self) -> Result<()> {
            Ok(())
        }
        fn hook_state(&self, _: Status, _: i32) -> Vec<u8> {
            Vec::new()
        }
        fn agent_state(&self, _: i32) -> Vec<u8> {
            Vec::new()
        }
        fn bundle(&self) -> &Path {
            Path::new("/")
        }
        fn listen(&self) -> Result<OwnedFd> {
            Err(Error::new(ErrorKind::Internal, "nobody listens here"))
        }
    }

    fn plan(root: &Path, name: &str, own: bool) -> Plan {
        let group = root.join(name);
        Plan {
            lines: Vec::new(),
            warnings: Vec::new(),
            cgroup: None,
            rdt: Some(RdtPlan {
                root: root.to_owned(),
                monitor: Some(group.join("mon_groups/c1")),
                schemata: vec!["L3:0=f".to_owned()],
                own,
                group,
            }),
        }
    }

    /// What create does with a plan, on a tree where the kernel's part is done by this test.
    fn walk(plan: &Plan, saved: &mut Saved, fill: impl Fn(&Path)) -> Result<()> {
        let mut launch = Launch::new(plan, Descriptors::default());
        let rdt = plan.rdt.as_ref().unwrap();
        let shown = |path: &Path| path.to_string_lossy().into_owned();
        launch.rdt_group(&shown(&rdt.group), true, saved)?;
        fill(&rdt.group);
        launch.rdt_schemata(&shown(&rdt.group), rdt.own, &rdt.schemata)?;
        let monitor = shown(rdt.monitor.as_ref().unwrap());
        launch.rdt_monitor(&monitor, saved)?;
        fill(Path::new(&monitor));
        launch.rdt_tasks(&shown(&rdt.group), Some(&monitor), false)?;
        assert_eq!(launch.descriptors.numbers().count(), 2);
        Ok(())
    }

    fn fill(group: &Path) {
        std::fs::create_dir_all(group.join("mon_groups")).unwrap();
        std::fs::write(group.join("tasks"), "").unwrap();
        if !group.join("schemata").exists() {
            std::fs::write(group.join("schemata"), "L3:0=fff\n").unwrap();
        }
    }

    #[test]
    fn what_is_made_is_in_the_record_before() {
        let root: PathBuf = std::env::temp_dir().join(format!("rdt-launch-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        let mut saved = Saved::default();
        walk(&plan(&root, "own", true), &mut saved, fill).unwrap();
        let (first, existed) = &saved.0[0];
        assert!(first.made && first.own && !existed, "saved first");
        let (last, _) = saved.0.last().unwrap();
        assert_eq!(last.monitor, Some(root.join("own/mon_groups/c1")));
        assert_eq!(
            std::fs::read(root.join("own/schemata")).unwrap()[..7],
            *b"L3:0=f\n"
        );

        // A class of others is compared, and never removed.
        let mut saved = Saved::default();
        std::fs::create_dir(root.join("class")).unwrap();
        let error = walk(&plan(&root, "class", false), &mut saved, fill).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{error}");
        assert!(
            saved
                .0
                .iter()
                .all(|(record, _)| !record.made && record.monitor.is_none())
        );
        std::fs::write(root.join("class/schemata"), "    L3:0=00f\n").unwrap();
        walk(&plan(&root, "class", false), &mut saved, fill).unwrap();
        assert_eq!(
            std::fs::read(root.join("class/schemata")).unwrap(),
            b"    L3:0=00f\n"
        );

        // A program that comes later does without a group that is gone.
        let plan = plan(&root, "gone", true);
        let mut launch = Launch::new(&plan, Descriptors::default());
        launch.rdt_tasks("/no/such/group", None, true).unwrap();
        assert!(launch.rdt_tasks("/no/such/group", None, false).is_err());
        let error = launch.rdt_group(&root.join("none").to_string_lossy(), false, &mut Saved::default());
        assert!(error.unwrap_err().to_string().contains("must be pre-created"));
        std::fs::remove_dir_all(root).unwrap();
    }
}
