//! Writes a program; only the parent has this half.

use std::ffi::CString;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::field::kind::{Blob, Bool, Fd, Fds, I32, Nums, Str, Strs, U32, U64};
use crate::step::StepBuf;
use crate::{HEADER_LEN, MAGIC, MAX_ARGS, MAX_LEN};

/// A string without NUL that shows itself as text, also where it is not UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Text(CString);

impl Text {
    /// The text of `bytes`; None where they hold NUL.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        CString::new(bytes).ok().map(Self)
    }

    /// The bytes without the terminator.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The text for showing; what is not UTF-8 is replaced.
    pub fn to_string_lossy(&self) -> std::borrow::Cow<'_, str> {
        self.0.to_string_lossy()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_string_lossy())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string_lossy())
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string_lossy())
    }
}

/// How one kind of argument is kept by the planner and stored by the writer. `F` is the planner's name for a
/// descriptor that does not exist yet.
pub trait FieldBuf {
    /// What the planner keeps.
    type Owned<F>;
    /// Stores the value and gives the slot.
    fn put<F>(owned: &Self::Owned<F>, arena: &mut Arena, fd: &mut dyn FnMut(&F) -> i32) -> u64;
}

/// The strings and tables behind the records.
#[derive(Debug, Default)]
pub struct Arena(Vec<u8>);

impl Arena {
    fn store(&mut self, bytes: &[u8], count: usize) -> u64 {
        let slot = (self.0.len() as u64) << 32 | count as u64;
        self.0.extend_from_slice(bytes);
        slot
    }

    fn words(&mut self, words: impl IntoIterator<Item = u64>) -> u64 {
        let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        self.store(&bytes, bytes.len() / 8)
    }

    fn text(&mut self, text: &Text) -> u64 {
        self.store(text.0.as_bytes_with_nul(), text.as_bytes().len())
    }
}

fn signed(number: i32) -> u64 {
    u64::from(number.cast_unsigned())
}

macro_rules! plain {
    ($($kind:ident $owned:ty, |$value:ident, $arena:ident, $fd:ident| $slot:expr;)*) => {$(
        impl FieldBuf for $kind {
            type Owned<F> = $owned;
            fn put<F>($value: &$owned, $arena: &mut Arena, $fd: &mut dyn FnMut(&F) -> i32) -> u64 {
                $slot
            }
        }
    )*};
}

plain! {
    U32 u32, |value, _arena, _fd| u64::from(*value);
    I32 i32, |value, _arena, _fd| signed(*value);
    U64 u64, |value, _arena, _fd| *value;
    Bool bool, |value, _arena, _fd| u64::from(*value);
    Str Text, |value, arena, _fd| arena.text(value);
    Blob Vec<u8>, |value, arena, _fd| arena.store(value, value.len());
    Nums Vec<u64>, |value, arena, _fd| arena.words(value.iter().copied());
    Strs Vec<Text>, |value, arena, _fd| {
        let table: Vec<u64> = value.iter().map(|text| arena.text(text)).collect();
        arena.words(table)
    };
    Fd F, |value, _arena, fd| signed(fd(value));
    Fds Vec<F>, |value, arena, fd| {
        let table: Vec<u64> = value.iter().map(|name| signed(fd(name))).collect();
        arena.words(table)
    };
}

/// Collects steps and gives the program's bytes.
#[derive(Debug, Default)]
pub struct Writer {
    records: Vec<u8>,
    arena: Arena,
    steps: u32,
}

impl Writer {
    /// An empty program.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a step that stands in `line` of the schedule; `fd` gives the number of a named descriptor.
    pub fn push<F>(&mut self, line: u32, step: &StepBuf<F>, mut fd: impl FnMut(&F) -> i32) {
        let mut args = [0; MAX_ARGS];
        let code = step.encode(&mut args, &mut self.arena, &mut fd);
        self.records.extend_from_slice(&code.to_le_bytes());
        self.records.extend_from_slice(&line.to_le_bytes());
        self.records.extend(args.iter().flat_map(|arg| arg.to_le_bytes()));
        self.steps += 1;
    }

    /// The program, or None where it would be larger than [`MAX_LEN`] bytes.
    pub fn finish(self) -> Option<Vec<u8>> {
        let arena = self.arena.0;
        let length = HEADER_LEN
            .checked_add(self.records.len())?
            .checked_add(arena.len())?;
        if length > MAX_LEN {
            return None;
        }
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.steps.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(arena.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(&0u32.to_le_bytes());
        bytes.extend_from_slice(&self.records);
        bytes.extend_from_slice(&arena);
        Some(bytes)
    }
}
