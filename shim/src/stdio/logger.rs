//! A program that logs what a container writes (`binary://`): it reads standard output and error as descriptors 3 and 4
//! and says by descriptor 5 that it is ready.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::uri::Program;
use super::{pipe, share};
use crate::ttrpc::Status;

/// Descriptors that are handed over stand above this number first: none lies where another one goes.
const ABOVE: i32 = 16;
/// How long a logger may take to be ready. containerd's own shim waits for ever; a logger that sends over a network first
/// connects.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A running logger. It is a child of the shim, which reaps all of them.
#[derive(Debug)]
pub(crate) struct Logger {
    pidfd: OwnedFd,
}

/// The ends for the container: output and error.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) output: OwnedFd,
    pub(super) error: OwnedFd,
}

impl Logger {
    /// Starts the program and waits until it is ready, at most `patience`.
    pub(super) fn start(
        program: &Program,
        id: &str,
        namespace: &str,
        patience: Duration,
    ) -> Result<(Self, Ends), Status> {
        let (out_read, output) = pipe()?;
        let (err_read, error) = pipe()?;
        let (ready_read, ready_write) = pipe()?;
        let pid = spawn(program, [&out_read, &err_read, &ready_write], id, namespace)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            .map_err(|errno| Status::os(format!("pidfd_open({})", pid.as_raw_nonzero()), errno))?;
        drop((out_read, err_read, ready_write));
        let logger = Self { pidfd };
        match Self::becomes_ready(&ready_read, program, patience) {
            Ok(()) => Ok((logger, Ends { output, error })),
            Err(status) => {
                logger.kill();
                Err(status)
            }
        }
    }

    /// Waits for a byte, or for the end of descriptor 5 where the program need not answer.
    fn becomes_ready(ready: &OwnedFd, program: &Program, patience: Duration) -> Result<(), Status> {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut polled = [PollFd::new(ready, PollFlags::IN)];
            match rustix::event::poll(&mut polled, Some(&timeout)) {
                Ok(0) => {
                    return Err(Status::precondition(format!(
                        "stdout: the logger {:?} did not say within {} seconds that it is ready, by a byte to descriptor 5 \
                         or by closing it; it was killed",
                        program.path,
                        patience.as_secs()
                    )));
                }
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Status::os("poll(ready pipe of the logger)", errno)),
            }
        }
        let count = rustix::io::read(ready, &mut [0])
            .map_err(|errno| Status::os("read(ready pipe of the logger)", errno))?;
        if count == 0 && program.must_answer {
            return Err(Status::precondition(format!(
                "stdout: the logger {:?} ended or closed descriptor 5 without having said that it is ready",
                program.path
            )));
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::super::uri::Target;
    use super::*;

    /// A script as a logger, which gets its own path as an argument.
    fn started(name: &str, scheme: &str, script: &str, patience: Duration) -> Result<(Logger, Ends), Status> {
        use std::os::unix::fs::PermissionsExt as _;
        // A program that is open for writing in a child of another thread cannot be executed.
        static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _one = ONE.lock();
        let path = std::env::temp_dir().join(format!("logger-{name}-{}", std::process::id()));
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let target = Target::parse(&format!("{scheme}://{}", path.display())).unwrap();
        let Target::Program(program) = target else {
            panic!("{target:?}")
        };
        let started = Logger::start(&program, "c", "n", patience);
        std::fs::remove_file(&path).unwrap();
        started
    }

    #[test]
    fn a_logger_that_is_never_ready_is_killed() {
        let file = std::env::temp_dir().join(format!("logger-pid-{}", std::process::id()));
        let script = format!("echo $$ >{}; exec sleep 1000", file.display());
        let begun = Instant::now();
        let error = started("stuck", "binary", &script, Duration::from_secs(1)).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        assert!(error.message.contains("within 1 seconds"), "{}", error.message);
        let pid: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let ended = rustix::process::waitpid(Pid::from_raw(pid), rustix::process::WaitOptions::empty());
        assert_eq!(ended.unwrap().unwrap().1.terminating_signal(), Some(9));
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_byte_and_an_end_are_told_apart() {
        let patience = Duration::from_secs(20);
        for (name, scheme, script, ready) in [
            ("byte", "binary-v2", "echo >&5; exec cat <&3 >/dev/null", true),
            ("end", "binary", "exec 5>&-; exec cat <&3 >/dev/null", true),
            ("silent", "binary-v2", "exec 5>&-; exec cat <&3 >/dev/null", false),
        ] {
            let found = started(name, scheme, script, patience);
            assert_eq!(found.is_ok(), ready, "{name}");
            if let Ok((logger, _)) = found {
                logger.kill();
            }
        }
    }
}
