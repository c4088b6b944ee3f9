//! `cargo xtask COMMAND`: what people and CI do with this workspace, in one place and in Rust.
//!
//! Lives here: the table of commands. Must not live here: anything that the products need, and any dependency on the
//! other crates of the workspace: they link libseccomp, and this program is what installs it.
//!
//! - [`demo`]: from a fresh clone to a container's output.
//! - [`checks`]: everything that can be tested on this host, with one summary line.
//! - [`compare`]: time and memory beside other runtimes.
//! - [`package`]: what people get who do not build it themselves.
//! - [`soak`]: thousands of containers, and what is left of them.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a development program talks to the person who runs it"
)]

mod bundle;
mod checks;
mod compare;
mod demo;
#[cfg(test)]
mod documents;
mod host;
mod licences;
mod package;
mod soak;
mod spdx;
mod steps;
mod tally;

mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo                       install what is missing, build, take a container through its life, clean up
  test [--quick]             formatting, lints, documentation, licences, all tests, conformance; ends with
                             `N passed, N failed, N skipped`; --quick leaves out documentation and conformance
  bench [OPTIONS]            time and peak memory of commands, interleaved with runc, crun and youki
    --json FILE              also write the figures and every sample
    --runs N                 measured rounds, 5 to 10000 (default 50)
    --peer NAME=PATH         a runtime to compare with; may be given several times, and instead of
                             runc, crun and youki on PATH
    --runtime PATH           the runtime to measure instead of this workspace's release build
  soak [OPTIONS]             thousands of containers and execs; fails when anything is left of them
    --rounds N               containers, and as many execs (default 10000)
    --runtime PATH           the runtime to try instead of this workspace's release build
  package [--output DIR]     a release build as Debian package and tarball, with a bill of materials (CycloneDX) and their
                             SHA-256 sums, in target/package or DIR
  package check [PART...]    whether others can use them: crates (runtime-core builds alone as published), install (cargo
                             install from elsewhere), debian (the package in a fresh Debian, and nothing left of it),
                             twice (two builds in two folders are the same); ends with `N passed, N failed, N skipped`
  setup                      only install the Debian packages that the others need
  help                       this text
";

/// What a command ends with: whether all went well, or why it could not be done.
type Outcome = Result<bool, String>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["demo"] => demo::run(),
        ["test"] => checks::run(checks::Extent::Full),
        ["test", "--quick"] => checks::run(checks::Extent::Quick),
        ["bench", options @ ..] => compare::run(options),
        ["soak", options @ ..] => soak::run(options),
        ["package", options @ ..] => package::run(options),
        [compare::SAMPLE, rest @ ..] => compare::measure(rest),
        ["setup"] => host::install(&host::Need::ALL).map(|()| true),
        ["help" | "--help" | "-h"] | [] => {
            print!("{USAGE}");
            Ok(true)
        }
        _ => Err(format!("{:?} is not understood\n\n{USAGE}", words.join(" "))),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::from(2)
        }
    }
}
