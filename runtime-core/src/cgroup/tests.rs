//! Cgroups on this host: real groups named `/rc-test-<pid>-<n>`, which are removed whatever happens.
//!
//! Without root, or without the hierarchy that a test is about, a test says so and passes: it has shown nothing then.

use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::*;
use crate::error::ErrorKind;
use crate::facts::cgroup::{CgroupFacts, CgroupMode, HierarchyKind};

const PATIENCE: Duration = Duration::from_secs(10);

/// A name of its own in every hierarchy; removed with everything in it at the end, also of a failed test.
struct Scratch {
    name: String,
    facts: CgroupFacts,
    children: Vec<Child>,
}

impl Scratch {
    /// Nothing where the test cannot be made.
    fn new(test: &str) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED {test}: needs root");
            return None;
        }
        let facts = CgroupFacts::gather().unwrap();
        if facts.hierarchies.is_empty() || facts.hierarchies.iter().all(|h| h.read_only) {
            println!("SKIPPED {test}: no cgroup hierarchy is mounted for writing");
            return None;
        }
        let name = format!(
            "/rc-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        Some(Self {
            name,
            facts,
            children: Vec::new(),
        })
    }

    fn paths(&self, below: &str) -> CgroupPaths {
        resolve(
            Some(Path::new(&format!("{}{below}", self.name))),
            "id",
            &self.facts,
        )
        .unwrap()
    }

    fn create(&self, below: &str) -> Cgroup {
        Cgroup::create(&self.paths(below), &[], false).unwrap()
    }

    fn writes(&self, resources: serde_json::Value) -> Vec<Write> {
        limits(&serde_json::from_value(resources).unwrap(), &self.facts)
            .unwrap()
            .writes
    }

    /// The path of a file in a hierarchy; the empty controller is the unified one.
    fn file(&self, controller: &str, below: &str, file: &str) -> Option<PathBuf> {
        let hierarchy = match controller {
            "" => self.facts.unified()?,
            name => self.facts.hierarchy_of(name)?,
        };
        Some(hierarchy.mount_point.join(&self.name[1..]).join(below).join(file))
    }

    fn dirs(&self) -> Vec<PathBuf> {
        self.facts
            .hierarchies
            .iter()
            .map(|h| h.mount_point.join(&self.name[1..]))
            .collect()
    }

    /// A process that sleeps, in every hierarchy of the group.
    fn sleeper(&mut self, cgroup: &Cgroup) -> i32 {
        let child = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id();
        self.children.push(child);
        for (_, path) in cgroup.record().paths() {
            // What was handed down to a group below keeps processes out of a group of version 2 (cgroups(7)).
            if let Ok(given) = std::fs::read_to_string(path.join("cgroup.subtree_control")) {
                let back: Vec<String> = given.split_whitespace().map(|name| format!("-{name}")).collect();
                std::fs::write(path.join("cgroup.subtree_control"), back.join(" ")).unwrap();
            }
            std::fs::write(path.join("cgroup.procs"), pid.to_string()).unwrap();
        }
        i32::try_from(pid).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let cgroup = Cgroup::open(&CgroupRecord {
            directories: self.paths("").directories,
            scope: None,
        });
        let killed = cgroup.kill_all();
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let removed = cgroup.remove(PATIENCE);
        let left: Vec<PathBuf> = self.dirs().into_iter().filter(|path| path.exists()).collect();
        if !std::thread::panicking() {
            assert!(
                left.is_empty(),
                "left behind: {left:?}; kill {killed:?}, remove {removed:?}"
            );
        }
    }
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(&path).unwrap().trim().to_owned()
}

#[test]
fn create_record_open_and_remove() {
    let Some(scratch) = Scratch::new("create_record_open_and_remove") else {
        return;
    };
    let cgroup = scratch.create("");
    assert!(
        scratch.dirs().iter().all(|path| path.is_dir()),
        "{:?}",
        scratch.dirs()
    );
    let record = cgroup.record();
    assert_eq!(record.directories.len(), scratch.facts.hierarchies.len());
    drop(cgroup);
    let again = Cgroup::open(&record);
    assert!(again.exists());
    assert_eq!(again.pids().unwrap(), [0i32; 0]);
    again.remove(PATIENCE).unwrap();
    assert!(!again.exists() && scratch.dirs().iter().all(|path| !path.exists()));
    // Everything about what is gone is calm.
    again.remove(PATIENCE).unwrap();
    let fresh = Cgroup::open(&record);
    assert_eq!(fresh.pids().unwrap(), [0i32; 0]);
    fresh.kill_all().unwrap();
    assert!(!fresh.is_frozen().unwrap());
    assert_eq!(fresh.oom_kills().unwrap(), None);
    assert!(fresh.join().is_err() && fresh.resume().is_err());
    fresh.remove(PATIENCE).unwrap();
}

