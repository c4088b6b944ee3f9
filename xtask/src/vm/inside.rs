//! The half of the project's tests that runs in the guest: `xtask vm-inside`.
//!
//! Lives here: running built test programs and the conformance suite one after another, each with a time limit, and the
//! count. There is no cargo in the guest; which programs there are is told by the host (`suite`). Must not live here: how
//! results are read (`tally`). Output is lines for people; the last line is the count for the host.

use super::Who;
use crate::tally::Tally;
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The word of the command line.
pub(crate) const WORD: &str = "vm-inside";
/// Before the count, in the last line.
pub(super) const COUNT: &str = "COUNT ";
/// For one program with all its tests; a hundred times what the slowest takes outside.
const PROGRAM_LIMIT: Duration = Duration::from_secs(300);
/// For the conformance suite with one driver.
const SUITE_LIMIT: Duration = Duration::from_secs(1200);
/// Runs of one race: each takes seconds here.
const RACE_RUNS: &str = "5";
/// Chapters of the suite for everybody: without the attacks, which are replayed on the host as root, and without what is special
/// to users.
pub(crate) const GENERAL: [&str; 7] = [
    "lifecycle",
    "namespace",
    "mount",
    "process",
    "hook",
    "cgroup",
    "error",
];
/// What the brief extent leaves of the suite: attacks are replayed on the host itself, and of the second driver only what
/// it changes is of interest. For a user, whom the host tries without cgroups, it is what delegation changes.
const BRIEF: [(Who, &str, &[&str]); 4] = [
    (Who::Root, "cgroupfs", &GENERAL),
    (Who::Root, "systemd", &["lifecycle", "cgroup"]),
    (Who::User, "cgroupfs", &["cgroup", "rootless"]),
    (Who::User, "systemd", &["cgroup", "rootless"]),
];
/// There where cgroup v2 is alone.
const UNIFIED: &str = "/sys/fs/cgroup/cgroup.controllers";
const NO_SESSION: &str = "a user's systemd has no cgroups of version 1";
/// For one test of the conformance suite, in seconds; ten times what it gives outside.
const TEST_LIMIT: &str = "150";

/// Modules of the library whose tests ask nothing of a kernel, and take long.
const PURE_PARTS: [&str; 4] = ["seccomp::", "plan::", "spec::", "cgroup::devices::"];

/// What the host asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) who: Who,
    pub(super) tests: Vec<TestProgram>,
    /// Where `runtime`, `conformance` and `probe` are.
    pub(super) programs: PathBuf,
    pub(super) extent: Extent,
}

/// How much of conformance is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it, with both cgroup drivers.
    Full,
    /// With the systemd driver only those chapters that are about what a driver does.
    Brief,
}

/// One built program of tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TestProgram {
    /// As `runtime-core/lifecycle`.
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// Where cargo would run it.
    pub(super) folder: PathBuf,
}

impl Order {
    pub(super) fn to_json(&self) -> Value {
        let tests: Vec<Value> = self
            .tests
            .iter()
            .map(|test| json!([test.name, test.path, test.folder]))
            .collect();
        json!({
            "user": self.who == Who::User, "tests": tests, "programs": self.programs,
            "brief": self.extent == Extent::Brief,
        })
    }

    fn from_json(text: &str) -> Result<Order, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("{WORD}: {error}"))?;
        let word = |value: &Value| {
            value
                .as_str()
                .map(str::to_owned)
                .ok_or(format!("{WORD}: {value} is no text"))
        };
        let tests = value["tests"].as_array().ok_or(format!("{WORD}: no tests"))?;
        let tests = tests.iter().map(|test| {
            Ok(TestProgram {
                name: word(&test[0])?,
                path: word(&test[1])?.into(),
                folder: word(&test[2])?.into(),
            })
        });
        Ok(Order {
            who: if value["user"] == true {
                Who::User
            } else {
                Who::Root
            },
            tests: tests.collect::<Result<_, String>>()?,
            programs: word(&value["programs"])?.into(),
            extent: if value["brief"] == true {
                Extent::Brief
            } else {
                Extent::Full
            },
        })
    }
}

/// Runs everything that was ordered; whether nothing failed.
///
/// # Errors
/// The order cannot be read, or the guest's disk not written.
pub(crate) fn run(order: &str) -> Result<bool, String> {
    let order = Order::from_json(order)?;
    let scratch = crate::workspace::Scratch::new("inside")?;
    let mut tally = Tally::default();
    for test in &order.tests {
        program(&mut tally, test, scratch.path())?;
    }
    for driver in ["cgroupfs", "systemd"] {
        conformance(&mut tally, &order, driver, scratch.path())?;
    }
    println!("{COUNT}{}", tally.to_json());
    Ok(tally.failed == 0)
}

