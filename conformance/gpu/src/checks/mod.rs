//! The checks, by what they look at. A check gives its verdict with evidence; what it cannot do on this host it skips.

mod cost;
mod driver;
mod files;
mod hooks;
mod life;
mod requests;
mod rules;

use crate::world::{Ended, World};

/// What became of a check.
#[derive(Debug)]
pub(crate) enum Verdict {
    Passed(String),
    Failed(String),
    Skipped(String),
}

impl From<Result<String, String>> for Verdict {
    fn from(result: Result<String, String>) -> Self {
        match result {
            Ok(evidence) => Self::Passed(evidence),
            Err(evidence) => Self::Failed(evidence),
        }
    }
}

type Check = fn(&World) -> Verdict;

/// Id, sentence, check.
#[rustfmt::skip]
pub(crate) const CHECKS: &[(&str, &str, Check)] = &[
    ("N-01", "of two GPUs the one that was asked for is allowed", rules::one_of_two),
    ("N-02", "every way to ask gives the nodes of the table", requests::table),
    ("N-03", "programs find the driver's libraries in every kind of image", driver::loader),
    ("N-05", "every file of the driver is read-only, nosuid, nodev; none is a directory of its root", driver::mounts),
    ("N-08", "the runtime leaves the image as the toolkit's own hooks do", hooks::same_tree),
    ("N-10", "conflicts, priority and broken files are as in CDI", requests::registry),
    ("N-12", "the image's environment reaches no hook", requests::hook_environment),
    ("N-13", "an old image gets GPUs only where the environment is heard", requests::old_image),
    ("N-14", "NVIDIA_DRIVER_CAPABILITIES chooses the libraries", driver::capabilities),
    ("N-15", "NVIDIA_REQUIRE_* is judged before anything is made", driver::requirements),
    ("N-16", "the driver's libraries are told to make no nodes", driver::params),
    ("N-17", "exec sees what the program sees", rules::exec),
    ("N-18", "update, pause and resume leave the rules as they are", rules::update),
    ("N-22", "rootless: the nodes are there, and the missing rules are told", rules::rootless),
    ("N-23", "network devices, groups and resctrl come by CDI", requests::other_edits),
    ("N-24", "AMD's and Intel's shapes: kfd, dri by path, groups", requests::other_vendors),
    ("N-25", "the devices cost little time", cost::latency),
    ("N-26", "100 creates at once, and killed ones, leave nothing", life::many),
    ("N-27", "a file older than the driver is told from the node that is there", rules::stale),
    ("G-05", "a file that CDI mounts is read-only, without devices and set-id programs", files::mounts),
    ("G-08", "what fails leaves nothing", life::failure),
    ("G-15", "doctor finds the rules in force, and sees when they are not", life::doctor),
];

/// Prints for each node how opening it ends.
pub(crate) const OPEN: &str = "for d in nvidia0 nvidia1 nvidiactl nvidia-uvm; do \
     e=$( (true < /dev/$d) 2>&1 ) && echo $d=open && continue; \
     case \"$e\" in *'No such device or address'*) echo $d=ENXIO;; *'not permitted'*) echo $d=EPERM;; \
     *'o such file'*) echo $d=ENOENT;; *'ermission denied'*) echo $d=EACCES;; *) echo \"$d=$e\";; esac; done";

/// Passes only where both are the same.
pub(crate) fn same(what: &str, found: &str, expected: &str) -> Result<(), String> {
    let tidy = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (found, expected) = (tidy(found), tidy(expected));
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: found {found:?}, expected {expected:?}"))
}

/// What a call printed; its failure is the check's.
pub(crate) fn good(ended: Ended) -> Result<String, String> {
    if ended.good {
        Ok(ended.out)
    } else {
        Err(format!("the runtime failed: {}", ended.err.trim()))
    }
}

/// What a call said that must fail; the words must all be in it.
pub(crate) fn bad(ended: Ended, words: &[&str]) -> Result<String, String> {
    if ended.good {
        return Err(format!("the runtime did not refuse: {}", ended.out.trim()));
    }
    match words.iter().find(|word| !ended.err.contains(**word)) {
        Some(word) => Err(format!("{word:?} is not in {:?}", ended.err.trim())),
        None => Ok(ended.err.trim().to_owned()),
    }
}
