//! The licence texts of everything that the programs hold: licences of linked code ask that they go along.
//!
//! Lives here: collecting the files that packages ship. Must not live here: which licences are allowed (`licences`).

use super::build::Product;
use super::{read, sbom};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// How licence files are named in packages, in small letters.
const NAMES: [&str; 5] = ["licen", "copying", "copyright", "notice", "unlicense"];
const RULE: &str = "------------------------------------------------------------------------";

/// One text: each licence once, with the names of the packages that ship it.
pub(super) fn text(product: &Product) -> Result<Vec<u8>, String> {
    let mut index = String::from(
        "The programs of this package are linked statically. They hold code of the packages below, under the licences\n\
         whose texts follow. GNU libc and libseccomp are under LGPL-2.1: the source of this package is all that is needed\n\
         to link it with other versions of them.\n\n",
    );
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for part in sbom::parts(product)
        .iter()
        .filter(|part| part.linked && part.package["source"].is_string())
    {
        let field = |key: &str| part.package[key].as_str().unwrap_or_default();
        let name = format!("{} {}", field("name"), field("version"));
        let _ = writeln!(index, "{name}: {}", field("license"));
        let folder = Path::new(field("manifest_path"))
            .parent()
            .ok_or("a manifest without a folder")?;
        for file in files(folder)? {
            texts.entry(file).or_default().push(name.clone());
        }
    }
    for library in sbom::libraries()? {
        let _ = writeln!(index, "{}: see the text", library.built_using());
        let path = Path::new("/usr/share/doc")
            .join(library.package)
            .join("copyright");
        texts
            .entry(clean(&read(&path)?))
            .or_default()
            .push(library.built_using());
    }
    let mut texts: Vec<(Vec<String>, String)> =
        texts.into_iter().map(|(text, names)| (names, text)).collect();
    texts.sort();
    for (names, text) in texts {
        let _ = write!(index, "\n{RULE}\n{}\n{RULE}\n\n{text}\n", names.join(", "));
    }
    Ok(index.into_bytes())
}

fn files(folder: &Path) -> Result<Vec<String>, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let named = |path: &Path| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        NAMES.iter().any(|start| name.starts_with(start)) && path.is_file()
    };
    paths
        .iter()
        .filter(|path| named(path))
        .map(|path| Ok(clean(&read(path)?)))
        .collect()
}

/// The same text with other ends of lines is the same licence.
fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    text.trim_end().to_owned()
}
