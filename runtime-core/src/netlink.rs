//! Conversations with the kernel about links and addresses, each with one socket in one network namespace.
//!
//! Here: asking and hearing the answer. Not here: which device goes where (`launch/net_device.rs`), the bytes
//! (`message.rs`). A crate for netlink would bring hundreds of message types for the five that are needed.

mod message;

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

pub(crate) use message::Address;
use message::Malformed;

use crate::error::{Error, ErrorKind, Result};
use crate::sys;

/// More than the kernel puts into one datagram: 32 KiB (netlink_dump of net/netlink/af_netlink.c).
const DATAGRAM: usize = 64 << 10;

/// How often a list is asked for again when it changed while it was read.
const LISTINGS: usize = 32;

/// Reads any bytes as an answer of the kernel, down to its last attribute.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_all(bytes: &[u8]) {
    for message in message::messages(bytes).unwrap_or_default() {
        let _ = message::outcome(&message);
        let _ = message::kept_address(message.body, 1);
    }
}

/// A socket for links and addresses of one network namespace.
#[derive(Debug)]
pub(crate) struct Links {
    socket: OwnedFd,
    sequence: Cell<u32>,
}

impl Links {
    /// Those of the calling thread's namespace.
    pub(crate) fn of_caller() -> Result<Self> {
        // NETLINK_ROUTE is protocol 0.
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|errno| Error::os("socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)", errno))?;
        Self::of(socket)
    }

    /// Those of a process's namespace; no thread of the caller enters it.
    pub(crate) fn of_process(pidfd: BorrowedFd<'_>) -> Result<Self> {
        let socket = sys::elsewhere::route_socket(pidfd).map_err(|refused| {
            let call = format!("{}(network namespace of init)", refused.call);
            Error::os(call, refused.source)
        })?;
        Self::of(socket)
    }

    fn of(socket: OwnedFd) -> Result<Self> {
        // Connected to the kernel, it hears nobody else.
        rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0))
            .map_err(|errno| Error::os("connect(AF_NETLINK, the kernel)", errno))?;
        sys::netlink::ask_for_words(socket.as_fd())
            .map_err(|error| Error::os("setsockopt(SOL_NETLINK, NETLINK_EXT_ACK)", error))?;
        Ok(Self {
            socket,
            sequence: Cell::new(0),
        })
    }

    /// The index of the link of this name.
    ///
    /// # Errors
    /// ENODEV where there is none.
    pub(crate) fn index(&self, name: &str) -> Result<u32> {
        rustix::net::netdevice::name_to_index(&self.socket, name)
            .map_err(|errno| Error::os(format!("ioctl(SIOCGIFINDEX, {name:?})"), errno))
    }

    /// Whether no link has this index.
    pub(crate) fn is_free(&self, index: u32) -> Result<bool> {
        match rustix::net::netdevice::index_to_name_inlined(&self.socket, index) {
            Ok(_) => Ok(false),
            Err(Errno::NODEV) => Ok(true),
            Err(errno) => Err(Error::os(format!("ioctl(SIOCGIFNAME, {index})"), errno)),
        }
    }

    /// The permanent addresses of global scope of a link, in the kernel's order.
    pub(crate) fn addresses(&self, link: u32) -> Result<Vec<Address>> {
        for _ in 0..LISTINGS {
            let sequence = self.next();
            self.send("RTM_GETADDR", message::list_addresses(sequence))?;
            if let Some(found) = self.listed(sequence, link)? {
                return Ok(found);
            }
        }
        Err(Error::new(
            ErrorKind::System,
            format!("the addresses changed during each of {LISTINGS} readings"),
        ))
    }

    /// One list; None where it is not of one moment.
    fn listed(&self, sequence: u32, link: u32) -> Result<Option<Vec<Address>>> {
        const CALL: &str = "RTM_GETADDR";
        let mut found = Vec::new();
        let mut whole = true;
        loop {
            let datagram = self.receive(CALL)?;
            for message in message::messages(&datagram).map_err(|_| malformed(CALL))? {
                if message.sequence != sequence {
                    continue;
                }
                whole &= message.flags & message::INTERRUPTED == 0;
                match message.kind {
                    message::NEW_ADDRESS => {
                        found.extend(message::kept_address(message.body, link).map_err(|_| malformed(CALL))?)
                    }
                    message::DONE | message::ERROR => {
                        judge(CALL, &message)?;
                        return Ok(whole.then_some(found));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Moves a link of this namespace into the one behind `namespace`, under a new name and a new index.
    ///
    /// # Errors
    /// EEXIST: the name is taken there. EBUSY: the index is. EPERM: CAP_NET_ADMIN is missing in either.
    pub(crate) fn move_link(
        &self,
        link: u32,
        namespace: BorrowedFd<'_>,
        name: &str,
        new_index: u32,
    ) -> Result<()> {
        let request = |sequence| message::move_link(sequence, link, namespace.as_raw_fd(), name, new_index);
        self.ask(
            &format!("RTM_SETLINK(index {link}, new name {name:?}, new index {new_index})"),
            request,
        )
    }

    /// Gives a link an address.
    pub(crate) fn add_address(&self, link: u32, address: &Address) -> Result<()> {
        self.ask(&format!("RTM_NEWADDR(index {link}, {address})"), |sequence| {
            message::add_address(sequence, link, address)
        })
    }

    /// Sets a link up.
    pub(crate) fn set_up(&self, link: u32) -> Result<()> {
        self.ask(&format!("RTM_SETLINK(index {link}, up)"), |sequence| {
            message::set_up(sequence, link)
        })
    }

    /// Sends a request and waits for its acknowledgement.
    fn ask(&self, call: &str, request: impl FnOnce(u32) -> Result<Vec<u8>, Malformed>) -> Result<()> {
        let sequence = self.next();
        self.send(call, request(sequence))?;
        loop {
            let datagram = self.receive(call)?;
            for message in message::messages(&datagram).map_err(|_| malformed(call))? {
                if message.sequence == sequence && message.kind == message::ERROR {
                    return judge(call, &message);
                }
            }
        }
    }

    fn next(&self) -> u32 {
        self.sequence.set(self.sequence.get().wrapping_add(1));
        self.sequence.get()
    }

    fn send(&self, call: &str, request: Result<Vec<u8>, Malformed>) -> Result<()> {
        let request =
            request.map_err(|_| Error::new(ErrorKind::Internal, format!("{call} does not fit a message")))?;
        loop {
            match rustix::net::send(&self.socket, &request, SendFlags::empty()) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::os(format!("send({call})"), errno)),
                Ok(_) => return Ok(()),
            }
        }
    }

    fn receive(&self, call: &str) -> Result<Vec<u8>> {
        let mut buffer = vec![0; DATAGRAM];
        loop {
            match rustix::net::recv(&self.socket, buffer.as_mut_slice(), RecvFlags::TRUNC) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::os(format!("recv({call})"), errno)),
                Ok((_, length)) if length > buffer.len() => return Err(malformed(call)),
                Ok((_, length)) => {
                    buffer.truncate(length);
                    return Ok(buffer);
                }
            }
        }
    }
}

/// What the kernel says at the end of an answer.
fn judge(call: &str, message: &message::Message<'_>) -> Result<()> {
    let (errno, words) = message::outcome(message).map_err(|_| malformed(call))?;
    if errno == 0 {
        return Ok(());
    }
    let error = Error::os(call, std::io::Error::from_raw_os_error(errno));
    Err(match words {
        Some(words) => error.context(words),
        None => error,
    })
}

fn malformed(call: &str) -> Error {
    Error::new(
        ErrorKind::System,
        format!("the kernel's answer to {call} has another form than expected"),
    )
}
