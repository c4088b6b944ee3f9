//! What `create` costs beside living containers, and `list` of many.
//!
//! Each runtime in its turn: the containers that live are its own, in its own state directory. The floor keeps none, so it has
//! no part in this.

use super::contestant::{Act, Contestant};
use super::series::{Quantity, Table};
use super::stage::Stage;

/// The row of `create`.
pub(crate) const CREATE: &str = "create beside living containers";
/// The row of `list`.
pub(crate) const LIST: &str = "list of 1,000 containers";
/// How many live.
pub(crate) const POINTS: [u64; 4] = [0, 500, 1_000, 2_000];
/// Where `list` is measured.
const LISTED: u64 = 1_000;
/// How many are made at a time.
const WORKERS: u64 = 8;

/// Measures; `rounds` at each point.
///
/// # Errors
/// A command failed.
pub(crate) fn measure(
    stage: &Stage,
    contestants: &[Contestant],
    rounds: usize,
    table: &mut Table,
) -> Result<(), String> {
    for who in contestants.iter().filter(|who| !who.is_floor()) {
        let mut made = 0;
        let outcome = grow(stage, who, rounds, table, &mut made);
        // Whatever happened: nothing of it may live on.
        let ended = each(made, |number| {
            who.sweep(&living(number));
            Ok(())
        });
        outcome.and(ended)?;
    }
    Ok(())
}

fn grow(
    stage: &Stage,
    who: &Contestant,
    rounds: usize,
    table: &mut Table,
    made: &mut u64,
) -> Result<(), String> {
    for point in POINTS {
        println!("{}: beside {point} living containers", who.name);
        let before = *made;
        // Counted first: one that was made and then failed is to be ended, too.
        *made = point;
        each(point - before, |number| {
            who.must(Act::RunDetached(&stage.stays, &living(before + number)))
        })?;
        for _ in 0..rounds {
            create(stage, who, point, table)?;
            if point == LISTED
                && let Some(sample) = stage.take(who, Act::List, false)?
            {
                table.put(LIST, Quantity::Time, None, &who.name, sample.nanos);
                table.put(LIST, Quantity::Peak, None, &who.name, sample.peak_kib);
            }
        }
    }
    Ok(())
}

fn create(stage: &Stage, who: &Contestant, point: u64, table: &mut Table) -> Result<(), String> {
    let id = format!("xtask-bench-{}", std::process::id());
    let sample = stage.take(who, Act::Create(&stage.stays, &id), false)?;
    if let Some(sample) = sample {
        table.put(CREATE, Quantity::Time, Some(point), &who.name, sample.nanos);
    }
    who.must(Act::DeleteForce(&id))
}

fn living(number: u64) -> String {
    format!("xtask-bench-{}-lives-{number}", std::process::id())
}

/// Does `one` for all numbers below `count`, several at a time; the first failure of each worker ends it.
fn each(count: u64, one: impl Fn(u64) -> Result<(), String> + Sync) -> Result<(), String> {
    let work = |first: u64| {
        (first..count)
            .step_by(usize::try_from(WORKERS).unwrap_or(1))
            .try_for_each(&one)
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|first| scope.spawn(move || work(first)))
            .collect();
        let ended = workers.into_iter().map(|worker| worker.join());
        ended
            .map(|outcome| outcome.unwrap_or_else(|_| Err("a worker panicked".to_owned())))
            .collect::<Result<Vec<()>, String>>()
            .map(drop)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn every_number_comes_once() {
        let seen = Mutex::new(Vec::new());
        each(20, |number| {
            seen.lock().unwrap().push(number);
            Ok(())
        })
        .unwrap();
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (0..20).collect::<Vec<_>>());
        assert!(
            each(3, |number| if number == 2 {
                Err("no".to_owned())
            } else {
                Ok(())
            })
            .is_err()
        );
        assert!(POINTS.contains(&LISTED) && POINTS[0] == 0);
    }
}
