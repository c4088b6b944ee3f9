//! The command line that engines call: run, list, pid files, logs, exec, features, spec.

use crate::case::{Case, text};
use crate::suite::{Check, Need, Test, ensure, ensure_eq, test};
use serde_json::{Value, json};

/// The topic's tests.
pub(crate) const TESTS: &[Test] = &[
    test("run-gives-exit-code", "cli", |case| {
        for code in [0, 1, 7, 255] {
            let bundle = case.bundle(&["/bin/probe", "exit", &code.to_string()], |_| {})?;
            ensure_eq!(case.try_run(&bundle)?.code(), code, "exit code of run");
            std::fs::remove_dir_all(bundle.dir())?;
        }
        Ok(())
    }),
    test("run-gives-128-plus-signal", "cli", |case| {
        let edit = |config: &mut Value| case.who().inherit(config, "pid");
        let bundle = case.bundle(&["/bin/probe", "signal", "10"], edit)?;
        ensure_eq!(case.try_run(&bundle)?.code(), 138, "exit code of run");
        Ok(())
    }),
    test("run-killed-gives-137", "cli", |case| {
        let bundle = case.bundle(&["/bin/sleep", "100"], |_| {})?;
        let command = case.command(&["run", "--bundle", &text(bundle.dir()), case.id()]);
        let running = case.start_command(command, "run")?;
        case.until("running", || {
            Ok(case.run(&["state", case.id()])?.stdout.contains("\"running\""))
        })?;
        case.run(&["kill", case.id(), "KILL"])?.ok()?;
        ensure_eq!(running.finish()?.code(), 137, "exit code of run");
        Ok(())
    }),
    test("run-forwards-signals", "cli", |case| {
        let bundle = case.bundle(&["/bin/probe", "wait-signal"], |_| {})?;
        let command = case.command(&["run", "--bundle", &text(bundle.dir()), case.id()]);
        let running = case.start_command(command, "run")?;
        case.until("the probe is ready", || Ok(running.stdout()?.contains("ready")))?;
        running.signal(rustix::process::Signal::USR1)?;
        let finished = running.finish()?.ok()?;
        ensure_eq!(
            finished.stdout.lines().last(),
            Some("SIGUSR1"),
            "signal that the program got"
        );
        Ok(())
    }),
    test("run-leaves-nothing", "cli", |case| {
        let bundle = case.bundle(&["/bin/true"], |_| {})?;
        case.try_run(&bundle)?.ok()?;
        case.nothing_left()
    }),
    test("run-detach-returns", "cli", |case| {
        let bundle = case.bundle(&["/bin/sleep", "100"], |_| {})?;
        case.run_detached(&bundle)?;
        ensure_eq!(case.state()?["status"], "running", "status after run --detach");
        Ok(())
    }),
    test("bundle-defaults-to-current-folder", "cli", |case| {
        let bundle = case.bundle(&["/bin/true"], |_| {})?;
        let mut command = case.command(&["create", case.id()]);
        command.current_dir(bundle.dir());
        case.start_command(command, "create")?.finish()?.ok()?;
        ensure_eq!(
            case.state()?["bundle"],
            text(bundle.dir()).as_str(),
            "bundle in state"
        );
        Ok(())
    }),
    test("relative-bundle-is-made-absolute", "runtime.md#state", |case| {
        let bundle = case.bundle(&["/bin/true"], |_| {})?;
        case.run(&["create", "-b", "bundle", case.id()])?.ok()?;
        ensure_eq!(
            case.state()?["bundle"],
            text(bundle.dir()).as_str(),
            "bundle in state"
        );
        Ok(())
    }),
    test("pid-file-of-create", "cli", |case| {
        let bundle = case.bundle(&["/bin/true"], |_| {})?;
        case.run(&[
            "create",
            "--pid-file",
            &text(&case.dir().join("pid")),
            "-b",
            &text(bundle.dir()),
            case.id(),
        ])?
        .ok()?;
        pid_file_is(case, case.pid()?)
    }),
    test("pid-file-of-run", "cli", |case| {
        let bundle = case.bundle(&["/bin/sleep", "100"], |_| {})?;
        case.run(&[
            "run",
            "-d",
            "--pid-file",
            &text(&case.dir().join("pid")),
            "-b",
            &text(bundle.dir()),
            case.id(),
        ])?
        .ok()?;
        pid_file_is(case, case.pid()?)
    }),
    test("list-quiet", "cli", |case| {
        two_created(case)?;
        let listed = case.run(&["list", "--quiet"])?.ok()?.stdout;
        let mut names: Vec<&str> = listed.lines().collect();
        names.sort_unstable();
        ensure_eq!(
            names,
            [case.id().to_owned(), format!("{}b", case.id())],
            "ids of list --quiet"
        );
        Ok(())
    }),
    test("list-json", "cli", |case| {
        two_created(case)?;
        let list: Value = serde_json::from_str(&case.run(&["list", "--format", "json"])?.ok()?.stdout)?;
        let own = list
            .as_array()
            .and_then(|list| list.iter().find(|entry| entry["id"] == case.id()));
        let own = own.cloned().unwrap_or_default();
        ensure_eq!(own["status"], "created", "status in {list}");
        ensure_eq!(own["pid"].as_i64(), Some(case.pid()?), "pid in {list}");
        Ok(())
    }),
    test("list-table", "cli", |case| {
        two_created(case)?;
        let listed = case.run(&["list"])?.ok()?.stdout;
        let head: Vec<&str> = listed
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .take(4)
            .collect();
        // crun writes NAME where runc writes ID; engines read the JSON.
        ensure!(
            head.ends_with(&["PID", "STATUS", "BUNDLE"]),
            "first line of list: {listed:?}"
        );
        ensure_eq!(listed.lines().count(), 3, "lines of list");
        Ok(())
    }),
    test("list-of-nothing", "cli", |case| {
        std::fs::create_dir_all(case.root())?;
        let listed = case.run(&["list", "-q"])?.ok()?.stdout;
        ensure_eq!(listed.trim(), "", "list --quiet without containers");
        Ok(())
    }),
    test("log-json-carries-the-error", "cli", |case| {
        let log = text(&case.dir().join("log"));
        let finished = case.run(&["--log", &log, "--log-format", "json", "start", case.id()])?;
        ensure!(finished.code() != 0, "start of an unknown container succeeded");
        let written = std::fs::read_to_string(&log)?;
        let line: Value = serde_json::from_str(written.lines().last().unwrap_or_default())?;
        ensure_eq!(line["level"], "error", "level in {line}");
        ensure!(
            line["msg"]
                .as_str()
                .is_some_and(|text| text.contains("does not exist")),
            "msg in {line}"
        );
        ensure!(line["time"].is_string(), "time in {line}");
        Ok(())
    }),
    test("version-names-itself", "cli", |case| {
        let first = case.run(&["--version"])?.ok()?.stdout;
        let words: Vec<&str> = first
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        ensure!(
            words.len() >= 3 && words[1] == "version",
            "first line {words:?}, expected NAME version NUMBER"
        );
        ensure!(
            first.lines().any(|line| line.starts_with("spec: ")),
            "no line `spec: VERSION` in {first:?}"
        );
        Ok(())
    }),
    test("features-is-json", "features.md#specification-version", |case| {
        let features: Value = serde_json::from_str(&case.run(&["features"])?.ok()?.stdout)?;
        for key in ["ociVersionMin", "ociVersionMax"] {
            ensure!(features[key].is_string(), "{key}: {}", features[key]);
        }
        let hooks = features["hooks"].as_array().map_or(0, Vec::len);
        ensure!(hooks >= 5, "hooks: {}", features["hooks"]);
        let options = features["mountOptions"]
            .as_array()
            .is_some_and(|list| list.iter().any(|option| option == "ro"));
        ensure!(options, "mountOptions: {}", features["mountOptions"]);
        Ok(())
    }),
    test("spec-writes-a-config-that-runs", "cli", spec_runs),
    test("spec-keeps-an-existing-config", "cli", |case| {
        std::fs::write(case.dir().join("config.json"), "{}")?;
        case.run(&["spec"])?.refused()?;
        ensure_eq!(
            std::fs::read_to_string(case.dir().join("config.json"))?,
            "{}",
            "config.json afterwards"
        );
        Ok(())
    }),
    test("exec-runs-in-the-container", "cli", |case| {
        running(case)?;
        let report = crate::case::parse(&case.run(&["exec", case.id(), "/bin/probe"])?.ok()?.stdout)?;
        let init = case.pid()?;
        for kind in ["mnt", "pid", "net", "uts", "ipc"] {
            let link = std::fs::read_link(format!("/proc/{init}/ns/{kind}"))?;
            let own = format!(
                "{kind}:[{}]",
                report.namespaces.get(kind).copied().unwrap_or_default()
            );
            ensure_eq!(own, link.to_string_lossy(), "namespace of exec");
        }
        Ok(())
    }),
    test("exec-gives-exit-code", "cli", |case| {
        running(case)?;
        ensure_eq!(
            case.run(&["exec", case.id(), "/bin/probe", "exit", "9"])?.code(),
            9,
            "exit code of exec"
        );
        let killed = case
            .run(&["exec", case.id(), "/bin/sh", "-c", "kill -USR1 $$"])?
            .code();
        ensure_eq!(killed, 138, "exit code of exec killed by SIGUSR1");
        Ok(())
    }),
    test("exec-options", "cli", |case| {
        running(case)?;
        let args = [
            "exec",
            "--cwd",
            "/tmp",
            "--env",
            "A=b",
            "--user",
            "1000:1001",
            case.id(),
            "/bin/probe",
        ];
        let report = crate::case::parse(&case.run(&args)?.ok()?.stdout)?;
        ensure_eq!(report.cwd.as_deref(), Some("/tmp"), "cwd of exec");
        ensure_eq!(report.env_values("A"), ["b"], "env of exec");
        ensure_eq!(
            (report.identity.uid, report.identity.gid),
            (1000, 1001),
            "user of exec"
        );
        Ok(())
    })
    .needs(&[Need::Ids]),
    test("exec-process-file", "cli", |case| {
        running(case)?;
        let process = json!({"args": ["/bin/probe"], "cwd": "/bin", "env": ["ONLY=this"],
                             "user": {"uid": 5, "gid": 6, "additionalGids": [7]}});
        std::fs::write(case.dir().join("process.json"), process.to_string())?;
        let args = [
            "exec",
            "--process",
            &text(&case.dir().join("process.json")),
            case.id(),
        ];
        let report = crate::case::parse(&case.run(&args)?.ok()?.stdout)?;
        ensure_eq!(report.cwd.as_deref(), Some("/bin"), "cwd of exec");
        ensure_eq!(report.env_values("ONLY"), ["this"], "env of exec");
        ensure_eq!((report.identity.uid, report.identity.gid), (5, 6), "user of exec");
        ensure!(
            report.identity.groups.contains(&7),
            "groups of exec: {:?}",
            report.identity.groups
        );
        Ok(())
    })
    .needs(&[Need::Ids]),
    test("exec-of-missing-program-is-refused", "cli", |case| {
        running(case)?;
        let finished = case.run(&["exec", case.id(), "/no/such/program"])?.refused()?;
        let text = finished.stderr.to_lowercase();
        ensure!(text.contains("no such file or directory"), "stderr: {text:?}");
        Ok(())
    }),
    test("exec-in-stopped-is-refused", "cli", |case| {
        let bundle = case.bundle(&["/bin/true"], |_| {})?;
        case.create(&bundle)?;
        case.kill_and_wait()?;
        case.run(&["exec", case.id(), "/bin/true"])?.refused()?;
        Ok(())
    }),
    test("ps-json-lists-pids", "cli", |case| {
        running(case)?;
        let pids: Vec<i64> =
            serde_json::from_str(&case.run(&["ps", "--format", "json", case.id()])?.ok()?.stdout)?;
        ensure_eq!(pids, [case.pid()?], "pids of ps");
        Ok(())
    }),
];

