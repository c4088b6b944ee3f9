//! linux.cgroupsPath, the container's id and the facts of the host to one directory for each hierarchy.
//!
//! Pure: no file is looked at. The rules are runc's for its cgroupfs driver: an absolute path counts from the mount
//! point; a relative one, and the bare id where there is none, counts from the caller's own cgroup (version 1) or from
//! the parent of it (version 2, where a cgroup with processes cannot hand controllers to its children).

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::systemd::Scope;
use crate::error::{Error, ErrorKind, Result};
use crate::facts::cgroup::{CgroupFacts, CgroupMode, Hierarchy, HierarchyKind};

/// The field that everything here comes from.
pub const FIELD: &str = "linux.cgroupsPath";

/// A container's directory in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// What sort of hierarchy it is in.
    pub kind: HierarchyKind,
    /// The controllers of the hierarchy; for the unified one, those that the host has to give.
    pub controllers: Vec<String>,
    /// Where the hierarchy is mounted.
    pub mount_point: PathBuf,
    /// The directory from the mount point: not empty, relative, without `..`.
    pub relative: PathBuf,
    /// The hierarchy is mounted read-only.
    #[serde(default)]
    pub read_only: bool,
}

impl Directory {
    /// The absolute path.
    pub fn path(&self) -> PathBuf {
        self.mount_point.join(&self.relative)
    }

    /// The name for messages and maps: the controllers with commas; empty for the unified hierarchy, as in runc.
    pub fn name(&self) -> String {
        match self.kind {
            HierarchyKind::Unified => String::new(),
            HierarchyKind::V1 | HierarchyKind::Named => self.controllers.join(","),
        }
    }
}

/// Where a container's cgroups are going to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupPaths {
    /// The path was named in the configuration: then it is an error when it cannot be made, also for an
    /// unprivileged caller.
    pub explicit: bool,
    /// One directory for each mounted hierarchy.
    pub directories: Vec<Directory>,
}

/// Where a container's cgroups are: what the state file keeps, enough for every later operation in any process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupRecord {
    /// One directory for each hierarchy that the container was put into.
    pub directories: Vec<Directory>,
    /// The unit of systemd that they belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
}

impl CgroupRecord {
    /// Controller to absolute directory, as `cgroup_paths` of runc's state.json: the key of the unified hierarchy is
    /// empty, that of a named one is with its `name=`.
    pub fn paths(&self) -> BTreeMap<String, PathBuf> {
        let mut paths = BTreeMap::new();
        for directory in &self.directories {
            if directory.kind == HierarchyKind::Unified {
                paths.insert(String::new(), directory.path());
            } else {
                paths.extend(
                    directory
                        .controllers
                        .iter()
                        .map(|name| (name.clone(), directory.path())),
                );
            }
        }
        paths
    }
}

/// The directories of a container.
///
/// # Errors
/// The path names the root of a hierarchy, holds a zero byte or is too long; or it is relative and the caller's own
/// cgroup is not below what is mounted.
pub fn resolve(cgroups_path: Option<&Path>, id: &str, facts: &CgroupFacts) -> Result<CgroupPaths> {
    let given = cgroups_path.filter(|path| !path.as_os_str().is_empty());
    let wanted = given.unwrap_or(Path::new(id));
    let inner = clean(wanted).map_err(|error| match given {
        Some(_) => error.with_field(FIELD),
        None => error,
    })?;
    let mut directories = Vec::with_capacity(facts.hierarchies.len());
    for hierarchy in &facts.hierarchies {
        let relative = match wanted.is_absolute() {
            true => inner.clone(),
            false => base(hierarchy, facts.mode)?.join(&inner),
        };
        directories.push(Directory {
            kind: hierarchy.kind,
            controllers: hierarchy.controllers.clone(),
            mount_point: hierarchy.mount_point.clone(),
            relative,
            read_only: hierarchy.read_only,
        });
    }
    Ok(CgroupPaths {
        explicit: given.is_some(),
        directories,
    })
}

/// Lexical cleaning with the root as the floor: `..` never leads above it. The result is relative.
fn clean(path: &Path) -> Result<PathBuf> {
    let bytes = path.as_os_str().as_bytes();
    let refuse = |message: String| Err(Error::new(ErrorKind::InvalidSpec, message));
    if bytes.contains(&0) {
        return refuse("the path holds a zero byte".into());
    }
    // Below PATH_MAX (4096) with room for the mount point; the kernel would answer ENAMETOOLONG half way down.
    if bytes.len() > 3584 {
        return refuse(format!(
            "the path has {} bytes, at most 3584 are possible",
            bytes.len()
        ));
    }
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if cleaned.as_os_str().is_empty() {
        // Limits would then hold for the whole host, and "kill all" would kill it.
        return refuse(format!(
            "{:?} names the root of the cgroup hierarchies, not a cgroup in them",
            path
        ));
    }
    Ok(cleaned)
}

