//! Moving a network device of the host into the container, as config-linux.md asks: renamed in the same step, with its
//! permanent addresses of global scope, and set up.
//!
//! The caller's threads stay in their namespaces: what is done on the other side goes through a socket that was made
//! there. Nothing here is undone. When a later step fails, the kernel ends the container's own namespace: a physical
//! device returns to the initial network namespace under its new name, a virtual one is gone. In a namespace that the
//! container only joined, the device stays. The specification leaves both to the kernel, and runc does the same.

use std::os::fd::{AsFd, OwnedFd};

use super::Launched;
use crate::error::{Error, ErrorKind, Result};
use crate::netlink::Links;

/// How often another index is tried where somebody else takes the one that was free.
const RACES: u32 = 16;

/// Moves the device `name` of the caller's network namespace into init's.
///
/// # Errors
/// No device of that name, a taken new name, a device that cannot leave its namespace, the lack of CAP_NET_ADMIN.
pub(super) fn move_in(init: &Launched, name: &str, new_name: &str) -> Result<()> {
    let namespace = open(&format!("/proc/{}/ns/net", init.pid))?;
    if same(&namespace, &open("/proc/thread-self/ns/net")?)? {
        let message = "the container's network namespace is the one that the device is in";
        return Err(Error::spec("linux.netDevices", message));
    }
    let host = Links::of_caller()?;
    let inside = Links::of_process(init.pidfd.as_fd())?;
    let link = host.index(name)?;
    // The kernel moves before it renames: a taken name would be found with the device already away from its host.
    if inside.index(new_name).is_ok() {
        let message = format!("the container's network namespace has a device {new_name:?} already");
        return Err(Error::new(ErrorKind::System, message).with_errno(libc::EEXIST));
    }
    // The kernel drops them when the device leaves.
    let addresses = host.addresses(link)?;
    let link = relocate(&host, &inside, link, &namespace, new_name)?;
    for address in &addresses {
        inside.add_address(link, address)?;
    }
    inside.set_up(link)
}

/// Moves the device and gives its index on the other side. The index is chosen here: with a template for its name,
/// nothing else would tell which device it has become.
fn relocate(host: &Links, inside: &Links, link: u32, namespace: &OwnedFd, new_name: &str) -> Result<u32> {
    let mut index = link;
    let mut patience = RACES;
    loop {
        while !inside.is_free(index)? {
            // Indices are positive numbers of 31 bits.
            index = if index < i32::MAX.cast_unsigned() {
                index + 1
            } else {
                1
            };
        }
        match host.move_link(link, namespace.as_fd(), new_name, index) {
            Ok(()) => return Ok(index),
            // Somebody else took the index in the meantime.
            Err(error) if error.errno() == Some(libc::EBUSY) && patience > 0 => patience -= 1,
            Err(error) => return Err(explained(error)),
        }
    }
}

fn explained(error: Error) -> Error {
    match error.errno() {
        Some(libc::EPERM) => error.with_hint("moving a network device needs CAP_NET_ADMIN"),
        Some(libc::EEXIST) => error.with_hint("choose another name in linux.netDevices"),
        _ => error,
    }
}

fn open(path: &str) -> Result<OwnedFd> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(path, flags, rustix::fs::Mode::empty())
        .map_err(|errno| Error::os(format!("open({path:?})"), errno))
}

/// Two descriptors of one namespace have one inode.
fn same(one: &OwnedFd, other: &OwnedFd) -> Result<bool> {
    let place = |fd: &OwnedFd| {
        let stat = rustix::fs::fstat(fd).map_err(|errno| Error::os("fstat(network namespace)", errno))?;
        Ok::<_, Error>((stat.st_dev, stat.st_ino))
    };
    Ok(place(one)? == place(other)?)
}