fn program(tally: &mut Tally, test: &TestProgram, scratch: &Path) -> Result<(), String> {
    let begin = Instant::now();
    let output = scratch.join("output");
    let mut command = Command::new(&test.path);
    command
        .args(["--test-threads=2", "--show-output"])
        .args(PURE_PARTS.iter().flat_map(|part| ["--skip", part]))
        .current_dir(&test.folder)
        // Debian 13 mounts /tmp without devices, and tests make some there.
        .env("TMPDIR", "/var/tmp")
        .env("CARGO_MANIFEST_DIR", &test.folder);
    let ended = until_end(&mut command, &output, PROGRAM_LIMIT)?;
    let text = String::from_utf8_lossy(&std::fs::read(&output).unwrap_or_default()).into_owned();
    let mut own = Tally::default();
    text.lines().for_each(|line| own.libtest_line(line));
    if let Err(why) = &ended
        && own.failed == 0
    {
        own.fail(format!("{}: {why}", test.name));
    }
    println!(
        "{}: {} passed, {} failed, {} skipped, {} s",
        test.name,
        own.passed(),
        own.failed,
        own.skipped,
        begin.elapsed().as_secs()
    );
    if own.failed > 0 {
        println!("{text}");
    }
    tally.add(own);
    Ok(())
}

fn conformance(tally: &mut Tally, order: &Order, driver: &str, scratch: &Path) -> Result<(), String> {
    let begin = Instant::now();
    if driver == "systemd" && order.who == Who::User && !Path::new(UNIFIED).exists() {
        println!("SKIPPED conformance, {driver}: {NO_SESSION}");
        tally.skip(format!("{driver} conformance: {NO_SESSION}"));
        return Ok(());
    }
    let (output, report) = (scratch.join("output"), scratch.join("report"));
    let mut command = Command::new(order.programs.join("conformance"));
    command
        .arg("--runtime")
        .arg(order.programs.join("runtime"))
        // Debian 13 mounts /tmp without devices.
        .env("TMPDIR", "/var/tmp")
        .args(["--verbose", "--jobs", "2", "--time-limit", TEST_LIMIT])
        .args(["--race-runs", RACE_RUNS, "--json"])
        .arg(&report);
    if driver == "systemd" {
        command.arg("--systemd-cgroup");
    }
    let brief = BRIEF
        .iter()
        .filter(|(who, of, _)| order.extent == Extent::Brief && (*who, *of) == (order.who, driver));
    for chapter in brief.flat_map(|(_, _, chapters)| *chapters) {
        command.args(["--chapter", *chapter]);
    }
    let ended = until_end(&mut command, &output, SUITE_LIMIT)?;
    let mut own = Tally::default();
    let read = std::fs::read(&report)
        .map_err(|error| format!("no report: {error}"))
        .and_then(|text| serde_json::from_slice(&text).map_err(|error| format!("its report: {error}")))
        .and_then(|report: Value| own.conformance(&report));
    let _ = std::fs::remove_file(&report);
    if let Err(why) = ended.and(read)
        && own.failed == 0
    {
        own.fail(format!("conformance: {why}"));
    }
    println!(
        "conformance, {driver}: {} passed, {} failed, {} skipped, {} s",
        own.passed(),
        own.failed,
        own.skipped,
        begin.elapsed().as_secs()
    );
    if own.failed > 0 {
        println!(
            "{}",
            String::from_utf8_lossy(&std::fs::read(&output).unwrap_or_default())
        );
    }
    own.prefix(&format!("{driver} "));
    tally.add(own);
    Ok(())
}

/// Runs a command to its end with its output in a file; the inner error says how it did not end well.
fn until_end(command: &mut Command, output: &Path, limit: Duration) -> Result<Result<(), String>, String> {
    let file = File::create(output).map_err(|error| format!("{}: {error}", output.display()))?;
    let errors = file.try_clone().map_err(|error| error.to_string())?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .spawn()
        .map_err(|error| format!("{}: {error}", crate::steps::show(command)))?;
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) if status.success() => return Ok(Ok(())),
            Some(status) => return Ok(Err(format!("ended with {status}"))),
            None if Instant::now() > deadline => {
                let _ = child.kill();
                let _ = child.wait();
                return Ok(Err(format!("not at its end after {} s", limit.as_secs())));
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_arrives_as_it_was_given() {
        let order = Order {
            who: Who::User,
            tests: vec![TestProgram {
                name: "a/b".into(),
                path: "/t/b-1".into(),
                folder: "/w/a".into(),
            }],
            programs: "/t".into(),
            extent: Extent::Brief,
        };
        assert_eq!(Order::from_json(&order.to_json().to_string()).unwrap(), order);
        assert!(Order::from_json("{}").is_err());
    }

    #[test]
    fn what_does_not_end_well_says_how() {
        let scratch = crate::workspace::Scratch::new("xtask-inside").unwrap();
        let output = scratch.join("output");
        assert_eq!(
            until_end(&mut Command::new("true"), &output, PROGRAM_LIMIT),
            Ok(Ok(()))
        );
        let ended = until_end(
            Command::new("sh").args(["-c", "echo x; exit 3"]),
            &output,
            PROGRAM_LIMIT,
        )
        .unwrap();
        assert!(ended.unwrap_err().contains('3'));
        assert_eq!(std::fs::read_to_string(&output).unwrap(), "x\n");
    }
}
