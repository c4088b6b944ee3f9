//! Reading a configuration: one file, read once through one descriptor, into `oci_spec::runtime::Spec`.
//!
//! The document is parsed into a JSON tree, tidied (`normalize`: unknown fields and capabilities become
//! warnings, the spellings that oci-spec has wrong are bridged) and then typed, so that every error names its field.
//! What the document *means* is judged in [`check`](mod@super::check); no default is filled in here.

use super::normalize::normalize;
use super::shape::{PROCESS, RESOURCES, ROOT};
use crate::error::{Error, ErrorKind, Result};
use oci_spec::runtime::{LinuxResources, Process, Spec};
use rustix::fs::{FileType, Mode, OFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::io::Read;
use std::path::Path;

/// Size limit of a configuration, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Something in the configuration that is accepted but should be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// The field, as `mounts[3].options[1]`.
    pub field: String,
    /// One line, without a final full stop.
    pub message: String,
}

impl Warning {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// A configuration, typed, with what was noticed on the way. Every field of runtime-spec 1.3 for Linux has a place in
/// `spec`; a test reads and writes a document with all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedSpec {
    /// The configuration.
    pub spec: Spec,
    /// Accepted oddities: unknown fields, unknown capabilities.
    pub warnings: Vec<Warning>,
}

impl LoadedSpec {
    /// Reads `file_name` in the bundle directory `dir`.
    ///
    /// # Errors
    /// InvalidSpec when the file is missing, is not a regular file, is larger than [`MAX_CONFIG_BYTES`] or does not
    /// parse (see [`LoadedSpec::from_slice`]); System when it cannot be read.
    pub fn from_bundle(dir: &Path, file_name: &str) -> Result<Self> {
        let path = dir.join(file_name);
        let bytes = read(&path).map_err(|error| match error.errno() {
            Some(libc::ENOENT) => Error::new(
                ErrorKind::InvalidSpec,
                format!("JSON specification file {file_name} not found"),
            )
            .with_hint(format!("the bundle is {}", dir.display())),
            _ => error,
        })?;
        Self::from_slice(&bytes, file_name)
    }

    /// Parses a document; `origin` names it in errors.
    ///
    /// # Errors
    /// InvalidSpec: not JSON (with line and column), nested deeper than 128, `null`, or a field of the wrong type or
    /// with an unknown value (with the field, what was found and what is allowed).
    pub fn from_slice(bytes: &[u8], origin: &str) -> Result<Self> {
        let mut document = parse(bytes, origin)?;
        let warnings = normalize(&mut document, &ROOT, "");
        let spec = typed(&document, "")?;
        Ok(Self { spec, warnings })
    }

    /// Takes a configuration that the caller holds in memory.
    pub fn from_value(spec: Spec) -> Self {
        Self {
            spec,
            warnings: Vec::new(),
        }
    }
}

/// A process description as `exec --process` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedProcess {
    /// The process.
    pub process: Process,
    /// Accepted oddities.
    pub warnings: Vec<Warning>,
}

impl LoadedProcess {
    /// Reads the file `path`. Fields in errors begin with `process.`.
    ///
    /// # Errors
    /// As [`LoadedSpec::from_bundle`]; System with ENOENT when the file is missing.
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::from_slice(&read(path)?, &path.display().to_string())
    }

    /// Parses a process description; `origin` names it in errors.
    ///
    /// # Errors
    /// As [`LoadedSpec::from_slice`].
    pub fn from_slice(bytes: &[u8], origin: &str) -> Result<Self> {
        let mut document = parse(bytes, origin)?;
        let warnings = normalize(&mut document, &PROCESS, "process");
        // As in a configuration: a missing user is 0:0.
        if let Value::Object(process) = &mut document {
            process
                .entry("user")
                .or_insert_with(|| Value::Object(serde_json::Map::new()));
        }
        Ok(Self {
            process: typed(&document, "process")?,
            warnings,
        })
    }
}

