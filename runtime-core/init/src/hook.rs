//! Running a hook: a program with exactly the environment that it was given, the container's state on stdin, in a
//! session of its own, for a limited time.

use core::ffi::CStr;

use runtime_core_program::{Call, Texts, detail};

use crate::failure::{Failure, Outcome};
use crate::home;
use crate::report::Report;
use crate::sys::errno::{EAGAIN, EINTR, EPIPE};
use crate::sys::process::{End, Forked, Kin, NANOS, Strings};
use crate::sys::{self, Fd, Handle, fd, files, process};
use crate::text::{Text, digits};

/// The first descriptor that a hook does not get.
const FIRST: u32 = 3;
/// The exit code of a hook that could not be executed; it is not looked at, since the reason comes by a pipe.
const NOT_EXECUTED: usize = 127;
/// Bytes of a reason: the call's number and the errno.
const REASON: usize = 8;

/// The Hook step.
pub(crate) struct Hook<'a> {
    pub(crate) path: &'a CStr,
    pub(crate) args: Texts<'a>,
    pub(crate) env: Texts<'a>,
    pub(crate) home: u32,
    pub(crate) cwd: &'a CStr,
    pub(crate) head: &'a [u8],
    pub(crate) tail: &'a [u8],
    pub(crate) timeout: u64,
}

/// A hook that runs, and the moment when its time is over.
struct Running {
    pid: u32,
    pidfd: Fd,
    deadline: Option<u64>,
}

/// Runs a hook; what it printed goes along with the report of its failure.
pub(crate) fn run(hook: &Hook<'_>, report: &mut Report) -> Outcome {
    // A filter or limit of the container may refuse the file: then the hook prints where init does.
    let output = fd::memory_file(c"hook-output").ok();
    let outcome = run_with(hook, output.as_ref().map(Fd::at));
    report.attach(if outcome.is_err() { output } else { None });
    outcome
}

fn run_with(hook: &Hook<'_>, output: Option<Handle>) -> Outcome {
    let own_pid = digits(process::own_pid(), 10)?;
    // Before the fork, so that the child only makes calls.
    let home = home::variable(hook.home)?;
    let (args, env) = (
        Strings::of(hook.args)?,
        Strings::with(hook.env, home.as_ref().map(Text::c_str))?,
    );
    let (input, feed) = fd::pipe()?;
    let (reason, tell) = fd::pipe()?;
    let deadline =
        (hook.timeout != 0).then(|| process::now().saturating_add(hook.timeout.saturating_mul(NANOS)));
    let (pid, pidfd) = match process::fork(Kin::Child)? {
        Forked::Child => {
            let failure = become_hook(hook, input.at(), output, &args, &env);
            let mut bytes = [0; REASON];
            for (slot, word) in bytes
                .chunks_exact_mut(4)
                .zip([failure.call as u32, failure.errno.into()])
            {
                slot.copy_from_slice(&word.to_le_bytes());
            }
            let _ = files::write(tell.at(), &bytes);
            sys::exit(NOT_EXECUTED)
        }
        Forked::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop((input, tell));
    let running = Running { pid, pidfd, deadline };
    process::ignore_broken_pipes(true)?;
    fd::set_nonblocking(feed.at())?;
    let outcome = [hook.head, own_pid.bytes(), hook.tail]
        .iter()
        .try_for_each(|part| running.feed(feed.at(), part))
        .and_then(|()| {
            drop(feed);
            running.end()
        });
    process::ignore_broken_pipes(false)?;
    judge(outcome, &running, reason.at())
}

/// Turns this process, a child of init, into the hook; it returns only where that fails.
fn become_hook(
    hook: &Hook<'_>,
    input: Handle,
    output: Option<Handle>,
    args: &Strings<'_>,
    env: &Strings<'_>,
) -> Failure {
    let prepared = process::new_session()
        .and_then(|()| fd::place(input, 0))
        .and_then(|()| output.map_or(Ok(()), |output| fd::place(output, 1)))
        .and_then(|()| output.map_or(Ok(()), |output| fd::place(output, 2)))
        .and_then(|()| fd::mark_from(FIRST));
    let placed = prepared.and_then(|()| {
        if hook.cwd.is_empty() {
            Ok(())
        } else {
            files::change_dir(hook.cwd)
        }
    });
    match placed {
        Ok(()) => process::execute(hook.path, args, env),
        Err(failure) => failure,
    }
}

impl Running {
    /// Nanoseconds until the deadline, at least one; None without one.
    fn left(&self) -> Outcome<Option<u64>> {
        let Some(deadline) = self.deadline else {
            return Ok(None);
        };
        match deadline.checked_sub(process::now()) {
            None | Some(0) => Err(Failure::because(detail::HOOK_TIMEOUT)),
            left => Ok(left),
        }
    }

    /// Writes a part of the hook's input. A hook that does not read it all is fine, one that ended too.
    fn feed(&self, pipe: Handle, mut part: &[u8]) -> Outcome {
        while !part.is_empty() {
            match files::write(pipe, part) {
                Ok(length) => part = part.get(length..).unwrap_or_default(),
                Err(Failure { errno: EPIPE, .. }) => return Ok(()),
                Err(Failure { errno: EINTR, .. }) => {}
                Err(Failure { errno: EAGAIN, .. }) => {
                    let (ended, _) = self.poll(Some(pipe))?;
                    if ended {
                        return Ok(());
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    fn poll(&self, pipe: Option<Handle>) -> Outcome<(bool, bool)> {
        match process::poll(self.pidfd.at(), pipe, self.left()?) {
            Err(Failure { errno: EINTR, .. }) => Ok((false, false)),
            result => result,
        }
    }

    /// Waits for the end.
    fn end(&self) -> Outcome<End> {
        loop {
            let (ended, _) = self.poll(None)?;
            if ended {
                return process::wait(self.pidfd.at());
            }
        }
    }
}

/// Says what a hook's end means; one that still runs is killed, with its group.
fn judge(outcome: Outcome<End>, running: &Running, reason: Handle) -> Outcome {
    let end = match outcome {
        Ok(end) => end,
        Err(failure) => {
            process::kill_group(running.pid, running.pidfd.at());
            let _ = process::wait(running.pidfd.at());
            return Err(failure);
        }
    };
    let mut bytes = [0; REASON];
    if matches!(files::read(reason, &mut bytes), Ok(REASON)) {
        let (call, errno) = bytes.split_at(4);
        let word = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_le_bytes);
        let errno = u16::try_from(word(errno)).unwrap_or(u16::MAX);
        return Err(Failure::os(Call::from_code(word(call)), errno));
    }
    match end {
        End::Exit(0) => Ok(()),
        End::Exit(code) => Err(Failure::because(detail::HOOK_EXIT).value(code.into())),
        End::Signal(signal) => Err(Failure::because(detail::HOOK_SIGNAL).value(signal.into())),
    }
}
