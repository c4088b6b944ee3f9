//! The checks, by what they look at. A check gives its verdict with evidence; what it cannot do on this host it skips.

mod compat;
mod cost;
mod driver;
mod files;
mod hooks;
mod hostile;
mod life;
mod requests;
mod rules;
mod toolkit;

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

/// Who judges.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Judge {
    /// This program does.
    Here(fn(&World) -> Verdict),
    /// Another test does, by this command; it prints the same line of JSON.
    Elsewhere(&'static str),
}

use Judge::{Elsewhere, Here};

/// Id, sentence, who judges.
#[rustfmt::skip]
pub(crate) const CHECKS: &[(&str, &str, Judge)] = &[
    ("N-01", "of two GPUs the one that was asked for is allowed", Here(rules::one_of_two)),
    ("N-02", "every way to ask gives the nodes of the table", Here(requests::table)),
    ("N-03", "programs find the driver's libraries in every kind of image", Here(driver::loader)),
    ("N-04", "the image's newer libcuda goes first, an older or hostile one does not", Here(compat::forward)),
    ("N-05", "every file of the driver is read-only, nosuid, nodev; none is a directory of its root", Here(driver::mounts)),
    ("N-06", "the links in the image are those of the toolkit's create-symlinks", Here(toolkit::same_links)),
    ("N-07", "the CDI file says what the toolkit's says", Here(toolkit::same_file)),
    ("N-08", "the runtime leaves the image as the toolkit's own hooks do", Here(hooks::same_tree)),
    ("N-09", "CDI files are judged and applied as Go's library does",
        Elsewhere("cargo test -p runtime-core --test cdi_conformance -- --nocapture")),
    ("N-10", "conflicts, priority and broken files are as in CDI", Here(requests::registry)),
    ("N-11", "hostile images and exchanged names lead nowhere, and hold nobody up", Here(hostile::images)),
    ("N-12", "the image's environment reaches no hook", Here(requests::hook_environment)),
    ("N-13", "an old image gets GPUs only where the environment is heard", Here(requests::old_image)),
    ("N-14", "NVIDIA_DRIVER_CAPABILITIES chooses the libraries", Here(driver::capabilities)),
    ("N-15", "NVIDIA_REQUIRE_* is judged before anything is made", Here(driver::requirements)),
    ("N-16", "the driver's libraries are told to make no nodes", Here(driver::params)),
    ("N-17", "exec sees what the program sees", Here(rules::exec)),
    ("N-18", "update, pause and resume leave the rules as they are", Here(rules::update)),
    ("N-19", "what systemd does leaves the device rules as they are, cgroup v2",
        Elsewhere("cargo test -p runtime-cli --test systemd devices_survive_systemd -- --nocapture, as root on a host with systemd")),
    ("N-20", "what systemd does leaves the device rules as they are, cgroup v1",
        Elsewhere("cargo test -p runtime-cli --test systemd devices_survive_systemd -- --nocapture, as root on a host with systemd")),
    ("N-21", "the device program answers as its rules mean",
        Elsewhere("cargo test -p runtime-core --lib the_program_answers_as_the_rules_mean -- --nocapture")),
    ("N-22", "rootless: the nodes are there, and the missing rules are told", Here(rules::rootless)),
    ("N-23", "network devices, groups and resctrl come by CDI", Here(requests::other_edits)),
    ("N-24", "AMD's and Intel's shapes: kfd, dri by path, groups", Here(requests::other_vendors)),
    ("N-25", "the devices cost little time", Here(cost::latency)),
    ("N-26", "100 creates at once, and killed ones, leave nothing", Here(life::many)),
    ("N-27", "a file older than the driver is told from the node that is there", Here(rules::stale)),
    ("N-28", "engines bring GPUs by CDI through this runtime",
        Elsewhere("cargo xtask engines --suite sid --only gpu docker podman containerd, as root")),
    ("G-05", "a file that CDI mounts is read-only, without devices and set-id programs", Here(files::mounts)),
    ("G-08", "what fails leaves nothing", Here(life::failure)),
    ("G-15", "doctor finds the rules in force, and sees when they are not", Here(life::doctor)),
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
