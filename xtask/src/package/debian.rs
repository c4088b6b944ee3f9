//! The package's life in a fresh Debian: installed, used, removed, and nothing left.
//!
//! Lives here: making the Debian tree, once, and entering it in namespaces of its own, so that no mount, process or
//! container can stay on the host. What is done inside is in `trial.sh`.

use super::check::Verdict;
use super::{create_dir, write};
use crate::workspace::{self, Scratch};
use crate::{host, steps};
use std::path::{Path, PathBuf};
use std::process::Command;

const SCRIPT: &str = include_str!("trial.sh");
/// Seconds for everything inside.
const LIMIT: &str = "300";

/// Installs `deb` and judges.
pub(super) fn trial(deb: &Path, version: &str) -> Result<Verdict, String> {
    if !host::is_root() {
        return Ok(Verdict::Skipped("needs root, to enter a Debian tree".to_owned()));
    }
    if !host::on_path("mmdebstrap") {
        return Ok(Verdict::Skipped(
            "no mmdebstrap here, which makes the Debian tree (apt-get install mmdebstrap)".to_owned(),
        ));
    }
    let archive = match tree()? {
        Ok(archive) => archive,
        Err(why) => return Ok(Verdict::Skipped(why)),
    };
    let scratch = Scratch::new("debian")?;
    let root = scratch.join("root");
    create_dir(&root)?;
    let mut unpack = Command::new("tar");
    unpack
        .args(["--numeric-owner", "--extract", "--file"])
        .arg(&archive)
        .arg("--directory")
        .arg(&root);
    steps::must(&mut unpack)?;
    let script = write(&scratch.join("trial.sh"), SCRIPT.as_bytes())?;
    let mut command = Command::new("timeout");
    command
        .args([
            "--kill-after=10",
            LIMIT,
            "unshare",
            "--mount",
            "--pid",
            "--ipc",
            "--uts",
            "--net",
            "--fork",
        ])
        .args(["--kill-child=KILL", "--propagation", "private", "sh"])
        .arg(&script)
        .arg("enter")
        .arg(&root)
        .arg(deb)
        .arg(version);
    let outcome = steps::must(&mut command);
    remove_cgroups();
    outcome.map(|()| Verdict::Passed)
}

/// A minimal Debian of the host's own suite as a tar archive, made once; or why it cannot be had.
fn tree() -> Result<Result<PathBuf, String>, String> {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        release
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|word| word.trim_matches('"'))
    };
    let (Some("debian"), Some(suite)) = (field("ID="), field("VERSION_CODENAME=")) else {
        return Ok(Err(
            "the host is no Debian, whose sources of packages would be used".to_owned(),
        ));
    };
    let folder = workspace::root().join("target/package");
    create_dir(&folder)?;
    let path = folder.join(format!("debian-{suite}.tar"));
    if path.exists() {
        return Ok(Ok(path));
    }
    let new = folder.join(format!("new-{suite}.tar"));
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "--propagation",
            "private",
            "mmdebstrap",
            "--quiet",
            "--mode=root",
            "--variant=essential",
            suite,
        ])
        .arg(&new)
        .args(sources(suite));
    if let Err(error) = steps::must(&mut command) {
        return Ok(Err(format!("a Debian tree cannot be made: {error}")));
    }
    std::fs::rename(&new, &path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Ok(path))
}

/// The host's own lists of sources that speak of this suite.
fn sources(suite: &str) -> Vec<PathBuf> {
    let more = std::fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten();
    let mut files: Vec<PathBuf> = more.map(|entry| entry.path()).collect();
    files.push("/etc/apt/sources.list".into());
    files.sort();
    files.retain(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains(suite)));
    files
}

/// The cgroups of the trial's containers, empty by now whatever happened.
fn remove_cgroups() {
    let mut find = Command::new("find");
    find.args([
        "/sys/fs/cgroup",
        "-depth",
        "-type",
        "d",
        "-name",
        "package-trial-*",
    ]);
    for path in steps::output(&mut find).unwrap_or_default().lines() {
        println!("LEFT by a failed trial, removed: {path}");
        let _ = std::fs::remove_dir(path);
    }
}
