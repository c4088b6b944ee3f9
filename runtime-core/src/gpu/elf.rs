//! What a shared library says about itself: machine, SONAME, and the note of CUDA's compatibility libraries.
//!
//! The file may be the image's, that is hostile: every offset is checked, at most [`MAX_READ`] bytes are read of it, and
//! nothing in it is executed or mapped. Only what a loader would read is looked at (program headers); sections only for
//! the note, which NVIDIA's own reader finds by its section's name.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

/// The most that is read of one file, in bytes, all its parts together.
const MAX_READ: usize = 256 * 1024;
/// The largest string table that is searched for a name; a driver library's is far smaller.
const MAX_NAME: usize = 256;
/// The most headers of one kind that are looked at; the largest driver library has some tens.
const MAX_HEADERS: usize = 128;
/// The most entries of a dynamic section.
const MAX_DYNAMIC: usize = 512;
/// The largest note that is read.
const MAX_NOTE: usize = 64 * 1024;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const SHT_NOTE: u32 = 7;
const DT_NULL: u64 = 0;
const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;
const ET_DYN: u16 = 3;
/// The section with the note of a CUDA compatibility library, its terminator included.
const COMPAT_SECTION: &[u8] = b".note.cuda.fwd_compatibility\0";
/// Who wrote the note.
const COMPAT_OWNER: &[u8] = b"NVIDIA Corporation";

/// Where the bytes of a file come from.
pub(crate) trait Source {
    /// Fills as much of `bytes` as there is from this offset on.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> usize;
}

impl Source for BorrowedFd<'_> {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            match rustix::io::pread(self, &mut bytes[done..], offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        done
    }
}

impl Source for [u8] {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> usize {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.get(offset..))
            .unwrap_or_default();
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        count
    }
}

/// The machine that a library is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    /// EM_* (elf.h).
    pub(crate) number: u16,
    /// Whether it is of class ELFCLASS64.
    pub(crate) wide: bool,
}

impl Machine {
    const I386: u16 = 3;
    const ARM: u16 = 40;
    const X86_64: u16 = 62;
    const AARCH64: u16 = 183;

    /// The flags of a library for this machine in ld.so.cache (dl-cache.h of glibc); None for others than x86 and ARM.
    pub(crate) fn cache_flags(self) -> Option<u32> {
        match (self.number, self.wide) {
            (Self::X86_64, true) => Some(0x0303),
            (Self::X86_64, false) => Some(0x0803),
            (Self::I386, false) => Some(0x0003),
            (Self::AARCH64, true) => Some(0x0a03),
            (Self::ARM, false) => Some(0x0903),
            _ => None,
        }
    }
}

/// A shared library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Library {
    pub(crate) machine: Machine,
    /// The name that programs ask for.
    pub(crate) soname: Option<String>,
}

/// A little-endian reader that counts what it has read.
struct Reader<'a, S: Source + ?Sized> {
    source: &'a S,
    left: usize,
    wide: bool,
}

impl<S: Source + ?Sized> Reader<'_, S> {
    /// Exactly this many bytes; None where the file or the bound ends before.
    fn bytes(&mut self, offset: u64, count: usize) -> Option<Vec<u8>> {
        let bytes = self.some(offset, count)?;
        (bytes.len() == count).then_some(bytes)
    }

    /// Up to this many bytes.
    fn some(&mut self, offset: u64, count: usize) -> Option<Vec<u8>> {
        self.left = self.left.checked_sub(count)?;
        let mut bytes = vec![0; count];
        let read = self.source.read_at(&mut bytes, offset);
        bytes.truncate(read);
        Some(bytes)
    }

    /// A table of `count` headers of `size` bytes each.
    fn table(&mut self, offset: u64, size: usize, count: usize) -> Option<Vec<Vec<u8>>> {
        if count == 0 || size == 0 {
            return Some(Vec::new());
        }
        let bytes = self.bytes(offset, size.checked_mul(count.min(MAX_HEADERS))?)?;
        Some(bytes.chunks_exact(size).map(<[u8]>::to_vec).collect())
    }

    /// A number of the width of this file's addresses.
    fn word(&self, bytes: &[u8], at: usize) -> Option<u64> {
        number(bytes, at, if self.wide { 8 } else { 4 })
    }
}

fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |value, &byte| value << 8 | u64::from(byte)),
    )
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    number(bytes, at, 2).and_then(|value| u16::try_from(value).ok())
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    number(bytes, at, 4).and_then(|value| u32::try_from(value).ok())
}

/// The file header's fields that are used.
struct Header {
    machine: Machine,
    programs: (u64, usize, usize),
    sections: (u64, usize, usize),
    names: usize,
}

fn open<S: Source + ?Sized>(source: &S) -> Option<(Reader<'_, S>, Header)> {
    let mut reader = Reader {
        source,
        left: MAX_READ,
        wide: true,
    };
    let head = reader.some(0, 64)?;
    // Magic, class 32 or 64, little-endian, version 1.
    if head.get(..4)? != b"\x7fELF" || !matches!(head.get(4)?, 1 | 2) || head.get(5..7)? != [1, 1] {
        return None;
    }
    let wide = *head.get(4)? == 2;
    reader.wide = wide;
    if short(&head, 16)? != ET_DYN {
        return None;
    }
    let machine = Machine {
        number: short(&head, 18)?,
        wide,
    };
    let (programs, sections, sizes) = if wide { (32, 40, 54) } else { (28, 32, 42) };
    let size = |at| short(&head, at).map(usize::from);
    let header = Header {
        machine,
        programs: (reader.word(&head, programs)?, size(sizes)?, size(sizes + 2)?),
        sections: (reader.word(&head, sections)?, size(sizes + 4)?, size(sizes + 6)?),
        names: size(sizes + 8)?,
    };
    Some((reader, header))
}

/// What a file says, where it is a shared library; None for everything else, broken ones included.
pub(crate) fn library<S: Source + ?Sized>(source: &S) -> Option<Library> {
    let (mut reader, header) = open(source)?;
    let (offset, size, count) = header.programs;
    let least = if reader.wide { 56 } else { 32 };
    if size < least {
        return None;
    }
    let segments = reader.table(offset, size, count)?;
    Some(Library {
        machine: header.machine,
        soname: soname(&mut reader, &segments),
    })
}

/// A segment's type, file offset, address and size in the file.
fn segment<S: Source + ?Sized>(reader: &Reader<'_, S>, header: &[u8]) -> Option<(u32, u64, u64, u64)> {
    let (offset, address, length) = if reader.wide { (8, 16, 32) } else { (4, 8, 16) };
    Some((
        long(header, 0)?,
        reader.word(header, offset)?,
        reader.word(header, address)?,
        reader.word(header, length)?,
    ))
}

fn soname<S: Source + ?Sized>(reader: &mut Reader<'_, S>, segments: &[Vec<u8>]) -> Option<String> {
    let segments: Vec<_> = segments
        .iter()
        .filter_map(|header| segment(reader, header))
        .collect();
    let (_, offset, _, length) = *segments.iter().find(|segment| segment.0 == PT_DYNAMIC)?;
    let width = if reader.wide { 16 } else { 8 };
    let length = usize::try_from(length).ok()?.min(MAX_DYNAMIC * width);
    let dynamic = reader.some(offset, length)?;
    let (mut strings, mut name) = (None, None);
    for entry in dynamic.chunks_exact(width) {
        let (tag, value) = (reader.word(entry, 0)?, reader.word(entry, width / 2)?);
        match tag {
            DT_NULL => break,
            DT_STRTAB => strings = Some(value),
            DT_SONAME => name = Some(value),
            _ => {}
        }
    }
    let address = strings?.checked_add(name?)?;
    let offset = segments.iter().find_map(|(kind, offset, start, length)| {
        let inside = address.checked_sub(*start).filter(|inside| inside < length)?;
        (*kind == PT_LOAD).then(|| offset.checked_add(inside)).flatten()
    })?;
    let text = reader.some(offset, MAX_NAME)?;
    let end = text.iter().position(|&byte| byte == 0)?;
    let text = std::str::from_utf8(text.get(..end)?).ok()?;
    // A name with a slash would be a path, which no loader looks for in its directories.
    (!text.is_empty() && !text.contains('/')).then(|| text.to_owned())
}

