//! The command line, as typed.

use crate::suite::Chapter;
use clap::Parser;
use std::path::PathBuf;

/// Runs the specification's sentences as tests against runtimes with runc's command line.
#[derive(Debug, Parser)]
#[command(name = "conformance", version)]
pub(crate) struct Args {
    /// Runtime to test; may be given several times.
    #[arg(long = "runtime", value_name = "PATH")]
    pub(crate) runtimes: Vec<PathBuf>,
    /// Only this chapter; may be given several times.
    #[arg(long = "chapter", value_name = "NAME")]
    pub(crate) chapters: Vec<Chapter>,
    /// Only tests whose `chapter/name` contains this text; may be given several times.
    #[arg(long, value_name = "SUBSTRING")]
    pub(crate) filter: Vec<String>,
    /// Write results as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Print the tests with their anchors and needs, run nothing.
    #[arg(long)]
    pub(crate) list: bool,
    /// Tests at once. More than one makes time limits less trustworthy.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) jobs: u16,
    /// Seconds that one test may take, cleanup apart.
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) time_limit: u64,
    /// Known differences (JSON: test name to reason) instead of the built-in list for the runtime.
    #[arg(long, value_name = "FILE")]
    pub(crate) known: Option<PathBuf>,
    /// Containers that a test of the chapter `attacks` makes to win a race; fewer where its time limit ends first.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) race_runs: u32,
    /// The probe to put into bundles; otherwise FIXTURES_PROBE, or beside this program.
    #[arg(long, value_name = "PATH")]
    pub(crate) probe: Option<PathBuf>,
    /// Where test folders are made; the system's temporary folder by default. A tmpfs makes the suite much faster.
    #[arg(long, value_name = "DIR")]
    pub(crate) work_dir: Option<PathBuf>,
    /// Give every command --systemd-cgroup, and paths of the form slice:prefix:name; needs systemd.
    #[arg(long)]
    pub(crate) systemd_cgroup: bool,
    /// Option in front of each command of the runtime, such as --global=--cgroup-manager=disabled; may be given several
    /// times.
    #[arg(long = "global", value_name = "OPTION", allow_hyphen_values = true)]
    pub(crate) globals: Vec<String>,
    /// As an unprivileged user, map the caller's own id alone, as where there is no newuidmap.
    #[arg(long)]
    pub(crate) single_id: bool,
    /// Keep the folders of failed tests and say where they are.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Print each result as it comes.
    #[arg(long, short)]
    pub(crate) verbose: bool,
}
