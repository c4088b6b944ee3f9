//! The cgroup filesystem as a container sees it.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;
use runtime_core_program::step::mount_flags as flag;

use super::{Mounts, RDONLY, propagation, strip};
use crate::cgroup::Directory;
use crate::error::Result;
use crate::facts::cgroup::{CgroupMode, Hierarchy, HierarchyKind};
use crate::plan::create::text;
use crate::plan::namespaces::CGROUP;
use crate::plan::schedule::{Schedule, Step};
use crate::spec::mount_options::{Attributes, Bind, MountOptions};

impl Mounts<'_> {
    /// The cgroup filesystem as the container sees it: the unified hierarchy, or a tmpfs with one mount per v1
    /// hierarchy. Without a cgroup namespace the container's own cgroups are bound, never the host's (CVE-2023-25809).
    pub(super) fn cgroup(
        &self,
        schedule: &mut Schedule,
        field: &str,
        target: &str,
        options: &MountOptions,
    ) -> Result<()> {
        if self.facts.cgroup.mode == CgroupMode::V2 {
            return self.unified(schedule, field, target, options);
        }
        let read_only = options.attributes.set & RDONLY;
        let top = MountOptions {
            attributes: Attributes {
                set: options.attributes.set & !RDONLY,
                clear: options.attributes.clear,
            },
            data: vec!["mode=755".to_owned()],
            ..MountOptions::default()
        };
        self.filesystem(schedule, &Mount::default(), field, "tmpfs", target, &top)?;
        let hierarchies = self.facts.cgroup.hierarchies.iter();
        for hierarchy in hierarchies.filter(|hierarchy| hierarchy.kind != HierarchyKind::Unified) {
            self.hierarchy(schedule, field, target, hierarchy, options)?;
        }
        if read_only != 0 {
            // The places of the hierarchies had to be made first.
            let late = MountOptions {
                attributes: options.attributes,
                ..MountOptions::default()
            };
            self.remount(schedule, field, target, &late)?;
        }
        Ok(())
    }

    pub(super) fn has_unified(&self) -> bool {
        let mut hierarchies = self.facts.cgroup.hierarchies.iter();
        hierarchies.any(|hierarchy| hierarchy.kind == HierarchyKind::Unified)
    }

    pub(super) fn unified(
        &self,
        schedule: &mut Schedule,
        field: &str,
        target: &str,
        options: &MountOptions,
    ) -> Result<()> {
        let own = self
            .directory(|directory| directory.kind == HierarchyKind::Unified)
            .unwrap_or_else(|| PathBuf::from("/sys/fs/cgroup"));
        let mut flags = flag::BIND_FALLBACK;
        if self.request.rootless {
            flags |= flag::MAY_LACK;
        }
        if options.dest_nofollow {
            flags |= flag::TARGET_NOFOLLOW;
        }
        let data = options.data.iter().map(|option| text(field, option));
        schedule.init(
            Step::MountFs {
                fstype: text(field, "cgroup2")?,
                source: text(field, "cgroup")?,
                options: data.collect::<Result<_>>()?,
                attributes: options.attributes.set,
                recursive_set: options.recursive.set,
                recursive_clear: options.recursive.clear,
                propagation: propagation(options),
                target: text(field, target)?,
                fallback: text(field, &own.to_string_lossy())?,
                flags,
            },
            field,
        );
        Ok(())
    }

    /// One hierarchy of version 1 at its usual name, with links for each of its controllers where it has several.
    fn hierarchy(
        &self,
        schedule: &mut Schedule,
        field: &str,
        target: &str,
        hierarchy: &Hierarchy,
        options: &MountOptions,
    ) -> Result<()> {
        let Some(name) = hierarchy.mount_point.file_name().and_then(|name| name.to_str()) else {
            return Ok(());
        };
        let place = format!("{target}/{name}");
        let mut each = MountOptions {
            attributes: options.attributes,
            propagation: options.propagation.clone(),
            ..MountOptions::default()
        };
        if self.namespaces.has(CGROUP) {
            let none = (hierarchy.kind == HierarchyKind::Named).then(|| "none".to_owned());
            each.data = none
                .into_iter()
                .chain(hierarchy.controllers.iter().cloned())
                .collect();
            self.filesystem(schedule, &Mount::default(), field, "cgroup", &place, &each)?;
        } else {
            each.bind = Some(Bind::Recursive);
            let callers = hierarchy.mount_point.join(strip(&hierarchy.own));
            let own = self
                .directory(|directory| directory.mount_point == hierarchy.mount_point)
                .unwrap_or_else(|| callers.clone());
            if self.request.rootless {
                self.bind_if_made(schedule, field, &own, &place, &each, 0)?;
                each.attributes.set |= RDONLY;
                each.attributes.clear &= !RDONLY;
                self.bind_if_made(schedule, field, &callers, &place, &each, flag::UNLESS_THERE)?;
            } else {
                self.bind(schedule, field, &own.to_string_lossy(), &place, &each, None)?;
            }
        }
        let links = hierarchy
            .controllers
            .iter()
            .filter(|_| hierarchy.controllers.len() > 1);
        for controller in links {
            let path = text(field, &format!("{target}/{controller}"))?;
            let target = text(field, name)?;
            schedule.init(Step::Symlink { target, path }, field);
        }
        Ok(())
    }

    /// The container's own directory in the first hierarchy that is meant.
    fn directory(&self, meant: impl Fn(&Directory) -> bool) -> Option<PathBuf> {
        let directories = self.cgroup.iter().flat_map(|paths| &paths.directories);
        directories
            .filter(|directory| meant(directory))
            .map(Directory::path)
            .next()
    }

    /// The bind of a cgroup that this caller perhaps could not make. Everybody may look at cgroups, so the source need
    /// not be lent. The container is in the caller's own cgroup then and may look at that, but never write there
    /// (CVE-2023-25809).
    fn bind_if_made(
        &self,
        schedule: &mut Schedule,
        field: &str,
        source: &Path,
        target: &str,
        options: &MountOptions,
        condition: u32,
    ) -> Result<()> {
        schedule.init(
            Step::MountBind {
                source: text(field, &source.to_string_lossy())?,
                target: text(field, target)?,
                set: options.attributes.set,
                clear: options.attributes.clear,
                unasked: 0,
                recursive_set: options.recursive.set,
                recursive_clear: options.recursive.clear,
                propagation: propagation(options),
                flags: flag::RECURSIVE | flag::MAY_LACK | condition,
            },
            field,
        );
        Ok(())
    }
}
