//! Runs a program under ptrace(2) and strikes it at one of its system calls: it dies there, or the call fails.
//!
//! Only the program's own process is followed, not what it starts. Knows nothing of containers.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// The longest that a struck program may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What happens to the program at a system call, before the call is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stroke {
    /// SIGKILL.
    Kill,
    /// The call is not done and fails with this number.
    Fail(i32),
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The numbers of its system calls up to the stroke.
    pub(crate) calls: Vec<i64>,
    /// Whether the stroke was done: the call at the step may be another than last time.
    pub(crate) struck: bool,
    /// Its exit code; a signal counts from 1000.
    pub(crate) code: i32,
    /// It had to be ended from outside.
    pub(crate) hung: bool,
}

/// Runs `command` (words of a program and its arguments) with the stroke at the step with this number, from 0.
///
/// # Errors
/// The program cannot be traced; nothing was run.
pub(crate) fn run(
    mut command: Command,
    program: &[String],
    at: Option<(usize, Stroke)>,
) -> Result<Ran, String> {
    // A shell that waits for a line: it can be taken hold of before the program begins.
    let mut child = command
        .args(["-c", "read line; exec \"$@\"", "sh"])
        .args(program)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| format!("sh: {error}"))?;
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL;
    if let Err(errno) = ptrace::seize(pid, options) {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("ptrace(PTRACE_SEIZE): {errno}"));
    }
    let (done, watched) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let late = watched.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout);
        // Not reaped yet, so that the number is still the program's.
        late && kill(pid, Signal::SIGKILL).is_ok()
    });
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(b"\n").expect("the shell reads");
    drop(pipe);
    let mut ran = follow(pid, at);
    drop(done);
    ran.hung = watch.join().unwrap_or(true);
    Ok(ran)
}

fn follow(pid: Pid, at: Option<(usize, Stroke)>) -> Ran {
    let mut ran = Ran {
        calls: Vec::new(),
        struck: false,
        code: -1,
        hung: false,
    };
    let (mut begun, mut inside, mut follows) = (false, false, true);
    loop {
        let mut signal = None;
        match waitpid(pid, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Exited(_, code)) => {
                ran.code = code;
                return ran;
            }
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                ran.code = 1000 + signal as i32;
                return ran;
            }
            Ok(WaitStatus::PtraceEvent(_, _, event)) if event == ptrace::Event::PTRACE_EVENT_EXEC as i32 => {
                (begun, inside) = (true, true);
            }
            Ok(WaitStatus::PtraceSyscall(_)) => {
                inside = !inside;
                if inside {
                    follows = !enter(pid, at, &mut ran);
                }
            }
            Ok(WaitStatus::Stopped(_, found)) => signal = Some(found),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => panic!("waitpid: {errno}"),
        }
        // A process that was killed meanwhile is no more (ESRCH); the next wait tells.
        let _ = match begun && follows {
            true => ptrace::syscall(pid, signal),
            false => ptrace::cont(pid, signal),
        };
    }
}

/// At the door of a system call; whether the stroke was done, so that there is nothing more to follow.
fn enter(pid: Pid, at: Option<(usize, Stroke)>, ran: &mut Ran) -> bool {
    let Ok(mut registers) = ptrace::getregs(pid) else {
        return false;
    };
    let call = registers.orig_rax.cast_signed();
    ran.calls.push(call);
    let Some((_, stroke)) = at.filter(|(step, _)| *step + 1 == ran.calls.len()) else {
        return false;
    };
    match stroke {
        Stroke::Kill => ran.struck = kill(pid, Signal::SIGKILL).is_ok(),
        Stroke::Fail(errno) if fits(call, errno) => {
            // No call at all, and then the answer in its place.
            registers.orig_rax = u64::MAX;
            let skipped = ptrace::setregs(pid, registers).and_then(|()| ptrace::syscall(pid, None));
            let stopped = skipped.and_then(|()| waitpid(pid, Some(WaitPidFlag::__WALL)));
            if let Ok(WaitStatus::PtraceSyscall(_)) = stopped {
                registers.rax = i64::from(-errno).cast_unsigned();
                ran.struck = ptrace::setregs(pid, registers).is_ok();
            }
        }
        Stroke::Fail(_) => {}
    }
    true
}

/// Whether the kernel may answer this call with this number. Calls that cannot fail are left alone: to close a
/// descriptor, to end, to return from a signal.
pub(crate) fn fits(call: i64, errno: i32) -> bool {
    use libc::*;
    let opens = [
        SYS_open,
        SYS_openat,
        SYS_openat2,
        SYS_memfd_create,
        SYS_socket,
        SYS_socketpair,
        SYS_accept4,
        SYS_pipe2,
        SYS_dup,
        SYS_epoll_create1,
        SYS_pidfd_open,
        SYS_fsopen,
        SYS_fspick,
        SYS_open_tree,
        SYS_fsmount,
        SYS_eventfd2,
        SYS_signalfd4,
        SYS_timerfd_create,
        SYS_inotify_init1,
    ];
    let writes = [
        SYS_write,
        SYS_pwrite64,
        SYS_writev,
        SYS_mkdir,
        SYS_mkdirat,
        SYS_rename,
        SYS_renameat,
        SYS_renameat2,
        SYS_symlinkat,
        SYS_linkat,
        SYS_mknodat,
        SYS_openat,
        SYS_open,
        SYS_ftruncate,
        SYS_bind,
        SYS_copy_file_range,
        SYS_sendfile,
    ];
    let reads = [
        SYS_read,
        SYS_pread64,
        SYS_readv,
        SYS_getdents64,
        SYS_readlink,
        SYS_readlinkat,
        SYS_statx,
        SYS_newfstatat,
        SYS_fstat,
        SYS_unlink,
        SYS_unlinkat,
        SYS_rmdir,
    ];
    let waits = [
        SYS_read,
        SYS_write,
        SYS_recvmsg,
        SYS_recvfrom,
        SYS_sendmsg,
        SYS_sendto,
        SYS_poll,
        SYS_ppoll,
        SYS_epoll_wait,
        SYS_epoll_pwait,
        SYS_wait4,
        SYS_waitid,
        SYS_flock,
        SYS_open,
        SYS_openat,
        SYS_connect,
        SYS_accept4,
        SYS_nanosleep,
        SYS_clock_nanosleep,
    ];
    let allocates = [
        SYS_clone,
        SYS_clone3,
        SYS_execve,
        SYS_execveat,
        SYS_mmap,
        SYS_brk,
        SYS_sendmsg,
        SYS_recvmsg,
        SYS_mount,
        SYS_move_mount,
        SYS_fsconfig,
        SYS_mount_setattr,
        SYS_setns,
        SYS_unshare,
        SYS_bpf,
        SYS_statx,
        SYS_unlinkat,
        SYS_connect,
        SYS_epoll_ctl,
        SYS_pidfd_send_signal,
    ];
    let has = |list: &[i64]| list.contains(&call);
    match errno {
        EMFILE => has(&opens),
        ENOSPC => has(&writes),
        EIO => has(&writes) || has(&reads),
        EINTR => has(&waits),
        ENOMEM => has(&allocates) || has(&opens) || has(&writes),
        _ => false,
    }
}
