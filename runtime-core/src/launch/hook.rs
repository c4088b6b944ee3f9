//! Programs that the parent runs in its own namespaces: hooks and the id map helpers.
//!
//! They are started by init like everything else, so that no descriptor of the caller reaches them, the environment is
//! exactly what is given and nothing happens between fork and exec in the caller's memory.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use runtime_core_program::Text;
use runtime_core_program::step::NO_HOME;
use rustix::event::{PollFd, PollFlags};

use super::start_program;
use crate::error::{Error, ErrorKind, Result, strsignal};
use crate::lower::{Descriptors, memfd};
use crate::plan::{Action, FdName, Line, Plan, PlannedHook, Step};
use crate::state::Exit;
use crate::sys;

/// How much of a program's output is kept, in bytes of each stream.
const KEPT: usize = 64 << 10;

/// A hook and what it needs.
pub(crate) struct HookRun<'a> {
    /// The hook.
    pub(crate) hook: &'a PlannedHook,
    /// The state document for its standard input.
    pub(crate) state: &'a [u8],
    /// The directory it starts in.
    pub(crate) cwd: &'a Path,
}

/// Runs a hook to its end.
///
/// # Errors
/// Hook: with runc's words, what it printed included.
pub(crate) fn run_hook(run: HookRun<'_>) -> Result<()> {
    let hook = run.hook;
    let args = if hook.args.is_empty() {
        std::slice::from_ref(&hook.path)
    } else {
        hook.args.as_slice()
    };
    let input = memfd(c"runtime-state", run.state)?;
    let timeout = hook.timeout.map(Duration::from_secs);
    let named = format!("error running {} hook #{}", hook.kind.as_str(), hook.position);
    let failed = |why: String| Error::new(ErrorKind::Hook, format!("{named}: {why}"));
    let captured = run_captured(&hook.path, args, &hook.env, Some(input), run.cwd, timeout)
        .map_err(|error| failed(error.to_string()))?;
    let output = format!(
        "stdout: {}, stderr: {}",
        captured.output.trim_end(),
        captured.error.trim_end()
    );
    match captured.exit {
        _ if captured.timed_out => Err(failed(format!(
            "hook ran past specified timeout of {}.0s",
            hook.timeout.unwrap_or(0)
        ))),
        Exit::Code(0) => Ok(()),
        Exit::Code(code) => Err(failed(format!("exit status {code}, {output}"))),
        Exit::Signal(signal) => Err(failed(format!("signal: {}, {output}", strsignal(signal)))),
        Exit::Unknown => Err(failed(
            "its end was not seen: another part of the process reaped it".to_owned(),
        )),
    }
}

/// How a program ended and what it said.
#[derive(Debug)]
pub(super) struct Captured {
    pub(super) exit: Exit,
    pub(super) timed_out: bool,
    pub(super) output: String,
    pub(super) error: String,
}

/// Runs a program in a session of its own and waits for it, at most `timeout`; then its session is killed.
pub(super) fn run_captured(
    path: &str,
    args: &[String],
    env: &[String],
    input: Option<OwnedFd>,
    cwd: &Path,
    timeout: Option<Duration>,
) -> Result<Captured> {
    let mut descriptors = Descriptors::default();
    let input = match input {
        Some(input) => input,
        None => memfd(c"runtime-empty", b"")?,
    };
    let (output, output_end) = pipe()?;
    let (error, error_end) = pipe()?;
    for (number, fd) in [(0, input), (1, output_end), (2, error_end)] {
        descriptors.insert(FdName::Standard(number), fd)?;
    }
    let plan = Plan {
        lines: lines(path, args, env, cwd)?,
        warnings: Vec::new(),
        cgroup: None,
        rdt: None,
    };
    let deadline = timeout.map(crate::time::deadline);
    let child = start_program(&plan, descriptors)?;
    let mut streams = [Stream::new(output), Stream::new(error)];
    let drained = drain(&mut streams, child.pidfd.as_fd(), deadline);
    if !matches!(drained, Ok(true)) {
        sys::wait::kill_session(child.pid);
    }
    let exit = sys::wait::exit_of(&child.pidfd);
    let timed_out = !drained?;
    let [output, error] = streams.map(|stream| String::from_utf8_lossy(&stream.kept).into_owned());
    Ok(Captured {
        exit,
        timed_out,
        output,
        error,
    })
}

fn lines(path: &str, args: &[String], env: &[String], cwd: &Path) -> Result<Vec<Line>> {
    let null = || Error::new(ErrorKind::InvalidSpec, "a string contains a null byte");
    let text = |value: &str| Text::new(value).ok_or_else(null);
    let texts = |values: &[String]| values.iter().map(|value| text(value)).collect::<Result<Vec<_>>>();
    let line = |step| Line {
        action: Action::Init(step),
        from: "(program)".to_owned(),
    };
    let standard = FdName::Standard;
    Ok(vec![
        line(Step::CloseStray {
            keep: vec![standard(0), standard(1), standard(2)],
        }),
        line(Step::NewSession {}),
        line(Step::Stdio {
            input: standard(0),
            output: standard(1),
            error: standard(2),
        }),
        line(Step::WorkDir {
            path: text(&cwd.to_string_lossy())?,
            may_fail: false,
        }),
        line(Step::Umask { mask: 0o022 }),
        line(Step::FindProgram {
            name: text(path)?,
            search: text("")?,
        }),
        line(Step::Exec {
            args: texts(args)?,
            env: texts(env)?,
            home: NO_HOME,
            keep: 0,
        }),
    ])
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|errno| Error::os("pipe2(O_CLOEXEC)", errno))
}

/// One output stream; what is over the limit is read and dropped, so that the program is never stopped by it.
struct Stream {
    file: Option<std::fs::File>,
    kept: Vec<u8>,
}

impl Stream {
    fn new(fd: OwnedFd) -> Self {
        Self {
            file: Some(fd.into()),
            kept: Vec::new(),
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        let Some(file) = &mut self.file else { return };
        match file.read(&mut buffer) {
            Ok(0) | Err(_) => self.file = None,
            Ok(length) => {
                let room = KEPT.saturating_sub(self.kept.len()).min(length);
                self.kept
                    .extend_from_slice(buffer.get(..room).unwrap_or_default());
            }
        }
    }
}

/// Reads until the program has ended; what others still write behind it is not waited for. False at the deadline.
fn drain(
    streams: &mut [Stream; 2],
    process: std::os::fd::BorrowedFd<'_>,
    deadline: Option<Instant>,
) -> Result<bool> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(false);
        }
        let timeout = left.map(sys::wait::timespec);
        let mut polled = vec![PollFd::from_borrowed_fd(process, PollFlags::IN)];
        let mut which = Vec::with_capacity(2);
        for (number, stream) in streams.iter().enumerate() {
            if let Some(file) = &stream.file {
                polled.push(PollFd::new(file, PollFlags::IN));
                which.push(number);
            }
        }
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(Error::os("poll(hook)", errno)),
            Ok(_) => {}
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(polled);
        let mut read_any = false;
        for (number, ready) in which.into_iter().zip(ready.iter().skip(1)) {
            if *ready && let Some(stream) = streams.get_mut(number) {
                stream.read();
                read_any = true;
            }
        }
        // What was written before the end has been readable before it, or together with it.
        if !read_any && ready.first() == Some(&true) {
            return Ok(true);
        }
    }
}
