//! What stays: the memory of a container that waits for its start, and the sizes of the programs.

use super::contestant::{Act, Contestant};
use super::sample::figure;
use super::series::{Quantity, Table};
use super::stage::Stage;

/// The row of the process that waits in a created container.
pub(crate) const WAITING: &str = "waiting container's process";
/// The row of the program's file.
pub(crate) const PROGRAM: &str = "program";

/// Measures.
///
/// # Errors
/// A container cannot be created, or its process not be seen.
pub(crate) fn measure(
    stage: &Stage,
    contestants: &[Contestant],
    rounds: usize,
    table: &mut Table,
) -> Result<(), String> {
    for who in contestants.iter().filter(|who| !who.is_floor()) {
        if let Some(bytes) = who.bytes() {
            table.put(PROGRAM, Quantity::Size, None, &who.name, bytes);
        }
        for _ in 0..rounds {
            let (resident, anonymous) = waiting(stage, who)?;
            table.put(WAITING, Quantity::Resident, None, &who.name, resident);
            table.put(WAITING, Quantity::Anonymous, None, &who.name, anonymous);
        }
    }
    Ok(())
}

/// Resident and anonymous KiB.
fn waiting(stage: &Stage, who: &Contestant) -> Result<(u64, u64), String> {
    let id = format!("xtask-bench-{}", std::process::id());
    who.must(Act::Create(&stage.stays, &id))?;
    let seen = who.state(&id).and_then(|state| rollup(&state["pid"].to_string()));
    who.must(Act::DeleteForce(&id))?;
    seen
}

fn rollup(pid: &str) -> Result<(u64, u64), String> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let both = figure(&text, "Rss").zip(figure(&text, "Anonymous"));
    both.ok_or_else(|| format!("{path} has no Rss and Anonymous"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory() {
        let (resident, anonymous) = rollup("self").unwrap();
        assert!(resident >= anonymous && anonymous > 0, "{resident} {anonymous}");
        assert!(rollup("0").is_err());
    }
}
