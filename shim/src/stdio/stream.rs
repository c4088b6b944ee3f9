//! One direction of copying between two descriptors that never wait.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Where a stream leads.
#[derive(Debug)]
pub(crate) enum Sink {
    /// A pipe or terminal, whose room can be waited for.
    Pipe(OwnedFd),
    /// A fifo that is open both ways, so that it stays whole while nobody reads.
    Fifo(OwnedFd),
    /// A file, which always takes what it gets.
    File(OwnedFd),
}

impl Sink {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Pipe(fd) | Self::Fifo(fd) | Self::File(fd) => fd.as_fd(),
        }
    }
}

/// What a stream waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Something to read.
    Input,
    /// Room to write.
    Output,
    /// Nothing: it has ended.
    Nothing,
}

/// Pieces that are copied before others have their turn.
const TURN: usize = 8;

/// A stream.
#[derive(Debug)]
pub(crate) struct Stream {
    from: OwnedFd,
    to: Sink,
    /// Read and not yet written.
    pending: Vec<u8>,
    /// The last writer is known to be gone: what is there now is all.
    last: bool,
    /// Bytes that were written.
    written: u64,
}

impl Stream {
    pub(crate) fn new(from: OwnedFd, to: Sink) -> Self {
        Self {
            from,
            to,
            pending: Vec::new(),
            last: false,
            written: 0,
        }
    }

    /// What is there now is all that is to be copied.
    pub(crate) fn end(&mut self) {
        self.last = true;
    }

    /// No reader comes any more that is not there: a fifo without one is given up (EPIPE), which our own reading end would
    /// hide. The stream must not be in an epoll meanwhile.
    pub(crate) fn let_go(&mut self) {
        let Sink::Fifo(both) = &self.to else { return };
        // Opened before the other one is closed, or a reader would see the end in between; the fifo's name may be gone.
        let path = format!("/proc/self/fd/{}", both.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        if let Ok(one_way) = rustix::fs::open(path, flags, Mode::empty()) {
            self.to = Sink::Pipe(one_way);
        }
    }

    /// Bytes that were written.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// The descriptor to wait for.
    pub(crate) fn source(&self, wait: Wait) -> BorrowedFd<'_> {
        match wait {
            Wait::Output => self.to.fd(),
            Wait::Input | Wait::Nothing => self.from.as_fd(),
        }
    }

    /// Copies what goes without waiting, and says what to wait for.
    pub(crate) fn copy(&mut self, scratch: &mut [u8]) -> Wait {
        for _ in 0..TURN {
            if !self.pending.is_empty() {
                let pending = std::mem::take(&mut self.pending);
                match self.write(&pending) {
                    Wait::Input => {}
                    other => return other,
                }
            }
            match rustix::io::read(&self.from, &mut *scratch) {
                Ok(0) => return Wait::Nothing,
                Ok(count) => match self.write(&scratch[..count]) {
                    Wait::Input => {}
                    other => return other,
                },
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.last => return Wait::Nothing,
                Err(Errno::AGAIN) => return Wait::Input,
                // EIO: the last program has closed the terminal.
                Err(_) => return Wait::Nothing,
            }
        }
        Wait::Input
    }

    /// Input: all was taken; Output: the rest is pending; Nothing: nobody takes it any more.
    fn write(&mut self, mut bytes: &[u8]) -> Wait {
        while !bytes.is_empty() {
            match rustix::io::write(self.to.fd(), bytes) {
                Ok(count) => {
                    bytes = &bytes[count..];
                    self.written += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.pending = bytes.to_vec();
                    return Wait::Output;
                }
                Err(_) => return Wait::Nothing,
            }
        }
        Wait::Input
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdio::{never_wait, pipe};

    fn sample(at: usize) -> u8 {
        u8::try_from(at % 251).unwrap()
    }

    #[test]
    fn a_full_pipe_is_waited_for_and_nothing_is_lost() {
        let (source, feed) = pipe().unwrap();
        let (drain, sink) = pipe().unwrap();
        for fd in [&source, &sink, &feed, &drain] {
            never_wait(fd).unwrap();
        }
        let mut stream = Stream::new(source, Sink::Pipe(sink));
        let mut scratch = vec![0; 32 << 10];
        let (mut sent, mut got) = (0_usize, Vec::new());
        let mut blocked = false;
        for _ in 0..10_000 {
            if sent < 300_000 {
                let piece: Vec<u8> = (sent..300_000.min(sent + 5000)).map(sample).collect();
                if let Ok(count) = rustix::io::write(&feed, &piece) {
                    sent += count;
                }
            }
            if stream.copy(&mut scratch) == Wait::Output {
                blocked = true;
                let count = rustix::io::read(&drain, &mut scratch).unwrap();
                got.extend_from_slice(&scratch[..count]);
            }
        }
        while let Ok(count) = rustix::io::read(&drain, &mut scratch) {
            got.extend_from_slice(&scratch[..count]);
            stream.copy(&mut scratch);
        }
        assert!(blocked);
        assert_eq!(got.len(), 300_000);
        assert!(got.iter().enumerate().all(|(at, byte)| *byte == sample(at)));
    }

    #[test]
    fn it_ends_with_the_last_writer_or_when_it_is_told_that_there_is_none() {
        let (source, feed) = pipe().unwrap();
        let (_drain, sink) = pipe().unwrap();
        never_wait(&source).unwrap();
        let mut stream = Stream::new(source, Sink::Pipe(sink));
        let mut scratch = [0; 64];
        assert_eq!(stream.copy(&mut scratch), Wait::Input);
        stream.end();
        assert_eq!(stream.copy(&mut scratch), Wait::Nothing);
        drop(feed);
        assert_eq!(stream.copy(&mut scratch), Wait::Nothing);
    }

    #[test]
    fn what_is_held_up_ends_with_its_reader_once_there_is_nothing_more_to_come() {
        let (source, feed) = pipe().unwrap();
        let (reader, sink) = pipe().unwrap();
        // A pipe's end, opened both ways as a fifo's name is.
        let path = format!("/proc/self/fd/{}", sink.as_raw_fd());
        let both = rustix::fs::open(path, OFlags::RDWR | OFlags::NONBLOCK, Mode::empty()).unwrap();
        drop(sink);
        for fd in [&source, &feed] {
            never_wait(fd).unwrap();
        }
        let mut stream = Stream::new(source, Sink::Fifo(both));
        let mut scratch = vec![0; 32 << 10];
        let mut wait = Wait::Input;
        while wait != Wait::Output {
            rustix::io::write(&feed, &[7; 4096]).unwrap();
            wait = stream.copy(&mut scratch);
        }
        let written = stream.written();
        assert!(written >= 4096);
        drop(feed);
        // A reader that is there still gets everything, and does not see an end before it.
        stream.end();
        stream.let_go();
        assert_eq!(stream.copy(&mut scratch), Wait::Output);
        assert_eq!(stream.written(), written);
        rustix::io::read(&reader, &mut scratch).unwrap();
        stream.copy(&mut scratch);
        assert!(stream.written() > written);
        drop(reader);
        assert_eq!(stream.copy(&mut scratch), Wait::Nothing);
    }
}
