//! The messages that engines, scripts and runc's own tests look for, as the built program gives them: in the log as one
//! line of JSON, on standard error, and with runc's exit codes.
#![allow(clippy::print_stderr, reason = "a skip must be seen")]

mod place;

use place::{Place, err};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Calls the program, which must fail: its only line of JSON, checked for its form, and its exit code.
fn failure(place: &Place, arguments: &[&str]) -> (Value, Option<i32>) {
    let log = place.dir.join("log.json");
    let _ = std::fs::remove_file(&log);
    let globals = ["--log", log.to_str().expect("UTF-8"), "--log-format", "json"];
    let output = place.call(&[&globals, arguments].concat());
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    assert_eq!(text.matches('\n').count(), 1, "{arguments:?}: one line: {text}");
    let line: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let message = line["msg"].as_str().expect("a message").to_owned();
    let begins = format!("{{\"level\":\"error\",\"msg\":{},\"time\":\"", json!(message));
    assert!(text.starts_with(&begins), "{text}");
    assert!(is_rfc_3339(line["time"].as_str().expect("a time")), "{text}");
    assert!(line["errno"].is_null() || line["errno"].is_i64(), "{text}");
    for key in ["field", "step", "syscall", "hint"] {
        assert!(line[key].is_null() || line[key].is_string(), "{text}");
    }
    // Engines choose an exit code by these words, so no message may have two of them.
    let causes = [
        "permission denied",
        "no such file or directory",
        "executable file not found",
    ];
    let count = causes.into_iter().filter(|cause| message.contains(cause)).count();
    assert!(count <= 1, "{message}");
    assert_eq!(err(&output), format!("{message}\n"), "{arguments:?}");
    (line, output.status.code())
}

/// As `2026-11-21T21:11:13Z`.
fn is_rfc_3339(time: &str) -> bool {
    let form = "dddd-dd-ddTdd:dd:ddZ";
    time.len() == form.len()
        && time.chars().zip(form.chars()).all(|(char, form)| match form {
            'd' => char.is_ascii_digit(),
            other => char == other,
        })
}

fn said(place: &Place, arguments: &[&str], exit: i32, message: &str) {
    let (line, code) = failure(place, arguments);
    assert_eq!(line["msg"], message, "{arguments:?}");
    assert_eq!(code, Some(exit), "{arguments:?}");
}

#[test]
fn a_container_that_does_not_exist() {
    let Some(place) = Place::new("missing") else {
        return;
    };
    for verb in ["state", "start", "kill", "pause", "resume", "ps", "delete"] {
        said(&place, &[verb, "none"], 1, "container does not exist");
    }
    said(
        &place,
        &["exec", "none", "true"],
        255,
        "exec failed: container does not exist",
    );
}

#[test]
fn ids_that_are_none() {
    let Some(place) = Place::new("ids") else { return };
    for (id, words) in [
        ("a/b", "invalid container ID format"),
        ("..", "invalid container ID format"),
        ("", "container id cannot be empty"),
    ] {
        for (verb, prefix) in [
            ("state", ""),
            ("create", "runc create failed: "),
            ("run", "runc run failed: "),
        ] {
            let (line, code) = failure(&place, &[verb, id]);
            let message = line["msg"].as_str().expect("a message");
            assert!(message.starts_with(&format!("{prefix}{words}")), "{message}");
            assert_eq!(code, Some(1));
        }
    }
}

