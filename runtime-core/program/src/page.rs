//! The page of times: where init writes when each step began, and the parent reads it afterwards.
//!
//! An array of `u64` in the machine's own byte order, zero where nothing was written. Each is a reading of the processor's
//! counter (TSC on x86_64, CNTVCT_EL0 on aarch64). Whoever reads it treats it as numbers from a stranger.

/// Bytes of a slot.
pub const SLOT_LEN: usize = 8;
/// The slot of init's first instructions.
pub const ENTERED: usize = 0;
/// The slot of a failure.
pub const FAILED: usize = 1;
/// The largest page, in slots: more lines than a program of [`crate::MAX_LEN`] bytes has.
pub const MAX_SLOTS: usize = 4 << 20;

/// The slot of the step in this line of the schedule.
pub const fn slot(line: u32) -> usize {
    (line as usize).saturating_add(2)
}
