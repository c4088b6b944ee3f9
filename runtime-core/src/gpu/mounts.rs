//! The mounts of edits: those at the same destination are replaced, and all are sorted by depth, as in Go's `pkg/cdi`.

use std::path::Path;

use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};

use super::apply::{Manner, Marked, Placed};
use super::cdi::Resolved;
use super::cdi::spec::CdiMount;

/// Puts the mounts of all edits into the configuration.
pub(super) fn mounts(spec: &mut Spec, resolved: &Resolved, manner: Manner, placed: &mut Placed) {
    if resolved.edits.iter().all(|(_, edits)| edits.mounts.is_empty()) {
        return;
    }
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().clone());
    let in_userns = namespaces
        .iter()
        .flatten()
        .any(|namespace| namespace.typ() == LinuxNamespaceType::User);
    let map_ids = manner.map_ids && in_userns;
    let listed = spec.mounts().clone().unwrap_or_default();
    let mut mounts: Vec<Marked<Mount>> = listed.into_iter().map(|mount| (mount, None)).collect();
    for (source, edits) in &resolved.edits {
        for wanted in &edits.mounts {
            let destination = Path::new(&wanted.container_path);
            // As text: Path would take "/a/" for "/a".
            let same =
                |(mount, _): &Marked<Mount>| mount.destination().as_os_str() == destination.as_os_str();
            if let Some(position) = mounts.iter().position(same) {
                mounts.remove(position);
            }
            mounts.push((mount(wanted, map_ids), Some(source.name.clone())));
        }
    }
    mounts.sort_by_key(|(mount, _)| depth(mount.destination()));
    for (position, (_, origin)) in mounts.iter().enumerate() {
        if let Some(origin) = origin {
            placed
                .origins
                .insert(format!("mounts[{position}]"), origin.clone());
        }
    }
    spec.set_mounts(Some(mounts.into_iter().map(|(mount, _)| mount).collect()));
}

fn mount(wanted: &CdiMount, map_ids: bool) -> Mount {
    let mut options = wanted.options.clone();
    if map_ids
        && !options
            .iter()
            .any(|option| option == "idmap" || option == "ridmap")
    {
        let bind = (wanted.kind == "bind").then_some("idmap");
        // The last word about binding counts.
        let word = options.iter().rev().find_map(|option| match option.as_str() {
            "bind" => Some("idmap"),
            "rbind" => Some("ridmap"),
            _ => None,
        });
        options.extend(word.or(bind).map(str::to_owned));
    }
    let mut mount = Mount::default();
    mount
        .set_destination(wanted.container_path.clone().into())
        .set_source(Some(wanted.host_path.clone().into()))
        .set_typ(Some(wanted.kind.clone()).filter(|kind| !kind.is_empty()))
        .set_options(Some(options).filter(|options| !options.is_empty()));
    mount
}

/// How many slashes the path has, once it is tidied as text (Go's `filepath.Clean`).
fn depth(path: &Path) -> usize {
    let text = path.to_string_lossy();
    let absolute = text.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match (part, parts.last()) {
            ("..", Some(&last)) if last != ".." => {
                parts.pop();
            }
            ("..", None) if absolute => {}
            _ => parts.push(part),
        }
    }
    match (absolute, parts.len()) {
        (true, count) => count.max(1),
        (false, count) => count.saturating_sub(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_as_in_go() {
        for (path, expected) in [
            ("/", 1),
            ("/a", 1),
            ("/a/", 1),
            ("/a//b/./c/..", 2),
            ("a/b", 1),
            ("", 0),
            ("/../a", 1),
        ] {
            assert_eq!(depth(Path::new(path)), expected, "{path}");
        }
    }
}
