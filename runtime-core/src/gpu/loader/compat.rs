//! CUDA forward compatibility: an image may bring a libcuda that is newer than the driver and works with its kernel
//! module. Its directory then goes before the driver's.
//!
//! Of the image only names and one note of one ELF file are read. Nothing of it is mounted or executed; what is decided is
//! the order of two directories (compare CVE-2024-0132 and CVE-2025-23359, where such files became sources of mounts).

use std::os::fd::AsFd;

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

use super::conf::DROP_INS;
use super::update::Made;
use crate::gpu::elf::{CompatNote, compat_note};
use crate::gpu::image::Image;

/// Where CUDA images keep those libraries.
pub const COMPAT_DIRECTORY: &str = "/usr/local/cuda/compat";
/// The file that announces the directory; sorts before that of the driver's directories.
const FILE: &str = "00-compat-runtime.conf";
const LIBRARY: &str = "libcuda.so.";

/// What the host has, and where to look in the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CudaCompat {
    /// The driver's version; empty: not known.
    pub host_driver: String,
    /// The CUDA version that the driver supports; empty: not known.
    pub host_cuda: String,
    /// The directory in the image.
    pub directory: String,
}

/// A version of up to three numbers, as `580.95.05`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version([u64; 3]);

impl Version {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut numbers = [0; 3];
        for (count, part) in text.split('.').enumerate() {
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            *numbers.get_mut(count)? = part.parse().ok()?;
        }
        Some(Self(numbers))
    }

    fn major(self) -> u64 {
        self.0[0]
    }
}

/// The file that puts the image's libraries before the driver's, where they are to be used.
pub(crate) fn enable(image: &Image, wanted: &CudaCompat) -> Vec<Made> {
    let Some(directory) = directory(image, wanted) else {
        return Vec::new();
    };
    if !image.may_write_in("/etc") {
        return Vec::new();
    }
    vec![Made::file(format!("{DROP_INS}/{FILE}"), format!("{directory}\n"))]
}

/// The directory of the image's libraries, where these are to be used.
fn directory(image: &Image, wanted: &CudaCompat) -> Option<String> {
    if wanted.host_driver.is_empty() && wanted.host_cuda.is_empty() {
        return None;
    }
    let names = image.open_directory(&wanted.directory)?.names();
    // libcuda.so.X.Y: exactly one, and a regular file.
    let mut libraries = names.iter().filter(|entry| {
        let version = entry.name.strip_prefix(LIBRARY);
        entry.kind == FileType::RegularFile && version.is_some_and(|version| version.contains('.'))
    });
    let (library, None) = (libraries.next()?, libraries.next()) else {
        return None;
    };
    let file = image.open_file(&format!("{}/{}", wanted.directory, library.name), false)?;
    let note = compat_note(&file.as_fd());
    let version = library.name.strip_prefix(LIBRARY).and_then(Version::parse);
    if !use_compat(note.as_ref(), version, wanted) {
        return None;
    }
    Some(
        image
            .resolved(&wanted.directory)
            .unwrap_or_else(|| wanted.directory.clone()),
    )
}

/// The note knows; without one, a library of a higher driver branch is meant to be used.
fn use_compat(note: Option<&CompatNote>, library: Option<Version>, wanted: &CudaCompat) -> bool {
    let driver = Version::parse(&wanted.host_driver);
    match (note, library, driver) {
        (Some(note), Some(library), Some(driver)) => {
            note.drivers.contains(&driver.major()) && library > driver
        }
        (Some(note), _, _) => {
            let versions = (
                Version::parse(&note.cuda_version),
                Version::parse(&wanted.host_cuda),
            );
            matches!(versions, (Some(image), Some(host)) if image > host)
        }
        (None, Some(library), Some(driver)) => {
            wanted.host_cuda.is_empty() && library.major() > driver.major()
        }
        (None, _, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(driver: &str, cuda: &str) -> CudaCompat {
        CudaCompat {
            host_driver: driver.to_owned(),
            host_cuda: cuda.to_owned(),
            directory: COMPAT_DIRECTORY.to_owned(),
        }
    }

    #[test]
    fn versions_are_numbers_with_dots() {
        assert!(Version::parse("580.95.05") > Version::parse("580.9"));
        assert_eq!(Version::parse("535.104.05"), Version::parse("535.104.5"));
        for wrong in ["", "580.", "580.x", "1.2.3.4", "-1", "99999999999999999999"] {
            assert_eq!(Version::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_note_decides_where_there_is_one() {
        let note = CompatNote {
            cuda_version: "13.0".to_owned(),
            drivers: vec![535, 550],
        };
        let newer = Version::parse("580.65.06");
        let uses = |driver, cuda| use_compat(Some(&note), newer, &wanted(driver, cuda));
        assert!(uses("535.104.05", ""));
        assert!(!uses("570.1", ""), "not one of its branches");
        assert!(!use_compat(
            Some(&note),
            Version::parse("535.1"),
            &wanted("535.2", "")
        ));
        assert!(uses("", "12.9"));
        assert!(!uses("", "13.0"));
        assert!(!uses("", ""));
    }

    #[test]
    fn without_a_note_the_branch_decides() {
        let library = Version::parse("580.65.06");
        assert!(use_compat(None, library, &wanted("570.1", "")));
        assert!(!use_compat(None, library, &wanted("580.1", "")));
        assert!(!use_compat(None, library, &wanted("570.1", "12.0")));
        assert!(!use_compat(None, None, &wanted("570.1", "")));
    }
}
