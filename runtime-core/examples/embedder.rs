//! A large program with busy threads that holds containers itself: what it may rely on, measured.
//!
//! The promises: many containers at once from several threads never hang; no descriptor, mount, cgroup or process is
//! left; nothing about the calling process changes; and its memory does not make a container's start slower (at most
//! 1.2 times). Figures go to standard output; a broken promise ends it with 1, a hang with 2.
//!
//! `embedder [--containers 1000] [--memory-mib 2048] [--busy 16] [--workers 8] [--rounds 60]`; needs root, a static
//! busybox and cgroups.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::exit,
    reason = "an example shows its figures; a hang can only be ended from outside the thread that hangs"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use runtime_core::spec::LoadedSpec;
use runtime_core::{ContainerId, CreateRequest, Exit, Runtime};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// How much slower a start may be in a large process.
const MAX_RATIO: f64 = 1.2;
/// Longer than any run should take: beyond it something hangs.
const PATIENCE: Duration = Duration::from_secs(600);

struct Options {
    containers: usize,
    memory_mib: usize,
    busy: usize,
    workers: usize,
    rounds: usize,
}

impl Options {
    fn parse() -> Outcome<Self> {
        let mut options = Self {
            containers: 1000,
            memory_mib: 2048,
            busy: 16,
            workers: 8,
            rounds: 60,
        };
        let mut args = std::env::args().skip(1);
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} needs a number"))?;
            let number = value
                .parse()
                .map_err(|error| format!("{name} {value}: {error}"))?;
            *match name.as_str() {
                "--containers" => &mut options.containers,
                "--memory-mib" => &mut options.memory_mib,
                "--busy" => &mut options.busy,
                "--workers" => &mut options.workers,
                "--rounds" => &mut options.rounds,
                _ => return Err(format!("unknown option {name}").into()),
            } = number;
        }
        Ok(options)
    }
}

/// A bundle in /tmp and the names of what belongs to it.
struct Place {
    dir: PathBuf,
    name: String,
    runtime: Runtime,
}

impl Place {
    fn new() -> Outcome<Self> {
        let busybox = ["/usr/bin/busybox", "/bin/busybox"]
            .into_iter()
            .find(|path| Path::new(path).is_file())
            .ok_or("needs a static busybox (Debian: busybox-static)")?;
        let name = format!("embedder-{}", std::process::id());
        let dir = PathBuf::from("/tmp").join(&name);
        let place = Self {
            runtime: Runtime::new(dir.join("state")),
            dir,
            name,
        };
        for folder in ["bin", "dev", "proc", "sys", "tmp"] {
            fs::create_dir_all(place.dir.join("bundle/rootfs").join(folder))?;
        }
        fs::copy(busybox, place.dir.join("bundle/rootfs/bin/true"))?;
        Ok(place)
    }

