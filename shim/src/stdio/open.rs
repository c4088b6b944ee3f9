//! Opens what containerd named, before the program is made.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use runtime_core::Stdio;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::logger::{self, Logger};
use super::stream::{Sink, Stream};
use super::uri::Target;
use super::{Names, never_wait, null, open_path, pipe, share};
use crate::ttrpc::Status;

/// How long a client may take to open a fifo that it made.
const READER_PATIENCE: Duration = Duration::from_secs(10);

/// Whose the pipes are to be (Options.io_uid and io_gid), and for whom a logger logs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) id: &'a str,
    pub(crate) namespace: &'a str,
}

/// Everything of one program's input and output.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// The program's ends; of a program with a terminal none.
    pub(crate) stdio: Stdio,
    /// From the client's fifo to the program; opened when the program is started.
    pub(crate) input: Option<Input>,
    /// From the program to where its output goes.
    pub(crate) outputs: Vec<Stream>,
    pub(crate) logger: Option<Logger>,
    /// The master of the terminal, for its size.
    pub(crate) terminal: Option<OwnedFd>,
    /// With a terminal: the ends that its master is still to be joined with.
    waiting: Waiting,
}

#[derive(Debug, Default)]
struct Waiting {
    input: Option<String>,
    output: Option<Sink>,
}

/// Standard input before the program is started.
///
/// A client that has nothing more to send says so by CloseIO, but only once it has heard that the task is there (ctr 1.6
/// forgets it otherwise). As long as nobody reads, it cannot come to the end of what it sends.
#[derive(Debug)]
pub(crate) struct Input {
    path: String,
    sink: OwnedFd,
}

impl Input {
    /// Opens the fifo: the stream, and what keeps it from ending when no client has it open.
    pub(crate) fn open(self, keep: bool) -> Result<(Stream, Option<OwnedFd>), Status> {
        let open =
            |flags| open_path(&self.path, flags | OFlags::NONBLOCK).map_err(|status| status.context("stdin"));
        let reader = open(OFlags::RDONLY)?;
        // Behind the reader: a fifo without one cannot be opened for writing.
        let keeper = keep.then(|| open(OFlags::WRONLY)).transpose()?;
        Ok((Stream::new(reader, Sink::Pipe(self.sink)), keeper))
    }
}

/// Opens the ends.
///
/// # Errors
/// What is missing, with its name.
pub(crate) fn open(names: &Names, owner: Owner<'_>) -> Result<Opened, Status> {
    let mut opened = Opened::default();
    let input = (!names.stdin.is_empty()).then(|| names.stdin.clone());
    if let Some(path) = &input {
        rustix::fs::stat(path).map_err(|errno| Status::os(format!("stdin: stat({path:?})"), errno))?;
    }
    let target = Target::parse(&names.stdout)?;
    if names.terminal {
        opened.waiting.input = input;
        opened.waiting.output = opened.sink(&target, owner)?;
        return Ok(opened);
    }
    opened.stdio.input = Some(match input {
        None => null(OFlags::RDONLY)?,
        Some(path) => {
            let (theirs, sink) = owned_pipe(owner)?;
            never_wait(&sink)?;
            opened.input = Some(Input { path, sink });
            theirs
        }
    });
    opened.open_outputs(names, &target, owner)?;
    Ok(opened)
}

impl Opened {
    fn open_outputs(&mut self, names: &Names, target: &Target, owner: Owner<'_>) -> Result<(), Status> {
        match target {
            Target::Program(program) => {
                let (logger, ends) = Logger::start(program, owner.id, owner.namespace, logger::PATIENCE)?;
                self.logger = Some(logger);
                own(&ends.output, owner)?;
                own(&ends.error, owner)?;
                self.stdio.output = Some(ends.output);
                self.stdio.error = Some(ends.error);
            }
            // Both into the one file, whatever standard error is called.
            Target::File(path) => {
                let file = append(path)?;
                let second = share(&file)?;
                self.stdio.output = Some(self.output(Sink::File(file), owner)?);
                self.stdio.error = Some(self.output(Sink::File(second), owner)?);
            }
            Target::Null | Target::Path(_) => {
                self.stdio.output = Some(self.output_to(&names.stdout, owner)?);
                self.stdio.error = Some(self.output_to(&names.stderr, owner)?);
            }
        }
        Ok(())
    }

    fn output_to(&mut self, path: &str, owner: Owner<'_>) -> Result<OwnedFd, Status> {
        match Target::parse(path)? {
            Target::Null => null(OFlags::WRONLY),
            Target::Path(path) => self.output(existing(&path)?, owner),
            Target::File(path) => self.output(Sink::File(append(&path)?), owner),
            Target::Program(_) => Err(Status::invalid(
                "stderr: a logger takes both outputs: name it as stdout",
            )),
        }
    }

