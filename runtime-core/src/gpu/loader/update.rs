//! What `update-ldcache` of NVIDIA's hooks brings about, without running ldconfig: the files of ld.so.conf.d, the SONAME
//! links and the cache, as a list of files and links that init then makes.
//!
//! The image's cache is kept and ours is put in front, in the order in which ldconfig would have found the directories:
//! what the image lists before us (CUDA's compatibility libraries), the driver's directories, the rest. An image without
//! a cache gets one of all its directories, as from ldconfig. Where /etc cannot be written only the links are made: in a
//! directory that the loader knows by itself they are enough (ld.so(8)).

use super::cache::{Cache, Entry, MAX_CACHE, compare};
use super::conf::{Conf, DROP_INS, OURS, TOP, system_directories};
use super::directory::{self, Found, is_library};
use crate::gpu::image::{Identity, Image};

/// Where the loader looks names up.
pub(crate) const CACHE: &str = "/etc/ld.so.cache";
/// The directories that the image's loader knows by itself, for an ldconfig of another distribution; sorts last.
const SYSTEM: &str = "zz-nvcr-runtime.conf";
const GENERATOR: &[u8] = b"runtime-core, in the form of ldconfig 2.33";
/// The largest path file of musl.
const MAX_PATH_FILE: usize = 64 * 1024;

/// Something to be made in the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Made {
    /// A file with this content and mode, in the place of what is there.
    File {
        path: String,
        content: Vec<u8>,
        mode: u32,
    },
    /// A symbolic link, in the place of what is there.
    Link { target: String, path: String },
    /// A directory, where there is none.
    Directory { path: String, mode: u32 },
}

impl Made {
    pub(crate) fn file(path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self::File {
            path: path.into(),
            content: content.into(),
            mode: 0o644,
        }
    }
}

/// A directory in the order of the search.
struct Place {
    path: String,
    identity: Identity,
    early: bool,
    ours: bool,
}

/// What has to be made so that programs find the libraries in `folders`; `mounted` are the destinations of the
/// configuration's mounts.
pub(crate) fn update(image: &Image, folders: &[String], mounted: &[String]) -> Vec<Made> {
    let conf = Conf::read(image);
    let system = system_directories(image);
    let mut new: Vec<&String> = Vec::new();
    for folder in folders {
        if !conf.lists(folder) && !system.contains(&folder.as_str()) && !new.contains(&folder) {
            new.push(folder);
        }
    }
    let places = places(image, &conf, &new, folders, &system);
    let old = image
        .read(CACHE, false, MAX_CACHE)
        .and_then(|bytes| Cache::read(&bytes));
    let found = look(image, &places, old.as_ref(), mounted);

    let mut made = Vec::new();
    let writable = image.may_write_in("/etc");
    if writable {
        made.extend(configuration(image, &new, &system));
    }
    for (place, libraries) in &found {
        if image.may_write_in(&place.path) {
            let links = libraries
                .iter()
                .filter_map(|library| library.missing_link(image, &place.path));
            made.extend(links.map(|(target, path)| Made::Link { target, path }));
        }
    }
    if writable {
        let cache = merge(image, old, &places, &found);
        made.extend(cache.write().map(|bytes| Made::file(CACHE, bytes)));
    }
    // A second start of the same root finds most of it there.
    made.retain(|made| !is_there(image, made));
    made
}

/// Whether a file with this content is there already.
fn is_there(image: &Image, made: &Made) -> bool {
    match made {
        Made::File { path, content, .. } => image
            .read(path, false, content.len())
            .is_some_and(|there| there == *content),
        _ => false,
    }
}

/// All directories, each once, in ldconfig's order.
fn places(image: &Image, conf: &Conf, new: &[&String], folders: &[String], system: &[&str]) -> Vec<Place> {
    let listed = |early: bool| {
        let some = conf
            .directories
            .iter()
            .filter(move |listed| listed.early == early);
        some.map(move |listed| (listed.path.as_str(), early))
    };
    let order = listed(true)
        .chain(new.iter().map(|folder| (folder.as_str(), false)))
        .chain(listed(false))
        .chain(system.iter().map(|path| (*path, false)));
    let ours: Vec<_> = folders
        .iter()
        .filter_map(|folder| image.identity(folder, true))
        .collect();
    let mut places: Vec<Place> = Vec::new();
    for (path, early) in order {
        let Some(identity) = image.identity(path, true) else {
            continue;
        };
        if places.iter().all(|place| place.identity != identity) {
            places.push(Place {
                path: path.to_owned(),
                identity,
                early,
                ours: ours.contains(&identity),
            });
        }
    }
    places
}