    fn config(&self, id: &str) -> String {
        let all = r#"["CAP_KILL","CAP_CHOWN"]"#;
        format!(
            r#"{{"ociVersion":"1.2.0","root":{{"path":"rootfs","readonly":true}},"hostname":"box",
            "process":{{"args":["/bin/true"],"env":["PATH=/bin"],"cwd":"/","user":{{"uid":1000,"gid":1000}},
                "noNewPrivileges":true,"capabilities":{{"bounding":{all}}}}},
            "mounts":[{{"destination":"/proc","type":"proc","source":"proc"}},
                {{"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","mode=755","size=64k"]}}],
            "linux":{{"cgroupsPath":"/{}/{id}","maskedPaths":["/proc/kcore"],"readonlyPaths":["/proc/sys"],
                "namespaces":[{{"type":"pid"}},{{"type":"mount"}},{{"type":"ipc"}},{{"type":"uts"}}]}}}}"#,
            self.name
        )
    }

    /// One whole life; gives the time until the program ran, and the time of all.
    fn life(&self, id: &str) -> Outcome<(Duration, Duration)> {
        let spec = LoadedSpec::from_slice(self.config(id).as_bytes(), "config.json")?;
        let id: ContainerId = id.parse()?;
        let request = CreateRequest::new(id.clone(), self.dir.join("bundle"), spec);
        let begin = Instant::now();
        let mut container = self.runtime.create(request)?;
        container.start()?;
        let started = begin.elapsed();
        let exit = container.wait()?;
        if exit != Exit::Code(0) {
            return Err(format!("{id} ended with {exit:?}").into());
        }
        self.runtime.delete(&id, false)?;
        Ok((started, begin.elapsed()))
    }

    fn cgroups(&self) -> Vec<PathBuf> {
        let tops = fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        tops.chain([PathBuf::from("/sys/fs/cgroup")])
            .map(|top| top.join(&self.name))
            .filter(|path| path.is_dir())
            .collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let ids = self.runtime.containers().into_iter();
        for id in ids.flat_map(runtime_core::Containers::ids) {
            if let Ok(id) = id.parse() {
                let _ = self.runtime.delete(&id, true);
            }
        }
        for cgroup in self.cgroups() {
            for child in fs::read_dir(&cgroup).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(child.path());
            }
            let _ = fs::remove_dir(cgroup);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Everything about this process that a library could change, by name.
fn snapshot() -> BTreeMap<String, String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_else(|error| error.to_string());
    let mut found = BTreeMap::new();
    for line in read("/proc/self/status").lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        // Counters and sizes change by themselves.
        let moves = name.starts_with("Vm") || name.starts_with("Rss") || name.ends_with("ctxt_switches");
        if !moves && !matches!(name, "State" | "HugetlbPages" | "SigQ" | "FDSize" | "Threads") {
            found.insert(format!("status {name}"), value.trim().to_owned());
        }
    }
    for file in [
        "limits",
        "oom_score_adj",
        "cgroup",
        "mountinfo",
        "personality",
        "coredump_filter",
        "uid_map",
        "timerslack_ns",
    ] {
        found.insert(file.to_owned(), read(&format!("/proc/self/{file}")));
    }
    let children = read("/proc/thread-self/children");
    found.insert("children".to_owned(), children);
    for namespace in [
        "cgroup",
        "ipc",
        "mnt",
        "net",
        "pid",
        "pid_for_children",
        "time_for_children",
        "user",
        "uts",
    ] {
        let link = fs::read_link(format!("/proc/self/ns/{namespace}"));
        found.insert(format!("namespace {namespace}"), format!("{link:?}"));
    }
    found.insert("cwd".to_owned(), format!("{:?}", std::env::current_dir()));
    found.insert(
        "environment".to_owned(),
        format!("{:?}", std::env::vars_os().collect::<BTreeMap<_, _>>()),
    );
    found.insert(
        "dumpable".to_owned(),
        format!("{:?}", rustix::process::dumpable_behavior()),
    );
    let mut files: Vec<String> = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name(), fs::read_link(entry.path()).ok()?)))
        .filter(|(_, to)| *to != Path::new(&format!("/proc/{}/fd", std::process::id())))
        .map(|(number, to)| format!("{}={}", number.display(), to.display()))
        .collect();
    files.sort();
    found.insert("descriptors".to_owned(), files.join(" "));
    found
}

/// What differs, as lines.
fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let names = before
        .keys()
        .chain(after.keys().filter(|name| !before.contains_key(*name)));
    let differing = names.filter(|name| before.get(*name) != after.get(*name));
    differing
        .map(|name| format!("{name} changed: {:?} -> {:?}", before.get(name), after.get(name)))
        .collect()
}

/// The value below which this share of the sorted times lies.
fn share(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times
        .get(times.len() * percent / 100)
        .copied()
        .unwrap_or_default()
}

fn touched(mib: usize) -> Vec<u8> {
    let mut memory = vec![0u8; mib << 20];
    for page in memory.chunks_mut(4096) {
        if let Some(byte) = page.first_mut() {
            *byte = 1;
        }
    }
    memory
}

