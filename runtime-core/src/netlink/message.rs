//! The bytes of the five netlink messages that moving a network device takes (netlink(7), rtnetlink(7)), and of the
//! kernel's answers.
//!
//! Pure: bytes in, bytes out, every length checked. Numbers are in the machine's byte order; messages and attributes
//! start at multiples of four.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// nlmsg_type of what is sent and what comes back.
pub(super) const ERROR: u16 = 2;
pub(super) const DONE: u16 = 3;
pub(super) const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const SET_LINK: u16 = 19;

/// nlmsg_flags: the dump was not of one moment.
pub(super) const INTERRUPTED: u16 = 0x10;
const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const DUMP: u16 = 0x300;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
/// The error repeats only the head of the request.
const CAPPED: u16 = 0x100;
/// Attributes follow the error.
const EXPLAINED: u16 = 0x200;

/// The kernel's words in an error.
const WORDS: u16 = 1;

const LINK_NAME: u16 = 3;
const LINK_NAMESPACE: u16 = 28;
/// Since kernel 5.13.
const LINK_NEW_INDEX: u16 = 49;

const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const BROADCAST: u16 = 4;
const FLAGS: u16 = 8;
const PERMANENT: u32 = 0x80;
/// What of an address's flags is its owner's choice: no duplicate detection, no route for the prefix.
const KEPT_FLAGS: u32 = 0x2 | 0x200;
/// RT_SCOPE_UNIVERSE: valid everywhere.
const GLOBAL: u8 = 0;

const UP: u32 = 1;

const HEAD: usize = 16;
const ATTRIBUTE_HEAD: usize = 4;
const ADDRESS_HEAD: usize = 8;

/// Bytes that are no message of the kernel's form, or a value that does not fit into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// A permanent address of global scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    family: u8,
    prefix: u8,
    flags: u32,
    /// What identifies it: IFA_LOCAL, IFA_ADDRESS (the peer's, where there is one) and IFA_BROADCAST.
    parts: Vec<(u16, Vec<u8>)>,
}

/// As `ip address` shows it.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |wanted| self.parts.iter().find(|(kind, _)| *kind == wanted);
        let bytes = part(LOCAL).or(part(ADDRESS)).map(|(_, value)| value.as_slice());
        let bytes = bytes.unwrap_or_default();
        if let Ok(four) = <[u8; 4]>::try_from(bytes) {
            write!(f, "{}/{}", Ipv4Addr::from(four), self.prefix)
        } else if let Ok(sixteen) = <[u8; 16]>::try_from(bytes) {
            write!(f, "{}/{}", Ipv6Addr::from(sixteen), self.prefix)
        } else {
            write!(f, "{bytes:02x?}/{}", self.prefix)
        }
    }
}

/// A request in the making.
struct Request(Vec<u8>);

impl Request {
    fn new(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend([0; 4]);
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((REQUEST | flags).to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        Self(bytes)
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Result<Self, Malformed> {
        let length = u16::try_from(ATTRIBUTE_HEAD + value.len()).map_err(|_| Malformed)?;
        self.0.resize(aligned(self.0.len()), 0);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        Ok(self)
    }

    fn finish(mut self) -> Result<Vec<u8>, Malformed> {
        self.0.resize(aligned(self.0.len()), 0);
        let length = u32::try_from(self.0.len()).map_err(|_| Malformed)?;
        let head = self.0.first_chunk_mut::<4>().ok_or(Malformed)?;
        *head = length.to_ne_bytes();
        Ok(self.0)
    }
}

/// struct ifinfomsg.
fn link_body(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    for word in [index, flags, change] {
        body.extend(word.to_ne_bytes());
    }
    body
}

/// struct ifaddrmsg.
fn address_body(family: u8, prefix: u8, index: u32) -> Vec<u8> {
    let mut body = vec![family, prefix, 0, GLOBAL];
    body.extend(index.to_ne_bytes());
    body
}

/// Moves a link into the namespace behind a descriptor, under a new name and index, in one step.
pub(super) fn move_link(
    sequence: u32,
    index: u32,
    namespace: i32,
    name: &str,
    new_index: u32,
) -> Result<Vec<u8>, Malformed> {
    let mut name = name.as_bytes().to_vec();
    name.push(0);
    Request::new(SET_LINK, ACKNOWLEDGE, sequence, &link_body(index, 0, 0))
        .attribute(LINK_NAME, &name)?
        .attribute(LINK_NAMESPACE, &namespace.to_ne_bytes())?
        .attribute(LINK_NEW_INDEX, &new_index.to_ne_bytes())?
        .finish()
}

/// Sets a link up.
pub(super) fn set_up(sequence: u32, index: u32) -> Result<Vec<u8>, Malformed> {
    Request::new(SET_LINK, ACKNOWLEDGE, sequence, &link_body(index, UP, UP)).finish()
}

/// Asks for all addresses of the namespace.
pub(super) fn list_addresses(sequence: u32) -> Result<Vec<u8>, Malformed> {
    Request::new(GET_ADDRESS, DUMP, sequence, &address_body(0, 0, 0)).finish()
}

/// Gives a link an address.
pub(super) fn add_address(sequence: u32, index: u32, address: &Address) -> Result<Vec<u8>, Malformed> {
    let body = address_body(address.family, address.prefix, index);
    let flags = ACKNOWLEDGE | CREATE | EXCLUSIVE;
    let mut request = Request::new(NEW_ADDRESS, flags, sequence, &body);
    for (kind, value) in &address.parts {
        request = request.attribute(*kind, value)?;
    }
    request.attribute(FLAGS, &address.flags.to_ne_bytes())?.finish()
}

/// One message of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) body: &'a [u8],
}

/// The messages of one datagram.
pub(super) fn messages(mut bytes: &[u8]) -> Result<Vec<Message<'_>>, Malformed> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let length = usize::try_from(word(bytes, 0)?).map_err(|_| Malformed)?;
        found.push(Message {
            kind: half(bytes, 4)?,
            flags: half(bytes, 6)?,
            sequence: word(bytes, 8)?,
            body: bytes.get(HEAD..length).ok_or(Malformed)?,
        });
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    Ok(found)
}

