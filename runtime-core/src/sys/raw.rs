//! System calls without libc, for the moments between clone and exec: no errno, no cancellation, no wrapper.
#![allow(unsafe_code, reason = "the instruction that enters the kernel")]

use std::arch::asm;

/// Any system call of up to six arguments; gives the kernel's value, negative for an errno.
///
/// # Safety
/// The arguments fulfil what the call demands of them.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn syscall(number: libc::c_long, args: [usize; 6]) -> isize {
    let result;
    // SAFETY: the calling convention of the kernel: rcx and r11 are lost, nothing else of ours.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
            in("r10") args[3], in("r8") args[4], in("r9") args[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// clone3; in the child `function(argument)` is called below the parent's stack frame and never returns.
///
/// # Safety
/// As of `clone_and_call` in the sibling file.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn clone3_call(
    args: *const u8,
    size: usize,
    function: unsafe extern "C" fn(*mut u8) -> !,
    argument: *mut u8,
) -> isize {
    let result;
    // SAFETY: the parent is stopped until the child no longer uses the stack (CLONE_VFORK), and the child uses only what
    // lies below: this block does not say `nostack`, so the compiler keeps nothing in the red zone.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "and rsp, -16",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") args, in("rsi") size,
            in("r12") function, in("r13") argument,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    result
}

/// Any system call of up to six arguments; gives the kernel's value, negative for an errno.
///
/// # Safety
/// The arguments fulfil what the call demands of them.
#[cfg(target_arch = "aarch64")]
pub(super) unsafe fn syscall(number: libc::c_long, args: [usize; 6]) -> isize {
    let result;
    // SAFETY: the calling convention of the kernel: only x0 changes.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") args[0] => result,
            in("x1") args[1], in("x2") args[2], in("x3") args[3], in("x4") args[4], in("x5") args[5],
            options(nostack),
        );
    }
    result
}

/// clone3; in the child `function(argument)` is called below the parent's stack frame and never returns.
///
/// # Safety
/// As of `clone_and_call` in the sibling file.
#[cfg(target_arch = "aarch64")]
pub(super) unsafe fn clone3_call(
    args: *const u8,
    size: usize,
    function: unsafe extern "C" fn(*mut u8) -> !,
    argument: *mut u8,
) -> isize {
    let result;
    // SAFETY: as above; aarch64 has no red zone on Linux.
    unsafe {
        asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x21",
            "blr x20",
            "brk 1",
            "2:",
            in("x8") libc::SYS_clone3,
            inlateout("x0") args => result,
            in("x1") size,
            in("x20") function, in("x21") argument,
            lateout("x30") _,
        );
    }
    result
}
