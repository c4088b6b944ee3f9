//! The project's tests in a guest: what is built for it, which tests go there, and how the results come back.
//!
//! Lives here: the host's half (`inside` is the other). Must not live here: how a guest is made or run.

use super::inside::{COUNT, Extent, Order, TestProgram, WORD};
use super::job::{End, Job, Share};
use super::{Layout, Trouble, Who};
use crate::steps;
use crate::tally::Tally;
use crate::workspace::{cargo, programs, root};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// For all tests of one user; a quiet machine with two processors takes about a fifth of it.
const TIME_LIMIT: Duration = Duration::from_secs(40 * 60);
/// The same for the brief extent.
const BRIEF_TIME_LIMIT: Duration = Duration::from_secs(25 * 60);
/// Programs that ask nothing of a kernel, and the library's examples, which are programs of their own: the guest would only
/// be slower. The crash matrix tries as many cases as a time allows: few there. The floor is what a host's figures are
/// compared with.
const PURE: [&str; 8] = [
    "crash_matrix",
    "examples",
    "floor",
    "golden_plans",
    "plan_properties",
    "round_trip",
    "xtask",
    "runtime_core_program",
];
/// Programs that tests and conformance start.
const PROGRAMS: [&str; 9] = [
    "gpu-conformance",
    "runtime",
    "containerd-shim-runtime-core-v2",
    "conformance",
    "xtask",
    "probe",
    "bundle",
    "hide-syscalls",
    "console-receiver",
];
/// What is worth running as a user: the others need root and would only skip.
const OF_USERS: [&str; 1] = ["systemd"];

/// Both users, or the one that is asked for, as a command of its own; whether nothing failed. The last line of the output
/// is `N passed, N failed, N skipped`.
///
/// # Errors
/// There is no guest.
pub(super) fn alone(layout: Layout, who: Who, limit: Option<Duration>) -> Result<bool, String> {
    let mut tally = Tally::default();
    let users: &[Who] = if who == Who::User {
        &[Who::User]
    } else {
        &[Who::Root, Who::User]
    };
    all(
        &mut tally,
        layout,
        users,
        Extent::Full,
        limit.unwrap_or(TIME_LIMIT),
    )
    .map_err(|trouble| trouble.to_string())?;
    crate::checks::summary(&tally);
    Ok(tally.failed == 0)
}

/// The brief extent for both users with cgroup v2, as a part of all checks.
///
/// # Errors
/// As [`all`].
pub(crate) fn brief(tally: &mut Tally) -> Result<(), Trouble> {
    let users = [Who::Root, Who::User];
    all(tally, Layout::Unified, &users, Extent::Brief, BRIEF_TIME_LIMIT)
}

/// Builds, and runs the tests of these users; the results go to `tally`.
///
/// # Errors
/// There is no guest, or the tests cannot be built. A guest that breaks off is a failure in the tally.
fn all(
    tally: &mut Tally,
    layout: Layout,
    users: &[Who],
    extent: Extent,
    limit: Duration,
) -> Result<(), Trouble> {
    let tests = built()?;
    for who in users {
        let place = format!("vm {} {}: ", layout.name(), who.name());
        println!(
            "-- the tests in a guest with cgroup {}, as {}",
            layout.name(),
            who.name()
        );
        let tests = tests
            .iter()
            .filter(|test| *who == Who::Root || OF_USERS.contains(&test.short()));
        let order = Order {
            who: *who,
            tests: tests.cloned().collect(),
            programs: programs("debug").map_err(Trouble::Broken)?,
            extent,
        };
        let mut own = Tally::default();
        match one(&mut own, &order, layout, limit) {
            Ok(()) => {}
            Err(Trouble::Broken(why)) => {
                println!("{why}");
                own.fail(why);
            }
            Err(absent) => return Err(absent),
        }
        own.prefix(&place);
        tally.add(own);
    }
    Ok(())
}

fn one(tally: &mut Tally, order: &Order, layout: Layout, limit: Duration) -> Result<(), Trouble> {
    let own = order.programs.join("xtask");
    let stage = Stage::new(order)?;
    let shares = vec![
        Share::same(root()),
        Share {
            host: stage.0.clone(),
            guest: order.programs.clone(),
        },
    ];
    let job = Job {
        layout,
        who: order.who,
        shares,
        command: vec![
            own.display().to_string(),
            WORD.to_owned(),
            order.to_json().to_string(),
        ],
        limit,
    };
    let mut lines = Lines::default();
    let end = job.run(&mut |bytes| lines.take(bytes))?;
    let counted = lines.count.as_deref().map(Tally::from_json);
    match (counted, end) {
        (Some(Ok(counted)), End::Exit(_)) => tally.add(counted),
        (Some(Err(error)), _) => tally.fail(format!("the count cannot be read: {error}")),
        (_, End::TimedOut) => tally.fail(format!("not at the end after {} s", limit.as_secs())),
        (None, End::Exit(status)) => tally.fail(format!("the tests ended with {status} and without a count")),
    }
    Ok(())
}

