//! What this process costs while it goes on: memory, descriptors, threads, children.

use std::fs;
use std::path::Path;

/// One look.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    /// Anonymous memory that is resident, in KiB.
    pub(crate) anonymous: u64,
    /// All that is resident, in KiB.
    pub(crate) resident: u64,
    pub(crate) descriptors: usize,
}

impl Sample {
    pub(crate) fn take() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| {
                line.trim_start_matches(':')
                    .trim()
                    .strip_suffix(" kB")?
                    .parse()
                    .ok()
            })
        };
        Self {
            anonymous: value("RssAnon").unwrap_or(0),
            resident: value("VmRSS").unwrap_or(0),
            descriptors: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        }
    }
}

/// Whether memory grows: the mean of the last fifth beside the mean of the second one, when caches are warm. In KiB.
pub(crate) fn growth(samples: &[Sample]) -> Option<(u64, u64)> {
    let fifth = samples.len() / 5;
    let mean = |part: &[Sample]| part.iter().map(|sample| sample.anonymous).sum::<u64>() / part.len() as u64;
    (fifth > 0).then(|| {
        (
            mean(&samples[fifth..2 * fifth]),
            mean(&samples[samples.len() - fifth..]),
        )
    })
}

/// Children of any thread that nobody has waited for.
pub(crate) fn children() -> Vec<String> {
    let mut found = Vec::new();
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(children.split_whitespace().map(|pid| format!("child {pid}")));
    }
    found
}

/// Cgroups with this in their name, some levels down: in version 1 they lie below the caller's own.
pub(crate) fn cgroups(name: &str) -> Vec<String> {
    fn below(folder: &Path, name: &str, depth: usize, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy().contains(name) {
                found.push(format!("cgroup {}", entry.path().display()));
            }
            if depth > 0 {
                below(&entry.path(), name, depth - 1, found);
            }
        }
    }
    let mut found = Vec::new();
    below(Path::new("/sys/fs/cgroup"), name, 4, &mut found);
    found
}
