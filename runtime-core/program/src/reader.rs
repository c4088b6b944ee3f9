//! Reads a program: bounds are checked here and in [`crate::field`], never by trust.

use crate::step::Step;
use crate::{HEADER_LEN, MAGIC, MAX_ARGS, MAX_LEN, RECORD_LEN};

/// Why bytes are not a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Malformed {
    /// Too short, too long, or not this version's magic.
    Header = 1,
    /// A step code that this version does not know.
    Code = 2,
    /// A number outside the range of its argument.
    Number = 3,
    /// A reference that points outside the arena.
    Reference = 4,
    /// A string that holds NUL or does not end with it.
    Text = 5,
}

/// A program in memory.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    records: &'a [u8],
    arena: &'a [u8],
}

impl<'a> Program<'a> {
    /// Checks the header; the steps are checked as they are decoded.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, body) = bytes.split_at_checked(HEADER_LEN).ok_or(Malformed::Header)?;
        if bytes.len() > MAX_LEN || header.get(..4) != Some(&MAGIC) {
            return Err(Malformed::Header);
        }
        let steps = number(header, 4)?
            .checked_mul(RECORD_LEN)
            .ok_or(Malformed::Header)?;
        let (records, arena) = body.split_at_checked(steps).ok_or(Malformed::Header)?;
        if arena.len() != number(header, 8)? {
            return Err(Malformed::Header);
        }
        Ok(Self { records, arena })
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.records.len() / RECORD_LEN
    }

    /// Whether there is no step.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The steps in order, each with its line in the schedule.
    pub fn steps(&self) -> impl Iterator<Item = Result<(u32, Step<'a>), Malformed>> + use<'a> {
        let arena = self.arena;
        self.records
            .chunks_exact(RECORD_LEN)
            .map(move |record| decode(record, arena))
    }
}

fn number(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    let bytes = bytes
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(Malformed::Header)?;
    usize::try_from(u32::from_le_bytes(bytes)).map_err(|_| Malformed::Header)
}

fn decode<'a>(record: &[u8], arena: &'a [u8]) -> Result<(u32, Step<'a>), Malformed> {
    let small = |at: usize| -> Result<u32, Malformed> {
        let bytes = record
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(Malformed::Header)?;
        Ok(u32::from_le_bytes(bytes))
    };
    let mut args = [0u64; MAX_ARGS];
    for (arg, bytes) in args
        .iter_mut()
        .zip(record.get(8..).ok_or(Malformed::Header)?.chunks_exact(8))
    {
        *arg = bytes.try_into().map_or(0, u64::from_le_bytes);
    }
    Ok((small(4)?, Step::decode(small(0)?, &args, arena)?))
}
