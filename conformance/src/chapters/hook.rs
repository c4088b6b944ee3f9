//! Hooks: when, in which order, with which state, environment and namespaces, and what a failure does.
//!
//! Hooks of the host are shell lines that write into the test's folder; hooks of the container are busybox's shell and
//! write into its root file system.

use crate::case::{Case, text};
use crate::suite::{Check, Test, ensure, ensure_eq, test};
use fixtures::Bundle;
use serde_json::{Value, json};
use std::path::Path;

const ANCHOR: &str = "config.md#posix-platform-hooks";
const LIFE: &str = "runtime.md#lifecycle";

/// The kinds that run on the host, with the statuses that the state may show to them.
const ON_HOST: [(&str, &[&str]); 5] = [
    ("prestart", &["creating", "created"]),
    ("createRuntime", &["creating", "created"]),
    ("createContainer", &["creating", "created"]),
    ("poststart", &["running"]),
    ("poststop", &["stopped"]),
];

/// The topic's tests.
pub(crate) const TESTS: &[Test] = &[
    test("prestart-state", ANCHOR, |case| state_on_host(case, 0)),
    test("create-runtime-state", ANCHOR, |case| state_on_host(case, 1)),
    test("create-container-state", ANCHOR, |case| state_on_host(case, 2)),
    test("poststart-state", ANCHOR, |case| state_on_host(case, 3)),
    test("poststop-state", ANCHOR, |case| state_on_host(case, 4)),
    test("start-container-state", ANCHOR, |case| {
        let bundle = with_hooks(
            case,
            json!({"startContainer": [shell("cat > /mnt/state", Value::Null)]}),
        )?;
        case.try_run(&bundle)?.ok()?;
        let state: Value = serde_json::from_slice(&std::fs::read(bundle.rootfs().join("mnt/state"))?)?;
        ensure_eq!(state["status"], "created", "status in {state}");
        ensure_eq!(state["id"], case.id(), "id in {state}");
        Ok(())
    }),
    test("order-of-kinds", LIFE, order_of_kinds),
    test("order-within-a-kind", ANCHOR, |case| {
        let out = text(&case.dir().join("order"));
        let hooks: Vec<Value> = (1..=4)
            .map(|n| shell(&format!("echo {n} >> {out}"), Value::Null))
            .collect();
        let bundle = with_hooks(case, json!({"createRuntime": hooks}))?;
        case.try_run(&bundle)?.ok()?;
        ensure_eq!(
            std::fs::read_to_string(&out)?,
            "1\n2\n3\n4\n",
            "order of the hooks"
        );
        Ok(())
    }),
    test("create-runs-only-its-hooks", LIFE, |case| {
        let log = case.dir().join("log");
        let bundle = with_hooks(case, all_kinds(&log))?;
        case.create(&bundle)?;
        ensure_eq!(
            std::fs::read_to_string(&log)?,
            "prestart\ncreateRuntime\ncreateContainer\n",
            "hooks of create"
        );
        Ok(())
    }),
    test("poststop-runs-at-delete-not-at-exit", LIFE, |case| {
        let log = case.dir().join("log");
        let bundle = with_hooks(
            case,
            json!({"poststop": [shell(&format!("echo stop > {}", text(&log)), Value::Null)]}),
        )?;
        case.create(&bundle)?;
        case.start()?;
        case.wait_for("stopped")?;
        ensure!(!log.exists(), "poststop ran before delete");
        case.verb("delete")?;
        ensure!(log.exists(), "poststop did not run at delete");
        Ok(())
    }),
    test("poststop-runs-at-forced-delete", LIFE, |case| {
        let log = case.dir().join("log");
        let hooks = json!({"poststop": [shell(&format!("echo stop > {}", text(&log)), Value::Null)]});
        let bundle = with_hooks_and(case, &["/bin/sleep", "100"], hooks)?;
        case.run_detached(&bundle)?;
        case.run(&["delete", "--force", case.id()])?.ok()?;
        ensure!(log.exists(), "poststop did not run");
        Ok(())
    }),
    test("poststart-runs-after-the-program", LIFE, |case| {
        let out = text(&case.dir().join("seen"));
        // The runtime's process and the program have different names in /proc/PID/comm.
        let line =
            format!("pid=$(sed -n 's/.*\"pid\":\\s*\\([0-9]*\\).*/\\1/p'); cat /proc/$pid/comm > {out}");
        let hooks = json!({"poststart": [shell(&line, Value::Null)]});
        let bundle = with_hooks_and(case, &["/bin/sleep", "100"], hooks)?;
        case.run_detached(&bundle)?;
        ensure_eq!(
            std::fs::read_to_string(&out)?.trim(),
            "sleep",
            "process of the container when poststart runs"
        );
        Ok(())
    }),
    test("environment-is-exact", ANCHOR, |case| {
        let found = hook_env(case, json!(["A=1", "B=two words", "PATH=/usr/bin:/bin"]))?;
        ensure_eq!(
            found,
            "A=1\nB=two words\nPATH=/usr/bin:/bin\n",
            "environment of the hook"
        );
        Ok(())
    }),
    test("arguments-are-exact", ANCHOR, |case| {
        let out = text(&case.dir().join("args"));
        let line = format!("for a in \"$0\" \"$@\"; do echo \"<$a>\"; done > {out}");
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", line, "zero", "one two", ""]});
        let bundle = with_hooks(case, json!({"createRuntime": [hook]}))?;
        case.try_run(&bundle)?.ok()?;
        ensure_eq!(
            std::fs::read_to_string(&out)?,
            "<zero>\n<one two>\n<>\n",
            "arguments of the hook"
        );
        Ok(())
    }),
    test("path-alone-is-enough", ANCHOR, |case| {
        let script = case.dir().join("hook.sh");
        std::fs::write(
            &script,
            format!("#!/bin/sh\necho ran > {}\n", text(&case.dir().join("ran"))),
        )?;
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let bundle = with_hooks(case, json!({"createRuntime": [{"path": text(&script)}]}))?;
        case.try_run(&bundle)?.ok()?;
        ensure!(case.dir().join("ran").exists(), "the hook did not run");
        Ok(())
    }),
    test("create-runtime-is-in-the-runtimes-namespaces", ANCHOR, |case| {
        let seen = hook_namespaces(case, "createRuntime")?;
        let own = own_namespaces()?;
        ensure_eq!(seen, own, "mount and uts namespaces of the hook");
        Ok(())
    }),
    test(
        "create-container-is-in-the-containers-namespaces",
        ANCHOR,
        |case| {
            let seen = hook_namespaces(case, "createContainer")?;
            let own = own_namespaces()?;
            ensure!(
                seen.iter().zip(&own).all(|(seen, own)| seen != own),
                "namespaces of the runtime: {seen:?}"
            );
            Ok(())
        },
    ),
    test("start-container-sees-the-containers-root", ANCHOR, |case| {
        let bundle = with_hooks(
            case,
            json!({"startContainer": [shell("cat /etc/os-release > /mnt/seen", Value::Null)]}),
        )?;
        case.try_run(&bundle)?.ok()?;
        ensure_eq!(
            std::fs::read_to_string(bundle.rootfs().join("mnt/seen"))?,
            "ID=fixture\n",
            "/etc/os-release"
        );
        Ok(())
    }),
    test("create-container-can-mount", ANCHOR, |case| {
        let line = "mount -t tmpfs tmpfs $(sed -n 's/.*\"bundle\":\\s*\"\\([^\"]*\\).*/\\1/p')/rootfs/mnt";
        let hooks = json!({"createContainer": [shell(line, json!(["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]))]});
        let bundle = with_hooks_and(case, &["/bin/probe"], hooks)?;
        let report = case.probe_in(&bundle)?;
        ensure_eq!(
            report.mount("/mnt").map(|entry| entry.fs_type.as_str()),
            Some("tmpfs"),
            "mount made by the hook"
        );
        Ok(())
    }),
    test("failing-prestart", ANCHOR, |case| fails_create(case, "prestart")),
    test("failing-create-runtime", ANCHOR, |case| {
        fails_create(case, "createRuntime")
    }),
    test("failing-create-container", ANCHOR, |case| {
        fails_create(case, "createContainer")
    }),
    test("failing-start-container", ANCHOR, |case| {
        let bundle = with_hooks(case, json!({"startContainer": [shell("exit 5", Value::Null)]}))?;
        let finished = case.try_run(&bundle)?;
        ensure!(
            finished.code() != 0 && !finished.stderr.trim().is_empty(),
            "run succeeded, or failed without words"
        );
        ensure!(!bundle.rootfs().join("ran").exists(), "the program ran");
        case.nothing_left()
    }),
    // Specification 1.3: an error of poststart stops the container and is reported.
    test("failing-poststart", LIFE, |case| {
        let hooks = json!({"poststart": [shell("exit 5", Value::Null)]});
        let bundle = with_hooks_and(case, &["/bin/sleep", "100"], hooks)?;
        case.create(&bundle)?;
        let finished = case.run(&["start", case.id()])?;
        ensure!(finished.code() != 0, "start succeeded");
        let running = case.run(&["state", case.id()])?.stdout.contains("\"running\"");
        ensure!(!running, "the container runs on");
        Ok(())
    }),
    test("failing-poststop-is-a-warning", LIFE, |case| {
        let log = text(&case.dir().join("log"));
        let hooks = json!({"poststop": [shell("exit 5", Value::Null), shell(&format!("echo second > {log}"), Value::Null)]});
        let bundle = with_hooks(case, hooks)?;
        case.create(&bundle)?;
        case.start()?;
        case.wait_for("stopped")?;
        case.verb("delete")?;
        case.nothing_left()?;
        ensure!(
            Path::new(&log).exists(),
            "the hook after the failing one did not run"
        );
        Ok(())
    }),
    test("later-hooks-do-not-run-after-a-failure", ANCHOR, |case| {
        let log = text(&case.dir().join("log"));
        let hooks = json!({"createRuntime": [shell("exit 1", Value::Null), shell(&format!("echo no > {log}"), Value::Null)]});
        let bundle = with_hooks(case, hooks)?;
        case.refused(&bundle)?;
        ensure!(!Path::new(&log).exists(), "the hook after the failing one ran");
        Ok(())
    }),
    test("failed-create-runs-poststop", LIFE, |case| {
        let log = text(&case.dir().join("log"));
        let hooks = json!({"createRuntime": [shell("exit 1", Value::Null)],
                           "poststop": [shell(&format!("echo stop > {log}"), Value::Null)]});
        let bundle = with_hooks(case, hooks)?;
        case.refused(&bundle)?;
        ensure!(
            Path::new(&log).exists(),
            "poststop did not run after the failed create"
        );
        Ok(())
    }),
    test("timeout-ends-a-hook", ANCHOR, |case| {
        times_out(case, "exec sleep 30")
    }),
    // A child of the hook holds the hook's stdout open: reading it to its end must not outlast the timeout.
    // No peer passes: runc waits for the child, crun is in time but prints two lines where every refusal is one.
    test("timeout-ends-a-hook-with-children", ANCHOR, |case| {
        times_out(case, "sleep 30; true")
    }),
    test("timeout-not-reached", ANCHOR, |case| {
        let mut hook = shell("true", Value::Null);
        hook["timeout"] = 5.into();
        let bundle = with_hooks(case, json!({"createRuntime": [hook]}))?;
        case.try_run(&bundle)?.ok()?;
        Ok(())
    }),
    test("missing-program", ANCHOR, |case| {
        let bundle = with_hooks(case, json!({"createRuntime": [{"path": "/no/such/hook"}]}))?;
        case.refused(&bundle)?;
        Ok(())
    }),
    test("hook-need-not-read-its-stdin", ANCHOR, |case| {
        let hook = json!({"path": "/bin/true"});
        let bundle = case.bundle(&["/bin/true"], |config| {
            // Larger than a pipe's buffer: a runtime that waits for the write would hang.
            config["annotations"] = json!({"big": "x".repeat(200_000)});
            config["hooks"] = json!({"createRuntime": [hook]});
        })?;
        case.try_run(&bundle)?.ok()?;
        Ok(())
    }),
];

/// A hook that runs a shell line; `env` null leaves the environment out.
fn shell(line: &str, env: Value) -> Value {
    let env = if env.is_null() {
        json!(["PATH=/usr/bin:/bin"])
    } else {
        env
    };
    json!({"path": "/bin/sh", "args": ["sh", "-c", line], "env": env})
}

fn with_hooks(case: &Case<'_>, hooks: Value) -> Check<Bundle> {
    with_hooks_and(case, &["/bin/touch", "/ran"], hooks)
}

fn with_hooks_and(case: &Case<'_>, args: &[&str], hooks: Value) -> Check<Bundle> {
    case.bundle(args, |config| {
        config["root"]["readonly"] = false.into();
        config["annotations"] = json!({"com.example.key": "value"});
        config["hooks"] = hooks;
    })
}

/// Every kind appends its name to `log`; startContainer does so inside, in /mnt/log.
fn all_kinds(log: &Path) -> Value {
    let mut hooks = json!({"startContainer": [shell("echo startContainer > /mnt/log", Value::Null)]});
    for (kind, _) in ON_HOST {
        hooks[kind] = json!([shell(&format!("echo {kind} >> {}", text(log)), Value::Null)]);
    }
    hooks
}

fn state_on_host(case: &Case<'_>, which: usize) -> Check {
    let (kind, statuses) = ON_HOST[which];
    let out = case.dir().join("state");
    let bundle = with_hooks(
        case,
        json!({ kind: [shell(&format!("cat > {}", text(&out)), Value::Null)] }),
    )?;
    case.create(&bundle)?;
    let pid = case.pid()?;
    case.start()?;
    case.wait_for("stopped")?;
    case.verb("delete")?;
    let state: Value = serde_json::from_slice(&std::fs::read(&out)?)?;
    let status = state["status"].as_str().unwrap_or_default();
    ensure!(
        statuses.contains(&status),
        "status {status:?} in {kind}, expected one of {statuses:?}"
    );
    ensure_eq!(state["id"], case.id(), "id in {state}");
    ensure_eq!(state["bundle"], text(bundle.dir()).as_str(), "bundle in {state}");
    ensure_eq!(
        state["annotations"]["com.example.key"],
        "value",
        "annotation in {state}"
    );
    ensure!(state["ociVersion"].is_string(), "ociVersion in {state}");
    match kind {
        "poststop" => {}
        // Seen from its own pid namespace the program is process 1; runtimes give either number.
        "createContainer" => ensure!(
            [Some(1), Some(pid)].contains(&state["pid"].as_i64()),
            "pid in {state}"
        ),
        _ => ensure_eq!(state["pid"].as_i64(), Some(pid), "pid in {state}"),
    }
    Ok(())
}

fn order_of_kinds(case: &Case<'_>) -> Check {
    let log = case.dir().join("log");
    let bundle = with_hooks(case, all_kinds(&log))?;
    case.create(&bundle)?;
    case.start()?;
    case.wait_for("stopped")?;
    case.verb("delete")?;
    let wanted = "prestart\ncreateRuntime\ncreateContainer\npoststart\npoststop\n";
    ensure_eq!(
        std::fs::read_to_string(&log)?,
        wanted,
        "order of hooks on the host"
    );
    ensure!(
        bundle.rootfs().join("mnt/log").exists(),
        "startContainer did not run"
    );
    Ok(())
}

fn hook_env(case: &Case<'_>, env: Value) -> Check<String> {
    let out = case.dir().join("env");
    // What execve(2) was given, before the shell adds its own.
    let hook = shell(
        &format!("tr '\\0' '\\n' < /proc/$$/environ > {}", text(&out)),
        env,
    );
    let bundle = with_hooks(case, json!({"createRuntime": [hook]}))?;
    case.try_run(&bundle)?.ok()?;
    Ok(std::fs::read_to_string(out)?)
}

fn hook_namespaces(case: &Case<'_>, kind: &str) -> Check<Vec<String>> {
    let out = case.dir().join("ns");
    let line = format!("readlink /proc/self/ns/mnt /proc/self/ns/uts > {}", text(&out));
    let bundle = with_hooks(case, json!({ kind: [shell(&line, Value::Null)] }))?;
    case.try_run(&bundle)?.ok()?;
    Ok(std::fs::read_to_string(out)?.lines().map(str::to_owned).collect())
}

fn own_namespaces() -> Check<Vec<String>> {
    let read = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).map(|link| text(&link));
    Ok(vec![read("mnt")?, read("uts")?])
}

fn times_out(case: &Case<'_>, line: &str) -> Check {
    let mut hook = shell(line, Value::Null);
    hook["timeout"] = 1.into();
    let bundle = with_hooks(case, json!({"createRuntime": [hook]}))?;
    let begin = std::time::Instant::now();
    case.refused(&bundle)?;
    // Whoever waits for the hook or its child needs the 30 s that they sleep; a slow machine does not.
    ensure!(
        begin.elapsed().as_secs() < 25,
        "create took {:?} with a timeout of 1 s",
        begin.elapsed()
    );
    Ok(())
}

fn fails_create(case: &Case<'_>, kind: &str) -> Check {
    let bundle = with_hooks(
        case,
        json!({ kind: [shell("echo why-it-failed >&2; exit 5", Value::Null)] }),
    )?;
    case.refused(&bundle)?;
    case.run(&["state", case.id()])?.refused()?;
    Ok(())
}
