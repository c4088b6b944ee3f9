//! The tests, one file per topic. A body is a few lines: a bundle, the runtime, an expectation.

mod attacks;
mod bad_input;
mod cgroup;
mod commands;
mod devices;
mod hook;
mod identity;
mod kill;
mod labels;
mod lifecycle;
mod limits;
mod mount_options;
mod mount_places;
mod namespace;
mod process;
mod rootless;
mod seccomp;
mod stdio;

use crate::args::Args;
use crate::suite::{Chapter, Test};

const TOPICS: [(Chapter, &[Test]); 29] = [
    (Chapter::Lifecycle, lifecycle::TESTS),
    (Chapter::Lifecycle, kill::TESTS),
    (Chapter::Lifecycle, commands::TESTS),
    (Chapter::Lifecycle, stdio::TESTS),
    (Chapter::Namespace, namespace::TESTS),
    (Chapter::Mount, mount_options::TESTS),
    (Chapter::Mount, mount_places::TESTS),
    (Chapter::Mount, devices::TESTS),
    (Chapter::Process, process::TESTS),
    (Chapter::Process, identity::TESTS),
    (Chapter::Process, seccomp::TESTS),
    (Chapter::Process, labels::TESTS),
    (Chapter::Hook, hook::TESTS),
    (Chapter::Cgroup, cgroup::TESTS),
    (Chapter::Cgroup, limits::TESTS),
    (Chapter::Error, bad_input::TESTS),
    (Chapter::Rootless, rootless::TESTS),
    (Chapter::Attacks, attacks::dev::TESTS),
    (Chapter::Attacks, attacks::consoles::TESTS),
    (Chapter::Attacks, attacks::proc::TESTS),
    (Chapter::Attacks, attacks::races::TESTS),
    (Chapter::Attacks, attacks::descriptors::TESTS),
    (Chapter::Attacks, attacks::binary::TESTS),
    (Chapter::Attacks, attacks::privileges::TESTS),
    (Chapter::Attacks, attacks::settings::TESTS),
    (Chapter::Attacks, attacks::files::TESTS),
    (Chapter::Attacks, attacks::input::TESTS),
    (Chapter::Attacks, attacks::life::TESTS),
    (Chapter::Attacks, attacks::elsewhere::TESTS),
];

/// Every test, in the order of a run.
pub(crate) fn all() -> Vec<(Chapter, Test)> {
    TOPICS
        .iter()
        .flat_map(|(chapter, tests)| tests.iter().map(|test| (*chapter, *test)))
        .collect()
}

/// The tests that the command line asks for; none at all is an error.
pub(crate) fn select(args: &Args) -> Result<Vec<(Chapter, Test)>, String> {
    let wanted = |(chapter, test): &(Chapter, Test)| {
        let name = format!("{chapter}/{}", test.name);
        let by_chapter = args.chapters.is_empty() || args.chapters.contains(chapter);
        by_chapter && (args.filter.is_empty() || args.filter.iter().any(|part| name.contains(part.as_str())))
    };
    let tests: Vec<_> = all().into_iter().filter(wanted).collect();
    if tests.is_empty() {
        return Err(format!(
            "--chapter, --filter: no test matches {:?} {:?}",
            args.chapters, args.filter
        ));
    }
    Ok(tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_anchored() {
        let mut names: Vec<String> = all()
            .iter()
            .map(|(chapter, test)| format!("{chapter}/{}", test.name))
            .collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(all().iter().all(|(chapter, test)| match chapter {
            Chapter::Attacks => test.name.starts_with('t') && !test.anchor.is_empty(),
            _ => test.anchor == "cli" || test.anchor.contains(".md#"),
        }));
    }
}
