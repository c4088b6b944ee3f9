//! Files read as a whole, in few calls.
//!
//! std's reader begins with pieces of 32 bytes where a file does not tell its size, as none in /proc does: nine calls for
//! what fits into one. A command of a runtime is so short that this counts.

use std::os::fd::AsFd;

use rustix::io::Errno;

/// Enough for what a runtime reads as a rule.
const PIECE: usize = 16 << 10;

/// All that is left to read, or the first `limit` bytes of it.
///
/// # Errors
/// read(2) fails.
pub(crate) fn read(fd: impl AsFd, limit: u64) -> Result<Vec<u8>, Errno> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut content = Vec::new();
    let mut piece = [0u8; PIECE];
    while content.len() < limit {
        let wanted = PIECE.min(limit - content.len());
        match rustix::io::read(&fd, &mut piece[..wanted]) {
            Ok(0) => break,
            Ok(length) => content.extend_from_slice(&piece[..length]),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(length: usize) -> std::fs::File {
        use std::io::{Seek, Write};
        let memory = rustix::fs::memfd_create("whole", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = std::fs::File::from(memory);
        let bytes: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
        file.write_all(&bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn all_of_it_or_the_limit() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 7] {
            let read = read(file(length), u64::MAX).unwrap();
            assert_eq!(read.len(), length);
            assert!(
                read.iter()
                    .enumerate()
                    .all(|(at, byte)| usize::from(*byte) == at % 251)
            );
        }
        for limit in [0, 1, PIECE, PIECE + 1] {
            assert_eq!(read(file(2 * PIECE), limit as u64).unwrap().len(), limit);
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let directory = std::fs::File::open("/").unwrap();
        assert_eq!(read(directory, u64::MAX), Err(Errno::ISDIR));
    }
}
