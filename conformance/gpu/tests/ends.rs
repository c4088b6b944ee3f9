//! How the program ends where it could not look at a runtime.
#![allow(
    clippy::print_stderr,
    reason = "a skipped test must not look like a passed one"
)]

use std::path::Path;
use std::process::{Command, Stdio};

/// The exit code, what is printed, and what is left of the scratch folder.
fn run(words: &[&str], path: &str) -> (Option<i32>, String, bool) {
    let child = Command::new(env!("CARGO_BIN_EXE_gpu-conformance"))
        .args(words)
        .env("PATH", path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let dir = format!("/tmp/gpu-conformance-{}", child.id());
    let ended = child.wait_with_output().expect("its end");
    let out = [ended.stdout, ended.stderr].concat();
    (
        ended.status.code(),
        String::from_utf8_lossy(&out).into_owned(),
        Path::new(&dir).exists(),
    )
}

#[test]
fn a_runtime_that_is_not_there_is_a_wrong_use() {
    let (code, out, left) = run(&["--runtime", "/there/is/none"], "/bin:/usr/bin");
    assert_eq!((code, left), (Some(2), false), "{out}");
    assert!(out.contains("--runtime /there/is/none"), "{out}");
    let words = ["--runtime", "/bin/true", "--filter", "N-99"];
    let (code, out, left) = run(&words, "/bin:/usr/bin");
    assert_eq!((code, left), (Some(2), false), "{out}");
    assert!(out.contains("N-99"), "{out}");
}

#[test]
fn fixtures_that_cannot_be_made_are_a_failure() {
    let words = ["--runtime", "/bin/true", "--filter", "N-02"];
    // No compiler for the stub libraries.
    let (code, out, left) = run(&words, "/there/is/none");
    if out.contains("needs root") {
        eprintln!("SKIPPED fixtures_that_cannot_be_made_are_a_failure: needs root");
        return;
    }
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains("cannot make the fixtures") && out.contains("failed"),
        "{out}"
    );
    assert!(!left, "the half of a fixture is left");
}
