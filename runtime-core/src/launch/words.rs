//! init sends numbers; the words come from the plan.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;

use runtime_core_program::{Call, Frame, detail};

use super::Report;

use crate::error::{Error, ErrorKind, strerror, strsignal};
use crate::plan::{Action, Line, Step};
use crate::seccomp::{FLAG_NEW_LISTENER, FLAG_WAIT_KILLABLE_RECV};

/// How much of a hook's output is shown, in bytes, from its end.
const SHOWN: u64 = 4 << 10;

/// The error of a report that says that a step of init failed, in the phase that runc gives its name; what the kernel
/// says when the program itself is executed stands alone.
pub(crate) fn failure(line: Option<&Line>, report: Report) -> Error {
    let mount = match line.map(|line| &line.action) {
        Some(Action::Init(Step::MountBind { source, target, .. } | Step::MountFs { source, target, .. })) => {
            format!(": error mounting \"{source}\" to rootfs at \"{target}\"")
        }
        _ => String::new(),
    };
    let errno = report.frame.errno.cast_signed();
    let error = match errno {
        // What an end looks like from inside: no process may come to the pid namespace, the cgroup is gone.
        libc::ENOMEM | libc::ESRCH | libc::ENODEV => of_step(line, report),
        _ => of_step(line, report).of_its_own(),
    };
    match error.kind() {
        ErrorKind::Exec => error,
        _ => error.during(Some(&format!("error during container init{mount}"))),
    }
}

fn of_step(line: Option<&Line>, report: Report) -> Error {
    let frame = &report.frame;
    let Some(line) = line else {
        return Error::new(
            ErrorKind::Internal,
            format!("init failed at line {}, which the plan lacks", frame.line),
        );
    };
    let errno = i32::try_from(frame.errno).unwrap_or(0);
    let error = match &line.action {
        Action::Init(Step::FindProgram { name, .. }) => {
            return program(&name.to_string_lossy(), frame, errno);
        }
        Action::Init(Step::Exec { args, .. }) => {
            let name = args.first().map(ToString::to_string).unwrap_or_default();
            return Error::new(ErrorKind::Exec, format!("exec {name}: {}", strerror(errno)))
                .with_errno(errno);
        }
        Action::Init(step @ Step::Hook { .. }) => {
            return Error::new(ErrorKind::Hook, hook(&line.from, step, frame, errno, report.fd));
        }
        Action::Init(step) => step_words(step, frame, errno),
        // Before its first step it has no line yet, and reads its program.
        Action::Parent(_) if errno != 0 => {
            let call = format!("{} (by init, which reads its program)", frame.call.name());
            return Error::os(call, std::io::Error::from_raw_os_error(errno));
        }
        Action::Parent(_) => Error::new(ErrorKind::Internal, "init failed at a line of the parent"),
    };
    let error = error.with_step(line.to_string());
    if line.from.starts_with('(') {
        error
    } else {
        error.with_field(line.from.clone())
    }
}

fn step_words(step: &Step, frame: &Frame, errno: i32) -> Error {
    if let Some(error) = label(step, frame, errno) {
        return error;
    }
    let text = match frame.detail {
        detail::WRONG_TYPE => wrong_type(step, errno),
        detail::OTHER_LABEL => {
            "the kernel did not take the label: what was read back is another one".to_owned()
        }
        detail::OUTSIDE => {
            "current working directory is outside of container mount namespace root -- possible container breakout \
             detected"
                .to_owned()
        }
        detail::FORBIDDEN_TARGET => match step {
            Step::MountFs { target, .. } | Step::MountBind { target, .. } => {
                format!("\"{target}\" cannot be mounted because it is inside /proc")
            }
            _ => "the path is inside /proc".to_owned(),
        },
        detail::MALFORMED => return Error::new(ErrorKind::Internal, "init cannot read its program"),
        detail::LIMIT => format!("a limit of init is exceeded: {}", frame.value),
        detail::OPTION => match step {
            Step::MountFs { options, .. } | Step::Remount { options, .. } => {
                let option = usize::try_from(frame.value).ok().and_then(|at| options.get(at));
                let option = option.map(ToString::to_string).unwrap_or_default();
                return Error::os(format!("fsconfig({option:?})"), std::io::Error::from_raw_os_error(errno));
            }
            _ => String::new(),
        },
        detail::SOURCE => match step {
            Step::MountBind { source, .. } => {
                return Error::os(format!("open_tree({source:?})"), std::io::Error::from_raw_os_error(errno));
            }
            _ => String::new(),
        },
        _ => String::new(),
    };
    if text.is_empty() {
        let call = if frame.call == Call::None {
            "init"
        } else {
            frame.call.name()
        };
        return hinted(
            Error::os(call, std::io::Error::from_raw_os_error(errno)),
            step,
            errno,
        );
    }
    Error::new(ErrorKind::System, text).with_errno(errno)
}

/// The words of runc; podman takes the path in its quotes as a sign that a label could not be set.
fn label(step: &Step, frame: &Frame, errno: i32) -> Option<Error> {
    let (what, path) = match step {
        Step::ExecProfile { .. } => (
            "unable to apply apparmor profile: apparmor failed to apply profile",
            "/proc/self/attr/apparmor/exec",
        ),
        Step::ExecLabel { .. } => ("can't set process label", "/proc/self/attr/exec"),
        Step::KeyLabel { .. } => ("can't set the label of keyrings", "/proc/self/attr/keycreate"),
        _ => return None,
    };
    if frame.detail != detail::NONE {
        return None;
    }
    let call = if frame.call == Call::Write {
        "write"
    } else {
        "open"
    };
    let missing =
        matches!(step, Step::ExecProfile { .. }) && frame.call == Call::Write && errno == libc::ENOENT;
    // A missing profile is not a missing program: engines look for the kernel's words.
    let why = if missing {
        "the profile is not loaded".to_owned()
    } else {
        strerror(errno)
    };
    let error = Error::new(ErrorKind::System, format!("{what}: {call} `{path}`: {why}")).with_errno(errno);
    Some(if missing {
        error.with_hint(
            "load it with apparmor_parser(8); /sys/kernel/security/apparmor/profiles lists those that are",
        )
    } else {
        error
    })
}

