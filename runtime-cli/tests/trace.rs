//! `--trace FILE` of every command: what stands in the file, who may read it, and that the container never sees the page
//! in which init leaves its times.

mod place;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use place::{Place, err};
use serde_json::Value;

/// The events of a file, without those that only name processes.
fn events(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("a trace");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let list = document["traceEvents"].as_array().expect("a list").clone();
    let named = list.iter().filter(|event| event["ph"] == "M");
    assert!(
        named.clone().any(|event| event["args"]["name"] == "runtime"),
        "{text}"
    );
    let complete: Vec<Value> = list.into_iter().filter(|event| event["ph"] == "X").collect();
    assert!(!complete.is_empty());
    complete
}

fn begin(event: &Value) -> f64 {
    event["ts"].as_f64().expect("a time")
}

fn end(event: &Value) -> f64 {
    begin(event) + event["dur"].as_f64().expect("a time")
}

fn name(event: &Value) -> &str {
    event["name"].as_str().expect("a name")
}

fn of_init(events: &[Value]) -> Vec<&Value> {
    let is_step = |event: &&Value| !event["args"]["step"].is_null() || event["cat"] == "begin";
    events.iter().filter(is_step).collect()
}

/// All times are there, and of two spans of one thread either one is in the other, or they do not touch.
#[track_caller]
fn are_nested(events: &[Value]) {
    // A rounding of the numbers' last digit is no overlap.
    const HAIR: f64 = 0.002;
    for (at, one) in events.iter().enumerate() {
        assert!(begin(one) > 0.0 && end(one) >= begin(one), "{one}");
        for other in &events[at + 1..] {
            if one["tid"] != other["tid"] {
                continue;
            }
            let apart = end(one) <= begin(other) + HAIR || end(other) <= begin(one) + HAIR;
            let within = begin(one) <= begin(other) + HAIR && end(other) <= end(one) + HAIR;
            assert!(apart || within, "{one} and {other}");
        }
    }
}

/// init's steps of the plan, in words.
fn planned(place: &Place) -> Vec<String> {
    let plan: Value = serde_json::from_str(&place.expect(&["plan", "--format", "json"])).expect("JSON");
    let steps = plan["steps"].as_array().expect("steps").iter();
    steps
        .filter(|step| step["actor"] == "init")
        .map(|step| step["text"].as_str().expect("words").to_owned())
        .collect()
}

#[test]
fn a_run_has_all_steps_in_order_and_the_program_finds_no_page() {
    let Some(place) = Place::new("a_run_has_all_steps") else {
        return;
    };
    let script = "cat /proc/self/maps; ls -l /proc/self/fd/ /proc/1/fd/";
    place.configure("config.json", script, |_| {});
    let file = place.dir.join("run.json");
    let seen = place.expect(&["--trace", file.to_str().unwrap_or_default(), "run", &place.id("")]);
    assert!(seen.contains("[stack]") && seen.contains("1 -> "), "{seen}");
    assert!(
        !seen.contains("memfd:") && !seen.contains("runtime-trace"),
        "{seen}"
    );
    assert!(!seen.contains("run.json"), "{seen}");

    let events = events(&file);
    are_nested(&events);
    let init = of_init(&events);
    assert_eq!(init[0]["cat"], "begin");
    // The plan is not told the container's name.
    let own = |event: &&Value| name(event).replace(&place.id(""), "plan");
    let root = place.dir.to_string_lossy().into_owned();
    let words: Vec<String> = init[1..]
        .iter()
        .map(|event| match name(event) {
            text if text.contains(&root) => text.to_owned(),
            _ => own(event),
        })
        .collect();
    assert_eq!(words, planned(&place));
    for pair in init.windows(2) {
        assert!(begin(pair[0]) <= begin(pair[1]), "{} {}", pair[0], pair[1]);
        assert!(
            (end(pair[0]) - begin(pair[1])).abs() < 0.01,
            "{} {}",
            pair[0],
            pair[1]
        );
    }
    assert!(init.iter().all(|event| event["args"]["failed"].is_null()));
    assert!(
        init[1..]
            .iter()
            .all(|event| event["args"]["line"].is_u64() && event["args"]["from"].is_string())
    );

    let find = |wanted: &str| {
        let found = events.iter().find(|event| name(event) == wanted);
        found.unwrap_or_else(|| panic!("no {wanted:?}"))
    };
    let whole = find("run");
    assert_eq!(whole["args"]["id"], place.id(""));
    for phase in [
        "load the configuration",
        "look at the host",
        "find devices",
        "plan",
        "make the state directory",
        "clone, execute init",
        "wait for the container's end",
        "remove the cgroup",
    ] {
        let phase = find(phase);
        assert_eq!(phase["tid"], whole["tid"]);
        assert!(
            begin(whole) <= begin(phase) && end(phase) <= end(whole) + 0.002,
            "{phase}"
        );
    }
    // Both processes are on one time scale: init works after it was cloned and before its end was seen.
    let cloned = find("clone, execute init");
    assert!(begin(init[0]) >= begin(cloned), "{} {cloned}", init[0]);
    let last = init.last().expect("steps");
    assert_eq!(last["cat"], "Exec");
    assert!(
        end(last) <= begin(find("wait for the container's end")) + 0.01,
        "{last}"
    );
}

