//! Where the workspace is, and cargo in it.
//!
//! Must not live here: what is built for which purpose.

use crate::steps;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    // A checkout may be moved after the build, cargo knows better than the build did.
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&manifest)
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default()
}

/// The cargo that runs this, in the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Builds these with the release profile; `what` are cargo's words for them.
///
/// # Errors
/// They cannot be built.
pub(crate) fn build_release(what: &[&str]) -> Result<(), String> {
    steps::must(cargo(&["build", "--release"]).args(what))
}

/// The programs of a profile's folder (`debug`, `release`): it lies beside the folder that holds this program.
///
/// # Errors
/// This program's own place cannot be found out.
pub(crate) fn programs(profile: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let folder = own
        .parent()
        .and_then(Path::parent)
        .ok_or("own path has no folder above")?;
    Ok(folder.join(profile))
}

/// A folder of our own in the temporary folder; removed with everything in it on drop.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes it. The name is short, because socket paths in it are limited to 107 bytes.
    ///
    /// # Errors
    /// It exists already or cannot be made.
    pub(crate) fn new(name: &str) -> Result<Scratch, String> {
        Self::below(&std::env::temp_dir(), name)
    }

    /// Makes it in `place`.
    ///
    /// # Errors
    /// As `new`.
    pub(crate) fn below(place: &Path, name: &str) -> Result<Scratch, String> {
        let path = place.join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(Scratch(path))
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A path in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                eprintln!("cannot remove {}: {error}", self.0.display());
            }
            _ => {}
        }
    }
}
