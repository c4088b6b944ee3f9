//! What a report about this host looks at beside [`HostFacts`]: settings, programs and files that decide whether
//! containers of a certain kind can be made. Not gathered for a plan, because nothing in a plan needs it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::HostFacts;
use super::cgroup::HierarchyKind;
use crate::error::Result;

/// How this host is set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupportFacts {
    /// What a plan is made from.
    pub host: HostFacts,
    /// The kinds of namespaces that the kernel has: the names in /proc/self/ns.
    pub namespaces: Vec<String>,
    /// `vm.memfd_noexec` of this pid namespace, where the kernel has it.
    pub memfd_noexec: Option<u64>,
    /// Whether a copy of init is installed.
    pub installed_init: bool,
    /// `user.max_user_namespaces`.
    pub max_user_namespaces: Option<u64>,
    /// `kernel.unprivileged_userns_clone`, a switch of Debian's kernels.
    pub unprivileged_userns_clone: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns`, a switch of Ubuntu's kernels.
    pub apparmor_restrict_userns: Option<u64>,
    /// The actions that seccomp filters may use; empty: no filters.
    pub seccomp_actions: Vec<String>,
    /// Whether systemd runs this host.
    pub systemd: bool,
    /// Whether newuidmap and newgidmap are installed with the privilege that they need.
    pub id_map_helpers: bool,
    /// Whether the caller has ranges in /etc/subuid and /etc/subgid.
    pub subordinate_ids: bool,
    /// The controllers of the caller's own version 2 cgroup; None: the caller may not make cgroups there.
    pub delegated: Option<Vec<String>>,
    /// criu in the search path.
    pub criu: Option<PathBuf>,
    /// ps in the search path.
    pub ps: Option<PathBuf>,
}

impl SupportFacts {
    /// Looks at this host.
    ///
    /// # Errors
    /// System where /proc cannot be read.
    pub fn gather() -> Result<Self> {
        let host = HostFacts::gather()?;
        let delegated = delegated(&host);
        let subordinate_ids = subordinate_ids(host.euid);
        Ok(Self {
            host,
            namespaces: names_in("/proc/self/ns"),
            memfd_noexec: number_in("/proc/sys/vm/memfd_noexec"),
            installed_init: Path::new(crate::INSTALLED_INIT).is_file(),
            max_user_namespaces: number_in("/proc/sys/user/max_user_namespaces"),
            unprivileged_userns_clone: number_in("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor_restrict_userns: number_in("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            seccomp_actions: words_in("/proc/sys/kernel/seccomp/actions_avail"),
            systemd: Path::new("/run/systemd/system").is_dir(),
            id_map_helpers: ["newuidmap", "newgidmap"]
                .into_iter()
                .all(|name| id_map_helper(name).is_some_and(|path| has_privilege(&path))),
            subordinate_ids,
            delegated,
            criu: in_path("criu"),
            ps: in_path("ps"),
        })
    }
}

fn names_in(directory: &str) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.ends_with("_for_children"))
        .collect();
    names.sort_unstable();
    names
}

fn words_in(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

fn number_in(file: &str) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The program of this name in an absolute directory of the search path.
pub(crate) fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|path| path.is_absolute() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok())
}

/// Where distributions install newuidmap(1) and newgidmap(1).
const HELPERS: [&str; 3] = ["/usr/bin", "/bin", "/usr/local/bin"];

/// newuidmap or newgidmap: in the usual directories, else in an absolute one of the search path, where NixOS and Guix have
/// their set-user-id programs. The search path is not asked for root: who calls as a user runs with that user's rights
/// whatever it names, root's may come from a user.
pub(crate) fn id_map_helper(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").filter(|_| !rustix::process::geteuid().is_root());
    let usual = HELPERS.iter().map(PathBuf::from);
    first_with_privilege(name, usual.chain(path.iter().flat_map(std::env::split_paths)))
}

/// The first that has its privilege; where none has it, the first at all, which says itself what it lacks.
fn first_with_privilege(name: &str, directories: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    let found: Vec<PathBuf> = directories
        .map(|directory| directory.join(name))
        .filter(|path| path.is_absolute() && path.is_file())
        .filter(|path| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok())
        .collect();
    let privileged = found.iter().find(|path| has_privilege(path));
    privileged.or(found.first()).cloned()
}

/// Set-user-id, or file capabilities as some distributions prefer.
fn has_privilege(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let set_user_id = std::fs::metadata(path).is_ok_and(|file| file.mode() & libc::S_ISUID != 0);
    let mut buffer = [0u8; 32];
    set_user_id || rustix::fs::getxattr(path, "security.capability", &mut buffer).is_ok()
}

/// subuid(5): lines of `name or uid:first:count`.
fn subordinate_ids(uid: u32) -> bool {
    let names = [uid.to_string(), crate::ops::user_name(uid)];
    ["/etc/subuid", "/etc/subgid"].into_iter().all(|file| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split(':').next())
            .any(|owner| names.iter().any(|name| name == owner))
    })
}

fn delegated(host: &HostFacts) -> Option<Vec<String>> {
    let unified = host
        .cgroup
        .hierarchies
        .iter()
        .find(|hierarchy| hierarchy.kind == HierarchyKind::Unified && !hierarchy.read_only)?;
    let below = unified.own.strip_prefix(&unified.root).ok()?;
    let own = unified.mount_point.join(below);
    let writable = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    if !writable(&own) || !writable(&own.join("cgroup.procs")) {
        return None;
    }
    Some(words_in(own.join("cgroup.controllers").to_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_is_the_first_with_its_privilege_in_an_absolute_directory() {
        use std::os::unix::fs::PermissionsExt;
        let top = std::env::temp_dir().join(format!("helpers-{}", std::process::id()));
        let place = |name: &str, mode: u32| {
            let directory = top.join(name);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("helper"), "").unwrap();
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(directory.join("helper"), mode).unwrap();
            directory
        };
        let (plain, privileged) = (place("plain", 0o755), place("privileged", 0o4755));
        let text = place("text", 0o644);
        let find = |places: &[&Path]| {
            let found = first_with_privilege("helper", places.iter().map(PathBuf::from));
            found.and_then(|path| Some(path.parent()?.to_owned()))
        };
        assert_eq!(find(&[&plain, &privileged]), Some(privileged.clone()));
        assert_eq!(find(&[&text, &plain]), Some(plain));
        assert_eq!(find(&[Path::new("relative"), Path::new(""), &top]), None);
        std::fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn this_host_has_what_tests_need() {
        let facts = SupportFacts::gather().unwrap();
        assert!(facts.namespaces.iter().any(|name| name == "mnt"), "{facts:?}");
        assert!(!facts.namespaces.iter().any(|name| name.contains("children")));
        let json = serde_json::to_string(&facts).unwrap();
        assert_eq!(serde_json::from_str::<SupportFacts>(&json).unwrap(), facts);
    }
}