/// Copies of what was built, without symbols: the guest reads them page by page. It sees this in the place of cargo's
/// folder, so that a build which replaces a file meanwhile takes nothing from it.
struct Stage(PathBuf);

impl Stage {
    fn new(order: &Order) -> Result<Stage, Trouble> {
        let name = format!("vm-{}", std::process::id());
        let stage = Stage(order.programs.with_file_name(name));
        std::fs::create_dir(&stage.0)?;
        let tests = order.tests.iter().map(|test| test.path.clone());
        let programs = PROGRAMS.iter().map(|name| order.programs.join(name));
        // init, where the library's tests know it from their build.
        let inits = std::fs::read_dir(order.programs.join("build"))?
            .flatten()
            .map(|entry| entry.path().join("out/init"))
            .filter(|path| path.is_file());
        for path in programs.chain(tests).chain(inits) {
            let inside = path.strip_prefix(&order.programs).map_err(|_| {
                Trouble::Broken(format!(
                    "{} is not in {}",
                    path.display(),
                    order.programs.display()
                ))
            })?;
            let to = stage.0.join(inside);
            std::fs::create_dir_all(to.parent().unwrap_or(&to))?;
            let stripped = Command::new("strip").arg("-o").arg(&to).arg(&path).status();
            if !stripped.is_ok_and(|status| status.success()) {
                std::fs::copy(&path, &to)?;
            }
        }
        Ok(stage)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Shows the lines that come, and keeps the count.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
    count: Option<String>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            match line.strip_prefix(COUNT) {
                Some(count) => self.count = Some(count.trim().to_owned()),
                None => print!("     {line}"),
            }
        }
    }
}

impl TestProgram {
    /// The name without its package.
    fn short(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

/// Builds the programs and the tests, and finds those that go into the guest.
fn built() -> Result<Vec<TestProgram>, Trouble> {
    let broken = |error: String| Trouble::Broken(error);
    steps::must(&mut cargo(&["build", "--workspace", "--bins", "--locked"])).map_err(broken)?;
    let mut command = cargo(&[
        "test",
        "--workspace",
        "--no-run",
        "--locked",
        "--message-format=json",
    ]);
    println!("$ {}", steps::show(&command));
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(Trouble::Broken(format!(
            "the tests cannot be built: {}",
            output.status
        )));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let found: Vec<TestProgram> = text.lines().filter_map(test_program).collect();
    if found.is_empty() {
        return Err(Trouble::Broken("cargo names no programs of tests".into()));
    }
    Ok(found)
}

/// A line of cargo's JSON, where it is about a program of tests that asks something of the kernel.
fn test_program(line: &str) -> Option<TestProgram> {
    let value: Value = serde_json::from_str(line).ok()?;
    let path = PathBuf::from(value["executable"].as_str()?);
    let target = value["target"]["name"].as_str()?;
    if value["profile"]["test"] != true || PURE.contains(&target) {
        return None;
    }
    let folder = Path::new(value["manifest_path"].as_str()?).parent()?;
    let package = folder.file_name()?.to_string_lossy();
    Some(TestProgram {
        name: format!("{package}/{target}"),
        path,
        folder: folder.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_which_programs_there_are() {
        let line = r#"{"manifest_path": "/w/runtime-cli/Cargo.toml", "executable": "/t/systemd-1",
                       "target": {"name": "systemd"}, "profile": {"test": true}}"#;
        let test = test_program(line).unwrap();
        assert_eq!(
            (test.name.as_str(), test.short()),
            ("runtime-cli/systemd", "systemd")
        );
        assert_eq!(test.folder, Path::new("/w/runtime-cli"));
        assert_eq!(test_program(&line.replace("\"systemd\"", "\"xtask\"")), None);
        assert_eq!(test_program(&line.replace("true", "false")), None);
        assert_eq!(test_program("{}"), None);
    }

    #[test]
    fn the_count_is_kept_and_not_shown() {
        let mut lines = Lines::default();
        lines.take(b"one\nCOU");
        lines.take(b"NT {}\n");
        assert_eq!(lines.count.as_deref(), Some("{}"));
    }
}
