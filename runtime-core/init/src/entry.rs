//! From the kernel's entry to the first step: read the two numbers of the command line, undo what the parent's process
//! may have left (signals, umask), map the program.
//!
//! argv is `init PROGRAM REPORT [PAGE]`: the descriptors of the program (a sealed memfd), of the report socket, and of the
//! page of times where somebody traces. The environment is not looked at.
#![allow(unsafe_code, reason = "the kernel hands argv over as raw memory")]

use core::ffi::{CStr, c_char};

use runtime_core_program::{Program, detail};

use crate::failure::{Failure, Outcome};
use crate::report::Report;
use crate::sys::{self, Fd, Handle, fd, files, process};
use crate::trace::Trace;
use crate::{run, text};

/// The exit code where the command line is not ours; there is no socket to say so.
const BAD_CALL: usize = 2;

/// Called by the entry stub with the stack as the kernel left it: argc, then argc pointers, then null.
pub(crate) extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: the kernel puts argc at the top of the stack and the pointers of argv behind it (execve(2)).
    let args = unsafe { core::slice::from_raw_parts(stack.add(1).cast::<*const c_char>(), *stack) };
    let descriptor = |at: usize| {
        let arg = args.get(at).copied().filter(|arg| !arg.is_null())?;
        // SAFETY: what argv points to is a C string that lives as long as the process.
        text::parse_number(unsafe { CStr::from_ptr(arg) }.to_bytes())
    };
    let (Some(program), Some(report)) = (descriptor(1), descriptor(2)) else {
        sys::exit(BAD_CALL)
    };
    let trace = Trace::begin(descriptor(3).map(Fd::own));
    process::reset_signals();
    // Modes of what the steps create are exact; the container's own umask is set by a step.
    process::set_umask(0);
    let report = Report::new(Fd::own(report), trace);
    match prepare(Fd::own(program), report.socket()) {
        Ok(program) => run::run(program, report),
        Err(failure) => report.fail(failure),
    }
}

fn prepare(program: Fd, report: Handle) -> Outcome<Program<'static>> {
    fd::set_close_on_exec(report, true)?;
    map(program)
}

/// The program in a file in memory.
pub(crate) fn map(program: Fd) -> Outcome<Program<'static>> {
    let size = files::status(program.at())?.size;
    let size = usize::try_from(size).map_err(|_| Failure::malformed())?;
    let bytes = process::map_file(program.at(), size)?;
    Program::new(bytes).map_err(|why| Failure::because(detail::MALFORMED).value(why as u64))
}
