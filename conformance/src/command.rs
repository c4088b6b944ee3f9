//! Running one command of the runtime with a deadline.
//!
//! Output goes to files, not pipes: a container that stays keeps its descriptors open, and a reader of a pipe would
//! wait for it. The command is the leader of a process group of its own; at the deadline the group is killed.

use crate::suite::{Check, Failure, ensure};
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(2);

/// A command that runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    what: String,
    stdout: PathBuf,
    stderr: PathBuf,
    deadline: Instant,
    done: bool,
}

/// A command that ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The command line without the path of the runtime, for messages.
    pub(crate) what: String,
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Where stdout goes; a container may still write there.
    pub(crate) stdout_file: PathBuf,
    /// Standard output until now.
    pub(crate) stdout: String,
    /// Standard error until now.
    pub(crate) stderr: String,
}

/// Starts `command`; `files` is the path that `.out` and `.err` are appended to.
pub(crate) fn start(mut command: Command, what: &str, files: &Path, deadline: Instant) -> Check<Running> {
    let (stdout, stderr) = (files.with_extension("out"), files.with_extension("err"));
    command
        .stdout(File::create(&stdout)?)
        .stderr(File::create(&stderr)?)
        .process_group(0);
    let child = command
        .spawn()
        .map_err(|error| Failure::Failed(format!("`{what}` could not be started: {error}")))?;
    Ok(Running {
        child,
        what: what.to_owned(),
        stdout,
        stderr,
        deadline,
        done: false,
    })
}

impl Running {
    /// Waits for the end, at most until the deadline of the test.
    pub(crate) fn finish(mut self) -> Check<Finished> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.done = true;
                return Ok(Finished {
                    what: self.what.clone(),
                    status,
                    stdout: read(&self.stdout)?,
                    stderr: read(&self.stderr)?,
                    stdout_file: self.stdout.clone(),
                });
            }
            if Instant::now() >= self.deadline {
                let text = format!("`{}` was still running at the test's time limit", self.what);
                return Err(Failure::Failed(text));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Standard output until now.
    pub(crate) fn stdout(&self) -> Check<String> {
        read(&self.stdout)
    }

    /// Sends a signal to the command itself.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) -> Check {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal)
            .map_err(|errno| Failure::Failed(format!("signal to `{}`: {errno}", self.what)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        if let Some(group) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            // The group may have ended in the meantime.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        // A killed child is reaped at once; nothing can be done about an error here.
        let _ = self.child.wait();
    }
}

impl Finished {
    /// Exit code, or 128 + signal when the runtime itself was killed.
    pub(crate) fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Demands success.
    pub(crate) fn ok(self) -> Check<Finished> {
        let code = self.code();
        ensure!(code == 0, "`{}` exited {code}: {}", self.what, self.stderr.trim());
        Ok(self)
    }

    /// Demands a refusal in words: non-zero, by an exit and not by a signal, and one line on stderr.
    pub(crate) fn refused(self) -> Check<Finished> {
        ensure!(
            !self.status.success(),
            "`{}` succeeded, should be refused",
            self.what
        );
        ensure!(
            self.status.signal().is_none(),
            "`{}` died: {}",
            self.what,
            self.status
        );
        let lines = self.stderr.lines().filter(|line| !line.trim().is_empty()).count();
        ensure!(lines > 0, "`{}` said nothing on stderr", self.what);
        ensure!(
            lines == 1,
            "`{}` wrote {lines} lines on stderr instead of one: {:?}",
            self.what,
            self.stderr
        );
        Ok(self)
    }
}

fn read(path: &Path) -> Check<String> {
    Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
}

/// Where a user's systemd listens.
const OF_SESSIONS: [&str; 2] = ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];

/// A command with nothing inherited but PATH and, for a user, the way to its own systemd; and no input.
pub(crate) fn plain(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    if !rustix::process::geteuid().is_root() {
        let known = OF_SESSIONS
            .iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.envs(known);
    }
    command.stdin(Stdio::null());
    command
}
