//! `cargo xtask bench`: how long the commands of runtimes take and how much memory they need, side by side.
//!
//! Lives here: the road of a measurement. Must not live here: tests; without `--check` nothing passes or fails by a figure.
//!
//! All contestants take part in one run, one after the other within each round, and the order rotates from round to
//! round: what else the host does then hits all of them alike. Every command is started by a small process of its own
//! ([`measure`]), which is pinned to one core unless told otherwise, takes the time and reports the peak memory of what it waited for.
//!
//! - [`contestant`], [`stage`], [`sample`], [`traced`], [`held`]: who takes part, with what, and how one command is measured.
//! - [`rounds`], [`resident`], [`together`], [`limit`], [`live`], [`callers`], [`shims`]: the parts of the measuring.
//! - [`series`], [`statistics`], [`figures`], [`budgets`], [`page`]: what was measured, and what is made of it.

mod budgets;
mod callers;
mod contestant;
mod figures;
mod held;
mod limit;
mod live;
mod options;
mod page;
mod profile;
mod resident;
mod rounds;
mod sample;
mod series;
mod shims;
mod stage;
mod statistics;
mod together;
mod traced;

use crate::workspace::{Scratch, build_release, programs};
use crate::{Outcome, host};
use contestant::{Contestant, OWN};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use options::{Options, Part};
use serde_json::{Value, json};
use series::Table;
use shims::Shim;
use stage::Stage;
use std::path::{Path, PathBuf};

pub(crate) use held::{NAME as HELD, serve};
pub(crate) use sample::{NAME as SAMPLE, measure};

/// NVIDIA's program for hooks, where its package has it; NVIDIA_CDI_HOOK names another one.
const CDI_HOOK: &str = "/usr/bin/nvidia-cdi-hook";
/// Rounds that are thrown away.
const WARM_UP: usize = 3;
/// Rounds at each point of what is measured against something, at most: a point may take seconds.
const POINT_ROUNDS: usize = 20;
/// Rounds of many containers together, at most.
const TOGETHER_ROUNDS: usize = 7;
/// Rounds of what hardly varies.
const STEADY_ROUNDS: usize = 5;

/// Measures and prints; writes JSON and a page when asked, and compares with the budgets.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let options = Options::parse(words)?;
    let budgets = budgets::parse(budgets::TEXT)?;
    if !host::is_root() {
        return Err("bench: has to run as root, so that all runtimes do the same work".to_owned());
    }
    host::install(&host::Need::ALL)?;
    let release = programs("release")?;
    let own = build(&options, &release)?;
    let stage = Stage::build(&options, &release)?;
    let (place, filesystem) = state_place();
    let states = Scratch::below(&place, "bench-state")?;
    let mut contestants = Vec::new();
    for (name, path) in [(OWN.to_owned(), own)].into_iter().chain(options.peers()) {
        contestants.push(Contestant::look(&name, &path, &states)?);
    }
    contestants.push(Contestant::floor(&release, &states)?);
    let mut left_out = stage.skipped();
    left_out.extend(rounds::warm_up(&stage, &mut contestants, WARM_UP));
    left_out.iter().for_each(|reason| println!("LEFT OUT {reason}"));
    println!(
        "{} rounds of {} contestants on {}, order rotating, {WARM_UP} rounds of warm-up, state on {filesystem}",
        options.runs,
        contestants.len(),
        stage
            .core
            .map_or("all cores".to_owned(), |core| format!("core {core}"))
    );
    let mut table = Table::default();
    let load = load();
    let (floor_kib, more) = take_all(&options, &stage, &states, &mut contestants, &release, &mut table)?;
    more.iter().for_each(|reason| println!("LEFT OUT {reason}"));
    left_out.extend(more);

    let figures = figures::figures(&table);
    figures::print(&figures);
    if floor_kib > 0 {
        println!("\nmeasuring itself peaks at {floor_kib} KiB: smaller peaks cannot be seen");
    }
    let verdicts = budgets::judge(&budgets, &table);
    let report = json!({
        "host": about_host(&load),
        "core": stage.core,
        "rounds": options.runs,
        "warm_up_rounds": WARM_UP,
        "state": filesystem,
        "floor_kib": floor_kib,
        "runtimes": contestants.iter().map(Contestant::about).collect::<Vec<_>>(),
        "left_out": left_out,
        "budgets": verdicts.iter().map(budgets::Verdict::json).collect::<Vec<_>>(),
        "results": figures::json(&figures),
    });
    if let Some(file) = &options.json {
        let text = serde_json::to_vec_pretty(&report).map_err(|error| error.to_string())?;
        write(file, &text)?;
    }
    if let Some(file) = &options.html {
        write(
            file,
            page::page(&report, &contestants, &figures, &verdicts).as_bytes(),
        )?;
    }
    Ok(!options.check || budgets::print(&verdicts))
}