#[test]
fn undo_removes_the_parents_that_were_made_and_no_others() {
    let Some(scratch) = Scratch::new("undo_removes_the_parents_that_were_made_and_no_others") else {
        return;
    };
    let kept = scratch.create("");
    let deep = scratch.create("/a/b/c");
    deep.undo(PATIENCE).unwrap();
    for path in scratch.dirs() {
        assert!(path.is_dir() && !path.join("a").exists(), "{path:?}");
    }
    // A second container below the same parent keeps the parent.
    let first = scratch.create("/p/first");
    let second = scratch.create("/p/second");
    first.undo(PATIENCE).unwrap();
    for path in scratch.dirs() {
        assert!(path.join("p/second").is_dir() && !path.join("p/first").exists());
    }
    second.undo(PATIENCE).unwrap();
    kept.undo(PATIENCE).unwrap();
    // The parent "p" belongs to the first, which could not remove it while the second was there.
    for path in scratch.dirs() {
        let _ = std::fs::remove_dir(path.join("p"));
    }
}

#[test]
fn a_failed_create_leaves_nothing() {
    let Some(scratch) = Scratch::new("a_failed_create_leaves_nothing") else {
        return;
    };
    // A name that cgroups do not take, in the last hierarchy only.
    let mut paths = scratch.paths("/x");
    let last = paths.directories.last_mut().unwrap();
    last.relative = last.relative.join("a\nb");
    if last.kind == HierarchyKind::Named {
        println!("SKIPPED a_failed_create_leaves_nothing: the last hierarchy may fail");
        return;
    }
    let error = Cgroup::create(&paths, &[], false).unwrap_err();
    assert_eq!(error.errno(), Some(libc::EINVAL), "{error}");
    assert!(
        error.to_string().contains("unable to apply cgroup configuration"),
        "{error}"
    );
    assert!(scratch.dirs().iter().all(|path| !path.exists()), "left behind");
}

/// By what creates directories, and by what looks before systemd does.
fn refused(paths: &CgroupPaths, words: &str) {
    for error in [
        Cgroup::create(paths, &[], false).unwrap_err(),
        Cgroup::refuse_used(paths, &[]).unwrap_err(),
    ] {
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.kind(), ErrorKind::WrongState);
    }
}

#[test]
fn an_occupied_or_frozen_group_is_refused() {
    let Some(mut scratch) = Scratch::new("an_occupied_or_frozen_group_is_refused") else {
        return;
    };
    let cgroup = scratch.create("");
    // An empty one may be there.
    let again = scratch.create("");
    again.undo(PATIENCE).unwrap();
    assert!(cgroup.exists(), "undo took what another create had made");
    cgroup.pause(PATIENCE).unwrap();
    refused(&scratch.paths(""), "container's cgroup unexpectedly frozen");
    cgroup.resume().unwrap();
    Cgroup::refuse_used(&scratch.paths(""), &[]).unwrap();
    Cgroup::refuse_used(&scratch.paths("/not-there"), &[]).unwrap();
    scratch.sleeper(&cgroup);
    refused(
        &scratch.paths(""),
        "container's cgroup is not empty: 1 process(es) found",
    );
    assert!(cgroup.exists());
}

#[test]
fn a_group_below_a_frozen_one_is_refused() {
    let Some(mut scratch) = Scratch::new("a_group_below_a_frozen_one_is_refused") else {
        return;
    };
    let above = scratch.create("");
    let inner = scratch.create("/a/inner");
    scratch.sleeper(&inner);
    assert_eq!(inner.frozen_above().unwrap(), None);
    // By the one freezer, and by the other.
    for unified in [false, true] {
        let mut record = above.record();
        record
            .directories
            .retain(|directory| (directory.kind == HierarchyKind::Unified) == unified);
        let above = Cgroup::open(&record);
        if let Err(error) = above.pause(PATIENCE) {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            println!("SKIPPED a half of a_group_below_a_frozen_one_is_refused: {error}");
            continue;
        }
        let frozen = inner.frozen_above().unwrap().unwrap();
        assert!(frozen.ends_with(&scratch.name[1..]), "{frozen:?}");
        refused(
            &scratch.paths("/a/x/y"),
            &format!("the cgroup {} above it is", frozen.display()),
        );
        assert!(
            scratch.dirs().iter().all(|path| !path.join("a/x").exists()),
            "left behind"
        );
        // Itself frozen is another matter.
        assert_eq!(above.frozen_above().unwrap(), None);
        above.resume().unwrap();
        assert_eq!(inner.frozen_above().unwrap(), None);
        Cgroup::refuse_used(&scratch.paths("/a/x"), &[]).unwrap();
    }
}

