//! D-Bus, as much of it as talking to systemd needs: calls, answers and signals over a unix socket.
//!
//! Own code instead of a crate (ADR 9): a library that embedders link may start no thread and no executor, waits with
//! deadlines only, and asks for six methods. Descriptors, other transports and serving objects are not done.

mod address;
mod connection;
mod message;
mod text;
mod value;

pub(crate) use address::Address;
pub(crate) use connection::{Connection, Failure, is_closed};
#[cfg(test)]
pub(crate) use message::Kind;
pub(crate) use message::Message;
pub(crate) use text::parse;
pub use value::Value;
