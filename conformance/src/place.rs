//! Where containers' cgroups may be: anywhere for root, and for an unprivileged user in what was delegated to it.
//!
//! Lives here: finding a delegated cgroup and its controllers, paths for configurations, paths on the host. Must not
//! live here: leftovers of containers (`leftovers`). Delegation exists in version 2 alone, cgroups(7): whoever moves a
//! process needs rights where it comes from too, so the suite has to run inside of what was given.

use crate::host::CGROUP_ROOT;
use rustix::fs::{Access, access};
use std::path::{Path, PathBuf};

/// How to get what is missing, for people.
const HOW: &str = "run the suite as systemd-run --user --property Delegate=yes, or with --systemd-cgroup";

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A folder of this name at the top of every hierarchy, for root.
    Top(String),
    /// Scopes of systemd: the slice, and the path of its cgroup below the mount point.
    Systemd {
        /// As in a configuration.
        slice: &'static str,
        /// Below `/sys/fs/cgroup`; of version 2 where `controllers` is there.
        path: PathBuf,
        /// What a user's manager was given; none for root, who has all.
        controllers: Option<Vec<String>>,
    },
    /// A folder below a delegated cgroup of version 2.
    Delegated {
        /// Below `/sys/fs/cgroup`.
        path: PathBuf,
        /// What it may hand down.
        controllers: Vec<String>,
    },
    /// None, and why.
    Nowhere(String),
}

impl Place {
    /// Looks for one; `name` is of our own.
    ///
    /// # Errors
    /// systemd is asked for and is not there.
    pub(crate) fn look(root: bool, systemd: bool, name: &str) -> Result<Place, String> {
        if systemd && !Path::new("/run/systemd/system").is_dir() {
            return Err("--systemd-cgroup: systemd does not run here".to_owned());
        }
        match (root, systemd) {
            (true, false) => Ok(Place::Top(name.to_owned())),
            // A slice that is there already: one of our own would stay behind.
            (true, true) => Ok(Place::Systemd {
                slice: "system.slice",
                path: "system.slice".into(),
                controllers: None,
            }),
            (false, true) => session(),
            (false, false) => Ok(delegated(name)),
        }
    }

    /// Whether containers are scopes of systemd.
    pub(crate) fn is_systemd(&self) -> bool {
        matches!(self, Place::Systemd { .. })
    }

    /// Value of `linux.cgroupsPath` for the container `id`, where it has a cgroup.
    pub(crate) fn cgroups_path(&self, id: &str) -> Option<String> {
        match self {
            Place::Top(name) => Some(format!("/{name}/{id}")),
            Place::Systemd { slice, .. } => Some(format!("{slice}:t:{id}")),
            Place::Delegated { path, .. } => Some(format!("/{}/{id}", path.display())),
            Place::Nowhere(_) => None,
        }
    }

    /// The container's cgroup below a hierarchy's mount point.
    pub(crate) fn below(&self, mount_point: &Path, id: &str) -> PathBuf {
        match self {
            Place::Top(name) => mount_point.join(name).join(id),
            Place::Systemd { path, .. } => mount_point.join(path).join(format!("t-{id}.scope")),
            Place::Delegated { path, .. } => mount_point.join(path).join(id),
            Place::Nowhere(_) => mount_point.join("none").join(id),
        }
    }

    /// Why a container has no cgroup, if so.
    pub(crate) fn lacks(&self) -> Option<&str> {
        match self {
            Place::Nowhere(why) => Some(why),
            _ => None,
        }
    }

    /// Controllers that were delegated; none where that is no question.
    pub(crate) fn controllers(&self) -> Option<&[String]> {
        match self {
            Place::Systemd { controllers, .. } => controllers.as_deref(),
            Place::Delegated { controllers, .. } => Some(controllers),
            Place::Top(_) => None,
            Place::Nowhere(_) => Some(&[]),
        }
    }

    /// Removes what was made of it.
    pub(crate) fn clear(&self) {
        match self {
            Place::Top(name) => crate::leftovers::remove_cgroups(name),
            Place::Delegated { path, .. } => {
                if let Some(name) = path.file_name() {
                    crate::leftovers::remove_cgroups(&name.to_string_lossy());
                }
            }
            Place::Systemd { .. } | Place::Nowhere(_) => {}
        }
    }
}

/// The user's own manager, which systemd starts for a session or for a user who lingers, user@.service(5).
fn session() -> Result<Place, String> {
    let uid = rustix::process::geteuid().as_raw();
    let manager = format!("user.slice/user-{uid}.slice/user@{uid}.service");
    let folder = Path::new(CGROUP_ROOT).join(&manager);
    if !folder.join("cgroup.controllers").exists() {
        return Err(format!(
            "--systemd-cgroup: no manager of this user's with cgroup v2: no {} (loginctl enable-linger starts one)",
            folder.display()
        ));
    }
    let slice = "user.slice";
    Ok(Place::Systemd {
        slice,
        path: Path::new(&manager).join(slice),
        controllers: Some(controllers(&folder)),
    })
}

/// The cgroup around our own, where it is ours to write: processes and controllers exclude each other in one cgroup.
fn delegated(name: &str) -> Place {
    let nowhere = |why: String| Place::Nowhere(format!("{why}; {HOW}"));
    if !Path::new(CGROUP_ROOT).join("cgroup.controllers").exists() {
        return Place::Nowhere(
            "cgroups of version 1 are not delegated to users (cgroup v2 alone would be)".to_owned(),
        );
    }
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or_default();
    let Some(above) = Path::new(own).parent() else {
        return nowhere("the suite runs in the root of all cgroups".to_owned());
    };
    let folder = Path::new(CGROUP_ROOT).join(above);
    for path in [folder.clone(), folder.join("cgroup.procs")] {
        if access(&path, Access::WRITE_OK).is_err() {
            return nowhere(format!(
                "no cgroup is delegated: {} cannot be written",
                path.display()
            ));
        }
    }
    Place::Delegated {
        path: above.join(name),
        controllers: controllers(&folder),
    }
}

fn controllers(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_together() {
        let place = Place::Delegated {
            path: "user.slice/job/cf-1-all".into(),
            controllers: vec!["pids".into()],
        };
        assert_eq!(
            place.cgroups_path("x").as_deref(),
            Some("/user.slice/job/cf-1-all/x")
        );
        assert_eq!(
            place.below(Path::new("/m"), "x"),
            Path::new("/m/user.slice/job/cf-1-all/x")
        );
        let top = Place::look(true, false, "cf-1-all").unwrap();
        assert_eq!(top.cgroups_path("x").as_deref(), Some("/cf-1-all/x"));
        assert_eq!(top.below(Path::new("/m"), "x"), Path::new("/m/cf-1-all/x"));
        assert_eq!(Place::Nowhere("why".into()).cgroups_path("x"), None);
        assert!(top.controllers().is_none());
    }
}
