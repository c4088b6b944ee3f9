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
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            prefix: String::new(),
        }
    }
}

impl Failure {
    /// A failure of create, run or exec: `runc create failed: unable to start container process: ...`, the second part
    /// where the work on the process had begun, that is, where neither the configuration nor an argument is at fault.
    pub(crate) fn launch(verb: &str, error: Error) -> Self {
        let before = match error.kind() {
            ErrorKind::InvalidSpec
            | ErrorKind::InvalidArgument
            | ErrorKind::AlreadyExists
            | ErrorKind::WrongState
            | ErrorKind::NotFound => "",
            _ => "unable to start container process: ",
        };
        Self {
            error,
            prefix: format!("{verb} failed: {before}"),
        }
    }

    /// The whole message.
    pub(crate) fn message(&self) -> String {
        format!("{}{}", self.prefix, self.error)
    }
}
