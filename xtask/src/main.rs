//! `cargo xtask COMMAND`: what people and CI do with this workspace, in one place and in Rust.
//!
//! Lives here: the table of commands. Must not live here: anything that the products need, and any dependency on the
//! other crates of the workspace: they link libseccomp, and this program is what installs it.
//!
//! - [`demo`]: from a fresh clone to a container's output.
//! - [`checks`]: everything that can be tested on this host, with one summary line.
//! - [`compare`]: time and memory beside other runtimes.
//! - [`package`]: what people get who do not build it themselves.
//! - [`rootless`]: the conformance suite as a user of this host.
//! - [`soak`]: thousands of containers, and what is left of them.
//! - [`fuzz`]: the fuzz targets, for a bounded time.
//! - [`hot`]: which code belongs side by side in the binary.
//! - [`picture`]: where the time of one start goes, as docs/tracing.md shows it.
//! - [`engines`]: Docker, Podman, containerd and Buildah of Debian, driving the runtime.
//! - [`vm`]: a guest with systemd and cgroup v2, for the tests that this host cannot run.

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
mod engines;
mod fuzz;
mod host;
mod hot;
mod install;
mod licences;
mod package;
mod picture;
mod rootless;
mod soak;
mod spdx;
mod steps;
mod tally;
mod vm;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo                       install what is missing, build, take a container through its life, clean up
  test [--quick]             formatting, lints, documentation, licences, all tests, conformance; ends with
                             `N passed, N failed, N skipped`; --quick leaves out documentation and conformance
  bench [OPTIONS]            time and memory of commands, interleaved with runc, crun and youki, and with the floor: bare
                             system calls that make the same container
    --json FILE              also write the figures and every sample
    --html FILE              also write a page with charts
    --check                  compare with the budgets of SPECIFICATION.md; fails when one is missed or was not measured
    --only PART[,PART]...    instead of all parts: commands, memory, together, limit, live, caller, mounts, shims
    --runs N                 measured rounds, 5 to 10000 (default 50)
    --core N|all             run everything on this core (default: the last one), or on all as engines do
    --peer NAME=PATH         a runtime to compare with; may be given several times, and instead of
                             runc, crun and youki on PATH
    --shim NAME=PATH[,BINARY] a shim of containerd to compare with ours, and the runtime that it runs
    --runtime PATH           the runtime to measure instead of this workspace's release build
  soak [OPTIONS]             thousands of containers and execs; fails when anything is left of them
    --rounds N               containers, and as many execs (default 10000)
    --together N             instead: N containers at the same time below one cgroup, made 8 at once, with the cost of
                             the first and the last
    --random N               instead: N lives by chance (configurations, signals, kills) from many threads of one program
                             that embeds the library; its memory and descriptors are watched
    --seed N                 the chances of an earlier run, which it printed
    --systemd-cgroup         with the systemd cgroup driver
    --runtime PATH           the runtime to try instead of this workspace's release build
    --programs DIR           programs that were built before, for a guest without cargo
  fuzz [OPTIONS] [TARGET]    the fuzz targets of the folder fuzz under libFuzzer, or one; fails when anything is found, which
                             then lies in target/fuzz/findings
    --seconds N              for each target (default 60)
    --address-sanitizer      with AddressSanitizer
  hot                        samples a container's usual life and writes runtime-cli/hot.ld, which tells the linker what code
                             to put side by side; now and then, not with every change
  trace-picture [OPTIONS]    draws docs/trace-of-a-start.svg from the quickest of some starts of the release build
    --trace FILE             instead from this trace (runtime --trace FILE ...)
    --output FILE            elsewhere
  package [--output DIR]     a release build as Debian package and tarball, with a bill of materials (CycloneDX) and their
                             SHA-256 sums, in target/package or DIR
  package check [PART...]    whether others can use them: crates (runtime-core builds alone as published), install (cargo
                             install from elsewhere), debian (the package in a fresh Debian, and nothing left of it),
                             twice (two builds in two folders are the same); ends with `N passed, N failed, N skipped`
  engines [OPTIONS] [ENGINE...]
                             container engines of Debian drive the runtime and the shim, in a Debian tree and namespaces of
                             their own: containerd, containerd-runc (its own shim), docker, docker-shim, podman,
                             podman-rootless, buildah; and, where programs are given, buildkit, cri, cri-runc, crio; a
                             table per engine, then `N passed, N failed, N skipped`
    --suite SUITE            bookworm, trixie (default) or sid
    --runtime NAME|PATH      another runtime, without our shim: a name is Debian's own program (runc, crun)
    --shim PATH              the shim to try
    --only REGEX             only cases whose ENGINE/CASE matches
    --execs N                programs executed in one container of containerd (default 100)
    --kills N                shims and containerds that are killed at any moment (default 6)
    --with PATH              a static program in place of Debian's of the same name; may be given several times
    --logs DIR               keep the daemons' logs and the results there
    --time-limit SECONDS     for all engines (default 1200 for each)
  vm [OPTIONS] [-- COMMAND]  boots a Debian guest with systemd, cgroup v2 and AppArmor under QEMU and runs the command in
                             it, with this workspace read-only at its own path; the status is the command's, 124 after
                             the time limit, 125 when the guest failed. Without a command: the tests and conformance for
                             both cgroup drivers, as root and as a user; ends with `N passed, N failed, N skipped`
    --user                   as the unprivileged user tester, in a service of its own systemd
    --cgroup v2|hybrid       cgroup v2 alone (Debian 13, default), or with controllers of v1 (Debian 12)
    --share DIR              one more folder of this host, read-only at its own path
    --time-limit SECONDS     for the command (default 3600) or for the tests of each user (default 2400)
  install [--to DIR]         build the runtime and the containerd shim for use, and install them (default
                             /usr/local/bin)
  setup                      only install the Debian packages that the others need
  help                       this text
";

/// What a command ends with: whether all went well, or why it could not be done.
type Outcome = Result<bool, String>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // What stands behind `--` is another program's.
    let mut own = words.iter().take_while(|word| **word != "--");
    let asked =
        matches!(words.as_slice(), [] | ["help", ..]) || own.any(|word| matches!(*word, "--help" | "-h"));
    if asked {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let outcome = match words.as_slice() {
        ["vm", options @ ..] => return vm::run(options),
        [vm::inside::WORD, order] => vm::inside::run(order),
        ["demo"] => demo::run(),
        ["test"] => checks::run(checks::Extent::Full),
        ["test", "--quick"] => checks::run(checks::Extent::Quick),
        ["bench", options @ ..] => compare::run(options),
        ["soak", options @ ..] => soak::run(options),
        ["fuzz", options @ ..] => fuzz::run(options),
        ["hot", options @ ..] => hot::run(options),
        [hot::LOAD, rest @ ..] => hot::load(rest),
        ["trace-picture", options @ ..] => picture::run(options),
        ["package", options @ ..] => package::run(options),
        ["engines", options @ ..] => engines::run(options),
        [compare::SAMPLE, rest @ ..] => compare::measure(rest),
        [compare::HELD, rest @ ..] => compare::serve(rest),
        ["install", options @ ..] => install::run(options),
        ["setup"] => host::install(&host::Need::ALL).map(|()| true),
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
