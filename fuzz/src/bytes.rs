//! Numbers and choices out of a fuzzer's bytes; when they end, zeros follow.

/// The text, where the bytes are one.
pub(crate) fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// Takes what it needs from the front.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl Bytes<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// Mostly small, seldom any number.
    pub(crate) fn number(&mut self) -> u64 {
        let first = self.byte();
        match first {
            0..=200 => first.into(),
            // Around powers of two, where comparisons and shifts go wrong.
            201..=240 => {
                let power = 1u64 << (self.byte() & 63);
                power.wrapping_add((first % 3).into()).wrapping_sub(1)
            }
            _ => (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte())),
        }
    }

    pub(crate) fn choose<T: Copy>(&mut self, among: &[T]) -> T {
        among[usize::from(self.byte()) % among.len()]
    }

    pub(crate) fn chance(&mut self, of: u8) -> bool {
        self.byte().is_multiple_of(of)
    }
}
