//! `ld.so.cache`: the file in which glibc's loader looks names up, read and written in ldconfig's own form.
//!
//! The form (dl-cache.h and cache.c of glibc): a header of 48 bytes, entries of 24 bytes, strings, and since 2.33 an
//! extension with the writer's name and the names of glibc-hwcaps directories. Older caches (before 2.32) start with
//! another header and a second list of entries of 12 bytes, behind which the present form follows. String offsets count
//! from the present form's header.
//!
//! What is read may be the image's, that is hostile: every offset and number is checked, and a file that breaks a rule is
//! no cache at all. Nothing here opens a file.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// The largest cache that is read, in bytes; a desktop's has 200 KiB.
pub(crate) const MAX_CACHE: usize = 16 * 1024 * 1024;
/// The most entries; a desktop's has 3,000.
const MAX_ENTRIES: usize = 100_000;
/// The longest string, as PATH_MAX.
const MAX_STRING: usize = 4096;

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
const HEADER: usize = 48;
const ENTRY: usize = 24;
const LITTLE_ENDIAN: u8 = 2;
const EXTENSION_MAGIC: u32 = 0xeaa4_2174;
const SECTION: usize = 16;
const TAG_GENERATOR: u32 = 0;
const TAG_HWCAPS: u32 = 1;
/// The bit of an entry's hwcap that says that its low half counts the names of glibc-hwcaps directories.
const HWCAP_EXTENSION: u64 = 1 << 62;

/// One line of `ldconfig -p`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name that programs ask for.
    pub(crate) name: Vec<u8>,
    /// Where it is.
    pub(crate) path: Vec<u8>,
    /// FLAG_* of dl-cache.h: the kind of C library and the machine.
    pub(crate) flags: u32,
    /// The oldest kernel; used before glibc 2.36.
    pub(crate) os_version: u32,
    /// What the CPU must be able to do; the low half of an entry with [`Entry::hwcaps`] is set by the writer.
    pub(crate) hwcap: u64,
    /// The glibc-hwcaps directory that it is in (`x86-64-v3`).
    pub(crate) hwcaps: Option<Vec<u8>>,
}

/// A cache.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Cache {
    /// The entries in the loader's order.
    pub(crate) entries: Vec<Entry>,
    /// Who wrote it; empty before glibc 2.33.
    pub(crate) generator: Vec<u8>,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}

fn size(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(word(bytes, at)?).ok()
}

fn string(bytes: &[u8], at: usize) -> Option<Vec<u8>> {
    let rest = bytes.get(at..)?;
    let rest = rest.get(..rest.len().min(MAX_STRING))?;
    let end = rest.iter().position(|&byte| byte == 0)?;
    rest.get(..end).map(<[u8]>::to_vec)
}

