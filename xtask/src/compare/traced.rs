//! The memory that a command has of its own when it ends.
//!
//! Lives here: stopping it there. The kernel keeps no peak of anonymous memory; what a process has at its end is close to
//! it for a short command, which gives nothing back. It is read while the process stands in PTRACE_EVENT_EXIT (ptrace(2)),
//! where its memory is still whole. Its children are not followed: they are the container's.

use super::sample::{Sample, of_status};
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// The shell waits until it is watched, and becomes the command.
const BECOME: &str = r#"read go && exec "$0" "$@" </dev/null"#;

/// Runs the command and looks at it when it ends.
///
/// # Errors
/// It cannot be run or watched, or it failed.
pub(crate) fn sample(program: &str, arguments: &[&str]) -> Result<Sample, String> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", BECOME, program])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("/bin/sh: {error}"))?;
    let pid = Pid::from_raw(child.id().cast_signed());
    ptrace::seize(pid, Options::PTRACE_O_TRACEEXIT).map_err(|errno| format!("PTRACE_SEIZE: {errno}"))?;
    let told = child.stdin.take().map(|mut pipe| pipe.write_all(b"go\n"));
    told.transpose().map_err(|error| format!("/bin/sh: {error}"))?;
    let (status, peak_kib, anonymous_kib) = follow(pid)?;
    match status {
        0 => Ok(Sample {
            nanos: 0,
            peak_kib,
            floor_kib: 0,
            anonymous_kib,
        }),
        other => Err(format!("{program} {} ended with {other}", arguments.join(" "))),
    }
}

/// Until the end; exit status, peak and anonymous memory in KiB.
fn follow(pid: Pid) -> Result<(i32, u64, u64), String> {
    let go_on = |signal: Option<Signal>| {
        // ESRCH: it was killed meanwhile, which the next wait tells.
        let _ = ptrace::cont(pid, signal);
    };
    let mut seen = (0, 0);
    loop {
        match waitpid(pid, None).map_err(|errno| format!("waitpid: {errno}"))? {
            WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXIT) => {
                let own = pid.to_string();
                seen = (of_status(&own, "VmHWM")?, of_status(&own, "RssAnon")?);
                go_on(None);
            }
            WaitStatus::Stopped(_, signal) => go_on(Some(signal)),
            WaitStatus::Exited(_, status) => return Ok((status, seen.0, seen.1)),
            WaitStatus::Signaled(_, signal, _) => return Err(format!("killed by {signal}")),
            _ => go_on(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_has_of_its_own_is_seen() {
        // Pages that were written, a MiB of them, in the shell's own variable.
        let grow = "x=0123456789abcdef; i=0; while [ $i -lt 16 ]; do x=$x$x; i=$((i+1)); done; exit $((${#x}-1048576))";
        let small = sample("/bin/sh", &["-c", "exit 0"]).unwrap();
        let large = sample("/bin/sh", &["-c", grow]).unwrap();
        assert!(
            small.anonymous_kib > 0 && small.peak_kib >= small.anonymous_kib,
            "{small:?}"
        );
        assert!(
            large.anonymous_kib >= small.anonymous_kib + 1024,
            "{small:?} {large:?}"
        );
        assert!(sample("/bin/false", &[]).is_err());
        assert!(sample("/bin/sh", &["-c", "kill -9 $$"]).is_err());
    }
}
