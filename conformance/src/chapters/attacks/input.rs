//! Input that is large, deep or written to be read as something else: T-15, T-38, T-39.

use super::{LIMIT, attack, started};
use crate::case::{Case, text};
use crate::command::Finished;
use crate::suite::{Check, Failure, Need, Test, ensure, ensure_eq, test};
use fixtures::config;
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::time::Duration;

const MESSAGE: &str = "CVE-2021-43784";
const LOG: &str = "log injection, CWE-117";
const EXHAUST: &str = "exhaustion, CWE-400";
/// What an attacker would have read as lines of their own.
const FORGED: &str =
    "x\n{\"level\":\"info\",\"msg\":\"forged\"}\n\u{1b}[2Jtime=\"now\" level=info msg=forged";
/// Extents that user_namespaces(7) allows in a map.
const EXTENTS: u32 = 340;

/// The topic's tests.
pub(in super::super) const TESTS: &[Test] = &[
    test("t15-large-environment", MESSAGE, |case| {
        let report = case.probe(&[], |config| {
            let mut env: Vec<String> = (0..20_000).map(|n| format!("V{n}={n}")).collect();
            env.insert(0, "PATH=/bin".into());
            config["process"]["env"] = json!(env);
        })?;
        let count = report.env.iter().filter(|entry| entry.starts_with('V')).count();
        ensure_eq!(count, 20_000, "FELL: variables that came through");
        own_namespaces(&report)
    }),
    test("t15-longest-id-maps", MESSAGE, |case| {
        let report = case.probe(&[], |config| {
            config::add_user_namespace(config, 100_000, 1);
            for key in ["uidMappings", "gidMappings"] {
                let map =
                    (0..EXTENTS).map(|n| json!({"containerID": n, "hostID": 100_000 + 2 * n, "size": 1}));
                config["linux"][key] = map.collect::<Vec<_>>().into();
            }
            config["root"]["readonly"] = false.into();
        });
        // What is refused is no finding: not every kernel and runtime takes as many.
        let Ok(report) = report else { return Ok(()) };
        ensure_eq!(report.uid_map.len(), 340, "FELL: lines of the id map");
        own_namespaces(&report)
    })
    .needs(&[Need::Root("the maps name many ids of the host")]),
    test("t15-long-cgroup-path", MESSAGE, |case| {
        let report = case.probe(&[], |config| {
            let path = format!(
                "{}/{}",
                config["linux"]["cgroupsPath"].as_str().unwrap_or("/"),
                "a".repeat(65_535)
            );
            config["linux"]["cgroupsPath"] = path.into();
        });
        report.map_or(Ok(()), |report| own_namespaces(&report))
    })
    .needs(&[Need::OwnCgroup]),
    test("t15-long-hostname-and-annotation", MESSAGE, |case| {
        for edit in [
            |config: &mut Value| config["hostname"] = "h".repeat(70_000).into(),
            |config: &mut Value| config["annotations"] = json!({"a": "b".repeat(70_000)}),
        ] {
            let bundle = case.bundle(&["/bin/probe"], edit)?;
            if let Some(finished) = attack(case, &bundle)? {
                own_namespaces(&crate::case::parse(&finished.stdout)?)?;
            }
        }
        Ok(())
    }),
    test("t38-program-name-in-the-json-log", LOG, |case| {
        log_of(case, "json", FORGED)
    }),
    test("t38-program-name-in-the-text-log", LOG, |case| {
        log_of(case, "text", FORGED)
    }),
    test("t38-id-in-the-json-log", LOG, |case| {
        let log = case.dir().join("log");
        let mut command = case.command(&["--log", &text(&log), "--log-format", "json", "state", FORGED]);
        command.stdin(Stdio::null());
        started(case.start_within(command, "state", LIMIT)?.finish()?)?;
        lines_are_whole(&log, "json")
    }),
    test("t38-hook-output-in-the-json-log", LOG, |case| {
        let log = case.dir().join("log");
        let bundle = case.bundle(&["/bin/true"], |config| {
            let script = "printf 'x\\n{\"level\":\"info\",\"msg\":\"forged\"}\\n\\033[2J\\n' >&2; exit 1";
            config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
        })?;
        let dir = text(bundle.dir());
        let args = [
            "--log",
            &text(&log),
            "--log-format",
            "json",
            "create",
            "--bundle",
            &dir,
            case.id(),
        ];
        started(
            case.start_within(case.command(&args), "create", LIMIT)?
                .finish()?,
        )?;
        lines_are_whole(&log, "json")
    }),
    test("t39-deep-configuration", EXHAUST, |case| {
        let bundle = case.bundle(&["/bin/true"], |_| {})?;
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let text = serde_json::to_string(bundle.config())?;
        std::fs::write(
            bundle.config_path(),
            text.replacen('{', &format!("{{\"deep\":{deep},"), 1),
        )?;
        attack(case, &bundle).map(|_| ())
    }),
    test("t39-large-configuration", EXHAUST, |case| {
        let bundle = case.bundle(&["/bin/true"], |config| {
            config["annotations"] = json!({"a": "b".repeat(40 << 20)});
        })?;
        attack(case, &bundle).map(|_| ())
    }),
    test("t39-many-annotations", EXHAUST, |case| {
        let bundle = case.bundle(&["/bin/true"], |config| {
            let all = (0..10_000).map(|n| (format!("k{n}"), Value::from("v")));
            config["annotations"] = all.collect::<serde_json::Map<_, _>>().into();
        })?;
        attack(case, &bundle).map(|_| ())
    }),
    test("t39-hook-that-prints-for-ever", EXHAUST, |case| {
        let bundle = case.bundle(&["/bin/true"], |config| {
            config["hooks"] = json!({"createRuntime": [{"path": "/usr/bin/yes", "timeout": 1}]});
        })?;
        let dir = text(bundle.dir());
        let finished = limited(case, "--as=4294967296", &["create", "--bundle", &dir, case.id()])?;
        ensure!(
            finished.code() != 0,
            "FELL: a hook that never ends was waited for"
        );
        ensure!(
            finished.stderr.len() < 200_000,
            "FELL: {} bytes of a hook's output were kept",
            finished.stderr.len()
        );
        Ok(())
    })
    .needs(&[Need::Program("/usr/bin/prlimit"), Need::Program("/usr/bin/yes")]),
    test("t39-few-descriptors", EXHAUST, |case| {
        let bundle = case.bundle(&["/bin/true"], |_| {})?;
        let dir = text(bundle.dir());
        for count in [64, 16, 8] {
            let limit = format!("--nofile={count}");
            started(limited(case, &limit, &["run", "--bundle", &dir, case.id()])?)?;
            // A runtime may die of it; what it leaves is what counts.
            case.run(&["delete", "--force", case.id()])?;
        }
        case.nothing_left()
    })
    .needs(&[Need::Program("/usr/bin/prlimit")]),
];

