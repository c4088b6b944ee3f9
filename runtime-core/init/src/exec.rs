//! The last step: finding the container's program and becoming it.

use core::ffi::CStr;

use runtime_core_program::{Call, FdList, Frame, FrameKind, Texts, detail};

use crate::failure::{Failure, Outcome};
use crate::report::Report;
use crate::sys::errno::{EACCES, EISDIR, ENOENT, ENOSYS, ENOTDIR, EPERM};
use crate::sys::files::{self, Kind};
use crate::sys::process::Strings;
use crate::sys::{Handle, fd, identity, messenger, process};
use crate::text::{Path, Text};
use crate::{home, stdio};

/// The first descriptor that is not a standard one.
const FIRST: u32 = 3;
/// SECCOMP_FILTER_FLAG_NEW_LISTENER.
const NEW_LISTENER: u32 = 1 << 3;

/// The Exec step.
pub(crate) struct Exec<'a> {
    pub(crate) args: Texts<'a>,
    pub(crate) env: Texts<'a>,
    pub(crate) home: u32,
    pub(crate) keep: u32,
    /// What an earlier step wants at 3, 4, ...
    pub(crate) place: Option<FdList<'a>>,
    /// The filter of the step directly before: it is loaded between the last other call and execve(2), so that it
    /// need not allow what init does.
    pub(crate) filter: Option<Filter<'a>>,
}

/// The Seccomp step.
pub(crate) struct Filter<'a> {
    pub(crate) line: u32,
    pub(crate) instructions: &'a [u8],
    pub(crate) flags: u32,
}

/// Finds the program: a name with a slash as it is, any other in the absolute directories of `search`. What would be
/// found by a relative or empty directory depends on where the program happens to start and is not taken.
pub(crate) fn find(name: &CStr, search: &CStr) -> Outcome<Path> {
    if name.to_bytes().contains(&b'/') {
        let path = Path::of(&[name.to_bytes()])?;
        return check(path.c_str()).map(|()| path);
    }
    for dir in search
        .to_bytes()
        .split(|&byte| byte == b':')
        .filter(|dir| dir.starts_with(b"/"))
    {
        // A path that is too long names no file.
        if let Ok(path) = Path::of(&[dir, b"/", name.to_bytes()])
            && !name.is_empty()
            && check(path.c_str()).is_ok()
        {
            return Ok(path);
        }
    }
    Err(Failure::os(Call::Execve, ENOENT).detail(detail::NOT_IN_PATH))
}

/// Whether this user may execute a file. A filter of the container that is in force already may refuse statx(2): then
/// execve(2) says it of a directory, in other words.
fn check(path: &CStr) -> Outcome {
    let explain = |failure: Failure| failure.call(Call::Execve).detail(meaning(failure.errno));
    match files::status_of(Handle::CWD, path, 0) {
        Ok(status) if status.kind == Kind::DIRECTORY => {
            return Err(Failure::os(Call::Execve, EISDIR).detail(detail::DIRECTORY));
        }
        Ok(_)
        | Err(Failure {
            errno: ENOSYS | EPERM,
            ..
        }) => {}
        Err(failure) => return Err(explain(failure)),
    }
    files::may_execute(path).map_err(explain)
}

fn meaning(errno: u16) -> u32 {
    match errno {
        ENOENT | ENOTDIR => detail::MISSING,
        EACCES | EPERM => detail::NOT_EXECUTABLE,
        _ => detail::NONE,
    }
}

/// Becomes the program. From Starting on, end of file on the report socket means that it runs.
pub(crate) fn execute(exec: &Exec<'_>, program: &Path, report: &mut Report) -> Outcome {
    let home = home::variable(exec.home)?;
    let args = Strings::of(exec.args)?;
    let env = Strings::with(exec.env, home.as_ref().map(Text::c_str))?;
    let behind = FIRST.saturating_add(exec.keep);
    report.move_behind(behind)?;
    if let Some(fds) = exec.place {
        stdio::place(fds)?;
    }
    close_all_but(report.socket(), behind)?;
    report.say(FrameKind::Starting);
    if let Some(filter) = &exec.filter {
        let line = report.line();
        report.at_line(filter.line);
        load(filter, report)?;
        report.at_line(line);
    }
    let failure = process::execute(program.c_str(), &args, &env);
    Err(failure.detail(meaning(failure.errno)))
}

/// Really closes, close-on-exec would be too late: the path to execute may lead through /proc/self/fd
/// (CVE-2024-21626).
fn close_all_but(report: Handle, behind: u32) -> Outcome {
    let own = report.number().cast_unsigned();
    if own > behind {
        fd::close_range(behind, own - 1)?;
    }
    fd::close_range(own.saturating_add(1), u32::MAX)
}

/// Loads a filter. The listener that it may have goes to the parent and is not kept (a program that held it could
/// answer its own calls). A thread without the filter hands it out: the calls that this takes may be among those that
/// the filter refuses, or holds up until somebody with the listener answers.
pub(crate) fn load(filter: &Filter<'_>, report: &Report) -> Outcome {
    let load = || identity::load_filter(filter.instructions, filter.flags);
    if filter.flags & NEW_LISTENER == 0 {
        return load().map(drop);
    }
    let frame = Frame::new(FrameKind::Descriptor, filter.line).encode();
    messenger::hand_out(report.socket(), frame, || load().map(identity::filter_listener))
}
