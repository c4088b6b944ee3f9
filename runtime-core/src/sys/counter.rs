//! The counter of the processor that init takes its times from: no system call, no offset of a time namespace.
#![allow(unsafe_code, reason = "an instruction that no safe function offers")]

/// The time stamp counter. It reads the same on all processors where the kernel trusts it as its clock source.
#[cfg(target_arch = "x86_64")]
pub(crate) fn read() -> u64 {
    // SAFETY: every processor of x86_64 has the instruction; it reads a register and touches no memory.
    // JUSTIFICATION: core offers it as unsafe only.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The virtual counter.
#[cfg(target_arch = "aarch64")]
pub(crate) fn read() -> u64 {
    let count: u64;
    // SAFETY: the kernel lets every program read this register; the instruction touches no memory.
    // JUSTIFICATION: core has no function for it.
    unsafe {
        core::arch::asm!("mrs {}, cntvct_el0", out(reg) count, options(nomem, nostack, preserves_flags))
    };
    count
}
