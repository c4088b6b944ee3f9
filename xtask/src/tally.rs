//! Counting what passed, failed and was skipped, out of what test programs print.
//!
//! Lives here: reading libtest's lines and the conformance suite's JSON. Must not live here: running anything.
//!
//! A test that finds its host lacking something prints `SKIPPED name: reason` (`fixtures::skip`) and returns. libtest
//! calls that passed; here it is counted as skipped, because a summary that hides it would lie. A line that means the same
//! and has another form is a failure, for the same reason.

use serde_json::Value;

/// Counts, and the words for what did not pass.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    called_passed: u64,
    /// Those among them that skipped themselves.
    own_skips: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    /// One line per failure.
    pub(crate) failures: Vec<String>,
    /// One line per skip, with its reason.
    pub(crate) skips: Vec<String>,
    /// One line per difference that the conformance suite lists as known, with its reason. They are counted nowhere, as
    /// in the suite.
    pub(crate) known: Vec<String>,
}

impl Tally {
    /// How many passed.
    pub(crate) fn passed(&self) -> u64 {
        self.called_passed.saturating_sub(self.own_skips)
    }

    pub(crate) fn pass(&mut self) {
        self.called_passed += 1;
    }

    pub(crate) fn fail(&mut self, line: String) {
        self.failed += 1;
        self.failures.push(line);
    }

    pub(crate) fn skip(&mut self, line: String) {
        self.skipped += 1;
        self.skips.push(line);
    }

