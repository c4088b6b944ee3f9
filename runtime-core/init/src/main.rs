//! init: the process that becomes the container's program.
//!
//! It runs a *program*, a list of steps that the parent has decided beforehand (crate `runtime_core_program`): one
//! function per step, each a straight line of system calls. It decides nothing, formats no text and allocates nothing.
//! A step that fails sends one frame of numbers and ends the process; words are the parent's business.
//!
//! Who it is: it starts as a child of the runtime with the runtime's ids and descriptors, inside the namespaces that
//! the parent made for it, and gives up more with every step. It must not be traceable by, or take names from, anybody
//! inside the container; what it reads below the container's root is hostile.
//!
//! There is no libc and no std here: nothing that a hostile root could steer (NSS, loader, locale), and a waiting
//! container costs some tens of KiB. Unsafe code lives in `sys/` and `entry` only.
#![no_std]
#![no_main]
#![deny(unsafe_code)]

mod copy_up;
mod credentials;
mod entry;
mod exec;
mod failure;
mod furnish;
mod home;
mod hook;
mod labels;
mod masks;
#[path = "sys/memory.rs"]
mod memory;
mod mounts;
mod namespaces;
mod nodes;
mod passwd;
mod paths;
mod report;
mod root;
mod run;
mod settings;
mod start;
mod stdio;
mod sys;
mod terminal;
mod text;
mod trace;

#[cfg_attr(target_arch = "x86_64", path = "sys/arch_x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "sys/arch_aarch64.rs")]
#[allow(unsafe_code, reason = "the system call instruction and the entry point")]
mod arch;

/// A panic is a bug (an overflow, a bound); there is nobody to tell and nothing to unwind.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::exit(3)
}
