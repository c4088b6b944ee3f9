//! ttrpc, the RPC that containerd and its shims speak over a unix socket: a header of ten bytes and a protobuf message.
//!
//! `frame` is the byte format, `connection` one socket that never blocks, `status` how a call fails. Streams within a
//! call (flags 1, 2 and 4 of the protocol) are not part of any service here and are refused.

mod connection;
mod frame;
mod status;

pub use connection::{Connection, Incoming};
pub use frame::{Frame, FrameKind, HEADER, MAX_PAYLOAD, Request, Response, RpcStatus};
pub use status::{Code, Status};
