//! The forms that engines read.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::output::MAX_VALUE;

fn parsed(line: &str) -> serde_json::Value {
    assert_eq!(line.matches('\n').count(), 1, "{line:?} is one line");
    serde_json::from_str(line).expect("a JSON object")
}

#[test]
fn times_are_rfc_3339() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (951_868_800, "2000-03-01T00:00:00Z"),
        (1_795_295_473, "2026-11-21T21:11:13Z"),
        (4_107_542_399, "2100-02-28T23:59:59Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ] {
        assert_eq!(to_the_second(UNIX_EPOCH + Duration::from_secs(seconds)), text);
    }
}

#[test]
fn json_begins_with_what_engines_read() {
    let keys = [
        ("field", "mounts[0]"),
        ("errno", "2"),
        ("warning", "w1"),
        ("warning", "w2"),
    ];
    let line = json_line("error", "a \"quoted\" message", "T", &keys);
    assert!(
        line.starts_with(r#"{"level":"error","msg":"a \"quoted\" message","time":"T","#),
        "{line}"
    );
    let object = parsed(&line);
    assert_eq!(object["errno"], 2);
    assert_eq!(object["field"], "mounts[0]");
    assert_eq!(object["warnings"], serde_json::json!(["w1", "w2"]));
}

#[test]
fn strangers_cannot_forge_lines_or_reach_the_terminal() {
    let hostile = "a\n{\"level\":\"error\"}\u{1b}[2J\u{7f}\u{9b}\0\t\\";
    let json = json_line("error", hostile, "T", &[("hint", hostile)]);
    assert_eq!(parsed(&json)["msg"], hostile);
    for line in [json, text_line("error", hostile, "T", &[("hint", hostile)])] {
        assert_eq!(
            line.chars().filter(|char| char.is_control()).count(),
            1,
            "{line:?}"
        );
        assert!(line.ends_with('\n'));
    }
}

#[test]
fn long_messages_keep_their_end() {
    let long = format!("{}é: no such file or directory", "é".repeat(600_000));
    let line = json_line("error", &long, "T", &[]);
    assert!(line.len() < MAX_VALUE + 64, "{}", line.len());
    let message = parsed(&line)["msg"]
        .as_str()
        .map(str::to_owned)
        .unwrap_or_default();
    assert!(message.len() <= MAX_VALUE && message.ends_with(": no such file or directory"));
}

#[test]
fn the_text_form_is_logrus() {
    assert_eq!(
        text_line("error", "it \"failed\"", "T", &[("hint", "try")]),
        "time=\"T\" level=error msg=\"it \\\"failed\\\"\" hint=\"try\"\n"
    );
}

/// A log to a file, and what it wrote.
fn logged(json: bool, debug: bool, act: impl FnOnce(&Log)) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "runtime-log-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let path = std::env::temp_dir().join(name);
    let log = Log {
        sink: Sink::open(&path).expect("open"),
        json,
        level: if debug { Level::Debug } else { Level::Warning },
        held: RefCell::default(),
    };
    act(&log);
    let text = std::fs::read_to_string(&path).expect("read");
    std::fs::remove_file(&path).expect("remove");
    text
}

#[test]
fn a_failure_is_one_json_line_even_after_warnings() {
    let failure = Failure::starting(
        "runc create",
        Error::new(ErrorKind::System, "it broke").with_hint("mend it"),
    );
    let text = logged(true, false, |log| {
        log.debug(format_args!("unseen"));
        log.warn(format_args!("odd"));
        log.fatal(&failure);
    });
    let object = parsed(&text);
    assert_eq!(
        object["msg"],
        "runc create failed: unable to start container process: it broke"
    );
    assert_eq!(object["warnings"], serde_json::json!(["odd"]));
    assert_eq!(object["hint"], "mend it");
}

#[test]
fn warnings_of_a_success_are_lines_of_their_own() {
    let text = logged(true, false, |log| {
        log.warn(format_args!("odd"));
        log.finish();
    });
    assert_eq!(parsed(&text)["level"], "warning");
}

#[test]
fn debug_events_need_debug() {
    let act = |log: &Log| log.debug(format_args!("event"));
    assert_eq!(logged(false, false, act), "");
    assert!(logged(false, true, act).contains("level=debug msg=\"event\""));
    assert_eq!(parsed(&logged(true, true, act))["level"], "debug");
}