/// Times of starts with and without the memory, in turns, so that other load hits both alike.
fn compare_sizes(place: &Place, options: &Options) -> Outcome<f64> {
    let (mut small, mut large) = (Vec::new(), Vec::new());
    let mut whole = Vec::new();
    for _ in 0..4 {
        for round in 0..options.rounds / 4 {
            let (start, all) = place.life(&format!("small{round}"))?;
            small.push(start);
            whole.push(all);
        }
        let memory = touched(options.memory_mib);
        for round in 0..options.rounds / 4 {
            large.push(place.life(&format!("large{round}"))?.0);
        }
        drop(std::hint::black_box(memory));
    }
    println!(
        "create+start in a small process:   median {:?}, quarter {:?}",
        share(&mut small, 50),
        share(&mut small, 25)
    );
    println!(
        "create+start with {} MiB resident: median {:?}, quarter {:?}",
        options.memory_mib,
        share(&mut large, 50),
        share(&mut large, 25)
    );
    println!(
        "create+start+wait+delete in a small process: median {:?}",
        share(&mut whole, 50)
    );
    // The quarter that other load of the machine has least to do with.
    let ratio = share(&mut large, 25).as_secs_f64() / share(&mut small, 25).as_secs_f64();
    println!("ratio: {ratio:.2}");
    Ok(ratio)
}

/// All containers, from several threads, beside busy ones and with the memory.
fn many(place: &Place, options: &Options) -> Outcome<Vec<String>> {
    let memory = touched(options.memory_mib);
    let stop = AtomicBool::new(false);
    let next = AtomicUsize::new(0);
    let begin = Instant::now();
    let failures = std::thread::scope(|scope| {
        for _ in 0..options.busy {
            scope.spawn(|| {
                let mut heap = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    // The allocator's locks are what a careless fork in a threaded process hangs on.
                    heap.push(std::hint::black_box(Box::new([0u8; 300])));
                    if heap.len() > 1000 {
                        heap.clear();
                    }
                }
            });
        }
        let workers: Vec<_> = (0..options.workers)
            .map(|_| {
                scope.spawn(|| {
                    let mut failures = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= options.containers {
                            return failures;
                        }
                        if let Err(error) = place.life(&format!("many{number}")) {
                            failures.push(format!("container {number}: {error}"));
                        }
                    }
                })
            })
            .collect();
        let failures: Vec<String> = workers
            .into_iter()
            .flat_map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|_| vec!["a worker panicked".to_owned()])
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        failures
    });
    drop(std::hint::black_box(memory));
    println!(
        "{} containers from {} threads beside {} busy ones: {:?}",
        options.containers,
        options.workers,
        options.busy,
        begin.elapsed()
    );
    Ok(failures)
}

fn watch_for_hangs() {
    std::thread::spawn(|| {
        std::thread::sleep(PATIENCE);
        eprintln!("BROKEN: it hangs, after {PATIENCE:?}");
        std::process::exit(2);
    });
}

fn main() -> Outcome {
    let options = Options::parse()?;
    let mut broken = Vec::new();
    {
        let place = Place::new()?;
        watch_for_hangs();
        // What is opened once (the clock's page, the system's files) is open before it is counted.
        place.life("first")?;
        let before = snapshot();
        broken.extend(many(&place, &options)?);
        broken.extend(changes(&before, &snapshot()));
        let ratio = compare_sizes(&place, &options)?;
        if ratio > MAX_RATIO {
            broken.push(format!(
                "a start costs {ratio:.2} times as much in a large process, {MAX_RATIO} is allowed"
            ));
        }
        broken.extend(changes(&before, &snapshot()));
        for left in place.runtime.containers()? {
            broken.push(format!("container {} is left", left.0));
        }
        for cgroup in place.cgroups() {
            for left in fs::read_dir(cgroup)?
                .flatten()
                .filter(|entry| entry.path().is_dir())
            {
                broken.push(format!("cgroup {} is left", left.path().display()));
            }
        }
    }
    for promise in &broken {
        eprintln!("BROKEN: {promise}");
    }
    if broken.is_empty() {
        println!("every promise kept");
        return Ok(());
    }
    std::process::exit(1)
}
