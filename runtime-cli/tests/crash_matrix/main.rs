//! The crash matrix: the program is killed, or one of its system calls fails, at every step of create, start, exec,
//! update, delete, checkpoint and restore; whatever happened, `delete --force` of another process leaves nothing, and a
//! second delete says that there is no such container.
//!
//! A step is a system call of the program's own process. There are more cases than a test has time for: it spreads
//! what it tries over all of them for RUNTIME_CRASH_SECONDS (default 30; `all` tries every case once) and says how many
//! there are; RUNTIME_CRASH_ONLY, words of operations and kinds, leaves the others out. Checkpoint and restore are tried
//! where there is a CRIU that works.
#![allow(clippy::print_stderr, reason = "a skip and the count of cases must be seen")]
#![cfg(target_arch = "x86_64")]

#[path = "../place/mod.rs"]
mod place;
mod tracer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use place::{Place, err};
use serde_json::{Value, json};
use tracer::{Ran, Stroke, fits};

const FAULTS: [i32; 5] = [libc::ENOSPC, libc::EMFILE, libc::ENOMEM, libc::EINTR, libc::EIO];
const OPERATIONS: [&str; 7] = [
    "create",
    "start",
    "exec",
    "update",
    "delete",
    "checkpoint",
    "restore",
];
const KINDS: [&str; 5] = [
    "plain",
    "user namespace",
    "hooks",
    "devices",
    "terminal and limits",
];
/// How long what was killed may take to be gone: a CRIU that lost its runtime first ends its work.
const PATIENCE: Duration = Duration::from_secs(30);

/// Every case looks at all processes of the host: one test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn configure(place: &Place, kind: &str) {
    place.configure(
        "config.json",
        "exec sleep 1000",
        |config: &mut Value| match kind {
            "user namespace" => {
                let linux = &mut config["linux"];
                let namespaces = linux["namespaces"].as_array_mut().expect("a list");
                namespaces.push(json!({"type": "user"}));
                for key in ["uidMappings", "gidMappings"] {
                    linux[key] = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
                }
            }
            "terminal and limits" => {
                config["process"]["terminal"] = json!(true);
                config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}]);
                config["root"]["readonly"] = json!(true);
                config["hostname"] = json!("box");
                let linux = &mut config["linux"];
                linux["resources"] = json!({"memory": {"limit": 268_435_456}, "pids": {"limit": 100},
                                            "cpu": {"shares": 512}, "devices": [{"allow": false, "access": "rwm"}]});
                linux["maskedPaths"] = json!(["/proc/kcore", "/proc/keys", "/proc/acpi"]);
                linux["readonlyPaths"] = json!(["/proc/sys"]);
                linux["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls":
                    [{"names": ["swapon", "reboot"], "action": "SCMP_ACT_ERRNO"}]});
            }
            "hooks" => {
                let hook = json!([{"path": "/bin/true"}]);
                config["hooks"] = json!({"createRuntime": hook, "createContainer": hook, "poststart": hook,
                                     "poststop": hook});
            }
            _ => {}
        },
    );
}

/// With a network of its own: sockets of the host's could not be saved.
fn for_criu(place: &Place) {
    let path = place.bundle().join("config.json");
    let bytes = std::fs::read(&path).expect("a configuration");
    let mut config: Value = serde_json::from_slice(&bytes).expect("JSON");
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
    namespaces.push(json!({"type": "network"}));
    std::fs::write(path, config.to_string()).expect("a configuration");
}

/// A file of the Container Device Interface with every sort of change that needs no hardware.
fn offer_devices(place: &Place) -> String {
    let folder = place.dir.join("cdi");
    std::fs::create_dir_all(&folder).expect("a folder");
    let edits = json!({"env": ["THING=1"], "deviceNodes": [{"path": "/dev/thing", "hostPath": "/dev/null"}],
                       "mounts": [{"hostPath": "/etc/hostname", "containerPath": "/etc/thing", "options": ["bind", "ro"]}],
                       "hooks": [{"hookName": "createContainer", "path": "/bin/true"}]});
    let file = json!({"cdiVersion": "0.6.0", "kind": "vendor.example/thing",
                      "devices": [{"name": "0", "containerEdits": edits}]});
    std::fs::write(folder.join("thing.json"), file.to_string()).expect("a file");
    folder.display().to_string()
}