/// The libraries of the directories that have to be looked at.
fn look<'a>(
    image: &Image,
    places: &'a [Place],
    old: Option<&Cache>,
    mounted: &[String],
) -> Vec<(&'a Place, Vec<Found>)> {
    let known: Vec<Identity> = old.map(|old| directories(image, old)).unwrap_or_default();
    let mut found = Vec::new();
    for place in places {
        // Of a directory that the image's cache knows, only what was mounted into it is new.
        let known = known.contains(&place.identity);
        if old.is_some() && !place.ours && (known || !place.early) {
            continue;
        }
        let only = (old.is_some() && known && place.ours)
            .then(|| mounted_in(image, place, mounted))
            .flatten();
        found.push((place, directory::scan(image, &place.path, only.as_deref())));
    }
    found
}

/// The directories that a cache names.
fn directories(image: &Image, cache: &Cache) -> Vec<Identity> {
    let mut paths: Vec<&[u8]> = cache.entries.iter().map(|entry| parent(&entry.path)).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
        .into_iter()
        .filter_map(|path| image.identity(std::str::from_utf8(path).ok()?, true))
        .collect()
}

fn parent(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    &path[..slash]
}

/// The names that are mounted in a directory; None where it is itself below a mount, so that all of it is new.
fn mounted_in(image: &Image, place: &Place, mounted: &[String]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for path in mounted {
        let Some((above, name)) = path.trim_end_matches('/').rsplit_once('/') else {
            continue;
        };
        let covers = image.identity(path, true).is_some()
            && (image.identity(path, true) == Some(place.identity)
                || (place.path.starts_with(&format!("{path}/")) && path.len() > 1));
        if covers {
            return None;
        }
        if is_library(name) && (above == place.path || image.identity(above, true) == Some(place.identity)) {
            names.push(name.to_owned());
        }
    }
    Some(names)
}

/// The files of ld.so.conf, ld.so.conf.d and musl.
fn configuration(image: &Image, new: &[&String], system: &[&str]) -> Vec<Made> {
    let mut made = Vec::new();
    if !image.has(TOP) {
        made.push(Made::file(TOP, format!("include {DROP_INS}/*.conf\n")));
    }
    let lines =
        |paths: &mut dyn Iterator<Item = &str>| -> String { paths.map(|path| format!("{path}\n")).collect() };
    if !new.is_empty() {
        let content = lines(&mut new.iter().map(|path| path.as_str()));
        made.push(Made::file(format!("{DROP_INS}/{OURS}"), content));
    }
    let content = lines(&mut system.iter().copied());
    made.push(Made::file(format!("{DROP_INS}/{SYSTEM}"), content));
    if image.has_file("/etc/alpine-release") {
        made.extend(musl(image, new, system));
    }
    made
}

/// The path file of musl's loader, which has no cache.
fn musl(image: &Image, new: &[&String], system: &[&str]) -> Option<Made> {
    let path = format!("/etc/ld-musl-{}.path", std::env::consts::ARCH);
    let mut content = match image.read(&path, true, MAX_PATH_FILE) {
        Some(bytes) => String::from_utf8(bytes).ok()?,
        None if image.has(&path) => return None,
        None => String::new(),
    };
    let before = content.clone();
    for wanted in new.iter().map(|path| path.as_str()).chain(system.iter().copied()) {
        if !before.split([':', '\n']).any(|listed| listed == wanted) {
            if !content.is_empty() && !content.ends_with('\n') {
                content.push('\n');
            }
            content.push_str(wanted);
            content.push('\n');
        }
    }
    (content != before).then(|| Made::file(path, content))
}

/// The image's cache with what was found in front of it.
fn merge(image: &Image, old: Option<Cache>, places: &[Place], found: &[(&Place, Vec<Found>)]) -> Cache {
    let new: Vec<(Identity, bool, bool, Entry)> = found
        .iter()
        .flat_map(|(place, libraries)| {
            libraries.iter().map(move |library| {
                let entry = library.entry(&place.path);
                (place.identity, place.early, place.ours, entry)
            })
        })
        .collect();
    let mut identities = std::collections::HashMap::new();
    let mut kept: Vec<(bool, Entry)> = Vec::new();
    for entry in old.into_iter().flat_map(|old| old.entries) {
        let identity = *identities
            .entry(parent(&entry.path).to_vec())
            .or_insert_with_key(|path| image.identity(std::str::from_utf8(path).ok()?, true));
        let again = new.iter().any(|(place, _, _, fresh)| {
            Some(*place) == identity && fresh.name == entry.name && fresh.flags == entry.flags
        });
        if again && entry.hwcaps.is_none() {
            continue;
        }
        let early = places
            .iter()
            .any(|place| place.early && Some(place.identity) == identity);
        kept.push((early, entry));
    }
    let rank = |early: bool, ours: bool| match (early, ours) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => 2,
    };
    let mut ranked: Vec<(u8, Entry)> = new
        .into_iter()
        .map(|(_, early, ours, entry)| (rank(early, ours), entry))
        .collect();
    ranked.extend(kept.into_iter().map(|(early, entry)| (rank(early, false), entry)));
    ranked.sort_by(|left, right| compare(&left.1, &right.1).then(left.0.cmp(&right.0)));
    Cache {
        entries: ranked.into_iter().map(|(_, entry)| entry).collect(),
        generator: GENERATOR.to_vec(),
    }
}