/// Who deletes by force must hear, also with a log elsewhere, that something may be left.
#[test]
fn delete_by_force_of_a_damaged_record_says_what_it_could_do() {
    let Some(place) = Place::new("damaged") else {
        return;
    };
    let id = place.id("");
    place.expect(&["create", &id]);
    let record = place.dir.join("state").join(&id).join("state.json");
    let whole = std::fs::read_to_string(&record).expect("the record");
    std::fs::write(&record, whole.replace("oci_version", "oci")).expect("a damaged record");
    let (line, _) = failure(&place, &["delete", &id]);
    assert!(
        line["hint"].as_str().is_some_and(|hint| hint.contains("--force")),
        "{line}"
    );
    let log = place.dir.join("log.txt");
    let output = place.call(&["--log", log.to_str().expect("UTF-8"), "delete", "--force", &id]);
    assert_eq!(output.status.code(), Some(0));
    let logged = std::fs::read_to_string(&log).expect("a log");
    for text in [err(&output), logged] {
        assert!(
            text.contains("the record is damaged") && text.contains("removed by what is left of it"),
            "{text}"
        );
    }
    said(&place, &["delete", &id], 1, "container does not exist");
}

/// A caller that ignores SIGCHLD has its children reaped by the kernel: the short life of a program must not be over
/// before the runtime has looked at it, and who has its pid then is nobody's business.
#[test]
fn a_caller_that_ignores_its_children() {
    let Some(place) = Place::new("reaped") else {
        return;
    };
    place.configure("config.json", "", |config| {
        config["process"]["args"] = json!(["/bin/true"])
    });
    place.configure("sleeper.json", "exec sleep 1000", |config| {
        let path = format!(
            "{}-other",
            config["linux"]["cgroupsPath"].as_str().expect("a path")
        );
        config["linux"]["cgroupsPath"] = path.into();
    });
    let (id, other) = (place.id(""), place.id("-other"));
    place.expect(&["run", "--detach", "--config", "sleeper.json", &other]);
    let commands = [
        place.command(&["run", &id]),
        place.command(&["exec", &other, "/bin/true"]),
    ];
    for (run, runtime) in commands.iter().cycle().take(200).enumerate() {
        // coreutils' env: a shell's trap does not ignore SIGCHLD.
        let mut ignoring = std::process::Command::new("env");
        ignoring
            .arg("--ignore-signal=CHLD")
            .arg(runtime.get_program())
            .args(runtime.get_args())
            .current_dir(place.bundle())
            .stdin(std::process::Stdio::null());
        let output = place.finish(ignoring);
        assert_eq!(err(&output), "", "run {run}");
    }
}

/// Seconds that no clock can count are a timeout all the same; a runtime that adds them up panics.
#[test]
fn a_hook_may_take_longer_than_the_clock_counts() {
    let Some(place) = Place::new("timeout") else {
        return;
    };
    let id = place.id("");
    place.configure("config.json", "true", |config| {
        for kind in [
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ] {
            config["hooks"][kind] = json!([{"path": "/bin/true", "timeout": i64::MAX}]);
        }
    });
    place.expect(&["run", &id]);
    said(&place, &["state", &id], 1, "container does not exist");
}

#[test]
fn a_created_container() {
    let Some(place) = Place::new("created") else {
        return;
    };
    let id = place.id("");
    place.expect(&["create", &id]);
    for (verb, prefix) in [("create", "runc create failed"), ("run", "runc run failed")] {
        let (line, _) = failure(&place, &[verb, &id]);
        let message = line["msg"].as_str().expect("a message");
        assert!(
            message.starts_with(&format!("{prefix}: container with given ID already exists")),
            "{message}"
        );
    }
    said(&place, &["resume", &id], 1, "container not paused");
    said(&place, &["kill", &id, "BOGUS"], 1, "unknown signal \"BOGUS\"");
}

#[test]
fn a_running_and_a_paused_container() {
    let Some(place) = Place::new("running") else {
        return;
    };
    let id = place.id("");
    place.expect(&["run", "--detach", &id]);
    said(
        &place,
        &["start", &id],
        1,
        "cannot start an already running container",
    );
    let delete = format!("cannot delete container {id} that is not stopped: running");
    said(&place, &["delete", &id], 1, &delete);
    said(&place, &["resume", &id], 1, "container not paused");
    place.expect(&["pause", &id]);
    let paused = "exec failed: cannot exec in a paused container (use --ignore-paused to override)";
    said(&place, &["exec", &id, "true"], 255, paused);
    said(
        &place,
        &["start", &id],
        1,
        "cannot start a container in the paused state",
    );
    let delete = format!("cannot delete container {id} that is not stopped: paused");
    said(&place, &["delete", &id], 1, &delete);
}