fn words(place: &Place, kind: &str, operation: &str, id: &str) -> Vec<String> {
    let (folder, image) = (
        offer_devices(place),
        place.dir.join("image").display().to_string(),
    );
    let socket = console(place).display().to_string();
    let mut words: Vec<&str> = match operation {
        "exec" => vec!["exec", "--detach", id, "sleep", "1000"],
        "update" => vec!["update", "--pids-limit", "50", id],
        "delete" => vec!["delete", "--force", id],
        "checkpoint" => vec!["checkpoint", "--network-lock", "skip", "--image-path", &image, id],
        "restore" => vec!["restore", "--detach", "--image-path", &image, id],
        "run" => vec!["run", "--detach", id],
        other => vec![other, id],
    };
    let makes = matches!(operation, "create" | "run" | "restore");
    if makes && kind == "devices" {
        let more = ["--cdi-spec-dir", &folder, "--device", "vendor.example/thing=0"];
        words.splice(1..1, more);
    }
    if makes && kind == "terminal and limits" {
        words.splice(1..1, ["--console-socket", &socket]);
    }
    words.into_iter().map(str::to_owned).collect()
}

fn console(place: &Place) -> PathBuf {
    place.dir.join("console.sock")
}

/// Takes terminals until the place is gone, and holds the last one open: its processes end when it is closed.
fn take_terminals(place: &Place) {
    let path = console(place);
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    listener.set_nonblocking(true).expect("fcntl");
    std::thread::spawn(move || {
        let mut held = None;
        while path.exists() {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).expect("fcntl");
                    held = place::descriptor(&stream).or(held);
                }
                Err(_) => std::thread::sleep(Duration::from_millis(3)),
            }
        }
        drop(held);
    });
}

