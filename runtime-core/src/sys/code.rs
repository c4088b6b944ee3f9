//! Giving back the pages of a program's code that are mapped and not used.
#![allow(unsafe_code, reason = "madvise(2) of mappings that are found in /proc")]

use std::io;

/// A mapping of a file that nobody can write through and nobody has: all of it can be had again from the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CodeMapping {
    start: usize,
    end: usize,
}

impl CodeMapping {
    /// Bytes.
    pub(crate) fn len(self) -> usize {
        self.end - self.start
    }

    /// The mappings of `text`, the content of /proc/self/smaps, that are of the file `program` and unchanged.
    pub(crate) fn all(text: &str, program: &str) -> Vec<Self> {
        let mut found = Vec::new();
        let mut current = None;
        for line in text.lines() {
            if let Some(mapping) = head(line, program) {
                current = mapping;
            } else if let (Some(mapping), Some(size)) = (current, line.strip_prefix("Anonymous:")) {
                // Pages that were written once, as relocations are before the mapping becomes read-only, are not in the
                // file.
                if size.trim() == "0 kB" {
                    found.push(mapping);
                }
                current = None;
            }
        }
        found
    }

    /// madvise(MADV_DONTNEED).
    ///
    /// # Errors
    /// What the call said.
    pub(crate) fn release(self) -> io::Result<()> {
        let start = std::ptr::with_exposed_provenance_mut(self.start);
        // SAFETY: the range is a private mapping of a file, not writable and without a changed page (see `all`): what is
        // read from it afterwards comes from the file and is the same. Code that runs in it goes on.
        // JUSTIFICATION: rustix and nix offer the call as unsafe too.
        let result = unsafe { libc::madvise(start, self.len(), libc::MADV_DONTNEED) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// The first line of a mapping: Some(None) for one that is not meant, None for a line of another kind.
fn head(line: &str, program: &str) -> Option<Option<CodeMapping>> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    let (start, end) = (number(start)?, number(end)?);
    let permissions = words.next()?;
    let path = words.nth(3).unwrap_or_default();
    let meant = permissions.starts_with('r') && permissions.ends_with('p') && !permissions.contains('w');
    Some((meant && path == program && start < end).then_some(CodeMapping { start, end }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
00200000-002f5000 r--p 00000000 fe:00 77 /bin/shim
Size:                980 kB
Anonymous:             0 kB
002f5000-00634000 r-xp 000f4000 fe:00 77 /bin/shim
Anonymous:             0 kB
00634000-0063a000 r--p 00432000 fe:00 77 /bin/shim
Anonymous:            12 kB
0063a000-0063d000 rw-p 00437000 fe:00 77 /bin/shim
Anonymous:             0 kB
7f00000000-7f00001000 r--p 00000000 fe:00 78 /lib/other
Anonymous:             0 kB
7f00002000-7f00003000 r--s 00000000 fe:00 77 /bin/shim
Anonymous:             0 kB
";

    #[test]
    fn what_was_written_or_can_be_is_left_alone() {
        let found = CodeMapping::all(SMAPS, "/bin/shim");
        let expected = [(0x20_0000, 0x2f_5000), (0x2f_5000, 0x63_4000)];
        assert_eq!(found, expected.map(|(start, end)| CodeMapping { start, end }));
    }
}
