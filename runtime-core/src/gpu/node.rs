//! A node as edits name it, completed by the one of the host.
//!
//! As in Go's `pkg/cdi`: where type and major are given the host's node need not be there; otherwise it must be, and must be
//! a node itself, not a link to one. Beyond that, numbers that a file gives must be those of the node that is there: a file
//! that is older than the driver would else allow another device, or none.

use std::path::Path;

use super::apply::Look;
use super::cdi::spec::DeviceNode;
use crate::error::{Error, ErrorKind, Result};
use crate::facts::nodes::NodeFacts;

/// The node with type, numbers and mode.
pub(super) fn complete(wanted: &DeviceNode, file: Option<&Path>, look: Look<'_>) -> Result<DeviceNode> {
    let mut node = wanted.clone();
    let path = wanted.on_host().to_owned();
    let is_enough = !node.kind.is_empty() && (node.major != 0 || node.kind == "p");
    let found = match look(Path::new(&path)) {
        Ok(found) => found,
        Err(_) if is_enough => None,
        Err(error) => return Err(error),
    };
    let Some(found) = found else {
        return if is_enough {
            Ok(node)
        } else {
            Err(refuse(format!("there is no device node {path:?} on this host"))
                .with_hint("the driver's module makes it, or nvidia-modprobe, or udev"))
        };
    };
    let Some(kind) = found.kind else {
        return if is_enough {
            Ok(node)
        } else {
            Err(refuse(format!("{path:?} is no device node")))
        };
    };
    node.file_mode = node.file_mode.or(Some(found.mode));
    if node.kind.is_empty() {
        node.kind = kind.to_string();
    }
    same_kind(&node, kind, &path, file)?;
    if node.kind == "p" {
        return Ok(node);
    }
    if node.major == 0 {
        (node.major, node.minor) = (found.major.into(), found.minor.into());
    }
    same_number(&node, found, &path, file)?;
    Ok(node)
}

fn refuse(message: String) -> Error {
    Error::new(ErrorKind::InvalidSpec, message)
}

fn of_file(file: Option<&Path>) -> String {
    file.map_or_else(String::new, |file| format!(" in {}", file.display()))
}

fn same_kind(node: &DeviceNode, kind: char, path: &str, file: Option<&Path>) -> Result<()> {
    let declared = if node.kind == "u" { "c" } else { node.kind.as_str() };
    if declared == kind.to_string() {
        return Ok(());
    }
    let message = format!(
        "{path:?} is of type {:?}{}, but of type \"{kind}\" on this host",
        node.kind,
        of_file(file)
    );
    Err(refuse(message).with_hint(STALE))
}

const STALE: &str =
    "the file is older than the driver: write it again (nvidia-ctk cdi generate, runtime gpu cdi generate)";

fn same_number(node: &DeviceNode, found: NodeFacts, path: &str, file: Option<&Path>) -> Result<()> {
    if (node.major, node.minor) == (found.major.into(), found.minor.into()) {
        return Ok(());
    }
    let message = format!(
        "{path:?} is {}:{}{}, but {}:{} on this host",
        node.major,
        node.minor,
        of_file(file),
        found.major,
        found.minor
    );
    Err(refuse(message).with_hint(STALE))
}
