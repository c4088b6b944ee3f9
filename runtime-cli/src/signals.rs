//! Staying with a container in the foreground: signals, terminal and the end, in one poll loop without timers.
//!
//! Signals are blocked and read from a descriptor, so none is lost between the container's making and the loop, and
//! none interrupts anything. Everything is passed on but SIGCHLD (ours), SIGWINCH (becomes a size) and SIGURG (runc
//! keeps it too).

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno as NixErrno;
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use runtime_core::{Container, Error, ErrorKind, Executed, Exit, Result, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{getpid, set_child_subreaper};

use crate::notify::Proxy;
use crate::session::Session;
use crate::terminal::Terminal;

/// What comes through the descriptor and stays here; numbers as on every Linux that is supported.
const SIGCHLD: i32 = nix::libc::SIGCHLD;
const SIGURG: i32 = nix::libc::SIGURG;
const SIGWINCH: i32 = nix::libc::SIGWINCH;

/// All signals of this process, as a descriptor.
#[derive(Debug)]
pub(crate) struct Signals {
    descriptor: SignalFd,
    reaps: bool,
}

impl Signals {
    /// Blocks all signals and reads them from a descriptor from now on.
    pub(crate) fn take() -> Result<Self> {
        let all = SigSet::all();
        all.thread_block()
            .map_err(|errno| Error::os("pthread_sigmask(SIG_BLOCK, all)", errno))?;
        let descriptor = SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(|errno| Error::os("signalfd4(all, SFD_CLOEXEC|SFD_NONBLOCK)", errno))?;
        Ok(Self {
            descriptor,
            reaps: false,
        })
    }

    /// Becomes the parent of processes that outlive theirs, and reaps them.
    pub(crate) fn adopt_orphans(&mut self) -> Result<()> {
        set_child_subreaper(Some(getpid()))
            .map_err(|errno| Error::os("prctl(PR_SET_CHILD_SUBREAPER, 1)", errno))?;
        self.reaps = true;
        Ok(())
    }

    /// The next signal that somebody else sent, with its number.
    fn next(&self) -> Result<Option<i32>> {
        loop {
            let info = self
                .descriptor
                .read_signal()
                .map_err(|errno| Error::os("read(signalfd)", errno))?;
            let Some(info) = info else { return Ok(None) };
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            // Our own SIGPIPE, for a caller that closed its end, is no signal for the container.
            if number == SIGCHLD || info.ssi_pid != std::process::id() {
                return Ok(Some(number));
            }
        }
    }
}

/// A process in the foreground: a container's first program, or one of exec.
pub(crate) trait Attended {
    /// A descriptor of it; None when it has ended.
    fn pidfd(&self) -> Option<BorrowedFd<'_>>;
    /// Waits for its end.
    fn wait(&self) -> Result<Exit>;
    /// Sends it a signal.
    fn signal(&self, signal: Signal) -> Result<()>;
}

impl Attended for Container {
    fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd()
    }

    fn wait(&self) -> Result<Exit> {
        self.wait()
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.kill(signal, false)
    }
}

impl Attended for Executed {
    fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.pidfd())
    }

    fn wait(&self) -> Result<Exit> {
        self.wait()
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.kill(signal)
    }
}

/// Stays until the process has ended; how it ended.
pub(crate) fn attend(
    session: &Session,
    process: &dyn Attended,
    signals: &Signals,
    mut terminal: Option<&mut Terminal>,
    mut proxy: Option<&Proxy>,
) -> Result<Exit> {
    let Some(pidfd) = process.pidfd() else {
        return process.wait();
    };
    loop {
        if let Some(terminal) = terminal.as_deref_mut() {
            terminal.pump();
        }
        let ready = wait(pidfd, signals, terminal.as_deref(), proxy)?;
        if let Some(terminal) = terminal.as_deref_mut() {
            terminal.transfer(ready.input, ready.output);
        }
        if ready.signal {
            pass_on(session, process, signals, pidfd, terminal.as_deref_mut())?;
        }
        if let Some(socket) = proxy.filter(|_| ready.notice) {
            // The service manager watches us as long as we stay, and we end as the container ends.
            match socket.forward_ready(&session.log, getpid().as_raw_pid()) {
                Ok(false) => {}
                Ok(true) => proxy = None,
                Err(error) => {
                    session.log.warn(format_args!("{error}"));
                    proxy = None;
                }
            }
        }
        if ready.ended {
            let exit = process.wait()?;
            session.log.debug(format_args!("process exited: {exit:?}"));
            return Ok(exit);
        }
    }
}

/// What poll found.
#[derive(Debug, Default)]
struct Ready {
    ended: bool,
    signal: bool,
    notice: bool,
    input: bool,
    output: bool,
}

