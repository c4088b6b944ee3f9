//! The proxy between a container that reports readiness (sd_notify(3)) and the host's service manager.
//!
//! The service manager believes only the processes of its unit, so the container writes to a socket of its own, and
//! this program passes READY on and names the pid to watch. Nothing else is passed on: pids and descriptors that the
//! container might name mean nothing outside.

use std::fs::Permissions;
use std::io::{ErrorKind as Io, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use runtime_core::{Container, Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::log::Log;

/// The directory in the container's state directory that it sees as /run/notify.
pub(crate) const DIRECTORY: &str = "notify";
/// The socket in it.
const SOCKET: &str = "notify.sock";
/// How long the service manager may take to acknowledge (sd_notify_barrier(3) leaves it to the caller; runc's figure).
const BARRIER: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

/// The service manager's socket.
pub(crate) fn host() -> Option<PathBuf> {
    std::env::var_os("NOTIFY_SOCKET")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

/// The container's socket, bound, and the service manager's, connected.
#[derive(Debug)]
pub(crate) struct Proxy {
    inside: UnixDatagram,
    host: UnixDatagram,
}

impl Proxy {
    /// Binds the container's socket in its state directory. Must happen before the program starts.
    pub(crate) fn bind(container_dir: &Path, host: &Path) -> Result<Self> {
        let path = container_dir.join(DIRECTORY).join(SOCKET);
        // A socket of a start that failed: nobody listens there any more.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != Io::NotFound => {
                return Err(Error::os(format!("unlink({path:?})"), error));
            }
            _ => {}
        }
        let inside =
            UnixDatagram::bind(&path).map_err(|error| Error::os(format!("bind({path:?})"), error))?;
        // Whatever user the program runs as: it may only write.
        std::fs::set_permissions(&path, Permissions::from_mode(0o777))
            .map_err(|error| Error::os(format!("chmod({path:?}, 0777)"), error))?;
        inside
            .set_nonblocking(true)
            .map_err(|error| Error::os("fcntl(F_SETFL, O_NONBLOCK)", error))?;
        Ok(Self {
            inside,
            host: connect(host)?,
        })
    }

    /// The descriptor that becomes readable when the container reports something.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.inside.as_fd()
    }

    /// Waits until the container reports readiness or ends; passes it on with the pid of init, which the service
    /// manager watches from then on, and lets it catch up before this process goes.
    pub(crate) fn wait_ready(self, log: &Log, container: &Container) -> Result<()> {
        let Some(pidfd) = container.pidfd() else {
            return Ok(());
        };
        loop {
            let mut fds = [
                PollFd::new(&self.inside, PollFlags::IN),
                PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::os("poll(notify socket, pidfd)", errno)),
            }
            if self.forward_ready(log, container.state()?.pid)? {
                return self.barrier(log);
            }
            if !fds[1].revents().is_empty() {
                return Ok(());
            }
        }
    }

    /// Passes readiness on, if it has come, with the pid to watch; whether it had come.
    pub(crate) fn forward_ready(&self, log: &Log, pid: i32) -> Result<bool> {
        let mut buffer = [0; 4096];
        loop {
            let length = match self.inside.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == Io::Interrupted => continue,
                Err(error) if error.kind() == Io::WouldBlock => return Ok(false),
                Err(error) => return Err(Error::os("recv(notify socket)", error)),
            };
            let Some(ready) = ready_line(&buffer[..length]) else {
                continue;
            };
            log.debug(format_args!(
                "container reports {}, main pid is {pid}",
                String::from_utf8_lossy(ready)
            ));
            self.send(&[ready, b"\n"].concat())?;
            self.send(format!("MAINPID={pid}\n").as_bytes())?;
            return Ok(true);
        }
    }

    fn send(&self, message: &[u8]) -> Result<()> {
        let sent = self.host.send(message);
        sent.map(drop)
            .map_err(|error| Error::os("send($NOTIFY_SOCKET)", error))
    }

    /// sd_notify_barrier(3): the service manager closes the pipe's end when it has read what came before.
    fn barrier(&self, log: &Log) -> Result<()> {
        let (ours, theirs) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|errno| Error::os("pipe2(O_CLOEXEC)", errno))?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let rights = [theirs.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&rights));
        sendmsg(
            &self.host,
            &[IoSlice::new(b"BARRIER=1")],
            &mut control,
            SendFlags::NOSIGNAL,
        )
        .map_err(|errno| Error::os("sendmsg($NOTIFY_SOCKET, BARRIER=1)", errno))?;
        drop(theirs);
        let mut fds = [PollFd::new(&ours, PollFlags::IN)];
        loop {
            match poll(&mut fds, Some(&BARRIER)) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::os("poll(barrier pipe)", errno)),
                Ok(0) => {
                    log.warn(format_args!(
                        "no answer to BARRIER=1 on $NOTIFY_SOCKET within {} s",
                        BARRIER.tv_sec
                    ));
                    return Ok(());
                }
                Ok(_) => return Ok(()),
            }
        }
    }
}

