//! The containerd shim of runtime-core, runtime name `io.containerd.runtime-core.v2`.
//!
//! One method of containerd's task API is one call of the library runtime-core, in this process; no runtime is executed and
//! no second state is kept: what a container is, the library's record tells. Here is what a process must stay alive for:
//! the programs' input and output, the wait for their end, the events.
//!
//! - `args`, `bootstrap`, `cleanup`, `info`: the short commands that containerd runs: start, delete, -info.
//! - `server`: the process that serves: one thread with everything that can be waited for in one epoll, and `workers`, two
//!   threads (more while some hang) for calls of the library that may take long.
//! - `task`: the methods. `stdio`, `rootfs`, `metrics`, `publish`: what they stand on.
//! - `ttrpc`, `proto`: bytes on the socket. Public for the tests, which speak to a shim as containerd does.

mod args;
mod bootstrap;
mod cleanup;
mod info;
mod log;
mod metrics;
mod place;
mod poller;
pub mod proto;
mod publish;
mod rootfs;
mod server;
mod stdio;
mod task;
pub mod ttrpc;
mod workers;

use std::io::Write as _;
use std::process::ExitCode;

use args::{Action, Args};

/// The runtime's name for containerd.
pub const NAME: &str = "io.containerd.runtime-core.v2";

/// Runs the program.
pub fn main() -> ExitCode {
    let done = Args::parse(std::env::args_os().skip(1)).and_then(|args| {
        let done = match args.action {
            Action::Start => bootstrap::start(&args),
            Action::Delete => cleanup::delete(&args),
            Action::Serve => server::serve(&args),
            Action::Info => info::info(),
            Action::Version => info::version(),
        };
        done.map_err(|status| status.message)
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // containerd reads it from here and shows it to its user.
            let _ = write!(std::io::stderr(), "{NAME}: {message}");
            ExitCode::FAILURE
        }
    }
}
