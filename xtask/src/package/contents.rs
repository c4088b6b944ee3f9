//! The files of a package, as bytes with a place: the one list that the Debian package and the tarball are made from.
//!
//! Must not live here: archives. A place is below the prefix (`/usr`, or where a tarball is unpacked).

use super::build::Product;
use super::{NAME, notices, read};
use crate::{steps, workspace};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One file.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) place: PathBuf,
    pub(super) mode: u32,
    pub(super) bytes: Vec<u8>,
}

/// Who takes the package, which decides some places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Debian,
    Tarball,
}

/// The folders of examples, and whether they stand for the shim.
const EXAMPLES: [(&str, bool); 6] = [
    ("docker", false),
    ("podman", false),
    ("containerd", false),
    ("crio", false),
    ("kubernetes", false),
    ("shim", true),
];

/// All files. `bill` is the list of components.
pub(super) fn entries(product: &Product, bill: &[u8], form: Form) -> Result<Vec<Entry>, String> {
    let scratch = workspace::Scratch::new("package")?;
    let mut list = Vec::new();
    for program in &product.programs {
        let name = program.file_name().ok_or("a program without a name")?;
        list.push(file(Path::new("bin").join(name), 0o755, read(program)?));
    }
    let init = scratch.join("init");
    steps::output(Command::new(product.runtime()).arg("install-init").arg(&init))?;
    list.push(file("libexec/runtime-core/init".into(), 0o755, read(&init)?));
    list.extend(completions(product, form)?);
    list.extend(pages(product, form, &scratch.join("man"))?);
    list.extend(documents(product, bill, form)?);
    list.extend(examples(product)?);
    list.sort_by(|a, b| a.place.cmp(&b.place));
    Ok(list)
}

fn file(place: PathBuf, mode: u32, bytes: Vec<u8>) -> Entry {
    Entry { place, mode, bytes }
}

fn completions(product: &Product, form: Form) -> Result<Vec<Entry>, String> {
    let zsh = match form {
        Form::Debian => "share/zsh/vendor-completions/_runtime",
        Form::Tarball => "share/zsh/site-functions/_runtime",
    };
    let places = [
        ("bash", "share/bash-completion/completions/runtime"),
        ("fish", "share/fish/vendor_completions.d/runtime.fish"),
        ("zsh", zsh),
    ];
    let one = |(shell, place): (&str, &str)| {
        let text = steps::output(Command::new(product.runtime()).args(["completion", shell]))?;
        Ok(file(place.into(), 0o644, text.into_bytes()))
    };
    places.into_iter().map(one).collect()
}

fn pages(product: &Product, form: Form, folder: &Path) -> Result<Vec<Entry>, String> {
    super::create_dir(folder)?;
    steps::output(
        Command::new(product.runtime())
            .args(["man", "--output"])
            .arg(folder),
    )?;
    let mut list = Vec::new();
    for path in below(folder)? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let place = Path::new("share/man/man1").join(&name);
        list.push(match form {
            Form::Tarball => file(place, 0o644, read(&path)?),
            Form::Debian => file(place.with_extension("1.gz"), 0o644, zipped(&path)?),
        });
    }
    match list.is_empty() {
        true => Err("runtime man wrote no pages".to_owned()),
        false => Ok(list),
    }
}

fn documents(product: &Product, bill: &[u8], form: Form) -> Result<Vec<Entry>, String> {
    let root = workspace::root();
    let place = |name: &str| Path::new("share/doc").join(NAME).join(name);
    let licence = read(&root.join("LICENSE"))?;
    let mut list = vec![
        file(place("README.md"), 0o644, read(&root.join("README.md"))?),
        file(place("sbom.cdx.json"), 0o644, bill.to_vec()),
        file(place("third-party.txt"), 0o644, notices::text(product)?),
    ];
    for path in below(&root.join("docs"))?
        .into_iter()
        .filter(|path| path.is_file())
    {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        list.push(file(place("docs").join(name), 0o644, read(&path)?));
    }
    match form {
        Form::Debian => {
            list.push(file(place("copyright"), 0o644, copyright().into_bytes()));
            list.push(file(
                place("changelog.gz"),
                0o644,
                zipped(&root.join("CHANGELOG.md"))?,
            ));
        }
        Form::Tarball => {
            list.push(file(place("LICENSE"), 0o644, licence));
            list.push(file(
                place("CHANGELOG.md"),
                0o644,
                read(&root.join("CHANGELOG.md"))?,
            ));
        }
    }
    Ok(list)
}

/// What Debian's policy asks for; the Apache licence is on every Debian.
fn copyright() -> String {
    format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: {NAME}\n\n\
         Files: *\nCopyright: The runtime-core authors\nLicense: Apache-2.0\n\n\
         License: Apache-2.0\n On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.\n\n\
         Comment:\n The programs are linked statically; what they hold of others, and under which licences, is in\n \
         third-party.txt beside this file, as a list for machines in sbom.cdx.json.\n"
    )
}

/// The examples for engines; those of the shim only where the shim is.
fn examples(product: &Product) -> Result<Vec<Entry>, String> {
    let mut list = Vec::new();
    for (folder, _) in EXAMPLES.iter().filter(|(_, shim)| !shim || product.has_shim()) {
        for path in below(&workspace::root().join("packaging").join(folder))? {
            let name = path.file_name().ok_or("an example without a name")?;
            let place = Path::new("share/doc")
                .join(NAME)
                .join("examples")
                .join(folder)
                .join(name);
            list.push(file(place, 0o644, read(&path)?));
        }
    }
    Ok(list)
}

fn below(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

/// Without name and time, as Debian's policy asks.
fn zipped(path: &Path) -> Result<Vec<u8>, String> {
    steps::bytes(
        Command::new("gzip")
            .args(["--best", "--no-name", "--stdout"])
            .arg(path),
    )
}
