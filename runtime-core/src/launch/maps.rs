//! Writing the id maps of a user namespace (user_namespaces(7)).

use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::hook::{Captured, run_captured};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::IdMap;

/// How long a helper may take: it may ask a directory service over a network.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes both maps of the namespace that `pid` is in.
pub(super) fn write(
    pid: i32,
    uids: &[IdMap],
    gids: &[IdMap],
    deny_setgroups: bool,
    helpers: bool,
) -> Result<()> {
    if deny_setgroups {
        write_file(pid, "setgroups", "deny")?;
    }
    if helpers {
        helper("newuidmap", pid, uids)?;
        return helper("newgidmap", pid, gids);
    }
    write_file(pid, "uid_map", &lines(uids))?;
    write_file(pid, "gid_map", &lines(gids))
}

fn lines(maps: &[IdMap]) -> String {
    maps.iter().fold(String::new(), |mut text, map| {
        let _ = writeln!(text, "{} {} {}", map.container, map.host, map.size);
        text
    })
}

fn write_file(pid: i32, name: &str, text: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{name}");
    std::fs::write(&path, text).map_err(|error| {
        let error = Error::os(format!("write({path:?}, {:?})", text.trim_end()), error);
        if error.errno() == Some(libc::EPERM) {
            error.with_hint(
                "an unprivileged caller may map its own id only; ranges need newuidmap and /etc/subuid",
            )
        } else {
            error
        }
    })
}

/// Runs the set-uid helper that checks the ranges against /etc/subuid or /etc/subgid.
fn helper(name: &str, pid: i32, maps: &[IdMap]) -> Result<()> {
    let path = crate::facts::id_map_helper(name).ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            format!("{name} is neither in /usr/bin, /bin and /usr/local/bin nor in $PATH"),
        )
        .with_hint(
            "install the package uidmap (Debian) or shadow-utils (Fedora), or map the caller's own id only",
        )
    })?;
    let mut args = vec![name.to_owned(), pid.to_string()];
    for map in maps {
        args.extend([map.container, map.host, map.size].map(|number| number.to_string()));
    }
    let path = path.to_string_lossy().into_owned();
    let no_input: Option<OwnedFd> = None;
    let root = std::path::Path::new("/");
    match run_captured(&path, &args, &[], no_input, root, Some(PATIENCE))? {
        Captured { timed_out: true, .. } => Err(Error::new(
            ErrorKind::System,
            format!("{path} did not end within {} s", PATIENCE.as_secs()),
        )
        .with_hint("it asks the host's name service for the caller's name (/etc/nsswitch.conf, subid)")),
        Captured {
            exit: crate::state::Exit::Code(0),
            ..
        } => Ok(()),
        Captured { error, .. } => Err(Error::new(
            ErrorKind::Permission,
            format!("{} failed: {}", args.join(" "), error.trim()),
        )
        .with_hint("the ranges must be in /etc/subuid and /etc/subgid for this user")),
    }
}
