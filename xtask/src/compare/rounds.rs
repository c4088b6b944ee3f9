//! The rounds: which commands every contestant follows, in which order.
//!
//! Must not live here: statistics.

use super::contestant::{Act, Contestant};
use super::profile;
use super::sample::Sample;
use super::series::{Quantity, Table};
use super::stage::Stage;

/// What is measured in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Run,
    RunUser,
    RunTerminal,
    RunNewProfile,
    RunProfile,
    RunScope,
    RunGpu,
    CreateGpu,
    Create,
    Start,
    State,
    Exec,
    Kill,
    Delete,
    DeleteForce,
}

impl Operation {
    /// All.
    pub(crate) const ALL: [Operation; 15] = [
        Operation::Run,
        Operation::RunUser,
        Operation::RunTerminal,
        Operation::RunNewProfile,
        Operation::RunProfile,
        Operation::RunScope,
        Operation::RunGpu,
        Operation::CreateGpu,
        Operation::Create,
        Operation::Start,
        Operation::State,
        Operation::Exec,
        Operation::Kill,
        Operation::Delete,
        Operation::DeleteForce,
    ];

    /// The row in tables and budgets.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Operation::Run => "run true",
            Operation::RunUser => "run, user namespace",
            Operation::RunTerminal => "run, terminal",
            Operation::RunNewProfile => "run, new profile",
            Operation::RunProfile => "run, known profile",
            Operation::RunScope => "run, systemd scope",
            Operation::RunGpu => "run, 2 GPUs",
            Operation::CreateGpu => "create, 2 GPUs",
            Operation::Create => "create",
            Operation::Start => "start",
            Operation::State => "state",
            Operation::Exec => "exec true",
            Operation::Kill => "kill",
            Operation::Delete => "delete, stopped",
            Operation::DeleteForce => "delete --force, running",
        }
    }

    /// What it is, for who reads the report.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Operation::Run => "the default configuration, from the bundle to gone",
            Operation::RunUser => "the same with 65,536 ids mapped",
            Operation::RunTerminal => "run --detach with a console socket",
            Operation::RunNewProfile => "docker's seccomp profile, changed so that it was never seen before",
            Operation::RunProfile => "docker's seccomp profile of 377 names, again and again",
            Operation::RunScope => "with the systemd driver",
            Operation::RunGpu => {
                "nodes, 29 mounts and six hooks; by NVIDIA's program where the runtime does not do them"
            }
            Operation::CreateGpu => "the same up to the wait for start",
            Operation::Create => "up to the wait for start",
            Operation::Start => "of the created container",
            Operation::State => "of the running container",
            Operation::Exec => "true in the running container",
            Operation::Kill => "SIGKILL to the running container",
            Operation::Delete => "of the killed container",
            Operation::DeleteForce => "of a running container",
        }
    }
}

/// Rounds that are thrown away; a contestant that fails in them is taken out, with its reason.
pub(crate) fn warm_up(stage: &Stage, contestants: &mut Vec<Contestant>, rounds: usize) -> Vec<String> {
    let mut reasons = Vec::new();
    for _ in 0..rounds {
        contestants.retain(|contestant| match turn(stage, contestant, false) {
            Ok(_) => true,
            Err(error) => {
                // Some runtimes add a page of stack trace.
                reasons.push(error.lines().next().unwrap_or_default().to_owned());
                false
            }
        });
    }
    reasons
}

/// Measures times and peaks; gives the highest floor that a measuring process had, in KiB.
///
/// # Errors
/// A command failed: a figure over fewer samples would not be comparable.
pub(crate) fn measure(
    stage: &Stage,
    contestants: &mut [Contestant],
    rounds: usize,
    table: &mut Table,
) -> Result<u64, String> {
    let mut floor_kib = 0;
    for round in 0..rounds {
        if round % 10 == 0 {
            println!("round {round} of {rounds}");
        }
        for contestant in contestants.iter() {
            for (operation, sample) in turn(stage, contestant, false)? {
                let (row, name) = (operation.name(), &contestant.name);
                table.put(row, Quantity::Time, None, name, sample.nanos);
                table.put(row, Quantity::Peak, None, name, sample.peak_kib);
                floor_kib = floor_kib.max(sample.floor_kib);
            }
        }
        // The next round begins with another one.
        contestants.rotate_left(usize::from(!contestants.is_empty()));
    }
    Ok(floor_kib)
}

