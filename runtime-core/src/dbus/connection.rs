//! A connection to a service of D-Bus over a unix socket: calls with an answer, and signals, both until a deadline.
//!
//! Here: connecting, saying who we are, sending and receiving. No thread, no global, nothing that outlives the value;
//! the socket never blocks, so no peer can hold the caller up for longer than it allows. Not here: what is asked
//! (`cgroup/systemd/`).

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use super::address::{Address, Place};
use super::message::{Kind, Message};
use super::value::Malformed;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::wait::timespec;

/// How many signals are kept for later; older ones go first.
const KEPT: usize = 64;
/// Of the answer to who we are: `DATA` and `OK` with a number of 32 digits.
const MAX_GREETING: usize = 4096;

/// Why a call has no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The service says no.
    Refused {
        /// Its name for that, as `org.freedesktop.systemd1.UnitExists`.
        name: String,
        /// Its words.
        message: String,
    },
    /// The service was not reached or did not answer in time.
    Broken(Error),
}

impl Failure {
    /// The service went away with its connections, as systemd does when it executes itself anew (`daemon-reexec`).
    pub(crate) fn is_restart(&self) -> bool {
        match self {
            Self::Refused { name, .. } => matches!(
                name.strip_prefix("org.freedesktop.DBus.Error."),
                Some("NoReply" | "ServiceUnknown" | "NameHasNoOwner" | "Disconnected")
            ),
            Self::Broken(error) => is_closed(error),
        }
    }

    /// The error for the caller; `call` is what was asked.
    pub(crate) fn into_error(self, call: &str) -> Error {
        match self {
            Self::Broken(error) => error,
            Self::Refused { name, message } => {
                let kind = match name.strip_prefix("org.freedesktop.DBus.Error.") {
                    Some("AccessDenied" | "InteractiveAuthorizationRequired" | "AuthFailed") => {
                        ErrorKind::Permission
                    }
                    _ => ErrorKind::System,
                };
                Error::new(kind, format!("{call}: {message} ({name})"))
            }
        }
    }
}

/// The other end has closed the connection.
pub(crate) fn is_closed(error: &Error) -> bool {
    matches!(error.errno(), Some(libc::ECONNRESET | libc::EPIPE))
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    name: String,
    received: Vec<u8>,
    signals: VecDeque<Message>,
    serial: u32,
}

impl Connection {
    /// Connects, and where a bus is at the other end, gets a name there.
    ///
    /// # Errors
    /// System, with the errno of connect(2) where that failed.
    pub(crate) fn open(address: &Address, deadline: Instant) -> Result<Self> {
        let mut connection = Self {
            socket: connect(address, deadline)?,
            name: address.to_string(),
            received: Vec::new(),
            signals: VecDeque::new(),
            serial: 0,
        };
        connection.greet(deadline)?;
        if address.is_bus {
            let name = "org.freedesktop.DBus";
            let hello = Message::call(name, "/org/freedesktop/DBus", name, "Hello");
            connection
                .call(hello, deadline)
                .map_err(|failure| failure.into_error("Hello"))?;
        }
        Ok(connection)
    }

    /// Calls a method and waits for its answer.
    pub(crate) fn call(&mut self, mut call: Message, deadline: Instant) -> Result<Message, Failure> {
        self.serial += 1;
        call.serial = self.serial;
        self.send(&call.encode(), deadline).map_err(Failure::Broken)?;
        loop {
            let message = self.receive(deadline, &call.member).map_err(Failure::Broken)?;
            if message.kind == Kind::Signal {
                self.keep(message);
                continue;
            }
            if message.reply_to != call.serial {
                continue;
            }
            match message.kind {
                Kind::Reply => return Ok(message),
                Kind::Error => {
                    let text = match message.body.into_iter().next() {
                        Some(super::Value::Text(text)) => text,
                        _ => "no reason given".to_owned(),
                    };
                    return Err(Failure::Refused {
                        name: message.error,
                        message: text,
                    });
                }
                Kind::Call | Kind::Signal | Kind::Unknown => {}
            }
        }
    }

    /// Waits for the first signal that is wanted, among those that came meanwhile, too.
    pub(crate) fn signal(
        &mut self,
        what: &str,
        deadline: Instant,
        wanted: impl Fn(&Message) -> bool,
    ) -> Result<Message> {
        while let Some(message) = self.signals.pop_front() {
            if wanted(&message) {
                return Ok(message);
            }
        }
        loop {
            let message = self.receive(deadline, what)?;
            if message.kind == Kind::Signal && wanted(&message) {
                return Ok(message);
            }
        }
    }

