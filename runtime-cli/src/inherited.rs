//! Descriptors that the caller of this program passes on to the container: socket activation and --preserve-fds.
//!
//! A bare number becomes an owned descriptor by pidfd_getfd(2) on ourselves: safe and without /proc. Which numbers are
//! open is told by the kernel's rule that a new descriptor takes the lowest that is not.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};

use runtime_core::{Error, ErrorKind, Result};
use rustix::fs::OFlags;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// The first descriptor after standard error.
const FIRST: i32 = 3;

/// What is passed on.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// The descriptors, sockets of LISTEN_FDS first.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// How many are sockets.
    pub(crate) listen: u32,
    /// LISTEN_FDNAMES.
    pub(crate) listen_names: Option<String>,
    /// What --status-fd names.
    pub(crate) status: Option<OwnedFd>,
}

impl Inherited {
    /// Takes the sockets that sd_listen_fds(3) describes and `preserve` descriptors after them. Must come before this
    /// program opens anything: what it opens takes the lowest number that is free.
    pub(crate) fn collect(preserve: u32) -> Result<Self> {
        let variable = |name| std::env::var(name).ok();
        let listen = sockets(
            variable("LISTEN_PID"),
            variable("LISTEN_FDS"),
            getpid().as_raw_pid(),
        )?;
        let end = u64::from(listen) + u64::from(preserve) + u64::from(FIRST.unsigned_abs());
        let end = i32::try_from(end).map_err(|_| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!("--preserve-fds {preserve}: more than a process can have"),
            )
        })?;
        if end == FIRST {
            return Ok(Self::default());
        }
        let ourselves = pidfd_open(getpid(), PidfdFlags::empty())
            .map_err(|errno| Error::os(format!("pidfd_open({})", getpid()), errno))?;
        let lowest_free = ourselves.as_raw_fd();
        if lowest_free < end {
            return Err(closed(lowest_free, listen, preserve));
        }
        let descriptors = (FIRST..end).map(|number| {
            pidfd_getfd(&ourselves, number, PidfdGetfdFlags::empty())
                .map_err(|errno| Error::os(format!("pidfd_getfd(self, {number})"), errno))
        });
        let listen_names = variable("LISTEN_FDNAMES").filter(|_| listen > 0);
        Ok(Self {
            descriptors: descriptors.collect::<Result<_>>()?,
            listen,
            listen_names,
            status: None,
        })
    }
}

/// Takes over the descriptor that --status-fd names, for writing; -1 names none. With the number closed, who reads it sees its
/// end when what comes back is closed. Must come before this program opens anything.
///
/// # Errors
/// It is no number, not open, or not for writing.
pub(crate) fn status(value: Option<&OsStr>) -> Result<Option<OwnedFd>> {
    let Some(value) = value.filter(|value| *value != "-1") else {
        return Ok(None);
    };
    let wrong = |why: &str| {
        let message = format!("invalid --status-fd argument {}: {why}", value.to_string_lossy());
        Error::new(ErrorKind::InvalidArgument, message)
    };
    let number = value.to_str().and_then(|text| text.parse().ok());
    let number: i32 = number
        .filter(|number| *number >= 0)
        .ok_or_else(|| wrong("allowed is the number of a descriptor that is open, or -1"))?;
    let ourselves = pidfd_open(getpid(), PidfdFlags::empty())
        .map_err(|errno| Error::os(format!("pidfd_open({})", getpid()), errno))?;
    if ourselves.as_raw_fd() == number {
        return Err(wrong("the descriptor is not open"));
    }
    let fd = pidfd_getfd(&ourselves, number, PidfdGetfdFlags::empty())
        .map_err(|errno| wrong(&runtime_core::error::strerror(errno.raw_os_error())))?;
    let flags = rustix::fs::fcntl_getfl(&fd).map_err(|errno| Error::os("fcntl(F_GETFL)", errno))?;
    if !flags.intersects(OFlags::WRONLY | OFlags::RDWR) {
        return Err(wrong("not writable"));
    }
    nix::unistd::close(number).map_err(|errno| Error::os(format!("close({number})"), errno))?;
    Ok(Some(fd))
}

/// How many sockets the environment announces to us: none when it speaks to another process.
fn sockets(pid: Option<String>, count: Option<String>, ours: i32) -> Result<u32> {
    let Some(count) = count.filter(|_| pid.is_some_and(|pid| pid.parse() == Ok(ours))) else {
        return Ok(0);
    };
    count.parse().map_err(|_| {
        let message = format!("invalid value {count:?} for $LISTEN_FDS: allowed: the number of sockets");
        Error::new(ErrorKind::InvalidArgument, message)
    })
}

/// A descriptor of the range is not there.
fn closed(number: i32, listen: u32, preserve: u32) -> Error {
    let last = i64::from(FIRST - 1) + i64::from(listen) + i64::from(preserve);
    let message = format!("--preserve-fds {preserve}, $LISTEN_FDS {listen}: descriptor {number} is not open");
    Error::new(ErrorKind::InvalidArgument, message)
        .with_hint(format!("every descriptor from {FIRST} to {last} must be open"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_ours_only_with_our_pid() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(sockets(text("7"), text("2"), 7).ok(), Some(2));
        assert_eq!(sockets(text("8"), text("2"), 7).ok(), Some(0));
        assert_eq!(sockets(None, text("2"), 7).ok(), Some(0));
        assert_eq!(sockets(text("7"), None, 7).ok(), Some(0));
        let error = sockets(text("7"), text("two"), 7)
            .expect_err("not a number")
            .to_string();
        assert!(error.contains("$LISTEN_FDS") && error.contains("two"), "{error}");
    }

    #[test]
    fn a_status_descriptor_must_be_open_and_writable() {
        assert!(matches!(status(None), Ok(None)));
        assert!(matches!(status(Some("-1".as_ref())), Ok(None)));
        let (reader, _writer) = rustix::pipe::pipe().expect("a pipe");
        let reader = reader.as_raw_fd().to_string();
        for wrong in ["x", "-2", "1000000", reader.as_str()] {
            let error = status(Some(wrong.as_ref())).expect_err(wrong).to_string();
            assert!(error.contains("--status-fd") && error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn a_closed_descriptor_is_named() {
        let error = Inherited::collect(4000)
            .expect_err("nobody has that many")
            .to_string();
        assert!(
            error.contains("--preserve-fds 4000") && error.contains("is not open"),
            "{error}"
        );
    }
}
