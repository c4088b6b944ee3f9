//! Standard input, output and error of a container's programs: the ends that they get, and where the other ends lead.
//!
//! Names come from containerd: a fifo, `file://PATH`, `binary://PROGRAM?KEY=VALUE` or nothing. A program never gets the
//! fifo itself but a pipe of its own: a fifo has a name and an owner on the host, which AppArmor and SELinux look at when
//! the program opens /dev/stdout, and which the program could change.

mod logger;
mod open;
mod stream;
mod uri;

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

pub(crate) use logger::Logger;
pub(crate) use open::{Input, Opened, Owner, open};
pub(crate) use stream::{Stream, Wait};

use crate::ttrpc::Status;
use uri::Target;

/// The names that containerd gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

impl Names {
    /// Whether somebody has a fifo of the output open and has not read all that is in it.
    pub(crate) fn are_unread(&self) -> bool {
        [&self.stdout, &self.stderr]
            .into_iter()
            .any(|name| matches!(Target::parse(name), Ok(Target::Path(path)) if open::is_unread(&path)))
    }
}

/// A pipe whose ends close on exec: read, write.
fn pipe() -> Result<(OwnedFd, OwnedFd), Status> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|errno| Status::os("pipe2(O_CLOEXEC)", errno))
}

/// Makes reads and writes of this open file return at once. The other end of a pipe is another open file.
fn never_wait(fd: &OwnedFd) -> Result<(), Status> {
    rustix::fs::fcntl_getfl(fd)
        .and_then(|flags| rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK))
        .map_err(|errno| Status::os("fcntl(F_SETFL, O_NONBLOCK)", errno))
}

fn open_path(path: &str, flags: OFlags) -> Result<OwnedFd, Status> {
    let mode = Mode::from_raw_mode(0o644);
    rustix::fs::open(path, flags | OFlags::CLOEXEC, mode)
        .map_err(|errno| Status::os(format!("open({path:?}, {flags:?})"), errno))
}

fn null(flags: OFlags) -> Result<OwnedFd, Status> {
    open_path("/dev/null", flags)
}

fn share(fd: &OwnedFd) -> Result<OwnedFd, Status> {
    fd.try_clone()
        .map_err(|error| Status::os("fcntl(F_DUPFD_CLOEXEC)", error))
}
