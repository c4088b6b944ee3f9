//! The parent's end of the report socket: frames in, commands out, descriptors beside both; and the other unix sockets of a
//! launch, to be started by and to hand a terminal over.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use runtime_core_program::{Command, FRAME_LEN, Frame, FrameKind};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::error::{Error, ErrorKind, Result};
use crate::lower::above_standard;
use crate::record::START_SOCKET;

/// A frame and what came with it.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) frame: Frame,
    pub(crate) fd: Option<OwnedFd>,
}

/// A connection to init.
#[derive(Debug)]
pub(crate) struct Link(OwnedFd);

impl Link {
    /// A pair: the parent's end and the descriptor that init inherits.
    pub(crate) fn pair() -> Result<(Self, OwnedFd)> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|errno| Error::os("socketpair(AF_UNIX, SOCK_SEQPACKET)", errno))?;
        Ok((Self(ours), above_standard(theirs)?))
    }

    /// A connection that exists already.
    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The next frame; None at the end of file.
    ///
    /// # Errors
    /// System; Internal where the bytes are no frame.
    pub(crate) fn receive(&self) -> Result<Option<Report>> {
        let mut bytes = [0; FRAME_LEN];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let result = rustix::net::recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            );
            match result {
                Err(Errno::INTR) => {}
                // A peer that ended with unread commands: the same as its end.
                Err(Errno::CONNRESET) => return Ok(None),
                Err(errno) => return Err(Error::os("recvmsg(report socket)", errno)),
                Ok(received) => break received,
            }
        };
        if received.bytes == 0 {
            return Ok(None);
        }
        let fd = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let frame = (received.bytes == FRAME_LEN)
            .then(|| Frame::decode(&bytes))
            .flatten()
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Internal,
                    format!("init sent {} bytes that are no frame", received.bytes),
                )
            })?;
        Ok(Some(Report { frame, fd }))
    }

    /// Waits for this kind of frame.
    ///
    /// # Errors
    /// As [`Link::receive`]. The inner error is the report that init failed, or None where init is gone.
    pub(crate) fn expect(&self, kind: FrameKind) -> Result<Result<Report, Option<Report>>> {
        match self.receive()? {
            Some(report) if report.frame.kind == kind => Ok(Ok(report)),
            Some(report) if report.frame.kind == FrameKind::Failed => Ok(Err(Some(report))),
            Some(Report { frame, .. }) => Err(Error::new(
                ErrorKind::Internal,
                format!(
                    "init said {:?} at line {} where {kind:?} was due",
                    frame.kind, frame.line
                ),
            )),
            None => Ok(Err(None)),
        }
    }

    /// Lets init go on, with a descriptor where it asked for one.
    ///
    /// # Errors
    /// System; a peer that is gone (EPIPE) is found by the next [`Link::receive`].
    pub(crate) fn go(&self, fd: Option<BorrowedFd<'_>>) -> Result<()> {
        let bytes = Command::Go.encode();
        match send(&self.0, &bytes, fd) {
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(Error::os("sendmsg(report socket)", errno)),
        }
    }
}

/// Sends bytes and perhaps a descriptor as one message.
pub(crate) fn send(socket: &impl AsFd, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = fd.as_slice();
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(
            socket,
            &[IoSlice::new(bytes)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )
    })
    .map(drop)
}

/// Sends a descriptor to the listener of a unix socket.
pub(crate) fn send_to(socket: &str, name: &[u8], fd: BorrowedFd<'_>) -> Result<()> {
    let stream = std::os::unix::net::UnixStream::connect(socket)
        .map_err(|error| Error::os(format!("connect({socket:?})"), error))?;
    send(&stream, name, Some(fd)).map_err(|errno| Error::os(format!("sendmsg({socket:?})"), errno))
}

/// A socket of the kind that start talks over.
pub(crate) fn start_socket() -> Result<OwnedFd> {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| Error::os("socket(AF_UNIX, SOCK_SEQPACKET)", errno))
}

/// A socket named `start.sock` that listens, in the directory behind `short`.
pub(crate) fn listener(short: &Path) -> Result<OwnedFd> {
    let socket = start_socket()?;
    let address = SocketAddrUnix::new(short).map_err(|errno| Error::os(format!("bind({short:?})"), errno))?;
    let os = |call: &str, errno: Errno| Error::os(format!("{call}({START_SOCKET:?})"), errno);
    rustix::net::bind(&socket, &address).map_err(|errno| os("bind", errno))?;
    rustix::net::listen(&socket, 8).map_err(|errno| os("listen", errno))?;
    Ok(socket)
}
