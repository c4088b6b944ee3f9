//! The page of times: memory that another process reads while this one writes.

use core::mem::size_of_val;
use core::sync::atomic::{AtomicU64, Ordering};

use runtime_core_program::page;

use super::{Handle, invoke};
use crate::failure::{Failure, Outcome};

const PROT_READ: u32 = 1;
const PROT_WRITE: u32 = 2;
const MAP_SHARED: u32 = 1;

/// The slots of a mapped page.
pub(crate) struct Slots(&'static [AtomicU64]);

impl Slots {
    /// Maps a page of `length` bytes; a length that none has is an error.
    pub(crate) fn map(fd: Handle, length: usize) -> Outcome<Self> {
        let slots = length / page::SLOT_LEN;
        if !(1..=page::MAX_SLOTS).contains(&slots) {
            return Err(Failure::malformed());
        }
        let protection = PROT_READ | PROT_WRITE;
        // SAFETY: a new mapping disturbs nothing that is mapped.
        let start = unsafe { invoke!(Mmap, MMAP, 0usize, length, protection, MAP_SHARED, fd, 0usize) }?;
        // SAFETY: the kernel has just mapped `length` bytes there, page aligned; atomic words may be read elsewhere, the
        // file is sealed against becoming shorter, and the slice does not leave this value, which unmaps it only when it
        // goes itself.
        Ok(Self(unsafe {
            core::slice::from_raw_parts(core::ptr::with_exposed_provenance(start), slots)
        }))
    }

    /// Writes a slot; one that the page does not have is passed over.
    pub(crate) fn set(&self, slot: usize, value: u64) {
        if let Some(slot) = self.0.get(slot) {
            slot.store(value, Ordering::Relaxed);
        }
    }

    /// Unmaps the page.
    pub(crate) fn unmap(self) {
        // SAFETY: the range is the one that `map` has mapped, and nobody else has the slice.
        let _ = unsafe { invoke!(Mmap, MUNMAP, self.0.as_ptr(), size_of_val(self.0)) };
    }
}