impl Cache {
    /// The cache in these bytes; None where they are none, or one of another byte order, or broken anywhere.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_CACHE {
            return None;
        }
        let bytes = if bytes.starts_with(OLD_MAGIC) {
            let entries = size(bytes, 12)?.checked_mul(OLD_ENTRY)?;
            let end = entries.checked_add(OLD_HEADER)?.checked_next_multiple_of(8)?;
            bytes.get(end..)?
        } else {
            bytes
        };
        if !bytes.starts_with(MAGIC) || !matches!(bytes.get(28)?, 0 | &LITTLE_ENDIAN) {
            return None;
        }
        let count = size(bytes, 20)?;
        if count > MAX_ENTRIES || count.checked_mul(ENTRY)?.checked_add(HEADER)? > bytes.len() {
            return None;
        }
        let (generator, hwcaps) = match size(bytes, 32)? {
            0 => (Vec::new(), Vec::new()),
            offset => extension(bytes, offset)?,
        };
        let entries = (0..count).map(|number| entry(bytes, HEADER + number * ENTRY, &hwcaps));
        Some(Self {
            entries: entries.collect::<Option<_>>()?,
            generator,
        })
    }

    /// The bytes of the file, as ldconfig of glibc 2.33 and later writes it, with the entries in this order. None where
    /// it would be larger than [`MAX_CACHE`], which no loader is asked to read.
    pub(crate) fn write(&self) -> Option<Vec<u8>> {
        let start = HEADER + self.entries.len() * ENTRY;
        let mut strings = Strings::default();
        for entry in &self.entries {
            strings.add(&entry.name);
            strings.add(&entry.path);
            entry.hwcaps.iter().for_each(|name| strings.add(name));
        }
        let (offsets, table) = strings.place();
        let at = |text: &[u8]| offsets.get(text).map_or(0, |offset| start + offset);
        let mut hwcaps: Vec<&[u8]> = self
            .entries
            .iter()
            .filter_map(|entry| entry.hwcaps.as_deref())
            .collect();
        hwcaps.sort_unstable();
        hwcaps.dedup();
        let end = start + table.len();
        let extension = end.next_multiple_of(4);

        let mut bytes = Vec::with_capacity(extension + 256);
        let number = |value: usize| u32::try_from(value).ok().map(u32::to_le_bytes);
        bytes.extend_from_slice(MAGIC);
        bytes.extend(number(self.entries.len())?);
        bytes.extend(number(table.len())?);
        bytes.extend([LITTLE_ENDIAN, 0, 0, 0]);
        bytes.extend(number(extension)?);
        bytes.extend([0; 12]);
        for entry in &self.entries {
            let index = entry
                .hwcaps
                .as_ref()
                .and_then(|name| hwcaps.binary_search(&name.as_slice()).ok());
            let hwcap = match index {
                Some(index) => entry.hwcap & !0xffff_ffff | HWCAP_EXTENSION | index as u64,
                None => entry.hwcap,
            };
            bytes.extend(entry.flags.to_le_bytes());
            bytes.extend(number(at(&entry.name))?);
            bytes.extend(number(at(&entry.path))?);
            bytes.extend(entry.os_version.to_le_bytes());
            bytes.extend(hwcap.to_le_bytes());
        }
        bytes.extend_from_slice(&table);
        bytes.resize(extension, 0);
        let hwcaps = hwcaps.into_iter().map(at).collect();
        write_extension(&mut bytes, hwcaps, &self.generator)?;
        (bytes.len() <= MAX_CACHE).then_some(bytes)
    }
}

fn entry(bytes: &[u8], at: usize, hwcaps: &[Vec<u8>]) -> Option<Entry> {
    let hwcap = u64::from(word(bytes, at + 16)?) | u64::from(word(bytes, at + 20)?) << 32;
    let named = if hwcap & HWCAP_EXTENSION == 0 {
        None
    } else {
        Some(hwcaps.get(usize::try_from(hwcap & 0xffff_ffff).ok()?)?.clone())
    };
    Some(Entry {
        flags: word(bytes, at)?,
        name: string(bytes, size(bytes, at + 4)?)?,
        path: string(bytes, size(bytes, at + 8)?)?,
        os_version: word(bytes, at + 12)?,
        hwcap,
        hwcaps: named,
    })
}

/// The writer's name and the names of the glibc-hwcaps directories.
fn extension(bytes: &[u8], offset: usize) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let extension = bytes.get(offset..)?;
    if word(extension, 0)? != EXTENSION_MAGIC || size(extension, 4)? > 64 {
        return None;
    }
    let (mut generator, mut hwcaps) = (Vec::new(), Vec::new());
    for section in 0..size(extension, 4)? {
        let at = 8 + section * SECTION;
        let (place, length) = (size(extension, at + 8)?, size(extension, at + 12)?);
        let content = bytes.get(place..place.checked_add(length)?)?;
        match word(extension, at)? {
            TAG_GENERATOR => generator = content.get(..length.min(MAX_STRING))?.to_vec(),
            TAG_HWCAPS if length <= MAX_STRING => {
                let names = content.chunks_exact(4).map(|at| string(bytes, size(at, 0)?));
                hwcaps = names.collect::<Option<_>>()?;
            }
            _ => {}
        }
    }
    Some((generator, hwcaps))
}

