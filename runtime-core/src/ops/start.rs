//! start: give the word to a waiting init, hear whether its program runs, run the poststart hooks.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::SocketAddrUnix;

use super::Container;
use super::create::poststart;
use super::state::document;
use crate::error::{Error, ErrorKind, Result};
use crate::launch::{Link, Watch, follow_exec, hand_over, start_socket};
use crate::plan::NO_PROCESS;
use crate::record::{START_SOCKET, StartLine};
use crate::state::Status;

impl Container {
    /// Starts the program of a created container.
    ///
    /// # Errors
    /// WrongState, where it is not created; InvalidSpec, where its configuration has no process; Program and Hook, where the program or a startContainer hook fails: the
    /// container is stopped then.
    pub fn start(&mut self) -> Result<()> {
        let lock = self.trace.time("wait for the lock", || self.dir.lock())?;
        self.refresh()?;
        let (status, above) = self.status_and_frozen_above()?;
        match status {
            Status::Created => {}
            Status::Stopped => return Err(wrong_state("cannot start a container that has stopped")),
            Status::Creating => return Err(wrong_state("cannot start a container that is being created")),
            Status::Running => return Err(wrong_state("cannot start an already running container")),
            Status::Paused => return Err(wrong_state("cannot start a container in the paused state")),
        }
        if let Some(above) = above {
            let message = format!(
                "cannot start a container whose cgroup is frozen from above, by {}",
                above.display()
            );
            return Err(wrong_state(&message));
        }
        if !self.record.start.iter().any(StartLine::is_exec) {
            return Err(Error::spec("process", NO_PROCESS));
        }
        let link = self.trace.time("connect to init", || self.connect())?;
        let watch = self.watch();
        link.go(watch.as_ref().map(|watch| watch.page().as_fd()))?;
        self.trace
            .time("wait for the program to run", || self.follow(&link))?;
        if let Some(watch) = watch {
            watch.executed();
        }
        self.record.status = Status::Running;
        self.trace.time("save the record", || {
            self.dir.save(&self.record)?;
            self.dir.unlink(START_SOCKET)
        })?;
        // A hook may call the runtime for its container, and one that does not end must not hold a delete up.
        drop(lock);
        poststart(&self.record, &self.trace).inspect_err(|_| {
            if let Some(pidfd) = &self.pidfd {
                let _ = super::kill::end(pidfd);
            }
        })
    }

    /// The times of what init does from here on, where they are taken.
    fn watch(&self) -> Option<Watch> {
        let lines = self.record.start.iter();
        let watch = Watch::new(&self.trace, lines.map(|line| (line.number, line.line())))?;
        watch.pid.set(self.pid()?);
        Some(watch)
    }

    /// The lines of the schedule behind the wait for start.
    fn follow(&self, link: &Link) -> Result<()> {
        let lines = &self.record.start;
        let line = |number| {
            let found = lines.iter().find(|line| line.number == number);
            found.map(StartLine::line)
        };
        let listener = |listener: OwnedFd| {
            let pid = self.record.init.map_or(0, |init| init.pid);
            let agent = lines.iter().find_map(StartLine::agent);
            let agent =
                agent.ok_or_else(|| Error::new(ErrorKind::Internal, "nobody is named for the listener"))?;
            let state = document(&self.record, Status::Created, pid);
            hand_over(agent, listener, pid, &state).inspect_err(|_| {
                // Nobody would ever answer it.
                if let Some(pidfd) = &self.pidfd {
                    let _ = super::kill::end(pidfd);
                }
            })
        };
        follow_exec(line, link, false, listener)
    }

    fn connect(&self) -> Result<Link> {
        let socket = start_socket()?;
        let path = self.dir.short_path(START_SOCKET);
        let address = SocketAddrUnix::new(path).map_err(|errno| Error::os("connect(start.sock)", errno))?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => Ok(Link::from_fd(socket)),
            // init listens no more: a start before this one got through and was killed before it could say so.
            Err(Errno::CONNREFUSED | Errno::NOENT) => {
                Err(wrong_state("cannot start an already running container"))
            }
            Err(errno) => Err(Error::os("connect(start.sock)", errno)),
        }
    }
}

fn wrong_state(message: &str) -> Error {
    Error::new(ErrorKind::WrongState, message)
}