/// A cgroup that is frozen while this lives; then it is removed, in every hierarchy.
struct Frozen {
    file: PathBuf,
    frozen: &'static str,
    thawed: &'static str,
    groups: Vec<PathBuf>,
}

impl Frozen {
    /// The cgroup `name` below the root, by the freezer that the runtime uses.
    fn new(name: &str) -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let mounts = std::fs::read_dir(root).expect("cgroups").flatten();
        let groups = mounts
            .map(|entry| entry.path().join(name))
            .chain([root.join(name)])
            .filter(|group| group.is_dir())
            .collect();
        let v1 = root.join("freezer").join(name).join("freezer.state");
        let (file, thawed, frozen) = match v1.exists() {
            true => (v1, "THAWED", "FROZEN"),
            false => (root.join(name).join("cgroup.freeze"), "0", "1"),
        };
        let group = Self {
            file,
            frozen,
            thawed,
            groups,
        };
        group.freeze();
        group
    }

    fn freeze(&self) {
        std::fs::write(&self.file, self.frozen).expect("a freezer");
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.is_frozen() {
            assert!(Instant::now() < deadline, "does not freeze");
        }
    }

    fn is_frozen(&self) -> bool {
        let events = self.file.with_file_name("cgroup.events");
        let state = std::fs::read_to_string(if self.thawed == "0" { &events } else { &self.file });
        state.is_ok_and(|state| state.lines().any(|line| line == "FROZEN" || line == "frozen 1"))
    }

    fn thaw(&self) {
        std::fs::write(&self.file, self.thawed).expect("a freezer");
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = std::fs::write(&self.file, self.thawed);
        for group in &self.groups {
            let _ = std::fs::remove_dir(group);
        }
    }
}

#[test]
fn below_a_frozen_cgroup_nothing_is_begun_that_would_hang() {
    let Some(place) = Place::new("frozen-above") else {
        return;
    };
    let (id, other, above) = (place.id(""), place.id("-2"), place.id("-above"));
    let below = |name: &str| {
        let path = format!("/{above}/{name}");
        place.configure("config.json", "exec sleep 1000", |config| {
            config["linux"]["cgroupsPath"] = json!(path)
        });
    };
    below(&id);
    place.expect(&["run", "--detach", &id]);
    let frozen = Frozen::new(&above);
    let group = frozen.file.parent().expect("a folder").display();
    let exec = format!(
        "exec failed: cannot exec in a container whose cgroup is frozen from above, by {group} \
         (use --ignore-paused to override)"
    );
    said(&place, &["exec", &id, "true"], 255, &exec);
    below(&other);
    let (line, code) = failure(&place, &["create", &other]);
    let create = format!("container's cgroup would be frozen: the cgroup {group} above it is");
    assert!(
        line["msg"]
            .as_str()
            .is_some_and(|message| message.contains(&create)),
        "{line}"
    );
    assert_eq!(code, Some(1));
    assert_eq!(
        place.state(&id)["status"],
        "running",
        "runc's word: not paused itself"
    );
    frozen.thaw();
    place.expect(&["exec", &id, "true"]);
    place.expect(&["delete", "--force", &id]);
}

#[test]
fn a_stopped_container() {
    let Some(place) = Place::new("stopped") else {
        return;
    };
    let id = place.id("");
    place.expect(&["run", "--detach", &id]);
    place.expect(&["kill", &id, "KILL"]);
    place.until(&id, "stopped");
    said(&place, &["kill", &id], 1, "container not running");
    said(
        &place,
        &["start", &id],
        1,
        "cannot start a container that has stopped",
    );
    said(
        &place,
        &["exec", &id, "true"],
        255,
        "exec failed: cannot exec in a stopped container",
    );
    said(&place, &["resume", &id], 1, "container not paused");
    let (line, _) = failure(&place, &["pause", &id]);
    assert!(
        line["msg"]
            .as_str()
            .is_some_and(|message| message.contains("container not running")),
        "{line}"
    );
}

