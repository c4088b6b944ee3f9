//! The byte format that runtime-core (which writes it) and init (which runs it) share.
//!
//! A *program* is a list of fixed-size step records followed by an arena of strings and tables. Nothing in it is a
//! pointer and nothing needs parsing: init maps it, checks each bound once while decoding and runs the steps in
//! order. In the other direction go small fixed frames: a step was reached, a descriptor, a failure with its numbers.
//! This crate makes no system call and takes no decision. Both halves are generated from one list ([`step`]), so they
//! cannot disagree.
#![cfg_attr(not(feature = "writer"), no_std)]

mod call;
mod field;
mod frame;
pub mod label;
pub mod page;
mod reader;
pub mod step;
#[cfg(feature = "writer")]
mod writer;

pub use call::Call;
pub use field::{Bytes, FdList, Texts, Words};
pub use frame::{Command, FRAME_LEN, Frame, FrameKind, detail};
pub use reader::{Malformed, Program};
pub use step::Step;
#[cfg(feature = "writer")]
pub use step::StepBuf;
#[cfg(feature = "writer")]
pub use writer::{Text, Writer};

/// First four bytes of a program.
pub const MAGIC: [u8; 4] = *b"RCP\x01";
/// Bytes before the first step record: magic, number of steps, arena length, reserved.
pub const HEADER_LEN: usize = 16;
/// Arguments that a step record holds.
pub const MAX_ARGS: usize = 12;
/// Bytes of one step record: code, line of the schedule, arguments.
pub const RECORD_LEN: usize = 8 + 8 * MAX_ARGS;
/// The largest program that is accepted, in bytes.
pub const MAX_LEN: usize = 256 << 20;
