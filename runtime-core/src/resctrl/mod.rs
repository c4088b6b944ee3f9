//! Groups of the resctrl filesystem: classes of service for caches and memory bandwidth, and groups that measure.
//!
//! Paths come from the plan or from the record. Nothing here decides whose a group is: who makes one writes that down
//! before. Processes enter by init, which writes "0", itself, to the `tasks` files that are opened here.

pub(crate) mod schema;

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// What a container has of resctrl.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RdtRecord {
    /// Its group.
    pub(crate) group: PathBuf,
    /// Whether the group goes with the container; config-linux.md: only one that was made for it, without a closID.
    pub(crate) own: bool,
    /// Whether the group was made by this create, so that it is removed when the container is.
    pub(crate) made: bool,
    /// The monitoring group that was made.
    pub(crate) monitor: Option<PathBuf>,
}

/// Whether the group is there.
pub(crate) fn exists(group: &Path) -> bool {
    rustix::fs::statat(CWD, group, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Makes a group; false where it was there.
///
/// # Errors
/// System, with what the kernel says about it: there are as many groups as the hardware has classes.
pub(crate) fn make(root: &Path, group: &Path) -> Result<bool> {
    match rustix::fs::mkdirat(CWD, group, Mode::from_raw_mode(0o755)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(explained(
            root,
            Error::os(format!("mkdir({group:?}, 0755)"), errno),
        )),
    }
}

/// Writes all lines at once, as the file wants them.
pub(crate) fn write_schemata(root: &Path, group: &Path, lines: &[String]) -> Result<()> {
    let path = group.join("schemata");
    let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    let written = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| explained(root, Error::os(format!("write({path:?}, {text:?})"), error)))
}

/// Schemata that were written over others.
#[derive(Debug)]
pub(crate) struct SchemataChange {
    group: PathBuf,
    old: Vec<String>,
}

impl SchemataChange {
    /// Writes the lines and remembers what the group had.
    pub(crate) fn write(group: &Path, lines: Vec<String>) -> Result<Self> {
        let path = group.join("schemata");
        let file =
            std::fs::read_to_string(&path).map_err(|error| Error::os(format!("open({path:?})"), error))?;
        let old = schema::same_resources(&lines, &file);
        write_schemata(group.parent().unwrap_or(group), group, &lines)?;
        Ok(Self {
            group: group.to_owned(),
            old,
        })
    }

    /// Writes the old ones again; the error then is still the first one.
    pub(crate) fn undo_for(&self, error: Error) -> Error {
        match write_schemata(&self.group, &self.group, &self.old) {
            Ok(()) => error,
            Err(_) => error.with_hint(format!("the schemata of {} stay changed", self.group.display())),
        }
    }
}

/// A group that is not the container's must have the values that are asked for (config-linux.md, IntelRdt).
pub(crate) fn compare_schemata(group: &Path, lines: &[String]) -> Result<()> {
    let path = group.join("schemata");
    let file = std::fs::read_to_string(&path).map_err(|error| Error::os(format!("open({path:?})"), error))?;
    let missing = schema::missing(lines, &file);
    let Some(first) = missing.first() else {
        return Ok(());
    };
    let found: Vec<_> = file.lines().map(str::trim).collect();
    Err(Error::new(
        ErrorKind::InvalidSpec,
        format!(
            "the group {} is there already and has {}, not {first:?}",
            group.display(),
            found.join(" ")
        ),
    ))
}

/// The file that takes processes into a group.
pub(crate) fn tasks(group: &Path) -> Result<OwnedFd> {
    let path = group.join("tasks");
    rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::os(format!("open({path:?}, O_WRONLY)"), errno))
}

/// Removes what was made for a container; what is gone is fine. The kernel takes whoever is left into the group above.
pub(crate) fn remove(record: &RdtRecord) -> Result<()> {
    let group = Some(&record.group).filter(|_| record.made);
    for path in record.monitor.iter().chain(group) {
        match rustix::fs::rmdir(path) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(Error::os(format!("rmdir({path:?})"), errno)),
        }
    }
    Ok(())
}

/// The kernel says in a file what was wrong with the last change.
fn explained(root: &Path, error: Error) -> Error {
    match std::fs::read_to_string(root.join("info/last_cmd_status")) {
        Ok(said) if !said.trim().is_empty() && said.trim() != "ok" => {
            error.with_hint(format!("resctrl says: {}", said.trim()))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests;