/// Programs that cannot be executed, and what runc says about them.
const PROGRAMS: [(&str, &str); 4] = [
    ("nope", "exec: \"nope\": executable file not found in $PATH"),
    ("/nope", "exec: \"/nope\": stat /nope: no such file or directory"),
    ("/etc", "exec: \"/etc\": is a directory"),
    ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
];

#[test]
fn a_program_that_cannot_be_executed() {
    let Some(place) = Place::new("program") else {
        return;
    };
    std::fs::write(place.bundle().join("rootfs/etc/passwd"), "").expect("a file");
    let id = place.id("");
    for (program, words) in PROGRAMS {
        place.configure("config.json", "", |config| {
            config["process"]["args"] = json!([program])
        });
        for verb in ["create", "run"] {
            let before = "unable to start container process: error during container init";
            said(
                &place,
                &[verb, &id],
                1,
                &format!("runc {verb} failed: {before}: {words}"),
            );
        }
    }
    place.configure("config.json", "exec sleep 1000", |_| {});
    place.expect(&["run", "--detach", &id]);
    for (program, words) in PROGRAMS {
        let message = format!("exec failed: unable to start container process: {words}");
        said(&place, &["exec", &id, program], 255, &message);
    }
}

#[test]
fn a_step_of_init_that_fails_has_all_keys() {
    let Some(place) = Place::new("step") else { return };
    place.configure("config.json", "true", |config| {
        let mount = json!({"destination": "/x", "type": "bind", "source": "/no/such", "options": ["bind"]});
        config["mounts"].as_array_mut().expect("mounts").push(mount);
    });
    let (line, code) = failure(&place, &["run", &place.id("")]);
    let message = line["msg"].as_str().expect("a message");
    let begins = "runc run failed: unable to start container process: error during container init: error mounting \
                  \"/no/such\" to rootfs at \"/x\"";
    assert!(message.starts_with(begins), "{message}");
    assert!(message.ends_with(": no such file or directory"), "{message}");
    assert_eq!(line["field"], "mounts[3]", "{line}");
    assert_eq!(line["step"], "bind /no/such on /x");
    assert_eq!(line["syscall"], "open_tree(\"/no/such\")");
    assert_eq!((line["errno"].as_i64(), code), (Some(2), Some(1)));
}

#[test]
fn a_path_of_the_wrong_kind_has_the_words_that_engines_explain() {
    let Some(place) = Place::new("kind") else { return };
    let mount = |kind: &str, source: &str, destination: &str| {
        let mount = json!({"destination": destination, "type": kind, "source": source, "options": []});
        move |config: &mut Value| config["mounts"].as_array_mut().expect("mounts").push(mount)
    };
    place.configure("dir-on-file.json", "true", mount("bind", "/etc", "/bin/busybox"));
    place.configure("file-on-dir.json", "true", mount("bind", "/etc/passwd", "/bin"));
    place.configure(
        "tmpfs-on-file.json",
        "true",
        mount("tmpfs", "tmpfs", "/bin/busybox"),
    );
    place.configure("cwd.json", "true", |config| {
        config["process"]["cwd"] = json!("/bin/busybox");
    });
    for config in ["dir-on-file", "file-on-dir", "tmpfs-on-file", "cwd"] {
        let (line, code) = failure(
            &place,
            &["run", "--config", &format!("{config}.json"), &place.id("")],
        );
        let message = line["msg"].as_str().expect("a message");
        assert!(message.ends_with(": not a directory"), "{message}");
        assert!(!message.contains("is a directory"), "{message}");
        assert_eq!(code, Some(1), "{message}");
    }
}

