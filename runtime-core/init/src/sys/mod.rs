//! The system calls of init, each as a function that cannot be called wrongly: descriptors are owned or borrowed,
//! pointers come from references, an error says which call failed. No policy: what to do about an error is decided by
//! the steps.
#![allow(unsafe_code, reason = "this is where system calls are made")]

pub(crate) mod errno;
pub(crate) mod fd;
pub(crate) mod files;
pub(crate) mod identity;
pub(crate) mod messenger;
pub(crate) mod mounts;
pub(crate) mod process;
pub(crate) mod slots;
pub(crate) mod sockets;
pub(crate) mod terminals;

use core::ffi::CStr;

use runtime_core_program::Call;

use crate::arch;
pub(crate) use crate::arch::number;
use crate::failure::{Failure, Outcome};
pub(crate) use fd::{Fd, Handle};

/// The largest errno; a result in this range below zero is an error.
const MAX_ERRNO: isize = 4095;

/// Ends the process.
pub(crate) fn exit(code: usize) -> ! {
    loop {
        // SAFETY: exit_group takes a number and does not return.
        unsafe { arch::syscall(number::EXIT_GROUP, [code, 0, 0, 0, 0, 0]) };
    }
}

/// An argument in the form of a register.
trait Register {
    fn register(self) -> usize;
}

impl Register for usize {
    fn register(self) -> usize {
        self
    }
}

impl Register for u32 {
    fn register(self) -> usize {
        self as usize
    }
}

impl Register for i32 {
    fn register(self) -> usize {
        (self as isize).cast_unsigned()
    }
}

impl Register for u64 {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "both are 64 bits wide on what init is built for"
    )]
    fn register(self) -> usize {
        self as usize
    }
}

impl Register for Handle {
    fn register(self) -> usize {
        self.number().register()
    }
}

impl Register for &CStr {
    fn register(self) -> usize {
        self.as_ptr().expose_provenance()
    }
}

impl<T> Register for *const T {
    fn register(self) -> usize {
        self.expose_provenance()
    }
}

impl<T> Register for *mut T {
    fn register(self) -> usize {
        self.expose_provenance()
    }
}

/// Makes a system call and turns its result into a number or a failure of `call`. Kept out of line: init's size is that
/// of its calls.
///
/// # Safety
/// As [`arch::syscall`].
#[inline(never)]
unsafe fn checked(call: Call, number: usize, args: [usize; 6]) -> Outcome<usize> {
    // SAFETY: the caller's promise is the same.
    let result = unsafe { arch::syscall(number, args) };
    if (-MAX_ERRNO..0).contains(&result) {
        #[allow(clippy::cast_possible_truncation, reason = "at most 4095")]
        return Err(Failure::os(call, result.unsigned_abs() as u16));
    }
    Ok(result.cast_unsigned())
}

/// `invoke!(Call, NUMBER, argument...)`: a checked call with its arguments as registers, the rest zero. Needs an unsafe
/// block.
macro_rules! invoke {
    ($call:ident, $number:ident $(, $arg:expr)* $(,)?) => {
        $crate::sys::checked(
            runtime_core_program::Call::$call,
            $crate::sys::number::$number,
            $crate::sys::registers!($($arg),*),
        )
    };
}
use invoke;

macro_rules! registers {
    () => { [0; 6] };
    ($a:expr) => { $crate::sys::registers!($a, 0usize) };
    ($a:expr, $b:expr) => { $crate::sys::registers!($a, $b, 0usize) };
    ($a:expr, $b:expr, $c:expr) => { $crate::sys::registers!($a, $b, $c, 0usize) };
    ($a:expr, $b:expr, $c:expr, $d:expr) => { $crate::sys::registers!($a, $b, $c, $d, 0usize) };
    ($a:expr, $b:expr, $c:expr, $d:expr, $e:expr) => { $crate::sys::registers!($a, $b, $c, $d, $e, 0usize) };
    ($($six:expr),*) => { [$($crate::sys::Register::register($six)),*] };
}
use registers;
