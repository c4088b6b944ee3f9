//! The smallest memory limit under which a container of busybox `true` starts.
//!
//! What a runtime does inside of the container's cgroup before the program runs is charged to the container: it is found by
//! halving between a limit that is too small and one that is enough. A limit counts as enough when several runs in a row
//! succeed under it.

use super::contestant::{Act, Contestant};
use super::series::{Quantity, Table};
use super::stage::{Stage, edit};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The row.
pub(crate) const ROW: &str = "busybox true starts under";
/// What is surely enough, in KiB.
const LARGE: u64 = 64 * 1024;
/// The kernel counts whole pages; closer is not looked.
const STEP: u64 = 16;
/// Runs that have to succeed.
const RUNS: usize = 3;
/// A runtime may hang under a limit that is too small.
const PATIENCE: Duration = Duration::from_secs(15);

/// Measures; a contestant that needs more than the largest limit is left out, and told.
///
/// # Errors
/// The bundle cannot be made.
pub(crate) fn measure(
    stage: &Stage,
    contestants: &[Contestant],
    rounds: usize,
    table: &mut Table,
) -> Result<Vec<String>, String> {
    let mut left_out = Vec::new();
    for round in 0..rounds {
        for who in contestants.iter().filter(|who| !who.is_floor()) {
            println!("smallest limit of {}, round {round} of {rounds}", who.name);
            let found = smallest(|kib| starts(stage, who, kib))?;
            match found {
                Some(kib) => table.put(ROW, Quantity::Limit, None, &who.name, kib),
                None => left_out.push(format!("{}: {ROW} {LARGE} KiB: it does not", who.name)),
            }
        }
    }
    // Other parts use the bundle, too.
    limit(&stage.ends, None)?;
    Ok(left_out)
}

/// The smallest that is enough, to a step; `None` where the largest is not.
fn smallest(mut is_enough: impl FnMut(u64) -> Result<bool, String>) -> Result<Option<u64>, String> {
    if !is_enough(LARGE)? {
        return Ok(None);
    }
    let (mut small, mut large) = (0, LARGE);
    while large - small > STEP {
        let middle = u64::midpoint(small, large);
        match is_enough(middle)? {
            true => large = middle,
            false => small = middle,
        }
    }
    Ok(Some(large))
}

fn starts(stage: &Stage, who: &Contestant, kib: u64) -> Result<bool, String> {
    limit(&stage.ends, Some(kib))?;
    for _ in 0..RUNS {
        let id = format!("xtask-bench-{}", std::process::id());
        let words = who
            .words(Act::Run(&stage.ends, &id))
            .ok_or("run is what all can")?;
        let child = Command::new(&who.path)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", who.name))?;
        if !ends_well(child)? {
            who.sweep(&id);
            return Ok(false);
        }
    }
    Ok(true)
}

fn limit(bundle: &Path, kib: Option<u64>) -> Result<(), String> {
    edit(bundle, |config| {
        let resources = &mut config["linux"]["resources"];
        match kib {
            Some(kib) => resources["memory"] = serde_json::json!({"limit": kib * 1024}),
            None => {
                resources.as_object_mut().map(|all| all.remove("memory"));
            }
        }
    })
}

/// Whether it ends in time and with success; afterwards it has ended.
fn ends_well(mut child: Child) -> Result<bool, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match child.try_wait().map_err(|error| format!("wait: {error}"))? {
            Some(status) => return Ok(status.success() && status.signal().is_none()),
            None if Instant::now() > deadline => {
                child.kill().map_err(|error| format!("kill: {error}"))?;
                child.wait().map_err(|error| format!("wait: {error}"))?;
                return Ok(false);
            }
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_finds_the_border() {
        for border in [1, 16, 17, 500, 1234, 40_000, LARGE] {
            let found = smallest(|kib| Ok(kib >= border)).unwrap().unwrap();
            assert!(found >= border && found < border + STEP, "{border}: {found}");
        }
        assert_eq!(smallest(|_| Ok(false)), Ok(None));
        assert!(smallest(|_| Err("no".to_owned())).is_err());
    }

    #[test]
    fn ends_are_judged() {
        let shell = |script: &str| Command::new("/bin/sh").args(["-c", script]).spawn().unwrap();
        assert_eq!(ends_well(shell("exit 0")), Ok(true));
        assert_eq!(ends_well(shell("exit 1")), Ok(false));
        assert_eq!(ends_well(shell("kill -9 $$")), Ok(false));
    }
}
