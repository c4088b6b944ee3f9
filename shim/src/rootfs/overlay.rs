//! Overlays whose options do not fit into the page that mount(2) takes: some 60 layers with containerd's paths.
//!
//! Layers mostly have a directory in common. It is opened, and each layer named by way of the descriptor, which is short:
//! nobody has to change a working directory, which all threads share. Where even that is too long, the layers are added
//! one by one with fsconfig(2) (`lowerdir+`, kernel 6.5).

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags};

use super::PAGE;
use super::options::Parsed;
use crate::proto::types::Mount;
use crate::ttrpc::Status;

/// Mounts an overlay with long options.
pub(super) fn mount_long(mount: &Mount, parsed: &Parsed, target: &Path) -> Result<(), Status> {
    let layers = parsed
        .data
        .iter()
        .find_map(|option| option.strip_prefix("lowerdir="));
    let layers: Vec<&str> = layers.unwrap_or_default().split(':').collect();
    if let Some((common, data)) = shortened(parsed, &layers)? {
        let data = CString::new(data).map_err(|_| Status::invalid("options: a null byte"))?;
        let mounted = rustix::mount::mount(&mount.source, target, "overlay", parsed.flags, data.as_c_str());
        drop(common);
        mounted.map_err(|errno| {
            Status::os(
                format!("mount({target:?}, \"overlay\", {} layers)", layers.len()),
                errno,
            )
        })?;
    } else {
        one_by_one(mount, parsed, &layers, target)?;
    }
    parsed.propagate(target)
}

/// The options with short names for the layers, and the descriptor that those names need; None where they are still too
/// long.
fn shortened(parsed: &Parsed, layers: &[&str]) -> Result<Option<(OwnedFd, String)>, Status> {
    let common = common_directory(layers);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(&common, flags, Mode::empty())
        .map_err(|errno| Status::os(format!("open({common:?})"), errno))?;
    let base = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let names: Vec<String> = layers
        .iter()
        .map(|layer| {
            let rest = Path::new(layer).strip_prefix(&common).unwrap_or(Path::new(""));
            format!("{base}/{}", rest.display())
        })
        .collect();
    let lower = format!("lowerdir={}", names.join(":"));
    let others = parsed
        .data
        .iter()
        .filter(|option| !option.starts_with("lowerdir="));
    let data: Vec<&str> = std::iter::once(lower.as_str())
        .chain(others.map(String::as_str))
        .collect();
    let data = data.join(",");
    Ok((data.len() <= PAGE).then_some((fd, data)))
}

/// The deepest directory that all layers are below.
fn common_directory(layers: &[&str]) -> PathBuf {
    let mut common: Vec<Component<'_>> = layers
        .first()
        .map(|layer| {
            Path::new(layer)
                .parent()
                .unwrap_or(Path::new("/"))
                .components()
                .collect()
        })
        .unwrap_or_default();
    for layer in layers {
        let parent = Path::new(layer).parent().unwrap_or(Path::new("/"));
        let same = common
            .iter()
            .zip(parent.components())
            .take_while(|(a, b)| **a == *b)
            .count();
        common.truncate(same);
    }
    common.iter().collect()
}

fn one_by_one(mount: &Mount, parsed: &Parsed, layers: &[&str], target: &Path) -> Result<(), Status> {
    let fs = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|errno| Status::os("fsopen(\"overlay\")", errno))?;
    let set = |key: &str, value: &str| {
        rustix::mount::fsconfig_set_string(&fs, key, value)
            .map_err(|errno| (errno, Status::os(format!("fsconfig({key:?}, {value:?})"), errno)))
    };
    set("source", &mount.source).map_err(|(_, status)| status)?;
    for layer in layers {
        set("lowerdir+", layer).map_err(|(errno, status)| match errno {
            Errno::INVAL => status.context(format!("{} layers need kernel 6.5", layers.len())),
            _ => status,
        })?;
    }
    for option in parsed
        .data
        .iter()
        .filter(|option| !option.starts_with("lowerdir="))
    {
        let result = match option.split_once('=') {
            Some((key, value)) => set(key, value).map_err(|(_, status)| status),
            None => rustix::mount::fsconfig_set_flag(&fs, option.as_str())
                .map_err(|errno| Status::os(format!("fsconfig({option:?})"), errno)),
        };
        result?;
    }
    if parsed.flags.contains(MountFlags::RDONLY) {
        rustix::mount::fsconfig_set_flag(&fs, "ro").map_err(|errno| Status::os("fsconfig(\"ro\")", errno))?;
    }
    rustix::mount::fsconfig_create(&fs).map_err(|errno| {
        Status::os(
            format!(
                "fsconfig(FSCONFIG_CMD_CREATE, overlay of {} layers)",
                layers.len()
            ),
            errno,
        )
    })?;
    let mounted = rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes(parsed.flags))
        .map_err(|errno| Status::os("fsmount()", errno))?;
    rustix::mount::move_mount(&mounted, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|errno| Status::os(format!("move_mount({target:?})"), errno))
}

/// Flags of mount(2) as attributes of a mount.
fn attributes(flags: MountFlags) -> MountAttrFlags {
    let pairs = [
        (MountFlags::RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (MountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (MountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (MountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (MountFlags::NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
        (MountFlags::NODIRATIME, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
        (MountFlags::STRICTATIME, MountAttrFlags::MOUNT_ATTR_STRICTATIME),
    ];
    let set = pairs.into_iter().filter(|(flag, _)| flags.contains(*flag));
    set.fold(MountAttrFlags::empty(), |all, (_, attribute)| all | attribute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_directory_holds_all_layers() {
        let layers = ["/var/s/12/fs", "/var/s/3/fs", "/var/s/11/fs"];
        assert_eq!(common_directory(&layers), Path::new("/var/s"));
        assert_eq!(common_directory(&["/a/b"]), Path::new("/a"));
        assert_eq!(common_directory(&["/a/b", "/c/d"]), Path::new("/"));
    }
}
