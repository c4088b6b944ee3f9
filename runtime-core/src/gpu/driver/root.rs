//! Where the driver is: the first root that has a libcuda, whom it belongs to, and which version it is.

use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::Roots;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::image::Image;
use crate::gpu::loader::cache::{Cache, MAX_CACHE};

/// The usual places, in order: installed; NVIDIA's GPU operator; hosts that give a bare tree; COS of GKE.
const USUAL: [&str; 5] = [
    "/",
    "/run/nvidia/driver",
    "/usr/local/nvidia",
    "/opt/nvidia",
    "/home/kubernetes/bin/nvidia",
];
/// Where a bare tree's libraries and programs lie in a container; images for CUDA have these directories in their
/// LD_LIBRARY_PATH.
const TREE: &str = "/usr/local/nvidia";

#[cfg(target_arch = "aarch64")]
const MULTIARCH: &str = "aarch64-linux-gnu";
#[cfg(not(target_arch = "aarch64"))]
const MULTIARCH: &str = "x86_64-linux-gnu";

/// A driver's root.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) image: Image,
    pub(super) version: String,
    /// Directories with libraries of this version, as paths in the root.
    pub(super) directories: Vec<String>,
    /// Whether it is just `lib64` and `bin`.
    pub(super) tree: bool,
}

impl Found {
    /// Where a directory of the root lies in a container.
    pub(super) fn in_container(&self, path: &str) -> String {
        if self.tree {
            format!("{TREE}{path}")
        } else {
            path.to_owned()
        }
    }

    pub(super) fn library_dirs(&self) -> Vec<String> {
        self.directories
            .iter()
            .map(|directory| self.in_container(directory))
            .collect()
    }

    /// A path of the root as one of the host.
    pub(super) fn on_host(&self, path: &str) -> String {
        let root = self.path.to_string_lossy();
        format!("{}{path}", root.trim_end_matches('/'))
    }
}

/// The driver; None where no usual root has one.
pub(super) fn find(roots: &Roots, kernel: Option<&str>) -> Result<Option<Found>> {
    if let Some(path) = &roots.driver_root {
        check_owner(path)?;
        return match look(path, kernel)? {
            Some(found) => Ok(Some(found)),
            None => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("the driver root {} has no libcuda.so.VERSION", path.display()),
            )),
        };
    }
    for path in USUAL.map(Path::new) {
        if let Some(found) = look(path, kernel)? {
            check_owner(path)?;
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Everything on the way must belong to root, and nobody else may exchange it: writable by root alone, or sticky, as
/// /tmp is.
fn check_owner(path: &Path) -> Result<()> {
    let wrong = |text: String| Error::new(ErrorKind::InvalidArgument, text);
    let real = path
        .canonicalize()
        .map_err(|error| Error::os(format!("realpath({path:?})"), error))?;
    let mut place = PathBuf::from("/");
    let parts = std::iter::once(Component::RootDir).chain(real.components().skip(1));
    for part in parts {
        place.push(part);
        let found = place
            .symlink_metadata()
            .map_err(|error| Error::os(format!("lstat({place:?})"), error))?;
        if found.uid() != 0 {
            return Err(wrong(format!(
                "the driver root {}: {} belongs to user {}, and must belong to root",
                path.display(),
                place.display(),
                found.uid()
            )));
        }
        let sticky = found.mode() & 0o1000 != 0 && place != real;
        if found.mode() & 0o022 != 0 && !sticky {
            return Err(wrong(format!(
                "the driver root {}: {} is writable by others (mode {:04o})",
                path.display(),
                place.display(),
                found.mode() & 0o7777
            )));
        }
    }
    Ok(())
}

fn look(path: &Path, kernel: Option<&str>) -> Result<Option<Found>> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(root) = rustix::fs::open(path, flags, Mode::empty()) else {
        return Ok(None);
    };
    let image = Image::new(root);
    let tree = path != Path::new("/") && !image.has("/usr/lib") && !image.has("/usr/lib64");
    let candidates = candidates(&image, tree);
    let mut versions: Vec<String> = candidates
        .iter()
        .flat_map(|directory| versions_in(&image, directory))
        .collect();
    versions.sort_unstable();
    versions.dedup();
    let version = match (versions.as_slice(), kernel) {
        ([], _) => return Ok(None),
        ([one], _) => one.clone(),
        (many, Some(kernel)) if many.iter().any(|version| version == kernel) => kernel.to_owned(),
        (many, _) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{} has libcuda of several versions: {}, and no kernel module tells which one counts",
                    path.display(),
                    many.join(", ")
                ),
            ));
        }
    };
    let suffix = format!(".so.{version}");
    let has_some = |directory: &String| {
        image
            .open_directory(directory)
            .is_some_and(|found| found.names().iter().any(|entry| entry.name.ends_with(&suffix)))
    };
    let directories = candidates.into_iter().filter(has_some).collect();
    Ok(Some(Found {
        path: path.to_owned(),
        image,
        version,
        directories,
        tree,
    }))
}

/// The directories where libraries of 64 bits may be, each once.
fn candidates(image: &Image, tree: bool) -> Vec<String> {
    let mut paths: Vec<String> = if tree {
        ["/lib64", "/lib"].map(str::to_owned).to_vec()
    } else {
        vec![
            "/usr/lib64".to_owned(),
            format!("/usr/lib/{MULTIARCH}"),
            format!("/usr/lib/{MULTIARCH}/nvidia/current"),
            "/lib64".to_owned(),
            format!("/lib/{MULTIARCH}"),
            format!("/lib/{MULTIARCH}/nvidia/current"),
            // NixOS.
            "/run/opengl-driver/lib".to_owned(),
        ]
    };
    // Wherever else the host's own loader finds it.
    let cache = image.read("/etc/ld.so.cache", true, MAX_CACHE);
    let listed = cache.and_then(|bytes| Cache::read(&bytes)).into_iter();
    for entry in listed.flat_map(|cache| cache.entries) {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        if entry.name == b"libcuda.so.1" && matches!(entry.flags, 0x0303 | 0x0a03) {
            paths.extend(path.rsplit_once('/').map(|(above, _)| above.to_owned()));
        }
    }
    let mut seen = Vec::new();
    paths.retain(|path| match image.identity(path, true) {
        Some(identity) if !seen.contains(&identity) => {
            seen.push(identity);
            true
        }
        _ => false,
    });
    paths
}

/// The suffixes of libcuda.so.X.Y[.Z].
fn versions_in(image: &Image, directory: &str) -> Vec<String> {
    let names = image
        .open_directory(directory)
        .map(|found| found.names())
        .unwrap_or_default();
    names
        .into_iter()
        .filter_map(|entry| entry.name.strip_prefix("libcuda.so.").map(str::to_owned))
        .filter(|version| is_version(version))
        .collect()
}

fn is_version(text: &str) -> bool {
    text.contains('.')
        && text
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}
