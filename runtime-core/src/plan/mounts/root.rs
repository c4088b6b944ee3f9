//! The root: its clone, the change into it, and what covers and protects its content afterwards.

use std::path::Path;

use oci_spec::runtime::Mount;

use super::{Mounts, RDONLY, clean};
use crate::error::{Error, Result};
use crate::plan::create::text;
use crate::plan::namespaces::MOUNT;
use crate::plan::schedule::{ParentStep, Schedule, Step};
use crate::spec::mount_options::{Attributes, MountOptions, Propagation, PropagationType};

impl<'a> Mounts<'a> {
    pub(super) fn propagation(&self) -> Result<Option<Propagation>> {
        let linux = self.spec.linux().as_ref();
        let Some(asked) = linux
            .and_then(|linux| linux.rootfs_propagation().as_deref())
            .filter(|asked| !asked.is_empty())
        else {
            return Ok(None);
        };
        Propagation::parse(asked).map(Some).ok_or_else(|| {
            Error::spec(
                "linux.rootfsPropagation",
                format!("unknown propagation {asked:?}; allowed: shared, slave, private, unbindable and these with a leading r"),
            )
        })
    }

    pub(super) fn open_root(&self, schedule: &mut Schedule) -> Result<()> {
        let path = self.rootfs.to_string_lossy().into_owned();
        let own_mounts = self.namespaces.has(MOUNT);
        let mut detach = false;
        let lent = own_mounts && self.namespaces.lends_sources();
        if own_mounts {
            let asked = self.propagation()?;
            detach = own_mounts && asked.is_some_and(|asked| asked.to == PropagationType::Shared);
            // An unbindable mount could not be cloned for the root; its own turn comes once the root has changed.
            let flags = match asked.map(|asked| asked.to) {
                Some(PropagationType::Shared) => libc::MS_SHARED,
                Some(PropagationType::Slave) | None => libc::MS_SLAVE,
                Some(PropagationType::Private | PropagationType::Unbindable) => libc::MS_PRIVATE,
            } | libc::MS_REC;
            schedule.init(
                Step::Propagation {
                    path: text("root.path", "/")?,
                    flags,
                },
                if asked.is_some() {
                    "linux.rootfsPropagation"
                } else {
                    "(mounts must not reach the host)"
                },
            );
        }
        if lent {
            let step = ParentStep::Lend {
                source: path.clone(),
                recursive: true,
                nofollow: false,
                idmap: None,
                identity: None,
            };
            self.lend(schedule, "root.path", step);
        }
        schedule.init(
            Step::OpenRoot {
                path: text("root.path", &path)?,
                lent,
                clone: own_mounts,
                detach,
            },
            "root.path",
        );
        Ok(())
    }

    /// What can be made read-only or covered only when nothing needs to be written or seen below it any more; the part
    /// before the root changes.
    pub(in crate::plan) fn prepare_protection(&self, schedule: &mut Schedule) -> Result<()> {
        if !self.masked().is_empty() {
            let field = "linux.mountLabel";
            let label = text(field, self.label.unwrap_or_default())?;
            schedule.init(Step::PrepareMasks { label }, "linux.maskedPaths");
        }
        Ok(())
    }

    pub(super) fn masked(&self) -> &'a [String] {
        self.spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.masked_paths().as_deref())
            .unwrap_or_default()
    }

    /// pivot_root and its substitutes.
    pub(in crate::plan) fn change_root(&self, schedule: &mut Schedule) -> Result<()> {
        if !self.namespaces.has(MOUNT) {
            schedule.init(Step::Chroot {}, "root.path");
            return Ok(());
        }
        if self.request.no_pivot {
            schedule.init(Step::MoveRoot {}, "(--no-pivot)");
        } else {
            schedule.init(Step::Pivot {}, "root.path");
        }
        if let Some(asked) = self.propagation()? {
            schedule.init(
                Step::Propagation {
                    path: text("root.path", "/")?,
                    flags: asked.flags(),
                },
                "linux.rootfsPropagation",
            );
        }
        Ok(())
    }

    /// Whether a filesystem becomes read-only when all is made: /dev is filled before, and in a new tmpfs others may need a
    /// place: mounts, devices, the working directory. Not where a later mount covers it, which would become so instead.
    pub(super) fn is_read_only_late(
        &self,
        mount: &Mount,
        fstype: &str,
        target: &str,
        options: &MountOptions,
    ) -> bool {
        if options.attributes.set & RDONLY == 0 || (target != "/dev" && fstype != "tmpfs") {
            return false;
        }
        let same = |other: &Mount| self.target(other, "").is_ok_and(|other| other == target);
        let mut behind = self
            .list()
            .iter()
            .skip_while(|other| !std::ptr::eq(*other, mount))
            .skip(1);
        target == "/dev" || !behind.any(same)
    }

    /// Read-only root, /dev and filesystems in memory.
    pub(in crate::plan) fn finish(&self, schedule: &mut Schedule) -> Result<()> {
        for (position, mount) in self.list().iter().enumerate() {
            let field = format!("mounts[{position}]");
            let options = MountOptions::parse_at(&field, mount.options().as_deref().unwrap_or_default())?;
            let fstype = mount.typ().as_deref().unwrap_or_default();
            if options.bind.is_some() || options.remount || fstype == "bind" {
                continue;
            }
            let Ok(target) = self.target(mount, &field) else {
                continue;
            };
            if self.is_read_only_late(mount, fstype, &target, &options) {
                let late = MountOptions {
                    attributes: Attributes {
                        set: RDONLY,
                        clear: 0,
                    },
                    ..MountOptions::default()
                };
                self.remount(schedule, &field, &target, &late)?;
            }
        }
        let read_only = self
            .spec
            .root()
            .as_ref()
            .and_then(oci_spec::runtime::Root::readonly);
        // Without mounts of its own it would be the host's directory that becomes read-only.
        if read_only.unwrap_or(false) && self.namespaces.has(MOUNT) {
            schedule.init(Step::ReadOnlyRoot {}, "root.readonly");
        }
        Ok(())
    }

    /// Read-only and masked paths.
    pub(in crate::plan) fn protect(&self, schedule: &mut Schedule) -> Result<()> {
        let linux = self.spec.linux().as_ref();
        let read_only = linux
            .and_then(|linux| linux.readonly_paths().as_deref())
            .unwrap_or_default();
        for (position, path) in read_only.iter().enumerate() {
            let field = format!("linux.readonlyPaths[{position}]");
            schedule.init(
                Step::ReadOnlyPath {
                    path: text(&field, &from_root(path))?,
                },
                field,
            );
        }
        let mut seen = std::collections::BTreeSet::new();
        for (position, path) in self.masked().iter().enumerate() {
            let field = format!("linux.maskedPaths[{position}]");
            let path = from_root(path);
            if seen.insert(clean(Path::new(&path))) {
                schedule.init(
                    Step::Mask {
                        path: text(&field, &path)?,
                    },
                    field,
                );
            }
        }
        Ok(())
    }
}

/// A path of the container; a relative one begins at its root.
fn from_root(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}
