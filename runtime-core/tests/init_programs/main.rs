//! Runs init's ELF on hand-made programs, as root, in namespaces of its own, and looks at the result from outside
//! (frames, /proc/PID) and from inside (what a shell in the container prints).
#![allow(clippy::unwrap_used, reason = "tests")]

mod copy_up;
mod exec;
mod furnish;
mod harness;
mod hooks;
mod identity;
mod labels;
mod masks;
mod mounts;
mod nodes;
mod protocol;
mod races;
mod start;
mod terminal;
mod trace;
mod userns;
