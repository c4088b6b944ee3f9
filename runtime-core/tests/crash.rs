//! The crash rule: a runtime that is killed at any moment of create leaves something that another process can see the
//! state of and delete completely.
//!
//! The victim is this test binary once more, told by an environment variable what to do.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "tests"
)]

mod sandbox;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use runtime_core::spec::LoadedSpec;
use runtime_core::{CgroupDriver, ContainerId, CreateRequest, ErrorKind, Runtime, Signal, Status};
use sandbox::{Sandbox, eventually, sandbox};
use serde_json::{Value, json};

const VICTIM: &str = "RUNTIME_CORE_TEST_VICTIM";

/// What the victim does: says that it begins, and creates the container of the bundle. Without the variable it is no
/// test and passes.
#[test]
fn victim() {
    let Some(dir) = std::env::var_os(VICTIM).map(PathBuf::from) else {
        return;
    };
    let spec = LoadedSpec::from_bundle(&dir.join("bundle"), "config.json").unwrap();
    let mut runtime = Runtime::new(dir.join("state"));
    if dir.join("no-cgroup").exists() {
        runtime = runtime.cgroup_driver(CgroupDriver::Disabled);
    }
    let request = CreateRequest::new("victim".parse().unwrap(), dir.join("bundle"), spec);
    println!("\nbegin");
    std::io::stdout().flush().unwrap();
    let _container = runtime.create(request).unwrap();
    println!("\ncreated");
    std::io::stdout().flush().unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

fn id() -> ContainerId {
    "victim".parse().unwrap()
}

/// Starts the victim and waits until it begins.
fn victim_begins(place: &Sandbox, config: &Value) -> Child {
    place.out();
    std::fs::write(place.bundle().join("config.json"), config.to_string()).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture", "--test-threads", "1"])
        .env(VICTIM, place.dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while lines.next().unwrap().unwrap() != "begin" {}
    // Keep reading, so that the victim never stops at a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Processes of the host that are in a cgroup of the sandbox, or whose command line holds the marker. One that has ended
/// counts no more: burying orphans is pid 1's work, and pid 1 of a CI container may not do it.
fn processes(marker: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| {
        let read = |name: &str| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let line = read("cmdline").replace('\0', " ");
        let ended = read("status").lines().any(|line| line.starts_with("State:\tZ"));
        (!ended && (read("cgroup").contains(marker) || line.contains(marker)))
            .then(|| format!("{:?} {line}", entry.file_name()))
    })
    .collect()
}

/// A second runtime cleans up.
fn clean_up_and_check(place: &Sandbox, marker: &str) {
    let runtime = place.runtime();
    runtime.delete(&id(), true).unwrap();
    assert_eq!(place.remains("victim"), Vec::<PathBuf>::new());
    eventually("the end of all processes", || processes(marker).is_empty());
    assert_eq!(
        runtime.delete(&id(), false).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

fn marker(place: &Sandbox) -> String {
    place.dir().file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn killed_while_a_hook_runs() {
    let Some(place) = sandbox("killed_while_a_hook_runs") else {
        return;
    };
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let reached = place.out().join(kind);
        let mut config = place.config("victim", &["/bin/sleep", "1000"]);
        let script = format!("echo > {}; exec sleep 3", reached.display());
        config["hooks"] =
            json!({kind: [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]});
        let child = victim_begins(&place, &config);
        eventually("the hook", || reached.exists());
        let seen = place.runtime().container(&id()).unwrap();
        assert_eq!(seen.status().unwrap(), Status::Creating, "{kind}");
        kill(child);
        let seen = place.runtime().container(&id()).unwrap();
        assert_eq!(seen.status().unwrap(), Status::Stopped, "{kind}");
        assert_eq!(seen.state().unwrap().pid, 0);
        clean_up_and_check(&place, &marker(&place));
    }
}

/// The victim has made a container, and is gone.
fn killed_once_created(place: &Sandbox) {
    let config = place.config("victim", &["/bin/sleep", "1000"]);
    let child = victim_begins(place, &config);
    eventually("the container", || {
        place
            .runtime()
            .container(&id())
            .is_ok_and(|container| container.status().unwrap() == Status::Created)
    });
    kill(child);
}

#[test]
fn killed_after_create_the_container_is_created() {
    let Some(place) = sandbox("killed_after_create_the_container_is_created") else {
        return;
    };
    killed_once_created(&place);
    let mut container = place.runtime().container(&id()).unwrap();
    assert_eq!(container.status().unwrap(), Status::Created);
    container.start().unwrap();
    assert_eq!(container.status().unwrap(), Status::Running);
    clean_up_and_check(&place, &marker(&place));
}

/// Moments that no hook marks: the victim is killed after growing delays, from before its first call to behind its last.
fn killed_at_many_moments(place: &Sandbox) {
    let config = place.config("victim", &["/bin/sleep", "1000"]);
    let mut seen = std::collections::BTreeMap::new();
    for step in 0..40u64 {
        let child = victim_begins(place, &config);
        std::thread::sleep(Duration::from_micros(step * step * 18));
        kill(child);
        let what = match place.runtime().container(&id()) {
            Ok(container) => container.status().unwrap().as_str(),
            Err(error) if error.kind() == ErrorKind::NotFound => "nothing",
            Err(error) => panic!("{error}"),
        };
        *seen.entry(what).or_insert(0) += 1;
        assert_ne!(what, "creating", "its creator is dead");
        clean_up_and_check(place, &marker(place));
    }
    eprintln!("what was found: {seen:?}");
}

#[test]
fn killed_at_many_moments_with_cgroups() {
    let Some(place) = sandbox("killed_at_many_moments_with_cgroups") else {
        return;
    };
    killed_at_many_moments(&place);
}

/// Without a cgroup only the record and the end of the report socket lead to init.
#[test]
fn killed_at_many_moments_without_cgroups() {
    let Some(place) = sandbox("killed_at_many_moments_without_cgroups") else {
        return;
    };
    std::fs::write(place.dir().join("no-cgroup"), "").unwrap();
    let inits = || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let ours = place.rootfs();
        all.filter(|entry| {
            let mounts = std::fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
            // The container's root, or a mount namespace that still has the host's root and our mounts in it.
            mounts.lines().any(|line| line.contains(&*ours.to_string_lossy()))
        })
        .count()
    };
    killed_at_many_moments(&place);
    eventually("the end of every init", || inits() == 0);
}

/// A directory without a record: the runtime was killed between its first two calls.
#[test]
fn a_directory_without_a_record() {
    let Some(place) = sandbox("a_directory_without_a_record") else {
        return;
    };
    let runtime = place.runtime();
    std::fs::create_dir_all(place.state().join("victim")).unwrap();
    assert_eq!(runtime.container(&id()).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(
        runtime.delete(&id(), false).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(
        place.state().join("victim").exists(),
        "it may be a create that has just begun"
    );
    runtime.delete(&id(), true).unwrap();
    assert!(!place.state().join("victim").exists());
}

#[test]
fn a_damaged_record_that_tells_nothing() {
    let Some(place) = sandbox("a_damaged_record_that_tells_nothing") else {
        return;
    };
    let runtime = place.runtime();
    for text in [
        "",
        "{",
        "{\"version\": 0}",
        "[]",
        "{\"version\": 1, \"id\": \"victim\"}",
    ] {
        std::fs::create_dir_all(place.state().join("victim")).unwrap();
        std::fs::write(place.state().join("victim/state.json"), text).unwrap();
        assert_eq!(
            runtime.container(&id()).unwrap_err().kind(),
            ErrorKind::State,
            "{text}"
        );
        assert_eq!(
            runtime.delete(&id(), false).unwrap_err().kind(),
            ErrorKind::State,
            "{text}"
        );
        let all: Vec<_> = runtime.containers().unwrap().collect();
        assert!(
            matches!(all.as_slice(), [(name, Err(_))] if name == "victim"),
            "the list goes on"
        );
        let warnings = runtime.delete(&id(), true).unwrap().warnings;
        assert!(!place.state().join("victim").exists());
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_eq!(warnings[0].kind(), ErrorKind::State);
        let said = warnings[0].to_string();
        assert!(said.contains("neither a process nor a cgroup"), "{said}");
    }
}

/// A review found: delete with force said that all was well and removed the directory alone, and the container ran on
/// unknown to anybody.
#[test]
fn a_container_of_a_damaged_record_is_ended_and_removed() {
    let Some(place) = sandbox("a_container_of_a_damaged_record_is_ended_and_removed") else {
        return;
    };
    type Damage = fn(&mut Value);
    let damages: [(&str, Damage); 4] = [
        ("a field is gone", |record| {
            record.as_object_mut().unwrap().remove("oci_version");
        }),
        ("no cgroup", |record| record["cgroup"] = json!(7)),
        ("no init", |record| record["init"] = json!("4711")),
        ("nothing", |record| *record = json!("torn")),
    ];
    for (what, damage) in damages {
        killed_once_created(&place);
        let file = place.state().join("victim/state.json");
        let mut record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        damage(&mut record);
        std::fs::write(&file, record.to_string()).unwrap();
        let marker = marker(&place);
        assert!(!processes(&marker).is_empty(), "{what}: nothing to be ended");
        let deleted = place.runtime().delete(&id(), true).unwrap();
        let said = deleted.warnings[0].to_string();
        assert!(
            said.contains("damaged") && said.contains("removed by what is left"),
            "{what}: {said}"
        );
        eventually("the end of all processes", || processes(&marker).is_empty());
        assert_eq!(place.remains("victim"), Vec::<PathBuf>::new(), "{what}");
    }
}

/// The directory of another container, whose record is that of the victim but for what is changed in it.
fn other(place: &Sandbox, change: impl FnOnce(&mut Value)) -> PathBuf {
    let directory = place.state().join("other");
    std::fs::create_dir_all(&directory).unwrap();
    let text = std::fs::read(place.state().join("victim/state.json")).unwrap();
    let mut record = serde_json::from_slice(&text).unwrap();
    change(&mut record);
    std::fs::write(directory.join("state.json"), record.to_string()).unwrap();
    directory
}

/// A damaged record leads to nobody else: not to the cgroup of another container, nor to the caller's.
#[test]
fn a_damaged_record_leads_to_nobody_else() {
    let Some(place) = sandbox("a_damaged_record_leads_to_nobody_else") else {
        return;
    };
    killed_once_created(&place);
    let runtime = place.runtime();
    other(&place, |record| {
        record["oci_version"] = Value::Null;
        record["init"] = Value::Null;
    });
    let warnings = runtime.delete(&"other".parse().unwrap(), true).unwrap().warnings;
    assert!(
        warnings[0].to_string().contains("neither a process nor a cgroup"),
        "{warnings:?}"
    );
    let status = runtime.container(&id()).unwrap().status().unwrap();
    assert_eq!(status, Status::Created);
    clean_up_and_check(&place, &marker(&place));
}

/// What is at the place of a cgroup that was planned and not made is somebody else's.
#[test]
fn a_kill_reaches_nobody_in_a_cgroup_that_was_not_made() {
    let Some(place) = sandbox("a_kill_reaches_nobody_in_a_cgroup_that_was_not_made") else {
        return;
    };
    killed_once_created(&place);
    let runtime = place.runtime();
    let other = other(&place, |record| {
        record["id"] = json!("other");
        record["status"] = json!("creating");
        record["cgroup_made"] = json!(false);
        record["init"] = Value::Null;
    });
    let container = runtime.container(&"other".parse().unwrap()).unwrap();
    assert_eq!(container.status().unwrap(), Status::Stopped);
    let error = container.kill(Signal::KILL, true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotRunning);
    assert_eq!(container.processes().unwrap(), Vec::<i32>::new());
    assert_eq!(
        runtime.container(&id()).unwrap().status().unwrap(),
        Status::Created
    );
    std::fs::remove_dir_all(&other).unwrap();
    clean_up_and_check(&place, &marker(&place));
}

/// What a newer runtime has written is its own to delete: it is kept, and the container with it.
#[test]
fn a_record_of_a_newer_version_is_kept() {
    let Some(place) = sandbox("a_record_of_a_newer_version_is_kept") else {
        return;
    };
    killed_once_created(&place);
    let runtime = place.runtime();
    let file = place.state().join("victim/state.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut record: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["version"], 1);
    record["version"] = 2.into();
    record["written_by"] = "9.8.7".into();
    std::fs::write(&file, record.to_string()).unwrap();
    for error in [
        runtime.delete(&id(), true).unwrap_err(),
        runtime.delete(&id(), false).unwrap_err(),
        runtime.container(&id()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(
            error
                .to_string()
                .contains("version 2 of the record, written by runtime 9.8.7"),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("use runtime 9.8.7"), "{error}");
    }
    std::fs::write(&file, text).unwrap();
    assert_eq!(
        runtime.container(&id()).unwrap().status().unwrap(),
        Status::Created
    );
    clean_up_and_check(&place, &marker(&place));
}

/// Found by the crash matrix (EIO): delete with force took a record that it could not read for a damaged one, and
/// forgot a container that lived on.
#[test]
fn a_record_that_cannot_be_read_is_not_forgotten() {
    let Some(place) = sandbox("a_record_that_cannot_be_read_is_not_forgotten") else {
        return;
    };
    killed_once_created(&place);
    let record = place.state().join("victim/state.json");
    let kept = place.state().join("victim/kept");
    // Reading a directory fails (EISDIR), as a bad disk would (EIO).
    std::fs::rename(&record, &kept).unwrap();
    std::fs::create_dir(&record).unwrap();
    assert_eq!(
        place.runtime().delete(&id(), true).unwrap_err().kind(),
        ErrorKind::System
    );
    std::fs::remove_dir(&record).unwrap();
    std::fs::rename(&kept, &record).unwrap();
    let found = place.runtime().container(&id()).unwrap();
    assert_eq!(found.status().unwrap(), Status::Created);
    clean_up_and_check(&place, &marker(&place));
}
