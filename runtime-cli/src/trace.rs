//! `--trace FILE`: the file in which the times of one command come to lie.
//!
//! It is made before the command does anything, so that a path that cannot be written is said at once, and filled when
//! the command is over, however it ended. What the times are is the library's business.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind as IoErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use runtime_core::{Error, ErrorKind, Result, Trace};

use crate::args::{Matches, bad_value};

/// The form of the file.
#[derive(Debug, Clone, Copy)]
enum Format {
    Json,
    Table,
}

/// A record, and the file that it is for.
#[derive(Debug)]
pub(crate) struct Recording {
    trace: Trace,
    target: Option<(PathBuf, File, Format)>,
}

impl Recording {
    /// What the global options ask for.
    ///
    /// # Errors
    /// InvalidArgument, where they contradict themselves; System, where the file cannot be made.
    pub(crate) fn open(globals: &Matches) -> Result<Self> {
        let format = globals.choice(
            "trace-format",
            Format::Json,
            &[("json", Format::Json), ("table", Format::Table)],
        )?;
        let Some(path) = globals.path("trace") else {
            if globals.given("trace-format") {
                let message = "--trace-format without --trace FILE: there is no file to write";
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
            return Ok(Self {
                trace: Trace::off(),
                target: None,
            });
        };
        if path == Path::new("-") {
            let allowed = "a file; standard output is the command's (./- is a file of that name)";
            return Err(bad_value("trace", path.as_os_str(), allowed));
        }
        let file = create(&path)?;
        Ok(Self {
            trace: Trace::on(),
            target: Some((path, file, format)),
        })
    }

    /// Where to record.
    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Writes what was recorded.
    ///
    /// # Errors
    /// System.
    pub(crate) fn write(self) -> Result<()> {
        let Some((path, mut file, format)) = self.target else {
            return Ok(());
        };
        let text = match format {
            Format::Json => self.trace.to_json(),
            Format::Table => self.trace.to_table(),
        };
        file.write_all(text.as_bytes())
            .map_err(|error| Error::os(format!("write({path:?})"), error).context("--trace"))
    }
}

/// A new file that only its owner can read: it tells paths and arguments of the configuration. One that is there is
/// replaced and never written into: behind a link, or another name of the same file, somebody else's would be overwritten or
/// would get to know it.
fn create(path: &Path) -> Result<File> {
    let open = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
    };
    let failed = |call: &str, error| Error::os(format!("{call}({path:?})"), error).context("--trace");
    match open() {
        Err(error) if error.kind() == IoErrorKind::AlreadyExists => {}
        other => return other.map_err(|error| failed("open", error)),
    }
    let found = std::fs::symlink_metadata(path).map_err(|error| failed("stat", error))?;
    if !found.is_file() {
        let message = format!(
            "--trace {}: there is something that is no regular file",
            path.display()
        );
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    std::fs::remove_file(path).map_err(|error| failed("unlink", error))?;
    open().map_err(|error| failed("open", error))
}