    pub(crate) fn add(&mut self, other: Tally) {
        self.called_passed += other.called_passed;
        self.own_skips += other.own_skips;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures);
        self.skips.extend(other.skips);
        self.known.extend(other.known);
    }

    /// Says of every line where it comes from.
    pub(crate) fn prefix(&mut self, place: &str) {
        for list in [&mut self.failures, &mut self.skips, &mut self.known] {
            for line in list {
                line.insert_str(0, place);
            }
        }
    }

    /// For another process of ours.
    pub(crate) fn to_json(&self) -> Value {
        serde_json::json!({
            "called_passed": self.called_passed, "own_skips": self.own_skips, "failed": self.failed,
            "skipped": self.skipped, "failures": self.failures, "skips": self.skips, "known": self.known,
        })
    }

    /// What [`Tally::to_json`] gave.
    ///
    /// # Errors
    /// It is something else.
    pub(crate) fn from_json(text: &str) -> Result<Tally, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let number = |key: &str| value[key].as_u64().ok_or(format!("no {key}"));
        let lines = |key: &str| {
            let list = value[key].as_array().ok_or(format!("no {key}"))?;
            let words = list
                .iter()
                .map(|line| line.as_str().unwrap_or_default().to_owned());
            Ok::<_, String>(words.collect())
        };
        Ok(Tally {
            called_passed: number("called_passed")?,
            own_skips: number("own_skips")?,
            failed: number("failed")?,
            skipped: number("skipped")?,
            failures: lines("failures")?,
            skips: lines("skips")?,
            known: lines("known")?,
        })
    }

    /// Takes in one line of a libtest program.
    pub(crate) fn libtest_line(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.called_passed += count(counts, "passed");
            self.failed += count(counts, "failed");
            self.skipped += count(counts, "ignored");
        } else if let Some((name, reason)) = own_skip(line) {
            self.skip(format!("{name}: {reason}"));
            // A name has no spaces; a part of a test that ran otherwise has.
            self.own_skips += u64::from(!name.contains(' '));
        } else if looks_like_a_skip(line) {
            self.fail(format!(
                "a skip that is not told as `SKIPPED name: reason` looks passed: {line}"
            ));
        } else if let Some((name, reason)) = ignored(line) {
            self.skips.push(format!("{name}: {reason}"));
        } else if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
    }

    /// Takes in lines of JSON with id, verdict and evidence; how many there are. A line whose check is made elsewhere is
    /// counted there.
    ///
    /// # Errors
    /// A line is none, or has another verdict.
    pub(crate) fn json_lines(&mut self, text: &str) -> Result<usize, String> {
        let mut count = 0;
        for line in text.lines() {
            let check: Value = serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
            let told = format!("{}: {}", check["id"], check["evidence"]);
            match check["verdict"].as_str() {
                Some("skipped") if check["elsewhere"].is_string() => continue,
                Some("passed") => self.pass(),
                Some("failed") => self.fail(told),
                Some("skipped") => self.skip(told),
                _ => return Err(format!("{line}: no verdict")),
            }
            count += 1;
        }
        Ok(count)
    }

    /// Takes in the conformance suite's JSON.
    ///
    /// # Errors
    /// It is not what the suite writes.
    pub(crate) fn conformance(&mut self, report: &Value) -> Result<(), String> {
        let runs = report["runs"]
            .as_array()
            .ok_or("the conformance report has no runs")?;
        for run in runs {
            let number = |key: &str| {
                run[key]
                    .as_u64()
                    .ok_or(format!("the conformance report has no {key}"))
            };
            self.called_passed += number("passed")?;
            self.failed += number("failed")?;
            self.skipped += number("skipped")?;
            for test in run["tests"].as_array().into_iter().flatten() {
                let line = format!(
                    "conformance {}: {}",
                    test["name"].as_str().unwrap_or_default(),
                    test["reason"].as_str().unwrap_or_default()
                );
                match test["result"].as_str() {
                    Some("FAILED") => self.failures.push(line),
                    Some("skipped") => self.skips.push(line),
                    Some("known") => self.known.push(line),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// The number before `word` in `ok. 3 passed; 0 failed; ...`.
fn count(counts: &str, word: &str) -> u64 {
    counts
        .split(['.', ';'])
        .filter_map(|part| part.trim().strip_suffix(word))
        .find_map(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

/// Name and reason of `SKIPPED name: reason`.
fn own_skip(line: &str) -> Option<(&str, &str)> {
    let (name, reason) = line.strip_prefix("SKIPPED ")?.split_once(": ")?;
    (!name.trim().is_empty() && !reason.trim().is_empty()).then_some((name, reason))
}

/// Whether a line begins with that word, in any case, or has it in capitals, as behind libtest's `test name ... `.
fn looks_like_a_skip(line: &str) -> bool {
    let word = line.trim_start().get(..7).unwrap_or_default();
    line.contains("SKIPPED")
        || ["skipped", "skipping"]
            .iter()
            .any(|skip| word.eq_ignore_ascii_case(&skip[..7]))
}

fn ignored(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    Some((
        name,
        rest.strip_prefix(", ").unwrap_or("ignored without a reason"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(text: &str) -> Tally {
        let mut tally = Tally::default();
        text.lines().for_each(|line| tally.libtest_line(line));
        tally
    }

    #[test]
    fn libtest_lines_are_counted() {
        let tally = of("running 4 tests\n\
            test a::b ... ok\n\
            test a::c ... FAILED\n\
            test a::d ... ignored, too slow\n\
            test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.10s\n\
            test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n");
        assert_eq!((tally.passed(), tally.failed, tally.skipped), (42, 1, 1));
        assert_eq!(tally.failures, ["a::c"]);
        assert_eq!(tally.skips, ["a::d: too slow"]);
    }

    #[test]
    fn a_test_that_skipped_itself_is_not_passed() {
        // The output of tests comes before the line with the counts only when it is shown, so both orders must do.
        let before = of("test result: ok. 3 passed; 0 failed; 0 ignored\nSKIPPED cpu: no controllers\n");
        assert_eq!((before.passed(), before.skipped), (2, 1));
        let part = of("SKIPPED the half with swap: none\ntest result: ok. 3 passed; 0 failed; 0 ignored\n");
        assert_eq!((part.passed(), part.skipped), (3, 1));
    }

    #[test]
    fn a_skip_of_another_form_is_a_failure() {
        for line in [
            "skipped: needs root",
            "SKIPPED: no hierarchy of version 1",
            "SKIPPED cpu",
            "SKIPPED cpu: ",
            "  Skipping this one",
            "test a::b ... SKIPPED b: needs root",
        ] {
            let tally = of(&format!(
                "{line}\ntest result: ok. 3 passed; 0 failed; 0 ignored\n"
            ));
            assert_eq!((tally.failed, tally.skipped), (1, 0), "{line}");
            assert!(
                tally.failures[0].contains(line.trim_end()),
                "{:?}",
                tally.failures
            );
        }
        let tally = of("it skipped nothing\ntest skipped_ones ... ok\n  4 skipped: needs root\n");
        assert_eq!((tally.failed, tally.skipped), (0, 0));
    }

    #[test]
    fn a_tally_goes_to_another_process() {
        let mut tally =
            of("SKIPPED cpu: no\ntest a ... FAILED\ntest result: FAILED. 3 passed; 1 failed; 0 ignored\n");
        assert_eq!(
            Tally::from_json(&tally.to_json().to_string()),
            Ok(of(
                "SKIPPED cpu: no\ntest a ... FAILED\ntest result: FAILED. 3 passed; 1 failed; 0 ignored\n"
            ))
        );
        tally.prefix("vm: ");
        assert_eq!(
            (tally.failures, tally.skips),
            (vec!["vm: a".to_owned()], vec!["vm: cpu: no".to_owned()])
        );
        assert!(Tally::from_json("{}").is_err());
    }

    #[test]
    fn lines_of_json_are_counted_once() {
        let mut tally = Tally::default();
        let line =
            |verdict: &str| format!("{{\"id\": \"a\", \"verdict\": \"{verdict}\", \"evidence\": \"e\"}}\n");
        let elsewhere = r#"{"id": "b", "verdict": "skipped", "evidence": "e", "elsewhere": "another test"}"#;
        let text = line("passed") + &line("skipped") + elsewhere;
        assert_eq!(tally.json_lines(&text), Ok(2));
        assert_eq!((tally.passed(), tally.failed, tally.skipped), (1, 0, 1));
        assert_eq!(tally.json_lines(&line("failed")), Ok(1));
        assert_eq!(tally.failures, [r#""a": "e""#]);
        assert!(tally.json_lines(&line("perhaps")).is_err());
    }

    #[test]
    fn conformance_reports_are_counted() {
        let mut tally = Tally::default();
        let report = json!({"runs": [{"passed": 5, "failed": 1, "known": 2, "skipped": 1, "tests": [
            {"name": "a/b", "result": "FAILED", "reason": "no"},
            {"name": "a/c", "result": "skipped", "reason": "needs root"},
            {"name": "a/d", "result": "passed", "reason": ""},
            {"name": "a/e", "result": "known", "reason": "not built"}]}]});
        tally.conformance(&report).unwrap();
        assert_eq!((tally.passed(), tally.failed, tally.skipped), (5, 1, 1));
        assert_eq!(tally.failures, ["conformance a/b: no"]);
        assert_eq!(tally.skips, ["conformance a/c: needs root"]);
        assert_eq!(tally.known, ["conformance a/e: not built"]);
        assert!(tally.conformance(&json!({})).is_err());
    }
}
