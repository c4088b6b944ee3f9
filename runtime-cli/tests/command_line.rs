//! The built program from outside: what it prints where, and its exit codes. Nothing here makes a container.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const COMMANDS: &[&str] = &[
    "create",
    "delete",
    "exec",
    "features",
    "install-init",
    "kill",
    "list",
    "pause",
    "plan",
    "ps",
    "resume",
    "run",
    "spec",
    "start",
    "state",
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
fn a_hidden_option_is_not_in_the_help() {
    assert!(!out(&runtime(&["kill", "-h"])).contains("--all"));
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
fn the_systemd_driver_is_refused_where_it_would_matter() {
    let scratch = Scratch::new("systemd");
    for driver in [&["--systemd-cgroup"][..], &["--cgroup-manager", "systemd"]] {
        for (command, prefix) in [("create", "runc create failed: "), ("run", "runc run failed: ")] {
            let output = runtime_in(&scratch.0, &[driver, &[command, "c1"]].concat());
            assert_eq!(output.status.code(), Some(1));
            let text = err(&output);
            assert!(
                text.contains(prefix) && text.contains("systemd cgroup driver is not supported"),
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
