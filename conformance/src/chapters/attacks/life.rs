//! Filters, and ends at the wrong moment: T-36, T-37, T-40, T-41.

use super::{LIMIT, started};
use crate::case::{Case, text};
use crate::suite::{Check, Failure, Need, Test, ensure, ensure_eq, test};
use fixtures::{Answer, SeccompAgent};
use serde_json::{Value, json};
use std::process::{Command, Stdio};

const FILTER: &str = "order of privilege drop and filter";
const NOTIFY: &str = "a listener in the wrong hands";
const CRASH: &str = "leftovers of a killed runtime";
const REUSE: &str = "a process id that is somebody else's now";
/// Calls that a runtime makes to become the container's process.
const PRIVILEGED: [&str; 14] = [
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "setns",
    "unshare",
    "keyctl",
    "bpf",
    "sethostname",
    "mknodat",
    "open_tree",
    "move_mount",
    "fsopen",
    "mount_setattr",
];
/// ENOSYS, errno(3): what a call gets whose listener is gone.
const ENOSYS: i32 = 38;
/// System calls of the runtime at which it is killed.
const KILLED_AT: [u32; 10] = [20, 60, 100, 140, 180, 240, 320, 420, 560, 760];

/// The topic's tests.
pub(in super::super) const TESTS: &[Test] = &[
    test("t36-filter-against-the-runtime", FILTER, |case| {
        filtered(case, true, "SCMP_ACT_KILL_PROCESS")
    }),
    test("t36-filter-against-the-runtime-without-nnp", FILTER, |case| {
        filtered(case, false, "SCMP_ACT_KILL_PROCESS")
    }),
    test("t36-filter-against-close-range", FILTER, |case| {
        for nnp in [true, false] {
            let report = case.probe(&[], |config| {
                filter(config, &["close_range"], "SCMP_ACT_ERRNO");
                config["process"]["noNewPrivileges"] = nnp.into();
            })?;
            ensure_eq!(report.seccomp_mode, Some(2), "FELL: mode of seccomp");
            ensure_eq!(
                report.fds.keys().copied().collect::<Vec<_>>(),
                [0, 1, 2],
                "FELL: open descriptors {:?}",
                report.fds
            );
        }
        Ok(())
    }),
    test("t37-listener-is-the-agents-alone", NOTIFY, |case| {
        let _agent = SeccompAgent::listen(&case.dir().join("agent.sock"), Answer::Continue)?;
        let report = asking(case)?;
        ensure_eq!(
            report.fds.keys().copied().collect::<Vec<_>>(),
            [0, 1, 2],
            "FELL: open descriptors {:?}",
            report.fds
        );
        Ok(())
    }),
    test("t37-agent-dies", NOTIFY, |case| {
        let _agent = SeccompAgent::listen(&case.dir().join("agent.sock"), Answer::Nothing)?;
        let report = asking(case)?;
        // With a copy of the listener still open somewhere the call would wait for ever.
        ensure_eq!(
            report.mkdirs["/mnt/made"].errno,
            Some(ENOSYS),
            "FELL: errno of mkdir"
        );
        Ok(())
    }),
    test("t40-runtime-killed-in-create", CRASH, killed).needs(&[Need::Program("/usr/bin/strace")]),
    test("t41-process-id-used-again", REUSE, reused).needs(&[
        Need::Root("the test chooses process ids"),
        Need::Program("/usr/bin/unshare"),
        Need::Kernel(5, 3),
    ]),
];

fn filter(config: &mut Value, names: &[&str], action: &str) {
    config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": names, "action": action}]});
}

/// With the filter on, the runtime itself makes none of these calls: it would die of it.
fn filtered(case: &Case<'_>, nnp: bool, action: &str) -> Check {
    let report = case.probe(&[], |config| {
        filter(config, &PRIVILEGED, action);
        config["process"]["noNewPrivileges"] = nnp.into();
    })?;
    ensure_eq!(report.seccomp_mode, Some(2), "FELL: mode of seccomp");
    Ok(())
}

