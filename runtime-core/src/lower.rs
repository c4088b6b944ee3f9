//! From the plan's names to the program's numbers: the init lines of a schedule and the descriptors that now exist.
//!
//! Sees no configuration and no path; decides nothing.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use runtime_core_program::{StepBuf, Writer};
use rustix::fs::MemfdFlags;

use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Action, FdName, Line, Step};

/// The descriptors that init inherits, by name.
#[derive(Debug, Default)]
pub(crate) struct Descriptors(BTreeMap<FdName, OwnedFd>);

impl Descriptors {
    /// Names a descriptor. Numbers 0 to 2 are moved away: they are the container's.
    pub(crate) fn insert(&mut self, name: FdName, fd: OwnedFd) -> Result<()> {
        self.0.insert(name, above_standard(fd)?);
        Ok(())
    }

    fn number(&self, name: &FdName) -> RawFd {
        self.0.get(name).map_or(-1, AsRawFd::as_raw_fd)
    }

    /// All numbers.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = RawFd> {
        self.0.values().map(AsRawFd::as_raw_fd)
    }
}

/// The descriptor, moved where a caller with closed standard descriptors was given one of their numbers for it: in init
/// they are the container's.
pub(crate) fn above_standard(fd: OwnedFd) -> Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, 3).map_err(|errno| Error::os("fcntl(F_DUPFD_CLOEXEC, 3)", errno))
}

/// The program of these lines in a memfd that init can map.
///
/// # Errors
/// InvalidSpec, where the configuration is larger than a program can be; System.
pub(crate) fn lower(lines: &[Line], descriptors: &Descriptors) -> Result<OwnedFd> {
    let mut writer = Writer::new();
    for (number, line) in lines.iter().enumerate() {
        let Action::Init(step) = &line.action else {
            continue;
        };
        let number = u32::try_from(number).map_err(|_| too_large())?;
        match step {
            Step::CloseStray { keep } => {
                let mut keep: Vec<RawFd> = keep
                    .iter()
                    .map(|name| descriptors.number(name))
                    .filter(|fd| *fd >= 0)
                    .collect();
                keep.sort_unstable();
                writer.push(number, &StepBuf::CloseStray { keep }, |fd| *fd);
            }
            // A hierarchy that this caller may not use, and need not.
            Step::JoinCgroup { tasks } if descriptors.number(tasks) < 0 => {}
            _ => writer.push(number, step, |name| descriptors.number(name)),
        }
    }
    let bytes = writer.finish().ok_or_else(too_large)?;
    memfd(c"runtime-program", &bytes)
}

fn too_large() -> Error {
    Error::new(
        ErrorKind::InvalidSpec,
        "the configuration is larger than a program can be (256 MiB)",
    )
}

/// Bytes as a file in memory, read from its start.
pub(crate) fn memfd(name: &std::ffi::CStr, bytes: &[u8]) -> Result<OwnedFd> {
    let fd = match rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL) {
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC),
        other => other,
    };
    let fd = fd.map_err(|errno| Error::os(format!("memfd_create({name:?})"), errno))?;
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes)
        .map_err(|error| Error::os(format!("write(memfd {name:?})"), error))?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))
        .map_err(|errno| Error::os(format!("lseek(memfd {name:?})"), errno))?;
    above_standard(file.into())
}
