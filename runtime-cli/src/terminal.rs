//! The caller's terminal and the container's: raw mode with its undoing, size, and the bytes between them.
//!
//! The master is edge-triggered in an epoll of its own, which is polled in turn: a master that nobody holds the other
//! end of is always "hung up", and a plain poll would spin until a program (a getty, an init) opens it again.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, Once, PoisonError};

use runtime_core::{Error, ErrorKind, Result};
use rustix::event::epoll;
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
use rustix::io::{Errno, read, write};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{
    OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

/// Bytes that move at once: no more than a pipe takes without blocking when poll says that it is writable.
const CHUNK: usize = 4096;
/// The most that is read after the program's end: a pty buffers less, and who still writes must not keep us here.
const LAST: usize = 256 * 1024;

/// The caller's terminal as it was, to be restored by whatever ends this program.
static BEFORE: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

/// Undoes raw mode; harmless when there is nothing to undo.
fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((tty, settings)) = before {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(&tty, OptionalActions::Now, &settings);
    }
}

/// Bytes on their way.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    sent: usize,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Reads into the empty buffer.
    fn fill(&mut self, from: BorrowedFd<'_>) -> rustix::io::Result<usize> {
        self.bytes.resize(CHUNK, 0);
        self.sent = 0;
        let result = read(from, &mut self.bytes[..]);
        self.bytes.truncate(*result.as_ref().unwrap_or(&0));
        result
    }

    /// Writes what one call takes.
    fn empty(&mut self, to: BorrowedFd<'_>) -> rustix::io::Result<()> {
        self.sent += write(to, &self.bytes[self.sent..])?;
        Ok(())
    }

    /// Drops what is left: nobody takes it any more.
    fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
    }
}

/// Both terminals and what is between them.
#[derive(Debug)]
pub(crate) struct Terminal {
    master: OwnedFd,
    edges: OwnedFd,
    host: Option<OwnedFd>,
    /// The caller's is to be restored by this value.
    is_raw: Cell<bool>,
    readable: bool,
    writable: bool,
    input_open: bool,
    output_open: bool,
    to_app: Pending,
    to_caller: Pending,
}