/// A call that has to succeed; its container has no file of the host open.
fn detached(place: &Place, words: &[String]) {
    let output = place.detached(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(output.status.success(), "{words:?}: {}", err(&output));
}

/// What has to be there before the operation begins.
fn prepare(place: &Place, kind: &str, operation: &str, id: &str) {
    if operation == "checkpoint" || (operation == "restore" && !place.dir.join("image").exists()) {
        detached(place, &words(place, kind, "run", id));
    }
    if operation == "restore" && !place.dir.join("image").exists() {
        detached(place, &words(place, kind, "checkpoint", id));
    }
    if by_criu(operation) {
        return;
    }
    if operation != "create" {
        let create = words(place, kind, "create", id);
        place.expect(&create.iter().map(String::as_str).collect::<Vec<_>>());
    }
    if !matches!(operation, "create" | "start") {
        place.expect(&["start", id]);
    }
}

fn strike(place: &Place, words: &[String], at: Option<(usize, Stroke)>) -> Result<Ran, String> {
    let program = place.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let all = std::iter::once(program.get_program()).chain(program.get_args());
    let all: Vec<String> = all.map(|word| word.to_string_lossy().into_owned()).collect();
    let mut shell = Command::new("/bin/sh");
    let file = |name: &str| std::fs::File::create(place.dir.join(name)).expect("a file");
    shell
        .current_dir(place.bundle())
        .env_remove("NOTIFY_SOCKET")
        .env_remove("LISTEN_PID")
        .stdout(file("struck-out"))
        .stderr(file("struck-err"));
    tracer::run(shell, &all, at)
}

/// Processes that have anything to do with the place, once they had time to end: by cgroup, command line, working
/// directory (which init inherits from the program) or mounts. One that has ended counts no more: burying it is pid 1's.
fn processes(name: &str) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let own = std::process::id().to_string();
        let all = std::fs::read_dir("/proc").expect("/proc").flatten();
        let found: Vec<String> = all
            .filter(|entry| {
                let number = entry.file_name();
                number.to_string_lossy().parse::<u32>().is_ok() && number != *own
            })
            .filter_map(|entry| concerns(&entry.path(), name).then(|| entry.path().display().to_string()))
            .collect();
        if found.is_empty() || Instant::now() > deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

fn concerns(process: &Path, name: &str) -> bool {
    let text = |file: &str| std::fs::read(process.join(file)).unwrap_or_default();
    let has = |file: &str| String::from_utf8_lossy(&text(file)).contains(name);
    let cwd = std::fs::read_link(process.join("cwd")).unwrap_or_default();
    let ours =
        has("cgroup") || has("cmdline") || cwd.to_string_lossy().contains(name) || has_mounts(process, name);
    ours && !String::from_utf8_lossy(&text("status")).contains("State:\tZ")
}

/// Only a mount namespace of its own tells: the host's may show the place itself.
fn has_mounts(process: &Path, name: &str) -> bool {
    let namespace = |process: &Path| std::fs::read_link(process.join("ns/mnt")).ok();
    namespace(process) != namespace(Path::new("/proc/self"))
        && std::fs::read_to_string(process.join("mountinfo"))
            .is_ok_and(|mounts| mounts.contains(&format!("{name}/bundle")))
}

/// What is left of a container that was deleted.
fn remains(place: &Place) -> Vec<String> {
    let name = place.id("");
    let mut found = processes(&name);
    found.extend(place.cgroups().iter().map(|path| path.display().to_string()));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let place_of_mounts = place.bundle().display().to_string();
    found.extend(
        mounts
            .lines()
            .filter(|line| line.contains(&place_of_mounts))
            .map(str::to_owned),
    );
    for entry in std::fs::read_dir(place.dir.join("state"))
        .into_iter()
        .flatten()
        .flatten()
    {
        found.push(entry.path().display().to_string());
    }
    found
}

/// Another process cleans up; what is wrong with the result.
fn delete(place: &Place, id: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let deleted = place.call(&["delete", "--force", id]);
    if !deleted.status.success() {
        wrong.push(format!("delete --force: {}", err(&deleted).trim()));
    }
    let again = place.call(&["delete", id]);
    if again.status.success() || !err(&again).contains("container does not exist") {
        wrong.push(format!(
            "the second delete: {} {}",
            again.status,
            err(&again).trim()
        ));
    }
    wrong.extend(remains(place).into_iter().map(|what| format!("left: {what}")));
    wrong
}

/// What the operation itself did wrong.
fn judge(place: &Place, operation: &str, id: &str, stroke: Stroke, ran: &Ran) -> Vec<String> {
    let mut wrong = Vec::new();
    let said = std::fs::read_to_string(place.dir.join("struck-err")).unwrap_or_default();
    if ran.hung {
        wrong.push("it hung".to_owned());
    }
    // Before main, where the standard library finds no memory for its guard of the stack, it has no other way.
    let before_main = said.contains("std/src/sys/") && stroke == Stroke::Fail(libc::ENOMEM);
    if said.contains("panicked") && !before_main {
        wrong.push(format!("a panic: {}", said.trim()));
    }
    let Stroke::Fail(errno) = stroke else { return wrong };
    // Without memory the allocator ends a program (SIGABRT), and the C library its start.
    let may_abort = errno == libc::ENOMEM;
    match ran.code {
        0 if matches!(operation, "create" | "restore") => {
            let status = match operation {
                "create" => "\"created\"",
                _ => "\"running\"",
            };
            let state = place.call(&["state", id]);
            if !place::out(&state).contains(status) {
                wrong.push(format!(
                    "{operation} succeeded, but: {}{}",
                    place::out(&state),
                    err(&state)
                ));
            }
        }
        0 => {}
        1000.. if !may_abort => wrong.push(format!("ended by signal {}", ran.code - 1000)),
        1000.. => {}
        // The parent tells; where not even that can be written there is the code.
        _ if said.trim().is_empty() && !matches!(errno, libc::EIO | libc::ENOSPC | libc::ENOMEM) => {
            wrong.push(format!("failed with {} and said nothing", ran.code));
        }
        // It goes on as before, or was saved and has ended; that could not be told.
        _ if operation == "checkpoint" => {
            let status = place.state(id)["status"].clone();
            if status != "running" && status != "stopped" {
                wrong.push(format!(
                    "checkpoint failed and left the container {status}: {}",
                    said.trim()
                ));
            }
        }
        _ if matches!(operation, "create" | "restore") => {
            let left = std::fs::read_dir(place.dir.join("state"))
                .into_iter()
                .flatten()
                .count();
            if left > 0 {
                wrong.push(format!("{operation} failed and left its record: {}", said.trim()));
            }
        }
        _ => {}
    }
    wrong
}

#[derive(Default)]
struct Tally {
    tried: BTreeMap<(&'static str, Stroke), usize>,
    possible: usize,
    faults: Vec<String>,
}

/// All cases of an operation, in an order that spreads.
fn cases(calls: &[i64]) -> Vec<(usize, Stroke)> {
    let mut all = Vec::new();
    for (step, call) in calls.iter().enumerate() {
        all.push((step, Stroke::Kill));
        let fitting = FAULTS.into_iter().filter(|errno| fits(*call, *errno));
        all.extend(fitting.map(|errno| (step, Stroke::Fail(errno))));
    }
    // A stride without a common divisor visits each once.
    let length = all.len();
    let stride = (length * 382 / 1000..)
        .find(|stride| divisor(*stride, length) == 1)
        .unwrap_or(1);
    (0..length)
        .map(|number| all[(number * stride) % length])
        .collect()
}

fn divisor(left: usize, right: usize) -> usize {
    if right == 0 {
        left
    } else {
        divisor(right, left % right)
    }
}

/// Tries the cases of one operation on one kind of container until the time is over.
fn operation(
    kind: &str,
    operation: &'static str,
    until: Option<Instant>,
    tally: &mut Tally,
) -> Result<(), String> {
    let Some(place) = Place::new("crash_matrix") else {
        return Ok(());
    };
    configure(&place, kind);
    take_terminals(&place);
    if by_criu(operation) {
        for_criu(&place);
    }
    let id = place.id("");
    prepare(&place, kind, operation, &id);
    let struck = words(&place, kind, operation, &id);
    let whole = strike(&place, &struck, None)?;
    let said = std::fs::read_to_string(place.dir.join("struck-err")).unwrap_or_default();
    assert_eq!(whole.code, 0, "{operation} of {kind} without a stroke: {said}");
    assert_eq!(
        delete(&place, &id),
        Vec::<String>::new(),
        "{operation} of {kind} without a stroke"
    );
    let cases = cases(&whole.calls);
    tally.possible += cases.len();
    for (step, stroke) in cases {
        if until.is_some_and(|until| Instant::now() > until) {
            break;
        }
        prepare(&place, kind, operation, &id);
        let ran = strike(&place, &struck, Some((step, stroke)))?;
        let mut wrong = Vec::new();
        if ran.struck {
            *tally.tried.entry((operation, stroke)).or_default() += 1;
            wrong = judge(&place, operation, &id, stroke, &ran);
        }
        wrong.extend(delete(&place, &id));
        let call = ran.calls.last().copied().unwrap_or(-1);
        for what in wrong {
            let case = format!("{operation} of {kind}, step {step} (call {call}), {stroke:?}: {what}");
            eprintln!("{case}");
            tally.faults.push(case);
        }
    }
    Ok(())
}

fn by_criu(operation: &str) -> bool {
    matches!(operation, "checkpoint" | "restore")
}

/// A restore takes no --device: what it adds has to stand in the configuration. And CRIU, as the root of a user namespace,
/// cannot read its images when it makes a time namespace.
fn for_criu_too(kind: &str, operation: &str) -> bool {
    kind != "devices" && (kind != "user namespace" || operation == "checkpoint")
}

#[test]
fn whatever_happens_delete_leaves_nothing() {
    let _alone = alone();
    let seconds = std::env::var("RUNTIME_CRASH_SECONDS").unwrap_or_else(|_| "30".to_owned());
    let total = match seconds.as_str() {
        "all" => None,
        number => Some(
            number
                .parse::<f64>()
                .expect("RUNTIME_CRASH_SECONDS is a number of seconds or `all`"),
        ),
    };
    let mut tally = Tally::default();
    let only = std::env::var("RUNTIME_CRASH_ONLY").unwrap_or_default();
    let asked =
        |name: &str, all: &[&str]| !all.iter().any(|other| only.contains(other)) || only.contains(name);
    let criu = place::criu::why_not();
    if let Some(why) = &criu {
        eprintln!("SKIPPED checkpoint and restore of whatever_happens_delete_leaves_nothing: {why}");
    }
    let kinds = KINDS.into_iter().filter(|kind| asked(kind, &KINDS));
    let all = kinds.flat_map(|kind| OPERATIONS.map(|name| (kind, name)));
    let parts: Vec<_> = all
        .filter(|(_, name)| asked(name, &OPERATIONS))
        .filter(|(kind, name)| criu.is_none() && for_criu_too(kind, name) || !by_criu(name))
        .collect();
    let count = f64::from(u32::try_from(parts.len()).expect("few"));
    let slice = total.map(|total| Duration::from_secs_f64(total / count));
    for (kind, name) in parts {
        let until = slice.map(|slice| Instant::now() + slice);
        if let Err(why) = operation(kind, name, until, &mut tally) {
            eprintln!("SKIPPED whatever_happens_delete_leaves_nothing: {why}");
            return;
        }
    }
    for ((operation, stroke), count) in &tally.tried {
        eprintln!("{operation:10} {stroke:?}: {count}");
    }
    let tried: usize = tally.tried.values().sum();
    eprintln!(
        "crash matrix: {tried} of {} cases tried, {} wrong",
        tally.possible,
        tally.faults.len()
    );
    assert_eq!(tally.faults, Vec::<String>::new());
}

/// The state directory is a filesystem with this many pages.
#[test]
fn a_full_state_directory() {
    let _alone = alone();
    let Some(place) = Place::new("a_full_state_directory") else {
        return;
    };
    let state = place.dir.join("state");
    let mut ended = BTreeMap::new();
    for pages in 1..10 {
        if !small_disk(&state, &format!("size={}k", pages * 4)) {
            return;
        }
        let id = place.id("");
        let output = place.call(&["create", &id]);
        let said = err(&output);
        let fine = output.status.success() || said.to_lowercase().contains("no space left");
        let wrong = delete(&place, &id);
        take_disk_away(&state);
        assert!(fine, "{pages} pages: {said}");
        assert_eq!(wrong, Vec::<String>::new(), "{pages} pages: {said}");
        *ended.entry(output.status.success()).or_insert(0) += 1;
    }
    eprintln!("with 1 to 9 pages, by success: {ended:?}");
    assert!(ended.contains_key(&false), "none of them was too small");
}

/// A tmpfs over the state directory; false, with the reason told, where there can be none.
fn small_disk(state: &Path, options: &str) -> bool {
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &format!("{options},mode=700"), "full"])
        .arg(state)
        .status();
    let mounted = mounted.is_ok_and(|status| status.success());
    if !mounted {
        eprintln!("SKIPPED a full state directory: cannot mount a tmpfs");
    }
    mounted
}