#[test]
fn a_create_that_fails_has_the_failing_step_last() {
    let Some(place) = Place::new("a_create_that_fails") else {
        return;
    };
    let no_such = |config: &mut Value| {
        config["mounts"]
            .as_array_mut()
            .expect("mounts")
            .push(serde_json::json!({"destination": "/x\u{1b}[31m", "type": "nosuchfs", "source": "x"}));
    };
    place.configure("config.json", "true", no_such);
    let file = place.dir.join("create.json");
    let output = place.call(&[
        "--trace",
        file.to_str().unwrap_or_default(),
        "create",
        &place.id(""),
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let events = events(&file);
    are_nested(&events);
    let init = of_init(&events);
    let last = init.last().expect("steps");
    assert_eq!(last["args"]["failed"], "true", "{last}");
    assert_eq!(
        (&last["cat"], &last["args"]["from"]),
        (&"MountFs".into(), &"mounts[3]".into())
    );
    let failed = events.iter().filter(|event| event["args"]["failed"] == "true");
    assert_eq!(failed.count(), 1);
    let whole = events
        .iter()
        .find(|event| name(event) == "create")
        .expect("the command");
    assert!(
        whole["args"]["error"]
            .as_str()
            .is_some_and(|error| error.contains("nosuchfs")),
        "{whole}"
    );
    assert!(events.iter().any(|event| name(event) == "remove what was made"));
    let text = std::fs::read_to_string(&file).expect("a trace");
    assert!(
        !text.contains('\u{1b}') && text.contains("/x\\\\u{1b}[31m"),
        "{text}"
    );
}

#[test]
fn every_command_leaves_a_trace_and_start_has_the_rest_of_inits_steps() {
    let Some(place) = Place::new("every_command_leaves_a_trace") else {
        return;
    };
    let id = place.id("");
    let mut all = Vec::new();
    let commands: [&[&str]; 14] = [
        &["create", &id],
        &["state", &id],
        &["start", &id],
        &["exec", &id, "true"],
        &["ps", &id],
        &["list"],
        &["events", "--stats", &id],
        &["update", "--pids-limit", "50", &id],
        &["pause", &id],
        &["resume", &id],
        &["kill", &id, "KILL"],
        &["delete", "--force", &id],
        &["features"],
        &["plan"],
    ];
    for command in commands {
        let file = place.dir.join(format!("{}.json", command[0]));
        place.expect(&[&["--trace", file.to_str().unwrap_or_default()], command].concat());
        let events = events(&file);
        are_nested(&events);
        assert!(
            events.iter().any(|event| name(event) == command[0]),
            "{command:?}"
        );
        let mode = std::fs::metadata(&file).expect("a file").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{command:?}");
        all.push((command[0], events));
    }
    let kinds = |command: &str| -> Vec<String> {
        let (_, events) = all.iter().find(|(name, _)| *name == command).expect("a command");
        let init = of_init(events);
        init.iter()
            .map(|event| event["cat"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(kinds("create").last().map(String::as_str), Some("WaitStart"));
    assert_eq!(kinds("start"), ["Exec"]);
    let exec = kinds("exec");
    assert_eq!(
        (exec[0].as_str(), exec.last().map(String::as_str)),
        ("begin", Some("Exec"))
    );
    assert!(exec.iter().any(|kind| kind == "Join"), "{exec:?}");
    for command in ["state", "list", "pause", "kill", "delete", "features"] {
        assert!(kinds(command).is_empty(), "{command}");
    }
    // One clock for all of them: they come one after the other.
    for pair in all.windows(2) {
        let (before, after) = (&pair[0].1[0], &pair[1].1[0]);
        assert!(end(before) < begin(after), "{before} {after}");
    }
}

#[test]
fn commands_at_the_same_time_keep_to_their_own_files() {
    let Some(place) = Place::new("commands_at_the_same_time") else {
        return;
    };
    for number in 0..6 {
        let cgroup = format!("/{}", place.id(&format!("-{number}")));
        place.configure(&format!("c{number}.json"), "true", |config| {
            config["linux"]["cgroupsPath"] = cgroup.into();
        });
    }
    let file = |number: usize| place.dir.join(format!("{number}.json"));
    let ids: Vec<String> = (0..6).map(|number| place.id(&format!("-{number}"))).collect();
    let running: Vec<_> = ids
        .iter()
        .enumerate()
        .map(|(number, id)| {
            let (file, config) = (file(number), format!("c{number}.json"));
            let words = [
                "--trace",
                file.to_str().unwrap_or_default(),
                "run",
                "--config",
                &config,
                id,
            ];
            place.begin(&words).1
        })
        .collect();
    for wait in running {
        let output = wait();
        assert!(output.status.success(), "{}", err(&output));
    }
    let wanted = planned_count(&place);
    for (number, id) in ids.iter().enumerate() {
        let text = std::fs::read_to_string(file(number)).expect("a trace");
        let others = ids.iter().filter(|other| *other != id);
        assert!(
            others.clone().all(|other| !text.contains(other.as_str())),
            "{text}"
        );
        let events = events(&file(number));
        are_nested(&events);
        assert_eq!(of_init(&events).len(), wanted + 1);
    }
}

fn planned_count(place: &Place) -> usize {
    place.configure("config.json", "true", |_| {});
    planned(place).len()
}

#[test]
fn the_file_is_a_new_one_and_what_cannot_be_is_said_with_the_flag() {
    let Some(place) = Place::new("the_file_is_a_new_one") else {
        return;
    };
    let path = |name: &str| place.dir.join(name);
    let call = |file: &Path| place.call(&["--trace", file.to_str().unwrap_or_default(), "list"]);

    // One that is there is replaced, also where it has another name.
    std::fs::write(path("old"), "secret").expect("a file");
    std::fs::hard_link(path("old"), path("other-name")).expect("a link");
    let before = std::fs::metadata(path("old")).expect("a file").ino();
    assert!(call(&path("old")).status.success());
    let after = std::fs::metadata(path("old")).expect("a file");
    assert!(after.ino() != before && after.permissions().mode() & 0o7777 == 0o600);
    assert_eq!(
        std::fs::read_to_string(path("other-name")).expect("a file"),
        "secret"
    );

    symlink(path("other-name"), path("link")).expect("a link");
    let fifo = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), fifo).expect("a pipe");
    std::fs::create_dir(path("folder")).expect("a folder");
    for name in ["link", "fifo", "folder", "missing/file"] {
        let output = call(&path(name));
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(err(&output).contains("--trace"), "{name}: {}", err(&output));
    }
    assert_eq!(
        std::fs::read_to_string(path("other-name")).expect("a file"),
        "secret"
    );

    for (arguments, part) in [
        (&["--trace", "-", "list"][..], "standard output is the command's"),
        (
            &["--trace-format", "table", "list"],
            "--trace-format without --trace",
        ),
        (
            &["--trace", "t", "--trace-format", "xml", "list"],
            "allowed: json, table",
        ),
    ] {
        let output = place.call(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = err(&output);
        assert!(
            said.contains("--trace") && said.contains(part),
            "{arguments:?}: {said}"
        );
    }
    assert!(!place.bundle().join("t").exists() && !place.bundle().join("-").exists());

    place.configure("config.json", "true", |_| {});
    let table = path("table");
    place.expect(&[
        "--trace",
        table.to_str().unwrap_or_default(),
        "--trace-format",
        "table",
        "run",
        &place.id(""),
    ]);
    let text = std::fs::read_to_string(table).expect("a table");
    assert!(
        text.starts_with("    at ms    took ms  process  what\n"),
        "{text}"
    );
    assert!(
        text.contains("  runtime  run") && text.contains("  init     "),
        "{text}"
    );
}
