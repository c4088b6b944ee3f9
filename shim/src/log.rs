//! Messages for containerd's log: lines in the form of logfmt, into the fifo `log` of the first bundle.
//!
//! A message is lost rather than waited for: nobody may be there to read.

use std::fmt::Display;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags};

/// Where messages go.
#[derive(Debug)]
pub(crate) struct Log {
    fifo: Option<File>,
    id: String,
    debug: bool,
}

impl Log {
    /// Opens the fifo of the bundle that is the working directory. Both ways, so that neither the opening nor a message
    /// depends on a reader.
    pub(crate) fn open(id: &str, debug: bool) -> Self {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fifo: Option<OwnedFd> = rustix::fs::open("log", flags, Mode::empty()).ok();
        Self {
            fifo: fifo.map(File::from),
            id: id.to_owned(),
            debug,
        }
    }

    /// Something that a person should look at.
    pub(crate) fn warn(&self, message: impl Display) {
        self.line("warning", &message);
    }

    /// Something that went wrong and that no caller hears of.
    pub(crate) fn error(&self, message: impl Display) {
        self.line("error", &message);
    }

    /// What happens, where containerd was asked to tell it.
    pub(crate) fn debug(&self, message: impl Display) {
        if self.debug {
            self.line("debug", &message);
        }
    }

    fn line(&self, level: &str, message: &dyn Display) {
        let time = runtime_core::time::to_the_nanosecond(SystemTime::now());
        let text = format!(
            "time=\"{time}\" level={level} msg={:?} shim={:?}\n",
            message.to_string(),
            self.id
        );
        if let Some(mut fifo) = self.fifo.as_ref() {
            let _ = fifo.write_all(text.as_bytes());
        }
    }
}