fn asking(case: &Case<'_>) -> Check<fixtures::Report> {
    case.probe(&["--try-mkdir", "/mnt/made"], |config| {
        filter(config, &["mkdir", "mkdirat"], "SCMP_ACT_NOTIFY");
        config["linux"]["seccomp"]["listenerPath"] = text(&case.dir().join("agent.sock")).into();
        config["root"]["readonly"] = false.into();
    })
}

/// Kills the runtime's main thread at several of its system calls; forced deletion clears whatever there is by then.
fn killed(case: &Case<'_>) -> Check {
    let bundle = case.bundle(&["/bin/sleep", "600"], |_| {})?;
    let mut kills = 0;
    for number in KILLED_AT {
        if case.time_left() < super::RESERVE {
            break;
        }
        let inner = case.command(&["create", "--bundle", &text(bundle.dir()), case.id()]);
        let mut command = Command::new("/usr/bin/strace");
        command
            .args(["-qq", "-o", "/dev/null", "-e"])
            .arg(format!("inject=all:signal=KILL:when={number}"))
            .arg(inner.get_program())
            .args(inner.get_args())
            .current_dir(case.dir())
            .stdin(Stdio::null());
        let finished = case
            .start_within(command, "create that is killed", LIMIT)?
            .finish()?;
        kills += u32::from(finished.code() != 0);
        let first = case.run(&["delete", "--force", case.id()])?;
        case.nothing_left().map_err(|failure| match failure {
            Failure::Failed(reason) => Failure::Failed(format!(
                "FELL: killed at call {number}, after delete --force (exit code {}): {reason}",
                first.code()
            )),
            skipped => skipped,
        })?;
        let second = started(case.run(&["delete", case.id()])?)?;
        ensure!(second.is_none(), "FELL: a second delete succeeded");
    }
    ensure!(kills > 0, "the runtime was never killed, so nothing was shown");
    case.note(format!("killed {kills} times"));
    Ok(())
}

/// In a pid namespace of the test's own, a bystander gets the id of a container that is dead.
fn reused(case: &Case<'_>) -> Check {
    if case.is_systemd() {
        let why = "systemd knows processes by their numbers outside of the test's pid namespace";
        return Err(Failure::Skipped(why.to_owned()));
    }
    let bundle = case.bundle(&["/bin/sleep", "600"], |_| {})?;
    let runtime = case.shell_words();
    let (dir, id) = (text(bundle.dir()), case.id());
    let script = format!(
        "{runtime} run --detach --bundle {dir} --pid-file {dir}/pid {id} </dev/null || exit 40
         pid=$(cat {dir}/pid); kill -9 $pid
         for n in 1 2 3 4 5 6 7 8 9 10; do [ -e /proc/$pid ] || break; sleep 0.1; done
         [ -e /proc/$pid ] && exit 41
         echo $((pid - 1)) >/proc/sys/kernel/ns_last_pid || exit 42
         sleep 30 & bystander=$!
         [ $bystander = $pid ] || exit 43
         {runtime} kill {id} KILL; {runtime} delete --force {id}
         kill -0 $bystander 2>/dev/null && [ \"$(cat /proc/$bystander/comm)\" = sleep ] && exit 0
         exit 44"
    );
    let mut command = Command::new("/usr/bin/unshare");
    command
        .args([
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "/bin/sh",
            "-c",
            &script,
        ])
        .current_dir(case.dir())
        .stdin(Stdio::null());
    let finished = case
        .start_within(command, "a reused process id", LIMIT)?
        .finish()?;
    match finished.code() {
        0 => Ok(()),
        40 => Err(Failure::Failed(format!(
            "no container was made in a pid namespace of the test's own: {}",
            finished.stderr.trim()
        ))),
        44 => Err(Failure::Failed(
            "FELL: a bystander with the container's old process id was killed".into(),
        )),
        code => super::skip(&format!(
            "the bystander did not get the process id (step {code}): {}",
            finished.stderr.trim()
        )),
    }
}
