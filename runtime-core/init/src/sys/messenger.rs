//! A thread that sends one descriptor for this process, which then cannot, or must not, make a system call itself.
//!
//! seccomp(2) without TSYNC binds only the thread that calls it. So the messenger is started first, waits until there is
//! a descriptor, sends and closes it, and ends; meanwhile its starter only looks at memory.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use runtime_core_program::{Call, FRAME_LEN};

use super::process::map_zeroed;
use super::{Fd, Handle, MAX_ERRNO, exit, invoke, number, sockets};
use crate::arch;
use crate::failure::{Except, Failure, Outcome};
use crate::sys::errno::EINTR;

/// CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND, CLONE_THREAD, CLONE_SYSVSEM.
const THREAD: usize = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000;
/// Bytes of the messenger's stack; it needs a few hundred.
const STACK: usize = 16 << 10;
/// No descriptor yet.
const WAITING: i32 = -1;
/// There will be none.
const NONE: i32 = -2;

/// What the two threads share.
struct Errand {
    socket: Handle,
    bytes: [u8; FRAME_LEN],
    descriptor: AtomicI32,
    done: AtomicBool,
}

/// Makes a descriptor and sends it with these bytes, without any system call of this thread behind `make`. Where nobody
/// listens any more, the process ends.
pub(crate) fn hand_out(
    socket: Handle,
    bytes: [u8; FRAME_LEN],
    make: impl FnOnce() -> Outcome<Fd>,
) -> Outcome {
    let errand = Errand {
        socket,
        bytes,
        descriptor: AtomicI32::new(WAITING),
        done: AtomicBool::new(false),
    };
    start(&errand)?;
    let made = make();
    let (descriptor, outcome) = match made {
        Ok(descriptor) => (descriptor.release(), Ok(())),
        Err(failure) => (NONE, Err(failure)),
    };
    errand.descriptor.store(descriptor, Ordering::Release);
    // `errand` must outlive the messenger's use of it, and the descriptor must be gone.
    while !errand.done.load(Ordering::Acquire) {
        spin_loop();
    }
    outcome
}

fn start(errand: &Errand) -> Outcome {
    let stack = map_zeroed(Some(STACK))?;
    let argument = (&raw const *errand).expose_provenance();
    // SAFETY: the flags make a thread; the stack is a mapping of its own that is never unmapped, its end is aligned to
    // pages; `run` takes the address of an errand that lives until `run` has said that it is done.
    let result = unsafe { arch::start_thread(THREAD, stack + STACK, run, argument) };
    if (-MAX_ERRNO..0).contains(&result) {
        #[allow(clippy::cast_possible_truncation, reason = "at most 4095")]
        return Err(Failure::os(Call::Clone, result.unsigned_abs() as u16));
    }
    Ok(())
}

extern "C" fn run(argument: usize) -> ! {
    // SAFETY: `start` passes the address of an errand that lives, and is only read but for its atomics, until `done`.
    let errand: &Errand = unsafe { &*core::ptr::with_exposed_provenance(argument) };
    let descriptor = loop {
        match errand.descriptor.load(Ordering::Acquire) {
            // SAFETY: sched_yield has no arguments.
            WAITING => drop(unsafe { invoke!(None, SCHED_YIELD) }),
            descriptor => break descriptor,
        }
    };
    if descriptor >= 0 {
        send(errand, &Fd::own(descriptor));
    }
    errand.done.store(true, Ordering::Release);
    loop {
        // SAFETY: exit takes a number and ends this thread only; nothing of `errand` is used any more.
        unsafe { arch::syscall(number::EXIT, [0; 6]) };
    }
}

fn send(errand: &Errand, descriptor: &Fd) {
    loop {
        match sockets::send(errand.socket, &errand.bytes, Some(descriptor.at())).except(&[EINTR]) {
            Ok(None) => {}
            Ok(Some(())) => return,
            Err(_) => exit(1),
        }
    }
}
