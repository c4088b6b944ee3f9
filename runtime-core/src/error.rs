//! The one error type of the library: opaque, with a stable kind.
//!
//! Callers decide by [`Error::kind`]; the text is for people and for engines that read it. An error names one cause:
//! the field of the configuration or the step of the schedule it belongs to, the call that failed with its arguments,
//! the errno, and at most one hint. Nothing here knows how an error is shown, and nothing here is logged.

use std::fmt;

/// Result of the library's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose fault it is and what a caller can do about it. Stable: new kinds may be added, none changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration (config.json) is malformed or asks for something contradictory.
    InvalidSpec,
    /// An argument of the call (id, signal, path, option) is malformed.
    InvalidArgument,
    /// There is no container of that id.
    NotFound,
    /// A container of that id exists already.
    AlreadyExists,
    /// The container's status does not allow the operation.
    WrongState,
    /// The container has no process that could be signalled.
    NotRunning,
    /// The program of the container cannot be executed: missing, not executable, a directory.
    Program,
    /// The kernel refused to execute the program that was found: a missing interpreter, another format.
    Exec,
    /// A hook failed or ran longer than its timeout.
    Hook,
    /// This kernel or host lacks something that the configuration needs; or a newer version of this library wrote the
    /// container's record.
    Unsupported,
    /// The caller lacks a privilege that the configuration needs.
    Permission,
    /// A system call failed.
    System,
    /// The state directory holds something that no version can read: it is damaged.
    State,
    /// A broken promise inside the library: a bug.
    Internal,
}

/// An error of the library.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    phase: Option<String>,
    message: String,
    field: Option<String>,
    step: Option<String>,
    call: Option<String>,
    errno: Option<i32>,
    hint: Option<String>,
    /// See [`Error::is_of_its_own`].
    of_its_own: bool,
}

impl Error {
    /// An error of the given kind with a one-line message, without a final full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            phase: None,
            message: message.into(),
            field: None,
            step: None,
            call: None,
            errno: None,
            hint: None,
            of_its_own: false,
        }))
    }

    /// A fault of the configuration at `field`, as `process.rlimits[1].type`.
    pub fn spec(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidSpec, message).with_field(field)
    }

    /// A failed system call; `call` is the call with its arguments, like a line of strace without the result.
    pub fn os(call: impl Into<String>, errno: impl Into<std::io::Error>) -> Self {
        let errno: std::io::Error = errno.into();
        let mut error = Self::new(ErrorKind::System, String::new());
        error.0.call = Some(call.into());
        error.0.errno = errno.raw_os_error();
        if error.0.errno.is_none() {
            error.0.message = errno.to_string();
        }
        error
    }

    /// Names the field of the configuration that the failed work comes from.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.0.field.get_or_insert_with(|| field.into());
        self
    }

    /// Gives the field another name, where `name` knows one.
    #[must_use]
    pub(crate) fn with_field_named(mut self, name: impl FnOnce(&str) -> Option<String>) -> Self {
        if let Some(field) = self.0.field.as_deref().and_then(name) {
            self.0.field = Some(field);
        }
        self
    }

    /// Names the step that failed, as `mount proc on /proc`.
    #[must_use]
    pub fn with_step(mut self, step: impl Into<String>) -> Self {
        self.0.step.get_or_insert_with(|| step.into());
        self
    }

    /// Gives the reader one thing to try.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Keeps the errno of the cause without naming a call, where the message names it already.
    #[must_use]
    pub fn with_errno(mut self, errno: i32) -> Self {
        self.0.errno = Some(errno);
        self
    }

    /// Changes the kind, for a caller that knows better what a failed call means.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Puts `context` and a colon before the message.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.message = if self.0.message.is_empty() {
            context.to_string()
        } else {
            format!("{context}: {}", self.0.message)
        };
        self
    }

    /// Says in which phase of the work it happened: these words come before all others. None takes them away.
    #[must_use]
    pub(crate) fn during(mut self, phase: Option<&str>) -> Self {
        self.0.phase = phase.map(str::to_owned);
        self
    }

    /// Says that the step has failed for its own reason, and not because the container is ending.
    #[must_use]
    pub(crate) fn of_its_own(mut self) -> Self {
        self.0.of_its_own = true;
        self
    }

    /// Whether that is known.
    pub(crate) fn is_of_its_own(&self) -> bool {
        self.0.of_its_own
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The field of config.json that the failure belongs to, where there is one.
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// The step of the schedule that failed, where there is one.
    pub fn step(&self) -> Option<&str> {
        self.0.step.as_deref()
    }

    /// The system call with its arguments, where one failed.
    pub fn call(&self) -> Option<&str> {
        self.0.call.as_deref()
    }

    /// The errno, where a system call failed.
    pub fn errno(&self) -> Option<i32> {
        self.0.errno
    }

    /// One thing to try, where there is a likely one.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

/// `phase: field: step: message: call: strerror`, each where it is known.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        let errno = inner.errno.filter(|_| inner.call.is_some()).map(strerror);
        let parts = [
            inner.phase.as_deref(),
            inner.field.as_deref(),
            inner.step.as_deref(),
            Some(inner.message.as_str()).filter(|text| !text.is_empty()),
            inner.call.as_deref(),
            errno.as_deref(),
        ];
        for (position, part) in parts.into_iter().flatten().enumerate() {
            if position > 0 {
                f.write_str(": ")?;
            }
            f.write_str(part)?;
        }
        Ok(())
    }
}

/// The kernel's words for an errno in the spelling that engines match: lower case, no number.
pub fn strerror(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => format!("errno {errno}"),
    }
}

/// The words for a signal that ended a program, as runc prints them (Go's).
pub(crate) fn strsignal(signal: i32) -> String {
    let words = match signal {
        libc::SIGHUP => "hangup",
        libc::SIGINT => "interrupt",
        libc::SIGQUIT => "quit",
        libc::SIGILL => "illegal instruction",
        libc::SIGTRAP => "trace/breakpoint trap",
        libc::SIGABRT => "aborted",
        libc::SIGBUS => "bus error",
        libc::SIGFPE => "floating point exception",
        libc::SIGKILL => "killed",
        libc::SIGUSR1 => "user defined signal 1",
        libc::SIGSEGV => "segmentation fault",
        libc::SIGUSR2 => "user defined signal 2",
        libc::SIGPIPE => "broken pipe",
        libc::SIGALRM => "alarm clock",
        libc::SIGTERM => "terminated",
        libc::SIGXCPU => "CPU time limit exceeded",
        libc::SIGXFSZ => "file size limit exceeded",
        libc::SIGSYS => "bad system call",
        other => return format!("signal {other}"),
    };
    words.to_owned()
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_reads_from_the_field_to_the_errno() {
        let error = Error::os("openat2(\"/x\")", std::io::Error::from_raw_os_error(libc::ENOENT))
            .with_field("mounts[3].source")
            .with_step("mount /x on /y");
        assert_eq!(
            error.to_string(),
            "mounts[3].source: mount /x on /y: openat2(\"/x\"): no such file or directory"
        );
        assert_eq!(error.errno(), Some(libc::ENOENT));
    }
}