/// Who makes the parent hands controllers down to it while others are below it already: found in a slow guest, where a limit
/// had no file yet.
#[test]
fn creates_beside_each_other_below_a_new_parent_all_have_their_limits() {
    let test = "creates_beside_each_other_below_a_new_parent_all_have_their_limits";
    let Some(scratch) = Scratch::new(test) else {
        return;
    };
    let writes = scratch.writes(json!({"pids": {"limit": 42}}));
    for round in 0..40 {
        let together = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (scratch, writes, together) = (&scratch, &writes, &together);
                scope.spawn(move || {
                    let paths = scratch.paths(&format!("/{round}/{number}"));
                    together.wait();
                    let cgroup = Cgroup::create(&paths, writes, false).unwrap();
                    cgroup.apply(writes).unwrap();
                });
            }
        });
        let controller = if scratch.facts.mode == CgroupMode::V2 {
            ""
        } else {
            "pids"
        };
        for number in 0..4 {
            let file = scratch
                .file(controller, &format!("{round}/{number}"), "pids.max")
                .unwrap();
            assert_eq!(std::fs::read_to_string(file).unwrap().trim(), "42");
        }
    }
}

#[test]
fn limits_arrive_in_the_files() {
    let Some(scratch) = Scratch::new("limits_arrive_in_the_files") else {
        return;
    };
    let mut resources = json!({});
    let mut expected: Vec<(PathBuf, &str)> = Vec::new();
    let v1 = |name: &str| {
        scratch
            .facts
            .hierarchy_of(name)
            .is_some_and(|h| h.kind == HierarchyKind::V1)
    };
    if v1("pids") {
        resources["pids"] = json!({"limit": 42});
        expected.push((scratch.file("pids", "", "pids.max").unwrap(), "42"));
    }
    if v1("memory") {
        resources["memory"] = json!({"limit": 33_554_432, "reservation": 16_777_216});
        expected.push((
            scratch.file("memory", "", "memory.limit_in_bytes").unwrap(),
            "33554432",
        ));
        expected.push((
            scratch.file("memory", "", "memory.soft_limit_in_bytes").unwrap(),
            "16777216",
        ));
    }
    if v1("cpu") {
        resources["cpu"] = json!({"shares": 512, "quota": 50_000, "period": 200_000, "cpus": "0"});
        expected.push((scratch.file("cpu", "", "cpu.shares").unwrap(), "512"));
        expected.push((scratch.file("cpu", "", "cpu.cfs_quota_us").unwrap(), "50000"));
        expected.push((scratch.file("cpu", "", "cpu.cfs_period_us").unwrap(), "200000"));
        expected.push((scratch.file("cpuset", "", "cpuset.cpus").unwrap(), "0"));
    }
    if expected.is_empty() {
        println!("SKIPPED limits_arrive_in_the_files: no controllers of version 1");
        return;
    }
    let writes = scratch.writes(resources);
    let cgroup = Cgroup::create(&scratch.paths(""), &writes, false).unwrap();
    cgroup.apply(&writes).unwrap();
    for (path, value) in expected {
        assert_eq!(read(&path), value, "{path:?}");
    }
}

#[test]
fn memory_and_swap_change_in_any_order() {
    let Some(scratch) = Scratch::new("memory_and_swap_change_in_any_order") else {
        return;
    };
    let cgroup = scratch.create("");
    let Some(swap) = scratch
        .file("memory", "", "memory.memsw.limit_in_bytes")
        .filter(|path| path.exists())
    else {
        println!("SKIPPED memory_and_swap_change_in_any_order: no swap accounting of version 1");
        return;
    };
    let memory = scratch.file("memory", "", "memory.limit_in_bytes").unwrap();
    let mib = 1 << 20;
    let unlimited = read(&memory);
    for (limit, both) in [
        (32, 64),
        (128, 256),
        (16, 16),
        (64, 64),
        (8, 512),
        (-1, -1),
        (4, 4),
        (-1, 0),
        (9, 10),
    ] {
        let scale = |value: i64| if value > 0 { value * mib } else { value };
        let resources = json!({"memory": {"limit": scale(limit), "swap": scale(both)}});
        cgroup.apply(&scratch.writes(resources)).unwrap();
        let shown = |value: i64| {
            if value > 0 {
                (value * mib).to_string()
            } else {
                unlimited.clone()
            }
        };
        assert_eq!(
            (read(&memory), read(&swap)),
            (shown(limit), shown(both)),
            "{limit} {both}"
        );
    }
}

