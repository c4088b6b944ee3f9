//! `cargo xtask bench`: how long the commands of runtimes take and how much memory they need, side by side.
//!
//! Lives here: the road of a measurement. Must not live here: tests; nothing passes or fails by a figure.
//!
//! All runtimes take part in one run, one after the other within each round, and the order rotates from round to
//! round: what else the host does then hits all of them alike. Every command is started by a small process of its own
//! ([`measure`]), which is pinned to one core unless told otherwise, takes the time and reports the peak memory of what it waited for.

mod figures;
mod options;
mod profile;
mod rounds;
mod sample;

use crate::workspace::{Scratch, cargo, programs};
use crate::{Outcome, bundle, host, steps};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use options::{Cores, Options};
use rounds::{Contestant, OWN, Stage};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub(crate) use sample::{NAME as SAMPLE, measure};

/// NVIDIA's program for hooks, where its package has it; NVIDIA_CDI_HOOK names another one.
const CDI_HOOK: &str = "/usr/bin/nvidia-cdi-hook";
/// Rounds that are thrown away.
const WARM_UP: usize = 3;

/// Measures and prints; writes JSON when asked.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let options = Options::parse(words)?;
    if !host::is_root() {
        return Err("bench: has to run as root, so that all runtimes do the same work".to_owned());
    }
    host::install(&host::Need::ALL)?;
    steps::must(&mut cargo(&[
        "build",
        "--release",
        "--locked",
        "--package",
        "xtask",
    ]))?;
    steps::must(&mut cargo(&[
        "build",
        "--release",
        "--package",
        "fixtures",
        "--bins",
    ]))?;
    let release = programs("release")?;
    let own = match &options.runtime {
        Some(path) => path.clone(),
        None => {
            steps::must(&mut cargo(&["build", "--release", "--package", "runtime-cli"]))?;
            release.join("runtime")
        }
    };
    let scratch = Scratch::new("bench")?;
    let hook = std::env::var("NVIDIA_CDI_HOOK").unwrap_or_else(|_| CDI_HOOK.to_owned());
    let stage = Stage {
        ends: scratch.join("true"),
        stays: scratch.join("sleep"),
        new_profile: scratch.join("new-profile"),
        profile: scratch.join("profile"),
        gpu: scratch.join("gpu"),
        gpu_hook: Path::new(&hook).exists(),
        sampler: release.join("xtask"),
        core: match options.cores {
            Cores::Last => Some(sample::last_core()?),
            Cores::One(core) => Some(core),
            Cores::All => None,
        },
    };
    steps::must(&mut bundle::make(&release, &stage.ends, &["/bin/true"]))?;
    steps::must(&mut bundle::make(&release, &stage.stays, &["/bin/sleep", "600"]))?;
    steps::must(
        std::process::Command::new(release.join("gpu-driver"))
            .arg("bundle")
            .arg(&stage.gpu)
            .arg(&hook),
    )?;
    for bundle in [&stage.new_profile, &stage.profile] {
        steps::must(&mut bundle::make(&release, bundle, &["/bin/true"]))?;
        profile::put(bundle)?;
    }

    let (place, filesystem) = state_place();
    let states = Scratch::below(&place, "bench-state")?;
    let mut contestants = Vec::new();
    for (name, path) in [(OWN.to_owned(), own)].into_iter().chain(options.peers()) {
        contestants.push(Contestant::look(&name, &path, &states)?);
    }
    let left_out = stage.warm_up(&mut contestants, WARM_UP);
    for reason in &left_out {
        println!("LEFT OUT {reason}");
    }
    println!(
        "{} rounds of {} runtimes on {}, order rotating, {WARM_UP} rounds of warm-up, state on {filesystem}",
        options.runs,
        contestants.len(),
        stage
            .core
            .map_or("all cores".to_owned(), |core| format!("core {core}"))
    );
    let samples = stage.measure(&mut contestants, options.runs)?;
    let rows = figures::rows(&samples);
    figures::print(&rows);
    println!(
        "\nmeasuring itself peaks at {} KiB: smaller figures cannot be seen",
        samples.floor_kib
    );
    if let Some(file) = &options.json {
        let report = json!({
            "host": about_host(),
            "core": stage.core,
            "rounds": options.runs,
            "warm_up_rounds": WARM_UP,
            "state": filesystem,
            "floor_kib": samples.floor_kib,
            "runtimes": contestants.iter().map(Contestant::about).collect::<Vec<_>>(),
            "left_out": left_out,
            "results": figures::json(&rows),
        });
        let text = serde_json::to_vec_pretty(&report).map_err(|error| error.to_string())?;
        std::fs::write(file, text).map_err(|error| format!("--json {}: {error}", file.display()))?;
    }
    Ok(true)
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

fn about_host() -> Value {
    let line = |path: &str| {
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map(|rest| rest.trim_start_matches([':', '\t', ' ']));
    json!({
        "kernel": line("/proc/sys/kernel/osrelease"),
        "cpu": model,
        "cores": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "load_at_end": line("/proc/loadavg"),
        "cgroup": if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "v2" } else { "v1 or hybrid" },
    })
}
