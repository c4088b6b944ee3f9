//! Standard streams, terminals, and descriptors that are passed on or not.

use crate::case::{Case, text};
use crate::suite::{Check, Failure, Need, Test, ensure, ensure_eq, test};
use fixtures::console::ConsoleReceiver;
use fixtures::{Bundle, Report};
use serde_json::{Value, json};
use std::process::Command;

/// The topic's tests.
pub(crate) const TESTS: &[Test] = &[
    test("stdout-and-stderr-are-apart", "config.md#process", |case| {
        let bundle = case.bundle(&["/bin/sh", "-c", "echo to-out; echo to-err >&2"], |_| {})?;
        let finished = case.try_run(&bundle)?.ok()?;
        ensure_eq!(finished.stdout, "to-out\n", "stdout of run");
        ensure_eq!(finished.stderr, "to-err\n", "stderr of run");
        Ok(())
    }),
    test("stdin-reaches-the-program", "config.md#process", |case| {
        let input = case.dir().join("input");
        std::fs::write(&input, "first\nsecond\n")?;
        let bundle = case.bundle(&["/bin/probe", "echo-stdin"], |_| {})?;
        let mut command = case.command(&["run", "--bundle", &text(bundle.dir()), case.id()]);
        command.stdin(std::fs::File::open(&input)?);
        let finished = case.start_command(command, "run")?.finish()?.ok()?;
        ensure_eq!(
            finished.stdout,
            "first\nsecond\neof after 13 bytes\n",
            "what the program read"
        );
        Ok(())
    }),
    test("stdin-ends-when-the-caller-closes", "config.md#process", |case| {
        let bundle = case.bundle(&["/bin/probe", "echo-stdin"], |_| {})?;
        let line = format!(
            "echo piped | {} run --bundle {} {}",
            case.shell_words(),
            text(bundle.dir()),
            case.id()
        );
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &line]);
        let finished = case.start_command(command, "echo | run")?.finish()?.ok()?;
        ensure_eq!(
            finished.stdout,
            "piped\neof after 6 bytes\n",
            "what the program read"
        );
        Ok(())
    }),
    test("create-passes-its-stdio", "runtime.md#create", |case| {
        let bundle = case.bundle(&["/bin/echo", "from the program"], |_| {})?;
        let out = case.create(&bundle)?.stdout_file;
        case.start()?;
        case.wait_for("stopped")?;
        ensure_eq!(
            std::fs::read_to_string(out)?,
            "from the program\n",
            "stdout given to create"
        );
        Ok(())
    }),
    test("no-terminal-unless-asked", "config.md#process", |case| {
        let report = case.probe(&[], |_| {})?;
        ensure!(
            report.tty.iter().all(|tty| !tty.is_tty),
            "terminals {:?}",
            report.tty
        );
        Ok(())
    }),
    test("console-socket-gets-the-terminal", "config.md#process", |case| {
        let report = on_console(case, |_| {})?;
        ensure!(
            report.tty.len() == 3 && report.tty.iter().all(|tty| tty.is_tty),
            "terminals {:?}",
            report.tty
        );
        Ok(())
    }),
    test(
        "console-is-the-controlling-terminal",
        "config.md#process",
        |case| {
            let report = on_console(case, |config| {
                config["process"]["args"] =
                    json!(["/bin/probe", "--read", "/dev/tty", "--stat", "/dev/console"]);
            })?;
            // Opening /dev/tty fails with ENXIO without a controlling terminal; with one, a read has nothing yet (EAGAIN).
            ensure!(
                report.reads["/dev/tty"].errno != Some(6),
                "no controlling terminal: {:?}",
                report.reads
            );
            ensure_eq!(report.stats["/dev/console"].kind, "char", "/dev/console");
            ensure!(
                report.mount("/dev/console").is_some(),
                "nothing is mounted on /dev/console"
            );
            Ok(())
        },
    ),
    test("console-size", "config.md#process", |case| {
        let report = on_console(case, |config| {
            config["process"]["consoleSize"] = json!({"height": 33, "width": 111});
        })?;
        ensure_eq!(
            (report.tty[0].rows, report.tty[0].columns),
            (33, 111),
            "rows and columns"
        );
        Ok(())
    }),
    test(
        "console-size-without-terminal-is-ignored",
        "config.md#process",
        |case| {
            case.probe(&[], |config| {
                config["process"]["consoleSize"] = json!({"height": 33, "width": 111})
            })?;
            Ok(())
        },
    ),
    test("terminal-belongs-to-the-user", "config.md#process", |case| {
        let report = on_console(case, |config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            config["process"]["args"] = json!(["/bin/probe", "--try-write", "/proc/self/fd/0"]);
        })?;
        ensure!(
            report.writes["/proc/self/fd/0"].ok,
            "the user cannot open its own terminal: {:?}",
            report.writes
        );
        Ok(())
    })
    .needs(&[Need::Ids]),
    test("terminal-without-console-socket-is-refused", "cli", |case| {
        let bundle = case.bundle(&["/bin/true"], |config| {
            config["process"]["terminal"] = true.into()
        })?;
        case.refused(&bundle)?;
        Ok(())
    }),
    test("console-socket-missing-is-refused", "cli", |case| {
        let bundle = case.bundle(&["/bin/true"], |config| {
            config["process"]["terminal"] = true.into()
        })?;
        let socket = text(&case.dir().join("nobody"));
        case.run(&[
            "create",
            "--console-socket",
            &socket,
            "-b",
            &text(bundle.dir()),
            case.id(),
        ])?
        .refused()?;
        case.nothing_left()
    }),
    test("preserved-fds-stay-open", "cli", |case| {
        let bundle = case.bundle(&["/bin/probe"], |_| {})?;
        let report = with_fds(case, &bundle, "--preserve-fds 2", "3</etc/passwd 4</etc/group")?;
        ensure_eq!(
            report.fds.keys().copied().collect::<Vec<_>>(),
            [0, 1, 2, 3, 4],
            "open descriptors"
        );
        ensure!(
            report.fds[&3].ends_with("/etc/passwd"),
            "descriptor 3 is {}",
            report.fds[&3]
        );
        Ok(())
    }),
    test("other-fds-are-closed", "config.md#process", |case| {
        let bundle = case.bundle(&["/bin/probe"], |_| {})?;
        let report = with_fds(case, &bundle, "", "3</etc/passwd 7</etc/group")?;
        ensure_eq!(
            report.fds.keys().copied().collect::<Vec<_>>(),
            [0, 1, 2],
            "open descriptors {:?}",
            report.fds
        );
        Ok(())
    }),
    test("fds-beyond-the-preserved-are-closed", "cli", |case| {
        let bundle = case.bundle(&["/bin/probe"], |_| {})?;
        let report = with_fds(case, &bundle, "--preserve-fds 1", "3</etc/passwd 4</etc/group")?;
        ensure_eq!(
            report.fds.keys().copied().collect::<Vec<_>>(),
            [0, 1, 2, 3],
            "open descriptors {:?}",
            report.fds
        );
        Ok(())
    }),
    // No peer passes: runc refuses and leaves the container's folder behind, crun passes over the gap silently, so
    // that the program finds other numbers than it was promised. A failed operation must leave nothing.
    test("preserved-fd-that-is-closed-is-refused", "cli", |case| {
        let bundle = case.bundle(&["/bin/probe"], |_| {})?;
        let finished = fds_command(case, &bundle, "--preserve-fds 60", "3</etc/passwd")?;
        ensure!(
            finished.code() != 0,
            "run with a closed descriptor in the range succeeded"
        );
        case.nothing_left()
    }),
    test("listen-fds-are-passed", "cli", |case| {
        let bundle = case.bundle(&["/bin/probe"], |_| {})?;
        let report = with_fds(case, &bundle, "", "3</etc/passwd LISTEN")?;
        ensure_eq!(report.env_values("LISTEN_FDS"), ["1"], "LISTEN_FDS");
        ensure_eq!(report.env_values("LISTEN_PID"), ["1"], "LISTEN_PID");
        ensure!(report.fds.contains_key(&3), "open descriptors {:?}", report.fds);
        Ok(())
    }),
];

