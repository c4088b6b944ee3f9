//! User and group ids: the maps of the user namespace and of idmapped mounts, and ids that must lie in them.

use super::Namespaces;
use crate::error::{Error, Result};
use oci_spec::runtime::{Linux, LinuxIdMapping};

/// Most lines that the kernel takes in one map (user_namespaces(7), Linux 4.15).
const MAP_LINES_MAX: usize = 340;

/// The maps of the container's user namespace.
pub(super) fn mappings(linux: &Linux, namespaces: &Namespaces) -> Result<()> {
    let uids = linux.uid_mappings().as_deref().unwrap_or_default();
    let gids = linux.gid_mappings().as_deref().unwrap_or_default();
    let first = if uids.is_empty() {
        "linux.gidMappings"
    } else {
        "linux.uidMappings"
    };
    match (namespaces.user, uids.is_empty() && gids.is_empty()) {
        (false, false) => {
            let message = "user namespace mappings specified, but user namespace isn't enabled in the config";
            return Err(Error::spec(first, message));
        }
        (true, true) if !namespaces.user_joined => {
            let message =
                "user namespaces enabled, but no namespace path to join nor mappings to apply specified";
            return Err(Error::spec("linux.uidMappings", message));
        }
        // containerd and CRI-O write both. Whether the two agree is seen when the namespace is joined.
        (true, false) if namespaces.user_joined => {}
        (true, false) if uids.is_empty() || gids.is_empty() => {
            let (field, kind) = if uids.is_empty() {
                ("linux.uidMappings", "uid")
            } else {
                ("linux.gidMappings", "gid")
            };
            return Err(Error::spec(
                field,
                format!("user namespaces enabled, but no {kind} mappings found"),
            ));
        }
        _ => {}
    }
    ranges("linux.uidMappings", uids)?;
    ranges("linux.gidMappings", gids)
}

/// Every range is possible and no two overlap, inside or outside (the kernel answers EINVAL to either).
pub(super) fn ranges(field: &str, mappings: &[LinuxIdMapping]) -> Result<()> {
    if mappings.len() > MAP_LINES_MAX {
        let message = format!(
            "found {} mappings, allowed are at most {MAP_LINES_MAX}",
            mappings.len()
        );
        return Err(Error::spec(field, message));
    }
    for (index, mapping) in mappings.iter().enumerate() {
        if mapping.size() == 0 {
            return Err(Error::spec(
                format!("{field}[{index}].size"),
                "found 0, allowed are 1 and more",
            ));
        }
        for (name, first) in [
            ("containerID", mapping.container_id()),
            ("hostID", mapping.host_id()),
        ] {
            // The last id is -1 to the kernel, which means no id.
            if u64::from(first) + u64::from(mapping.size()) > u64::from(u32::MAX) {
                let message = format!(
                    "{first} and the {} ids from it go beyond 4294967294",
                    mapping.size()
                );
                return Err(Error::spec(format!("{field}[{index}].{name}"), message));
            }
        }
        for (other_index, other) in mappings[..index].iter().enumerate() {
            let meet = |a: u32, b: u32| a < b + other.size() && b < a + mapping.size();
            for (name, this, that) in [
                ("containerID", mapping.container_id(), other.container_id()),
                ("hostID", mapping.host_id(), other.host_id()),
            ] {
                if meet(this, that) {
                    let message = format!(
                        "the {} ids from {this} overlap with {field}[{other_index}]",
                        mapping.size()
                    );
                    return Err(Error::spec(format!("{field}[{index}].{name}"), message));
                }
            }
        }
    }
    Ok(())
}

/// `id` is an id and, where the container's user namespace has `mappings` written in the configuration, one of those
/// (R-44, CVE-2024-40635: an id out of range became 0 elsewhere).
pub(super) fn mapped(field: &str, kind: &str, id: u32, mappings: Option<&[LinuxIdMapping]>) -> Result<()> {
    if id == u32::MAX {
        return Err(Error::spec(
            field,
            format!("found {id}, which means no {kind} to the kernel"),
        ));
    }
    let inside = |mapping: &LinuxIdMapping| {
        id.checked_sub(mapping.container_id())
            .is_some_and(|offset| offset < mapping.size())
    };
    match mappings {
        Some(mappings) if !mappings.is_empty() && !mappings.iter().any(inside) => Err(Error::spec(
            field,
            format!("user namespaces enabled, but no mapping found for {kind} {id}"),
        )),
        _ => Ok(()),
    }
}
