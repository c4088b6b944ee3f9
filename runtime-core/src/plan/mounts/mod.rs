//! The tree of mounts: the root, what config.json lists, what covers and protects it.

mod bind;
mod cgroup;
mod filesystem;
mod long;
mod root;

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Mount, Spec};

use super::create::{PlanRequest, absolute};
use super::labels;
use super::namespaces::Namespaces;
use super::schedule::Schedule;
use crate::cgroup::CgroupPaths;
use crate::error::{Error, Result};
use crate::facts::HostFacts;
use crate::spec::mount_options::{Bind, MountOptions};

/// Files below /proc that lxcfs and others provide by bind mounts; nothing else below /proc may be covered.
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
    /// What everything on new filesystems is labelled.
    label: Option<&'a str>,
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
            label: labels::mount_label(spec, facts)?,
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
            // Where both versions are, the name says which one is meant.
            "cgroup2" if self.has_unified() => self.unified(schedule, field, &target, &options),
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
