//! The Debian package, packed by dpkg-deb. Why not cargo-deb: `docs/adr/0016-packages-by-dpkg-deb.md`.
//!
//! It depends on nothing: the programs are static. It changes no engine and starts nothing by being installed.

use super::build::Product;
use super::contents::{Entry, Form, entries};
use super::tarball::{modes, put};
use super::{NAME, empty_dir, read, sbom};
use crate::{steps, workspace};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes it in `out`; its path.
pub(super) fn make(product: &Product, bill: &[u8], out: &Path) -> Result<PathBuf, String> {
    let machine = steps::output(Command::new("dpkg").arg("--print-architecture"))?;
    let machine = machine.trim();
    let tree = out.join("deb");
    empty_dir(&tree)?;
    let files = entries(product, bill, Form::Debian)?;
    for entry in &files {
        put(&tree.join("usr").join(&entry.place), &entry.bytes, entry.mode)?;
    }
    let meta = tree.join("DEBIAN");
    put(
        &meta.join("control"),
        control(product, machine, &files)?.as_bytes(),
        0o644,
    )?;
    put(&meta.join("md5sums"), sums(&tree, &files)?.as_bytes(), 0o644)?;
    let postrm = read(&workspace::root().join("packaging/debian/postrm"))?;
    put(&meta.join("postrm"), &postrm, 0o755)?;
    modes(&tree)?;
    let path = out.join(format!("{NAME}_{}_{machine}.deb", product.version));
    let mut pack = Command::new("dpkg-deb");
    // With several threads xz cuts its input into blocks, and the bytes depend on how many there were.
    pack.args(["--root-owner-group", "-Zxz", "--threads-max=1", "--build"])
        .arg(&tree)
        .arg(&path)
        .env("SOURCE_DATE_EPOCH", &product.epoch);
    steps::must(&mut pack)?;
    empty_dir(&tree)?;
    Ok(path)
}

fn control(product: &Product, machine: &str, files: &[Entry]) -> Result<String, String> {
    // In KiB, each file rounded up, as dpkg-gencontrol counts.
    let size: usize = files.iter().map(|entry| entry.bytes.len().div_ceil(1024)).sum();
    let using: Vec<String> = sbom::libraries()?
        .iter()
        .map(sbom::Library::built_using)
        .collect();
    let shim = match product.has_shim() {
        true => " The containerd shim (io.containerd.runtime-core.v2) is part of the package.\n",
        false => "",
    };
    Ok(format!(
        "Package: {NAME}\nVersion: {}\nArchitecture: {machine}\nMaintainer: The runtime-core authors\n\
         Installed-Size: {size}\nBuilt-Using: {}\nSuggests: uidmap, criu\nSection: admin\nPriority: optional\n\
         Description: low-level OCI container runtime with the command line of runc\n \
         Runs containers from OCI bundles, by itself or below docker, podman, containerd\n \
         and CRI-O. Everything is decided first, as a printable list of steps, and then\n \
         done; inside the container only a small static init runs.\n{shim} \
         Examples of the engines' configurations are in /usr/share/doc/{NAME}/examples.\n",
        product.version,
        using.join(", "),
    ))
}

/// What `dpkg --verify` compares with.
fn sums(tree: &Path, files: &[Entry]) -> Result<String, String> {
    let mut command = Command::new("md5sum");
    command.current_dir(tree);
    command.args(files.iter().map(|entry| Path::new("usr").join(&entry.place)));
    steps::output(&mut command)
}
