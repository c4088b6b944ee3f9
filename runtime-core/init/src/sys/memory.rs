//! The memory functions that compiled Rust calls by name; without libc nobody else provides them. x86_64 has
//! string instructions for the two common ones; elsewhere a loop of volatile accesses keeps the compiler from turning
//! the loop into a call of the very function that it is in.
#![allow(unsafe_code, reason = "these are the C ABI's memory functions")]

/// memcpy(3).
///
/// # Safety
/// As in C: both ranges valid for `count` bytes, not overlapping.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the ranges are the caller's promise; the direction flag is clear by the ABI.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    for at in 0..count {
        // SAFETY: `at` is below `count`, for which the caller promises both ranges.
        unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) };
    }
    to
}

/// memmove(3).
///
/// # Safety
/// As in C: both ranges valid for `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if to.addr() <= from.addr() || to.addr() >= from.addr().wrapping_add(count) {
        // SAFETY: copying upwards is right: the target starts before the source or behind its end.
        return unsafe { copy_up(to, from, count) };
    }
    let mut at = count;
    while at > 0 {
        at -= 1;
        // SAFETY: `at` is below `count`, for which the caller promises both ranges.
        unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) };
    }
    to
}

unsafe fn copy_up(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    let mut at = 0;
    while at < count {
        // SAFETY: `at` is below `count`, for which the caller promises both ranges.
        unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) };
        at += 1;
    }
    to
}

/// memset(3).
///
/// # Safety
/// As in C: the range valid for `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    let [byte, ..] = byte.to_le_bytes();
    // SAFETY: the range is the caller's promise; the direction flag is clear by the ABI.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") byte,
            options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    for at in 0..count {
        // SAFETY: `at` is below `count`, for which the caller promises the range.
        unsafe { to.add(at).write_volatile(byte) };
    }
    to
}

/// memcmp(3).
///
/// # Safety
/// As in C: both ranges valid for `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    let mut at = 0;
    while at < count {
        // SAFETY: `at` is below `count`, for which the caller promises both ranges.
        let (a, b) = unsafe { (left.add(at).read_volatile(), right.add(at).read_volatile()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
        at += 1;
    }
    0
}

/// bcmp(3), which the compiler prefers where only equality counts.
///
/// # Safety
/// As memcmp.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    // SAFETY: the caller's promise is the same.
    unsafe { memcmp(left, right, count) }
}

/// strlen(3), which `CStr` uses.
///
/// # Safety
/// As in C: a NUL must follow.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: no byte behind the first NUL is read; that there is one is the caller's promise.
    while unsafe { text.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}

/// The prebuilt core refers to the unwinder's personality where the linker keeps its unwind tables; nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// As above.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name is the unwinder's")]
extern "C" fn _Unwind_Resume() -> ! {
    crate::sys::exit(3)
}
