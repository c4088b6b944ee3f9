//! What a lack of memory in a container may end: its own processes, and nobody who talks to it.
//!
//! Needs cgroup v2 with the memory controller; elsewhere it is skipped and says why.
#![allow(clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod place;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use place::{Place, err};
use serde_json::json;

const ROUNDS: usize = 20;

/// Holds twenty megabytes that no pressure takes back: a copy that nobody reads.
const HOLDER: &str =
    "busybox mkfifo /tmp/f; sleep 1000 </tmp/f & exec busybox dd if=/dev/zero of=/tmp/f bs=20M count=1";

fn number(file: &Path) -> u64 {
    let text = std::fs::read_to_string(file).expect("a cgroup file");
    text.trim().parse().expect("a number")
}

/// A running container that lives at its memory limit: any page more, and the kernel kills all of it at once, as the
/// kubelet asks for (memory.oom.group).
fn at_the_limit(place: &Place, id: &str) -> PathBuf {
    place.expect(&["run", "--detach", id]);
    let group = place
        .cgroups()
        .into_iter()
        .find(|group| group.join("memory.max").exists());
    let group = group.expect("a cgroup with a memory controller");
    std::fs::write(group.join("memory.swap.max"), "0").expect("memory.swap.max");
    let used = group.join("memory.current");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while number(&used) < 20 << 20 {
        assert!(
            std::time::Instant::now() < deadline,
            "{} bytes are used",
            number(&used)
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    group
}

/// On its way into the container, exec's process is killed together with all others there. Whoever shared its memory would
/// be, too.
#[test]
fn a_kill_of_the_whole_group_spares_who_executes() {
    let test = "a_kill_of_the_whole_group_spares_who_executes";
    let controllers = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    if !controllers.split_whitespace().any(|name| name == "memory") {
        eprintln!("SKIPPED {test}: needs cgroup v2 with the memory controller");
        return;
    }
    let Some(place) = Place::new(test) else { return };
    place.configure("config.json", HOLDER, |config| {
        config["linux"]["resources"] =
            json!({"memory": {"limit": 64 << 20}, "unified": {"memory.oom.group": "1"}});
    });
    let mut kills = 0;
    for round in 0..ROUNDS {
        let id = place.id(&format!("-{round}"));
        let group = at_the_limit(&place, &id);
        // What could be taken back for the newcomer goes first. EAGAIN: that was all.
        let _ = std::fs::write(group.join("memory.reclaim"), "64M");
        // Less than the newcomer needs, and in each round another part of it.
        let room = u64::try_from(round).expect("a small number") * 4096;
        let limit = number(&group.join("memory.current")) + room;
        std::fs::write(group.join("memory.max"), limit.to_string()).expect("memory.max");
        let output = place.call(&["exec", &id, "/bin/true"]);
        assert_eq!(
            output.status.signal(),
            None,
            "the runtime itself was killed: {}",
            err(&output)
        );
        let events = std::fs::read_to_string(group.join("memory.events")).unwrap_or_default();
        kills += usize::from(
            events
                .lines()
                .any(|line| line.starts_with("oom_group_kill ") && !line.ends_with(" 0")),
        );
        place.expect(&["delete", "--force", &id]);
    }
    assert!(kills > 0, "no round came to a kill");
}
