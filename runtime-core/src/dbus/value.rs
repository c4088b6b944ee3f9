//! Values of D-Bus with their types, and their bytes.
//!
//! Pure. Here: what a value is, how it is written and read (little endian, as every message of this library), its
//! signature, and its text in the notation of GVariant. Not here: messages (`message.rs`), reading that text
//! (`text.rs`). Bytes that come in are not trusted: lengths, nesting and padding are checked.

use std::fmt;

use serde::{Serialize, Serializer};

/// How deep values may be nested in what is read; the D-Bus specification allows 32 of each container.
const MAX_DEPTH: u32 = 16;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `y`
    Byte(u8),
    /// `b`
    Bool(bool),
    /// `n`
    I16(i16),
    /// `q`
    U16(u16),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `x`
    I64(i64),
    /// `t`
    U64(u64),
    /// `d`
    Double(f64),
    /// `s`
    Text(String),
    /// `o`
    Path(String),
    /// `g`
    Signature(String),
    /// `v`
    Variant(Box<Value>),
    /// `a` and the type of the elements, which an empty array has, too.
    Array(String, Vec<Value>),
    /// A structure.
    Struct(Vec<Value>),
}

impl Value {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// An array of bytes.
    pub fn bytes(bytes: &[u8]) -> Self {
        Self::Array("y".to_owned(), bytes.iter().copied().map(Self::Byte).collect())
    }

    /// The type, as D-Bus writes it.
    pub fn signature(&self) -> String {
        match self {
            Self::Byte(_) => "y".into(),
            Self::Bool(_) => "b".into(),
            Self::I16(_) => "n".into(),
            Self::U16(_) => "q".into(),
            Self::I32(_) => "i".into(),
            Self::U32(_) => "u".into(),
            Self::I64(_) => "x".into(),
            Self::U64(_) => "t".into(),
            Self::Double(_) => "d".into(),
            Self::Text(_) => "s".into(),
            Self::Path(_) => "o".into(),
            Self::Signature(_) => "g".into(),
            Self::Variant(_) => "v".into(),
            Self::Array(element, _) => format!("a{element}"),
            Self::Struct(fields) => {
                let inner: String = fields.iter().map(Self::signature).collect();
                format!("({inner})")
            }
        }
    }

    /// Appends the bytes. Padding counts from the start of `out`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Byte(value) => out.push(*value),
            Self::Bool(value) => number(out, &u32::from(*value).to_le_bytes()),
            Self::I16(value) => number(out, &value.to_le_bytes()),
            Self::U16(value) => number(out, &value.to_le_bytes()),
            Self::I32(value) => number(out, &value.to_le_bytes()),
            Self::U32(value) => number(out, &value.to_le_bytes()),
            Self::I64(value) => number(out, &value.to_le_bytes()),
            Self::U64(value) => number(out, &value.to_le_bytes()),
            Self::Double(value) => number(out, &value.to_le_bytes()),
            Self::Text(text) | Self::Path(text) => write_text(out, text),
            Self::Signature(text) => write_signature(out, text),
            Self::Variant(value) => {
                write_signature(out, &value.signature());
                value.write(out);
            }
            Self::Struct(fields) => {
                pad(out, 8);
                fields.iter().for_each(|field| field.write(out));
            }
            Self::Array(element, items) => {
                pad(out, 4);
                let length_at = out.len();
                out.extend([0; 4]);
                // The padding before the first element is not counted.
                pad(
                    out,
                    alignment(element.as_bytes().first().copied().unwrap_or(b'y')),
                );
                let start = out.len();
                items.iter().for_each(|item| item.write(out));
                let length = length_of(out.len() - start);
                out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
            }
        }
    }
}

/// Lengths are 32 bits wide; what is written here has some KiB.
pub(super) fn length_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn number(out: &mut Vec<u8>, bytes: &[u8]) {
    pad(out, bytes.len());
    out.extend(bytes);
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    number(out, &length_of(text.len()).to_le_bytes());
    out.extend(text.as_bytes());
    out.push(0);
}

fn write_signature(out: &mut Vec<u8>, text: &str) {
    out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.extend(text.as_bytes());
    out.push(0);
}

