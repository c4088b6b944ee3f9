//! CRIU, asked over its socket: one process for one checkpoint or restore (`criu swrk`, criu(8); images/rpc.proto).
//!
//! Here: the process, the conversation, and the words for a failure. What is asked for is decided in `ops/checkpoint.rs` and
//! `ops/restore.rs`; how messages are written is `message.rs`'s and `wire.rs`'s work; `common` makes what both requests share.

mod common;
mod message;
mod mounts;
mod reason;
mod wire;

use std::io::{IoSliceMut, Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
};

pub(crate) use common::{Place, options, program};
pub(crate) use message::{Features, Kind, Options, Response};
#[cfg(feature = "fuzzing")]
pub(crate) use mounts::mount_points;
pub(crate) use mounts::{MASK, cgroup_roots, external_mounts, resolved};

use crate::error::{Error, ErrorKind, Result};
use crate::launch::{send, start_program};
use crate::lower::{Descriptors, above_standard, memfd};
use crate::plan::{CriuProgram, FdName, Plan};
use crate::state::Exit;
use crate::sys::wait;

/// The oldest version that can do what is asked of it: `status-ready`, external pid namespaces.
const OLDEST: u32 = 31_500;
/// From here on a profile of another name is honoured.
pub(crate) const LSM_PROFILES: u32 = 31_600;
/// A response holds a path or two.
const RESPONSE: usize = 64 << 10;
/// How much of what CRIU prints is read.
const PRINTED: u64 = 4 << 10;

/// A notification: the stage, the pid of the container's first process, and the descriptor that came along.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) stage: String,
    pub(crate) pid: i32,
    pub(crate) fd: Option<OwnedFd>,
}

/// Work that failed.
#[derive(Debug)]
pub(crate) enum Failed {
    /// A stage failed on our side.
    Here(Error),
    /// CRIU ended without an answer.
    Silent(Error),
    /// CRIU says so.
    There {
        /// Its answer.
        response: Response,
        /// What it printed.
        printed: String,
    },
}

/// A running CRIU. Dropped, it is told to give up and waited for.
#[derive(Debug)]
pub(crate) struct Criu {
    /// None once it was told that nothing more comes.
    socket: Option<OwnedFd>,
    pidfd: OwnedFd,
    /// What it prints, where that is not the container's.
    printed: Option<OwnedFd>,
    version: u32,
}

/// Both ends of the socket: ours, and CRIU's.
///
/// # Errors
/// System.
pub(crate) fn socket() -> Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| Error::os("socketpair(AF_UNIX, SOCK_SEQPACKET)", errno))?;
    Ok((ours, above_standard(theirs)?))
}

/// Standard descriptors for a CRIU that is alone: nothing to read, and a file for what it prints.
///
/// # Errors
/// System.
pub(crate) fn own_stdio() -> Result<(OwnedFd, OwnedFd)> {
    Ok((memfd(c"criu-input", b"")?, memfd(c"criu-output", b"")?))
}

pub(crate) fn copy(fd: &OwnedFd) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(|errno| Error::os("fcntl(F_DUPFD_CLOEXEC, 3)", errno))
}

impl Criu {
    /// Starts one for a checkpoint.
    ///
    /// # Errors
    /// Unsupported, where CRIU is too old; System.
    pub(crate) fn start(program: &CriuProgram) -> Result<Self> {
        let (ours, theirs) = socket()?;
        let (input, output) = own_stdio()?;
        let mut descriptors = Descriptors::default();
        descriptors.insert(FdName::Criu, theirs)?;
        descriptors.insert(FdName::Standard(0), input)?;
        descriptors.insert(FdName::Standard(1), copy(&output)?)?;
        descriptors.insert(FdName::Standard(2), copy(&output)?)?;
        let child = start_program(&Plan::criu(program)?, descriptors).map_err(not_started)?;
        Self::meet(ours, child.pidfd, Some(output))
    }

