//! Bind mounts: of the host's files, perhaps lent by the parent, perhaps with ids mapped.

use oci_spec::runtime::{LinuxIdMapping, Mount};
use runtime_core_program::step::mount_flags as flag;

use super::{Mounts, proc_allowed, propagation};
use crate::error::{Error, Result};
use crate::plan::create::text;
use crate::plan::namespaces::{IdMap, MOUNT, USER};
use crate::plan::schedule::{LentIdMap, ParentStep, Schedule, Step};
use crate::spec::mount_options::{Bind, IdRange, MountOptions};

impl<'a> Mounts<'a> {
    /// A mount's source from the parent: `lend` says which.
    pub(super) fn lend(&self, schedule: &mut Schedule, field: &str, lend: ParentStep) {
        schedule.init(Step::Borrow {}, field);
        schedule.parent(lend, field);
    }

    pub(super) fn idmap(
        &self,
        mount: &Mount,
        options: &MountOptions,
        field: &str,
    ) -> Result<Option<LentIdMap>> {
        let maps = |maps: &Option<Vec<LinuxIdMapping>>| -> Vec<IdMap> {
            maps.iter().flatten().map(IdMap::from).collect()
        };
        let (mut uids, mut gids) = (maps(mount.uid_mappings()), maps(mount.gid_mappings()));
        let asked = options.idmap.as_ref();
        if let Some(asked) = asked.filter(|asked| !asked.uids.is_empty() || !asked.gids.is_empty()) {
            uids = self.ranges(&asked.uids, self.namespaces.uids(), field)?;
            gids = self.ranges(&asked.gids, self.namespaces.gids(), field)?;
        }
        if asked.is_none() && uids.is_empty() && gids.is_empty() {
            return Ok(None);
        }
        if !self.namespaces.privileged() {
            return Err(Error::spec(
                format!("{field}.uidMappings"),
                "id-mapped mounts need a privileged caller",
            )
            .with_kind(crate::error::ErrorKind::Permission));
        }
        if uids.is_empty() && !self.namespaces.has(USER) {
            return Err(Error::spec(
                format!("{field}.options"),
                "idmap needs uidMappings and gidMappings on the mount, or a user namespace whose mappings it takes",
            ));
        }
        let recursive = asked.is_some_and(|asked| asked.recursive);
        Ok(Some(LentIdMap {
            uids,
            gids,
            recursive,
        }))
    }

    /// Ranges of the option's text; with `@` the outside counts within the container's user namespace.
    pub(super) fn ranges(&self, ranges: &[IdRange], maps: &[IdMap], field: &str) -> Result<Vec<IdMap>> {
        let translate = |range: &IdRange| {
            let host = if range.relative {
                let map = maps.iter().find(|map| {
                    range.outside >= map.container
                        && u64::from(range.outside) + u64::from(range.size)
                            <= u64::from(map.container) + u64::from(map.size)
                });
                map.map(|map| map.host + (range.outside - map.container))
            } else {
                Some(range.outside)
            };
            host.map(|host| IdMap {
                container: range.inside,
                host,
                size: range.size,
            })
            .ok_or_else(|| {
                Error::spec(
                    format!("{field}.options"),
                    format!(
                        "idmap: the range at {} is not mapped in the container's user namespace",
                        range.outside
                    ),
                )
            })
        };
        ranges.iter().map(translate).collect()
    }

    pub(super) fn bind(
        &self,
        schedule: &mut Schedule,
        field: &str,
        source: &str,
        target: &str,
        options: &MountOptions,
        idmap: Option<LentIdMap>,
    ) -> Result<()> {
        if let Some(data) = options.data.first() {
            return Err(Error::spec(
                format!("{field}.options"),
                format!("a bind mount takes no filesystem option, found {data:?}"),
            ));
        }
        let recursive = options.bind == Some(Bind::Recursive);
        let mut flags = 0;
        let identity = self.request.placed.identities.get(source).copied();
        let nofollow = options.src_nofollow || identity.is_some();
        // Only the parent can tell what it has opened; one without privileges cannot lend.
        let identity = identity.filter(|_| self.namespaces.privileged());
        let lent = idmap.is_some()
            || identity.is_some()
            || (self.namespaces.lends_sources() && self.namespaces.has(MOUNT));
        for (wanted, bit) in [
            (recursive, flag::RECURSIVE),
            (lent, flag::LENT),
            (nofollow, flag::SOURCE_NOFOLLOW),
            (options.dest_nofollow, flag::TARGET_NOFOLLOW),
            (options.copy_symlink, flag::COPY_SYMLINK),
            (proc_allowed(source, target, field)?, flag::ALLOW_PROC),
        ] {
            if wanted {
                flags |= bit;
            }
        }
        if lent {
            let step = ParentStep::Lend {
                source: source.to_owned(),
                recursive,
                nofollow,
                idmap,
                identity,
            };
            self.lend(schedule, &format!("{field}.source"), step);
        }
        let (attributes, unasked) = options.attributes.of_bind();
        schedule.init(
            Step::MountBind {
                source: text(&format!("{field}.source"), source)?,
                target: text(&format!("{field}.destination"), target)?,
                set: attributes.set,
                clear: attributes.clear,
                unasked,
                recursive_set: options.recursive.set,
                recursive_clear: options.recursive.clear,
                propagation: propagation(options),
                flags,
            },
            field,
        );
        Ok(())
    }
}