/// The kinds that the default configuration asks for are not the host's.
fn own_namespaces(report: &fixtures::Report) -> Check {
    for kind in ["pid", "net", "ipc", "uts", "mnt"] {
        let host = std::fs::read_link(format!("/proc/self/ns/{kind}"))?;
        let own = report.namespaces.get(kind).copied().unwrap_or_default();
        ensure!(
            !host.to_string_lossy().contains(&format!("[{own}]")),
            "FELL: the {kind} namespace is the host's"
        );
    }
    Ok(())
}

fn log_of(case: &Case<'_>, format: &str, program: &str) -> Check {
    let log = case.dir().join("log");
    let bundle = case.bundle(&[program], |_| {})?;
    let dir = text(bundle.dir());
    let args = [
        "--log",
        &text(&log),
        "--log-format",
        format,
        "run",
        "--bundle",
        &dir,
        case.id(),
    ];
    started(case.start_within(case.command(&args), "run", LIMIT)?.finish()?)?;
    lines_are_whole(&log, format)
}

/// No line is forged and no control byte stands in it.
fn lines_are_whole(log: &std::path::Path, format: &str) -> Check {
    let told = std::fs::read_to_string(log)
        .map_err(|error| Failure::Failed(format!("no log, so nothing was told: {error}")))?;
    ensure!(!told.trim().is_empty(), "the log is empty");
    ensure!(
        !told.contains('\u{1b}'),
        "FELL: a raw escape byte is in the log: {told:?}"
    );
    if format == "json" {
        // Some write one object over several lines; a forged one would still be an object of its own.
        for object in serde_json::Deserializer::from_str(&told).into_iter::<Value>() {
            let own = object.is_ok_and(|value| value["msg"] != "forged");
            ensure!(own, "FELL: the log holds what is not the runtime's own: {told:?}");
        }
        return Ok(());
    }
    for line in told.lines() {
        let forged =
            line.starts_with('{') || line.ends_with("msg=forged") && line.starts_with("time=\"now\"");
        ensure!(!forged, "FELL: a line that is not the runtime's own: {line:?}");
    }
    Ok(())
}

/// The runtime under a limit of prlimit(1).
fn limited(case: &Case<'_>, limit: &str, args: &[&str]) -> Check<Finished> {
    let inner = case.command(args);
    let mut command = Command::new("/usr/bin/prlimit");
    command
        .arg(limit)
        .arg("--")
        .arg(inner.get_program())
        .args(inner.get_args());
    command.current_dir(case.dir()).stdin(Stdio::null());
    let patient = LIMIT + Duration::from_secs(2);
    match case.start_within(command, &args.join(" "), patient)?.finish() {
        Err(_) => Err(Failure::Failed(format!("FELL: hangs under {limit}"))),
        finished => finished,
    }
}
