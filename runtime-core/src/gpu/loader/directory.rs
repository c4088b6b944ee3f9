//! One directory of libraries, looked at as ldconfig does: which names programs can ask for, and which links are missing.

use std::os::fd::AsFd;

use rustix::fs::FileType;

use super::cache::{Entry, compare_names};
use crate::gpu::elf;
use crate::gpu::image::{Image, Name};

/// The most libraries of one directory that are opened; each costs some 20 microseconds.
const MAX_LIBRARIES: usize = 4096;

/// A library of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// The file's name.
    file: String,
    /// The name that programs ask for.
    pub(crate) soname: String,
    flags: u32,
    link: bool,
}

/// Which names count as libraries (`_dl_is_dso` of glibc).
pub(crate) fn is_library(name: &str) -> bool {
    (name.starts_with("lib")
        || name.starts_with("ld-")
        || name.starts_with("ld.so.")
        || name.starts_with("ld64.so."))
        && name.contains(".so")
        && !name.ends_with(".dpkg-new")
        && !name.ends_with(".dpkg-tmp")
        && !name.contains(".#prelink#.")
        && !name.contains(';')
}

/// The libraries of a directory, one for each SONAME; with `only`, of these names.
pub(crate) fn scan(image: &Image, directory: &str, only: Option<&[String]>) -> Vec<Found> {
    let names = match only {
        Some(names) => names
            .iter()
            .map(|name| Name {
                name: name.clone(),
                kind: FileType::RegularFile,
            })
            .chain(links_to(image, directory, names))
            .collect(),
        None => image
            .open_directory(directory)
            .map(|directory| directory.names())
            .unwrap_or_default(),
    };
    let mut found: Vec<Found> = Vec::new();
    let candidates = names
        .into_iter()
        .filter(|entry| is_library(&entry.name))
        .filter(|entry| matches!(entry.kind, FileType::RegularFile | FileType::Symlink))
        .take(MAX_LIBRARIES);
    for entry in candidates {
        if let Some(library) = look_at(image, directory, &entry) {
            keep(&mut found, library);
        }
    }
    found
}

/// The links of a directory that have the beginning of one of these names: those that were made for them.
fn links_to(image: &Image, directory: &str, names: &[String]) -> Vec<Name> {
    let base = |name: &str| name.split_once(".so").map(|(base, _)| base.to_owned());
    let bases: Vec<_> = names.iter().filter_map(|name| base(name)).collect();
    let entries = image.open_directory(directory);
    let mut entries = entries.map(|directory| directory.names()).unwrap_or_default();
    entries.retain(|entry| {
        entry.kind == FileType::Symlink && base(&entry.name).is_some_and(|base| bases.contains(&base))
    });
    entries
}

fn look_at(image: &Image, directory: &str, entry: &Name) -> Option<Found> {
    let link = entry.kind == FileType::Symlink;
    let file = image.open_file(&format!("{directory}/{}", entry.name), link)?;
    let library = elf::library(&file.as_fd())?;
    let flags = library.machine.cache_flags()?;
    let name = &entry.name;
    let soname = library.soname.unwrap_or_else(|| name.clone());
    // A link that is neither its library's SONAME nor the `.so` that compilers ask for is taken for a file of its own.
    let development = name
        .strip_suffix(".so")
        .is_some_and(|_| soname.starts_with(name.as_str()));
    let is_link = link && (*name == soname || development);
    Some(Found {
        soname: if is_link { name.clone() } else { soname },
        file: name.clone(),
        flags,
        link: is_link,
    })
}

/// Of two files with the same SONAME a file goes before a link, and then the higher number.
fn keep(found: &mut Vec<Found>, new: Found) {
    match found
        .iter_mut()
        .find(|old| old.soname == new.soname && old.flags == new.flags)
    {
        None => found.push(new),
        Some(old) => {
            let newer = compare_names(old.file.as_bytes(), new.file.as_bytes()).is_lt();
            if (!new.link && old.link) || (new.link == old.link && newer) {
                *old = new;
            }
        }
    }
}

impl Found {
    /// Its line in the cache.
    pub(crate) fn entry(&self, directory: &str) -> Entry {
        Entry {
            name: self.soname.clone().into_bytes(),
            path: format!("{directory}/{}", self.soname).into_bytes(),
            flags: self.flags,
            os_version: 0,
            hwcap: 0,
            hwcaps: None,
        }
    }

    /// The link from the SONAME to the file, where it is not there: target and path.
    pub(crate) fn missing_link(&self, image: &Image, directory: &str) -> Option<(String, String)> {
        if self.link || self.file == self.soname {
            return None;
        }
        let path = format!("{directory}/{}", self.soname);
        let file = format!("{directory}/{}", self.file);
        let wrong = !image.has(&path)
            || (image.is_link(&path) && image.identity(&path, false) != image.identity(&file, false));
        wrong.then(|| (self.file.clone(), path))
    }
}
