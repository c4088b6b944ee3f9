//! A program that logs what a container writes (`binary://`): it reads standard output and error as descriptors 3 and 4
//! and says by descriptor 5 that it is ready.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::uri::Program;
use super::{pipe, share};
use crate::ttrpc::Status;

/// Descriptors that are handed over stand above this number first: none lies where another one goes.
const ABOVE: i32 = 16;

/// A running logger. It is a child of the shim, which reaps all of them.
#[derive(Debug)]
pub(crate) struct Logger {
    pidfd: OwnedFd,
}

/// The ends for the container: output and error.
pub(super) struct Ends {
    pub(super) output: OwnedFd,
    pub(super) error: OwnedFd,
}

impl Logger {
    /// Starts the program and waits until it is ready.
    pub(super) fn start(program: &Program, id: &str, namespace: &str) -> Result<(Self, Ends), Status> {
        let (out_read, output) = pipe()?;
        let (err_read, error) = pipe()?;
        let (ready_read, ready_write) = pipe()?;
        let pid = spawn(program, [&out_read, &err_read, &ready_write], id, namespace)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            .map_err(|errno| Status::os(format!("pidfd_open({})", pid.as_raw_nonzero()), errno))?;
        drop((out_read, err_read, ready_write));
        let logger = Self { pidfd };
        let mut byte = [0];
        let count = loop {
            match rustix::io::read(&ready_read, &mut byte) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other.map_err(|errno| Status::os("read(ready pipe of the logger)", errno))?,
            }
        };
        if count == 0 && program.must_answer {
            logger.kill();
            return Err(Status::precondition(format!(
                "stdout: the logger {:?} ended or closed descriptor 5 without having said that it is ready",
                program.path
            )));
        }
        Ok((logger, Ends { output, error }))
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::TERM);
    }

    /// Ends it.
    pub(crate) fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

fn spawn(program: &Program, fds: [&OwnedFd; 3], id: &str, namespace: &str) -> Result<Pid, Status> {
    let text = |text: String| {
        CString::new(text).map_err(|_| Status::invalid("stdout: the logger's URI contains a null byte"))
    };
    let mut args = vec![text(program.path.clone())?];
    for arg in &program.args {
        args.push(text(arg.clone())?);
    }
    let env = [
        text(format!("CONTAINER_ID={id}"))?,
        text(format!("CONTAINER_NAMESPACE={namespace}"))?,
    ];
    let failed = |what: &str| {
        let what = what.to_owned();
        move |errno: nix::errno::Errno| Status::os(what, std::io::Error::from(errno))
    };
    let mut actions = PosixSpawnFileActions::init().map_err(failed("posix_spawn_file_actions_init"))?;
    // Its own standard descriptors are nobody's: the shim's are its socket and null.
    let null = super::null(rustix::fs::OFlags::RDWR)?;
    let mut kept = Vec::new();
    for (fd, target) in [(&null, 0), (&null, 1), (&null, 2)]
        .into_iter()
        .chain(fds.into_iter().zip(3..))
    {
        let high = rustix::io::fcntl_dupfd_cloexec(share(fd)?, ABOVE)
            .map_err(|errno| Status::os("fcntl(F_DUPFD_CLOEXEC)", errno))?;
        actions
            .add_dup2(high.as_raw_fd(), target)
            .map_err(failed("posix_spawn_file_actions_adddup2"))?;
        kept.push(high);
    }
    let attr = attributes().map_err(failed("posix_spawnattr_init"))?;
    let pid = posix_spawn(args[0].as_c_str(), &actions, &attr, &args, &env)
        .map_err(failed(&format!("stdout: the logger {:?}: execve", program.path)))?;
    Pid::from_raw(pid.as_raw()).ok_or_else(|| Status::precondition("posix_spawn gave pid 0"))
}

/// Signals as a program expects them: the shim blocks some and ignores SIGPIPE.
fn attributes() -> nix::Result<PosixSpawnAttr> {
    use nix::spawn::PosixSpawnFlags;
    use nix::sys::signal::SigSet;
    let mut attr = PosixSpawnAttr::init()?;
    attr.set_sigmask(&SigSet::empty())?;
    attr.set_sigdefault(&SigSet::all())?;
    attr.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF)?;
    Ok(attr)
}