fn take_disk_away(state: &Path) {
    let unmounted = Command::new("umount").arg(state).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
}

/// Takes what is left of the disk: its names, and then its blocks.
fn fill(folder: &Path) {
    std::fs::create_dir(folder).expect("a folder");
    let names = (0..10_000).map(|number| std::fs::write(folder.join(number.to_string()), ""));
    let last = names.take_while(Result::is_ok).count();
    if last < 10_000 {
        return;
    }
    let blocks = std::fs::File::create(folder.join("0")).expect("a file");
    let page = [1; 4096];
    while std::io::Write::write_all(&mut &blocks, &page).is_ok() {}
}

/// The disk is full when a command comes, of names or of blocks; whatever it says, the container can be deleted, while
/// the disk is full too.
#[test]
fn a_state_directory_that_became_full() {
    let _alone = alone();
    let Some(place) = Place::new("a_state_directory_that_became_full") else {
        return;
    };
    for_criu(&place);
    let criu = place::criu::why_not();
    if let Some(why) = &criu {
        eprintln!("SKIPPED checkpoint and restore of a_state_directory_that_became_full: {why}");
    }
    let (state, id) = (place.dir.join("state"), place.id(""));
    let mut ended = BTreeMap::new();
    for options in ["size=1m,nr_inodes=64", "size=256k,nr_inodes=20k"] {
        for operation in OPERATIONS {
            if by_criu(operation) && criu.is_some() {
                continue;
            }
            if !small_disk(&state, options) {
                return;
            }
            prepare(&place, "plain", operation, &id);
            let filler = state.join(".full");
            fill(&filler);
            let struck = words(&place, "plain", operation, &id);
            let output = place.detached(&struck.iter().map(String::as_str).collect::<Vec<_>>());
            let said = err(&output);
            let deleted = place.call(&["delete", "--force", &id]);
            std::fs::remove_dir_all(&filler).expect("the filler goes");
            let mut wrong = delete(&place, &id);
            take_disk_away(&state);
            if !output.status.success() && !said.to_lowercase().contains("no space left") {
                wrong.push(format!("it says: {said}"));
            }
            if !deleted.status.success() {
                wrong.push(format!("delete --force on the full disk: {}", err(&deleted)));
            }
            assert_eq!(wrong, Vec::<String>::new(), "{operation}, {options}: {said}");
            ended.insert((operation, options), output.status.success());
        }
    }
    eprintln!("on a full disk, by success: {ended:?}");
}