    fn keep(&mut self, signal: Message) {
        if self.signals.len() == KEPT {
            self.signals.pop_front();
        }
        self.signals.push_back(signal);
    }

    /// Our user id is what the kernel says of the socket: the name is left empty, which is right inside of a user
    /// namespace, too.
    fn greet(&mut self, deadline: Instant) -> Result<()> {
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n", deadline)?;
        for wanted in ["DATA", "OK "] {
            let line = loop {
                if let Some(end) = self.received.windows(2).position(|pair| pair == b"\r\n") {
                    let line: Vec<u8> = self.received.drain(..end + 2).collect();
                    break String::from_utf8_lossy(&line[..end]).into_owned();
                }
                if self.received.len() > MAX_GREETING {
                    return Err(self.not_understood());
                }
                self.fill(deadline, "AUTH")?;
            };
            if !line.starts_with(wanted) {
                let message = format!("{} does not accept this user: {line}", self.name);
                return Err(Error::new(ErrorKind::Permission, message));
            }
        }
        Ok(())
    }

    fn send(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<()> {
        while !bytes.is_empty() {
            match rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, deadline, "to be heard")?,
                Err(errno) => return Err(Error::os(format!("send({})", self.name), errno)),
            }
        }
        Ok(())
    }

    fn receive(&mut self, deadline: Instant, what: &str) -> Result<Message> {
        loop {
            let length = Message::length(&self.received).map_err(|Malformed| self.not_understood())?;
            if let Some(length) = length.filter(|length| *length <= self.received.len()) {
                let bytes: Vec<u8> = self.received.drain(..length).collect();
                return Message::decode(&bytes).map_err(|Malformed| self.not_understood());
            }
            self.fill(deadline, what)?;
        }
    }

    /// Takes what is there; waits where nothing is.
    fn fill(&mut self, deadline: Instant, what: &str) -> Result<()> {
        let mut piece = [0u8; 4096];
        loop {
            match rustix::net::recv(&self.socket, &mut piece[..], RecvFlags::empty()) {
                Ok((0, _)) => {
                    let message = format!("{} closed the connection", self.name);
                    return Err(Error::new(ErrorKind::System, message).with_errno(libc::ECONNRESET));
                }
                Ok((length, _)) => {
                    self.received.extend_from_slice(&piece[..length]);
                    return Ok(());
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(PollFlags::IN, deadline, &format!("for {what}"))?,
                Err(errno) => return Err(Error::os(format!("recv({})", self.name), errno)),
            }
        }
    }

    fn wait(&self, event: PollFlags, deadline: Instant, what: &str) -> Result<()> {
        if poll(&self.socket, event, deadline)? {
            return Ok(());
        }
        let message = format!("timed out waiting {what} ({})", self.name);
        Err(Error::new(ErrorKind::System, message).with_errno(libc::ETIMEDOUT))
    }

    fn not_understood(&self) -> Error {
        let message = format!("{} sent something that is no D-Bus message", self.name);
        Error::new(ErrorKind::System, message)
    }
}

/// Whether the event came before the deadline.
fn poll(socket: &impl AsFd, event: PollFlags, deadline: Instant) -> Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = timespec(left);
        match rustix::event::poll(&mut [PollFd::new(socket, event)], Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::os("poll(D-Bus)", errno)),
        }
    }
}

fn connect(address: &Address, deadline: Instant) -> Result<OwnedFd> {
    let os = |call: &str, errno: Errno| Error::os(format!("{call}({address})"), errno);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|errno| os("socket", errno))?;
    let to = match &address.place {
        Place::Path(path) => SocketAddrUnix::new(path.as_path()),
        Place::Abstract(name) => SocketAddrUnix::new_abstract_name(name),
    }
    .map_err(|errno| os("connect", errno))?;
    let mut pause = Duration::from_millis(1);
    loop {
        match rustix::net::connect(&socket, &to) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) => {}
            // The queue of the listener is full, which has no event: unix(7).
            Err(Errno::AGAIN) if Instant::now() + pause < deadline => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(100));
            }
            Err(errno) => return Err(os("connect", errno)),
        }
    }
}
