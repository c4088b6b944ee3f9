//! Lives of containers by chance, many at once, in a program that holds them itself: what it may rely on, shown.
//!
//! Every life draws its configuration (namespaces, id maps, mounts, limits, filters, hooks, terminals, and some faults) and
//! what is done to it; strangers signal, kill, pause and delete any of them at any time. The promises: delete by force
//! always works and leaves nothing, no error is the library's own fault, nothing hangs, and neither memory nor descriptors
//! grow. A broken promise ends it with 1, a hang with 2.
//!
//! `lives [--lives 2000] [--workers 16] [--strangers 3] [--seed N] [--place DIR]`; needs root, a static busybox and
//! cgroups. `cargo xtask soak --random N` runs it and looks for what is left.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::exit,
    reason = "an example shows its figures; a hang can only be ended from outside the thread that hangs"
)]

mod config;
mod dice;
mod life;
mod tally;
mod watch;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use life::Stage;
use tally::Tally;
use watch::Sample;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Nothing takes this long: no life has ended meanwhile, so something hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// Memory may grow by this share, and by this much more (KiB), for the allocator's own ways.
const GROWTH: (u64, u64) = (10, 512);

struct Options {
    lives: u64,
    workers: u64,
    strangers: u64,
    seed: u64,
    place: PathBuf,
}

impl Options {
    fn parse() -> Outcome<Self> {
        let clock = std::time::UNIX_EPOCH.elapsed()?;
        let mut options = Self {
            lives: 2000,
            workers: 16,
            strangers: 3,
            seed: clock.as_secs() << 20 | u64::from(clock.subsec_micros()),
            place: PathBuf::from(format!("/tmp/lives-{}", std::process::id())),
        };
        let mut args = std::env::args().skip(1);
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || {
                let number = value.parse();
                number.map_err(|error| format!("{name} {value}: {error}"))
            };
            match name.as_str() {
                "--lives" => options.lives = number()?,
                "--workers" => options.workers = number()?,
                "--strangers" => options.strangers = number()?,
                "--seed" => options.seed = number()?,
                "--place" => options.place = PathBuf::from(&value),
                _ => return Err(format!("unknown option {name}").into()),
            }
        }
        Ok(options)
    }
}

/// A bundle whose places of mounts are there: containers with ids of others cannot make them.
fn furnish(dir: &Path) -> Outcome {
    let busybox = ["/usr/bin/busybox", "/bin/busybox"]
        .into_iter()
        .find(|path| Path::new(path).is_file())
        .ok_or("needs a static busybox (Debian: busybox-static)")?;
    let root = dir.join("bundle/rootfs");
    for folder in ["bin", "dev", "proc", "sys", "tmp", "data", "etc", "mnt"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::copy(busybox, root.join("bin/busybox"))?;
    for name in ["sh", "true", "false", "sleep", "setsid", "kill"] {
        symlink("busybox", root.join("bin").join(name))?;
    }
    fs::write(root.join("etc/hosts"), "")?;
    fs::create_dir_all(dir.join("shared"))?;
    fs::write(dir.join("shared/file"), "shared")?;
    Ok(())
}

/// All lives, and the samples that were taken meanwhile.
fn live(stage: &Stage, options: &Options, tally: &Tally) -> Vec<Sample> {
    let (stop, next, done) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let samples = Mutex::new(Vec::new());
    let begin = Instant::now();
    let step = (options.lives / 100).max(1);
    let work = |worker: usize| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= options.lives {
                return;
            }
            stage.live(worker, number, tally);
            let count = done.fetch_add(1, Ordering::Relaxed) + 1;
            if count.is_multiple_of(step) {
                let sample = Sample::take();
                println!(
                    "{count} lives, {:.0} s: {} KiB anonymous, {} KiB resident, {} descriptors",
                    begin.elapsed().as_secs_f64(),
                    sample.anonymous,
                    sample.resident,
                    sample.descriptors
                );
                if let Ok(mut samples) = samples.lock() {
                    samples.push(sample);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| watch_for_hangs(&done, &stop, stage));
        for stranger in 0..options.strangers {
            let stop = &stop;
            scope.spawn(move || stage.disturb(stranger, stop, tally));
        }
        let work = &work;
        let workers: Vec<_> = (0..stage.current.len())
            .map(|worker| scope.spawn(move || work(worker)))
            .collect();
        for worker in workers {
            if worker.join().is_err() {
                tally.broken("a worker panicked".to_owned());
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!(
        "{} lives in {:.1} s",
        options.lives,
        begin.elapsed().as_secs_f64()
    );
    samples.into_inner().unwrap_or_default()
}

fn watch_for_hangs(done: &AtomicU64, stop: &AtomicBool, stage: &Stage) {
    let (mut seen, mut since) = (0, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(200));
        let now = done.load(Ordering::Relaxed);
        if now != seen {
            (seen, since) = (now, Instant::now());
        } else if since.elapsed() > PATIENCE {
            let current: Vec<_> = stage
                .current
                .iter()
                .map(|current| current.try_lock().map(|id| id.clone()).ok())
                .collect();
            eprintln!("BROKEN: no life has ended for {PATIENCE:?}; these are under way: {current:?}");
            std::process::exit(2);
        }
    }
}

fn main() -> Outcome {
    let options = Options::parse()?;
    println!(
        "seed {}, {} workers, {} strangers",
        options.seed, options.workers, options.strangers
    );
    furnish(&options.place)?;
    let name = options.place.file_name().ok_or("--place has no name")?;
    let stage = Stage {
        dir: options.place.clone(),
        name: name.to_string_lossy().into_owned(),
        seed: options.seed,
        current: (0..options.workers).map(|_| Mutex::new(None)).collect(),
    };
    let tally = Tally::default();
    // What is opened once is open before it is counted.
    stage.live(0, u64::MAX, &tally);
    let before = Sample::take();
    let samples = live(&stage, &options, &tally);
    let after = Sample::take();
    let (table, mut broken) = tally.told();
    println!("{}", table.join("\n"));
    if before.descriptors != after.descriptors {
        broken.push(format!(
            "{} descriptors before, {} after",
            before.descriptors, after.descriptors
        ));
    }
    if let Some((early, late)) = watch::growth(&samples) {
        println!("anonymous memory: {early} KiB in the second fifth, {late} KiB in the last");
        if late > early + early / GROWTH.0 + GROWTH.1 {
            broken.push(format!("memory grew from {early} to {late} KiB"));
        }
    }
    // The parent of all cgroups, which no container owns.
    for cgroup in watch::cgroups(&stage.name) {
        let path = cgroup.trim_start_matches("cgroup ");
        if !path.ends_with(&format!("/{}", stage.name)) || fs::remove_dir(path).is_err() {
            broken.push(format!("{cgroup} is left"));
        }
    }
    broken.extend(
        watch::children()
            .into_iter()
            .map(|child| format!("{child} is left")),
    );
    let state = fs::read_dir(options.place.join("state"))
        .into_iter()
        .flatten()
        .flatten();
    broken.extend(state.map(|entry| format!("{} is left", entry.path().display())));
    for promise in &broken {
        eprintln!("BROKEN: {promise}");
    }
    fs::remove_dir_all(&options.place)?;
    if broken.is_empty() {
        println!("every promise kept");
        return Ok(());
    }
    std::process::exit(1)
}
