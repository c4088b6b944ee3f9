//! The built program from outside: what it prints where, and its exit codes. Nothing here makes a container.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const COMMANDS: &[&str] = &[
    "completion",
    "create",
    "delete",
    "doctor",
    "events",
    "exec",
    "features",
    "info",
    "install-init",
    "kill",
    "list",
    "man",
    "pause",
    "plan",
    "ps",
    "resume",
    "run",
    "spec",
    "start",
    "state",
    "update",
];

fn runtime(arguments: &[&str]) -> Output {
    runtime_in(Path::new("/"), arguments)
}

fn runtime_in(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runtime"))
        .args(arguments)
        .current_dir(dir)
        .env_remove("NOTIFY_SOCKET")
        .env_remove("LISTEN_PID")
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// A directory that goes away with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("runtime-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("temporary directory");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_programs_help_is_on_standard_output() {
    for arguments in [&["-h"][..], &["--help"], &["help"], &[]] {
        let output = runtime(arguments);
        assert_eq!(output.status.code(), Some(0));
        let text = out(&output);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("NAME:"));
        assert!(
            lines
                .next()
                .is_some_and(|line| line.contains("runc - Open Container Initiative runtime"))
        );
        for command in COMMANDS {
            assert!(text.contains(&format!("\n   {command} ")), "{command}");
        }
        assert!(err(&output).is_empty());
    }
}

#[test]
fn each_commands_help_is_on_standard_output() {
    for command in COMMANDS {
        for arguments in [[*command, "-h"], [command, "--help"], ["help", command]] {
            let output = runtime(&arguments);
            assert_eq!(output.status.code(), Some(0), "{arguments:?}");
            let text = out(&output);
            let mut lines = text.lines();
            assert_eq!(lines.next(), Some("NAME:"));
            assert!(
                lines
                    .next()
                    .is_some_and(|line| line.contains(&format!("runtime {command}"))),
                "{text}"
            );
            assert!(err(&output).is_empty());
        }
    }
}