impl Terminal {
    /// Takes the master before the program starts, and gives it the caller's size.
    pub(crate) fn new(master: Option<OwnedFd>) -> Result<Self> {
        let master =
            master.ok_or_else(|| Error::new(ErrorKind::Internal, "the container has no terminal to take"))?;
        prepare(master.as_fd())?;
        let flags = fcntl_getfl(&master).map_err(|errno| Error::os("fcntl(master, F_GETFL)", errno))?;
        fcntl_setfl(&master, flags | OFlags::NONBLOCK)
            .map_err(|errno| Error::os("fcntl(master, F_SETFL, O_NONBLOCK)", errno))?;
        let edges = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|errno| Error::os("epoll_create1()", errno))?;
        let flags =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::HUP | epoll::EventFlags::ET;
        epoll::add(&edges, &master, epoll::EventData::new_u64(0), flags)
            .map_err(|errno| Error::os("epoll_ctl(EPOLL_CTL_ADD, master)", errno))?;
        Ok(Self {
            master,
            edges,
            host: host_terminal(),
            is_raw: Cell::new(false),
            readable: true,
            writable: true,
            input_open: true,
            output_open: true,
            to_app: Pending::default(),
            to_caller: Pending::default(),
        })
    }

    /// Makes the caller's terminal a plain wire: the container's terminal does the editing and the signals. Without a
    /// terminal of the caller there is nothing to do.
    pub(crate) fn make_raw(&self) -> Result<()> {
        let Some(host) = &self.host else { return Ok(()) };
        let before = tcgetattr(host).map_err(|errno| Error::os("tcgetattr(terminal)", errno))?;
        let copy = host
            .try_clone()
            .map_err(|error| Error::os("fcntl(terminal, F_DUPFD_CLOEXEC)", error))?;
        let mut raw = before.clone();
        raw.make_raw();
        if !isatty(stdout()) {
            // Others in the caller's pipeline write to this terminal as usual.
            raw.output_modes = before.output_modes;
        }
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some((copy, before));
        self.is_raw.set(true);
        static PANIC: Once = Once::new();
        PANIC.call_once(|| {
            let report = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                report(panic);
            }));
        });
        tcsetattr(host, OptionalActions::Now, &raw)
            .map_err(|errno| Error::os("tcsetattr(terminal, raw)", errno))
    }

    /// Gives the container's terminal the size of the caller's.
    pub(crate) fn resize(&self) {
        if let Some(host) = &self.host {
            copy_size(host.as_fd(), self.master.as_fd());
        }
    }

    /// Readable when the master has changed.
    pub(crate) fn edges(&self) -> BorrowedFd<'_> {
        self.edges.as_fd()
    }

    /// The caller's input, while there is room for it.
    pub(crate) fn wanted_input(&self) -> Option<BorrowedFd<'_>> {
        (self.input_open && self.to_app.is_empty()).then(stdin)
    }

    /// The caller's output, while there is something for it.
    pub(crate) fn wanted_output(&self) -> Option<BorrowedFd<'_>> {
        (!self.to_caller.is_empty()).then(stdout)
    }

    /// Whether the master may have more right now: poll must not wait then, for the edge has been.
    pub(crate) fn busy(&self) -> bool {
        self.readable && self.to_caller.is_empty()
    }

    /// Moves what the master gives and takes at once.
    pub(crate) fn pump(&mut self) {
        let mut events = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }];
        let nothing = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        if matches!(epoll::wait(&self.edges, &mut events, Some(&nothing)), Ok(count) if count > 0) {
            self.readable = true;
            self.writable = true;
        }
        while self.busy() {
            match self.to_caller.fill(self.master.as_fd()) {
                Ok(1..) if self.output_open => {}
                Ok(1..) => {
                    // One piece a round: a program that never stops writing must not keep its signals away.
                    self.to_caller.clear();
                    break;
                }
                Err(Errno::INTR) => {}
                // EAGAIN: nothing for now. EIO: nobody holds the other end for now.
                Ok(0) | Err(_) => self.readable = false,
            }
        }
        while self.writable && !self.to_app.is_empty() {
            match self.to_app.empty(self.master.as_fd()) {
                Ok(()) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.writable = false,
                Err(_) => self.to_app.clear(),
            }
        }
    }

    /// Reads the caller's input and writes to its output where poll said so.
    pub(crate) fn transfer(&mut self, input: bool, output: bool) {
        if input && self.to_app.is_empty() {
            match self.to_app.fill(stdin()) {
                Ok(1..) | Err(Errno::INTR | Errno::AGAIN) => {}
                Ok(0) | Err(_) => self.input_open = false,
            }
        }
        if output {
            self.write_out();
        }
    }

    fn write_out(&mut self) {
        match self.to_caller.empty(stdout()) {
            Ok(()) | Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => {
                // The program goes on without a reader, as it would with a terminal that nobody looks at.
                self.output_open = false;
                self.to_caller.clear();
            }
        }
    }

    /// Writes what the program left behind, and gives the caller its terminal back.
    pub(crate) fn finish(mut self) {
        let mut left = LAST;
        self.readable = true;
        while self.output_open && left > 0 {
            while !self.to_caller.is_empty() {
                let waits = self.to_caller.sent;
                self.write_out();
                if self.output_open && self.to_caller.sent == waits && !wait_writable() {
                    return;
                }
            }
            self.pump();
            left = left.saturating_sub(self.to_caller.bytes.len());
            if self.to_caller.is_empty() {
                break;
            }
        }
    }
}

/// Waits until standard output takes something; false when it never will.
fn wait_writable() -> bool {
    let output = stdout();
    let mut fds = [rustix::event::PollFd::new(&output, rustix::event::PollFlags::OUT)];
    matches!(rustix::event::poll(&mut fds, None), Ok(_) | Err(Errno::INTR))
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.is_raw.get() {
            restore();
        }
    }
}

/// Makes a container's terminal fit the caller's, before the program sees it: the size, and the end of lines.
pub(crate) fn prepare(master: BorrowedFd<'_>) -> Result<()> {
    if !isatty(stdout()) {
        // A pipe or a file wants \n as the program wrote it, not \r\n. A terminal in raw mode needs the \r.
        let mut settings = tcgetattr(master).map_err(|errno| Error::os("tcgetattr(master)", errno))?;
        settings.output_modes -= OutputModes::ONLCR;
        tcsetattr(master, OptionalActions::Now, &settings)
            .map_err(|errno| Error::os("tcsetattr(master, -ONLCR)", errno))?;
    }
    if let Some(host) = host_terminal() {
        copy_size(host.as_fd(), master);
    }
    Ok(())
}

fn copy_size(from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
    if let Ok(size) = tcgetwinsize(from) {
        // Either may be gone already; the size of what is gone does not matter.
        let _ = tcsetwinsize(to, size);
    }
}

/// The caller's terminal: whichever standard descriptor is one, else the controlling terminal.
fn host_terminal() -> Option<OwnedFd> {
    let standard = [stderr(), stdout(), stdin()]
        .into_iter()
        .find(|descriptor| isatty(descriptor));
    match standard {
        Some(descriptor) => descriptor.try_clone_to_owned().ok(),
        None => open(
            "/dev/tty",
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .ok(),
    }
}

#[cfg(test)]
#[path = "terminal_tests.rs"]
mod tests;