/// Resource limits as `update --resources` takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedResources {
    /// The limits.
    pub resources: LinuxResources,
    /// Accepted oddities.
    pub warnings: Vec<Warning>,
}

impl LoadedResources {
    /// Parses limits; `origin` names the text in errors. Fields in errors begin with `linux.resources.`.
    ///
    /// # Errors
    /// As [`LoadedSpec::from_slice`].
    pub fn from_slice(bytes: &[u8], origin: &str) -> Result<Self> {
        let mut document = parse(bytes, origin)?;
        let warnings = normalize(&mut document, &RESOURCES, "linux.resources");
        Ok(Self {
            resources: typed(&document, "linux.resources")?,
            warnings,
        })
    }
}

/// The text of a regular file within the size limit. Neither a FIFO (no wait for a writer) nor a device is opened for
/// good, and the size is checked again while reading, because a file can grow.
fn read(path: &Path) -> Result<Vec<u8>> {
    let call = || format!("open({path:?}, O_RDONLY|O_NONBLOCK|O_CLOEXEC)");
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| Error::os(call(), errno))?;
    let stat = rustix::fs::fstat(&fd).map_err(|errno| Error::os(format!("fstat({path:?})"), errno))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        let message = format!("{} is not a regular file", path.display());
        return Err(Error::new(ErrorKind::InvalidSpec, message));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0).min(1 << 20));
    std::fs::File::from(fd)
        .take(MAX_CONFIG_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::os(format!("read({path:?})"), error))?;
    if bytes.len() as u64 > MAX_CONFIG_BYTES {
        let message = format!("{} is larger than {MAX_CONFIG_BYTES} bytes", path.display());
        return Err(Error::new(ErrorKind::InvalidSpec, message));
    }
    Ok(bytes)
}

fn parse(bytes: &[u8], origin: &str) -> Result<Value> {
    let invalid = |message: String| Error::new(ErrorKind::InvalidSpec, format!("{origin}: {message}"));
    // serde_json stops at a nesting of 128 and gives line and column in its text.
    let document: Value =
        serde_json::from_slice(bytes).map_err(|error| invalid(format!("malformed JSON: {error}")))?;
    match document {
        Value::Object(_) => Ok(document),
        Value::Null => Err(invalid("config cannot be null".to_owned())),
        other => Err(invalid(format!(
            "found {}, allowed is an object",
            kind_of(&other)
        ))),
    }
}

/// Gives the document its type. `prefix` is the field that the document stands for. Keeping track of the way costs more
/// than the typing itself, so it is done only for a document that has failed.
fn typed<T: DeserializeOwned>(document: &Value, prefix: &str) -> Result<T> {
    if let Ok(typed) = T::deserialize(document) {
        return Ok(typed);
    }
    serde_path_to_error::deserialize(document).map_err(|error| {
        let path = error.path().to_string();
        // A missing field is reported at its parent; "." is the path of the root.
        let field = match (prefix, path.as_str()) {
            ("", ".") => String::new(),
            (prefix, ".") => prefix.to_owned(),
            ("", path) => path.to_owned(),
            (prefix, path) => format!("{prefix}.{path}"),
        };
        let message = error.into_inner().to_string();
        let message = match known_words(&field) {
            Some(words) => format!("{words}: {message}"),
            None => message,
        };
        if field.is_empty() {
            Error::new(ErrorKind::InvalidSpec, message)
        } else {
            Error::spec(field, message)
        }
    })
}

/// What runc calls a fault of this field, where scripts look for it.
fn known_words(field: &str) -> Option<&'static str> {
    match field {
        "linux.memoryPolicy" | "linux.memoryPolicy.mode" => Some("invalid memory policy mode"),
        field if field.starts_with("linux.memoryPolicy.flags[") => Some("invalid memory policy flag"),
        _ => None,
    }
}

/// The JSON name of a value's type.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
