//! The CDI files of this host: which are read, which count, and what a set of names asks for.
//!
//! The rules are those of Go's `pkg/cdi`: files of a later directory have priority; a device that two files of one
//! directory offer is offered by nobody; a broken file is reported and hinders no other. Beside them stand limits on what
//! is read, and on who may have written it: what a file says is done with the runtime's rights.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::Serialize;

use super::name::QualifiedName;
use super::parse::{MAX_FILE_BYTES, kind_of, parse_text};
use super::spec::{CdiSpec, ContainerEdits};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::trust;

/// Where files are looked for, unless told otherwise; the later one has priority.
pub const DEFAULT_DIRS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
/// The most files that are read, all directories together.
pub const MAX_FILES: usize = 1000;

/// A file that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CdiFile {
    /// Its path.
    pub path: PathBuf,
    /// The position of its directory; the greater one has priority.
    pub priority: usize,
    /// What it says.
    pub spec: CdiSpec,
}

/// A file or directory that does not count, or not wholly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileFault {
    /// Its path.
    pub path: PathBuf,
    /// Why.
    pub message: String,
    /// The kind of its devices, as far as it can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.message)
    }
}

/// Who asked for edits, as lines of a plan and errors name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What was asked for: `cdi nvidia.com/gpu=0`.
    pub name: String,
    /// The file that answers; None: the driver on the host.
    pub file: Option<PathBuf>,
}

/// What a set of names asks for, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The edits, each with its source.
    pub edits: Vec<(Source, ContainerEdits)>,
}

/// All files of some directories.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    dirs: Vec<PathBuf>,
    files: Vec<CdiFile>,
    /// Where each device is: file and position in it.
    devices: BTreeMap<String, (usize, usize)>,
    faults: Vec<FileFault>,
}

impl Registry {
    /// Reads the files ending in `.json` and `.yaml` in these directories, without subdirectories. What cannot be used is
    /// in [`Registry::faults`]; a directory that is not there is no fault.
    pub fn load(dirs: &[PathBuf]) -> Self {
        let mut registry = Self {
            dirs: dirs.to_vec(),
            ..Self::default()
        };
        let mut conflicts = BTreeSet::new();
        let mut count = 0;
        for (priority, dir) in dirs.iter().enumerate() {
            match files_of(dir) {
                Ok(paths) => {
                    for path in paths {
                        count += 1;
                        if count > MAX_FILES {
                            let message = format!("not read: there are more than {MAX_FILES} files");
                            registry.fault(&path, message, None);
                            return registry.without(&conflicts);
                        }
                        registry.add(path, priority, &mut conflicts);
                    }
                }
                Err(message) => registry.fault(dir, message, None),
            }
        }
        registry.without(&conflicts)
    }

    fn fault(&mut self, path: &Path, message: String, kind: Option<String>) {
        self.faults.push(FileFault {
            path: path.to_path_buf(),
            message,
            kind,
        });
    }

