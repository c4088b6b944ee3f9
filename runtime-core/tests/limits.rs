//! update, statistics and events through the library, on real containers: what changes, what stays, who waits for whom.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod sandbox;

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Barrier;
use std::time::Duration;

use runtime_core::facts::cgroup::{CgroupFacts, HierarchyKind};
use runtime_core::spec::LoadedResources;
use runtime_core::{Container, ContainerId, ErrorKind, Event, Signal, Status, UpdateRequest};
use sandbox::{Sandbox, eventually, open_files, sandbox};
use serde_json::{Value, json};

fn id(text: &str) -> ContainerId {
    text.parse().unwrap()
}

fn request(resources: &Value) -> UpdateRequest {
    let loaded = LoadedResources::from_slice(resources.to_string().as_bytes(), "resources").unwrap();
    UpdateRequest::new(loaded.resources)
}

/// A file of the container's cgroup, by its names in the two versions; None where neither has the controller.
fn file(place: &Sandbox, container: &str, controller: &str, v1: &str, v2: &str) -> Option<PathBuf> {
    let facts = CgroupFacts::gather().unwrap();
    let hierarchy = facts.hierarchy_of(controller)?;
    let name = if hierarchy.kind == HierarchyKind::V1 {
        v1
    } else {
        v2
    };
    let top = place.dir().file_name().unwrap();
    Some(hierarchy.mount_point.join(top).join(container).join(name))
}

