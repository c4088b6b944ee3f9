//! Results for people and for machines.

use crate::runner::{Counts, Outcome, Run, Verdict, count};
use crate::suite::{Chapter, Test};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// One line per test: name, anchor, needs.
pub(crate) fn list(out: &mut impl Write, tests: &[(Chapter, Test)]) -> io::Result<()> {
    for (chapter, test) in tests {
        let needs: Vec<String> = test.needs.iter().map(ToString::to_string).collect();
        writeln!(
            out,
            "{chapter}/{:<44} {:<48} {}",
            test.name,
            test.anchor,
            needs.join(", ")
        )?;
    }
    writeln!(out, "{} tests", tests.len())
}

/// One result as it comes, on stderr.
pub(crate) fn progress(outcome: &Outcome) {
    let (word, reason) = words(&outcome.verdict);
    let millis = outcome.took.as_millis();
    // Progress is a courtesy; a closed stderr must not end the run.
    let _ = writeln!(
        io::stderr(),
        "{word:<7} {:<52} {millis:>5} ms  {reason}",
        outcome.full_name()
    );
}

/// The table of one runtime, and everything that did not pass.
pub(crate) fn table(out: &mut impl Write, run: &Run) -> io::Result<()> {
    writeln!(out, "{} ({})", run.runtime.display(), run.version)?;
    writeln!(
        out,
        "  {:<10} {:>6} {:>6} {:>6} {:>7}",
        "chapter", "passed", "failed", "known", "skipped"
    )?;
    for chapter in Chapter::ALL {
        let of_chapter = || run.outcomes.iter().filter(|outcome| outcome.chapter == chapter);
        if of_chapter().next().is_some() {
            row(out, &chapter.to_string(), count(of_chapter()))?;
        }
    }
    row(out, "total", run.counts())?;
    skips(out, run)?;
    for outcome in &run.outcomes {
        let (word, reason) = words(&outcome.verdict);
        if outcome.verdict != Verdict::Passed {
            writeln!(
                out,
                "  {word:<7} {} [{}]: {reason}",
                outcome.full_name(),
                outcome.test.anchor
            )?;
        }
    }
    writeln!(out)
}

/// How many were skipped for each reason, the most frequent first.
fn skips(out: &mut impl Write, run: &Run) -> io::Result<()> {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for outcome in &run.outcomes {
        if let Verdict::Skipped(reason) = &outcome.verdict {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    let mut reasons: Vec<(&str, usize)> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (reason, count) in reasons {
        writeln!(out, "  {count:>4} skipped: {reason}")?;
    }
    Ok(())
}

fn row(out: &mut impl Write, name: &str, counts: Counts) -> io::Result<()> {
    let Counts {
        passed,
        failed,
        known,
        skipped,
    } = counts;
    writeln!(
        out,
        "  {name:<10} {passed:>6} {failed:>6} {known:>6} {skipped:>7}"
    )
}

/// The line that scripts read: exactly `N passed, N failed, N skipped`. Known differences were run and came out as
/// listed; they are shown in the table and counted nowhere here, neither as passed nor as skipped.
pub(crate) fn last_line(out: &mut impl Write, run: &Run) -> io::Result<()> {
    let counts = run.counts();
    writeln!(
        out,
        "{} passed, {} failed, {} skipped",
        counts.passed, counts.failed, counts.skipped
    )
}

/// Everything as JSON.
pub(crate) fn json(runs: &[Run]) -> Value {
    let one = |outcome: &Outcome| {
        let (word, reason) = words(&outcome.verdict);
        json!({
            "name": outcome.full_name(),
            "anchor": outcome.test.anchor,
            "result": word,
            "reason": reason,
            "note": outcome.note,
            "milliseconds": u64::try_from(outcome.took.as_millis()).unwrap_or(u64::MAX),
        })
    };
    let run = |run: &Run| {
        let counts = run.counts();
        json!({
            "runtime": run.runtime,
            "version": run.version,
            "passed": counts.passed,
            "failed": counts.failed,
            "known": counts.known,
            "skipped": counts.skipped,
            "tests": run.outcomes.iter().map(one).collect::<Vec<_>>(),
        })
    };
    json!({"runs": runs.iter().map(run).collect::<Vec<_>>()})
}

fn words(verdict: &Verdict) -> (&'static str, &str) {
    match verdict {
        Verdict::Passed => ("passed", ""),
        Verdict::Failed(reason) => ("FAILED", reason),
        Verdict::Known(reason) => ("known", reason),
        Verdict::Skipped(reason) => ("skipped", reason),
    }
}
