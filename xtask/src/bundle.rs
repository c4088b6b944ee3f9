//! Bundles for the demo and the measurements, made by the fixtures' own program.
//!
//! It is a program and not a dependency because the fixtures link libseccomp, see the manifest.

use std::path::Path;
use std::process::Command;

/// Makes a bundle that runs `args`; `programs` is the folder that holds the fixtures' programs. The command is given
/// back instead of run, so that the demo can print it.
pub(crate) fn make(programs: &Path, dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(programs.join("bundle"));
    command.arg(dir).args(args);
    command
}
