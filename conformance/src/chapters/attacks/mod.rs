//! Attacks that worked on some runtime once, replayed: T-01 to T-43, each under its number with what it comes from.
//!
//! Lives here: what all of them use, baits and attackers. Rules: a bait is a file of the test's own folder or a
//! parameter of a UTS namespace of the test's own, never a parameter of the host (`settings` watches those); a race is
//! a bounded number of runs, which are noted; a runtime that refuses cleanly is as safe as one that is not impressed.

pub(super) mod binary;
pub(super) mod consoles;
pub(super) mod descriptors;
pub(super) mod dev;
pub(super) mod elsewhere;
pub(super) mod files;
pub(super) mod input;
pub(super) mod life;
pub(super) mod privileges;
pub(super) mod proc;
pub(super) mod races;
pub(super) mod settings;

use crate::case::{Case, text};
use crate::command::Finished;
use crate::suite::{Check, Failure, Need, ensure, why};
use fixtures::Bundle;
use rustix::fs::{CWD, FileType, Mode, RenameFlags, renameat_with};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What every bait would hold if an attack worked.
pub(super) const WORD: &str = "PWNED";
/// Text of the marker in [`Outside`].
pub(super) const MARKER: &str = "only-on-the-host";
/// Time that one container of a replay may take before it counts as one that hangs.
pub(super) const LIMIT: Duration = Duration::from_secs(8);
/// Time that a race leaves for the end of its last run.
const RESERVE: Duration = Duration::from_secs(4);
/// Programs that keep a bait in namespaces of its own.
pub(super) const UNSHARE: &[Need] = &[Need::Program("/usr/bin/unshare")];
/// The same for attacks whose bait is a parameter of such a namespace.
pub(super) const BAITED: &[Need] = &[Need::Root(why::BAIT), Need::Program("/usr/bin/unshare")];

/// A folder of the host beside the bundle that no container may change.
#[derive(Debug)]
pub(super) struct Outside {
    dir: PathBuf,
    before: BTreeMap<String, String>,
}

impl Outside {
    /// Makes it, with a marker and a file `ptmx`.
    pub(super) fn new(case: &Case<'_>) -> Check<Outside> {
        let dir = case.dir().join("outside");
        std::fs::create_dir_all(dir.join("x"))?;
        std::fs::write(dir.join("marker"), MARKER)?;
        std::fs::write(dir.join("ptmx"), "a file of the host")?;
        let before = contents(&dir);
        Ok(Outside { dir, before })
    }

    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Demands that nothing in it was made, changed or removed.
    pub(super) fn untouched(&self) -> Check {
        let now = contents(&self.dir);
        let changed: Vec<&String> = now
            .iter()
            .filter(|(name, facts)| self.before.get(*name) != Some(facts))
            .map(|(name, _)| name)
            .chain(self.before.keys().filter(|name| !now.contains_key(*name)))
            .collect();
        ensure!(
            changed.is_empty(),
            "FELL: changed outside of the bundle: {changed:?}"
        );
        Ok(())
    }
}

/// Name to kind, mode, owner, size and content of everything below a folder of a test.
fn contents(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(meta) = entry.path().symlink_metadata() else {
            continue;
        };
        let inside = match meta.is_file() {
            true => std::fs::read_to_string(entry.path()).unwrap_or_default(),
            false => String::new(),
        };
        let facts = format!("{:o} {} {} {inside}", meta.mode(), meta.uid(), meta.rdev());
        let name = entry.file_name().to_string_lossy().into_owned();
        if meta.is_dir() {
            found.extend(
                contents(&entry.path())
                    .into_iter()
                    .map(|(below, facts)| (format!("{name}/{below}"), facts)),
            );
        }
        found.insert(name, facts);
    }
    found
}

/// Takes every mount at and below `/dev` out of the configuration, and makes the root writable.
pub(super) fn without_dev(config: &mut Value) {
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.retain(|mount| {
            !mount["destination"]
                .as_str()
                .is_some_and(|at| at.starts_with("/dev"))
        });
    }
    config["root"]["readonly"] = false.into();
}

/// Leaves no path of procfs read-only, so that a bait in it could be written.
pub(super) fn writable_proc(config: &mut Value) {
    config["linux"]["readonlyPaths"] = serde_json::json!([]);
}

