//! linux.cgroupsPath as systemd's driver reads it, `slice:prefix:name`, to a unit and its cgroup.
//!
//! Pure. The form and its defaults are runc's: `system.slice` (`user.slice` for a user's own manager), `runc` and the
//! container's id. What systemd does not allow in a unit's name is escaped as systemd-escape(1) does it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::properties::Property;
use crate::cgroup::path::{CgroupPaths, Directory, FIELD};
use crate::dbus::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::facts::cgroup::{CgroupFacts, CgroupMode, Hierarchy, HierarchyKind};
use crate::facts::systemd::SystemdFacts;

/// systemd's limit for the name of a unit.
const MAX_NAME: usize = 255;

/// The transient scope of a container: enough for every later operation in any process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// `runc-ID.scope`
    pub unit: String,
    /// The slice that it is in, as `machine.slice`.
    pub slice: String,
    /// It belongs to a user's own manager, not to the one of the system.
    pub user: bool,
}

/// The scope of a container and its place in every hierarchy.
///
/// # Errors
/// The path is not of the form `slice:prefix:name`, or a part of it can be no name; or it is a user's own manager on a host
/// with hierarchies of version 1.
pub fn scope(
    cgroups_path: Option<&str>,
    id: &str,
    cgroup: &CgroupFacts,
    systemd: &SystemdFacts,
) -> Result<(Scope, CgroupPaths)> {
    let given = cgroups_path.filter(|path| !path.is_empty());
    let (slice, prefix, name) = match given {
        None => ("", "runc", id),
        Some(path) => parts(path)?,
    };
    let default = if systemd.user {
        "user.slice"
    } else {
        "system.slice"
    };
    let slice = if slice.is_empty() { default } else { slice };
    let below = expand(slice)?;
    let unit = format!("{prefix}-{}.scope", escaped(name));
    check(&unit)?;
    if cgroup.mode != CgroupMode::V2 && systemd.user {
        let message = "a user's own systemd has no cgroups of version 1: rootless containers need cgroup v2 alone for \
                       the systemd cgroup manager";
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("boot with systemd.unified_cgroup_hierarchy=1, or use --cgroup-manager cgroupfs"));
    }
    // systemd's own hierarchy comes first, as in its own eyes.
    let mut hierarchies: Vec<&Hierarchy> = cgroup.hierarchies.iter().collect();
    hierarchies.sort_by_key(|hierarchy| hierarchy.kind != HierarchyKind::Unified);
    let directories = hierarchies
        .into_iter()
        .map(|hierarchy| Directory {
            kind: hierarchy.kind,
            controllers: hierarchy.controllers.clone(),
            mount_point: hierarchy.mount_point.clone(),
            relative: shown(systemd, hierarchy).join(&below).join(&unit),
            read_only: hierarchy.read_only,
        })
        .collect();
    let scope = Scope {
        unit,
        slice: slice.to_owned(),
        user: systemd.user,
    };
    let paths = CgroupPaths {
        explicit: given.is_some(),
        directories,
    };
    Ok((scope, paths))
}

/// The manager's own cgroup from a mount point: systemd names cgroups from the root of the hierarchy, and the mount may
/// show a part of it only.
fn shown<'a>(systemd: &'a SystemdFacts, hierarchy: &Hierarchy) -> &'a Path {
    let own = Path::new(systemd.control_group.trim_start_matches('/'));
    let root = hierarchy.root.strip_prefix("/").unwrap_or(&hierarchy.root);
    own.strip_prefix(root).unwrap_or(own)
}

/// What every scope of a container has. Everything is counted from the start on, as with the other driver; a container
/// ends when it is told to, not with the targets of its host.
pub(super) fn basics(scope: &Scope, id: &str) -> Vec<Property> {
    let on = |name: &str| Property::new(name, Value::Bool(true), "(systemd)");
    vec![
        Property::new("Description", Value::Text(format!("container {id}")), "(systemd)"),
        Property::new("Slice", Value::text(&scope.slice), FIELD),
        on("Delegate"),
        on("MemoryAccounting"),
        on("CPUAccounting"),
        on("IOAccounting"),
        on("TasksAccounting"),
        Property::new("DefaultDependencies", Value::Bool(false), "(systemd)"),
    ]
}

fn parts(path: &str) -> Result<(&str, &str, &str)> {
    let mut parts = path.split(':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(slice), Some(prefix), Some(name), None) if !name.is_empty() => {
            if name.ends_with(".slice") {
                let message = format!("{path:?}: a slice holds no process; the name of a scope is needed");
                return Err(Error::spec(FIELD, message));
            }
            Ok((slice, prefix, name))
        }
        _ => Err(Error::spec(
            FIELD,
            format!(
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"
            ),
        )),
    }
}

