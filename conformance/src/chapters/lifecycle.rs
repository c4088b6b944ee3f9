//! State and operations: create, start, delete, and what `state` says in between.

use crate::case::{Case, text};
use crate::suite::{Check, Test, ensure, ensure_eq, test};
use serde_json::Value;

/// The topic's tests.
pub(crate) const TESTS: &[Test] = &[
    test("state-follows-schema", "runtime.md#state", state_follows_schema),
    test("state-has-annotations", "runtime.md#state", |case| {
        let bundle = case.bundle(&["/bin/true"], |config| {
            config["annotations"]["com.example.key"] = "value".into()
        })?;
        case.create(&bundle)?;
        ensure_eq!(
            case.state()?["annotations"]["com.example.key"],
            "value",
            "annotation in state"
        );
        Ok(())
    }),
    test("state-of-unknown-id", "runtime.md#query-state", |case| {
        case.run(&["state", case.id()])?.refused()?;
        Ok(())
    }),
    test("created-has-not-run-program", "runtime.md#create", |case| {
        let bundle = case.bundle(&["/bin/touch", "/ran"], writable)?;
        case.create(&bundle)?;
        ensure_eq!(case.state()?["status"], "created", "status after create");
        std::thread::sleep(std::time::Duration::from_millis(50));
        ensure!(
            !bundle.rootfs().join("ran").exists(),
            "the program ran before start"
        );
        Ok(())
    }),
    test("created-process-is-alive", "runtime.md#state", |case| {
        let bundle = case.bundle(&["/bin/true"], |_| {})?;
        case.create(&bundle)?;
        let pid = case.pid()?;
        ensure!(
            std::path::Path::new(&format!("/proc/{pid}")).exists(),
            "pid {pid} of the state does not exist"
        );
        Ok(())
    }),
    // "This operation MUST generate an error if process was not set": start does, create does not.
    test("create-without-process", "runtime.md#create", |case| {
        case.create(&without_process(case)?)?;
        ensure_eq!(case.state()?["status"], "created", "status after create");
        case.verb("delete")?;
        case.nothing_left()
    }),
    test("start-without-process-is-refused", "runtime.md#start", |case| {
        case.create(&without_process(case)?)?;
        case.run(&["start", case.id()])?.refused()?;
        ensure_eq!(
            case.state()?["status"],
            "created",
            "status after the refused start"
        );
        Ok(())
    }),
    test("run-without-process-is-refused", "runtime.md#start", |case| {
        case.try_run(&without_process(case)?)?.refused()?;
        case.nothing_left()
    }),
    test("start-runs-program", "runtime.md#start", |case| {
        let bundle = case.bundle(&["/bin/touch", "/ran"], writable)?;
        case.create(&bundle)?;
        case.start()?;
        case.wait_for("stopped")?;
        ensure!(bundle.rootfs().join("ran").exists(), "the program did not run");
        Ok(())
    }),
    test("running-while-program-runs", "runtime.md#state", |case| {
        let bundle = case.bundle(&["/bin/sleep", "100"], |_| {})?;
        case.create(&bundle)?;
        let before = case.pid()?;
        case.start()?;
        let state = case.state()?;
        ensure_eq!(state["status"], "running", "status after start");
        ensure_eq!(state["pid"].as_i64(), Some(before), "pid before and after start");
        Ok(())
    }),
    test("stopped-after-program-ends", "runtime.md#state", |case| {
        let bundle = case.bundle(&["/bin/true"], |_| {})?;
        case.create(&bundle)?;
        case.start()?;
        case.wait_for("stopped")?;
        // pid is required for created and running only; runtimes leave it out or write 0.
        let pid = case.state()?["pid"].as_i64().unwrap_or(0);
        ensure_eq!(pid, 0, "pid of a stopped container");
        Ok(())
    }),
    test(
        "stopped-when-init-dies-before-start",
        "runtime.md#state",
        |case| {
            let bundle = case.bundle(&["/bin/true"], |_| {})?;
            case.create(&bundle)?;
            case.kill_and_wait()?;
            case.run(&["start", case.id()])?.refused()?;
            Ok(())
        },
    ),
    test("delete-stopped-removes-everything", "runtime.md#delete", |case| {
        let bundle = case.bundle(&["/bin/true"], |_| {})?;
        case.create(&bundle)?;
        case.start()?;
        case.wait_for("stopped")?;
        case.verb("delete")?;
        case.run(&["state", case.id()])?.refused()?;
        case.nothing_left()
    }),
    test("delete-keeps-rootfs", "runtime.md#delete", |case| {
        let bundle = case.bundle(&["/bin/true"], |_| {})?;
        case.create(&bundle)?;
        case.start()?;
        case.wait_for("stopped")?;
        case.verb("delete")?;
        ensure!(
            bundle.rootfs().join("bin/busybox").exists(),
            "delete removed what it did not make"
        );
        ensure!(bundle.config_path().exists(), "delete removed config.json");
        Ok(())
    }),
    test("delete-running-is-refused", "runtime.md#delete", |case| {
        let bundle = case.bundle(&["/bin/sleep", "100"], |_| {})?;
        case.create(&bundle)?;
        case.start()?;
        case.run(&["delete", case.id()])?.refused()?;
        ensure_eq!(
            case.state()?["status"],
            "running",
            "status after the refused delete"
        );
        Ok(())
    }),
    // The specification lets only stopped containers be deleted; containerd relies on runc deleting created ones.
    // Both are accepted here: all is gone, or nothing has changed.
    test("delete-created-is-all-or-nothing", "runtime.md#delete", |case| {
        let bundle = case.bundle(&["/bin/true"], |_| {})?;
        case.create(&bundle)?;
        if case.run(&["delete", case.id()])?.code() == 0 {
            return case.nothing_left();
        }
        ensure_eq!(
            case.state()?["status"],
            "created",
            "status after the refused delete"
        );
        Ok(())
    }),
    test("delete-force-ends-running", "cli", |case| {
        let bundle = case.bundle(&["/bin/sleep", "100"], |_| {})?;
        case.create(&bundle)?;
        case.start()?;
        let pid = case.pid()?;
        case.run(&["delete", "--force", case.id()])?.ok()?;
        case.nothing_left()?;
        ensure!(!is_alive(pid), "process {pid} lives on");
        Ok(())
    }),
    test("delete-force-of-unknown-is-success", "cli", |case| {
        case.run(&["delete", "--force", case.id()])?.ok()?;
        Ok(())
    }),
    test("delete-of-unknown-is-refused", "runtime.md#delete", |case| {
        case.run(&["delete", case.id()])?.refused()?;
        Ok(())
    }),
    test("delete-twice-is-refused", "runtime.md#delete", |case| {
        let bundle = case.bundle(&["/bin/true"], |_| {})?;
        case.create(&bundle)?;
        case.kill_and_wait()?;
        case.verb("delete")?;
        case.run(&["delete", case.id()])?.refused()?;
        Ok(())
    }),
    test("id-can-be-used-again", "runtime.md#delete", |case| {
        let bundle = case.bundle(&["/bin/true"], |_| {})?;
        for _ in 0..2 {
            case.create(&bundle)?;
            case.start()?;
            case.wait_for("stopped")?;
            case.verb("delete")?;
        }
        Ok(())
    }),
    test("duplicate-id-is-refused", "runtime.md#create", |case| {
        let bundle = case.bundle(&["/bin/sleep", "100"], |_| {})?;
        case.create(&bundle)?;
        let before = case.pid()?;
        case.try_create(&bundle)?.refused()?;
        let state = case.state()?;
        ensure_eq!(state["status"], "created", "status of the first container");
        ensure_eq!(state["pid"].as_i64(), Some(before), "pid of the first container");
        Ok(())
    }),
    test("id-may-hold-all-allowed-characters", "runtime.md#state", |case| {
        let id = case.second_id("_a-b.c+9");
        let bundle = case.bundle_for("other", &id, &["/bin/true"], |_| {})?;
        case.run(&["create", "--bundle", &text(bundle.dir()), &id])?
            .ok()?;
        ensure_eq!(case.state_of(&id)?["id"], id.as_str(), "id in state");
        Ok(())
    }),
    test(
        "two-containers-side-by-side",
        "runtime.md#state",
        two_side_by_side,
    ),
    test("start-twice-is-refused", "runtime.md#start", |case| {
        let bundle = case.bundle(&["/bin/sleep", "100"], |_| {})?;
        case.create(&bundle)?;
        case.start()?;
        case.run(&["start", case.id()])?.refused()?;
        ensure_eq!(
            case.state()?["status"],
            "running",
            "status after the refused start"
        );
        Ok(())
    }),
    test("start-of-stopped-is-refused", "runtime.md#start", |case| {
        let bundle = case.bundle(&["/bin/true"], |_| {})?;
        case.create(&bundle)?;
        case.start()?;
        case.wait_for("stopped")?;
        case.run(&["start", case.id()])?.refused()?;
        Ok(())
    }),
    test("start-of-unknown-is-refused", "runtime.md#start", |case| {
        case.run(&["start", case.id()])?.refused()?;
        Ok(())
    }),
    test(
        "config-edited-after-create-changes-nothing",
        "runtime.md#create",
        |case| {
            let mut bundle = case.bundle(&["/bin/touch", "/first"], writable)?;
            case.create(&bundle)?;
            bundle.edit(|config| config["process"]["args"] = serde_json::json!(["/bin/touch", "/second"]))?;
            case.start()?;
            case.wait_for("stopped")?;
            ensure!(
                bundle.rootfs().join("first").exists(),
                "the program of the configuration at create did not run"
            );
            ensure!(
                !bundle.rootfs().join("second").exists(),
                "the edited configuration was used"
            );
            Ok(())
        },
    ),
    test("config-removed-after-create", "runtime.md#create", |case| {
        let bundle = case.bundle(&["/bin/true"], |_| {})?;
        case.create(&bundle)?;
        std::fs::remove_file(bundle.config_path())?;
        case.start()?;
        case.wait_for("stopped")?;
        case.verb("delete")?;
        case.nothing_left()
    }),
    test(
        "unknown-properties-are-ignored",
        "config.md#extensibility",
        |case| {
            case.probe(&[], |config| {
                config["com.example.unknown"] = serde_json::json!({"a": [1, 2]});
                config["process"]["unknown"] = true.into();
                config["linux"]["unknown"] = 7.into();
            })?;
            Ok(())
        },
    ),
    test(
        "any-version-one-is-accepted",
        "config.md#specification-version",
        |case| {
            for version in ["1.0.0", "1.0.2-dev", "1.1.0", "1.2.1", "1.3.0"] {
                let bundle = case.bundle(&["/bin/true"], |config| config["ociVersion"] = version.into())?;
                case.try_run(&bundle)?.ok()?;
                std::fs::remove_dir_all(bundle.dir())?;
            }
            Ok(())
        },
    ),
];