#[test]
fn a_hook_that_fails_is_named() {
    let Some(place) = Place::new("hook") else { return };
    for (hooks, words) in [
        (
            json!({"createRuntime": [{"path": "/bin/false"}]}),
            "error running createRuntime hook #0: exit status 1",
        ),
        (
            json!({"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "kill -9 $$"]}]}),
            "error running createContainer hook #0: signal: killed",
        ),
        (
            json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "20"], "timeout": 1}]}),
            "error running createRuntime hook #0: hook ran past specified timeout of 1.0s",
        ),
        (
            json!({"createContainer": [{"path": "/bin/sleep", "args": ["sleep", "20"], "timeout": 1}]}),
            "error running createContainer hook #0: hook ran past specified timeout of 1.0s",
        ),
    ] {
        place.configure("config.json", "true", |config| config["hooks"] = hooks);
        let (line, _) = failure(&place, &["create", &place.id("")]);
        let message = line["msg"].as_str().expect("a message");
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_memory_limit_that_is_too_low() {
    let Some(place) = Place::new("memory") else { return };
    place.configure("config.json", "true", |config| {
        config["linux"]["resources"] = json!({"memory": {"limit": 4096}});
    });
    let (line, _) = failure(&place, &["run", &place.id("")]);
    let message = line["msg"].as_str().expect("a message");
    // Version 2 may refuse the memory for the exec where version 1 kills.
    let killed = "container init was OOM-killed (memory limit too low?)";
    let refused = "container init got no memory (memory limit too low?)";
    assert!(message.contains(killed) || message.contains(refused), "{message}");
}

#[test]
fn the_text_form_is_runcs() {
    let Some(place) = Place::new("text") else { return };
    let text = err(&place.call(&["state", "none"]));
    let (time, rest) = text
        .strip_prefix("time=\"")
        .and_then(|text| text.split_once('"'))
        .expect("a time");
    assert!(is_rfc_3339(time), "{text}");
    assert_eq!(rest, " level=error msg=\"container does not exist\"\n");
}

#[test]
fn a_damaged_record_costs_the_other_containers_nothing() {
    let Some(place) = Place::new("damaged") else {
        return;
    };
    let (whole, damaged) = (place.id("a"), place.id("b"));
    for id in [&whole, &damaged] {
        place.configure("config.json", "exec sleep 1000", |config| {
            config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
        });
        place.expect(&["create", id]);
    }
    let record = place.dir.join("state").join(&damaged).join("state.json");
    let text = std::fs::read(&record).expect("a record");
    std::fs::write(&record, &text[..text.len() / 2]).expect("half a record");
    for arguments in [&["list"][..], &["list", "-q"], &["list", "-f", "json"]] {
        let output = place.call(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        let rows = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(rows.contains(&whole) && !rows.contains(&damaged), "{rows}");
        let expected = format!("load container {damaged}: {}: ", record.display());
        assert!(err(&output).starts_with(&expected), "{}", err(&output));
    }
    std::fs::write(&record, text).expect("the record");
    for id in [&whole, &damaged] {
        place.expect(&["delete", "--force", id]);
    }
}

/// The hook has the program end before the lines are written.
#[test]
fn the_log_of_a_short_program_has_its_pid() {
    let Some(place) = Place::new("short") else {
        return;
    };
    place.configure("config.json", "exit 0", |config| {
        config["hooks"] = json!({"poststart": [{"path": "/bin/sleep", "args": ["sleep", "0.3"]}]});
    });
    let id = place.id("");
    let output = place.call(&["--debug", "run", &id]);
    let text = err(&output);
    for words in [
        "nsexec container setup: pid ",
        "closing the pipe to signal completion: pid ",
    ] {
        let pid = text.split(words).nth(1).and_then(|rest| rest.split(' ').next());
        assert!(
            pid.and_then(|pid| pid.parse::<u32>().ok())
                .is_some_and(|pid| pid > 1),
            "{text}"
        );
    }
}
