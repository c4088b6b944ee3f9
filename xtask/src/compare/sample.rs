//! One measurement in a process of its own: `xtask sample-command [core=N] [trace] [console=PATH] -- PROGRAM [ARGUMENT]...`.
//!
//! Lives here: both ends of that process. It exists because the kernel keeps the peak memory of children as one
//! number per parent (getrusage(2), RUSAGE_CHILDREN): only a fresh parent knows whose it is. Its own memory is a floor
//! under what it can see, as a child begins as a picture of its parent; the floor is measured and reported.

use super::traced;
use crate::Outcome;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::Pid;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// The word that selects this.
pub(crate) const NAME: &str = "sample-command";

/// How a command is run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct How<'a> {
    /// The core that it is pinned to, if it is.
    pub(crate) core: Option<usize>,
    /// Whether its memory is looked at when it ends; its time is of no use then.
    pub(crate) trace: bool,
    /// Where somebody has to listen for a terminal while it runs.
    pub(crate) console: Option<&'a Path>,
}

impl How<'_> {
    fn words(&self) -> Vec<String> {
        let core = self.core.map(|core| format!("core={core}"));
        let trace = self.trace.then(|| "trace".to_owned());
        let console = self.console.map(|path| format!("console={}", path.display()));
        [core, trace, console].into_iter().flatten().collect()
    }

    fn read<'a>(words: &[&'a str]) -> Result<How<'a>, String> {
        let mut how = How::default();
        for word in words {
            match word.split_once('=') {
                Some(("core", core)) => {
                    how.core = Some(core.parse().map_err(|_| format!("{core:?} is not a core"))?);
                }
                Some(("console", path)) => how.console = Some(Path::new(path)),
                None if *word == "trace" => how.trace = true,
                _ => return Err(format!("{NAME}: {word:?} is not understood")),
            }
        }
        Ok(how)
    }
}

/// What was measured of one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// From before the start to after the wait, in nanoseconds.
    pub(crate) nanos: u64,
    /// The largest resident set among the command and what it waited for, in KiB; when traced, the command's own.
    pub(crate) peak_kib: u64,
    /// The largest resident set of the measuring process, in KiB.
    pub(crate) floor_kib: u64,
    /// Anonymous memory of the command at its end, in KiB; 0 when it was not traced.
    pub(crate) anonymous_kib: u64,
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

/// The measuring process: runs the command as told and prints four numbers.
///
/// # Errors
/// The command cannot be run, or failed: its own words were on stderr.
pub(crate) fn measure(words: &[&str]) -> Outcome {
    let usage =
        || format!("{NAME} [core=N] [trace] [console=PATH] -- PROGRAM [ARGUMENT]... is for bench alone");
    let at = words.iter().position(|word| *word == "--").ok_or_else(usage)?;
    let how = How::read(&words[..at])?;
    let [program, arguments @ ..] = &words[at + 1..] else {
        return Err(usage());
    };
    if let Some(core) = how.core {
        pin(core)?;
    }
    // A terminal that comes stays in the socket until this process ends: nobody has to take it.
    let _listening = how
        .console
        .map(|path| UnixListener::bind(path).map_err(|error| format!("{}: {error}", path.display())))
        .transpose()?;
    let sample = match how.trace {
        true => traced::sample(program, arguments)?,
        false => timed(program, arguments)?,
    };
    println!(
        "{} {} {} {}",
        sample.nanos, sample.peak_kib, sample.floor_kib, sample.anonymous_kib
    );
    Ok(true)
}

fn timed(program: &str, arguments: &[&str]) -> Result<Sample, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    let begin = Instant::now();
    let status = command.status().map_err(|error| format!("{program}: {error}"))?;
    let nanos = begin.elapsed().as_nanos();
    if !status.success() {
        return Err(format!("{program} {} ended with {status}", arguments.join(" ")));
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|errno| format!("getrusage: {errno}"))?;
    Ok(Sample {
        nanos: u64::try_from(nanos).unwrap_or(u64::MAX),
        peak_kib: u64::try_from(usage.max_rss()).unwrap_or(0),
        floor_kib: of_status("self", "VmHWM")?,
        anonymous_kib: 0,
    })
}

/// Keeps this process and its children on one core.
///
/// # Errors
/// There is no such core, or it may not be used.
pub(crate) fn pin(core: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    set.set(core).map_err(|errno| format!("core {core}: {errno}"))?;
    sched_setaffinity(Pid::from_raw(0), &set).map_err(|errno| format!("sched_setaffinity {core}: {errno}"))
}

/// A figure of `/proc/PID/status`, in KiB. VmHWM is the peak since execve; RUSAGE_SELF would count the parent in, as
/// execve(2) keeps the old number.
///
/// # Errors
/// The file cannot be read or has no such line.
pub(crate) fn of_status(pid: &str, key: &str) -> Result<u64, String> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    figure(&status, key).ok_or_else(|| format!("{path} has no {key}"))
}

/// The number of a line `KEY:   NUMBER kB`.
pub(crate) fn figure(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(key)?.strip_prefix(':')?;
        rest.trim().strip_suffix("kB")?.trim().parse().ok()
    })
}

/// Measures one command through such a process; `sampler` is this program in its smallest form.
///
/// # Errors
/// What the process said on stderr, the command's own words among it.
pub(crate) fn take(
    sampler: &Path,
    how: How<'_>,
    program: &Path,
    arguments: &[&str],
) -> Result<Sample, String> {
    let mut command = Command::new(sampler);
    command
        .arg(NAME)
        .args(how.words())
        .arg("--")
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
    if let Some(path) = how.console {
        // It may have failed before it listened.
        let _ = std::fs::remove_file(path);
    }
    if !output.status.success() {
        return Err(said.trim().to_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<u64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    match numbers.as_slice() {
        [nanos, peak_kib, floor_kib, anonymous_kib] => Ok(Sample {
            nanos: *nanos,
            peak_kib: *peak_kib,
            floor_kib: *floor_kib,
            anonymous_kib: *anonymous_kib,
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
        assert!((100..1_000_000).contains(&of_status("self", "VmHWM").unwrap()));
        assert!(of_status("self", "VmNothing").is_err());
        assert_eq!(figure("A: 1 kB\nRss:     77 kB\n", "Rss"), Some(77));
    }

    #[test]
    fn a_sample_needs_a_program_and_is_told_how() {
        let how = How {
            core: Some(3),
            trace: true,
            console: Some(Path::new("/a=b")),
        };
        let words = how.words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(How::read(&words), Ok(how));
        for wrong in [
            &[][..],
            &["--"],
            &["/bin/true"],
            &["core=none", "--", "/bin/true"],
            &["fast", "--", "/bin/true"],
        ] {
            assert!(measure(wrong).is_err(), "{wrong:?}");
        }
    }
}