#[test]
fn a_memory_limit_below_the_use_says_so() {
    let Some(mut scratch) = Scratch::new("a_memory_limit_below_the_use_says_so") else {
        return;
    };
    let cgroup = scratch.create("");
    let Some(usage) = scratch
        .file("memory", "", "memory.usage_in_bytes")
        .filter(|path| path.exists())
    else {
        println!("SKIPPED a_memory_limit_below_the_use_says_so: no memory controller of version 1");
        return;
    };
    // A shell that holds memory which cannot be swapped out or dropped: its own heap, with a tiny limit after it.
    let mut child = Command::new("sh")
        .args([
            "-c",
            "read x; y=$(head -c 8000000 /dev/zero | tr '\\0' x); echo ready; read x",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    std::fs::write(scratch.file("memory", "", "cgroup.procs").unwrap(), pid).unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"\n").unwrap();
    let mut byte = [0u8; 6];
    child.stdout.take().unwrap().read_exact(&mut byte).unwrap();
    scratch.children.push(child);
    assert!(read(&usage).parse::<u64>().unwrap() > 4_000_000);
    let error = cgroup
        .apply(&scratch.writes(json!({"memory": {"limit": 65_536}})))
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("unable to set memory limit to 65536 (current usage: "),
        "{text}"
    );
    assert!(text.contains(", peak usage: "), "{text}");
    assert_eq!(error.field(), Some("linux.resources.memory.limit"));
    drop(input);
}

#[test]
fn a_refused_limit_names_field_file_value_and_answer() {
    let Some(scratch) = Scratch::new("a_refused_limit_names_field_file_value_and_answer") else {
        return;
    };
    if scratch.file("cpuset", "", "").is_none() {
        println!("SKIPPED a_refused_limit_names_field_file_value_and_answer: no cpuset");
        return;
    }
    let writes = scratch.writes(json!({"cpu": {"cpus": "1023"}}));
    let cgroup = Cgroup::create(&scratch.paths(""), &writes, false).unwrap();
    let error = cgroup.apply(&writes).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.field(), Some("linux.resources.cpu.cpus"));
    assert!(
        text.contains("cpuset.cpus\", \"1023\")") && text.contains(&scratch.name),
        "{text}"
    );
    assert!(error.errno().is_some(), "{text}");
}

#[test]
fn a_change_that_fails_leaves_what_was_there() {
    let Some(scratch) = Scratch::new("a_change_that_fails_leaves_what_was_there") else {
        return;
    };
    let before = json!({"cpu": {"shares": 300, "quota": 60_000, "period": 200_000, "cpus": "0"}, "pids": {"limit": 30},
        "memory": {"limit": 33_554_432, "reservation": 16_777_216}});
    let writes = scratch.writes(before);
    let cgroup = Cgroup::create(&scratch.paths(""), &writes, false).unwrap();
    cgroup.apply(&writes).unwrap();
    let files = |writes: &[Write]| -> Vec<(String, String)> {
        let path = |write: &Write| scratch.file(&write.controller, "", &write.file).unwrap();
        writes
            .iter()
            .map(|write| (write.file.clone(), read(path(write))))
            .collect()
    };
    let old = files(&writes);
    // Everything changes, then the last write of the processor fails: quota / period is too much for any kernel.
    let asked = json!({"cpu": {"shares": 400, "quota": 1, "period": 5_000, "cpus": "0"}, "pids": {"limit": 31},
        "memory": {"limit": 67_108_864, "reservation": 8_388_608}});
    let changed = scratch.writes(asked);
    let error = cgroup.change(&changed).unwrap_err();
    assert_eq!(error.errno(), Some(libc::EINVAL), "{error}");
    assert!(!error.to_string().contains("could not be set back"), "{error}");
    assert_eq!(files(&writes), old);
    // One that succeeds can be taken back, too.
    let asked = json!({"pids": {"limit": 31}, "memory": {"limit": 67_108_864, "reservation": 8_388_608}});
    let changed = scratch.writes(asked);
    let change = cgroup.change(&changed).unwrap();
    assert_ne!(files(&writes), old);
    assert_eq!(change.undo(), [""; 0]);
    assert_eq!(files(&writes), old);
}