#[test]
fn the_version_has_the_lines_that_engines_read() {
    for argument in ["-v", "--version"] {
        let output = runtime(&[argument]);
        let text = out(&output);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("runc version 0."), "{text}");
        assert!(lines[1].starts_with("commit: ") && lines[1].len() > 8, "{text}");
        assert!(lines[2].starts_with("spec: 1."), "{text}");
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn an_unknown_command_exits_with_3() {
    for arguments in [&["foo"][..], &["foo", "-h"]] {
        let output = runtime(arguments);
        assert_eq!(output.status.code(), Some(3));
        assert!(err(&output).contains("No help topic for 'foo'"));
    }
}

#[test]
fn a_wrong_command_line_shows_the_help_and_says_what_is_wrong() {
    for (arguments, complaint) in [
        (&["run"][..], "requires exactly 1 argument(s)"),
        (&["list", "--bogus"], "flag provided but not defined: -bogus"),
        (&["create", "c1", "--bundle"], "flag needs an argument: --bundle"),
        (&["--bogus", "list"], "flag provided but not defined: -bogus"),
    ] {
        let output = runtime(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(out(&output).starts_with("Incorrect Usage"), "{arguments:?}");
        assert!(out(&output).contains("NAME:"), "{arguments:?}");
        assert!(
            err(&output).contains(complaint),
            "{arguments:?}: {}",
            err(&output)
        );
    }
}

#[test]
fn a_wrong_value_names_flag_found_and_allowed() {
    for (arguments, parts) in [
        (
            &["--rootless=maybe", "list"][..],
            ["--rootless", "maybe", "true, false, auto"],
        ),
        (
            &["--cgroup-manager", "mine", "list"],
            ["--cgroup-manager", "mine", "cgroupfs, systemd, disabled"],
        ),
        (
            &["--log-format", "xml", "list"],
            ["invalid log-format", "xml", "text, json"],
        ),
        (
            &["list", "--format", "xml"],
            ["invalid format option", "xml", "table, json"],
        ),
        (&["plan", "--format", "xml"], ["--format", "xml", "text, json"]),
        (
            &["run", "--preserve-fds", "few", "c1"],
            ["--preserve-fds", "few", "a number"],
        ),
        (
            &["state", "a/b"],
            ["invalid container ID format", "a/b", "letters, digits"],
        ),
        (&["kill", "c1", "BOGUS"], ["unknown signal", "BOGUS", "\""]),
    ] {
        let output = runtime(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let unquoted = err(&output).replace('\\', "");
        for part in parts {
            assert!(unquoted.contains(part), "{arguments:?}: {part}: {unquoted}");
        }
    }
    assert!(err(&runtime(&["state", ""])).contains("container id cannot be empty"));
}

#[test]
fn the_root_of_the_filesystem_is_no_state_directory() {
    for root in ["/", "/..", ""] {
        let output = runtime(&["--root", root, "list"]);
        assert_eq!(output.status.code(), Some(1), "{root:?}");
        assert!(err(&output).contains("--root"), "{root:?}: {}", err(&output));
    }
}

#[test]
fn a_missing_state_directory_that_was_named_is_an_error_and_is_not_made() {
    let scratch = Scratch::new("root");
    let root = scratch.0.join("none");
    let output = runtime(&["--root", root.to_str().expect("UTF-8"), "list"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("no such file or directory"),
        "{}",
        err(&output)
    );
    assert!(!root.exists());
}

#[test]
fn the_systemd_driver_is_refused_where_no_systemd_runs() {
    if std::path::Path::new("/run/systemd/system").is_dir() {
        eprintln!("SKIPPED the_systemd_driver_is_refused_where_no_systemd_runs: systemd runs here");
        return;
    }
    let scratch = Scratch::new("systemd");
    bundle(&scratch, false);
    for driver in [&["--systemd-cgroup"][..], &["--cgroup-manager", "systemd"]] {
        for (command, prefix) in [("create", "runc create failed: "), ("run", "runc run failed: ")] {
            let output = runtime_in(&scratch.0, &[driver, &[command, "c1"]].concat());
            assert_eq!(output.status.code(), Some(1));
            let text = err(&output);
            assert!(
                text.contains(prefix) && text.contains("systemd not running on this host"),
                "{text}"
            );
        }
    }
}

#[test]
fn with_a_log_file_the_error_is_in_both_places_and_the_json_is_one_line() {
    let scratch = Scratch::new("log");
    let output = runtime_in(
        &scratch.0,
        &["--log", "log.json", "--log-format", "json", "create", "c1"],
    );
    assert_eq!(output.status.code(), Some(1));
    let message = "runc create failed: JSON specification file config.json not found";
    assert_eq!(err(&output), format!("{message}\n"));
    let text = std::fs::read_to_string(scratch.0.join("log.json")).expect("a log");
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    assert!(
        text.starts_with(&format!(
            "{{\"level\":\"error\",\"msg\":\"{message}\",\"time\":\""
        )),
        "{text}"
    );
    let object: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(object["level"], "error");
}

#[test]
fn debug_lines_go_where_the_log_goes() {
    let scratch = Scratch::new("debug");
    let arguments = ["--debug", "--log", "log.txt", "create", "c1"];
    assert!(!err(&runtime_in(&scratch.0, &arguments)).contains("level=debug"));
    let text = std::fs::read_to_string(scratch.0.join("log.txt")).expect("a log");
    assert!(
        text.contains("level=debug") && text.contains("level=error"),
        "{text}"
    );
    assert!(err(&runtime_in(&scratch.0, &["--debug", "create", "c1"])).contains("level=debug"));
    assert!(!err(&runtime_in(&scratch.0, &["create", "c1"])).contains("level=debug"));
}

#[test]
fn a_missing_bundle_is_named() {
    let output = runtime(&["create", "-b", "/no/such/bundle", "c1"]);
    assert_eq!(output.status.code(), Some(1));
    let text = err(&output);
    assert!(
        text.contains("/no/such/bundle") && text.contains("no such file or directory"),
        "{text}"
    );
}

/// A bundle whose program has a terminal, or not.
fn bundle(scratch: &Scratch, terminal: bool) {
    let config = format!(
        r#"{{"ociVersion":"1.3.0","process":{{"terminal":{terminal},"user":{{"uid":0,"gid":0}},"args":["sh"],"cwd":"/"}},
        "root":{{"path":"rootfs"}},"linux":{{"namespaces":[{{"type":"mount"}}]}}}}"#
    );
    std::fs::write(scratch.0.join("config.json"), config).expect("write");
}

#[test]
fn a_terminal_needs_a_console_socket_when_nobody_stays() {
    let scratch = Scratch::new("console");
    bundle(&scratch, true);
    for arguments in [&["create", "c1"][..], &["run", "-d", "c1"]] {
        let text = err(&runtime_in(&scratch.0, arguments));
        assert!(
            text.contains("cannot allocate tty if runc will detach without setting console socket"),
            "{text}"
        );
    }
    let useless = "cannot use console socket if runc will not detach or allocate tty";
    let text = err(&runtime_in(&scratch.0, &["run", "--console-socket", "/s", "c1"]));
    assert!(text.contains(useless), "{text}");
    bundle(&scratch, false);
    for arguments in [
        &["create", "--console-socket", "/s", "c1"][..],
        &["run", "-d", "--console-socket", "/s", "c1"],
    ] {
        let text = err(&runtime_in(&scratch.0, arguments));
        assert!(text.contains(useless), "{text}");
    }
}

#[test]
fn a_closed_descriptor_to_preserve_is_named() {
    let scratch = Scratch::new("preserve");
    bundle(&scratch, false);
    for count in ["1", "4000"] {
        // The log's file must not slip into the range.
        let arguments = ["--log", "log.txt", "create", "--preserve-fds", count, "c1"];
        let output = runtime_in(&scratch.0, &arguments);
        assert_eq!(output.status.code(), Some(1));
        let text = err(&output);
        assert!(text.contains(&format!("--preserve-fds {count}")), "{text}");
        assert!(text.contains("descriptor 3 is not open"), "{text}");
    }
}

#[test]
fn spec_writes_a_configuration_once() {
    let scratch = Scratch::new("spec");
    let bundle = scratch.0.to_str().expect("UTF-8");
    assert_eq!(runtime(&["spec", "-b", bundle]).status.code(), Some(0));
    let read = || std::fs::read_to_string(scratch.0.join("config.json")).expect("a configuration");
    let config: serde_json::Value = serde_json::from_str(&read()).expect("JSON");
    assert_eq!(config["process"]["args"], serde_json::json!(["sh"]));
    assert_eq!(config["root"]["path"], "rootfs");
    let has_user = |config: &serde_json::Value| {
        let namespaces = config["linux"]["namespaces"].as_array().expect("namespaces");
        namespaces.iter().any(|namespace| namespace["type"] == "user")
    };
    assert!(!has_user(&config));
    let again = runtime_in(&scratch.0, &["spec"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        err(&again).contains("File config.json exists. Remove it first"),
        "{}",
        err(&again)
    );
    std::fs::remove_file(scratch.0.join("config.json")).expect("remove");
    assert_eq!(
        runtime_in(&scratch.0, &["spec", "--rootless"]).status.code(),
        Some(0)
    );
    assert!(has_user(&serde_json::from_str(&read()).expect("JSON")));
}

#[test]
fn spec_takes_another_name() {
    let scratch = Scratch::new("spec-file");
    let bundle = scratch.0.to_str().expect("UTF-8");
    let write = || runtime(&["spec", "--bundle", bundle, "--file", "other.json"]);
    assert_eq!(write().status.code(), Some(0));
    assert!(scratch.0.join("other.json").is_file() && !scratch.0.join("config.json").exists());
    assert!(err(&write()).contains("File other.json exists. Remove it first"));
}

#[test]
fn the_log_level_chooses_what_is_logged() {
    let scratch = Scratch::new("level");
    let create = |globals: &[&str]| err(&runtime_in(&scratch.0, &[globals, &["create", "c1"]].concat()));
    let debug = create(&["--log-level", "debug"]);
    assert!(
        debug.contains("level=debug") && debug.contains("level=error"),
        "{debug}"
    );
    for globals in [&["--log-level", "error"][..], &["--log-level", "warning"], &[]] {
        let said = create(globals);
        assert!(
            !said.contains("level=debug") && said.contains("level=error"),
            "{said}"
        );
    }
    let odd =
        r#"{"ociVersion":"1.3.0","colour":1,"process":{"cwd":"/","args":["sh"]},"root":{"path":"none"}}"#;
    std::fs::write(scratch.0.join("config.json"), odd).expect("write");
    let plan = |globals: &[&str]| err(&runtime_in(&scratch.0, &[globals, &["create", "c1"]].concat()));
    assert!(!plan(&["--log-level=error"]).contains("level=warning"));
    assert!(create(&["--log-level", "loud"]).contains("allowed: error, warning, debug"));
}

#[test]
fn the_log_goes_to_a_file_by_both_spellings() {
    let scratch = Scratch::new("file");
    for (typed, file) in [
        ("plain.txt", "plain.txt"),
        ("file:named.txt", "named.txt"),
        ("./journald:x", "journald:x"),
    ] {
        runtime_in(&scratch.0, &["--log", typed, "create", "c1"]);
        let text = std::fs::read_to_string(scratch.0.join(file)).expect("a log");
        assert!(text.contains("level=error"), "{text}");
    }
}

/// The sockets of both daemons, in a mount namespace of the test's own.
#[test]
fn the_log_goes_to_the_journal_and_to_syslog() {
    const SCRIPT: &str = r#"
        mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && ln -s "$1" /run/systemd/journal/socket
        mount -t tmpfs tmpfs /dev && ln -s "$1" /dev/log
        "$0" --log journald:mine state none
        "$0" --log syslog:mine state none
        "$0" --log syslog: state none
        exit 0"#;
    if !rustix::process::geteuid().is_root() {
        skipped("the_log_goes_to_the_journal_and_to_syslog", "needs root");
        return;
    }
    let scratch = Scratch::new("daemon");
    let path = scratch.0.join("socket");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    socket
        .set_read_timeout(Some(std::time::Duration::from_secs(20)))
        .expect("a time limit");
    let output = Command::new("timeout")
        .args([
            "20",
            "unshare",
            "--mount",
            "sh",
            "-c",
            SCRIPT,
            env!("CARGO_BIN_EXE_runtime"),
        ])
        .arg(&path)
        .env("XDG_RUNTIME_DIR", &scratch.0)
        .output()
        .expect("timeout starts");
    let receive = || {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).expect("an entry");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let entry = receive();
    assert!(
        entry.starts_with("PRIORITY=3\nMESSAGE=container does not exist\nSYSLOG_IDENTIFIER=mine\n"),
        "{entry}"
    );
    let line = receive();
    assert!(
        line.starts_with("<11>mine[") && line.ends_with("]: container does not exist"),
        "{line}"
    );
    assert!(receive().starts_with("<11>runtime["));
    // As with a file, people see the message too.
    let said = err(&output);
    assert_eq!(said.matches("container does not exist\n").count(), 3, "{said}");
    let without = runtime(&[
        "--log",
        "journald:mine",
        "--root",
        "/nonexistent",
        "state",
        "none",
    ]);
    if !Path::new("/run/systemd/journal/socket").exists() {
        assert!(
            err(&without).contains("needs the log daemon"),
            "{}",
            err(&without)
        );
    }
}

#[allow(clippy::print_stderr, reason = "a skip must be seen")]
fn skipped(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
}

#[test]
fn features_is_the_document_of_the_specification() {
    let output = runtime(&["features"]);
    assert!(output.status.success());
    let text = out(&output);
    assert!(
        text.starts_with("{\n    \"ociVersionMin\": \"1.0.0\",\n"),
        "{text}"
    );
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(!text.contains("null"));
    // Gates of containerd and moby: recursive read-only mounts, and user namespaces.
    assert!(
        document["mountOptions"]
            .as_array()
            .is_some_and(|options| options.iter().any(|option| option == "rro"))
    );
    assert_eq!(document["linux"]["mountExtensions"]["idmap"]["enabled"], true);
    assert_eq!(document["linux"]["cgroup"]["systemd"], true);
    let checkpoint = runtime(&["checkpoint", "--help"]).status.success();
    let told = &document["annotations"]["org.opencontainers.runc.checkpoint.enabled"];
    assert_eq!(told, checkpoint.to_string().as_str());
}

#[test]
fn completion_and_manual_are_made_for_every_command() {
    for (shell, begins) in [
        ("bash", "# bash"),
        ("zsh", "#compdef runtime\n"),
        ("fish", "# fish"),
    ] {
        let output = runtime(&["completion", shell]);
        assert!(
            output.status.success() && out(&output).starts_with(begins),
            "{shell}"
        );
    }
    assert!(err(&runtime(&["completion", "tcsh"])).contains("allowed: bash, zsh, fish"));
    let scratch = Scratch::new("man");
    let directory = scratch.0.to_str().expect("UTF-8");
    assert!(runtime(&["man", "--output", directory]).status.success());
    for command in COMMANDS {
        let page = std::fs::read_to_string(scratch.0.join(format!("runtime-{command}.1"))).expect("a page");
        assert_eq!(page, out(&runtime(&["man", command])));
        assert!(page.starts_with(".TH RUNTIME"), "{page}");
    }
    let page = std::fs::read_to_string(scratch.0.join("runtime.1")).expect("a page");
    assert_eq!(page, out(&runtime(&["man"])));
    assert!(err(&runtime(&["man", "nothing"])).contains("there is no command"));
    assert!(err(&runtime(&["man", "-o", directory, "run"])).contains("takes no COMMAND"));
}

#[test]
fn info_tells_all_and_doctor_what_is_wrong() {
    let findings = |command: &str| -> Vec<serde_json::Value> {
        let output = runtime(&[command, "--format", "json"]);
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        document["findings"].as_array().expect("findings").clone()
    };
    let (all, wrong) = (findings("info"), findings("doctor"));
    let not_ok: Vec<_> = all
        .iter()
        .filter(|finding| finding["state"] != "ok")
        .cloned()
        .collect();
    assert_eq!(wrong, not_ok);
    let text = out(&runtime(&["info"]));
    for finding in &all {
        let name = finding["name"].as_str().expect("a name");
        assert!(
            text.lines()
                .any(|line| line.split_whitespace().nth(1) == Some(name)),
            "{name}"
        );
    }
    let fatal = wrong.iter().any(|finding| finding["state"] == "missing");
    assert_eq!(runtime(&["doctor"]).status.code(), Some(i32::from(fatal)));
    assert_eq!(runtime(&["info", "-f", "text"]).status.code(), Some(0));
}

/// Whoever starts us may have closed the standard descriptors; a file that is opened then must not become one of them.
#[test]
fn closed_standard_descriptors_are_filled() {
    let scratch = Scratch::new("closed");
    let log = scratch.0.join("log");
    let status = Command::new("/bin/sh")
        .args([
            "-c",
            r#"exec "$0" --log "$1" --root "$2" state nope <&- >&- 2>&-"#,
        ])
        .arg(env!("CARGO_BIN_EXE_runtime"))
        .arg(&log)
        .arg(&scratch.0)
        .status()
        .expect("a shell starts");
    assert_eq!(status.code(), Some(1));
    let text = std::fs::read_to_string(&log).expect("the log is written");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("container does not exist"), "{text}");
}

/// A reader that goes away is no reason to die by a signal.
#[test]
fn a_broken_pipe_is_an_error_and_no_signal() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = Command::new(env!("CARGO_BIN_EXE_runtime"))
        .arg("--help")
        .stdout(writer)
        .stderr(Stdio::null())
        .status()
        .expect("the program starts");
    assert!(status.code().is_some(), "{status}");
}
