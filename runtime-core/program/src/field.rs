//! The kinds of arguments a step can have, and how each is read out of its 64-bit slot.
//!
//! A slot holds either the number itself or a reference into the arena (offset in the high, length in the low half).
//! Reading checks every bound and every terminator, so a decoded step can be used without further checks.

use core::ffi::CStr;

use crate::reader::Malformed;

/// How one kind of argument is read.
pub trait Field {
    /// What the reader gets; it may borrow from the arena.
    type Read<'a>;
    /// Decodes the slot.
    fn read<'a>(slot: u64, arena: &'a [u8]) -> Result<Self::Read<'a>, Malformed>;
}

/// Marker types of the arguments; their names appear in the list of steps.
pub(crate) mod kind {
    /// An unsigned 32-bit number.
    #[derive(Debug)]
    pub enum U32 {}
    /// A signed 32-bit number.
    #[derive(Debug)]
    pub enum I32 {}
    /// An unsigned 64-bit number.
    #[derive(Debug)]
    pub enum U64 {}
    /// True or false.
    #[derive(Debug)]
    pub enum Bool {}
    /// A descriptor that init inherited; -1 for none.
    #[derive(Debug)]
    pub enum Fd {}
    /// A string without NUL, stored with one behind it.
    #[derive(Debug)]
    pub enum Str {}
    /// Any bytes.
    #[derive(Debug)]
    pub enum Blob {}
    /// A list of strings.
    #[derive(Debug)]
    pub enum Strs {}
    /// A list of 64-bit numbers.
    #[derive(Debug)]
    pub enum Nums {}
    /// A list of descriptors.
    #[derive(Debug)]
    pub enum Fds {}
}
use kind::{Blob, Bool, Fd, Fds, I32, Nums, Str, Strs, U32, U64};

/// Bytes borrowed from the arena.
pub type Bytes<'a> = &'a [u8];

/// A list of 64-bit numbers in the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    /// How many numbers the list holds.
    pub fn len(&self) -> usize {
        self.0.len() / 8
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The numbers in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.0.chunks_exact(8).map(word)
    }
}

/// A list of strings in the arena, all checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Texts<'a> {
    table: Words<'a>,
    arena: &'a [u8],
}

impl<'a> Texts<'a> {
    /// How many strings the list holds.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The strings in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a CStr> + use<'a> {
        let arena = self.arena;
        self.table
            .iter()
            .map(move |slot| Str::read(slot, arena).unwrap_or_default())
    }
}

/// A list of descriptors in the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FdList<'a>(Words<'a>);

impl<'a> FdList<'a> {
    /// How many descriptors the list holds.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The descriptors in order.
    pub fn iter(&self) -> impl Iterator<Item = i32> + use<'a> {
        self.0.iter().map(|slot| low(slot).cast_signed())
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
fn low(slot: u64) -> u32 {
    slot as u32
}

fn slice(slot: u64, unit: usize, arena: &[u8]) -> Result<&[u8], Malformed> {
    let offset = usize::try_from(slot >> 32).map_err(|_| Malformed::Reference)?;
    let length = usize::try_from(low(slot))
        .ok()
        .and_then(|count| count.checked_mul(unit));
    let end = length
        .and_then(|length| offset.checked_add(length))
        .ok_or(Malformed::Reference)?;
    arena.get(offset..end).ok_or(Malformed::Reference)
}

impl Field for U32 {
    type Read<'a> = u32;
    fn read(slot: u64, _: &[u8]) -> Result<u32, Malformed> {
        u32::try_from(slot).map_err(|_| Malformed::Number)
    }
}

impl Field for I32 {
    type Read<'a> = i32;
    fn read(slot: u64, _: &[u8]) -> Result<i32, Malformed> {
        u32::try_from(slot)
            .map(u32::cast_signed)
            .map_err(|_| Malformed::Number)
    }
}

impl Field for U64 {
    type Read<'a> = u64;
    fn read(slot: u64, _: &[u8]) -> Result<u64, Malformed> {
        Ok(slot)
    }
}

impl Field for Bool {
    type Read<'a> = bool;
    fn read(slot: u64, _: &[u8]) -> Result<bool, Malformed> {
        match slot {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Number),
        }
    }
}

impl Field for Fd {
    type Read<'a> = i32;
    fn read(slot: u64, arena: &[u8]) -> Result<i32, Malformed> {
        I32::read(slot, arena).and_then(|fd| if fd >= -1 { Ok(fd) } else { Err(Malformed::Number) })
    }
}

impl Field for Str {
    type Read<'a> = &'a CStr;
    fn read(slot: u64, arena: &[u8]) -> Result<&CStr, Malformed> {
        let with_nul = slice(slot.checked_add(1).ok_or(Malformed::Reference)?, 1, arena)?;
        CStr::from_bytes_with_nul(with_nul).map_err(|_| Malformed::Text)
    }
}

impl Field for Blob {
    type Read<'a> = Bytes<'a>;
    fn read(slot: u64, arena: &[u8]) -> Result<&[u8], Malformed> {
        slice(slot, 1, arena)
    }
}

impl Field for Nums {
    type Read<'a> = Words<'a>;
    fn read(slot: u64, arena: &[u8]) -> Result<Words<'_>, Malformed> {
        slice(slot, 8, arena).map(Words)
    }
}

impl Field for Strs {
    type Read<'a> = Texts<'a>;
    fn read(slot: u64, arena: &[u8]) -> Result<Texts<'_>, Malformed> {
        let table = Nums::read(slot, arena)?;
        for entry in table.iter() {
            Str::read(entry, arena)?;
        }
        Ok(Texts { table, arena })
    }
}

impl Field for Fds {
    type Read<'a> = FdList<'a>;
    fn read(slot: u64, arena: &[u8]) -> Result<FdList<'_>, Malformed> {
        let table = Nums::read(slot, arena)?;
        for entry in table.iter() {
            Fd::read(entry, arena)?;
        }
        Ok(FdList(table))
    }
}