#[test]
fn cpuset_comes_from_the_parents() {
    let Some(scratch) = Scratch::new("cpuset_comes_from_the_parents") else {
        return;
    };
    let Some(root) = scratch
        .facts
        .hierarchy_of("cpuset")
        .filter(|h| h.kind == HierarchyKind::V1)
    else {
        println!("SKIPPED cpuset_comes_from_the_parents: no cpuset of version 1");
        return;
    };
    scratch.create("/a/b");
    for level in ["", "a", "a/b"] {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let path = scratch.file("cpuset", level, file).unwrap();
            assert_eq!(read(&path), read(root.mount_point.join(file)), "{path:?}");
        }
    }
    // A value of the configuration is not overwritten, and its parents have theirs.
    let writes = scratch.writes(json!({"cpu": {"cpus": "0"}}));
    let cgroup = Cgroup::create(&scratch.paths("/c/d"), &writes, false).unwrap();
    cgroup.apply(&writes).unwrap();
    assert_eq!(read(scratch.file("cpuset", "c/d", "cpuset.cpus").unwrap()), "0");
    assert_ne!(read(scratch.file("cpuset", "c", "cpuset.cpus").unwrap()), "");
}

#[test]
fn a_thread_joins_by_writing_zero() {
    let Some(scratch) = Scratch::new("a_thread_joins_by_writing_zero") else {
        return;
    };
    let cgroup = scratch.create("");
    let join = cgroup.join().unwrap();
    assert_eq!(join.unified.is_some(), scratch.facts.unified().is_some());
    if join.tasks.is_empty() {
        println!("SKIPPED a_thread_joins_by_writing_zero: no hierarchy of version 1");
        return;
    }
    let mine = std::thread::spawn(move || {
        for task in &join.tasks {
            rustix::io::write(&task.fd, b"0").unwrap();
        }
        let flags = join
            .tasks
            .iter()
            .map(|task| rustix::io::fcntl_getfd(&task.fd).unwrap());
        assert!(
            flags
                .into_iter()
                .all(|flags| flags.contains(rustix::io::FdFlags::CLOEXEC))
        );
        read("/proc/thread-self/cgroup")
    });
    let mine = mine.join().unwrap();
    for hierarchy in scratch
        .facts
        .hierarchies
        .iter()
        .filter(|h| h.kind != HierarchyKind::Unified)
    {
        let line = format!(":{}:{}", hierarchy.controllers.join(","), scratch.name);
        assert!(
            mine.lines().any(|found| found.ends_with(&line)),
            "{line} in {mine}"
        );
    }
}

#[test]
fn pids_are_found_below_and_killed() {
    let Some(mut scratch) = Scratch::new("pids_are_found_below_and_killed") else {
        return;
    };
    let cgroup = scratch.create("");
    let inner = scratch.create("/inner");
    let mut expected = vec![scratch.sleeper(&cgroup), scratch.sleeper(&inner)];
    expected.sort_unstable();
    let mut found = cgroup.pids().unwrap();
    found.sort_unstable();
    assert_eq!(found, expected);
    Cgroup::open(&cgroup.record()).kill_all().unwrap();
    wait_for_end(&mut scratch);
    cgroup.remove(PATIENCE).unwrap();
}

/// The container's own groups, in one hierarchy: a name that is no text, and a chain that is deeper than a path is long
/// and a process may have descriptors.
#[test]
fn groups_of_any_name_and_depth_are_found_and_removed() {
    use rustix::fs::{CWD, Mode, OFlags};
    const DEPTH: usize = 1200;
    let Some(mut scratch) = Scratch::new("groups_of_any_name_and_depth_are_found_and_removed") else {
        return;
    };
    let cgroup = scratch.create("");
    // The one that tells the container's processes.
    let controller = if scratch.facts.unified().is_some() {
        ""
    } else {
        "devices"
    };
    let Some(top) = scratch.file(controller, "", "") else {
        fixtures::skip::test("needs a hierarchy of devices");
        return;
    };
    let open = |from: std::os::fd::BorrowedFd<'_>, name: &std::ffi::CStr| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(from, name, flags, Mode::empty()).unwrap()
    };
    let mut at = rustix::fs::openat(CWD, &top, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
    for name in [c"\xff", c"wide", c"\xfe\n"] {
        // cgroup_mkdir refuses a line feed, so that /proc/PID/cgroup stays lines.
        if rustix::fs::mkdirat(&at, name, Mode::RWXU).is_err() {
            assert!(name.to_bytes().contains(&b'\n'), "{name:?}");
        }
    }
    for _ in 0..DEPTH {
        rustix::fs::mkdirat(&at, c"deep\xffer", Mode::RWXU).unwrap();
        at = open(std::os::fd::AsFd::as_fd(&at), c"deep\xffer");
    }
    let child = Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id().cast_signed();
    scratch.children.push(child);
    dir::write(std::os::fd::AsFd::as_fd(&at), "cgroup.procs", &pid.to_string()).unwrap();
    drop(at);
    assert_eq!(cgroup.pids().unwrap(), [pid]);
    cgroup.kill_all().unwrap();
    wait_for_end(&mut scratch);
    cgroup.remove(PATIENCE).unwrap();
    assert!(!top.exists());
}