/// Zeros up to a multiple of `to`.
pub(super) fn pad(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

fn alignment(kind: u8) -> usize {
    match kind {
        b'y' | b'g' | b'v' => 1,
        b'n' | b'q' => 2,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        _ => 4,
    }
}

/// The bytes are not what their signature says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads values from bytes; padding counts from their start.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The values of a signature, one after another.
    pub(super) fn values(&mut self, signature: &str) -> Result<Vec<Value>, Malformed> {
        let mut rest = signature.as_bytes();
        let mut values = Vec::new();
        while !rest.is_empty() {
            let (one, tail) = split(rest)?;
            values.push(self.value(one, 0)?);
            rest = tail;
        }
        Ok(values)
    }

    fn value(&mut self, kind: &[u8], depth: u32) -> Result<Value, Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed);
        }
        Ok(match *kind.first().ok_or(Malformed)? {
            b'y' => Value::Byte(self.take::<1>()?[0]),
            b'b' => match u32::from_le_bytes(self.take()?) {
                value @ 0..=1 => Value::Bool(value == 1),
                _ => return Err(Malformed),
            },
            b'n' => Value::I16(i16::from_le_bytes(self.take()?)),
            b'q' => Value::U16(u16::from_le_bytes(self.take()?)),
            b'i' => Value::I32(i32::from_le_bytes(self.take()?)),
            // h is the number of a descriptor; none is ever taken.
            b'u' | b'h' => Value::U32(u32::from_le_bytes(self.take()?)),
            b'x' => Value::I64(i64::from_le_bytes(self.take()?)),
            b't' => Value::U64(u64::from_le_bytes(self.take()?)),
            b'd' => Value::Double(f64::from_le_bytes(self.take()?)),
            b's' => Value::Text(self.text()?),
            b'o' => Value::Path(self.text()?),
            b'g' => Value::Signature(self.signature()?),
            b'v' => {
                let signature = self.signature()?;
                let (one, rest) = split(signature.as_bytes())?;
                if !rest.is_empty() {
                    return Err(Malformed);
                }
                Value::Variant(Box::new(self.value(one, depth + 1)?))
            }
            b'a' => self.array(&kind[1..], depth)?,
            b'(' | b'{' => {
                self.skip_to(8)?;
                let mut rest = &kind[1..kind.len() - 1];
                let mut fields = Vec::new();
                while !rest.is_empty() {
                    let (one, tail) = split(rest)?;
                    fields.push(self.value(one, depth + 1)?);
                    rest = tail;
                }
                Value::Struct(fields)
            }
            _ => return Err(Malformed),
        })
    }

    fn array(&mut self, element: &[u8], depth: u32) -> Result<Value, Malformed> {
        let length = usize::try_from(u32::from_le_bytes(self.take()?)).map_err(|_| Malformed)?;
        self.skip_to(alignment(*element.first().ok_or(Malformed)?))?;
        let end = self.at.checked_add(length).ok_or(Malformed)?;
        if end > self.bytes.len() {
            return Err(Malformed);
        }
        let mut items = Vec::new();
        while self.at < end {
            items.push(self.value(element, depth + 1)?);
        }
        let element = str::from_utf8(element).map_err(|_| Malformed)?;
        if self.at == end {
            Ok(Value::Array(element.to_owned(), items))
        } else {
            Err(Malformed)
        }
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let length = u32::from_le_bytes(self.take()?);
        self.ended_by_zero(usize::try_from(length).map_err(|_| Malformed)?)
    }

    fn signature(&mut self) -> Result<String, Malformed> {
        let [length] = self.take::<1>()?;
        self.ended_by_zero(length.into())
    }

    fn ended_by_zero(&mut self, length: usize) -> Result<String, Malformed> {
        let end = self.at.checked_add(length).ok_or(Malformed)?;
        let text = self.bytes.get(self.at..end).ok_or(Malformed)?;
        if self.bytes.get(end) != Some(&0) {
            return Err(Malformed);
        }
        self.at = end + 1;
        String::from_utf8(text.to_vec()).map_err(|_| Malformed)
    }

    /// A number: padded to its own size.
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.skip_to(N)?;
        let bytes = self.bytes.get(self.at..self.at + N).ok_or(Malformed)?;
        self.at += N;
        bytes.try_into().map_err(|_| Malformed)
    }

    fn skip_to(&mut self, alignment: usize) -> Result<(), Malformed> {
        self.at = self.at.next_multiple_of(alignment);
        if self.at <= self.bytes.len() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

/// The first complete type of a signature, and the rest.
fn split(signature: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut open = 0u32;
    for (position, kind) in signature.iter().enumerate() {
        match kind {
            b'a' => continue,
            b'(' | b'{' => open += 1,
            b')' | b'}' => open = open.checked_sub(1).ok_or(Malformed)?,
            _ => {}
        }
        if open == 0 {
            return Ok(signature.split_at(position + 1));
        }
    }
    Err(Malformed)
}

/// The notation of GVariant, with the types that a reader could not guess.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Byte(value) => write!(f, "byte {value:#04x}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::I16(value) => write!(f, "int16 {value}"),
            Self::U16(value) => write!(f, "uint16 {value}"),
            Self::I32(value) => write!(f, "{value}"),
            Self::U32(value) => write!(f, "uint32 {value}"),
            Self::I64(value) => write!(f, "int64 {value}"),
            Self::U64(value) => write!(f, "uint64 {value}"),
            Self::Double(value) => write!(f, "{value:?}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Path(text) => write!(f, "objectpath {text:?}"),
            Self::Signature(text) => write!(f, "signature {text:?}"),
            Self::Variant(value) => write!(f, "<{value}>"),
            Self::Array(element, items) if items.is_empty() => write!(f, "@a{element} []"),
            Self::Array(_, items) => list(f, '[', items, ']'),
            Self::Struct(fields) => list(f, '(', fields, ')'),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, open: char, items: &[Value], close: char) -> fmt::Result {
    write!(f, "{open}")?;
    for (position, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if position > 0 { ", " } else { "" })?;
    }
    write!(f, "{close}")
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(value: &Value) -> Value {
        let mut bytes = Vec::new();
        value.write(&mut bytes);
        let mut values = Reader::new(&bytes).values(&value.signature()).unwrap();
        assert_eq!(values.len(), 1);
        values.remove(0)
    }

    #[test]
    fn every_type_survives_its_bytes() {
        let pair = Value::Struct(vec![Value::text("/dev/null"), Value::text("rwm")]);
        for value in [
            Value::Byte(7),
            Value::Bool(true),
            Value::I16(-2),
            Value::U16(2),
            Value::I32(-3),
            Value::U32(3),
            Value::I64(i64::MIN),
            Value::U64(u64::MAX),
            Value::Double(0.5),
            Value::text("gr\u{fc}n"),
            Value::Path("/a/b".into()),
            Value::Signature("a(sv)".into()),
            Value::Variant(Box::new(Value::U64(1))),
            Value::bytes(&[1, 2, 3]),
            Value::Array("(ss)".into(), vec![pair.clone(), pair.clone()]),
            Value::Array("(ss)".into(), Vec::new()),
            Value::Struct(vec![Value::Byte(1), Value::U64(2), pair]),
        ] {
            assert_eq!(there_and_back(&value), value, "{value}");
        }
    }

    /// The example of the specification: an array of one 64-bit number at offset 4 has four bytes of padding that its
    /// length does not count.
    #[test]
    fn the_padding_of_an_array_is_not_counted() {
        let mut bytes = vec![9, 0, 0, 0];
        Value::Array("x".into(), vec![Value::I64(5)]).write(&mut bytes);
        assert_eq!(bytes, [9, 0, 0, 0, 8, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        let mut bytes = vec![9, 0, 0, 0];
        Value::Array("u".into(), Vec::new()).write(&mut bytes);
        assert_eq!(bytes, [9, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn bad_bytes_are_refused() {
        for (signature, bytes) in [
            ("u", &[1, 2, 3][..]),
            ("s", &[4, 0, 0, 0, b'a', b'b', b'c']),
            ("s", &[3, 0, 0, 0, b'a', b'b', b'c', 1]),
            ("s", &[1, 0, 0, 0, 0xff, 0]),
            ("b", &[2, 0, 0, 0]),
            ("au", &[5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]),
            ("au", &[255, 255, 255, 255]),
            ("(u", &[1, 0, 0, 0]),
            ("u)", &[1, 0, 0, 0]),
            ("a", &[0, 0, 0, 0]),
            ("z", &[0]),
            ("v", &[2, b'u', b'u', 0, 1, 0, 0, 0, 1, 0, 0, 0]),
            ("v", &[0, 0]),
        ] {
            assert_eq!(
                Reader::new(bytes).values(signature),
                Err(Malformed),
                "{signature} {bytes:?}"
            );
        }
        // A variant in a variant in a variant ...
        let mut deep = Value::Byte(1);
        for _ in 0..40 {
            deep = Value::Variant(Box::new(deep));
        }
        let mut bytes = Vec::new();
        deep.write(&mut bytes);
        assert_eq!(Reader::new(&bytes).values("v"), Err(Malformed));
    }
}