/// Creates and starts the probe on a terminal and reads its report from there.
fn on_console(case: &Case<'_>, edit: impl FnOnce(&mut Value)) -> Check<Report> {
    let bundle = case.bundle(&["/bin/probe"], |config| {
        config["process"]["terminal"] = true.into();
        edit(config);
    })?;
    let receiver = ConsoleReceiver::bind(&case.dir().join("console"))?;
    let socket = text(receiver.path());
    case.run(&[
        "create",
        "--console-socket",
        &socket,
        "-b",
        &text(bundle.dir()),
        case.id(),
    ])?
    .ok()?;
    let console = receiver.receive(case.time_left())?;
    case.start()?;
    // The brace of the report itself: those within are indented, and a read may end behind one.
    let said = console.read_until(case.time_left(), |text| {
        text.ends_with("\n}\r\n") || text.ends_with("\n}\n")
    })?;
    serde_json::from_str(&said.replace("\r\n", "\n"))
        .map_err(|error| Failure::Failed(format!("no report on the terminal ({error}): {said:?}")))
}

fn with_fds(case: &Case<'_>, bundle: &Bundle, options: &str, redirections: &str) -> Check<Report> {
    crate::case::parse(&fds_command(case, bundle, options, redirections)?.ok()?.stdout)
}

/// Runs the bundle with descriptors opened by a shell; the word LISTEN adds socket activation's variables.
fn fds_command(
    case: &Case<'_>,
    bundle: &Bundle,
    options: &str,
    redirections: &str,
) -> Check<crate::command::Finished> {
    let listen = if redirections.contains("LISTEN") {
        "LISTEN_FDS=1 LISTEN_PID=$$ "
    } else {
        ""
    };
    let line = format!(
        "exec {}; export PATH {}; exec {} run {options} --bundle {} {}",
        redirections.replace("LISTEN", ""),
        listen,
        case.shell_words(),
        text(bundle.dir()),
        case.id()
    );
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &line]);
    case.start_command(command, &format!("run {options} with {redirections}"))?
        .finish()
}
