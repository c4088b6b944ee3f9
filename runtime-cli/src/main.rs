//! The program `runtime`: a thin, runc-compatible command line over the library runtime-core.
//!
//! One direction: [`args`] turns words into flags by a table, `cmd/*.rs` makes one request of the library from them,
//! [`output`] and [`log`] show what came back; [`entry`] is where it begins. Nothing here knows how a container is made: no
//! /proc, no fork, no cgroups.

#![cfg_attr(not(test), no_main)]

mod amounts;
mod args;
mod cmd;
mod completion;
mod entry;
mod fail;
mod help;
mod inherited;
mod log;
mod man;
mod notify;
mod output;
mod session;
mod signals;
mod terminal;
mod trace;

#[cfg(test)]
mod flag_tests;
#[cfg(test)]
mod reference_tests;