fn without_process(case: &Case<'_>) -> Check<fixtures::Bundle> {
    case.bundle(&[], |config| {
        if let Some(config) = config.as_object_mut() {
            config.remove("process");
        }
    })
}

fn writable(config: &mut Value) {
    config["root"]["readonly"] = false.into();
}

fn state_follows_schema(case: &Case<'_>) -> Check {
    let bundle = case.bundle(&["/bin/true"], |_| {})?;
    case.create(&bundle)?;
    let state = case.state()?;
    let version = state["ociVersion"].as_str().unwrap_or_default();
    let numbers = version
        .split('.')
        .take(2)
        .filter(|part| part.parse::<u32>().is_ok())
        .count();
    ensure!(numbers == 2, "ociVersion {:?} is no version", state["ociVersion"]);
    ensure_eq!(state["id"], case.id(), "id");
    ensure_eq!(state["status"], "created", "status");
    ensure!(
        state["pid"].as_i64().is_some_and(|pid| pid > 0),
        "pid {}",
        state["pid"]
    );
    ensure_eq!(
        state["bundle"],
        text(bundle.dir()).as_str(),
        "bundle, as an absolute path"
    );
    let annotations = &state["annotations"];
    ensure!(
        annotations.is_null() || annotations.is_object(),
        "annotations {annotations}"
    );
    Ok(())
}

fn two_side_by_side(case: &Case<'_>) -> Check {
    let other = case.second_id("b");
    let first = case.bundle(&["/bin/sleep", "100"], |_| {})?;
    let second = case.bundle_for("other", &other, &["/bin/sleep", "100"], |_| {})?;
    case.create(&first)?;
    case.run(&["create", "--bundle", &text(second.dir()), &other])?
        .ok()?;
    case.start()?;
    ensure_eq!(
        case.state_of(&other)?["status"],
        "created",
        "status of the second when the first was started"
    );
    case.run(&["delete", "--force", &other])?.ok()?;
    ensure_eq!(
        case.state()?["status"],
        "running",
        "status of the first when the second was deleted"
    );
    Ok(())
}

fn is_alive(pid: i64) -> bool {
    // A zombie that nobody has reaped yet is dead: state Z or X in proc_pid_stat(5).
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
