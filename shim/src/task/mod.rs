//! The tasks of a shim: containers and the programs in them, and the methods of containerd's task service.
//!
//! What a container is, is the library's to tell. Kept here is what only the process that made a program can know: where
//! its output goes, how it ended, and who waits to hear of it.

mod control;
mod create;
mod delete;
mod exec;
mod exit;
mod query;
mod restore;
mod sandbox;
mod start;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci_spec::runtime::Process as ProcessSpec;
use runtime_core::{Container, ContainerId, Events, Executed, Runtime};

use crate::poller::Token;
use crate::proto::types::Timestamp;
use crate::server::Caller;
use crate::stdio::{Input, Logger, Names};
use crate::ttrpc::Status;

pub(crate) use restore::Restoring;

/// What a method gives: the answer, or None where it comes later.
pub(crate) type Outcome = Result<Option<Vec<u8>>, Status>;

/// How a program ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exit {
    /// Its exit code, or 128 and the signal.
    pub(crate) code: u32,
    pub(crate) at: Timestamp,
}

/// Where a program is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Created,
    /// A thread is starting it.
    Starting,
    Running,
    Ended,
}

/// Who waits for the end of a program, and what for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Waiter {
    /// To hear how it ended.
    Exit(Caller),
    /// To hear that it did.
    End(Caller),
}

/// A program: a container's own, or one that exec brings.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) names: Names,
    pub(crate) phase: Phase,
    pub(crate) pid: u32,
    pub(crate) exit: Option<Exit>,
    /// Who asked to hear of its end.
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) io: ProgramIo,
}

/// What is held of a program's input and output.
#[derive(Debug, Default)]
pub(crate) struct ProgramIo {
    /// Standard input, before the program is started.
    pub(crate) waiting: Option<Input>,
    /// CloseIO was called.
    pub(crate) closed: bool,
    /// Keeps standard input from ending.
    pub(crate) keeper: Option<OwnedFd>,
    pub(crate) terminal: Option<OwnedFd>,
    pub(crate) logger: Option<Logger>,
    pub(crate) input: Option<Token>,
    pub(crate) outputs: Vec<Token>,
}

impl Program {
    pub(crate) fn new(names: Names) -> Self {
        Self {
            names,
            phase: Phase::Created,
            pid: 0,
            exit: None,
            waiters: Vec::new(),
            io: ProgramIo::default(),
        }
    }
}

/// A program that exec brings.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) program: Program,
    pub(crate) spec: ProcessSpec,
    pub(crate) executed: Option<Executed>,
}

/// What is more of a sandbox than of a container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sandbox {
    pub(crate) created_at: Timestamp,
    /// The library's waiting init holds the namespaces; there is no program to start.
    pub(crate) held_by_init: bool,
}

/// A container.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) id: ContainerId,
    pub(crate) bundle: PathBuf,
    pub(crate) runtime: Runtime,
    /// Of the create call, with the library's descriptor of init. None until a container that comes from a checkpoint is
    /// started.
    pub(crate) container: Option<Container>,
    /// How to make it then.
    pub(crate) restoring: Option<Restoring>,
    /// The directory of CRIU's log, where options name one.
    pub(crate) criu_work: String,
    pub(crate) events: Option<Events>,
    pub(crate) token: Token,
    pub(crate) init: Program,
    pub(crate) execs: BTreeMap<String, Exec>,
    /// Its processes do not end with init: they are in a pid namespace that is not its own.
    pub(crate) shares_pids: bool,
    /// init has ended, and programs that exec brought have not been told to have.
    pub(crate) held: Option<Exit>,
    /// Deleted while only created: the delete goes on when init has ended.
    pub(crate) deleter: Option<Caller>,
    /// A pod's sandbox rather than a container of it.
    pub(crate) sandbox: Option<Sandbox>,
    /// Who owns the pipes: Options.io_uid, io_gid.
    pub(crate) owner: (u32, u32),
}

impl Task {
    /// The program that a request names: init where it names none.
    pub(crate) fn program(&mut self, exec_id: &str) -> Result<&mut Program, Status> {
        if exec_id.is_empty() {
            return Ok(&mut self.init);
        }
        let found = self.execs.get_mut(exec_id);
        found.map(|exec| &mut exec.program).ok_or_else(|| {
            Status::not_found(format!(
                "process {exec_id:?} does not exist in task {:?}",
                self.id.as_str()
            ))
        })
    }

    /// The container, for calls that need what create knew: its init, its cgroup. Whatever else of it changes is loaded anew
    /// in the threads.
    pub(crate) fn live(&self) -> Result<&Container, Status> {
        let missing = || {
            Status::precondition(format!(
                "task {:?} comes from a checkpoint and is not started",
                self.id.as_str()
            ))
        };
        self.container.as_ref().ok_or_else(missing)
    }
}
