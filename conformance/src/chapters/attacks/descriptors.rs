//! Descriptors of the host, kept or reached: T-10, T-11, T-12.

use super::{LIMIT, MARKER, Outside, WORD, started};
use crate::case::{Case, text};
use crate::command::Finished;
use crate::suite::{Check, Test, ensure, ensure_eq, test};
use fixtures::Bundle;
use std::process::Command;

const LEAK: &str = "CVE-2024-21626, CVE-2016-9962";
/// Descriptors that the caller leaves open; a shell can name those of one digit.
const LEAKED: std::ops::RangeInclusive<u32> = 3..=9;
/// Numbers that a runtime's own descriptors may have.
const TRIED: [u32; 7] = [3, 5, 6, 7, 8, 9, 11];

/// The topic's tests.
pub(in super::super) const TESTS: &[Test] = &[
    test("t10-cwd-is-a-descriptor", LEAK, |case| {
        for path in paths() {
            let bundle = cwd_bundle(case, &path)?;
            inside(&path, with_leaks(case, &bundle)?)?;
        }
        Ok(())
    }),
    test("t10-cwd-of-exec-is-a-descriptor", LEAK, |case| {
        let outside = Outside::new(case)?;
        let bundle = case.bundle(&["/bin/sleep", "600"], |_| {})?;
        case.run_detached(&bundle)?;
        let script = read_marker(&outside);
        for path in paths() {
            let line = leaking(
                case,
                &format!("exec --cwd {path} {} /bin/sh -c '{script}'", case.id()),
            );
            let finished = case.start_within(shell(&line), "exec", LIMIT)?.finish()?;
            inside(&path, finished)?;
        }
        Ok(())
    }),
    test("t10-cwd-becomes-a-link-before-start", LEAK, |case| {
        let outside = Outside::new(case)?;
        let script = read_marker(&outside);
        let bundle = case.bundle(&["/bin/sh", "-c", &script], |config| {
            config["process"]["cwd"] = "/work".into()
        })?;
        std::fs::create_dir(bundle.rootfs().join("work"))?;
        case.create(&bundle)?;
        std::fs::remove_dir(bundle.rootfs().join("work"))?;
        std::os::unix::fs::symlink("/proc/self/fd/3", bundle.rootfs().join("work"))?;
        inside("/work", case.run(&["start", case.id()])?)
    }),
    test("t11-program-below-a-descriptor", LEAK, |case| {
        let outside = Outside::new(case)?;
        let busybox = fixtures::rootfs::host_busybox()?;
        std::fs::copy(busybox, outside.dir().join("busybox"))?;
        for number in TRIED {
            for process in ["self", "1", "thread-self"] {
                let program = format!("/proc/{process}/fd/{number}/busybox");
                let bundle = case.bundle(&[&program, "echo", WORD], |_| {})?;
                let finished = with_leaks_of(case, &bundle, &text(outside.dir()))?;
                ensure!(
                    !finished.stdout.contains(WORD),
                    "FELL: a program of the host ran as {program}"
                );
            }
        }
        Ok(())
    }),
    test("t11-program-is-the-runtime-itself", LEAK, |case| {
        for program in ["/proc/self/exe", "/proc/1/exe"] {
            let bundle = case.bundle(&[program, "--version"], |_| {})?;
            let finished = with_leaks(case, &bundle)?;
            ensure!(
                !finished.stdout.contains("version"),
                "FELL: the runtime ran as the container's program, as {program}: {:?}",
                finished.stdout
            );
        }
        Ok(())
    }),
    test("t12-no-descriptor-is-left", LEAK, |case| {
        let bundle = case.bundle(&["/bin/probe"], |_| {})?;
        let report = crate::case::parse(&with_leaks(case, &bundle)?.ok()?.stdout)?;
        ensure_eq!(
            report.fds.keys().copied().collect::<Vec<_>>(),
            [0, 1, 2],
            "FELL: open descriptors {:?}",
            report.fds
        );
        Ok(())
    }),
    test("t12-no-descriptor-is-left-in-exec", LEAK, |case| {
        let bundle = case.bundle(&["/bin/sleep", "600"], |_| {})?;
        case.run_detached(&bundle)?;
        let line = leaking(case, &format!("exec {} /bin/probe", case.id()));
        let finished = case.start_within(shell(&line), "exec", LIMIT)?.finish()?.ok()?;
        let report = crate::case::parse(&finished.stdout)?;
        ensure_eq!(
            report.fds.keys().copied().collect::<Vec<_>>(),
            [0, 1, 2],
            "FELL: open descriptors {:?}",
            report.fds
        );
        Ok(())
    }),
];

fn paths() -> Vec<String> {
    let numbers = TRIED
        .iter()
        .flat_map(|number| [format!("/proc/self/fd/{number}"), format!("/proc/1/fd/{number}")]);
    numbers.chain(["/proc/self/cwd/..".to_owned()]).collect()
}

/// A script that reads the marker of the host from wherever it stands.
fn read_marker(outside: &Outside) -> String {
    let path = text(&outside.dir().join("marker"));
    format!("pwd -P; cat ../../../../../../../../../..{path} ..{path} .{path}; exit 0")
}

fn cwd_bundle(case: &Case<'_>, cwd: &str) -> Check<Bundle> {
    let outside = Outside::new(case)?;
    case.bundle(&["/bin/sh", "-c", &read_marker(&outside)], |config| {
        config["process"]["cwd"] = cwd.into()
    })
}

fn inside(path: &str, finished: Finished) -> Check {
    let Some(finished) = started(finished)? else {
        return Ok(());
    };
    ensure!(
        !finished.stdout.contains(MARKER) && !finished.stdout.contains("(unreachable)"),
        "FELL: with the working directory {path} the host is in reach: {:?}",
        finished.stdout
    );
    Ok(())
}

fn with_leaks(case: &Case<'_>, bundle: &Bundle) -> Check<Finished> {
    with_leaks_of(case, bundle, "/")
}

/// `run` by a caller that leaves descriptors of a folder of the host open.
fn with_leaks_of(case: &Case<'_>, bundle: &Bundle, folder: &str) -> Check<Finished> {
    let args = format!("run --bundle {} {}", text(bundle.dir()), case.id());
    let line = leaking_of(case, &args, folder);
    case.start_within(shell(&line), "run with leaked descriptors", LIMIT)?
        .finish()
}

fn leaking(case: &Case<'_>, args: &str) -> String {
    leaking_of(case, args, "/")
}

fn leaking_of(case: &Case<'_>, args: &str, folder: &str) -> String {
    let opened: String = LEAKED.map(|number| format!(" {number}<{folder}")).collect();
    format!("exec{opened}; exec {} {args}", case.shell_words())
}

fn shell(line: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", line]).stdin(std::process::Stdio::null());
    command
}
