//! The byte format: length, stream (both big endian, four bytes), kind and flags (one byte each), then the payload.

use prost::Message;

use super::status::{Code, Status};

/// Length of a header in bytes.
pub const HEADER: usize = 10;
/// Most bytes of a payload; the protocol's own limit.
pub const MAX_PAYLOAD: usize = 4 << 20;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A call.
    Request,
    /// The answer to a call.
    Response,
    /// A piece of a stream, or a kind that is not known yet: never answered.
    Other(u8),
}

impl FrameKind {
    fn of(number: u8) -> Self {
        match number {
            1 => Self::Request,
            2 => Self::Response,
            other => Self::Other(other),
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Request => 1,
            Self::Response => 2,
            Self::Other(other) => other,
        }
    }
}

/// A message as it is on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The call that it belongs to: odd numbers, chosen by the caller.
    pub stream: u32,
    /// What it is.
    pub kind: FrameKind,
    /// Bits about streams; 0 for plain calls.
    pub flags: u8,
    /// The message.
    pub payload: Vec<u8>,
}

/// Why bytes are no frame.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong {
    /// The call that it belongs to.
    pub stream: u32,
    /// The length that the header names.
    pub length: usize,
}

impl Frame {
    /// The first frame of `bytes` and how many bytes it takes; None where it is not complete yet.
    ///
    /// # Errors
    /// A length over [`MAX_PAYLOAD`]: the connection cannot be followed any further.
    pub fn take(bytes: &[u8]) -> Result<Option<(Self, usize)>, TooLong> {
        let Some((header, rest)) = bytes.split_at_checked(HEADER) else {
            return Ok(None);
        };
        let number =
            |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let length = number(0) as usize;
        let stream = number(4);
        if length > MAX_PAYLOAD {
            return Err(TooLong { stream, length });
        }
        Ok(rest.get(..length).map(|payload| {
            let frame = Self {
                stream,
                kind: FrameKind::of(header[8]),
                flags: header[9],
                payload: payload.to_vec(),
            };
            (frame, HEADER + length)
        }))
    }

    /// Appends a message as a frame. One that is too long is a fault of ours that the other side must hear of.
    ///
    /// # Errors
    /// [`Code::ResourceExhausted`].
    pub fn put(
        out: &mut Vec<u8>,
        stream: u32,
        kind: FrameKind,
        message: &impl Message,
    ) -> Result<(), Status> {
        let length = message.encoded_len();
        let short = u32::try_from(length).ok().filter(|_| length <= MAX_PAYLOAD);
        let Some(number) = short else {
            let text =
                format!("a message of {length} bytes is longer than the {MAX_PAYLOAD} that ttrpc allows");
            return Err(Status::new(Code::ResourceExhausted, text));
        };
        out.reserve(HEADER + length);
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&stream.to_be_bytes());
        out.extend_from_slice(&[kind.number(), 0]);
        // A vector grows as needed: there is no other reason to fail.
        let _ = message.encode(out);
        Ok(())
    }
}

/// The payload of a request.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    /// The service's full name.
    #[prost(string, tag = "1")]
    pub service: String,
    /// The method's name.
    #[prost(string, tag = "2")]
    pub method: String,
    /// Its argument, encoded.
    #[prost(bytes = "vec", tag = "3")]
    pub payload: Vec<u8>,
    /// How long the caller is going to wait, in nanoseconds; 0: as long as it takes.
    #[prost(int64, tag = "4")]
    pub timeout_nano: i64,
}

/// The payload of a response.
#[derive(Clone, PartialEq, Message)]
pub struct Response {
    /// None, or code 0: it went well.
    #[prost(message, optional, tag = "1")]
    pub status: Option<RpcStatus>,
    /// The result, encoded.
    #[prost(bytes = "vec", tag = "2")]
    pub payload: Vec<u8>,
}

/// google.rpc.Status without details.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RpcStatus {
    /// A [`Code`].
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written_and_not_before_it_is_complete() {
        let request = Request {
            service: "containerd.task.v2.Task".to_owned(),
            method: "State".to_owned(),
            payload: vec![10, 1, b'a'],
            timeout_nano: 5,
        };
        let mut bytes = Vec::new();
        Frame::put(&mut bytes, 7, FrameKind::Request, &request).unwrap();
        // The header by hand: the length, stream 7, kind 1, no flags.
        let length = u32::try_from(bytes.len() - HEADER).unwrap();
        assert_eq!(bytes[..4], length.to_be_bytes());
        assert_eq!(bytes[4..10], [0, 0, 0, 7, 1, 0]);
        for short in 0..bytes.len() {
            assert_eq!(Frame::take(&bytes[..short]).unwrap(), None, "{short} bytes");
        }
        bytes.push(99);
        let (frame, taken) = Frame::take(&bytes).unwrap().unwrap();
        assert_eq!(
            (frame.stream, frame.kind, taken),
            (7, FrameKind::Request, bytes.len() - 1)
        );
        assert_eq!(Request::decode(frame.payload.as_slice()).unwrap(), request);
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_it_is_waited_for() {
        let mut header = vec![0; HEADER];
        header[..4].copy_from_slice(&u32::try_from(MAX_PAYLOAD + 1).unwrap().to_be_bytes());
        header[7] = 3;
        let long = Frame::take(&header).unwrap_err();
        assert_eq!((long.stream, long.length), (3, MAX_PAYLOAD + 1));
    }

    #[test]
    fn an_answer_that_is_too_long_is_an_error_and_leaves_nothing_behind() {
        let response = Response {
            status: None,
            payload: vec![0; MAX_PAYLOAD + 1],
        };
        let mut out = Vec::new();
        let status = Frame::put(&mut out, 1, FrameKind::Response, &response).unwrap_err();
        assert_eq!(status.code, Code::ResourceExhausted);
        assert!(out.is_empty());
    }
}
