//! One socket, read and written without ever waiting.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use prost::Message;

use super::frame::{Frame, FrameKind, HEADER, Response, RpcStatus};
use super::status::Status;

/// Bytes that are read at once.
const PIECE: usize = 8 << 10;
/// Buffers larger than this are given back when they are empty.
const KEEP: usize = 16 << 10;
/// Answers that the other side does not take pile up to this many bytes; then it is given up.
const MOST_UNSENT: usize = 16 << 20;

/// What came in.
#[derive(Debug)]
pub struct Incoming {
    /// Complete frames.
    pub frames: Vec<Frame>,
    /// The other side has closed, or sent what cannot be followed: nothing comes any more.
    pub closed: bool,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    socket: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Connection {
    /// A connection over this socket.
    ///
    /// # Errors
    /// What ioctl(FIONBIO) said.
    pub fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            input: Vec::new(),
            output: Vec::new(),
        })
    }

    /// Reads what is there.
    pub fn receive(&mut self) -> Incoming {
        let mut piece = [0; PIECE];
        let mut closed = false;
        loop {
            match self.socket.read(&mut piece) {
                Ok(0) => closed = true,
                Ok(count) => {
                    self.input.extend_from_slice(&piece[..count]);
                    if count == PIECE {
                        continue;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => closed = error.kind() != io::ErrorKind::WouldBlock,
            }
            break;
        }
        let (frames, broken) = self.frames();
        Incoming {
            frames,
            closed: closed || broken,
        }
    }

    fn frames(&mut self) -> (Vec<Frame>, bool) {
        let mut frames = Vec::new();
        let mut start = 0;
        let broken = loop {
            match Frame::take(&self.input[start..]) {
                Ok(Some((frame, taken))) => {
                    start += taken;
                    frames.push(frame);
                }
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        self.input.drain(..start);
        if self.input.is_empty() && self.input.capacity() > KEEP {
            self.input = Vec::new();
        }
        (frames, broken)
    }

    /// Answers a call and sends as much as goes without waiting.
    pub fn answer(&mut self, stream: u32, result: Result<Vec<u8>, Status>) {
        let of_status = |status: Status| Response {
            status: Some(RpcStatus {
                code: status.code as i32,
                message: status.message,
            }),
            payload: Vec::new(),
        };
        let response = match result {
            Ok(payload) => Response {
                status: None,
                payload,
            },
            Err(status) => of_status(status),
        };
        if let Err(status) = Frame::put(&mut self.output, stream, FrameKind::Response, &response) {
            // A status is short.
            let _ = Frame::put(&mut self.output, stream, FrameKind::Response, &of_status(status));
        }
    }

    /// Sends a call.
    ///
    /// # Errors
    /// It is too long.
    pub fn call(&mut self, stream: u32, request: &impl Message) -> Result<(), Status> {
        Frame::put(&mut self.output, stream, FrameKind::Request, request)
    }

    /// Sends as much as goes without waiting. False: the other side is gone, or takes nothing.
    pub fn send(&mut self) -> bool {
        let mut sent = 0;
        let alive = loop {
            if sent == self.output.len() {
                break true;
            }
            match self.socket.write(&self.output[sent..]) {
                Ok(0) => break false,
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error.kind() == io::ErrorKind::WouldBlock,
            }
        };
        self.output.drain(..sent);
        if self.output.is_empty() && self.output.capacity() > KEEP {
            self.output = Vec::new();
        }
        alive && self.output.len() <= MOST_UNSENT + HEADER
    }

    /// Whether something is left to send.
    pub fn has_unsent(&self) -> bool {
        !self.output.is_empty()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
