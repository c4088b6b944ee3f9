//! `cargo xtask test`: everything that can be tested on this host, and one line that sums it up.
//!
//! Lives here: the list of checks and their order, quick ones first. Must not live here: how results are read
//! (`tally`). A check that the host cannot do is skipped and says why, in place and again at the end.

use crate::tally::Tally;
use crate::workspace::{Scratch, cargo, programs};
use crate::{Outcome, host, licences, package, rootless, steps, vm, workspace};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

/// How much is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All.
    Full,
    /// Without documentation and conformance.
    Quick,
}

/// Runs all checks; whether nothing failed. The last line of the output is `N passed, N failed, N skipped`.
pub(crate) fn run(extent: Extent) -> Outcome {
    steps::heading("packages");
    host::install(&host::Need::ALL)?;
    let begin = Instant::now();
    let mut tally = Tally::default();
    check(
        &mut tally,
        "formatting",
        Some("fmt"),
        &["fmt", "--all", "--check"],
    );
    init_formatting(&mut tally);
    licence_check(&mut tally);
    let lints = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    check(&mut tally, "lints", Some("clippy"), &lints);
    if extent == Extent::Full {
        check(
            &mut tally,
            "documentation",
            None,
            &["doc", "--workspace", "--no-deps", "--locked"],
        );
    }
    tests(&mut tally);
    if extent == Extent::Full {
        corpora(&mut tally);
        package::in_debian(&mut tally);
        conformance(&mut tally);
        rootless::conformance(&mut tally);
        gpu_conformance(&mut tally);
        guest(&mut tally);
    }
    report(&tally, begin);
    Ok(tally.failed == 0)
}

/// One cargo command that passes or fails as a whole.
fn check(tally: &mut Tally, name: &str, component: Option<&str>, arguments: &[&str]) {
    steps::heading(name);
    if let Some(component) = component.filter(|component| !has(component)) {
        println!("SKIPPED {name}: this toolchain has no cargo {component}");
        tally.skip(format!(
            "{name}: this toolchain has no cargo {component} (rustup component add)"
        ));
        return;
    }
    let mut command = cargo(arguments);
    command.env("RUSTDOCFLAGS", "-D warnings");
    match steps::must(&mut command) {
        Ok(()) => tally.pass(),
        Err(error) => tally.fail(format!("{name}: {error}")),
    }
}

/// init is no package, so `cargo fmt` does not know it.
fn init_formatting(tally: &mut Tally) {
    if !has("fmt") {
        return;
    }
    let mut command = Command::new("rustfmt");
    command
        .args(["--edition=2024", "--check", "runtime-core/init/src/main.rs"])
        .current_dir(workspace::root());
    match steps::must(&mut command) {
        Ok(()) => tally.pass(),
        Err(error) => tally.fail(format!("formatting of init: {error}")),
    }
}

