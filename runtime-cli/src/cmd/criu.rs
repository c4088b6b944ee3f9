//! The options that checkpoint and restore share, and what they mean.

use std::path::PathBuf;

use runtime_core::{CriuOptions, Error, ErrorKind, ManageCgroups, NetworkLock, Result};

use crate::args::{Flag, Matches, bad_value};

pub(crate) const IMAGE_PATH: Flag = Flag::option(
    "image-path",
    "DIR",
    "directory of the image files (default: checkpoint in the current directory)",
);
pub(crate) const WORK_PATH: Flag = Flag::option(
    "work-path",
    "DIR",
    "directory of CRIU's log and statistics (default: that of the image files)",
);
pub(crate) const TCP_ESTABLISHED: Flag = Flag::switch(
    "tcp-established",
    "save and restore established connections of TCP",
);
pub(crate) const EXT_UNIX_SK: Flag = Flag::switch(
    "ext-unix-sk",
    "allow connections to unix sockets outside of the container",
);
pub(crate) const SHELL_JOB: Flag = Flag::switch(
    "shell-job",
    "allow a session and a terminal that are those of the caller's shell",
);
pub(crate) const LAZY_PAGES: Flag = Flag::switch(
    "lazy-pages",
    "move memory when it is needed, by userfaultfd, while the container runs already",
);
pub(crate) const FILE_LOCKS: Flag = Flag::switch("file-locks", "save and restore file locks");
pub(crate) const MANAGE_CGROUPS: Flag = Flag::option(
    "manage-cgroups-mode",
    "MODE",
    "what CRIU does about cgroups: soft, full, strict or ignore (default: soft)",
)
.choices(&["soft", "full", "strict", "ignore"]);
pub(crate) const EMPTY_NS: Flag = Flag::option(
    "empty-ns",
    "TYPE",
    "leave devices and addresses of this namespace to others: network, which is always so",
)
.choices(&["network"]);
pub(crate) const AUTO_DEDUP: Flag = Flag::switch(
    "auto-dedup",
    "remove memory from earlier images that a later one holds too",
);
pub(crate) const NETWORK_LOCK: Flag = Flag::option(
    "network-lock",
    "METHOD",
    "how the network is kept still meanwhile: iptables, nftables or skip (default: CRIU's choice)",
)
.choices(&["iptables", "nftables", "skip"]);

/// What is common to both.
///
/// # Errors
/// A value that is not allowed.
pub(crate) fn options(matches: &Matches) -> Result<CriuOptions> {
    let modes = [
        ("soft", ManageCgroups::Soft),
        ("full", ManageCgroups::Full),
        ("strict", ManageCgroups::Strict),
        ("ignore", ManageCgroups::Ignore),
    ];
    let locks = [
        ("iptables", Some(NetworkLock::Iptables)),
        ("nftables", Some(NetworkLock::Nftables)),
        ("skip", Some(NetworkLock::Skip)),
    ];
    for kind in matches.values("empty-ns")? {
        if kind != "network" {
            return Err(bad_value("empty-ns", kind.as_ref(), "network"));
        }
    }
    let mut options = CriuOptions::new(
        matches
            .path("image-path")
            .unwrap_or_else(|| PathBuf::from("checkpoint")),
    );
    options.work = matches.path("work-path");
    options.tcp_established = matches.has("tcp-established");
    options.ext_unix_sk = matches.has("ext-unix-sk");
    options.shell_job = matches.has("shell-job");
    options.file_locks = matches.has("file-locks");
    options.auto_dedup = matches.has("auto-dedup");
    options.lazy_pages = matches.has("lazy-pages");
    options.manage_cgroups = matches.choice("manage-cgroups-mode", ManageCgroups::Default, &modes)?;
    options.network_lock = matches.choice("network-lock", None, &locks)?;
    Ok(options)
}

/// ADDRESS:PORT; an IPv6 address in brackets.
///
/// # Errors
/// Anything else.
pub(crate) fn page_server(value: &str) -> Result<(String, u16)> {
    let split = value.rsplit_once(':').and_then(|(address, port)| {
        let inner = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = match inner {
            Some(inner) => inner,
            None if address.contains(':') => return None,
            None => address,
        };
        let port = port.parse().ok().filter(|port| *port != 0)?;
        (!address.is_empty()).then(|| (address.to_owned(), port))
    });
    split.ok_or_else(|| {
        let message = format!(
            "invalid value {value:?} for --page-server: allowed: ADDRESS:PORT, an IPv6 address in brackets, the port \
             from 1 to 65535"
        );
        Error::new(ErrorKind::InvalidArgument, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_server_has_an_address_and_a_port() {
        let read = |value| page_server(value).ok();
        assert_eq!(read("10.0.0.1:27277"), Some(("10.0.0.1".to_owned(), 27277)));
        assert_eq!(read("[::1]:1"), Some(("::1".to_owned(), 1)));
        for wrong in ["", "a", ":1", "a:", "a:0", "a:65536", "::1:1", "a:x"] {
            let error = page_server(wrong).expect_err(wrong).to_string();
            assert!(error.contains("--page-server"), "{error}");
        }
    }
}
