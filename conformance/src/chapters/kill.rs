//! Signals: which containers take them, and under which names.

use crate::case::Case;
use crate::suite::{Check, Test, ensure, ensure_eq, test};

/// The topic's tests.
pub(crate) const TESTS: &[Test] = &[
    test("kill-default-is-term", "runtime.md#kill", |case| {
        arrives(case, &[], "SIGTERM")
    }),
    test("kill-by-name", "runtime.md#kill", |case| {
        arrives(case, &["SIGUSR1"], "SIGUSR1")
    }),
    test("kill-by-name-without-sig", "cli", |case| {
        arrives(case, &["USR2"], "SIGUSR2")
    }),
    test("kill-by-lower-case-name", "cli", |case| {
        arrives(case, &["hup"], "SIGHUP")
    }),
    test("kill-by-number", "cli", |case| arrives(case, &["2"], "SIGINT")),
    test("kill-all-option-is-accepted", "cli", |case| {
        waiting(case)?;
        case.run(&["kill", "--all", case.id(), "KILL"])?.ok()?;
        case.wait_for("stopped")
    }),
    test("kill-ignored-signal-keeps-running", "runtime.md#kill", |case| {
        let bundle = case.bundle(&["/bin/probe", "ignore-term"], |_| {})?;
        let out = case.run_detached(&bundle)?;
        case.until("the probe is ready", || {
            Ok(std::fs::read_to_string(&out.stdout_file)?.contains("ready"))
        })?;
        case.run(&["kill", case.id(), "TERM"])?.ok()?;
        std::thread::sleep(std::time::Duration::from_millis(100));
        ensure_eq!(
            case.state()?["status"],
            "running",
            "status after a signal that the program ignores"
        );
        Ok(())
    }),
    test("kill-created", "runtime.md#kill", |case| {
        let bundle = case.bundle(&["/bin/true"], |_| {})?;
        case.create(&bundle)?;
        case.kill_and_wait()
    }),
    test("kill-stopped-is-refused", "runtime.md#kill", |case| {
        let bundle = case.bundle(&["/bin/true"], |_| {})?;
        case.create(&bundle)?;
        case.kill_and_wait()?;
        let refused = case.run(&["kill", case.id(), "TERM"])?.refused()?;
        // Shims tell "has ended" from other failures by these words.
        let text = refused.stderr.to_lowercase();
        let known = ["not running", "no such process", "does not exist"];
        ensure!(
            known.iter().any(|words| text.contains(words)),
            "stderr has none of {known:?}: {text:?}"
        );
        Ok(())
    }),
    test("kill-unknown-id-is-refused", "runtime.md#kill", |case| {
        let text = case.run(&["kill", case.id(), "TERM"])?.refused()?.stderr;
        ensure!(
            text.contains("does not exist"),
            "stderr should say that it does not exist: {text:?}"
        );
        Ok(())
    }),
    test("kill-unknown-signal-is-refused", "cli", |case| {
        waiting(case)?;
        for signal in ["SIGFOO", "999", "12x"] {
            case.run(&["kill", case.id(), signal])?.refused()?;
        }
        ensure_eq!(case.state()?["status"], "running", "status after refused signals");
        Ok(())
    }),
    test("kill-ends-all-processes", "runtime.md#kill", |case| {
        let bundle = case.bundle(&["/bin/sh", "-c", "sleep 100 & sleep 100"], |_| {})?;
        case.run_detached(&bundle)?;
        case.kill_and_wait()?;
        case.verb("delete")?;
        case.nothing_left()
    }),
    test(
        "kill-reaches-a-process-without-its-first-thread",
        "runtime.md#kill",
        first_thread,
    ),
    // Without a pid namespace nothing but the cgroup ties the processes together.
    test(
        "kill-ends-all-without-pid-namespace",
        "runtime.md#delete",
        |case| {
            let script = "sleep 100 & echo ready; sleep 100";
            let bundle = case.bundle(&["/bin/sh", "-c", script], |config| {
                case.who().inherit(config, "pid")
            })?;
            let out = case.run_detached(&bundle)?;
            case.until("the script is ready", || {
                Ok(std::fs::read_to_string(&out.stdout_file)?.contains("ready"))
            })?;
            case.run(&["delete", "--force", case.id()])?.ok()?;
            case.nothing_left()
        },
    ),
];

/// proc_pid_stat(5) calls a process a zombie whose first thread has ended; it lives on in the others, and `stopped` would say
/// that there is nothing left to kill.
fn first_thread(case: &Case<'_>) -> Check {
    let bundle = case.bundle(&["/bin/probe", "leave-first-thread"], |_| {})?;
    let out = case.run_detached(&bundle)?.stdout_file;
    let running = || -> Check<String> {
        let state = case.state()?;
        ensure_eq!(
            state["status"],
            "running",
            "status of a process without its first thread"
        );
        Ok(state["pid"].to_string())
    };
    case.until("the first thread has ended and the second says so", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", running()?))?;
        Ok(stat.contains(") Z ") && std::fs::read_to_string(&out)?.contains("ready"))
    })?;
    running()?;
    let refused = case
        .run(&["exec", case.id(), "/bin/probe", "exit", "0"])?
        .refused()?;
    // Engines tell from these words that the program is missing.
    ensure!(
        !refused.stderr.contains("no such file"),
        "exec should name the container's state: {:?}",
        refused.stderr
    );
    case.kill_and_wait()?;
    case.verb("delete")?;
    case.nothing_left()
}

/// Runs a container that tells the first signal; it waits for signals when this returns.
fn waiting(case: &Case<'_>) -> Check<std::path::PathBuf> {
    let bundle = case.bundle(&["/bin/probe", "wait-signal"], |_| {})?;
    let out = case.run_detached(&bundle)?.stdout_file;
    case.until("the probe is ready", || {
        Ok(std::fs::read_to_string(&out)?.contains("ready"))
    })?;
    Ok(out)
}

fn arrives(case: &Case<'_>, signal: &[&str], name: &str) -> Check {
    let out = waiting(case)?;
    let args: Vec<&str> = ["kill", case.id()]
        .into_iter()
        .chain(signal.iter().copied())
        .collect();
    case.run(&args)?.ok()?;
    case.wait_for("stopped")?;
    let told = std::fs::read_to_string(&out)?;
    ensure_eq!(told.lines().last(), Some(name), "signal that the program got");
    Ok(())
}
