//! The little text that init handles: decimal numbers, octal modes, and paths in buffers of fixed size.

use core::ffi::CStr;

use runtime_core_program::{Call, detail};

use crate::failure::{Failure, Outcome};
use crate::sys::errno;

/// PATH_MAX: the longest path that the kernel takes, with its NUL.
pub(crate) const PATH_MAX: usize = 4096;

/// A string of at most `N` - 1 bytes, NUL behind it.
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

/// A path.
pub(crate) type Path = Text<PATH_MAX>;

impl<const N: usize> Text<N> {
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; N],
            length: 0,
        }
    }

    pub(crate) fn of(parts: &[&[u8]]) -> Outcome<Self> {
        let mut text = Self::new();
        for part in parts {
            text.push(part)?;
        }
        Ok(text)
    }

    pub(crate) fn push(&mut self, part: &[u8]) -> Outcome {
        let end = self.length.saturating_add(part.len());
        // One byte stays for the terminator.
        let room = if end < N {
            self.bytes.get_mut(self.length..end)
        } else {
            None
        };
        let limit = Failure::os(Call::None, errno::ENAMETOOLONG)
            .detail(detail::LIMIT)
            .value(N as u64);
        room.ok_or(limit)?.copy_from_slice(part);
        self.length = end;
        Ok(())
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        if let Some(rest) = self.bytes.get_mut(length..self.length) {
            rest.fill(0);
            self.length = length;
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The whole text; what lies behind a NUL in it is lost.
    pub(crate) fn c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

/// The digits of a number, most significant first.
pub(crate) fn digits(mut number: u32, base: u32) -> Outcome<Text<24>> {
    let mut reversed = [0u8; 16];
    let mut count = 0;
    for slot in &mut reversed {
        let [digit, ..] = (number % base).to_le_bytes();
        *slot = b'0' + digit;
        number /= base;
        count += 1;
        if number == 0 {
            break;
        }
    }
    let mut text = Text::new();
    for digit in reversed.iter().take(count).rev() {
        text.push(&[*digit])?;
    }
    Ok(text)
}

/// A descriptor's number in decimal.
pub(crate) fn parse_number(text: &[u8]) -> Option<i32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0i32, |number, &byte| {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit < 10)?;
        number.checked_mul(10)?.checked_add(i32::from(digit))
    })
}