/// All children end within the patience of the tests.
fn wait_for_end(scratch: &mut Scratch) {
    let deadline = Instant::now() + PATIENCE;
    for child in &mut scratch.children {
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "a process survived the kill");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn frozen_groups_die_also_nested_ones_and_without_cgroup_kill() {
    let Some(mut scratch) = Scratch::new("frozen_groups_die_also_nested_ones_and_without_cgroup_kill") else {
        return;
    };
    for with_unified in [true, false] {
        let keep = |kind: HierarchyKind| with_unified || kind != HierarchyKind::Unified;
        let mut paths = scratch.paths("");
        paths.directories.retain(|directory| keep(directory.kind));
        if paths.directories.is_empty() {
            println!("SKIPPED the half without the unified hierarchy: there is no other");
            continue;
        }
        let mut below = scratch.paths("/inner");
        below.directories.retain(|directory| keep(directory.kind));
        let cgroup = Cgroup::create(&paths, &[], false).unwrap();
        let inner = Cgroup::create(&below, &[], false).unwrap();
        scratch.sleeper(&cgroup);
        scratch.sleeper(&inner);
        inner.pause(PATIENCE).unwrap();
        cgroup.pause(PATIENCE).unwrap();
        assert!(cgroup.is_frozen().unwrap() && inner.is_frozen().unwrap());
        let start = Instant::now();
        cgroup.kill_all().unwrap();
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        wait_for_end(&mut scratch);
        cgroup.remove(PATIENCE).unwrap();
    }
}

#[test]
fn pause_and_resume() {
    let Some(mut scratch) = Scratch::new("pause_and_resume") else {
        return;
    };
    let cgroup = scratch.create("");
    let inner = scratch.create("/inner");
    scratch.sleeper(&cgroup);
    assert!(!cgroup.is_frozen().unwrap());
    cgroup.pause(PATIENCE).unwrap();
    cgroup.pause(PATIENCE).unwrap();
    let other = Cgroup::open(&cgroup.record());
    assert!(other.is_frozen().unwrap());
    assert!(!inner.is_frozen().unwrap(), "frozen through its parent only");
    other.resume().unwrap();
    assert!(!cgroup.is_frozen().unwrap());
    // With the unified hierarchy alone.
    let mut record = cgroup.record();
    record
        .directories
        .retain(|directory| directory.kind == HierarchyKind::Unified);
    if record.directories.is_empty() {
        println!("SKIPPED the half with the unified hierarchy: not mounted");
        return;
    }
    let unified = Cgroup::open(&record);
    unified.pause(PATIENCE).unwrap();
    assert!(unified.is_frozen().unwrap());
    unified.resume().unwrap();
    assert!(!unified.is_frozen().unwrap());
}

#[test]
fn removing_waits_for_the_end_and_gives_up_in_time() {
    let Some(mut scratch) = Scratch::new("removing_waits_for_the_end_and_gives_up_in_time") else {
        return;
    };
    let cgroup = scratch.create("");
    let pid = scratch.sleeper(&cgroup);
    let start = Instant::now();
    let error = cgroup.remove(Duration::from_millis(100)).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(
        error
            .to_string()
            .contains(&format!("1 process(es) in it, the first is {pid}")),
        "{error}"
    );
    assert_eq!(error.errno(), Some(libc::EBUSY));
    // The end comes while it waits; nobody reaps the process meanwhile.
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    });
    let start = Instant::now();
    cgroup.remove(PATIENCE).unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    late.join().unwrap();
    assert!(scratch.dirs().iter().all(|path| !path.exists()));
}