/// The runtime's command line, in a UTS namespace of its own: baits in it are not the host's.
pub(super) fn in_own_uts(case: &Case<'_>, args: &[&str]) -> Command {
    let inner = case.command(args);
    if !case.who().is_root() {
        // A user's container has one of its own that no parameter of the host can be reached from.
        return inner;
    }
    let mut command = Command::new("/usr/bin/unshare");
    command
        .args(["--uts", "--"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .current_dir(case.dir())
        .stdin(std::process::Stdio::null());
    command
}

/// Runs the bundle in a UTS namespace of its own to its end. None: refused in words; an error: it hangs, or the runtime
/// itself was killed.
pub(super) fn attack(case: &Case<'_>, bundle: &Bundle) -> Check<Option<Finished>> {
    let args = ["run", "--bundle", &text(bundle.dir()), case.id()];
    let running = case.start_within(in_own_uts(case, &args), "run", LIMIT)?;
    let finished = running
        .finish()
        .map_err(|_| Failure::Failed("FELL: `run` hangs".to_owned()))?;
    let said = finished.stderr.trim().to_owned();
    let outcome = started(finished)?;
    case.note(match outcome {
        Some(_) => "started".to_owned(),
        None => format!("refused: {said}"),
    });
    Ok(outcome)
}

/// Success, or a refusal.
pub(super) fn started(finished: Finished) -> Check<Option<Finished>> {
    let code = finished.code();
    ensure!(
        finished.status.signal().is_none(),
        "FELL: `{}` died ({code})",
        finished.what
    );
    if code == 0 {
        return Ok(Some(finished));
    }
    ensure!(
        !finished.stderr.trim().is_empty() || !finished.stdout.trim().is_empty(),
        "`{}` exited {code} without a word",
        finished.what
    );
    Ok(None)
}

/// What the payload wrote to a file of its root file system.
pub(super) fn result(bundle: &Bundle) -> String {
    std::fs::read_to_string(bundle.rootfs().join("result")).unwrap_or_default()
}

/// A device node of the test's own.
pub(super) fn node(path: &Path, kind: FileType, major: u32, minor: u32) -> Check {
    rustix::fs::mknodat(
        CWD,
        path,
        kind,
        Mode::from_raw_mode(0o666),
        rustix::fs::makedev(major, minor),
    )
    .map_err(|errno| Failure::Failed(format!("a node at {}: {errno}", path.display())))
}

/// Exchanges two names for as long as it lives, on a thread.
#[derive(Debug)]
pub(super) struct Swapper {
    end: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Swapper {
    /// Begins.
    pub(super) fn start(one: &Path, other: &Path) -> Swapper {
        let (end, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (one, other) = (one.to_owned(), other.to_owned());
        let thread = std::thread::spawn({
            let (end, count) = (end.clone(), count.clone());
            move || {
                while !end.load(Ordering::Relaxed) {
                    // A name that is missing for a moment, or busy, is exchanged the next time.
                    if renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).is_ok() {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        let thread = Some(thread);
        Swapper { end, count, thread }
    }

    /// How often until now.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic would show as a race that was never won.
            let _ = thread.join();
        }
    }
}

/// Runs `attempt` up to the bound of runs, while `swapper` exchanges. An attempt says whether a container started, and
/// fails where the attack worked; all runs are made, so that hits are counted.
pub(super) fn race(case: &Case<'_>, swapper: &Swapper, mut attempt: impl FnMut(u32) -> Check<bool>) -> Check {
    let (mut runs, mut ran, mut hits, mut first) = (0, 0, 0, None);
    while runs < case.race_runs() && case.time_left() > RESERVE {
        match attempt(runs) {
            Ok(began) => ran += u32::from(began),
            Err(Failure::Failed(reason)) if reason.starts_with("FELL") => {
                hits += 1;
                first.get_or_insert(reason);
            }
            Err(other) => return Err(other),
        }
        runs += 1;
    }
    let swaps = swapper.count();
    ensure!(swaps > 0, "nothing was exchanged, so nothing was shown");
    let counts = format!("{hits} hits in {runs} runs ({ran} started, {swaps} exchanges)");
    let last = case.noted();
    case.note(counts.clone());
    match first {
        Some(reason) => Err(Failure::Failed(format!("{reason}; {counts}"))),
        // Whoever refuses every time may do so for another reason.
        None if ran == 0 => skip(&format!(
            "no container started, so nothing was shown; {counts}; last {last}"
        )),
        None => Ok(()),
    }
}

/// A skip, for attacks on what is not reached by runc's command line or not on this host.
pub(super) fn skip(reason: &str) -> Check {
    Err(Failure::Skipped(reason.to_owned()))
}