fn hinted(error: Error, step: &Step, errno: i32) -> Error {
    match step {
        Step::Capabilities { .. } | Step::LimitBounding { .. } if errno == libc::EPERM => error
            .with_hint("the caller itself lacks one of these capabilities; see CapBnd in /proc/self/status"),
        Step::Rlimit { .. } if errno == libc::EPERM => {
            error.with_hint("raising a hard limit needs CAP_SYS_RESOURCE")
        }
        Step::Scheduler { .. } if errno == libc::EPERM => error.context(
            "process scheduler can't be used together with AllowedCPUs, nor without CAP_SYS_NICE",
        ),
        Step::MemoryPolicy { .. } if errno == libc::EINVAL => error.with_hint(
            "this machine or the container's cpuset has none of these memory nodes, or its kernel does not know the mode",
        ),
        Step::Seccomp { flags, .. } if errno == libc::EINVAL && flags & FLAG_WAIT_KILLABLE_RECV != 0 => {
            error.with_hint("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs Linux 5.19")
        }
        Step::Seccomp { flags, .. } if errno == libc::EAGAIN && flags & FLAG_NEW_LISTENER != 0 => error
            .with_hint(
                "a thread hands the listener out: linux.resources.pids.limit has to leave room for it",
            ),
        Step::Seccomp { flags, .. } if errno == libc::EBUSY && flags & FLAG_NEW_LISTENER != 0 => {
            error.with_hint("a filter with a listener is in force already, and there can be only one")
        }
        Step::Join { .. } if errno == libc::EPERM => {
            error.with_hint("the namespace belongs to a user namespace that the caller has no power over")
        }
        _ => error,
    }
}

/// Engines look for "not a directory" in a refused mount, of a file over a directory too, and explain it to their user;
/// "is a directory" they take for a program that cannot be executed.
fn wrong_type(step: &Step, errno: i32) -> String {
    match step {
        Step::MountFs { fstype, target, .. } => format!(
            "filesystem \"{fstype}\" must be mounted on ordinary directory, and {target} is none: {}",
            strerror(errno)
        ),
        Step::MountBind { target, .. } if errno == libc::ENOTDIR => {
            format!("a directory cannot be mounted over the file {target}: not a directory")
        }
        Step::MountBind { target, .. } if errno == libc::EISDIR => {
            format!("a file cannot be mounted over the directory {target}: not a directory")
        }
        Step::Device { path, .. } => format!("{path} exists and is another device"),
        Step::BindDevice { source, .. } => format!("the host's {source} is not the device that is asked for"),
        Step::OpenRoot { path, .. } => format!("{path} is not a directory"),
        _ if errno == libc::ENOTDIR => "not a directory".to_owned(),
        _ => "the path is of the wrong type".to_owned(),
    }
}

/// The wording of runc, which engines match to choose between the exit codes 126 and 127.
fn program(name: &str, frame: &Frame, errno: i32) -> Error {
    let quoted = serde_json::Value::from(name).to_string();
    let text = match frame.detail {
        detail::NOT_IN_PATH => format!("exec: {quoted}: executable file not found in $PATH"),
        detail::DIRECTORY => format!("exec: {quoted}: is a directory"),
        detail::NOT_EXECUTABLE => format!("exec: {quoted}: permission denied"),
        _ => format!("exec: {quoted}: stat {name}: {}", strerror(errno)),
    };
    Error::new(ErrorKind::Program, text).with_errno(errno)
}

/// `from` is the hook's field, as `hooks.createContainer[1]`.
fn hook(from: &str, step: &Step, frame: &Frame, errno: i32, output: Option<OwnedFd>) -> String {
    let (path, timeout) = match step {
        Step::Hook { path, timeout, .. } => (path.to_string_lossy(), *timeout),
        _ => (Default::default(), 0),
    };
    let named = from
        .strip_prefix("hooks.")
        .and_then(|rest| rest.strip_suffix(']'))
        .and_then(|rest| rest.split_once('['))
        .map_or_else(
            || format!("hook {path}"),
            |(kind, position)| format!("{kind} hook #{position}"),
        );
    let why = match frame.detail {
        detail::HOOK_EXIT => format!("exit status {}", frame.value),
        detail::HOOK_SIGNAL => format!("signal: {}", strsignal(i32::try_from(frame.value).unwrap_or(0))),
        detail::HOOK_TIMEOUT => format!("hook ran past specified timeout of {timeout}.0s"),
        _ => format!("exec {path}: {}", strerror(errno)),
    };
    match output.map(last_words).filter(|said| !said.is_empty()) {
        Some(said) => format!("error running {named}: {why}, output: {said}"),
        None => format!("error running {named}: {why}"),
    }
}

/// The end of what a hook printed into a file in memory.
fn last_words(output: OwnedFd) -> String {
    let mut file = File::from(output);
    let length = file.seek(SeekFrom::End(0)).unwrap_or(0);
    let mut said = Vec::new();
    let read = file.seek(SeekFrom::Start(length.saturating_sub(SHOWN)));
    if read
        .and_then(|_| file.take(SHOWN).read_to_end(&mut said))
        .is_err()
    {
        return String::new();
    }
    String::from_utf8_lossy(&said).trim_end().to_owned()
}