/// Looks at the memory of the same commands when they end.
///
/// # Errors
/// As [`measure`].
pub(crate) fn trace(
    stage: &Stage,
    contestants: &[Contestant],
    rounds: usize,
    table: &mut Table,
) -> Result<(), String> {
    for _ in 0..rounds {
        for contestant in contestants {
            for (operation, sample) in turn(stage, contestant, true)? {
                let (row, name) = (operation.name(), &contestant.name);
                table.put(row, Quantity::Anonymous, None, name, sample.anonymous_kib);
            }
        }
    }
    Ok(())
}

/// All commands of one contestant, once. Leaves no container, on failure neither.
fn turn(stage: &Stage, contestant: &Contestant, trace: bool) -> Result<Vec<(Operation, Sample)>, String> {
    let id = format!("xtask-bench-{}", std::process::id());
    let measured = Turn {
        stage,
        contestant,
        trace,
        measured: Vec::new(),
    }
    .follow(&id);
    if measured.is_err() {
        contestant.sweep(&id);
    }
    measured
}

struct Turn<'a> {
    stage: &'a Stage,
    contestant: &'a Contestant,
    trace: bool,
    measured: Vec<(Operation, Sample)>,
}

impl Turn<'_> {
    /// One id is enough: no two containers live at the same time.
    fn follow(mut self, id: &str) -> Result<Vec<(Operation, Sample)>, String> {
        let (stage, who) = (self.stage, self.contestant);
        self.take(Operation::Run, Act::Run(&stage.ends, id))?;
        if !who.is_floor() {
            self.variants(id)?;
        }
        self.take(Operation::Create, Act::Create(&stage.stays, id))?;
        if who.is_floor() {
            who.must(Act::DeleteForce(id))?;
            return Ok(self.measured);
        }
        self.take(Operation::Start, Act::Start(id))?;
        self.take(Operation::State, Act::State(id))?;
        self.take(Operation::Exec, Act::Exec(id))?;
        self.take(Operation::Kill, Act::Kill(id))?;
        who.wait_stopped(id)?;
        self.take(Operation::Delete, Act::Delete(id))?;
        who.must(Act::RunDetached(&stage.stays, id))?;
        self.take(Operation::DeleteForce, Act::DeleteForce(id))?;
        Ok(self.measured)
    }

    /// Containers that the floor does not make.
    fn variants(&mut self, id: &str) -> Result<(), String> {
        let (stage, who) = (self.stage, self.contestant);
        self.take(Operation::RunUser, Act::Run(&stage.user, id))?;
        let socket = stage.place("console");
        self.take(
            Operation::RunTerminal,
            Act::RunTerminal(&stage.terminal, id, &socket),
        )?;
        who.must(Act::DeleteForce(id))?;
        profile::put_new(&stage.new_profile)?;
        self.take(Operation::RunNewProfile, Act::Run(&stage.new_profile, id))?;
        self.take(Operation::RunProfile, Act::Run(&stage.profile, id))?;
        if let Some(scope) = &stage.scope {
            self.take(Operation::RunScope, Act::RunScope(scope, id))?;
        }
        if stage.gpu_hook || who.is_own() {
            self.take(Operation::RunGpu, Act::Run(&stage.gpu, id))?;
            self.take(Operation::CreateGpu, Act::Create(&stage.gpu, id))?;
            who.must(Act::DeleteForce(id))?;
        }
        Ok(())
    }

    fn take(&mut self, operation: Operation, act: Act<'_>) -> Result<(), String> {
        if let Some(sample) = self.stage.take(self.contestant, act, self.trace)? {
            self.measured.push((operation, sample));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Operation::ALL.iter().map(|one| one.name()).collect();
        assert_eq!(names.len(), Operation::ALL.len());
        assert!(Operation::ALL.iter().all(|one| one.about().len() > 10));
    }
}
