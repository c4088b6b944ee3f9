//! Root filesystems whose files are shown with the ids of a user namespace: options `uidmap=` and `gidmap=`.
//!
//! A bind mount is copied and mapped. Of an overlay the layers are: the overlay itself cannot be. The mapped layers need
//! names while the overlay is made; they have them in a directory beside the root filesystem, which is gone afterwards.

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder};
use runtime_core::id_mapped_copy;
use rustix::fs::CWD;
use rustix::mount::{MountFlags, MoveMountFlags, UnmountFlags};

use super::options::{Ids, Parsed, Range};
use crate::proto::types::Mount;
use crate::ttrpc::Status;

/// Mounts with mapped ids.
pub(super) fn mount(mount: &Mount, parsed: &Parsed, ids: &Ids, target: &Path) -> Result<(), Status> {
    if ids.uids.is_empty() || ids.gids.is_empty() {
        return Err(Status::invalid("options: uidmap= and gidmap= belong together"));
    }
    let maps = (mapping(&ids.uids)?, mapping(&ids.gids)?);
    if mount.kind == "overlay" {
        return overlay(mount, parsed, &maps, target);
    }
    if !parsed.flags.contains(MountFlags::BIND) {
        return Err(Status::invalid(format!(
            "uidmap=, gidmap=: allowed for bind mounts and overlays, found type {:?}",
            mount.kind
        )));
    }
    let recursive = parsed.flags.contains(MountFlags::REC);
    let copy = id_mapped_copy(Path::new(&mount.source), &maps.0, &maps.1, recursive)?;
    attach(&copy, target)?;
    let rest = parsed.flags - (MountFlags::BIND | MountFlags::REC);
    if !rest.is_empty() {
        rustix::mount::mount_remount(target, rest | MountFlags::BIND, c"")
            .map_err(|errno| Status::os(format!("mount({target:?}, MS_REMOUNT|MS_BIND|{rest:?})"), errno))?;
    }
    parsed.propagate(target)
}

type Maps = (Vec<LinuxIdMapping>, Vec<LinuxIdMapping>);

fn mapping(ranges: &[Range]) -> Result<Vec<LinuxIdMapping>, Status> {
    let one = |range: &Range| {
        LinuxIdMappingBuilder::default()
            .container_id(range.inside)
            .host_id(range.outside)
            .size(range.size)
            .build()
            .map_err(|error| Status::invalid(format!("id map: {error}")))
    };
    ranges.iter().map(one).collect()
}

fn attach(copy: &OwnedFd, target: &Path) -> Result<(), Status> {
    rustix::mount::move_mount(copy, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|errno| Status::os(format!("move_mount({target:?})"), errno))
}

/// Directories that mapped layers are attached to, and their end.
struct Attached {
    dir: PathBuf,
    layers: Vec<PathBuf>,
}

impl Drop for Attached {
    fn drop(&mut self) {
        for layer in &self.layers {
            // The overlay holds what it needs of them.
            let _ = rustix::mount::unmount(layer, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
            let _ = std::fs::remove_dir(layer);
        }
        let _ = std::fs::remove_dir(&self.dir);
    }
}

fn overlay(mount: &Mount, parsed: &Parsed, maps: &Maps, target: &Path) -> Result<(), Status> {
    let dir = target.with_file_name(".layers");
    let mut attached = Attached {
        dir: dir.clone(),
        layers: Vec::new(),
    };
    make(&dir)?;
    let lower = parsed
        .data
        .iter()
        .find_map(|option| option.strip_prefix("lowerdir="));
    for (number, layer) in lower.unwrap_or_default().split(':').enumerate() {
        let place = dir.join(number.to_string());
        make(&place)?;
        attached.layers.push(place.clone());
        let copy = id_mapped_copy(Path::new(layer), &maps.0, &maps.1, false)?;
        attach(&copy, &place)?;
    }
    let names: Vec<String> = attached
        .layers
        .iter()
        .map(|layer| layer.display().to_string())
        .collect();
    let mut options: Vec<String> = mount
        .options
        .iter()
        .filter(|option| {
            !["lowerdir=", "uidmap=", "gidmap="]
                .iter()
                .any(|name| option.starts_with(name))
        })
        .cloned()
        .collect();
    options.push(format!("lowerdir={}", names.join(":")));
    let mapped = Mount {
        options,
        target: String::new(),
        ..mount.clone()
    };
    super::one(&mapped, target)
}

fn make(dir: &Path) -> Result<(), Status> {
    DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .map_err(|error| Status::os(format!("mkdir({dir:?}, 0700)"), error))
}