#[test]
fn rootless_lacks_what_it_does_not_need() {
    let Some(scratch) = Scratch::new("rootless_lacks_what_it_does_not_need") else {
        return;
    };
    // Read-only hierarchies are left out; those that are needed are an error.
    let mut paths = scratch.paths("");
    for directory in &mut paths.directories {
        directory.read_only = true;
    }
    let cgroup = Cgroup::create(&paths, &[], true).unwrap();
    assert!(cgroup.record().directories.is_empty() && cgroup.pids().unwrap().is_empty());
    if scratch.facts.hierarchy_of("pids").is_some() {
        let writes = scratch.writes(json!({"pids": {"limit": 5}}));
        let error = cgroup.apply(&writes).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("cannot set pids limit: container could not join or create cgroup")
        );
        assert_eq!(error.field(), Some("linux.resources.pids.limit"));
    }
}

#[test]
fn oom_kills_are_counted_from_zero() {
    let Some(scratch) = Scratch::new("oom_kills_are_counted_from_zero") else {
        return;
    };
    if scratch.facts.hierarchy_of("memory").is_none() {
        println!("SKIPPED oom_kills_are_counted_from_zero: no memory controller");
        return;
    }
    assert_eq!(scratch.create("").oom_kills().unwrap(), Some(0));
}

/// Which devices a shell in the group can open; `zf` is zero and full.
fn openable(scratch: &mut Scratch, cgroup: &Cgroup, procs: &Path) -> String {
    assert!(cgroup.exists());
    let script = "read x; (: </dev/zero) 2>/dev/null && printf z; (: </dev/full) 2>/dev/null && printf f; \
                  (: >/dev/zero) 2>/dev/null && printf Z";
    let mut child = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::fs::write(procs, child.id().to_string()).unwrap();
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let mut found = String::new();
    child.stdout.take().unwrap().read_to_string(&mut found).unwrap();
    scratch.children.push(child);
    wait_for_end(scratch);
    found
}

/// A rule for /dev/zero.
fn zero(allow: bool, access: &str) -> serde_json::Value {
    json!({"allow": allow, "type": "c", "major": 1, "minor": 5, "access": access})
}

fn rules(value: serde_json::Value) -> DeviceRules {
    // Without the defaults, which allow zero and full.
    let list: Vec<_> = serde_json::from_value(value).unwrap();
    let mut rules = device_rules(&list, &[]).unwrap();
    rules.rules.truncate(list.len());
    rules
}

#[test]
fn a_program_filters_devices_and_is_replaced_not_stacked() {
    let Some(mut scratch) = Scratch::new("a_program_filters_devices_and_is_replaced_not_stacked") else {
        return;
    };
    let mut paths = scratch.paths("");
    paths
        .directories
        .retain(|directory| directory.kind == HierarchyKind::Unified);
    if paths.directories.is_empty() {
        println!("SKIPPED a_program_filters_devices_and_is_replaced_not_stacked: no unified hierarchy");
        return;
    }
    let cgroup = Cgroup::create(&paths, &[], false).unwrap();
    let procs = scratch.file("", "", "cgroup.procs").unwrap();
    assert_eq!(openable(&mut scratch, &cgroup, &procs), "zfZ");
    let [all, none] = [true, false].map(|allow| json!({"allow": allow, "access": "rwm"}));
    let dev_null = json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"});
    for (list, expected) in [
        (json!([none, zero(true, "rw"), dev_null]), "zZ"),
        (json!([none, zero(true, "r"), dev_null]), "z"),
        (json!([all, zero(false, "w")]), "zf"),
        (json!([none, dev_null]), ""),
    ] {
        let applied = cgroup.apply_devices(&rules(list.clone()), false).unwrap();
        assert_eq!(applied, DeviceFilter::Applied);
        assert_eq!(cgroup.groups[0].filters().len(), 1, "stacked");
        assert_eq!(openable(&mut scratch, &cgroup, &procs), expected, "{list}");
    }
    // Everything is allowed: no program at all.
    cgroup
        .apply_devices(&rules(json!([{"allow": true, "access": "rwm"}])), false)
        .unwrap();
    assert_eq!(cgroup.groups[0].filters(), [0u32; 0]);
    assert_eq!(openable(&mut scratch, &cgroup, &procs), "zfZ");
    // Many rules for single letters are the hardest for the verifier.
    let many: Vec<_> = (0..300usize)
        .map(|n| {
            let access = ["r", "w", "rw"][n % 3];
            json!({"allow": n % 3 != 0, "type": "c", "major": n % 50, "minor": n, "access": access})
        })
        .collect();
    cgroup.apply_devices(&rules(json!(many)), false).unwrap();
}