fn read(path: &PathBuf) -> String {
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

/// The resources of the saved configuration.
fn saved(container: &Container) -> Value {
    let config = container.config().unwrap();
    let linux = config.spec.linux().clone().unwrap();
    serde_json::to_value(linux.resources()).unwrap()
}

/// A running container with these resources, and its pids.max and memory limit; None where the host lacks a controller.
fn running(place: &Sandbox, name: &str, resources: &Value) -> Option<(Container, PathBuf, PathBuf)> {
    let (Some(pids), Some(memory)) = (
        file(place, name, "pids", "pids.max", "pids.max"),
        file(place, name, "memory", "memory.limit_in_bytes", "memory.max"),
    ) else {
        eprintln!("SKIPPED {name}: needs the cgroup controllers pids and memory");
        return None;
    };
    let mut config = place.config(name, &["/bin/sleep", "1000"]);
    config["linux"]["resources"] = resources.clone();
    let container = place.runtime().run(place.request(name, &config)).unwrap();
    Some((container, pids, memory))
}

#[test]
fn an_update_changes_what_it_names_and_is_remembered() {
    let Some(place) = sandbox("an_update_changes_what_it_names_and_is_remembered") else {
        return;
    };
    let resources = json!({"pids": {"limit": 20}, "memory": {"limit": 67_108_864}});
    let Some((mut container, pids, memory)) = running(&place, "named", &resources) else {
        return;
    };
    container
        .update(&request(&json!({"pids": {"limit": 30}})))
        .unwrap();
    assert_eq!(
        (read(&pids), read(&memory)),
        ("30".to_owned(), "67108864".to_owned())
    );
    assert_eq!(
        saved(&container),
        json!({"pids": {"limit": 30}, "memory": {"limit": 67_108_864}})
    );
    // Another handle, as of another process, knows it; the first one's next update does not undo that of the other.
    let mut other = place.runtime().container(&id("named")).unwrap();
    other
        .update(&request(&json!({"memory": {"limit": 50_331_648}})))
        .unwrap();
    assert_eq!(
        saved(&container),
        json!({"pids": {"limit": 30}, "memory": {"limit": 50_331_648}})
    );
    container
        .update(&request(&json!({"pids": {"limit": 0}})))
        .unwrap();
    assert_eq!(
        (read(&pids), read(&memory)),
        ("0".to_owned(), "50331648".to_owned())
    );
    let expected = json!({"pids": {"limit": 0}, "memory": {"limit": 50_331_648}});
    assert_eq!(saved(&other), expected);
    container.update(&UpdateRequest::default()).unwrap();
    assert_eq!(saved(&container), expected);
}

#[test]
fn a_refused_update_changes_nothing() {
    let Some(place) = sandbox("a_refused_update_changes_nothing") else {
        return;
    };
    let resources = json!({"pids": {"limit": 20}, "memory": {"limit": 67_108_864}});
    let Some((mut container, pids, memory)) = running(&place, "refused", &resources) else {
        return;
    };
    // The kernel takes the first two and refuses the last: a quota below a millisecond.
    let asked =
        json!({"pids": {"limit": 21}, "memory": {"limit": 33_554_432}, "cpu": {"quota": 1, "period": 5000}});
    let error = container.update(&request(&asked)).unwrap_err();
    assert_eq!(error.field(), Some("linux.resources.cpu.quota"), "{error}");
    assert_eq!(error.errno(), Some(libc::EINVAL), "{error}");
    // And what can be known before is refused before.
    let asked = json!({"pids": {"limit": 21}, "blockIO": {"weight": 3}});
    let error = container.update(&request(&asked)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{error}");
    let mut asked = request(&json!({"pids": {"limit": 21}}));
    asked.l3_cache_schema = Some("L3:0=f".to_owned());
    let error = container.update(&asked).unwrap_err();
    assert_eq!(error.field(), Some("linux.intelRdt.l3CacheSchema"));
    assert_eq!(
        (read(&pids), read(&memory)),
        ("20".to_owned(), "67108864".to_owned())
    );
    assert_eq!(saved(&container), resources);
    assert_eq!(container.status().unwrap(), Status::Running);
}

#[test]
fn the_states_that_an_update_is_for() {
    let Some(place) = sandbox("the_states_that_an_update_is_for") else {
        return;
    };
    let asked = request(&json!({"pids": {"limit": 9}}));
    let mut created = place.create("created", "exec sleep 1000");
    created.update(&asked).unwrap();
    assert_eq!(created.status().unwrap(), Status::Created);
    let Some((mut paused, pids, _)) = running(&place, "paused", &json!({})) else {
        return;
    };
    paused.pause().unwrap();
    paused.update(&asked).unwrap();
    assert_eq!(
        (paused.status().unwrap(), read(&pids).as_str()),
        (Status::Paused, "9")
    );
    paused.resume().unwrap();
    paused.kill(Signal::KILL, false).unwrap();
    paused.wait().unwrap();
    let error = paused.update(&asked).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotRunning, "{error}");
    place.runtime().delete(&id("paused"), false).unwrap();
    assert_eq!(paused.update(&asked).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn updates_at_once_come_one_after_the_other() {
    let Some(place) = sandbox("updates_at_once_come_one_after_the_other") else {
        return;
    };
    let Some((container, pids, memory)) = running(&place, "many", &json!({"pids": {"limit": 5}})) else {
        return;
    };
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for number in 0..8i64 {
            let (start, runtime) = (&start, place.runtime());
            scope.spawn(move || {
                let mut own = runtime.container(&id("many")).unwrap();
                start.wait();
                for round in 0..10 {
                    let limit = 100 + number * 10 + round;
                    let asked = json!({"pids": {"limit": limit}, "memory": {"limit": limit << 20}});
                    own.update(&request(&asked)).unwrap();
                }
            });
        }
    });
    // Both limits are of the same update, and so is what was saved.
    let limit: i64 = read(&pids).parse().unwrap();
    assert_eq!(read(&memory), (limit << 20).to_string());
    assert_eq!(
        saved(&container),
        json!({"pids": {"limit": limit}, "memory": {"limit": limit << 20}})
    );
}

#[test]
fn an_update_and_a_delete_do_not_meet() {
    let Some(place) = sandbox("an_update_and_a_delete_do_not_meet") else {
        return;
    };
    for round in 0..10u64 {
        let name = format!("race{round}");
        let Some((mut container, ..)) = running(&place, &name, &json!({})) else {
            return;
        };
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for limit in 10..60 {
                    match container.update(&request(&json!({"pids": {"limit": limit}}))) {
                        Ok(_) => {}
                        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotRunning) => {
                            break;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            std::thread::sleep(Duration::from_micros(300 * round));
            place.runtime().delete(&id(&name), true).unwrap();
        });
        assert_eq!(place.remains(&name), Vec::<PathBuf>::new());
    }
}

#[test]
fn statistics_come_from_the_containers_cgroup() {
    let Some(place) = sandbox("statistics_come_from_the_containers_cgroup") else {
        return;
    };
    let Some((container, ..)) = running(&place, "counted", &json!({"pids": {"limit": 7}})) else {
        return;
    };
    let stats = container.stats().unwrap();
    assert_eq!((stats.pids.current, stats.pids.limit), (1, 7));
    assert!(
        stats.cpu.usage.total > 0 && stats.memory.usage.usage > 0,
        "{stats:?}"
    );
    container.kill(Signal::KILL, false).unwrap();
    container.wait().unwrap();
    place.runtime().delete(&id("counted"), false).unwrap();
    assert_eq!(container.stats().unwrap_err().kind(), ErrorKind::NotRunning);
}

#[test]
fn lack_of_memory_is_told_before_the_end() {
    let Some(place) = sandbox("lack_of_memory_is_told_before_the_end") else {
        return;
    };
    if CgroupFacts::gather().unwrap().hierarchy_of("memory").is_none() {
        eprintln!("SKIPPED lack_of_memory_is_told_before_the_end: needs the cgroup controller memory");
        return;
    }
    let files = open_files();
    let name = "hungry";
    // dd has a buffer of the whole block, when it is told to.
    let script = "while ! [ -e /out/go ]; do sleep 0.01; done; \
                  /bin/busybox dd if=/dev/zero of=/dev/null bs=64M count=1; sleep 1000";
    let mut config = place.config(name, &["/bin/sh", "-c", script]);
    config["linux"]["resources"] = json!({"memory": {"limit": 16 << 20}});
    if file(
        &place,
        name,
        "memory",
        "memory.memsw.limit_in_bytes",
        "memory.swap.max",
    )
    .and_then(|path| {
        path.ancestors()
            .nth(3)
            .map(|top| top.join(path.file_name().unwrap()))
    })
    .is_some_and(|path| path.exists())
    {
        config["linux"]["resources"]["memory"]["swap"] = json!(16 << 20);
    }
    let container = place.runtime().run(place.request(name, &config)).unwrap();
    let mut events = container.events().unwrap();
    assert!(events.tells_oom());
    assert_eq!(events.next(Some(Duration::from_millis(30))).unwrap(), None);
    assert!(!is_readable(&events));
    std::fs::write(place.out().join("go"), "").unwrap();
    eventually("the event", || is_readable(&events));
    assert_eq!(events.next(None).unwrap(), Some(Event::Oom));
    container.kill(Signal::KILL, false).unwrap();
    let last = loop {
        match events.next(Some(Duration::from_secs(20))).unwrap() {
            Some(Event::Oom) => {}
            other => break other,
        }
    };
    assert_eq!(last, Some(Event::End));
    assert_eq!(
        events.next(None).unwrap(),
        Some(Event::End),
        "it stays at the end"
    );
    assert!(is_readable(&events));
    place.runtime().delete(&id(name), true).unwrap();
    drop((container, events));
    assert_eq!(open_files(), files);
}

fn is_readable(fd: &impl AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&now)).unwrap() > 0
}

#[test]
fn the_end_alone_is_told_too() {
    let Some(place) = sandbox("the_end_alone_is_told_too") else {
        return;
    };
    let mut container = place.create("short", "exit 3");
    let mut events = container.events().unwrap();
    container.start().unwrap();
    assert_eq!(
        events.next(Some(Duration::from_secs(20))).unwrap(),
        Some(Event::End)
    );
    // Who comes later learns it as well.
    let late = place.runtime().container(&id("short")).unwrap();
    assert_eq!(late.events().unwrap().next(None).unwrap(), Some(Event::End));
}
