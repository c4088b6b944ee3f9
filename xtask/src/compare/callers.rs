//! What `create` costs a large caller, and one on a host with many mounts.
//!
//! Callers of all sizes are held at the same time, and each round goes through all of them: what else the host does hits all
//! alike. The library is called by `runtime-core/examples/caller.rs`, which is built for it.

use super::contestant::{Act, Contestant};
use super::held::{self, Held};
use super::series::{Quantity, Table};
use super::stage::Stage;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The row of the command line called by a large process.
pub(crate) const CALLER: &str = "create by a large caller";
/// The row of the library in a large process.
pub(crate) const LIBRARY: &str = "create by the library in a large process";
/// Resident MiB of the caller.
pub(crate) const MIB: [u64; 4] = [4, 64, 1_024, 4_096];
/// The row of a host with many mounts.
pub(crate) const MOUNTS: &str = "create on a host with many mounts";
/// How many mounts more than the host has.
pub(crate) const COUNTS: [u64; 4] = [10, 100, 1_000, 10_000];
/// After a container: its namespace with all the mounts is taken apart by the kernel, later and for the next one to wait for.
const PAUSE: Duration = Duration::from_millis(100);
/// The most of the host's free memory that callers may take together.
const SHARE: u64 = 2;

/// Measures callers with resident memory; `library` is the example. Points that the host has no memory for are left out, and
/// told.
///
/// # Errors
/// A command failed.
pub(crate) fn memory(
    stage: &Stage,
    contestants: &[Contestant],
    library: &Path,
    rounds: usize,
    table: &mut Table,
) -> Result<Vec<String>, String> {
    let (points, left_out) = fitting(available_mib()?);
    println!("callers of {points:?} MiB");
    let mut callers = hold(stage, points, |mib| format!("resident={mib}"))?;
    follow(stage, contestants, &mut callers, CALLER, rounds, table)?;
    drop(callers);
    let mut callers = Vec::new();
    for mib in points {
        let state = stage.place(&format!("library-{mib}"));
        let words = [state, stage.stays.clone(), PathBuf::from(mib.to_string())];
        let words = words.map(|word| word.to_string_lossy().into_owned());
        callers.push((*mib, Held::start(library, &words)?));
    }
    for round in 0..rounds {
        for (mib, caller) in &mut callers {
            let id = format!("xtask-bench-{}-{round}", std::process::id());
            let nanos = caller.take(&[&id])?;
            table.put(LIBRARY, Quantity::Time, Some(*mib), super::contestant::OWN, nanos);
        }
    }
    Ok(left_out)
}

/// Measures hosts with many mounts.
///
/// # Errors
/// A command failed.
pub(crate) fn mounts(
    stage: &Stage,
    contestants: &[Contestant],
    rounds: usize,
    table: &mut Table,
) -> Result<(), String> {
    let dir = stage.place("mounts");
    std::fs::create_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    println!("hosts with {COUNTS:?} mounts");
    let mut callers = hold(stage, &COUNTS, |count| {
        format!("mounts={count}:{}", dir.display())
    })?;
    follow(stage, contestants, &mut callers, MOUNTS, rounds, table)
}

fn hold(stage: &Stage, points: &[u64], word: impl Fn(u64) -> String) -> Result<Vec<(u64, Held)>, String> {
    let start = |point: &u64| {
        let core = stage.core.map(|core| format!("core={core}"));
        let words: Vec<String> = [held::NAME.to_owned(), word(*point)]
            .into_iter()
            .chain(core)
            .collect();
        Ok((*point, Held::start(&stage.sampler, &words)?))
    };
    points.iter().map(start).collect()
}

/// Each contestant by each caller in each round; the first round is thrown away.
fn follow(
    stage: &Stage,
    contestants: &[Contestant],
    callers: &mut [(u64, Held)],
    row: &str,
    rounds: usize,
    table: &mut Table,
) -> Result<(), String> {
    let id = format!("xtask-bench-{}", std::process::id());
    for round in 0..=rounds {
        for who in contestants {
            for (point, caller) in callers.iter_mut() {
                let (create, delete) = (Act::Create(&stage.stays, &id), Act::DeleteForce(&id));
                let (Some(create), Some(delete)) = (who.words(create), who.words(delete)) else {
                    continue;
                };
                let nanos = order(caller, who, &create);
                // By the same caller: what was made may be seen in its mount namespace alone.
                let deleted = order(caller, who, &delete);
                if who.is_floor() {
                    who.forget(&id);
                }
                let nanos = nanos.and_then(|nanos| deleted.map(|_| nanos))?;
                std::thread::sleep(PAUSE);
                if round > 0 {
                    table.put(row, Quantity::Time, Some(*point), &who.name, nanos);
                }
            }
        }
    }
    Ok(())
}

fn order(caller: &mut Held, who: &Contestant, words: &[String]) -> Result<u64, String> {
    let path = who.path.to_string_lossy();
    let line: Vec<&str> = std::iter::once(&*path)
        .chain(words.iter().map(String::as_str))
        .collect();
    caller.take(&line)
}

/// The points that fit together, and words for those that do not.
fn fitting(available: u64) -> (&'static [u64], Vec<String>) {
    let fits = |count: &usize| MIB[..*count].iter().sum::<u64>() <= available / SHARE;
    let count = (1..=MIB.len()).rev().find(fits).unwrap_or(1);
    let left_out = MIB[count..]
        .iter()
        .map(|mib| format!("callers of {mib} MiB: {available} MiB are available here"))
        .collect();
    (&MIB[..count], left_out)
}

fn available_mib() -> Result<u64, String> {
    let text = std::fs::read_to_string("/proc/meminfo").map_err(|error| format!("meminfo: {error}"))?;
    let kib = super::sample::figure(&text, "MemAvailable").ok_or("meminfo has no MemAvailable")?;
    Ok(kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_take_at_most_their_share() {
        assert_eq!(fitting(64 * 1024), (&MIB[..], Vec::new()));
        let (points, left_out) = fitting(4 * 1024);
        assert_eq!((points, left_out.len()), (&MIB[..3], 1));
        assert_eq!(fitting(0).0, [4]);
        assert!(available_mib().unwrap() > 0);
    }
}
