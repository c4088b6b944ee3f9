//! Why a step failed, as numbers: what the Failed frame carries.

use runtime_core_program::{Call, detail};

/// A failed step. Two registers wide, since every call's result is one.
#[derive(Clone, Copy)]
pub(crate) struct Failure {
    pub(crate) call: Call,
    pub(crate) errno: u16,
    pub(crate) detail: u16,
    pub(crate) value: u64,
}

/// What a step gives.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A system call that the kernel refused.
    pub(crate) const fn os(call: Call, errno: u16) -> Self {
        Self {
            call,
            errno,
            detail: 0,
            value: 0,
        }
    }

    /// What init itself found wrong.
    pub(crate) const fn because(detail: u32) -> Self {
        Self::os(Call::None, 0).detail(detail)
    }

    /// The program asks for something that its own order makes impossible.
    pub(crate) const fn malformed() -> Self {
        Self::because(detail::MALFORMED)
    }

    /// Adds one of the meanings in [`runtime_core_program::detail`].
    #[allow(clippy::cast_possible_truncation, reason = "the meanings are counted from 0")]
    pub(crate) const fn detail(self, detail: u32) -> Self {
        Self {
            detail: detail as u16,
            ..self
        }
    }

    pub(crate) const fn value(self, value: u64) -> Self {
        Self { value, ..self }
    }

    pub(crate) const fn call(self, call: Call) -> Self {
        Self { call, ..self }
    }
}

/// What a failed call is turned into where one errno means that there is nothing to do.
pub(crate) trait Except<T> {
    /// None where the failure has one of these errnos.
    fn except(self, errnos: &[u16]) -> Outcome<Option<T>>;
}

impl<T> Except<T> for Outcome<T> {
    fn except(self, errnos: &[u16]) -> Outcome<Option<T>> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(failure) if errnos.contains(&failure.errno) => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}
