//! The part of the protocol buffers' encoding that CRIU's messages need: numbers as varints, and bytes with a length
//! (protobuf.dev, "Encoding"). What a message means is `message.rs`'s work.

/// How a value is written, the low three bits of its tag.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

/// A message that is being written.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// A number, as int32, uint32, bool and enums are written: a negative one with all its 64 bits.
    pub(super) fn number(&mut self, field: u32, value: impl Into<i64>) -> &mut Self {
        self.varint(u64::from(field) << 3 | VARINT);
        self.varint(value.into().cast_unsigned());
        self
    }

    /// A switch; absent means off everywhere in CRIU's messages.
    pub(super) fn switch(&mut self, field: u32, on: bool) -> &mut Self {
        if on {
            self.number(field, 1);
        }
        self
    }

    /// Text or raw bytes.
    pub(super) fn bytes(&mut self, field: u32, value: impl AsRef<[u8]>) -> &mut Self {
        let value = value.as_ref();
        self.varint(u64::from(field) << 3 | LENGTH);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A message within this one.
    pub(super) fn message(&mut self, field: u32, value: &Message) -> &mut Self {
        self.bytes(field, &value.0)
    }

    /// The encoded message.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push((value & 0x7f) as u8);
    }
}

/// A value of a field that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A number.
    Number(u64),
    /// Bytes, text or a message within.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// As an int32 or an enum.
    pub(super) fn as_i32(self) -> Option<i32> {
        match self {
            // Negative numbers have 64 bits.
            Self::Number(number) => i32::try_from(number.cast_signed()).ok(),
            Self::Bytes(_) => None,
        }
    }

    /// As a bool.
    pub(super) fn as_bool(self) -> bool {
        matches!(self, Self::Number(number) if number != 0)
    }

    /// As a message within, or raw bytes.
    pub(super) fn as_bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Number(_) => None,
        }
    }

    /// As text; what is not UTF-8 is replaced.
    pub(super) fn as_text(self) -> String {
        String::from_utf8_lossy(self.as_bytes().unwrap_or_default()).into_owned()
    }
}

/// The fields of an encoded message in their order; None where the bytes are no message. Values of fixed width are passed
/// over: no field that is looked at has one.
pub(super) fn fields(mut bytes: &[u8]) -> Option<Vec<(u32, Value<'_>)>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let field = u32::try_from(tag >> 3).ok().filter(|field| *field != 0)?;
        match tag & 7 {
            VARINT => found.push((field, Value::Number(varint(&mut bytes)?))),
            LENGTH => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                found.push((field, Value::Bytes(split(&mut bytes, length)?)));
            }
            FIXED64 => drop(split(&mut bytes, 8)?),
            FIXED32 => drop(split(&mut bytes, 4)?),
            _ => return None,
        }
    }
    Some(found)
}

/// The first `length` bytes, which are taken off.
fn split<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(length)?;
    *bytes = tail;
    Some(head)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_encoding() {
        // protobuf.dev: field 1 = 150, field 2 = "testing".
        let mut message = Message::default();
        message.number(1, 150).bytes(2, "testing");
        let bytes = message.into_bytes();
        assert_eq!(bytes, b"\x08\x96\x01\x12\x07testing");
        let read = fields(&bytes).unwrap();
        assert_eq!(read, [(1, Value::Number(150)), (2, Value::Bytes(b"testing"))]);
    }

    #[test]
    fn negative_numbers_have_ten_bytes() {
        let mut message = Message::default();
        message.number(1, -1);
        let bytes = message.into_bytes();
        assert_eq!(bytes.len(), 11);
        assert_eq!(fields(&bytes).unwrap()[0].1.as_i32(), Some(-1));
    }

    #[test]
    fn a_field_of_fixed_width_is_passed_over() {
        let read = fields(b"\x09\0\0\0\0\0\0\0\0\x15\0\0\0\0\x18\x01").unwrap();
        assert_eq!(read, [(3, Value::Number(1))]);
    }

    #[test]
    fn what_is_cut_off_is_no_message() {
        for bytes in [
            &b"\x08"[..],
            b"\x08\x80",
            b"\x12\x05abc",
            b"\x00\x01",
            b"\x0b",
            b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
        ] {
            assert_eq!(fields(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = fields(&bytes);
        }

        #[test]
        fn what_is_written_is_read(number in any::<i32>(), text in any::<Vec<u8>>(), field in 1_u32..500) {
            let mut message = Message::default();
            message.number(field, number).bytes(field + 1, &text);
            let bytes = message.into_bytes();
            let read = fields(&bytes).unwrap();
            prop_assert_eq!(read[0].1.as_i32(), Some(number));
            prop_assert_eq!(read[1], (field + 1, Value::Bytes(&text[..])));
        }
    }
}