/// RLIMIT_NOFILE from too little for anything to enough.
#[test]
fn too_few_descriptors() {
    let _alone = alone();
    let Some(place) = Place::new("too_few_descriptors") else {
        return;
    };
    let id = place.id("");
    let mut ended = BTreeMap::new();
    for limit in 3..40 {
        let program = place.command(&["create", &id]);
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", &format!("ulimit -n {limit}; exec \"$@\""), "sh"])
            .arg(program.get_program())
            .args(program.get_args())
            .current_dir(place.bundle())
            .stdin(std::process::Stdio::null());
        let output = place.finish(shell);
        let said = err(&output);
        assert!(!said.contains("panicked"), "{limit} descriptors: {said}");
        assert!(
            output.status.code().is_some(),
            "{limit} descriptors: {}",
            output.status
        );
        assert!(
            output.status.success() || !said.trim().is_empty(),
            "{limit} descriptors: it says nothing"
        );
        if !output.status.success() {
            let left = std::fs::read_dir(place.dir.join("state"))
                .expect("a folder")
                .count();
            assert_eq!(left, 0, "{limit} descriptors: a record is left: {said}");
        }
        assert_eq!(
            delete(&place, &id),
            Vec::<String>::new(),
            "{limit} descriptors: {said}"
        );
        *ended.entry(output.status.success()).or_insert(0) += 1;
    }
    eprintln!("with 3 to 39 descriptors, by success: {ended:?}");
}
