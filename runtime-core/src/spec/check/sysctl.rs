//! `linux.sysctl`: only keys that belong to a namespace of the container, all judged before the first is written.
//!
//! /proc/sys is not namespaced as a whole: a key that is not on this list would be written on the host. Whether a
//! joined network namespace is the host's own is a question to the host and asked by the plan.

use super::Namespaces;
use crate::error::{Error, Result};
use oci_spec::runtime::Linux;

/// Keys of the IPC namespace, beside all of fs.mqueue.
const IPC_KEYS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

pub(super) fn check(linux: &Linux, namespaces: &Namespaces) -> Result<()> {
    let mut entries: Vec<_> = linux.sysctl().iter().flatten().collect();
    entries.sort_unstable(); // The map has no order; the error should.
    for (key, value) in entries {
        one(key, namespaces)
            .and_then(|()| match value.contains('\0') {
                true => Err(format!("the value of sysctl {key:?} contains a null byte")),
                false => Ok(()),
            })
            .map_err(|message| Error::spec(format!("linux.sysctl[{key:?}]"), message))?;
    }
    Ok(())
}

fn one(written: &str, namespaces: &Namespaces) -> Result<(), String> {
    let key = dotted(written);
    // In the dotted form a slash stands for a dot inside a name, so ".." there and "/../" elsewhere climb out.
    let climbs = proc_path(written)
        .split('/')
        .any(|part| matches!(part, "" | "." | ".."));
    if climbs || key.contains('\0') {
        return Err(format!("sysctl {written:?} is not a name below /proc/sys"));
    }
    if IPC_KEYS.contains(&key.as_str()) || key.starts_with("fs.mqueue.") {
        return allowed(namespaces.ipc, || {
            format!("sysctl {key:?} is not allowed in the hosts ipc namespace")
        });
    }
    if key.starts_with("net.") {
        return allowed(namespaces.network, || {
            format!("sysctl {key:?} not allowed in host network namespace")
        });
    }
    if namespaces.uts && key == "kernel.domainname" {
        return Ok(());
    }
    if namespaces.uts && key == "kernel.hostname" {
        return Err(format!(
            "sysctl {key:?} is not allowed as it conflicts with the OCI \"hostname\" field"
        ));
    }
    if key.starts_with("user.") {
        return allowed(namespaces.user, || {
            format!("setting ucounts without a user namespace not allowed: {key}")
        });
    }
    Err(format!("sysctl {key:?} is not in a separate kernel namespace"))
}

fn allowed(yes: bool, message: impl FnOnce() -> String) -> Result<(), String> {
    if yes { Ok(()) } else { Err(message()) }
}

/// Both separators are accepted, whichever comes first (sysctl(8)): `net/ipv4/conf/eno2.100/rp_filter` is
/// `net.ipv4.conf.eno2/100.rp_filter`.
fn dotted(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(first) if key.as_bytes()[first] == b'/' => exchange(key),
        _ => key.to_owned(),
    }
}

fn exchange(key: &str) -> String {
    let other = |char| match char {
        '.' => '/',
        '/' => '.',
        char => char,
    };
    key.chars().map(other).collect()
}

/// The path below /proc/sys that a key names.
pub(crate) fn proc_path(key: &str) -> String {
    exchange(&dotted(key))
}