/// `a-b.slice` lies in `a.slice`: systemd.slice(5).
fn expand(slice: &str) -> Result<PathBuf> {
    let refuse = || {
        let message = format!("invalid slice name: {slice:?} (like machine-web.slice, without a slash)");
        Error::spec(FIELD, message)
    };
    let name = slice.strip_suffix(".slice").ok_or_else(refuse)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if slice.len() > MAX_NAME || !name.chars().all(allowed) {
        return Err(refuse());
    }
    if name == "-" {
        return Ok(PathBuf::new());
    }
    let mut path = PathBuf::new();
    let mut prefix = String::new();
    for part in name.split('-') {
        if part.is_empty() {
            return Err(refuse());
        }
        path.push(format!("{prefix}{part}.slice"));
        prefix.push_str(part);
        prefix.push('-');
    }
    Ok(path)
}

fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b':' | b'-' | b'_' | b'.' | b'\\' | b'@' => {
                out.push(byte.into());
            }
            other => out.push_str(&format!("\\x{other:02x}")),
        }
    }
    out
}

fn check(unit: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if unit.len() <= MAX_NAME && unit.chars().all(allowed) {
        return Ok(());
    }
    let message =
        format!("{unit:?} is no name of a unit: at most {MAX_NAME} letters, digits and :-_.\\@ are allowed");
    Err(Error::spec(FIELD, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::cgroup::tests::{hybrid, v2};

    fn system() -> SystemdFacts {
        SystemdFacts {
            version: 257,
            user: false,
            control_group: "/".into(),
        }
    }

    fn user() -> SystemdFacts {
        SystemdFacts {
            version: 257,
            user: true,
            control_group: "/user.slice/user-1000.slice/user@1000.service".into(),
        }
    }

    fn place(path: Option<&str>, systemd: &SystemdFacts) -> (String, String) {
        let (scope, paths) = scope(path, "c1", &v2(), systemd).unwrap();
        assert_eq!(paths.explicit, path.is_some());
        (scope.unit, paths.directories[0].path().display().to_string())
    }

    #[test]
    fn slices_and_names() {
        for (path, unit, directory) in [
            (None, "runc-c1.scope", "system.slice/runc-c1.scope"),
            (
                Some("machine.slice:libpod:x"),
                "libpod-x.scope",
                "machine.slice/libpod-x.scope",
            ),
            (Some(":crio:x"), "crio-x.scope", "system.slice/crio-x.scope"),
            (
                Some("kubepods-besteffort-pod1.slice:cri-containerd:x"),
                "cri-containerd-x.scope",
                "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/cri-containerd-x.scope",
            ),
            (Some("-.slice:a:b"), "a-b.scope", "a-b.scope"),
            (
                Some("system.slice:a:b+c"),
                "a-b\\x2bc.scope",
                "system.slice/a-b\\x2bc.scope",
            ),
        ] {
            assert_eq!(
                place(path, &system()),
                (unit.to_owned(), format!("/sys/fs/cgroup/{directory}")),
                "{path:?}"
            );
        }
        assert_eq!(
            place(None, &user()).1,
            "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/user.slice/runc-c1.scope"
        );
    }

    #[test]
    fn other_forms_are_refused() {
        let long = format!("a.slice:b:{}", "c".repeat(255));
        for path in [
            "/docker/c1",
            "a.slice:b",
            "a.slice:b:c:d",
            "a.slice:b:",
            "a:b:c",
            "a/b.slice:c:d",
            "a--b.slice:c:d",
            "-a.slice:c:d",
            ".slice:c:d",
            "a.slice:b:c.slice",
            "a.slice:b c:d",
            &long,
        ] {
            let error = scope(Some(path), "c1", &v2(), &system()).unwrap_err();
            assert_eq!(error.field(), Some(FIELD), "{path}: {error}");
        }
    }

    #[test]
    fn beside_version_1_it_has_a_place_in_every_hierarchy() {
        let (_, paths) = scope(Some("m.slice:p:c1"), "c1", &hybrid(), &system()).unwrap();
        assert_eq!(paths.directories.len(), hybrid().hierarchies.len());
        assert_eq!(paths.directories[0].kind, HierarchyKind::Unified);
        for directory in &paths.directories {
            assert_eq!(directory.relative.to_str(), Some("m.slice/p-c1.scope"));
        }
        let error = scope(None, "c1", &hybrid(), &user()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn a_mount_that_shows_a_part() {
        let mut facts = v2();
        facts.hierarchies[0].root = "/docker/abc".into();
        let systemd = SystemdFacts {
            control_group: "/docker/abc".into(),
            ..system()
        };
        let (_, paths) = scope(None, "c1", &facts, &systemd).unwrap();
        assert_eq!(
            paths.directories[0].path().to_str(),
            Some("/sys/fs/cgroup/system.slice/runc-c1.scope")
        );
    }
}