    /// The CRIU behind this socket.
    ///
    /// # Errors
    /// Unsupported, where it is too old; System.
    pub(crate) fn meet(socket: OwnedFd, pidfd: OwnedFd, printed: Option<OwnedFd>) -> Result<Self> {
        let mut criu = Self {
            socket: Some(socket),
            pidfd,
            printed,
            version: 0,
        };
        criu.version = criu.ask(&message::version_request())?.version.unwrap_or(0);
        if criu.version < OLDEST {
            let message = format!(
                "criu is {}, {} or newer is needed",
                shown(criu.version),
                shown(OLDEST)
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(criu)
    }

    /// Its descriptor.
    pub(crate) fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Fails where it is older.
    ///
    /// # Errors
    /// Unsupported.
    pub(crate) fn needs(&self, version: u32, what: &str) -> Result<()> {
        if self.version >= version {
            return Ok(());
        }
        let message = format!(
            "{what} needs criu {}, found {}",
            shown(version),
            shown(self.version)
        );
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    /// What it and this kernel can do.
    ///
    /// # Errors
    /// System.
    pub(crate) fn features(&self) -> Result<Features> {
        self.ask(&message::features_request())
            .map(|response| response.features)
    }

    fn ask(&self, request: &[u8]) -> Result<Response> {
        self.send(request)?;
        self.receive().map(|(response, _)| response)
    }

    /// Lets it work, and hears of each stage. A stage that fails here makes CRIU give up.
    ///
    /// # Errors
    /// [`Place::explain`] has the words.
    pub(crate) fn work(
        mut self,
        kind: Kind,
        options: &Options,
        mut stage: impl FnMut(Notice) -> Result<()>,
    ) -> Result<Response, Failed> {
        self.send(&message::request(kind, options))
            .map_err(Failed::Here)?;
        let mut failed = None;
        let response = loop {
            let (response, fd) = match self.receive() {
                Ok(received) => received,
                Err(error) => return Err(failed.map_or(Failed::Silent(error), Failed::Here)),
            };
            let (Some(Kind::Notify), Some((name, pid))) = (response.kind, &response.notify) else {
                break response;
            };
            let notice = Notice {
                stage: name.clone(),
                pid: *pid,
                fd,
            };
            let result = if failed.is_none() { stage(notice) } else { Ok(()) };
            failed = failed.or(result.err());
            self.send(&message::notified(failed.is_none()))
                .map_err(Failed::Here)?;
        };
        let printed = self.printed();
        self.finish();
        match failed {
            Some(error) => Err(Failed::Here(error)),
            None if response.success => Ok(response),
            None => Err(Failed::There { response, printed }),
        }
    }

    fn send(&self, request: &[u8]) -> Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        match send(socket, request, None) {
            // Its end is found by the next receive.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(Error::os("sendmsg(criu)", errno)),
        }
    }

    fn receive(&self) -> Result<(Response, Option<OwnedFd>)> {
        let Some(socket) = &self.socket else {
            return Err(self.ended());
        };
        let mut bytes = vec![0; RESPONSE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut data = [IoSliceMut::new(&mut bytes)];
            match rustix::net::recvmsg(socket, &mut data, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Err(self.ended()),
                Err(errno) => return Err(Error::os("recvmsg(criu)", errno)),
                Ok(received) => break received.bytes,
            }
        };
        let fd = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        if received == 0 {
            return Err(self.ended());
        }
        let response = bytes.get(..received).and_then(Response::parse);
        let response = response.ok_or_else(|| {
            let message = format!("criu sent {received} bytes that are no response of its protocol");
            Error::new(ErrorKind::System, message)
        })?;
        Ok((response, fd))
    }

    fn ended(&self) -> Error {
        let printed = self.printed();
        let colon = if printed.is_empty() { "" } else { ": " };
        Error::new(
            ErrorKind::System,
            format!("criu ended without an answer{colon}{printed}"),
        )
    }

    /// What it printed, in one line.
    fn printed(&self) -> String {
        let Some(file) = self.printed.as_ref().and_then(|fd| copy(fd).ok()) else {
            return String::new();
        };
        let mut file = std::fs::File::from(file);
        let mut bytes = Vec::new();
        let _ = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| (&mut file).take(PRINTED).read_to_end(&mut bytes));
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        lines.join("; ")
    }

    /// Says that nothing more comes, and waits for its end.
    fn finish(&mut self) {
        if self.socket.take().is_some() {
            let _: Exit = wait::exit_of(&self.pidfd);
        }
    }
}

impl Drop for Criu {
    fn drop(&mut self) {
        self.finish();
    }
}

/// What a failure before CRIU's own first word means.
pub(crate) fn not_started(error: Error) -> Error {
    error.during(None).context("criu cannot be started")
}

fn shown(version: u32) -> String {
    format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
}

/// Whether a process is in the caller's namespace of this kind (a name below /proc/PID/ns).
pub(crate) fn shares_namespace(pid: i32, kind: &str) -> bool {
    let inode = |path: String| rustix::fs::stat(path).map(|stat| (stat.st_dev, stat.st_ino));
    let (theirs, ours) = (
        inode(format!("/proc/{pid}/ns/{kind}")),
        inode(format!("/proc/thread-self/ns/{kind}")),
    );
    matches!((theirs, ours), (Ok(theirs), Ok(ours)) if theirs == ours)
}
