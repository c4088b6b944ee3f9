//! How a call fails: a code of gRPC, which containerd turns into an error of its own, and a text.

use runtime_core::{Error, ErrorKind};

/// The codes of gRPC that are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// Anything else.
    Unknown = 2,
    /// The request makes no sense.
    InvalidArgument = 3,
    /// There is no such container or program, or it has ended.
    NotFound = 5,
    /// There is one of that name.
    AlreadyExists = 6,
    /// Too much of something.
    ResourceExhausted = 8,
    /// Not in this state, or not on this host.
    FailedPrecondition = 9,
    /// Nobody does that here.
    Unimplemented = 12,
    /// The other side is gone.
    Unavailable = 14,
}

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What it is for the caller.
    pub code: Code,
    /// What it is for people.
    pub message: String,
}

impl Status {
    /// A failure with a text.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// Not in this state.
    pub fn precondition(message: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, message)
    }

    /// The request is at fault.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// A failed system call or file, with what was tried.
    pub fn os(what: impl std::fmt::Display, error: impl Into<std::io::Error>) -> Self {
        let error: std::io::Error = error.into();
        let text = error
            .raw_os_error()
            .map_or_else(|| error.to_string(), runtime_core::error::strerror);
        Self::new(Code::Unknown, format!("{what}: {text}"))
    }

    /// Puts words before the text.
    #[must_use]
    pub fn context(mut self, words: impl std::fmt::Display) -> Self {
        self.message = format!("{words}: {}", self.message);
        self
    }
}

/// What the library's errors are for containerd. Unimplemented is not among them: containerd would try an older service.
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotRunning => Code::NotFound,
            ErrorKind::AlreadyExists => Code::AlreadyExists,
            ErrorKind::WrongState | ErrorKind::Unsupported => Code::FailedPrecondition,
            ErrorKind::InvalidSpec | ErrorKind::InvalidArgument => Code::InvalidArgument,
            _ => Code::Unknown,
        };
        let hint = error.hint().map_or_else(String::new, |hint| format!(" ({hint})"));
        Self::new(code, format!("{error}{hint}"))
    }
}
