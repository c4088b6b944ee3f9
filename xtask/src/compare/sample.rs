//! One measurement in a process of its own: `xtask sample-command CORE|all PROGRAM [ARGUMENT]...`.
//!
//! Lives here: both ends of that process. It exists because the kernel keeps the peak memory of children as one
//! number per parent (getrusage(2), RUSAGE_CHILDREN): only a fresh parent knows whose it is. Its own memory is a floor
//! under what it can see, as a child begins as a picture of its parent; the floor is measured and reported.

use crate::Outcome;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::Pid;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// The word that selects this.
pub(crate) const NAME: &str = "sample-command";

/// The word in the place of a core for no pinning.
const ALL: &str = "all";

/// What was measured of one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// From before the start to after the wait, in nanoseconds.
    pub(crate) nanos: u64,
    /// The largest resident set among the command and what it waited for, in KiB.
    pub(crate) peak_kib: u64,
    /// The largest resident set of the measuring process, in KiB.
    pub(crate) floor_kib: u64,
}

/// The last core that this process may use; the first ones get more of the host's interrupts.
///
/// # Errors
/// sched_getaffinity(2) fails.
pub(crate) fn last_core() -> Result<usize, String> {
    let set = sched_getaffinity(Pid::from_raw(0)).map_err(|errno| format!("sched_getaffinity: {errno}"))?;
    (0..CpuSet::count())
        .rev()
        .find(|core| set.is_set(*core).unwrap_or(false))
        .ok_or_else(|| "sched_getaffinity names no core".to_owned())
}

/// The measuring process: runs the command on the core, or where it likes, and prints three numbers.
///
/// # Errors
/// The command cannot be run, or failed: its own words were on stderr.
pub(crate) fn measure(words: &[&str]) -> Outcome {
    let [core, program, arguments @ ..] = words else {
        return Err(format!(
            "{NAME} CORE|{ALL} PROGRAM [ARGUMENT]... is for bench alone"
        ));
    };
    if *core != ALL {
        pin(core)?;
    }
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    let begin = Instant::now();
    let status = command.status().map_err(|error| format!("{program}: {error}"))?;
    let nanos = begin.elapsed().as_nanos();
    if !status.success() {
        return Err(format!("{program} {} ended with {status}", arguments.join(" ")));
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|errno| format!("getrusage: {errno}"))?;
    let (children, own) = (usage.max_rss(), own_peak()?);
    println!("{nanos} {children} {own}");
    Ok(true)
}

fn pin(core: &str) -> Result<(), String> {
    let mut set = CpuSet::new();
    let core = core.parse().map_err(|_| format!("{core:?} is not a core"))?;
    set.set(core).map_err(|errno| format!("core {core}: {errno}"))?;
    sched_setaffinity(Pid::from_raw(0), &set).map_err(|errno| format!("sched_setaffinity {core}: {errno}"))
}

/// The peak of this process since its execve, in KiB. RUSAGE_SELF would count its parent in, as execve(2) keeps the old
/// number.
fn own_peak() -> Result<u64, String> {
    let status =
        std::fs::read_to_string("/proc/self/status").map_err(|error| format!("own status: {error}"))?;
    status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmHWM:")?
                .trim()
                .strip_suffix("kB")?
                .trim()
                .parse()
                .ok()
        })
        .ok_or_else(|| "own status has no VmHWM".to_owned())
}

/// Measures one command through such a process; `sampler` is this program in its smallest form.
///
/// # Errors
/// What the process said on stderr, the command's own words among it.
pub(crate) fn take(
    sampler: &Path,
    core: Option<usize>,
    program: &Path,
    arguments: &[&str],
) -> Result<Sample, String> {
    let mut command = Command::new(sampler);
    command
        .arg(NAME)
        .arg(core.map_or(ALL.to_owned(), |core| core.to_string()))
        .arg(program)
        .args(arguments);
    // A container inherits stderr and outlives the command: a pipe would not end before the container does.
    let log = std::env::temp_dir().join(format!("bench-stderr-{}", std::process::id()));
    let file = std::fs::File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    let output = command
        .stdin(Stdio::null())
        .stderr(file)
        .output()
        .map_err(|error| error.to_string())?;
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    // The next measurement makes it anew, the last one leaves nothing.
    let _ = std::fs::remove_file(&log);
    if !output.status.success() {
        return Err(said.trim().to_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<u64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    match numbers.as_slice() {
        [nanos, peak_kib, floor_kib] => Ok(Sample {
            nanos: *nanos,
            peak_kib: *peak_kib,
            floor_kib: *floor_kib,
        }),
        _ => Err(format!("the measuring process printed {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_last_core() {
        assert!(last_core().unwrap() < CpuSet::count());
    }

    #[test]
    fn the_own_peak_is_known() {
        assert!((100..1_000_000).contains(&own_peak().unwrap()));
    }

    #[test]
    fn a_sample_needs_a_core_and_a_program() {
        assert!(measure(&[]).is_err());
        assert!(measure(&["0"]).is_err());
        assert!(measure(&["none", "/bin/true"]).is_err());
    }
}