    fn add(&mut self, path: PathBuf, priority: usize, conflicts: &mut BTreeSet<String>) {
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(message) => return self.fault(&path, message, None),
        };
        let spec = match parse_text(&bytes) {
            Ok(spec) => spec,
            Err(message) => return self.fault(&path, message, kind_of(&bytes)),
        };
        for (position, device) in spec.devices.iter().enumerate() {
            let name = format!("{}={}", spec.kind, device.name);
            let other = self.devices.get(&name).map(|(file, _)| &self.files[*file]);
            if let Some(other) = other.filter(|other| other.priority == priority) {
                let message = |with: &Path| format!("the device {name} stands in {} too", with.display());
                let other = other.path.clone();
                self.fault(&path, message(&other), Some(spec.kind.clone()));
                self.fault(&other, message(&path), Some(spec.kind.clone()));
                conflicts.insert(name);
                continue;
            }
            self.devices.insert(name, (self.files.len(), position));
        }
        self.files.push(CdiFile { path, priority, spec });
    }

    fn without(mut self, conflicts: &BTreeSet<String>) -> Self {
        self.devices.retain(|name, _| !conflicts.contains(name));
        self
    }

    /// The directories.
    pub fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// The files that could be read.
    pub fn files(&self) -> &[CdiFile] {
        &self.files
    }

    /// What could not be used, and why.
    pub fn faults(&self) -> &[FileFault] {
        &self.faults
    }

    /// The names that can be asked for, sorted, each with its file.
    pub fn devices(&self) -> impl Iterator<Item = (&str, &CdiFile)> {
        self.devices
            .iter()
            .map(|(name, (file, _))| (name.as_str(), &self.files[*file]))
    }

    /// Whether a file offers this device.
    pub fn offers(&self, name: &QualifiedName) -> bool {
        self.devices.contains_key(name.as_str())
    }

    /// Whether a file is there for this kind, be it that each of its devices stands in another file, too, and so is
    /// nobody's.
    pub fn has_kind(&self, kind: &str) -> bool {
        self.files.iter().any(|file| file.spec.kind == kind)
    }

    /// What could not be used and may have offered devices of this kind, or have held some back: a file that names it, or
    /// one whose kind cannot be read.
    pub fn fault_of(&self, kind: &str) -> Option<&FileFault> {
        let concerns = |fault: &&FileFault| fault.kind.as_deref().is_none_or(|other| other == kind);
        self.faults.iter().find(concerns)
    }

    /// The edits of one device, without those of its file.
    pub fn device(&self, name: &QualifiedName) -> Option<&ContainerEdits> {
        let (file, position) = self.devices.get(name.as_str())?;
        Some(&self.files[*file].spec.devices[*position].container_edits)
    }

    /// What these names ask for: for each in order what its file changes, once for each file, and what it changes itself.
    ///
    /// # Errors
    /// InvalidArgument, where a name is not offered; the message names all of them, and every fault of a file.
    pub fn resolve(&self, names: &[QualifiedName]) -> Result<Resolved> {
        let missing: Vec<&str> = names
            .iter()
            .filter(|name| !self.offers(name))
            .map(QualifiedName::as_str)
            .collect();
        if !missing.is_empty() {
            return Err(self.unresolvable(&missing));
        }
        let mut resolved = Resolved::default();
        let mut used = BTreeSet::new();
        for name in names {
            let Some(&(file, position)) = self.devices.get(name.as_str()) else {
                continue;
            };
            let CdiFile { path, spec, .. } = &self.files[file];
            let source = Source {
                name: format!("cdi {name}"),
                file: Some(path.clone()),
            };
            if used.insert(file) && !spec.container_edits.is_empty() {
                resolved
                    .edits
                    .push((source.clone(), spec.container_edits.clone()));
            }
            resolved
                .edits
                .push((source, spec.devices[position].container_edits.clone()));
        }
        Ok(resolved)
    }

    /// The error for names that nobody offers: all of them, what there is of their kinds, and what is wrong with files.
    pub fn unresolvable(&self, missing: &[&str]) -> Error {
        let dirs: Vec<String> = self.dirs.iter().map(|dir| dir.display().to_string()).collect();
        let places = match dirs.as_slice() {
            [] => "no directory to look in".to_owned(),
            dirs => format!("looked in {}", dirs.join(", ")),
        };
        let mut message = format!("unresolvable CDI devices {} ({places})", missing.join(", "));
        for fault in &self.faults {
            message.push_str("; ");
            message.push_str(&fault.to_string());
        }
        let kind = |name: &str| name.split_once('=').map(|(kind, _)| kind.to_owned());
        let kinds: BTreeSet<String> = missing.iter().filter_map(|name| kind(name)).collect();
        let offered: Vec<&str> = self
            .devices
            .keys()
            .filter(|name| kind(name).is_some_and(|kind| kinds.contains(&kind)))
            .map(String::as_str)
            .collect();
        let error = Error::new(ErrorKind::InvalidArgument, message);
        if offered.is_empty() {
            error.with_hint("`runtime gpu list` shows what this host offers")
        } else {
            error.with_hint(format!("offered are {}", offered.join(", ")))
        }
    }
}

/// The files of a directory that can be CDI files, sorted by name. A missing directory has none.
fn files_of(dir: &Path) -> std::result::Result<Vec<PathBuf>, String> {
    let read = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
        Ok(read) => read,
    };
    let about = std::fs::metadata(dir).map_err(|error| error.to_string())?;
    trust::own(&about)?;
    let mut paths = Vec::new();
    for entry in read {
        let entry = entry.map_err(|error| error.to_string())?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_directory && (name.ends_with(b".json") || name.ends_with(b".yaml")) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// The content of a file: a regular one, within the limit, that nobody else may write. A symbolic link is followed, as
/// packages install such ones; what it leads to is judged.
fn read(path: &Path) -> std::result::Result<Vec<u8>, String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fd: OwnedFd = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| format!("open: {}", crate::error::strerror(errno.raw_os_error())))?;
    let file = File::from(fd);
    let about = file.metadata().map_err(|error| error.to_string())?;
    if !about.is_file() {
        return Err("not a regular file".to_owned());
    }
    trust::own(&about)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
