//! The control group layout of this host, as data.
//!
//! Here: what is mounted where, which controllers belong to which hierarchy, and where the caller itself sits. Not here:
//! anything about a container, and any decision; those belong to [`crate::cgroup`]. The mount table is the only witness
//! for a hierarchy: engines leave plain folders with the names of controllers on the tmpfs of /sys/fs/cgroup, so a
//! listing of folders proves nothing. Gathering is on the path of every create, hence two reads of /proc, one of the
//! list of controllers, and no more.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::whole;

/// Which generation of control groups the controllers of this host are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupMode {
    /// Every controller is in a hierarchy of version 1; version 2 is not mounted.
    V1,
    /// Version 1 hierarchies with controllers, and version 2 mounted beside them.
    Hybrid,
    /// Version 2 only (there may be a version 1 hierarchy without controllers, as `name=systemd`).
    V2,
}

/// What sort of hierarchy a mount shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HierarchyKind {
    /// Version 1 with at least one controller.
    V1,
    /// Version 1 without a controller, with a name: `name=systemd`.
    Named,
    /// Version 2, the unified hierarchy.
    Unified,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// What sort it is.
    pub kind: HierarchyKind,
    /// The controllers of it: of the mount options for version 1 (`cpu`, `cpuacct`), the name for a named one
    /// (`name=systemd`), the content of `cgroup.controllers` at the mount point for version 2.
    pub controllers: Vec<String>,
    /// Where it is mounted, absolute.
    pub mount_point: PathBuf,
    /// Which cgroup of the hierarchy the mount shows as its root; `/` outside containers.
    pub root: PathBuf,
    /// The caller's own cgroup in this hierarchy, from its root and not from the mount's.
    pub own: PathBuf,
    /// The mount or its file system is read-only.
    pub read_only: bool,
}

/// The control groups of a host as one process sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupFacts {
    /// Which generation holds the controllers.
    pub mode: CgroupMode,
    /// Every mounted hierarchy once, in the order of the mount table.
    pub hierarchies: Vec<Hierarchy>,
    /// The kernel has `cgroup.kill` (since 5.14) in groups of version 2.
    pub has_kill: bool,
    /// The kernel has `cgroup.freeze` (since 5.2) in groups of version 2.
    pub has_freeze: bool,
}

impl CgroupFacts {
    /// Reads the layout of this host: /proc/self/mountinfo, /proc/self/cgroup, and `cgroup.controllers` of the unified
    /// hierarchy.
    ///
    /// # Errors
    /// A file of /proc cannot be read.
    pub fn gather() -> Result<Self> {
        let mounts = read("/proc/self/mountinfo")?;
        let own = read("/proc/self/cgroup")?;
        let release = rustix::system::uname();
        let mut facts = Self::parse(&mounts, &own, release.release().to_bytes());
        for hierarchy in &mut facts.hierarchies {
            if hierarchy.kind == HierarchyKind::Unified {
                let list = read(hierarchy.mount_point.join("cgroup.controllers"))?;
                hierarchy.controllers = words(&list);
            }
        }
        facts.mode = mode_of(&facts.hierarchies);
        Ok(facts)
    }

    /// The unified hierarchy, where it is mounted.
    pub fn unified(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|h| h.kind == HierarchyKind::Unified)
    }

    /// The hierarchy that `controller` can be used in.
    pub fn hierarchy_of(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies
            .iter()
            .find(|h| h.controllers.iter().any(|name| name == controller))
    }

    /// The pure half of [`CgroupFacts::gather`]: `release` is that of uname. The unified hierarchy has no controllers
    /// yet, since /proc does not name them.
    pub fn parse(mountinfo: &[u8], own: &[u8], release: &[u8]) -> Self {
        let hierarchies = hierarchies(mountinfo, own);
        let since = |major, minor| kernel_version(release).is_none_or(|found| found >= (major, minor));
        Self {
            mode: mode_of(&hierarchies),
            hierarchies,
            has_kill: since(5, 14),
            has_freeze: since(5, 2),
        }
    }
}

fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let path = path.as_ref();
    let failed = |errno: Errno| Error::os(format!("read({:?})", path.display().to_string()), errno);
    let fd = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    whole::read(fd, u64::MAX).map_err(failed)
}

fn words(text: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(text)
        .split_ascii_whitespace()
        .map(str::to_owned)
        .collect()
}

fn mode_of(hierarchies: &[Hierarchy]) -> CgroupMode {
    let has = |kind| hierarchies.iter().any(|h| h.kind == kind);
    match (has(HierarchyKind::V1), has(HierarchyKind::Unified)) {
        (true, true) => CgroupMode::Hybrid,
        (false, true) => CgroupMode::V2,
        (_, false) => CgroupMode::V1,
    }
}

/// One line of mountinfo with what matters here; see proc_pid_mountinfo(5).
struct Mount<'a> {
    place: Place<'a>,
    hierarchy: Hierarchy,
}

/// Where a mount is.
#[derive(Clone, Copy)]
struct Place<'a> {
    id: u32,
    parent: u32,
    /// As the line has it, with its escapes: a host has thousands of mounts, and few of them are of interest.
    point: &'a [u8],
}

impl Place<'_> {
    /// Whether `self` hides what was mounted at or below its mount point.
    fn hides(&self, earlier: &Place<'_>, mountinfo: &[u8]) -> bool {
        match earlier.point.strip_prefix(self.point) {
            Some([]) => earlier.id == self.parent,
            // Unless the earlier one was moved into it.
            Some([first, ..]) if *first == b'/' || self.point == b"/" => {
                !is_below(mountinfo, earlier.parent, self.id)
            }
            _ => false,
        }
    }
}

