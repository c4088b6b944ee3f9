//! What of the container CRIU finds in /proc: where the external mounts really are, and which cgroups a process is in.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags};

use crate::error::{Error, Result};
use crate::plan::ExternalMount;

/// The name that all masks have: that of the file which covers them.
pub(crate) const MASK: &str = "/dev/null";

/// The external mounts of a running container, as CRIU wants them at a dump: the mount point, and the name that the restore
/// finds it by. What the container has unmounted meanwhile is not among them; links on the way are followed within it.
///
/// # Errors
/// System, where the container's mounts cannot be read.
pub(crate) fn external_mounts(pid: i32, mounts: &[ExternalMount]) -> Result<Vec<(PathBuf, PathBuf)>> {
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty())
        .map_err(|errno| Error::os(format!("open({path:?})"), errno))?;
    let path = format!("/proc/{pid}/mountinfo");
    let table = std::fs::read(&path).map_err(|error| Error::os(format!("open({path:?})"), error))?;
    let points = mount_points(&table);
    let mut found = Vec::new();
    for mount in mounts {
        let Some((id, kind)) = mounted_at(&root, &mount.target) else {
            continue;
        };
        // A directory is masked by a filesystem of its own, which CRIU saves.
        if mount.mask && kind == FileType::Directory {
            continue;
        }
        let name = if mount.mask {
            Path::new(MASK)
        } else {
            &mount.target
        };
        if let Some(point) = points.get(&id) {
            found.push((point.clone(), name.to_path_buf()));
        }
    }
    Ok(found)
}

/// The id of the mount whose root is at this path, and what it is.
fn mounted_at(root: &OwnedFd, target: &Path) -> Option<(u64, FileType)> {
    let inside = target.strip_prefix("/").unwrap_or(target);
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let fd = rustix::fs::openat2(root, inside, flags, Mode::empty(), resolve).ok()?;
    let wanted = StatxFlags::TYPE | StatxFlags::MNT_ID;
    let status = rustix::fs::statx(&fd, c"", AtFlags::EMPTY_PATH, wanted).ok()?;
    let is_root = status.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    is_root.then(|| (status.stx_mnt_id, FileType::from_raw_mode(status.stx_mode.into())))
}

/// Where a path of the container's root leads to with its links followed; None where it leads nowhere.
pub(crate) fn resolved(rootfs: &Path, target: &Path) -> Option<PathBuf> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(rootfs, directory, Mode::empty()).ok()?;
    let inside = target.strip_prefix("/").unwrap_or(target);
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let found = rustix::fs::openat2(&root, inside, flags, Mode::empty(), resolve).ok()?;
    let place = |fd: &OwnedFd| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok();
    let (root, found) = (place(&root)?, place(&found)?);
    Some(Path::new("/").join(found.strip_prefix(root).ok()?))
}

/// The mount points of a mountinfo table by the ids of the mounts (proc_pid_mountinfo(5)).
pub(crate) fn mount_points(table: &[u8]) -> HashMap<u64, PathBuf> {
    let lines = table.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b' ');
            let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
            Some((id, PathBuf::from(OsString::from_vec(unescaped(fields.nth(3)?)))))
        })
        .collect()
}

/// Blanks and backslashes are written as three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code.filter(|_| first == b'\\') {
            Some(code) => {
                bytes.push(code);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    bytes
}

/// The cgroups that a process is in: controllers and path of each hierarchy (cgroups(7), /proc/PID/cgroup).
///
/// # Errors
/// System.
pub(crate) fn cgroup_roots(pid: i32) -> Result<Vec<(String, String)>> {
    let path = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&path).map_err(|error| Error::os(format!("open({path:?})"), error))?;
    Ok(parse_cgroups(&text))
}

fn parse_cgroups(text: &str) -> Vec<(String, String)> {
    let mut roots = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        for controller in controllers.split(',') {
            roots.push((controller.to_owned(), path.to_owned()));
        }
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_have_their_blanks_back() {
        let table = b"22 1 8:1 / / rw shared:1 - ext4 /dev/sda rw\n41 22 0:5 /a /with\\040blank\\134 ro - tmpfs t rw\n";
        let points = mount_points(table);
        assert_eq!(points[&22], Path::new("/"));
        assert_eq!(points[&41], Path::new("/with blank\\"));
    }

    #[test]
    fn each_controller_has_its_root() {
        let roots = parse_cgroups("4:cpu,cpuacct:/a\n1:name=systemd:/b:c\n0::/d\n");
        let expected = [
            ("cpu", "/a"),
            ("cpuacct", "/a"),
            ("name=systemd", "/b:c"),
            ("", "/d"),
        ];
        let expected = expected.map(|(controller, path)| (controller.to_owned(), path.to_owned()));
        assert_eq!(roots, expected);
    }
}