/// Waits until anything can go on.
fn wait<'a>(
    pidfd: BorrowedFd<'a>,
    signals: &'a Signals,
    terminal: Option<&'a Terminal>,
    proxy: Option<&'a Proxy>,
) -> Result<Ready> {
    let mut fds = vec![
        PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
        PollFd::from_borrowed_fd(signals.descriptor.as_fd(), PollFlags::IN),
    ];
    let mut watch = |descriptor: Option<BorrowedFd<'a>>, flags| {
        descriptor.map(|descriptor| {
            fds.push(PollFd::from_borrowed_fd(descriptor, flags));
            fds.len() - 1
        })
    };
    let notice = watch(proxy.map(Proxy::descriptor), PollFlags::IN);
    let _master = watch(terminal.map(Terminal::edges), PollFlags::IN);
    let input = watch(terminal.and_then(Terminal::wanted_input), PollFlags::IN);
    let output = watch(terminal.and_then(Terminal::wanted_output), PollFlags::OUT);
    let nothing = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let timeout = terminal.is_some_and(Terminal::busy).then_some(&nothing);
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(Error::os("poll(pidfd, signalfd, ...)", errno)),
    }
    let is = |position: Option<usize>| position.is_some_and(|position| !fds[position].revents().is_empty());
    Ok(Ready {
        ended: is(Some(0)),
        signal: is(Some(1)),
        notice: is(notice),
        input: is(input),
        output: is(output),
    })
}

/// The exit code that shells give for an end.
pub(crate) fn exit_code(exit: Exit) -> Result<u8> {
    match exit {
        Exit::Code(code) => Ok(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
        Exit::Signal(signal) => Ok(u8::try_from((128 + signal) & 0xff).unwrap_or(u8::MAX)),
        Exit::Unknown => Err(Error::new(
            ErrorKind::System,
            "the program has ended, but another process reaped it",
        )
        .with_hint("is SIGCHLD ignored, or does another thread wait for children?")),
    }
}

/// Handles every signal that has come.
fn pass_on(
    session: &Session,
    process: &dyn Attended,
    signals: &Signals,
    pidfd: BorrowedFd<'_>,
    mut terminal: Option<&mut Terminal>,
) -> Result<()> {
    while let Some(number) = signals.next()? {
        match number {
            SIGCHLD if signals.reaps => reap(pidfd),
            SIGCHLD | SIGURG => {}
            SIGWINCH => {
                if let Some(terminal) = terminal.as_deref_mut() {
                    terminal.resize();
                }
            }
            _ => {
                let Some(signal) = Signal::from_number(number) else {
                    continue;
                };
                session
                    .log
                    .debug(format_args!("forwarding signal {number} to the container"));
                match process.signal(signal) {
                    Err(error) if error.kind() != ErrorKind::NotRunning => {
                        session
                            .log
                            .warn(format_args!("forwarding signal {number}: {error}"));
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

/// Reaps adopted children that have ended, but never init: how it ended is the library's to learn.
fn reap(pidfd: BorrowedFd<'_>) {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        let Some(ended) = waitid(Id::All, look).ok().and_then(|status| status.pid()) else {
            return;
        };
        // Looked at after the first look: when init still runs now, the one that had ended then is another.
        match waitid(Id::PIDFd(pidfd), look) {
            Ok(WaitStatus::StillAlive) => {}
            Ok(_) | Err(_) => return,
        }
        if let Err(NixErrno::ECHILD) = waitpid(ended, Some(WaitPidFlag::WNOHANG)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::zombie_processes, reason = "the function under test reaps it")]
    fn orphans_are_reaped_and_init_is_left_to_its_waiter() {
        let mut init = std::process::Command::new("sleep")
            .arg("30")
            .spawn()
            .expect("spawn sleep");
        let init_pid = rustix::process::Pid::from_child(&init);
        let pidfd =
            rustix::process::pidfd_open(init_pid, rustix::process::PidfdFlags::empty()).expect("pidfd");
        let orphan = std::process::Command::new("true").spawn().expect("spawn true");
        let orphan = nix::unistd::Pid::from_raw(i32::try_from(orphan.id()).expect("a pid"));
        let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(orphan), ended).expect("true ends");
        reap(pidfd.as_fd());
        assert_eq!(waitpid(orphan, Some(WaitPidFlag::WNOHANG)), Err(NixErrno::ECHILD));
        init.kill().expect("kill");
        waitid(Id::PIDFd(pidfd.as_fd()), ended).expect("sleep ends");
        reap(pidfd.as_fd());
        assert!(init.wait().is_ok_and(|status| !status.success()));
    }

    #[test]
    fn the_exit_code_is_the_shells() {
        assert_eq!(exit_code(Exit::Code(0)).ok(), Some(0));
        assert_eq!(exit_code(Exit::Code(255)).ok(), Some(255));
        assert_eq!(exit_code(Exit::Signal(9)).ok(), Some(137));
        assert!(exit_code(Exit::Unknown).is_err());
    }
}
