//! Why CRIU failed: the errors in its log.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

/// How much of a log is read, from its end, in bytes.
const READ: u64 = 1 << 20;
/// How many errors are shown, and how long each may be, in characters. The last ones: what CRIU can do without it calls
/// an error too.
const SHOWN: usize = 4;
const WIDTH: usize = 400;
/// CRIU would like to open more files, and goes on with fewer where it lacks CAP_SYS_RESOURCE.
const HARMLESS: &str = "rlimit: Can't setup RLIMIT_NOFILE for self";

/// The last errors of the log, in one line; None where it has none, or does not exist.
pub(super) fn from_log(directory: &OwnedFd, file: &str) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut log = File::from(rustix::fs::openat(directory, file, flags, Mode::empty()).ok()?);
    let length = log.metadata().ok()?.len();
    log.seek(SeekFrom::Start(length.saturating_sub(READ))).ok()?;
    let mut bytes = Vec::new();
    log.take(READ).read_to_end(&mut bytes).ok()?;
    errors(&String::from_utf8_lossy(&bytes))
}

/// The errors of a log's text: `(00.047464) Error (criu/mount.c:3141): mnt: ...`, perhaps with a pid after the time.
fn errors(log: &str) -> Option<String> {
    let mut found: Vec<&str> = Vec::new();
    for line in log.lines() {
        let Some(at) = line.find("Error (").filter(|_| !line.contains(HARMLESS)) else {
            continue;
        };
        let error = line.get(at..).unwrap_or_default();
        let text = error.split_once("): ").map_or(error, |(_, text)| text).trim();
        if !text.is_empty() && !found.contains(&text) {
            found.push(text);
        }
    }
    let cut = |text: &&str| text.chars().take(WIDTH).collect::<String>();
    let shown: Vec<String> = found
        .iter()
        .skip(found.len().saturating_sub(SHOWN))
        .map(cut)
        .collect();
    (!shown.is_empty()).then(|| shown.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_among_other_lines() {
        let log = "(00.01) cg: All right\n(00.02) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not \
            permitted\n(00.04) Error (criu/mount.c:3141): mnt: No mapping for 209:(null) mountpoint\n\
            (00.05)     17: Error (criu/files.c:12): fd: bad\n(00.06) Error (criu/files.c:12): fd: bad\n(00.07) Unlock\n";
        assert_eq!(
            errors(log).unwrap(),
            "mnt: No mapping for 209:(null) mountpoint; fd: bad"
        );
        assert_eq!(errors("(00.01) cg: All right\n"), None);
    }
}
