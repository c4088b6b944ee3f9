//! The tree of mounts: the root, what config.json lists, what covers and protects it.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{LinuxIdMapping, Mount, Spec};
use runtime_core_program::step::mount_flags as flag;

use super::create::{PlanRequest, absolute, text};
use super::namespaces::{CGROUP, IdMap, MOUNT, Namespaces, USER};
use super::schedule::{LentIdMap, ParentStep, Schedule, Step};
use crate::cgroup::CgroupPaths;
use crate::error::{Error, Result};
use crate::facts::HostFacts;
use crate::facts::cgroup::{CgroupMode, HierarchyKind};
use crate::spec::mount_options::{Attributes, Bind, IdRange, MountOptions, Propagation, PropagationType};

/// Filesystems whose instance may be shared or is made by the kernel: `ro` is an attribute of the mount there, never of
/// the instance (a second mount with another `ro` would be refused with EBUSY).
const ATTRIBUTE_ONLY: &[&str] = &[
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "mqueue",
    "tmpfs",
    "devpts",
    "ramfs",
    "securityfs",
    "debugfs",
    "tracefs",
    "bpf",
    "devtmpfs",
    "efivarfs",
    "configfs",
    "fusectl",
    "binfmt_misc",
    "overlay",
];

/// Files below /proc that lxcfs and others provide by bind mounts; nothing else below /proc may be covered (R-21).
const PROC_FILES: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;

/// What the mounts are planned from.
pub(super) struct Mounts<'a> {
    spec: &'a Spec,
    facts: &'a HostFacts,
    request: &'a PlanRequest,
    namespaces: &'a Namespaces,
    cgroup: Option<&'a CgroupPaths>,
    rootfs: PathBuf,
}

impl<'a> Mounts<'a> {
    pub(super) fn of(
        spec: &'a Spec,
        facts: &'a HostFacts,
        request: &'a PlanRequest,
        namespaces: &'a Namespaces,
        cgroup: Option<&'a CgroupPaths>,
    ) -> Result<Self> {
        let root = spec
            .root()
            .as_ref()
            .ok_or_else(|| Error::spec("root", "the field is missing"))?;
        let rootfs = clean(&absolute(&request.bundle, root.path()));
        Ok(Self {
            spec,
            facts,
            request,
            namespaces,
            cgroup,
            rootfs,
        })
    }

