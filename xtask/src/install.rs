//! `cargo xtask install`: the programs of a release build, where engines look for them.
//!
//! Must not live here: configuration of engines, which is theirs (shim/README.md has what to write there).

use crate::workspace::{cargo, programs};
use crate::{Outcome, host, steps};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// What is installed: package and program.
const PROGRAMS: [(&str, &str); 2] = [
    ("runtime-cli", "runtime"),
    ("shim", "containerd-shim-runtime-core-v2"),
];

/// Builds and installs.
pub(crate) fn run(options: &[&str]) -> Outcome {
    let folder = match options {
        [] => Path::new("/usr/local/bin"),
        ["--to", folder] => Path::new(folder),
        _ => {
            return Err(format!(
                "install: {:?} is not understood; allowed is --to DIR",
                options.join(" ")
            ));
        }
    };
    steps::heading("packages");
    host::install(&host::Need::ALL)?;
    steps::heading("build (some minutes: optimised as one piece)");
    let packages = PROGRAMS.iter().map(|(package, _)| format!("--package={package}"));
    let mut words: Vec<String> = ["build", "--release", "--locked"].map(str::to_owned).to_vec();
    words.extend(packages);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    steps::must(&mut cargo(&words))?;
    steps::heading("install");
    std::fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let built = programs("release")?;
    for (_, name) in PROGRAMS {
        put(&built.join(name), &folder.join(name))?;
    }
    Ok(true)
}

/// In one step: a program that runs must not be written to, and one that is looked for must be whole.
fn put(from: &Path, to: &Path) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("cannot install {}: {error}", to.display());
    let new: PathBuf = to.with_extension("new");
    std::fs::copy(from, &new).map_err(wrong)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).map_err(wrong)?;
    std::fs::rename(&new, to).map_err(wrong)?;
    println!("{}", to.display());
    Ok(())
}
