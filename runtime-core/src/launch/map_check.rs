//! Whether a user namespace that was joined has the id maps that the configuration gives for it (user_namespaces(7)).

use crate::error::{Error, ErrorKind, Result};
use crate::plan::IdMap;

/// Compares both maps of the namespace that `pid` is in, as the caller sees them.
///
/// # Errors
/// InvalidSpec, with what was found.
pub(super) fn check(pid: i32, uids: &[IdMap], gids: &[IdMap]) -> Result<()> {
    for (file, field, given) in [
        ("uid_map", "linux.uidMappings", uids),
        ("gid_map", "linux.gidMappings", gids),
    ] {
        let path = format!("/proc/{pid}/{file}");
        let text =
            std::fs::read_to_string(&path).map_err(|error| Error::os(format!("read({path:?})"), error))?;
        if parse(&text).map(sorted) != Some(sorted(given.to_vec())) {
            let message = format!(
                "the user namespace to join has other mappings: found \"{}\", given are \"{}\" (containerID hostID size)",
                shown(&parse(&text).unwrap_or_default()),
                shown(given)
            );
            return Err(Error::new(ErrorKind::InvalidSpec, message).with_field(field));
        }
    }
    Ok(())
}

/// Lines of three numbers; None where it is anything else.
fn parse(text: &str) -> Option<Vec<IdMap>> {
    let map = |line: &str| {
        let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
        Some(IdMap {
            container: numbers.next()??,
            host: numbers.next()??,
            size: numbers.next()??,
        })
    };
    text.lines().map(map).collect()
}

/// The kernel keeps the order that they were written in, or not.
fn sorted(mut maps: Vec<IdMap>) -> Vec<IdMap> {
    maps.sort_unstable_by_key(|map| map.container);
    maps
}

fn shown(maps: &[IdMap]) -> String {
    let shown = |map: &IdMap| format!("{} {} {}", map.container, map.host, map.size);
    maps.iter().map(shown).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(container: u32, host: u32, size: u32) -> IdMap {
        IdMap {
            container,
            host,
            size,
        }
    }

    #[test]
    fn maps_are_compared_whatever_their_order() {
        let own = std::process::id().cast_signed();
        let text = std::fs::read_to_string("/proc/self/uid_map").unwrap();
        let all = parse(&text).unwrap();
        check(own, &all, &all).unwrap();
        let error = check(own, &[map(0, 5, 7)], &all).unwrap_err();
        assert_eq!(error.field(), Some("linux.uidMappings"));
        assert!(error.to_string().contains("given are \"0 5 7\""), "{error}");
        assert_eq!(
            check(own, &all, &[]).unwrap_err().field(),
            Some("linux.gidMappings")
        );
        assert_eq!(
            parse("         0     100000      65536\n 70000 1 1\n"),
            Some(vec![map(0, 100_000, 65536), map(70000, 1, 1)])
        );
        assert_eq!(parse("0 1"), None);
        assert_eq!(
            sorted(vec![map(7, 0, 1), map(0, 9, 1)]),
            [map(0, 9, 1), map(7, 0, 1)]
        );
    }
}