/// What a relative path counts from, from the mount point of the hierarchy.
fn base(hierarchy: &Hierarchy, mode: CgroupMode) -> Result<PathBuf> {
    if hierarchy.kind == HierarchyKind::Unified && mode == CgroupMode::Hybrid {
        // As runc: beside version 1 the unified hierarchy only tracks processes, and a cgroup below the caller's own
        // would move with the caller's unit.
        return Ok(PathBuf::new());
    }
    let climbs = hierarchy
        .own
        .components()
        .any(|component| component == Component::ParentDir);
    let own = hierarchy
        .own
        .strip_prefix(&hierarchy.root)
        .ok()
        .filter(|_| !climbs)
        .ok_or_else(|| {
            let message = format!(
                "the caller's own cgroup {:?} is not below {:?}, which is what {:?} shows",
                hierarchy.own, hierarchy.root, hierarchy.mount_point
            );
            Error::new(ErrorKind::Unsupported, message)
                .with_field(FIELD)
                .with_hint("give an absolute linux.cgroupsPath")
        })?;
    match hierarchy.kind {
        HierarchyKind::Unified => Ok(own.parent().map(Path::to_path_buf).unwrap_or_default()),
        HierarchyKind::V1 | HierarchyKind::Named => Ok(own.to_path_buf()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::cgroup::tests::{hybrid, v2};

    fn path_of(path: Option<&str>, facts: &CgroupFacts, controller: &str) -> String {
        let paths = resolve(path.map(Path::new), "c1", facts).unwrap();
        let found = paths
            .directories
            .iter()
            .find(|d| d.name().split(',').any(|name| name == controller));
        found.unwrap().path().to_str().unwrap().to_owned()
    }

    #[test]
    fn absolute_paths_count_from_the_mount() {
        assert_eq!(
            path_of(Some("/docker/abc"), &v2(), ""),
            "/sys/fs/cgroup/docker/abc"
        );
        let facts = hybrid();
        assert_eq!(
            path_of(Some("/docker/abc"), &facts, "memory"),
            "/sys/fs/cgroup/memory/docker/abc"
        );
        assert_eq!(
            path_of(Some("/docker/abc"), &facts, "cpu"),
            "/sys/fs/cgroup/cpu,cpuacct/docker/abc"
        );
        assert_eq!(
            path_of(Some("/docker/abc"), &facts, "name=systemd"),
            "/sys/fs/cgroup/systemd/docker/abc"
        );
        assert_eq!(
            path_of(Some("/docker/abc"), &facts, ""),
            "/sys/fs/cgroup/unified/docker/abc"
        );
    }

    #[test]
    fn relative_paths_and_ids_count_from_the_caller() {
        for (given, tail) in [(None, "c1"), (Some(""), "c1"), (Some("a/b"), "a/b")] {
            assert_eq!(
                path_of(given, &v2(), ""),
                format!("/sys/fs/cgroup/user.slice/{tail}")
            );
            let facts = hybrid();
            assert_eq!(
                path_of(given, &facts, "memory"),
                format!("/sys/fs/cgroup/memory/user.slice/deep:er/{tail}")
            );
            assert_eq!(
                path_of(given, &facts, "devices"),
                format!("/sys/fs/cgroup/devices/{tail}")
            );
            assert_eq!(
                path_of(given, &facts, ""),
                format!("/sys/fs/cgroup/unified/{tail}")
            );
        }
        assert!(!resolve(None, "c1", &v2()).unwrap().explicit);
        assert!(resolve(Some(Path::new("x")), "c1", &v2()).unwrap().explicit);
        // A caller in the root of version 2 has no parent to count from.
        let mut facts = v2();
        facts.hierarchies[0].own = "/".into();
        assert_eq!(path_of(None, &facts, ""), "/sys/fs/cgroup/c1");
    }

    #[test]
    fn a_mount_that_shows_a_part_of_the_hierarchy() {
        let mut facts = hybrid();
        let memory = facts
            .hierarchies
            .iter_mut()
            .find(|h| h.controllers == ["memory"])
            .unwrap();
        memory.root = "/user.slice".into();
        assert_eq!(
            path_of(None, &facts, "memory"),
            "/sys/fs/cgroup/memory/deep:er/c1"
        );
        for (root, own) in [("/other", "/user.slice"), ("/", "/../x")] {
            let memory = facts
                .hierarchies
                .iter_mut()
                .find(|h| h.controllers == ["memory"])
                .unwrap();
            (memory.root, memory.own) = (root.into(), own.into());
            let error = resolve(None, "c1", &facts).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(resolve(Some(Path::new("/abs")), "c1", &facts).is_ok());
        }
    }

    #[test]
    fn dots_never_lead_out() {
        for (given, expected) in [
            ("/../../etc", "/sys/fs/cgroup/etc"),
            ("/a/../../b/./c//", "/sys/fs/cgroup/b/c"),
            ("../../x", "/sys/fs/cgroup/user.slice/x"),
        ] {
            assert_eq!(path_of(Some(given), &v2(), ""), expected);
        }
        for root in ["/", "//", "/..", ".", "..", "a/..", "/./"] {
            let error = resolve(Some(Path::new(root)), "c1", &v2()).unwrap_err();
            assert_eq!(error.field(), Some(FIELD), "{root}");
        }
        assert!(resolve(Some(Path::new("/a\0b")), "c1", &v2()).is_err());
        let long = format!("/{}", "x/".repeat(32_768));
        assert_eq!(
            resolve(Some(Path::new(&long)), "c1", &v2()).unwrap_err().kind(),
            ErrorKind::InvalidSpec
        );
    }

    #[test]
    fn the_record_gives_the_map_of_the_state_file() {
        let record = CgroupRecord {
            directories: resolve(Some(Path::new("/x")), "c", &hybrid())
                .unwrap()
                .directories,
            scope: None,
        };
        let paths = record.paths();
        assert_eq!(paths["cpu"], paths["cpuacct"]);
        assert_eq!(paths[""], Path::new("/sys/fs/cgroup/unified/x"));
        assert_eq!(paths.len(), 13);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<CgroupRecord>(&text).unwrap(), record);
    }
}