/// The note of a CUDA compatibility library: for which driver branches it was made.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
pub(crate) struct CompatNote {
    /// The CUDA version that the library brings.
    #[serde(rename = "CUDA Version", default)]
    pub(crate) cuda_version: String,
    /// The driver branches (major versions) whose kernel module it works with.
    #[serde(rename = "Driver", default)]
    pub(crate) drivers: Vec<u64>,
}

/// The note in the section `.note.cuda.fwd_compatibility`, which holds JSON; None where there is none that can be read.
pub(crate) fn compat_note<S: Source + ?Sized>(source: &S) -> Option<CompatNote> {
    let (mut reader, header) = open(source)?;
    let (offset, size, count) = header.sections;
    if size < if reader.wide { 64 } else { 40 } {
        return None;
    }
    let sections = reader.table(offset, size, count)?;
    let (place, width) = if reader.wide { (24, 32) } else { (16, 20) };
    let names = reader.word(sections.get(header.names)?, place)?;
    for section in &sections {
        if long(section, 4)? != SHT_NOTE {
            continue;
        }
        let name = reader.some(names.checked_add(long(section, 0)?.into())?, COMPAT_SECTION.len())?;
        if name != COMPAT_SECTION {
            continue;
        }
        let (offset, length) = (reader.word(section, place)?, reader.word(section, width)?);
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= MAX_NOTE)?;
        let align = reader.word(section, if reader.wide { 48 } else { 32 })?;
        let note = reader.bytes(offset, length)?;
        return note_text(&note, align).and_then(|text| serde_json::from_slice(text).ok());
    }
    None
}

/// The description of a note (elf(5), "Notes (Nhdr)"), without the zeros around it.
fn note_text(note: &[u8], align: u64) -> Option<&[u8]> {
    let align = usize::try_from(align.max(1)).ok()?;
    let (name, text) = (
        usize::try_from(long(note, 0)?).ok()?,
        usize::try_from(long(note, 4)?).ok()?,
    );
    let start = name.checked_next_multiple_of(align)?.checked_add(12)?;
    let owner = note.get(12..12usize.checked_add(name)?)?;
    let trimmed = |bytes: &[u8]| {
        bytes
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last + 1)
    };
    if owner.get(..trimmed(owner))? != COMPAT_OWNER {
        return None;
    }
    let text = note.get(start..start.checked_add(text)?.min(note.len()))?;
    text.get(..trimmed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This test's own program is position-independent, so it is one that can be read.
    fn own() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn cut_off_and_changed_files_are_refused_or_read_but_never_panic() {
        let whole = own();
        let head = &whole[..whole.len().min(8192)];
        for length in (0..head.len()).step_by(7) {
            let _ = library(&head[..length]);
            let _ = compat_note(&head[..length]);
        }
        let mut changed = head.to_vec();
        let mut state = 1u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = usize::try_from(state >> 33).unwrap() % 512.min(changed.len());
            changed[at] = state.to_le_bytes()[7];
            let _ = library(changed.as_slice());
            let _ = compat_note(changed.as_slice());
        }
    }

    #[test]
    fn what_is_no_library_has_no_name() {
        for bytes in [&b""[..], b"\x7fELF", b"/* GNU ld script */", &[0; 4096]] {
            assert_eq!(library(bytes), None);
        }
    }

    #[test]
    fn the_note_of_a_compatibility_library_is_json_behind_its_owner() {
        let text = br#"{"Format":1,"CUDA Version":"13.0","Driver":[535,550],"Device":[1]}"#;
        let mut note = Vec::new();
        note.extend(19u32.to_le_bytes());
        note.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        note.extend(1u32.to_le_bytes());
        note.extend(b"NVIDIA Corporation\0\0");
        note.extend(text);
        assert_eq!(note_text(&note, 4), Some(&text[..]));
        let read: CompatNote = serde_json::from_slice(note_text(&note, 4).unwrap()).unwrap();
        assert_eq!(
            (read.cuda_version.as_str(), read.drivers),
            ("13.0", vec![535, 550])
        );
        note[12] = b'M';
        assert_eq!(note_text(&note, 4), None);
    }
}