/// Builds what takes part; gives the runtime that is measured.
fn build(options: &Options, release: &Path) -> Result<PathBuf, String> {
    build_release(&["--locked", "--package", "xtask"])?;
    build_release(&["--locked", "--package", "fixtures", "--bins"])?;
    if options.has(Part::Caller) {
        build_release(&["--locked", "--package", "runtime-core", "--example", "caller"])?;
    }
    if options.has(Part::Shims) {
        build_release(&["--locked", "--package", "shim", "--example", "calls"])?;
        if options.shims.iter().all(|shim| shim.name != OWN) {
            build_release(&["--locked", "--package", "shim", "--bins"])?;
        }
    }
    match &options.runtime {
        Some(path) => Ok(path.clone()),
        None => {
            build_release(&["--package", "runtime-cli"])?;
            Ok(release.join("runtime"))
        }
    }
}

/// Those given, and our own build unless one of its name is given.
fn all_shims(options: &Options, release: &Path) -> Vec<Shim> {
    let mut shims = options.shims.clone();
    if shims.iter().all(|shim| shim.name != OWN) {
        shims.insert(
            0,
            Shim {
                name: OWN.to_owned(),
                path: release.join("containerd-shim-runtime-core-v2"),
                binary: None,
            },
        );
    }
    shims
}

/// All parts that were asked for; the floor of peaks in KiB, and what had to be left out.
fn take_all(
    options: &Options,
    stage: &Stage,
    states: &Scratch,
    contestants: &mut [Contestant],
    release: &Path,
    table: &mut Table,
) -> Result<(u64, Vec<String>), String> {
    let mut left_out = Vec::new();
    let mut floor_kib = 0;
    let points = options.runs.min(POINT_ROUNDS);
    if options.has(Part::Commands) {
        floor_kib = rounds::measure(stage, contestants, options.runs, table)?;
    }
    if options.has(Part::Memory) {
        rounds::trace(stage, contestants, STEADY_ROUNDS, table)?;
        resident::measure(stage, contestants, STEADY_ROUNDS, table)?;
    }
    if options.has(Part::Together) {
        together::measure(stage, contestants, options.runs.min(TOGETHER_ROUNDS), table)?;
    }
    if options.has(Part::Limit) {
        left_out.extend(limit::measure(stage, contestants, STEADY_ROUNDS, table)?);
    }
    if options.has(Part::Caller) {
        let library = release.join("examples/caller");
        left_out.extend(callers::memory(stage, contestants, &library, points, table)?);
    }
    if options.has(Part::Mounts) {
        callers::mounts(stage, contestants, points, table)?;
    }
    if options.has(Part::Shims) {
        let (calls, shims) = (release.join("examples/calls"), all_shims(options, release));
        left_out.extend(shims::measure(&calls, &stage.ends, states, shims, points, table)?);
    }
    if options.has(Part::Live) {
        live::measure(stage, contestants, points, table)?;
    }
    Ok((floor_kib, left_out))
}

/// Where engines keep the state of containers: on a tmpfs, as /run is. On a disk the time that the disk takes to forget
/// a directory (a discard, milliseconds) would be counted as the runtimes'.
fn state_place() -> (PathBuf, &'static str) {
    let tmpfs = |path: &&str| statfs(*path).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC);
    match ["/run", "/dev/shm"].into_iter().find(tmpfs) {
        Some(path) => (PathBuf::from(path), "tmpfs"),
        None => (std::env::temp_dir(), "the disk"),
    }
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(file, bytes).map_err(|error| format!("{}: {error}", file.display()))
}

fn line(path: &str) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// The three averages of how many processes want to run.
fn load() -> String {
    let line = line("/proc/loadavg");
    line.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn about_host(load_at_begin: &str) -> Value {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map(|rest| rest.trim_start_matches([':', '\t', ' ']));
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    json!({
        "kernel": line("/proc/sys/kernel/osrelease"),
        "cpu": model,
        "cores": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "memory_kib": sample::figure(&memory, "MemTotal"),
        "load_at_begin": load_at_begin,
        "load_at_end": load(),
        "cgroup": if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "v2" } else { "v1 or hybrid" },
    })
}