    /// A pipe to this sink; gives the program's end.
    fn output(&mut self, sink: Sink, owner: Owner<'_>) -> Result<OwnedFd, Status> {
        let (ours, theirs) = pipe()?;
        own(&theirs, owner)?;
        never_wait(&ours)?;
        self.outputs.push(Stream::new(ours, sink));
        Ok(theirs)
    }

    /// Where a terminal's output goes.
    fn sink(&mut self, target: &Target, owner: Owner<'_>) -> Result<Option<Sink>, Status> {
        Ok(match target {
            Target::Null => None,
            Target::Path(path) => Some(existing(path)?),
            Target::File(path) => Some(Sink::File(append(path)?)),
            Target::Program(program) => {
                let (logger, ends) = Logger::start(program, owner.id, owner.namespace, logger::PATIENCE)?;
                self.logger = Some(logger);
                never_wait(&ends.output)?;
                Some(Sink::Pipe(ends.output))
            }
        })
    }

    /// Joins the master of the program's terminal with the ends.
    pub(crate) fn attach(&mut self, master: OwnedFd) -> Result<(), Status> {
        never_wait(&master)?;
        if let Some(path) = self.waiting.input.take() {
            let sink = share(&master)?;
            self.input = Some(Input { path, sink });
        }
        // Somebody must read, or the program would wait for room.
        let sink = match self.waiting.output.take() {
            Some(sink) => sink,
            None => Sink::File(null(OFlags::WRONLY)?),
        };
        self.outputs.push(Stream::new(share(&master)?, sink));
        self.terminal = Some(master);
        Ok(())
    }
}

fn owned_pipe(owner: Owner<'_>) -> Result<(OwnedFd, OwnedFd), Status> {
    let (read, write) = pipe()?;
    own(&read, owner)?;
    Ok((read, write))
}

fn own(fd: &OwnedFd, owner: Owner<'_>) -> Result<(), Status> {
    if owner.uid == 0 && owner.gid == 0 {
        return Ok(());
    }
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(owner.uid),
        rustix::fs::Gid::from_raw(owner.gid),
    );
    rustix::fs::fchown(fd, Some(uid), Some(gid)).map_err(|errno| {
        Status::os(
            format!(
                "Options.io_uid, io_gid: fchown(pipe, {}, {})",
                owner.uid, owner.gid
            ),
            errno,
        )
    })
}

/// A fifo, or a file to append to that is there.
fn existing(path: &str) -> Result<Sink, Status> {
    let stat = rustix::fs::stat(path).map_err(|errno| Status::os(format!("stat({path:?})"), errno))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Fifo {
        return open_path(path, OFlags::WRONLY | OFlags::APPEND).map(Sink::File);
    }
    // Held until the other one is open: a reader that once saw a writer go takes that for the end.
    let first = wait_for_reader(path)?;
    // Both ways: it must stay whole when the client goes, and another one may come.
    let both = open_path(path, OFlags::RDWR | OFlags::NONBLOCK).map(Sink::Fifo);
    drop(first);
    both
}

/// Whether there is something in a fifo that its reader has not read. Without a reader nobody will.
pub(super) fn is_unread(path: &str) -> bool {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Fails where no reader has it open, or none has one any more.
    let Ok(fd) = rustix::fs::open(path, flags, Mode::empty()) else {
        return false;
    };
    let is_fifo =
        rustix::fs::fstat(&fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
    is_fifo && rustix::io::ioctl_fionread(&fd).is_ok_and(|bytes| bytes > 0)
}

/// The client that made a fifo opens it a moment before or after its request. What is written and closed before that is
/// lost, so it is waited for; the kernel offers nothing to wait with but an open that cannot be given up.
fn wait_for_reader(path: &str) -> Result<OwnedFd, Status> {
    let deadline = Instant::now() + READER_PATIENCE;
    let mut pause = Duration::from_micros(200);
    loop {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => return Ok(fd),
            Err(Errno::NXIO) if Instant::now() < deadline => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(10));
            }
            Err(Errno::NXIO) => {
                let seconds = READER_PATIENCE.as_secs();
                return Err(Status::precondition(format!(
                    "stdout or stderr: nobody opened the fifo {path:?} for reading within {seconds} seconds"
                )));
            }
            Err(errno) => return Err(Status::os(format!("open({path:?}, O_WRONLY|O_NONBLOCK)"), errno)),
        }
    }
}

fn append(path: &str) -> Result<OwnedFd, Status> {
    if let Some(parent) = Path::new(path).parent() {
        std::fs::create_dir_all(parent).map_err(|error| Status::os(format!("mkdir({parent:?})"), error))?;
    }
    open_path(path, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE)
}
