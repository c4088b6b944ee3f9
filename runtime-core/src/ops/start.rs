//! start: give the word to a waiting init, hear whether its program runs, run the poststart hooks.

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::Container;
use super::create::poststart;
use crate::error::{Error, ErrorKind, Result};
use crate::launch::{Link, await_exec};
use crate::record::START_SOCKET;
use crate::state::Status;

impl Container {
    /// Starts the program of a created container.
    ///
    /// # Errors
    /// WrongState, where it is not created; Program and Hook, where the program or a startContainer hook fails: the
    /// container is stopped then.
    pub fn start(&mut self) -> Result<()> {
        let _lock = self.dir.lock()?;
        self.refresh()?;
        match self.status()? {
            Status::Created => {}
            Status::Stopped => return Err(wrong_state("cannot start a container that has stopped")),
            Status::Creating => return Err(wrong_state("cannot start a container that is being created")),
            Status::Running => return Err(wrong_state("cannot start an already running container")),
            Status::Paused => return Err(wrong_state("cannot start a container in the paused state")),
        }
        let link = self.connect()?;
        link.go(None)?;
        let lines = &self.record.start;
        await_exec(
            |number| {
                lines
                    .iter()
                    .find(|line| line.number == number)
                    .map(crate::record::StartLine::line)
            },
            &link,
        )?;
        self.record.status = Status::Running;
        self.dir.save(&self.record)?;
        self.dir.unlink(START_SOCKET)?;
        poststart(&self.record).inspect_err(|_| {
            if let Some(pidfd) = &self.pidfd {
                let _ = super::kill::end(pidfd);
            }
        })
    }

    fn connect(&self) -> Result<Link> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|errno| Error::os("socket(AF_UNIX, SOCK_SEQPACKET)", errno))?;
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
