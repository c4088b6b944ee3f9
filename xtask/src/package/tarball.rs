//! The tarball: the same files for every Linux, to be unpacked below a prefix such as `/usr/local`.

use super::build::Product;
use super::contents::{Form, entries};
use super::{NAME, empty_dir};
use crate::steps;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes it in `out`; its path.
pub(super) fn make(product: &Product, bill: &[u8], out: &Path) -> Result<PathBuf, String> {
    let machine = product.target.split('-').next().unwrap_or_default();
    let name = format!("{NAME}-{}-{machine}-linux", product.version);
    let stage = out.join("tarball");
    empty_dir(&stage)?;
    let tree = stage.join(&name);
    for entry in entries(product, bill, Form::Tarball)? {
        put(&tree.join(&entry.place), &entry.bytes, entry.mode)?;
    }
    modes(&tree)?;
    let path = out.join(format!("{name}.tar.gz"));
    let plain = out.join(format!("{name}.tar"));
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--format=gnu",
    ])
    .arg(format!("--mtime=@{}", product.epoch))
    .arg("--file")
    .arg(&plain)
    .arg("--directory")
    .arg(&stage)
    .arg(&name);
    steps::must(&mut tar)?;
    steps::must(
        Command::new("gzip")
            .args(["--best", "--no-name", "--force"])
            .arg(&plain),
    )?;
    empty_dir(&stage)?;
    Ok(path)
}

/// Writes a file with its folders.
pub(super) fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<(), String> {
    super::create_dir(path.parent().unwrap_or(path))?;
    super::write(path, bytes)?;
    set(path, mode)
}

/// Gives every folder the mode that the builder's umask may have taken.
pub(super) fn modes(folder: &Path) -> Result<(), String> {
    set(folder, 0o755)?;
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for path in entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
    {
        modes(&path)?;
    }
    Ok(())
}

fn set(path: &Path, mode: u32) -> Result<(), String> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(|error| format!("chmod {}: {error}", path.display()))
}
