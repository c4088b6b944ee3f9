//! passwd(5) in pieces, as read(2) gives them: the first line of a user, and the home in it.
//!
//! Bytes in, bytes out, and no system call: the fuzz targets run this file by itself.

/// The longest line that is looked at; a longer one is passed over.
pub(crate) const MAX_LINE: usize = 4095;
/// The fields of a line.
const UID: usize = 2;
const HOME: usize = 5;

/// A search for a user, and the line that it is in.
pub(crate) struct Search {
    uid: u32,
    line: [u8; MAX_LINE],
    length: usize,
    too_long: bool,
}

impl Search {
    pub(crate) const fn new(uid: u32) -> Self {
        Self {
            uid,
            line: [0; MAX_LINE],
            length: 0,
            too_long: false,
        }
    }

    /// Takes the next piece; whether the user's line is found, which then stays.
    pub(crate) fn take(&mut self, piece: &[u8]) -> bool {
        for &byte in piece {
            if byte != b'\n' {
                match self.line.get_mut(self.length) {
                    Some(place) => {
                        *place = byte;
                        self.length += 1;
                    }
                    None => self.too_long = true,
                }
                continue;
            }
            if self.end() {
                return true;
            }
            (self.length, self.too_long) = (0, false);
        }
        false
    }

    /// The last line may lack its end; whether it is the user's.
    pub(crate) fn end(&self) -> bool {
        let uid = self.line().split(|&byte| byte == b':').nth(UID);
        !self.too_long && uid.and_then(number) == Some(self.uid)
    }

    /// The home in the line that was found; empty, where it has none.
    pub(crate) fn home(&self) -> &[u8] {
        self.line()
            .split(|&byte| byte == b':')
            .nth(HOME)
            .unwrap_or_default()
    }

    fn line(&self) -> &[u8] {
        self.line.get(..self.length).unwrap_or_default()
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u32, |number, &byte| {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit < 10)?;
        number.checked_mul(10)?.checked_add(u32::from(digit))
    })
}
