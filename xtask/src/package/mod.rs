//! `cargo xtask package`: what is handed to people who do not build it themselves.
//!
//! Lives here: the options, and the order of making a Debian package, a tarball, a list of components and their sums. Must
//! not live here: what the files are ([`contents`]), or whether they are right ([`check`]).
//!
//! The same sources, compiler and Debian packages give the same bytes, wherever and whenever they are built: the time of
//! all files is SOURCE_DATE_EPOCH (else that of the commit), no path of the builder's is in them.

mod build;
mod check;
mod contents;
mod deb;
mod debian;
mod notices;
mod sbom;
mod tarball;

pub(crate) use check::in_debian;

use crate::{Outcome, host, steps, workspace};
use std::path::{Path, PathBuf};

/// The name of the package.
const NAME: &str = "runtime-core";
/// The word that stands for the check of everything.
const CHECK: &str = "check";

/// Makes the packages, or checks them.
pub(crate) fn run(words: &[&str]) -> Outcome {
    if let [CHECK, parts @ ..] = words {
        return check::run(parts);
    }
    let out = match words {
        [] => workspace::root().join("target/package"),
        ["--output", dir] => {
            std::path::absolute(dir).map_err(|error| format!("--output {dir:?}: {error}"))?
        }
        _ => {
            let given = words.join(" ");
            return Err(format!(
                "package: {given:?} is not --output DIR or check [PART...]"
            ));
        }
    };
    host::install(&host::Need::BUILD)?;
    let product = build::release(&out.join("build"))?;
    make(&product, &out)?;
    Ok(true)
}

/// Writes all files for `product` into `out`.
fn make(product: &build::Product, out: &Path) -> Result<(), String> {
    create_dir(out)?;
    let bill = sbom::bill(product)?;
    let names = [
        tarball::make(product, &bill, out)?,
        deb::make(product, &bill, out)?,
        write(&out.join(format!("{NAME}-{}.cdx.json", product.version)), &bill)?,
    ];
    let mut sums = std::process::Command::new("sha256sum");
    sums.args(names.iter().filter_map(|path| path.file_name()))
        .current_dir(out);
    let sums = steps::output(&mut sums)?;
    print!("{sums}");
    write(&out.join("SHA256SUMS"), sums.as_bytes())?;
    println!("written to {}", out.display());
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<PathBuf, String> {
    std::fs::write(path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(path.to_owned())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn create_dir(path: &Path) -> Result<(), String> {
    std::fs::create_dir_all(path).map_err(|error| format!("cannot make {}: {error}", path.display()))
}

/// A folder without anything of an earlier run in it.
fn empty_dir(path: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", path.display()))
        }
        _ => create_dir(path),
    }
}