fn hierarchies(mountinfo: &[u8], own: &[u8]) -> Vec<Hierarchy> {
    let own = own_cgroups(own);
    let mut found: Vec<Mount<'_>> = Vec::new();
    for line in mountinfo.split(|byte| *byte == b'\n') {
        let Some(place) = place(line) else {
            continue;
        };
        // A later mount on top of an earlier one hides it, whatever its file system is, and so does one on a directory
        // above.
        found.retain(|mount| !place.hides(&mount.place, mountinfo));
        if let Some(hierarchy) = cgroup_mount(line, place.point, &own) {
            found.push(Mount { place, hierarchy });
        }
    }
    let mut chosen: Vec<Mount<'_>> = Vec::new();
    for mount in found {
        let same = chosen.iter_mut().find(|earlier| {
            earlier.hierarchy.kind == mount.hierarchy.kind
                && earlier.hierarchy.controllers == mount.hierarchy.controllers
        });
        match same {
            // A hierarchy can be mounted more than once (engines bind it into root file systems of containers): the
            // usual place wins, then the first.
            Some(earlier) if !usual_place(&earlier.hierarchy) && usual_place(&mount.hierarchy) => {
                *earlier = mount
            }
            Some(_) => {}
            None => chosen.push(mount),
        }
    }
    chosen.into_iter().map(|mount| mount.hierarchy).collect()
}

/// Whether a mount is `above` or has it among its ancestors.
fn is_below(mountinfo: &[u8], mut mount: u32, above: u32) -> bool {
    // A chain longer than the table would be a circle.
    for _ in mountinfo.split(|byte| *byte == b'\n') {
        if mount == above {
            return true;
        }
        let mut places = mountinfo.split(|byte| *byte == b'\n').filter_map(place);
        match places.find(|place| place.id == mount) {
            Some(place) => mount = place.parent,
            None => return false,
        }
    }
    false
}

fn usual_place(hierarchy: &Hierarchy) -> bool {
    hierarchy.mount_point.starts_with("/sys/fs/cgroup")
}

/// The ids of the mount and of its parent, and the mount point.
fn place(line: &[u8]) -> Option<Place<'_>> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let point = fields.nth(2)?;
    Some(Place { id, parent, point })
}

fn cgroup_mount(line: &[u8], mount_point: &[u8], own: &[(String, PathBuf)]) -> Option<Hierarchy> {
    let separator = line.windows(3).position(|window| window == b" - ")?;
    // Nearly every line ends here.
    if !line[separator + 3..].starts_with(b"cgroup") {
        return None;
    }
    let mount_point = unescape(mount_point);
    let mut left = line[..separator].split(|byte| *byte == b' ').skip(3);
    let root = unescape(left.next()?);
    // The kernel writes paths from a root. Anything else would count from the working directory, or make a path that
    // replaces the mount point instead of going on behind it.
    if !root.is_absolute() || !mount_point.is_absolute() {
        return None;
    }
    let mount_options = left.nth(1)?;
    let mut right = line[separator + 3..].split(|byte| *byte == b' ');
    let unified = match right.next()? {
        b"cgroup" => false,
        b"cgroup2" => true,
        _ => return None,
    };
    let super_options = String::from_utf8_lossy(right.nth(1)?).into_owned();
    let read_only = mount_options
        .split(|byte| *byte == b',')
        .any(|option| option == b"ro")
        || super_options.split(',').any(|option| option == "ro");
    let (kind, controllers) = if unified {
        (HierarchyKind::Unified, Vec::new())
    } else {
        // The options of a v1 mount mix controllers with flags (xattr, noprefix, release_agent=...). Only what
        // /proc/self/cgroup knows as a controller or name counts.
        let known = |option: &&str| own.iter().any(|(name, _)| name == option);
        let names: Vec<String> = super_options
            .split(',')
            .filter(known)
            .map(str::to_owned)
            .collect();
        match names.first() {
            None => return None,
            Some(name) if names.len() == 1 && name.starts_with("name=") => (HierarchyKind::Named, names),
            Some(_) => (HierarchyKind::V1, names),
        }
    };
    let key = if unified { "" } else { controllers.first()? };
    let own = own
        .iter()
        .find(|(name, _)| name == key)
        .map(|(_, path)| path.clone());
    let own = own.unwrap_or_else(|| PathBuf::from("/"));
    Some(Hierarchy {
        kind,
        controllers,
        mount_point,
        root,
        own,
        read_only,
    })
}

/// Lines of /proc/self/cgroup, one entry for each controller; the name of the unified hierarchy is empty.
fn own_cgroups(text: &[u8]) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(3, |byte| *byte == b':');
        let (Some(_), Some(names), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        for name in String::from_utf8_lossy(names).split(',') {
            found.push((name.to_owned(), PathBuf::from(OsString::from_vec(path.to_vec()))));
        }
    }
    found
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Undoes the octal escapes of mountinfo: `\040` is a space.
fn unescape(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|digits| first == b'\\' && digits.iter().all(|d| (b'0'..b'8').contains(d)));
        if let Some(digits) = octal {
            let value = digits
                .iter()
                .fold(0u16, |sum, digit| sum * 8 + u16::from(digit - b'0'));
            out.push(u8::try_from(value).unwrap_or(b'?'));
            rest = &tail[3..];
        } else {
            out.push(first);
            rest = tail;
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

/// Major and minor of a kernel release; nothing for a release of another form.
fn kernel_version(release: &[u8]) -> Option<(u32, u32)> {
    let release = std::str::from_utf8(release).ok()?;
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
pub(crate) mod tests;