fn running(case: &Case<'_>) -> Check {
    let bundle = case.bundle(&["/bin/sleep", "100"], |_| {})?;
    case.run_detached(&bundle)?;
    Ok(())
}

fn pid_file_is(case: &Case<'_>, pid: i64) -> Check {
    ensure_eq!(
        std::fs::read_to_string(case.dir().join("pid"))?,
        pid.to_string(),
        "content of the pid file"
    );
    Ok(())
}

fn two_created(case: &Case<'_>) -> Check {
    let first = case.bundle(&["/bin/true"], |_| {})?;
    let id = case.second_id("b");
    let second = case.bundle_for("other", &id, &["/bin/true"], |_| {})?;
    case.create(&first)?;
    case.run(&["create", "--bundle", &text(second.dir()), &id])?
        .ok()?;
    Ok(())
}

fn spec_runs(case: &Case<'_>) -> Check {
    let mut bundle = case.bundle(&["/bin/probe"], |_| {})?;
    std::fs::remove_file(bundle.config_path())?;
    // Users are written a configuration of their own: a user namespace with their own id in it.
    let rootless: &[&str] = if case.who().is_root() {
        &[]
    } else {
        &["--rootless"]
    };
    let dir = text(bundle.dir());
    let args = [&["spec", "--bundle", &dir], rootless].concat();
    case.run(&args)?.ok()?;
    let written: Value = serde_json::from_slice(&std::fs::read(bundle.config_path())?)?;
    ensure_eq!(
        written["process"]["args"],
        json!(["sh"]),
        "args of the written configuration"
    );
    ensure_eq!(
        written["process"]["terminal"],
        true,
        "terminal of the written configuration"
    );
    ensure_eq!(
        written["root"]["path"],
        "rootfs",
        "root of the written configuration"
    );
    bundle.edit(|config| {
        *config = written;
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = json!(["/bin/probe"]);
        case.set_cgroup(config, case.id());
    })?;
    case.probe_in(&bundle)?;
    Ok(())
}