fn write_extension(bytes: &mut Vec<u8>, hwcaps: Vec<usize>, generator: &[u8]) -> Option<()> {
    let sections = 1 + usize::from(!hwcaps.is_empty());
    let names = bytes.len() + 8 + sections * SECTION;
    let mut put = |value: usize| {
        bytes.extend(u32::try_from(value).ok()?.to_le_bytes());
        Some(())
    };
    put(usize::try_from(EXTENSION_MAGIC).ok()?)?;
    put(sections)?;
    for value in [0, 0, names + hwcaps.len() * 4, generator.len()] {
        put(value)?;
    }
    if !hwcaps.is_empty() {
        for value in [1, 0, names, hwcaps.len() * 4] {
            put(value)?;
        }
    }
    hwcaps.into_iter().try_for_each(&mut put)?;
    bytes.extend_from_slice(generator);
    Some(())
}

/// The string table. Strings that end others lie in them, as ldconfig places them since glibc 2.33.
#[derive(Debug, Default)]
struct Strings<'a>(Vec<&'a [u8]>);

impl<'a> Strings<'a> {
    fn add(&mut self, text: &'a [u8]) {
        self.0.push(text);
    }

    /// Where each string is, and the table.
    fn place(mut self) -> (BTreeMap<&'a [u8], usize>, Vec<u8>) {
        // By their reversed bytes, descending; of two where one ends the other, the longer one first.
        self.0.sort_unstable_by(|left, right| {
            let differs = left
                .iter()
                .rev()
                .zip(right.iter().rev())
                .map(|(left, right)| right.cmp(left))
                .find(|order| order.is_ne());
            differs.unwrap_or_else(|| right.len().cmp(&left.len()))
        });
        self.0.dedup();
        let mut offsets = BTreeMap::new();
        let mut table = Vec::new();
        let mut last: (&[u8], usize) = (&[], 0);
        for text in self.0 {
            let offset = if !offsets.is_empty() && last.0.ends_with(text) {
                last.1 + last.0.len() - text.len()
            } else {
                let offset = table.len();
                table.extend_from_slice(text);
                table.push(0);
                offset
            };
            offsets.insert(text, offset);
            last = (text, offset);
        }
        (offsets, table)
    }
}

/// The loader's order of names (`_dl_cache_libcmp`): runs of digits compare as numbers, and digits come behind all else.
pub(crate) fn compare_names(mut left: &[u8], mut right: &[u8]) -> Ordering {
    loop {
        let (Some(&first), Some(&second)) = (left.first(), right.first()) else {
            return left.len().cmp(&right.len());
        };
        match (first.is_ascii_digit(), second.is_ascii_digit()) {
            (true, true) => {
                let (first, second) = (take_number(&mut left), take_number(&mut right));
                if first != second {
                    return first.cmp(&second);
                }
            }
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) if first != second => return first.cmp(&second),
            (false, false) => (left, right) = (&left[1..], &right[1..]),
        }
    }
}

fn take_number(text: &mut &[u8]) -> u64 {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(length);
    *text = rest;
    digits.iter().fold(0u64, |number, digit| {
        number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    })
}

/// The order of entries in the file: names descending, because the loader searches so; then the machine; then entries of
/// glibc-hwcaps directories before plain ones. What is equal stays in the order of its directories.
pub(crate) fn compare(left: &Entry, right: &Entry) -> Ordering {
    compare_names(&right.name, &left.name)
        .then_with(|| right.flags.cmp(&left.flags))
        .then_with(|| match (&left.hwcaps, &right.hwcaps) {
            (Some(left), Some(right)) => left.cmp(right),
            (left, right) => right.is_some().cmp(&left.is_some()),
        })
        .then_with(|| right.os_version.cmp(&left.os_version))
        .then_with(|| {
            if left.hwcaps.is_some() || right.hwcaps.is_some() {
                Ordering::Equal
            } else {
                right.hwcap.cmp(&left.hwcap)
            }
        })
}