fn has(component: &str) -> bool {
    let asked = cargo(&[component, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

fn licence_check(tally: &mut Tally) {
    steps::heading("licences");
    match licences::check() {
        Ok(count) => {
            println!("{count} packages have licences that deny.toml allows");
            tally.pass();
        }
        Err(error) => {
            println!("{error}");
            tally.fail(format!("licences: {error}"));
        }
    }
}

/// All unit, integration and documentation tests. Their output is held back unless one fails: it is long. Property tests
/// draw the same cases each time, so that what fails here fails again; `cargo test` draws new ones.
fn tests(tally: &mut Tally) {
    steps::heading("tests");
    let arguments = [
        "test",
        "--workspace",
        "--no-fail-fast",
        "--locked",
        "--",
        "--show-output",
    ];
    let mut command = cargo(&arguments);
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        command.env("PROPTEST_RNG_SEED", "1");
    }
    match follow(&mut command) {
        Ok(counted) => tally.add(counted),
        Err(error) => tally.fail(format!("tests: {error}")),
    }
}

/// What fuzzing found once, and the seeds: through every fuzz target, without an engine.
fn corpora(tally: &mut Tally) {
    steps::heading("corpora of the fuzz targets");
    let arguments = [
        "test",
        "--locked",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--target-dir",
    ];
    let mut command = cargo(&arguments);
    command.args(["target/fuzz", "--", "--show-output"]);
    match follow(&mut command) {
        Ok(counted) => tally.add(counted),
        Err(error) => tally.fail(format!("corpora: {error}")),
    }
}

fn follow(command: &mut Command) -> Result<Tally, String> {
    println!("$ {}", steps::show(command));
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    let mut counted = Tally::default();
    let mut held = Vec::new();
    for line in child
        .stdout
        .take()
        .into_iter()
        .flat_map(|pipe| BufReader::new(pipe).split(b'\n'))
    {
        let line = line.map_err(|error| format!("reading the tests' output: {error}"))?;
        let line = String::from_utf8_lossy(&line).into_owned();
        counted.libtest_line(&line);
        if line.starts_with("test result: ") || line.starts_with("SKIPPED ") {
            println!("     {line}");
        }
        held.push(line);
    }
    let status = child.wait().map_err(|error| format!("cargo test: {error}"))?;
    if !status.success() {
        println!("\n-- the whole output of the tests:\n{}", held.join("\n"));
        if counted.failed == 0 {
            counted.fail(format!("cargo test ended with {status} and names no failed test"));
        }
    }
    Ok(counted)
}

/// The black-box suite on our own program.
fn conformance(tally: &mut Tally) {
    steps::heading("conformance");
    if let Err(error) = conformance_run(tally) {
        println!("{error}");
        tally.fail(format!("conformance: {error}"));
    }
}

fn conformance_run(tally: &mut Tally) -> Result<(), String> {
    steps::must(&mut cargo(&["build", "--workspace", "--bins", "--locked"]))?;
    let programs = programs("debug")?;
    let scratch = Scratch::new("xtask")?;
    let file = scratch.join("conformance.json");
    let mut suite = Command::new(programs.join("conformance"));
    suite
        .arg("--runtime")
        .arg(programs.join("runtime"))
        .arg("--json")
        .arg(&file)
        .arg("--verbose");
    let before = tally.failed;
    let status = steps::run(&mut suite)?;
    let text = std::fs::read(&file).map_err(|error| format!("{status}, and no report: {error}"))?;
    let report = serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    tally.conformance(&report)?;
    match status.success() || tally.failed > before {
        true => Ok(()),
        false => Err(format!("{status}, although its report names no failure")),
    }
}

/// What containers with GPUs must be like; one line of JSON for each check.
fn gpu_conformance(tally: &mut Tally) {
    steps::heading("conformance of GPUs, without one");
    if let Err(error) = gpu_conformance_run(tally) {
        println!("{error}");
        tally.fail(format!("gpu-conformance: {error}"));
    }
}

fn gpu_conformance_run(tally: &mut Tally) -> Result<(), String> {
    let programs = programs("debug")?;
    let mut checks = Command::new(programs.join("gpu-conformance"));
    checks.arg("--runtime").arg(programs.join("runtime"));
    println!("$ {}", steps::show(&checks));
    let done = checks
        .output()
        .map_err(|error| format!("cannot run it: {error}"))?;
    let text = String::from_utf8_lossy(&done.stdout);
    println!("{text}");
    let before = tally.failed;
    let count = tally.json_lines(&text)?;
    match count > 0 && (done.status.success() || tally.failed > before) {
        true => Ok(()),
        false => Err(format!(
            "{}, {count} checks: {}",
            done.status,
            String::from_utf8_lossy(&done.stderr)
        )),
    }
}

/// The tests that need a host of another kind: systemd, cgroup v2 alone, AppArmor.
fn guest(tally: &mut Tally) {
    steps::heading("tests in a guest with systemd and cgroup v2");
    let done = vm::require().and_then(|()| vm::suite::brief(tally));
    match done {
        Ok(()) => {}
        Err(vm::Trouble::Absent(why)) => {
            println!("SKIPPED tests in a guest: {why}");
            tally.skip(format!("tests in a guest: {why}"));
        }
        Err(vm::Trouble::Broken(why)) => {
            println!("{why}");
            tally.fail(format!("tests in a guest: {why}"));
        }
    }
}

fn report(tally: &Tally, begin: Instant) {
    steps::heading(&format!("summary after {} s", begin.elapsed().as_secs()));
    summary(tally);
}

/// What did not pass, and the counts in the last line.
pub(crate) fn summary(tally: &Tally) {
    for skip in &tally.skips {
        println!("SKIPPED {skip}");
    }
    for known in &tally.known {
        println!("KNOWN   {known}");
    }
    for failure in &tally.failures {
        println!("FAILED  {failure}");
    }
    println!(
        "{} passed, {} failed, {} skipped",
        tally.passed(),
        tally.failed,
        tally.skipped
    );
}
