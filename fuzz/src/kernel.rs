//! What /proc says about mounts and cgroups, and the paths that are made of it.

use std::path::{Component, Path};

use runtime_core::cgroup::resolve;
use runtime_core::facts::cgroup::CgroupFacts;

/// Three parts with a NUL between: mountinfo, cgroup, and a `cgroupsPath`. No path leads above a hierarchy.
pub(crate) fn tables(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let (mounts, own, asked) = (next(), next(), next());
    let facts = CgroupFacts::parse(mounts, own, b"6.1.0-13-amd64");
    let _ = facts.unified();
    let asked = std::str::from_utf8(asked).ok().map(Path::new);
    for path in [None, asked] {
        let Ok(paths) = resolve(path, "fuzz", &facts) else {
            continue;
        };
        for directory in &paths.directories {
            let below = &directory.relative;
            let climbs = below
                .components()
                .any(|part| !matches!(part, Component::Normal(_)));
            assert!(!climbs, "{below:?} of {path:?}");
        }
    }
}
