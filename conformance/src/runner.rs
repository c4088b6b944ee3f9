//! Running the tests against one runtime.
//!
//! Lives here: skipping, the turn of a body into a verdict, jobs, and the rule that every test ends with a cleanup and a
//! look at what is left. Must not live here: judgement about a container.

use crate::args::Args;
use crate::case::Case;
use crate::host::Host;
use crate::known::{self, Known};
use crate::settings;
use crate::suite::{Chapter, Check, Failure, Test};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How a test came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As the specification says.
    Passed,
    /// Not so, with the reason.
    Failed(String),
    /// Not so, as listed; with the list's reason.
    Known(String),
    /// Not run, with the reason.
    Skipped(String),
}

/// One test's result.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Where it belongs.
    pub(crate) chapter: Chapter,
    /// The test.
    pub(crate) test: Test,
    /// How it came out.
    pub(crate) verdict: Verdict,
    /// What the test tells beside, or nothing.
    pub(crate) note: String,
    /// How long it took, cleanup included.
    pub(crate) took: Duration,
}

impl Outcome {
    /// `chapter/name`.
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.chapter, self.test.name)
    }
}

/// All results of one runtime.
#[derive(Debug)]
pub(crate) struct Run {
    /// Path of the runtime.
    pub(crate) runtime: PathBuf,
    /// First line of its `--version`.
    pub(crate) version: String,
    /// In the order of the suite.
    pub(crate) outcomes: Vec<Outcome>,
}

/// Numbers of one run or chapter.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    /// As the specification says.
    pub(crate) passed: usize,
    /// Not so.
    pub(crate) failed: usize,
    /// Listed.
    pub(crate) known: usize,
    /// Not run.
    pub(crate) skipped: usize,
}

impl Run {
    /// Counts over all chapters.
    pub(crate) fn counts(&self) -> Counts {
        count(self.outcomes.iter())
    }
}

/// Counts verdicts.
pub(crate) fn count<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Counts {
    let mut counts = Counts::default();
    for outcome in outcomes {
        match outcome.verdict {
            Verdict::Passed => counts.passed += 1,
            Verdict::Failed(_) => counts.failed += 1,
            Verdict::Known(_) => counts.known += 1,
            Verdict::Skipped(_) => counts.skipped += 1,
        }
    }
    counts
}

/// Runs `tests` against the runtime at `path`.
pub(crate) fn run(args: &Args, host: &Host, path: &Path, tests: &[(Chapter, Test)]) -> Result<Run, String> {
    let runtime = path
        .canonicalize()
        .map_err(|error| format!("--runtime {}: {error}", path.display()))?;
    let version = version_of(&runtime)?;
    // Ours answers in the form of runc, which engines read, and says what it is behind its number.
    let name = if version.contains("+runtime-core") {
        "runtime-core".to_owned()
    } else {
        version
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_lowercase()
    };
    let known = known::load(&name, args.known.as_deref())?;
    let all: Vec<String> = crate::chapters::all()
        .iter()
        .map(|(chapter, test)| format!("{chapter}/{}", test.name))
        .collect();
    let strange = known::unknown_names(&known, &all);
    if !strange.is_empty() {
        return Err(format!(
            "known differences of {name} name no tests: {}",
            strange.join(", ")
        ));
    }
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let work = || {
        while let Some((chapter, test)) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = one(args, host, &runtime, *chapter, *test, &known);
            if args.verbose {
                crate::report::progress(&outcome);
            }
            if let Ok(mut results) = results.lock() {
                results.push(outcome);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..args.jobs {
            scope.spawn(work);
        }
    });
    let mut outcomes = results
        .into_inner()
        .map_err(|_| "a test's thread panicked".to_owned())?;
    let place = |outcome: &Outcome| {
        tests
            .iter()
            .position(|(chapter, test)| (*chapter, test.name) == (outcome.chapter, outcome.test.name))
    };
    outcomes.sort_by_key(place);
    Ok(Run {
        runtime,
        version,
        outcomes,
    })
}

fn version_of(runtime: &Path) -> Result<String, String> {
    let output = std::process::Command::new(runtime).arg("--version").output();
    let output = output.map_err(|error| format!("{} --version: {error}", runtime.display()))?;
    let first = String::from_utf8_lossy(&output.stdout)
        .lines()
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned();
    if first.is_empty() {
        return Err(format!("{} --version printed nothing", runtime.display()));
    }
    Ok(first)
}

fn one(args: &Args, host: &Host, runtime: &Path, chapter: Chapter, test: Test, known: &Known) -> Outcome {
    let begin = Instant::now();
    let outcome = |verdict, note| Outcome {
        chapter,
        test,
        verdict,
        note,
        took: begin.elapsed(),
    };
    if let Some(reason) = host.lacks(test.needs) {
        return outcome(Verdict::Skipped(reason), String::new());
    }
    let limit = Duration::from_secs(args.time_limit);
    let mut case = match Case::new(host, runtime, limit) {
        Ok(case) => case,
        Err(error) => {
            let verdict = Verdict::Failed(format!("the test's folder: {error}"));
            return outcome(verdict, String::new());
        }
    };
    if chapter == Chapter::Attacks {
        case.set_oci_version("1.0.2");
    }
    let settings = (chapter == Chapter::Attacks).then(settings::Before::read);
    let body = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (test.body)(&case)));
    let body = body.unwrap_or_else(|_| Err(Failure::Failed("the test's body panicked".to_owned())));
    let body = body.and_then(|()| settings.as_ref().map_or(Ok(()), settings::Before::unchanged));
    let note = case.noted();
    let clean = case.clean_up(body.is_err() && args.keep);
    let result = judged(body, clean);
    let listed = known.get(&format!("{chapter}/{}", test.name));
    let verdict = match (result, listed) {
        (Verdict::Failed(_), Some(reason)) => Verdict::Known(reason.clone()),
        (Verdict::Passed, Some(reason)) => {
            Verdict::Failed(format!("passes, but is listed as known: {reason}"))
        }
        (result, _) => result,
    };
    outcome(verdict, note)
}

/// The verdict of what a test's body said and what was left behind: a test that is skipped may not leave anything either.
fn judged(body: Check, clean: Result<(), String>) -> Verdict {
    match (body, clean) {
        (Err(Failure::Failed(reason)), _) | (Ok(()), Err(reason)) => Verdict::Failed(reason),
        (Err(Failure::Skipped(reason)), Err(left)) => {
            Verdict::Failed(format!("skipped ({reason}), but not without a trace: {left}"))
        }
        (Err(Failure::Skipped(reason)), Ok(())) => Verdict::Skipped(reason),
        (Ok(()), Ok(())) => Verdict::Passed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_behind_is_a_failure_whatever_the_body_says() {
        let skipped = || Err(Failure::Skipped("no such host".into()));
        let left = || Err("a cgroup".to_owned());
        assert!(matches!(judged(Ok(()), Ok(())), Verdict::Passed));
        assert!(matches!(judged(skipped(), Ok(())), Verdict::Skipped(_)));
        for body in [Ok(()), skipped()] {
            let verdict = judged(body, left());
            assert!(
                matches!(&verdict, Verdict::Failed(why) if why.contains("a cgroup")),
                "{verdict:?}"
            );
        }
    }
}