#[test]
fn lines_of_version_1_filter_devices() {
    let Some(mut scratch) = Scratch::new("lines_of_version_1_filter_devices") else {
        return;
    };
    let Some(procs) = scratch.file("devices", "", "cgroup.procs") else {
        println!("SKIPPED lines_of_version_1_filter_devices: no devices controller of version 1");
        return;
    };
    let cgroup = scratch.create("");
    let [all, none] = [true, false].map(|allow| json!({"allow": allow, "access": "rwm"}));
    let dev_null = json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"});
    for (list, expected) in [
        (json!([none, zero(true, "rw"), dev_null]), "zZ"),
        (json!([all, zero(false, "w")]), "zf"),
        (json!([all]), "zfZ"),
        (json!([none, dev_null]), ""),
    ] {
        cgroup.apply_devices(&rules(list.clone()), false).unwrap();
        assert_eq!(openable(&mut scratch, &cgroup, &procs), expected, "{list}");
    }
    let list = scratch.file("devices", "", "devices.list").unwrap();
    assert_eq!(read(list), "c 1:3 rw");
}

#[test]
fn a_delegated_group_has_a_new_owner_where_the_kernel_lists_it() {
    use std::os::unix::fs::MetadataExt;
    let Some(scratch) = Scratch::new("a_delegated_group_has_a_new_owner_where_the_kernel_lists_it") else {
        return;
    };
    let cgroup = scratch.create("");
    let Some(dir) = scratch.file("", "", "") else {
        println!("SKIPPED a_delegated_group_has_a_new_owner_where_the_kernel_lists_it: no unified hierarchy");
        return;
    };
    cgroup.delegate(12_345, false).unwrap();
    let owner = |path: PathBuf| std::fs::metadata(path).unwrap().uid();
    assert_eq!(owner(dir.clone()), 12_345);
    let list = std::fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap();
    for entry in std::fs::read_dir(&dir).unwrap() {
        let entry = entry.unwrap();
        let listed = list.lines().any(|name| entry.file_name() == name);
        assert_eq!(owner(entry.path()) == 12_345, listed, "{entry:?}");
    }
}

#[test]
fn statistics_are_those_of_the_group() {
    let Some(mut scratch) = Scratch::new("statistics_are_those_of_the_group") else {
        return;
    };
    let cgroup = scratch.create("");
    assert_eq!(cgroup.stats().unwrap().pids.current, 0);
    let mut child = Command::new("sh")
        .args(["-c", "read x; y=$(seq 100000); while :; do :; done"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    for (_, path) in cgroup.record().paths() {
        std::fs::write(path.join("cgroup.procs"), child.id().to_string()).unwrap();
    }
    drop(child.stdin.take());
    scratch.children.push(child);
    let deadline = Instant::now() + PATIENCE;
    let stats = loop {
        let stats = cgroup.stats().unwrap();
        // A tenth of a second of processor time, and the shell alone again.
        if stats.cpu.usage.total > 100_000_000 && stats.pids.current == 1 {
            break stats;
        }
        assert!(Instant::now() < deadline, "{stats:?}");
        std::thread::sleep(Duration::from_millis(10));
    };
    if scratch
        .facts
        .hierarchy_of("memory")
        .is_some_and(|h| h.kind == HierarchyKind::V1)
    {
        assert!(
            stats.memory.usage.usage > 0
                && stats.memory.usage.limit > 1 << 40
                && !stats.memory.raw.is_empty()
        );
        assert_eq!(
            stats.cpuset.cpus.is_empty(),
            scratch.facts.hierarchy_of("cpuset").is_none()
        );
        assert_eq!(stats.cpu.usage.percpu.len(), stats.cpu.usage.percpu_user.len());
    }
    if scratch.facts.unified().is_some() && Path::new("/proc/pressure/cpu").exists() {
        assert!(stats.cpu.psi.is_some());
    }
    wait_after_kill(&cgroup, &mut scratch);
    cgroup.remove(PATIENCE).unwrap();
    assert_eq!(cgroup.stats().unwrap_err().kind(), ErrorKind::NotRunning);
}

fn wait_after_kill(cgroup: &Cgroup, scratch: &mut Scratch) {
    cgroup.kill_all().unwrap();
    wait_for_end(scratch);
}
