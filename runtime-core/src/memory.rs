//! For callers that live long and call rarely.

use crate::error::{Error, Result};
use crate::sys::code::CodeMapping;

/// Gives back the pages of this program's code and constants that are in its address space; gives their number of bytes.
/// What is used again comes from the page cache, at the cost of a page fault for each 64 KiB.
///
/// A create goes through most of the library's code, which then counts as the caller's resident memory for as long as
/// it lives: some 4 MiB. A process of which there is one for each pod calls this when it has been idle for a while.
///
/// # Errors
/// System: /proc is not there, or the kernel refuses.
pub fn release_code() -> Result<usize> {
    let smaps = std::fs::read_to_string("/proc/self/smaps")
        .map_err(|error| Error::os("open(\"/proc/self/smaps\")", error))?;
    let program = std::fs::read_link("/proc/self/exe")
        .map_err(|error| Error::os("readlink(\"/proc/self/exe\")", error))?;
    let mut released = 0;
    for mapping in CodeMapping::all(&smaps, &program.to_string_lossy()) {
        mapping
            .release()
            .map_err(|error| Error::os("madvise(MADV_DONTNEED)", error))?;
        released += mapping.len();
    }
    Ok(released)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_goes_on_without_its_pages() {
        let released = release_code().unwrap();
        assert!(released > 0);
        // Code and constants of the test itself.
        assert_eq!(format!("{released}"), released.to_string());
    }
}
