//! How a command ends: an exit code, or a failure with the words that runc puts before it.
//!
//! The library's error is kept whole; only the log decides what of it is shown.

use runtime_core::{Error, ErrorKind};

/// The result of a command.
pub(crate) type Outcome = std::result::Result<u8, Failure>;

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The cause.
    pub(crate) error: Error,
    /// What runc prints before the cause, with its colons.
    pub(crate) prefix: String,
    /// Shown without the log's form on standard error, and another exit code than the command's.
    pub(crate) bare: Option<u8>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error, String::new())
    }
}

impl Failure {
    fn new(error: Error, prefix: String) -> Self {
        Self {
            error,
            prefix,
            bare: None,
        }
    }

    /// The kernel refused the program itself, when all was ready: one bare line and 255, as when the program's side of
    /// runc says it (run.bats, "execve error").
    pub(crate) fn program(error: Error) -> Self {
        Self {
            error,
            prefix: String::new(),
            bare: Some(255),
        }
    }

    /// A failure before or after the work on the process: `runc create failed: ...`.
    pub(crate) fn beside(verb: &str, error: Error) -> Self {
        Self::new(error, format!("{verb} failed: "))
    }

    /// A failure while a process is made: `runc create failed: unable to start container process: ...`, the second
    /// part where neither the configuration nor an argument is at fault, as in runc.
    pub(crate) fn starting(verb: &str, error: Error) -> Self {
        let before = match error.kind() {
            ErrorKind::InvalidSpec
            | ErrorKind::InvalidArgument
            | ErrorKind::AlreadyExists
            | ErrorKind::WrongState
            | ErrorKind::NotFound => "",
            _ => "unable to start container process: ",
        };
        Self::new(error, format!("{verb} failed: {before}"))
    }

    /// The whole message.
    pub(crate) fn message(&self) -> String {
        format!("{}{}", self.prefix, self.error)
    }
}