/// What an ERROR or DONE message says: an errno, 0 for success, and the kernel's words.
pub(super) fn outcome(message: &Message<'_>) -> Result<(i32, Option<String>), Malformed> {
    let code = word(message.body, 0)?.cast_signed();
    let errno = code.checked_neg().filter(|errno| *errno >= 0).ok_or(Malformed)?;
    if message.kind != ERROR || message.flags & EXPLAINED == 0 {
        return Ok((errno, None));
    }
    let repeated = if message.flags & CAPPED == 0 {
        usize::try_from(word(message.body, 4)?).map_err(|_| Malformed)?
    } else {
        HEAD
    };
    let from = 4usize.checked_add(aligned(repeated)).ok_or(Malformed)?;
    let words = attributes(message.body.get(from..).ok_or(Malformed)?)?
        .into_iter()
        .find(|(kind, _)| *kind == WORDS)
        .map(|(_, text)| {
            let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        });
    Ok((errno, words))
}

/// The address in a NEW_ADDRESS message, where it is one of this link, permanent and of global scope: others belong to
/// the place that the device leaves.
pub(super) fn kept_address(body: &[u8], link: u32) -> Result<Option<Address>, Malformed> {
    let [family, prefix, short_flags, scope] = *body.first_chunk::<4>().ok_or(Malformed)?;
    let index = word(body, 4)?;
    let attributes = attributes(body.get(ADDRESS_HEAD..).ok_or(Malformed)?)?;
    let flags = match attributes.iter().find(|(kind, _)| *kind == FLAGS) {
        Some((_, value)) => word(value, 0)?,
        None => short_flags.into(),
    };
    if index != link || flags & PERMANENT == 0 || scope != GLOBAL {
        return Ok(None);
    }
    let parts = attributes
        .into_iter()
        .filter(|(kind, _)| matches!(*kind, ADDRESS | LOCAL | BROADCAST))
        .map(|(kind, value)| (kind, value.to_vec()))
        .collect();
    Ok(Some(Address {
        family,
        prefix,
        flags: flags & KEPT_FLAGS,
        parts,
    }))
}

fn attributes(mut bytes: &[u8]) -> Result<Vec<(u16, &[u8])>, Malformed> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let length = usize::from(half(bytes, 0)?);
        // The two highest bits say how the value is to be read.
        let kind = half(bytes, 2)? & 0x3fff;
        found.push((kind, bytes.get(ATTRIBUTE_HEAD..length).ok_or(Malformed)?));
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    Ok(found)
}

fn word(bytes: &[u8], at: usize) -> Result<u32, Malformed> {
    let bytes = bytes.get(at..).and_then(|bytes| bytes.first_chunk::<4>());
    bytes.map(|bytes| u32::from_ne_bytes(*bytes)).ok_or(Malformed)
}

fn half(bytes: &[u8], at: usize) -> Result<u16, Malformed> {
    let bytes = bytes.get(at..).and_then(|bytes| bytes.first_chunk::<2>());
    bytes.map(|bytes| u16::from_ne_bytes(*bytes)).ok_or(Malformed)
}

fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
