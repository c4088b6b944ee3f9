//! What a known hook is about, as facts: taken after the runtime has done it, and again after the real program ran too.
//! Where the program still changed something, the two are not the same, and create fails.

use std::collections::BTreeSet;

use super::{NativeHook, profile};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::image::Image;
use crate::gpu::loader::cache::{Cache, MAX_CACHE};
use crate::gpu::loader::conf::Conf;
use crate::gpu::loader::update::CACHE;

/// The most of a difference that an error shows, in lines.
const SHOWN: usize = 8;

/// Facts about an image.
pub(crate) type Picture = BTreeSet<String>;

/// The facts that a hook is about.
pub(crate) fn picture(image: &Image, hook: &NativeHook) -> Picture {
    match hook {
        NativeHook::Links(links) => links.iter().map(|link| link_at(image, &link.path)).collect(),
        NativeHook::Mode { paths, .. } => paths
            .iter()
            .filter_map(|path| Some(format!("{path} mode {:o}", image.mode(path)?)))
            .collect(),
        NativeHook::LoaderCache(folders) => {
            let mut facts = listed(image);
            facts.extend(cached(image));
            facts.extend(folders.iter().flat_map(|folder| links_in(image, folder)));
            facts
        }
        NativeHook::CudaCompat(_) => listed(image),
        NativeHook::ApplicationProfile => image
            .read(&profile::path(), false, 4096)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .into_iter()
            .collect(),
        // The program covers what is covered already by the same.
        NativeHook::DeviceParams => Picture::new(),
    }
}

fn link_at(image: &Image, path: &str) -> String {
    let target = image.read_link(path);
    format!("{path} -> {}", target.unwrap_or_else(|| "nothing".to_owned()))
}

fn links_in(image: &Image, folder: &str) -> Vec<String> {
    let names = image.open_directory(folder).map(|found| found.names());
    let links = names
        .into_iter()
        .flatten()
        .filter(|entry| entry.kind == rustix::fs::FileType::Symlink);
    links
        .map(|entry| link_at(image, &format!("{folder}/{}", entry.name)))
        .collect()
}

/// The directories of ld.so.conf, whatever file names them.
fn listed(image: &Image) -> Picture {
    let conf = Conf::read(image);
    let lines = conf
        .directories
        .iter()
        .map(|listed| format!("directory {}", listed.path));
    lines.collect()
}

/// The lines of the cache: a directory is its identity, since it may have several names.
fn cached(image: &Image) -> Picture {
    let cache = image
        .read(CACHE, false, MAX_CACHE)
        .and_then(|bytes| Cache::read(&bytes));
    // ldconfig finds a link for compilers (`libx.so`) whose SONAME it has to make itself when it runs again, not before.
    let entries = cache
        .into_iter()
        .flat_map(|cache| cache.entries)
        .filter(|entry| !entry.name.ends_with(b".so"));
    let fact = |path: &[u8]| image.identity(std::str::from_utf8(path).ok()?, false);
    entries
        .map(|entry| {
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            format!("cache {name} {:#x} {:?}", entry.flags, fact(&entry.path))
        })
        .collect()
}

/// Whether a program that ran behind us changed nothing more.
pub(crate) fn compare(before: &Picture, after: &Picture) -> Result<()> {
    let only = |left: &Picture, right: &Picture| -> Vec<String> {
        left.difference(right).take(SHOWN).cloned().collect()
    };
    let (gone, new) = (only(before, after), only(after, before));
    if gone.is_empty() && new.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Hook,
        format!(
            "the hook does something else than the runtime in its place; only by the runtime: [{}]; only by the hook: [{}]",
            gone.join(", "),
            new.join(", ")
        ),
    ))
}
