//! Many containers, several at a time, from start to gone.
//!
//! Lives here: the row of 200 containers, and the rows against parallelism. Nothing is pinned: several at a time want all
//! cores.

use super::contestant::{Act, Contestant};
use super::series::{Quantity, Table};
use super::stage::Stage;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// The row of the many.
pub(crate) const MANY: &str = "200 containers, 8 at a time";
/// The row against parallelism: time per container.
pub(crate) const PARALLEL: &str = "run true, several at a time";
/// How many at a time.
pub(crate) const POINTS: [u64; 3] = [1, 8, 64];
/// Containers of a row against parallelism.
const BATCH: usize = 128;

/// Measures; each round has hundreds of containers in it.
///
/// # Errors
/// A container could not be run.
pub(crate) fn measure(
    stage: &Stage,
    contestants: &mut [Contestant],
    rounds: usize,
    table: &mut Table,
) -> Result<(), String> {
    for round in 0..rounds {
        println!("containers together, round {round} of {rounds}");
        for who in contestants.iter() {
            table.put(
                MANY,
                Quantity::Time,
                None,
                &who.name,
                run_all(stage, who, 200, 8)?,
            );
            for at in POINTS {
                let nanos = run_all(stage, who, BATCH, usize::try_from(at).unwrap_or(1))?;
                table.put(
                    PARALLEL,
                    Quantity::Time,
                    Some(at),
                    &who.name,
                    nanos / BATCH as u64,
                );
            }
        }
        contestants.rotate_left(1);
    }
    Ok(())
}

/// Runs `count` containers, `at_once` at a time; the nanoseconds of all.
fn run_all(stage: &Stage, who: &Contestant, count: usize, at_once: usize) -> Result<u64, String> {
    let next = AtomicUsize::new(0);
    let begin = Instant::now();
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            let id = format!("xtask-bench-{}-{number}", std::process::id());
            let ran = run(stage, who, &id);
            if ran.is_err() {
                who.sweep(&id);
                return ran;
            }
        }
    };
    let outcomes: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        let ended = workers.into_iter().map(|worker| worker.join());
        ended
            .map(|outcome| outcome.unwrap_or_else(|_| Err("a worker panicked".to_owned())))
            .collect()
    });
    let nanos = begin.elapsed().as_nanos();
    outcomes.into_iter().collect::<Result<Vec<()>, String>>()?;
    Ok(u64::try_from(nanos).unwrap_or(u64::MAX))
}

fn run(stage: &Stage, who: &Contestant, id: &str) -> Result<(), String> {
    let words = who
        .words(Act::Run(&stage.ends, id))
        .ok_or("run is what all can")?;
    let mut command = Command::new(&who.path);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null());
    let status = command
        .status()
        .map_err(|error| format!("{}: {error}", who.name))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!(
            "{}: run, several at a time, ended with {status}",
            who.name
        )),
    }
}