/// The socket that $NOTIFY_SOCKET names: a path, or with @ a name in the abstract namespace.
fn connect(host: &Path) -> Result<UnixDatagram> {
    let call = |call: &str| format!("{call} for $NOTIFY_SOCKET {host:?}");
    let address = match host.as_os_str().as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(host),
    };
    let address = address.map_err(|error| Error::os(call("address"), error))?;
    let socket =
        UnixDatagram::unbound().map_err(|error| Error::os(call("socket(AF_UNIX, SOCK_DGRAM)"), error))?;
    socket
        .connect_addr(&address)
        .map_err(|error| Error::os(call("connect"), error))?;
    Ok(socket)
}

/// The line of a message that reports readiness.
fn ready_line(message: &[u8]) -> Option<&[u8]> {
    message
        .split(|byte| *byte == b'\n')
        .find(|line| line.starts_with(b"READY="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_found_among_other_lines() {
        assert_eq!(ready_line(b"READY=1"), Some(&b"READY=1"[..]));
        assert_eq!(
            ready_line(b"STATUS=up\nREADY=1\nMAINPID=4\n"),
            Some(&b"READY=1"[..])
        );
        assert_eq!(ready_line(b"STATUS=READY=1"), None);
    }

    #[test]
    fn readiness_is_passed_on_with_our_pid_and_nothing_else() {
        let dir = std::env::temp_dir().join(format!("runtime-notify-{}", std::process::id()));
        std::fs::create_dir_all(dir.join(DIRECTORY)).expect("temporary directory");
        let host_path = dir.join("host.sock");
        let host = UnixDatagram::bind(&host_path).expect("host's socket");
        host.set_nonblocking(true).expect("non-blocking");
        let proxy = Proxy::bind(&dir, &host_path).expect("proxy");
        let app = UnixDatagram::unbound().expect("app's socket");
        let inside = dir.join(DIRECTORY).join(SOCKET);
        app.send_to(b"STATUS=starting", &inside).expect("send");
        assert_eq!(proxy.forward_ready(&Log::plain(), 42).ok(), Some(false));
        app.send_to(b"MAINPID=1\nREADY=1", &inside).expect("send");
        assert_eq!(proxy.forward_ready(&Log::plain(), 42).ok(), Some(true));
        let mut buffer = [0; 64];
        let mut next = || {
            host.recv(&mut buffer)
                .map(|length| buffer[..length].to_vec())
                .ok()
        };
        assert_eq!(next().as_deref(), Some(&b"READY=1\n"[..]));
        assert_eq!(next().as_deref(), Some(&b"MAINPID=42\n"[..]));
        assert_eq!(next(), None);
        std::fs::remove_dir_all(&dir).expect("clean up");
    }
}
