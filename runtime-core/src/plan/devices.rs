//! Device nodes, links and the terminal's places in /dev.

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Spec};

use super::create::text;
use super::mounts::clean;
use super::namespaces::{Namespaces, USER};
use super::schedule::{Schedule, Step};
use crate::error::{Error, Result};
use crate::facts::HostFacts;
use crate::gpu::Placed;

/// The null device.
pub(super) const NULL: &str = "/dev/null";

/// Nodes that every container has (config-linux.md, Default Devices): path, major, minor.
const DEFAULTS: [(&str, u32, u32); 6] = [
    (NULL, 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// One node.
struct Node {
    path: String,
    mode: u32,
    device: u64,
    uid: u32,
    gid: u32,
    field: String,
}

/// Fills /dev.
pub(super) fn fill(
    schedule: &mut Schedule,
    spec: &Spec,
    facts: &HostFacts,
    namespaces: &Namespaces,
    placed: &Placed,
) -> Result<()> {
    let linux = spec.linux().as_ref();
    let listed = linux
        .and_then(|linux| linux.devices().as_deref())
        .unwrap_or_default();
    let mut nodes: Vec<Node> = Vec::new();
    for (position, device) in listed.iter().enumerate() {
        nodes.push(node(device, &format!("linux.devices[{position}]"))?);
    }
    let defaults = DEFAULTS
        .iter()
        .filter(|(path, ..)| !nodes.iter().any(|node| node.path == *path));
    let mut all: Vec<Node> = defaults
        .map(|(path, major, minor)| Node {
            path: (*path).to_owned(),
            mode: libc::S_IFCHR | 0o666,
            device: libc::makedev(*major, *minor),
            uid: 0,
            gid: 0,
            field: "(default device)".to_owned(),
        })
        .collect();
    all.append(&mut nodes);
    for node in all {
        let field = node.field.as_str();
        // /dev/ptmx is a link to the container's own devpts, whatever the list says.
        if node.path == "/dev/ptmx" {
            continue;
        }
        let fifo = node.mode & libc::S_IFMT == libc::S_IFIFO;
        let step = if (namespaces.has(USER) || facts.in_user_namespace) && !fifo {
            // mknod(2) of a device is refused in a user namespace.
            Step::BindDevice {
                source: text(field, placed.node_sources.get(&node.path).unwrap_or(&node.path))?,
                path: text(field, &node.path)?,
                mode: node.mode,
                device: node.device,
            }
        } else {
            Step::Device {
                path: text(field, &node.path)?,
                mode: node.mode,
                device: node.device,
                uid: node.uid,
                gid: node.gid,
            }
        };
        schedule.init(step, field);
    }
    let core = facts.has_kcore.then_some(("/proc/kcore", "/dev/core"));
    for (target, path) in LINKS.into_iter().chain(core).chain([("pts/ptmx", "/dev/ptmx")]) {
        schedule.init(
            Step::Symlink {
                target: text("(default link)", target)?,
                path: text("(default link)", path)?,
            },
            "(default link)",
        );
    }
    Ok(())
}

fn node(device: &LinuxDevice, field: &str) -> Result<Node> {
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
        LinuxDeviceType::B => libc::S_IFBLK,
        LinuxDeviceType::P => libc::S_IFIFO,
        LinuxDeviceType::A => {
            return Err(Error::spec(
                format!("{field}.type"),
                "\"a\" is no type of a node; allowed: b, c, u, p",
            ));
        }
    };
    let number = |number: i64, name: &str| {
        u32::try_from(number)
            .map_err(|_| Error::spec(format!("{field}.{name}"), format!("{number} is out of range")))
    };
    let device_number = if kind == libc::S_IFIFO {
        0
    } else {
        libc::makedev(number(device.major(), "major")?, number(device.minor(), "minor")?)
    };
    Ok(Node {
        path: clean(device.path()).to_string_lossy().into_owned(),
        mode: kind | (device.file_mode().unwrap_or(0o666) & 0o7777),
        device: device_number,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        field: field.to_owned(),
    })
}