    fn list(&self) -> &'a [Mount] {
        self.spec.mounts().as_deref().unwrap_or_default()
    }

    /// Whether the runtime fills /dev: not where the configuration binds a ready one there.
    pub(super) fn makes_dev(&self) -> bool {
        !self.list().iter().any(|mount| {
            clean(mount.destination()) == Path::new("/dev")
                && (mount.typ().as_deref() == Some("bind")
                    || mount
                        .options()
                        .iter()
                        .flatten()
                        .any(|option| option == "bind" || option == "rbind"))
        })
    }

    /// The root's clone and every mount of the list.
    pub(super) fn build(&self, schedule: &mut Schedule) -> Result<()> {
        self.open_root(schedule)?;
        for (position, mount) in self.list().iter().enumerate() {
            let field = format!("mounts[{position}]");
            self.mount(schedule, mount, &field)?;
        }
        if let Some(socket) = &self.request.notify_dir {
            self.bind(
                schedule,
                "(NOTIFY_SOCKET)",
                &socket.to_string_lossy(),
                "/run/notify",
                &MountOptions::default(),
                None,
            )?;
        }
        Ok(())
    }

    fn propagation(&self) -> Result<Option<Propagation>> {
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

    fn open_root(&self, schedule: &mut Schedule) -> Result<()> {
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
            self.lend(schedule, "root.path", &path, true, false, None);
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

    fn lend(
        &self,
        schedule: &mut Schedule,
        field: &str,
        source: &str,
        recursive: bool,
        nofollow: bool,
        idmap: Option<LentIdMap>,
    ) {
        schedule.init(Step::Borrow {}, field);
        schedule.parent(
            ParentStep::Lend {
                source: source.to_owned(),
                recursive,
                nofollow,
                idmap,
            },
            field,
        );
    }

    fn mount(&self, schedule: &mut Schedule, mount: &Mount, field: &str) -> Result<()> {
        let options = mount.options().as_deref().unwrap_or_default();
        let mut options = MountOptions::parse_at(&format!("{field}.options"), options)?;
        let fstype = mount.typ().as_deref().unwrap_or_default();
        let target = self.target(mount, field)?;
        if fstype == "bind" && options.bind.is_none() && !options.remount {
            options.bind = Some(Bind::Single);
        }
        if options.remount {
            return self.remount(schedule, field, &target, &options);
        }
        if options.bind.is_some() {
            let source = mount
                .source()
                .as_ref()
                .filter(|source| !source.as_os_str().is_empty());
            let source = source
                .ok_or_else(|| Error::spec(format!("{field}.source"), "a bind mount needs a source"))?;
            let source = absolute(&self.request.bundle, source);
            let idmap = self.idmap(mount, &options, field)?;
            return self.bind(
                schedule,
                field,
                &source.to_string_lossy(),
                &target,
                &options,
                idmap,
            );
        }
        if options.idmap.is_some() || mount.uid_mappings().is_some() {
            return Err(Error::spec(
                format!("{field}.options"),
                "id-mapped mounts are only possible for bind mounts",
            ));
        }
        match fstype {
            "" => Err(Error::spec(
                format!("{field}.type"),
                "the field is missing and the mount is not a bind mount",
            )),
            "cgroup" | "cgroup2" => self.cgroup(schedule, field, &target, &options),
            _ => self.filesystem(schedule, mount, field, fstype, &target, &options),
        }
    }

    /// The destination as a path inside the root, always absolute.
    fn target(&self, mount: &Mount, field: &str) -> Result<String> {
        let destination = clean(mount.destination());
        // Some engines write the host's path of the destination.
        let inside = match destination.strip_prefix(&self.rootfs) {
            Ok(rest) if self.rootfs != Path::new("/") => Path::new("/").join(rest),
            _ => destination,
        };
        let target = inside.to_string_lossy().into_owned();
        if target == "/" && !mount.options().iter().flatten().any(|option| option == "remount") {
            return Err(Error::spec(
                format!("{field}.destination"),
                "a mount cannot cover the root itself; use root.path for another root",
            ));
        }
        Ok(target)
    }

    fn idmap(&self, mount: &Mount, options: &MountOptions, field: &str) -> Result<Option<LentIdMap>> {
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
    fn ranges(&self, ranges: &[IdRange], maps: &[IdMap], field: &str) -> Result<Vec<IdMap>> {
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

    fn bind(
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
        let lent = idmap.is_some() || (self.namespaces.lends_sources() && self.namespaces.has(MOUNT));
        for (wanted, bit) in [
            (recursive, flag::RECURSIVE),
            (lent, flag::LENT),
            (options.src_nofollow, flag::SOURCE_NOFOLLOW),
            (options.dest_nofollow, flag::TARGET_NOFOLLOW),
            (options.copy_symlink, flag::COPY_SYMLINK),
            (proc_allowed(source, target, field)?, flag::ALLOW_PROC),
        ] {
            if wanted {
                flags |= bit;
            }
        }
        if lent {
            self.lend(
                schedule,
                &format!("{field}.source"),
                source,
                recursive,
                options.src_nofollow,
                idmap,
            );
        }
        schedule.init(
            Step::MountBind {
                source: text(&format!("{field}.source"), source)?,
                target: text(&format!("{field}.destination"), target)?,
                set: options.attributes.set,
                clear: options.attributes.clear,
                recursive_set: options.recursive.set,
                recursive_clear: options.recursive.clear,
                propagation: propagation(options),
                flags,
            },
            field,
        );
        Ok(())
    }

    fn filesystem(
        &self,
        schedule: &mut Schedule,
        mount: &Mount,
        field: &str,
        fstype: &str,
        target: &str,
        options: &MountOptions,
    ) -> Result<()> {
        let mut flags = 0;
        let mut fallback = "";
        if fstype == "tmpfs" {
            if options.tmpcopyup {
                flags |= flag::COPY_UP;
            }
            if !options.data.iter().any(|option| option.starts_with("mode=")) {
                flags |= flag::INHERIT_MODE;
            }
        } else if options.tmpcopyup {
            return Err(Error::spec(
                format!("{field}.options"),
                "tmpcopyup is only possible for tmpfs",
            ));
        }
        if target == "/proc" || target == "/sys" {
            flags |= flag::TARGET_REAL;
        }
        if fstype == "proc" || proc_allowed("", target, field)? {
            flags |= flag::ALLOW_PROC;
        }
        if self.namespaces.has(USER) && (fstype == "sysfs" || fstype == "mqueue") {
            flags |= flag::BIND_FALLBACK;
            fallback = if fstype == "sysfs" { "/sys" } else { "/dev/mqueue" };
        }
        if options.dest_nofollow {
            flags |= flag::TARGET_NOFOLLOW;
        }
        // /dev is filled before it becomes read-only.
        let late_read_only = target == "/dev" && options.attributes.set & RDONLY != 0;
        let source = mount
            .source()
            .as_ref()
            .map_or_else(|| fstype.to_owned(), |path| path.to_string_lossy().into_owned());
        let source = if self.facts.is_device_filesystem(fstype) {
            absolute(&self.request.bundle, Path::new(&source))
                .to_string_lossy()
                .into_owned()
        } else {
            source
        };
        let mut data = options.data.clone();
        let instance_flags = options
            .fsconfig_flags()
            .filter(|name| !(ATTRIBUTE_ONLY.contains(&fstype) && matches!(*name, "ro" | "rw")));
        data.extend(instance_flags.map(str::to_owned));
        schedule.init(
            Step::MountFs {
                fstype: text(&format!("{field}.type"), fstype)?,
                source: text(&format!("{field}.source"), &source)?,
                options: data
                    .iter()
                    .map(|option| text(&format!("{field}.options"), option))
                    .collect::<Result<_>>()?,
                attributes: if late_read_only {
                    options.attributes.set & !RDONLY
                } else {
                    options.attributes.set
                },
                recursive_set: options.recursive.set,
                recursive_clear: options.recursive.clear,
                propagation: propagation(options),
                target: text(&format!("{field}.destination"), target)?,
                fallback: text(field, fallback)?,
                flags,
            },
            field,
        );
        Ok(())
    }

    fn remount(
        &self,
        schedule: &mut Schedule,
        field: &str,
        target: &str,
        options: &MountOptions,
    ) -> Result<()> {
        let mut data: Vec<String> = options.data.clone();
        if options.bind.is_none() {
            data.extend(
                options
                    .fsconfig_flags()
                    .filter(|name| !matches!(*name, "ro" | "rw"))
                    .map(str::to_owned),
            );
        }
        schedule.init(
            Step::Remount {
                target: text(&format!("{field}.destination"), target)?,
                options: data
                    .iter()
                    .map(|option| text(&format!("{field}.options"), option))
                    .collect::<Result<_>>()?,
                set: options.attributes.set,
                clear: options.attributes.clear,
                recursive_set: options.recursive.set,
                recursive_clear: options.recursive.clear,
                propagation: propagation(options),
            },
            field,
        );
        Ok(())
    }

    /// The cgroup filesystem as the container sees it: the unified hierarchy, or a tmpfs with one mount per v1
    /// hierarchy. Without a cgroup namespace the container's own cgroups are bound, never the host's (CVE-2023-25809).
    fn cgroup(
        &self,
        schedule: &mut Schedule,
        field: &str,
        target: &str,
        options: &MountOptions,
    ) -> Result<()> {
        let own_namespace = self.namespaces.has(CGROUP);
        let facts = &self.facts.cgroup;
        if facts.mode == CgroupMode::V2 {
            let own = self
                .cgroup
                .and_then(|paths| {
                    paths
                        .directories
                        .iter()
                        .find(|directory| directory.kind == HierarchyKind::Unified)
                })
                .map_or_else(|| PathBuf::from("/sys/fs/cgroup"), crate::cgroup::Directory::path);
            let mut flags = flag::BIND_FALLBACK;
            if options.dest_nofollow {
                flags |= flag::TARGET_NOFOLLOW;
            }
            schedule.init(
                Step::MountFs {
                    fstype: text(field, "cgroup2")?,
                    source: text(field, "cgroup")?,
                    options: options
                        .data
                        .iter()
                        .map(|option| text(field, option))
                        .collect::<Result<_>>()?,
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
            return Ok(());
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
        let tmpfs = Mount::default();
        self.filesystem(schedule, &tmpfs, field, "tmpfs", target, &top)?;
        for hierarchy in facts
            .hierarchies
            .iter()
            .filter(|hierarchy| hierarchy.kind != HierarchyKind::Unified)
        {
            let Some(name) = hierarchy.mount_point.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let place = format!("{target}/{name}");
            if own_namespace {
                let none = (hierarchy.kind == HierarchyKind::Named).then(|| "none".to_owned());
                let data = none
                    .into_iter()
                    .chain(hierarchy.controllers.iter().cloned())
                    .collect();
                let each = MountOptions {
                    attributes: options.attributes,
                    data,
                    propagation: options.propagation.clone(),
                    ..MountOptions::default()
                };
                let source = Mount::default();
                self.filesystem(schedule, &source, field, "cgroup", &place, &each)?;
            } else {
                let own = self
                    .cgroup
                    .and_then(|paths| {
                        paths
                            .directories
                            .iter()
                            .find(|directory| directory.mount_point == hierarchy.mount_point)
                    })
                    .map_or_else(
                        || hierarchy.mount_point.join(strip(&hierarchy.own)),
                        crate::cgroup::Directory::path,
                    );
                let each = MountOptions {
                    attributes: options.attributes,
                    bind: Some(Bind::Recursive),
                    propagation: options.propagation.clone(),
                    ..MountOptions::default()
                };
                self.bind(schedule, field, &own.to_string_lossy(), &place, &each, None)?;
            }
            if hierarchy.controllers.len() > 1 {
                for controller in &hierarchy.controllers {
                    schedule.init(
                        Step::Symlink {
                            target: text(field, name)?,
                            path: text(field, &format!("{target}/{controller}"))?,
                        },
                        field,
                    );
                }
            }
        }
        if read_only != 0 {
            let late = MountOptions {
                attributes: Attributes {
                    set: options.attributes.set,
                    clear: options.attributes.clear,
                },
                ..MountOptions::default()
            };
            self.remount(schedule, field, target, &late)?;
        }
        Ok(())
    }

    /// What can be made read-only or covered only when nothing needs to be written or seen below it any more; the part
    /// before the root changes.
    pub(super) fn prepare_protection(&self, schedule: &mut Schedule) {
        if !self.masked().is_empty() {
            schedule.init(Step::PrepareMasks {}, "linux.maskedPaths");
        }
    }

    fn masked(&self) -> &'a [String] {
        self.spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.masked_paths().as_deref())
            .unwrap_or_default()
    }

    /// pivot_root and its substitutes.
    pub(super) fn change_root(&self, schedule: &mut Schedule) -> Result<()> {
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

    /// Read-only root and /dev.
    pub(super) fn finish(&self, schedule: &mut Schedule) -> Result<()> {
        for (position, mount) in self.list().iter().enumerate() {
            let field = format!("mounts[{position}]");
            let options = MountOptions::parse_at(&field, mount.options().as_deref().unwrap_or_default())?;
            let plain = options.bind.is_none() && !options.remount && mount.typ().as_deref() != Some("bind");
            if plain
                && self.target(mount, &field).is_ok_and(|target| target == "/dev")
                && options.attributes.set & RDONLY != 0
            {
                let late = MountOptions {
                    attributes: Attributes {
                        set: RDONLY,
                        clear: 0,
                    },
                    ..MountOptions::default()
                };
                self.remount(schedule, &field, "/dev", &late)?;
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
    pub(super) fn protect(&self, schedule: &mut Schedule) -> Result<()> {
        let linux = self.spec.linux().as_ref();
        let read_only = linux
            .and_then(|linux| linux.readonly_paths().as_deref())
            .unwrap_or_default();
        for (position, path) in read_only.iter().enumerate() {
            let field = format!("linux.readonlyPaths[{position}]");
            schedule.init(
                Step::ReadOnlyPath {
                    path: text(&field, path)?,
                },
                field,
            );
        }
        let mut seen = std::collections::BTreeSet::new();
        for (position, path) in self.masked().iter().enumerate() {
            let field = format!("linux.maskedPaths[{position}]");
            if seen.insert(clean(Path::new(path))) {
                schedule.init(
                    Step::Mask {
                        path: text(&field, path)?,
                    },
                    field,
                );
            }
        }
        Ok(())
    }

    /// The absolute path of the root filesystem on the host.
    pub(super) fn rootfs(&self) -> &Path {
        &self.rootfs
    }
}

fn propagation(options: &MountOptions) -> Vec<u64> {
    options.propagation.iter().map(|change| change.flags()).collect()
}

/// Whether a mount may lie at `target` although that is on or below /proc; an error where it may not.
fn proc_allowed(source: &str, target: &str, field: &str) -> Result<bool> {
    if target == "/proc" {
        // What is bound there must be a procfs; init checks.
        return Ok(source == "/proc");
    }
    if !target.starts_with("/proc/") {
        return Ok(false);
    }
    if PROC_FILES.contains(&target) {
        return Ok(true);
    }
    Err(Error::spec(
        format!("{field}.destination"),
        format!("{target:?} cannot be mounted because it is inside /proc"),
    )
    .with_hint("only the files that lxcfs provides may be covered there"))
}

fn strip(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// The path with `.` and `..` resolved as text and a leading slash; `..` at the top stays at the top.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            _ => {}
        }
    }
    cleaned
}
