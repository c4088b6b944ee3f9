//! The report socket: frames, a descriptor beside a frame, and the socket that `start` connects to.

use core::mem::size_of;

use super::fd::O_CLOEXEC;
use super::{Fd, Handle, invoke};
use crate::failure::Outcome;

const AF_UNIX: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const SOCK_CLOEXEC: u32 = 0x8_0000;
const SIOCSIFFLAGS: u32 = 0x8914;
const IFF_UP: i16 = 1;
const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const SO_PEERCRED: u32 = 17;
const MSG_TRUNC: i32 = 0x20;
const MSG_NOSIGNAL: u32 = 0x4000;
const MSG_CMSG_CLOEXEC: u32 = 0x4000_0000;

/// struct iovec.
#[repr(C)]
struct Span {
    start: *mut u8,
    length: usize,
}

/// struct msghdr.
#[repr(C)]
struct Message {
    name: *mut u8,
    name_length: u32,
    spans: *mut Span,
    span_count: usize,
    control: *mut Rights,
    control_length: usize,
    flags: i32,
}

/// struct cmsghdr with one descriptor behind it, as cmsg(3) lays it out.
#[repr(C, align(8))]
struct Rights {
    length: usize,
    level: i32,
    kind: i32,
    fd: i32,
}

/// CMSG_LEN of one descriptor.
const RIGHTS_LENGTH: usize = size_of::<usize>() + 3 * size_of::<i32>();

/// struct ucred.
#[repr(C)]
struct Credentials {
    pid: i32,
    uid: u32,
    gid: u32,
}

/// Sends one message, with a descriptor beside it where there is one.
pub(crate) fn send(socket: Handle, bytes: &[u8], fd: Option<Handle>) -> Outcome {
    let mut rights = Rights {
        length: RIGHTS_LENGTH,
        level: SOL_SOCKET,
        kind: SCM_RIGHTS,
        fd: fd.map_or(-1, Handle::number),
    };
    let mut span = Span {
        start: bytes.as_ptr().cast_mut(),
        length: bytes.len(),
    };
    let message = Message {
        name: core::ptr::null_mut(),
        name_length: 0,
        spans: &raw mut span,
        span_count: 1,
        control: if fd.is_some() {
            &raw mut rights
        } else {
            core::ptr::null_mut()
        },
        control_length: if fd.is_some() { size_of::<Rights>() } else { 0 },
        flags: 0,
    };
    // SAFETY: sendmsg only reads: the message, its one span over `bytes`, and the control block, all alive here.
    unsafe { invoke!(Sendmsg, SENDMSG, socket, &raw const message, MSG_NOSIGNAL) }.map(drop)
}

/// Receives one message: how many bytes it had (0: end of file) and the descriptor that came with it. Further
/// descriptors find no room and are dropped by the kernel.
pub(crate) fn receive(socket: Handle, bytes: &mut [u8]) -> Outcome<(usize, Option<Fd>)> {
    let mut rights = Rights {
        length: 0,
        level: 0,
        kind: 0,
        fd: -1,
    };
    let mut span = Span {
        start: bytes.as_mut_ptr(),
        length: bytes.len(),
    };
    let mut message = Message {
        name: core::ptr::null_mut(),
        name_length: 0,
        spans: &raw mut span,
        span_count: 1,
        control: &raw mut rights,
        control_length: size_of::<Rights>(),
        flags: 0,
    };
    // SAFETY: the kernel writes at most `bytes.len()` bytes to the span, at most the control block's size to
    // `rights`, and the lengths and flags to `message`; all are borrowed mutably here.
    let length = unsafe { invoke!(Recvmsg, RECVMSG, socket, &raw mut message, MSG_CMSG_CLOEXEC) }?;
    let carried = message.control_length >= RIGHTS_LENGTH
        && rights.length == RIGHTS_LENGTH
        && rights.level == SOL_SOCKET
        && rights.kind == SCM_RIGHTS;
    // A message that did not fit is not of this protocol, whatever its beginning says.
    let length = if message.flags & MSG_TRUNC == 0 {
        length
    } else {
        usize::MAX
    };
    Ok((length, carried.then(|| Fd::own(rights.fd))))
}

/// The next connection of a listening socket.
pub(crate) fn accept(listener: Handle) -> Outcome<Fd> {
    // SAFETY: without an address buffer the call takes numbers.
    unsafe { invoke!(Accept, ACCEPT4, listener, 0usize, 0usize, O_CLOEXEC) }.map(Fd::from_result)
}

/// The uid of whoever connected, as this user namespace sees it.
pub(crate) fn peer_uid(connection: Handle) -> Outcome<u32> {
    let mut credentials = Credentials {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut length = 12u32;
    const _: () = assert!(size_of::<Credentials>() == 12);
    // SAFETY: the kernel writes at most `length` bytes, the size of `credentials`, and the length itself.
    unsafe {
        invoke!(
            Getsockopt,
            GETSOCKOPT,
            connection,
            SOL_SOCKET,
            SO_PEERCRED,
            &raw mut credentials,
            &raw mut length
        )
    }?;
    let Credentials { pid: _, uid, gid: _ } = credentials;
    Ok(uid)
}

/// struct ifreq with the flags of a device (netdevice(7)).
#[repr(C)]
struct Interface {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

const _: () = assert!(size_of::<Interface>() == 40);

/// Sets the loopback device of this network namespace up; the kernel gives it its addresses. Any socket takes the request, and
/// those of this kind are in every kernel.
pub(crate) fn set_loopback_up() -> Outcome {
    let kind = SOCK_DGRAM | SOCK_CLOEXEC;
    // SAFETY: the call takes numbers.
    let socket = unsafe { invoke!(Socket, SOCKET, AF_UNIX, kind, 0u32) }.map(Fd::from_result)?;
    let mut name = [0; 16];
    name[..2].copy_from_slice(b"lo");
    let request = Interface {
        name,
        flags: IFF_UP,
        rest: [0; 22],
    };
    // SAFETY: the kernel reads one struct ifreq.
    unsafe { invoke!(Ioctl, IOCTL, socket.at(), SIOCSIFFLAGS, &raw const request) }.map(drop)
}
