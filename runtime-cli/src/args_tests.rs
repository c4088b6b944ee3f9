//! The parser with a small table, and every flag of every command with the real one.

use std::ffi::OsString;

use super::*;

const GLOBALS: &[Flag] = crate::session::GLOBALS;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn parsed(line: &str) -> (Matches, std::result::Result<Asked, Misuse>) {
    parse("runtime", words(line), GLOBALS, crate::cmd::ALL)
}

fn matches(line: &str) -> Matches {
    match parsed(line).1 {
        Ok(Asked::Run(_, matches)) => matches,
        other => panic!("{line}: {other:?}"),
    }
}

fn misuse(line: &str) -> Misuse {
    match parsed(line).1 {
        Err(misuse) => misuse,
        other => panic!("{line}: {other:?}"),
    }
}

/// Words that satisfy a command.
fn enough(command: &Command) -> &'static str {
    ["", " c1", " c1 w2"][command.min.min(2)]
}

#[test]
fn every_flag_of_every_command_in_every_spelling() {
    for command in crate::cmd::ALL {
        for flag in command.flags {
            let mut spellings = vec![format!("--{}", flag.long), format!("-{}", flag.long)];
            spellings.extend(flag.short.map(|letter| format!("-{letter}")));
            for spelling in spellings {
                let (separate, joined, expected) = match flag.value {
                    Some(_) => (format!("{spelling} val"), format!("{spelling}=val"), "val"),
                    None => (spelling.clone(), format!("{spelling}=true"), "true"),
                };
                for typed in [separate, joined] {
                    let line = format!("{} {typed}{}", command.name, enough(command));
                    assert_eq!(
                        matches(&line).value(flag.long),
                        Some(OsStr::new(expected)),
                        "{line}"
                    );
                }
            }
        }
    }
}

#[test]
fn every_global_option() {
    for flag in GLOBALS {
        let typed = if flag.value.is_some() { " val" } else { "" };
        let (global, asked) = parsed(&format!("--{}{typed} list -q", flag.long));
        assert!(global.given(flag.long), "{}", flag.long);
        assert!(
            matches!(asked, Ok(Asked::Run(command, _)) if command.name == "list"),
            "{}",
            flag.long
        );
    }
}

#[test]
fn no_two_flags_of_a_command_share_a_name() {
    for command in crate::cmd::ALL {
        for (position, flag) in command.flags.iter().enumerate() {
            for other in &command.flags[..position] {
                assert_ne!(flag.long, other.long, "{}", command.name);
                assert!(
                    flag.short.is_none() || flag.short != other.short,
                    "{}",
                    command.name
                );
            }
            assert!(flag.short != Some('h') && flag.long != "help", "{}", command.name);
        }
    }
}

#[test]
fn options_may_follow_the_id() {
    let typed = matches("run c1 --bundle /b -d");
    assert_eq!(typed.path("bundle"), Some(PathBuf::from("/b")));
    assert!(typed.has("detach"));
    assert_eq!(typed.word(0), Some(OsStr::new("c1")));
}

#[test]
fn two_dashes_end_the_options() {
    let typed = matches("kill -- c1 -a");
    assert!(!typed.has("all"));
    assert_eq!(typed.word(1), Some(OsStr::new("-a")));
}

#[test]
fn a_negative_number_is_a_word() {
    assert_eq!(matches("kill c1 -9").word(1), Some(OsStr::new("-9")));
}

#[test]
fn the_last_value_counts_and_an_empty_one_is_none() {
    assert_eq!(
        matches("run c1 -b /a -b /b").path("bundle"),
        Some(PathBuf::from("/b"))
    );
    assert_eq!(matches("run c1 --pid-file=").path("pid-file"), None);
    assert!(!matches("run c1 --keep --keep=false").has("keep"));
}

#[test]
fn where_the_first_word_ends_the_options_the_rest_is_kept() {
    fn nothing(_: &Session, _: &Matches) -> Outcome {
        Ok(0)
    }
    static EXEC: Command = Command {
        name: "x",
        about: "",
        words: "",
        min: 1,
        max: usize::MAX,
        first_word_ends_options: true,
        failure: 255,
        text: "",
        flags: &[Flag::switch("tty", "").short('t')],
        run: nothing,
    };
    let (_, asked) = parse("runtime", words("x -t c1 ls -t --help"), GLOBALS, &[&EXEC]);
    let Ok(Asked::Run(_, typed)) = asked else {
        panic!("{asked:?}")
    };
    assert!(typed.has("tty"));
    let rest: Vec<_> = (0..4)
        .map(|position| typed.word(position).unwrap_or_default())
        .collect();
    assert_eq!(rest, ["c1", "ls", "-t", "--help"]);
}

#[test]
fn what_is_wrong_is_named_with_what_is_allowed() {
    let unknown = misuse("list --bogus");
    assert!(
        unknown
            .message
            .starts_with("flag provided but not defined: -bogus"),
        "{}",
        unknown.message
    );
    assert!(
        unknown.message.contains("--format --quiet"),
        "{}",
        unknown.message
    );
    assert_eq!(unknown.exit, 1);
    assert_eq!(
        misuse("list --root /x").message,
        "flag provided but not defined: -root (a global option: it stands before the command)"
    );
    assert_eq!(
        misuse("run c1 --bundle").message,
        "flag needs an argument: --bundle"
    );
    let switch = misuse("run c1 --keep=maybe").message;
    assert!(
        switch.contains("\"maybe\"") && switch.contains("--keep") && switch.contains("true, false"),
        "{switch}"
    );
    assert_eq!(
        misuse("--bogus list").heading.as_deref(),
        Some(&*format!("Incorrect Usage. {}", misuse("--bogus list").message))
    );
}

#[test]
fn an_unknown_command_is_named_in_runcs_words() {
    for line in ["foo", "foo -h", "help foo"] {
        let unknown = misuse(line);
        assert_eq!(
            (unknown.message.as_str(), unknown.exit),
            ("No help topic for 'foo'", 3),
            "{line}"
        );
    }
}

#[test]
fn the_number_of_words_is_checked_in_runcs_words() {
    for (line, message) in [
        ("run", "runtime: \"run\" requires exactly 1 argument(s)"),
        ("run a b", "runtime: \"run\" requires exactly 1 argument(s)"),
        ("kill", "runtime: \"kill\" requires a minimum of 1 argument(s)"),
        (
            "kill a b c",
            "runtime: \"kill\" requires a maximum of 2 argument(s)",
        ),
        ("list a", "runtime: \"list\" requires exactly 0 argument(s)"),
    ] {
        assert_eq!(misuse(line).message, message);
    }
}

#[test]
fn help_and_version_win() {
    for line in ["", "-h", "--help", "help", "h", "--root /x -h", "-v --help"] {
        assert!(matches!(parsed(line).1, Ok(Asked::Help(None))), "{line}");
    }
    for line in ["-v", "--version"] {
        assert!(matches!(parsed(line).1, Ok(Asked::Version)), "{line}");
    }
    for line in ["run -h", "run --help", "help run", "run c1 --help"] {
        assert!(
            matches!(parsed(line).1, Ok(Asked::Help(Some(command))) if command.name == "run"),
            "{line}"
        );
    }
}

#[test]
fn counts_and_choices_name_the_flag() {
    assert_eq!(
        matches("run c1 --preserve-fds 2").count("preserve-fds").ok(),
        Some(2)
    );
    assert_eq!(matches("run c1").count("preserve-fds").ok(), Some(0));
    for bad in ["-1", "x", "4294967296"] {
        let error = matches(&format!("run c1 --preserve-fds={bad}"))
            .count("preserve-fds")
            .expect_err(bad)
            .to_string();
        assert!(error.contains("--preserve-fds") && error.contains(bad), "{error}");
    }
    let error = matches("plan --format=xml")
        .choice("format", 0, &[("text", 0), ("json", 1)])
        .expect_err("xml");
    assert_eq!(
        error.to_string(),
        "invalid value \"xml\" for --format: allowed: text, json"
    );
}

#[test]
fn bytes_that_are_no_text_are_kept_in_paths_and_refused_elsewhere() {
    let odd = OsString::from_vec(b"/b\xff".to_vec());
    let line = vec![
        "run".into(),
        "c1".into(),
        "-b".into(),
        odd.clone(),
        "-f".into(),
        odd.clone(),
    ];
    let Ok(Asked::Run(_, typed)) = parse("runtime", line, GLOBALS, crate::cmd::ALL).1 else {
        panic!()
    };
    assert_eq!(typed.path("bundle"), Some(PathBuf::from(odd)));
    assert!(typed.text("config").is_err());
}

/// The calls that containerd's shims, docker, podman, conmon and CRI-O were seen to make: each is accepted as it stands.
#[test]
fn the_calls_of_engines() {
    const SHIM: &str = "--root /r --log /l --log-format json";
    const CONMON: &str = "--log-format=json --log /l";
    let calls = [
        (SHIM, "create --bundle /b --pid-file /p c1"),
        (SHIM, "create --bundle /b --pid-file /p --console-socket /s c1"),
        (
            SHIM,
            "create --bundle /b --pid-file /p --no-pivot --no-new-keyring --preserve-fds 2 c1",
        ),
        (SHIM, "start c1"),
        (SHIM, "delete c1"),
        (SHIM, "delete --force c1"),
        (SHIM, "kill c1 9"),
        (SHIM, "kill --all c1 15"),
        (SHIM, "pause c1"),
        (SHIM, "resume c1"),
        (SHIM, "ps --format json c1"),
        (SHIM, "exec --process /f --detach --pid-file /p c1"),
        (
            SHIM,
            "exec --process /f --console-socket /s --detach --pid-file /p c1",
        ),
        (SHIM, "update --resources=- c1"),
        (SHIM, "update --resources - c1"),
        (SHIM, "state c1"),
        (SHIM, "list --format=json"),
        (SHIM, "events --stats c1"),
        (SHIM, "events --interval=5s c1"),
        (
            "--root /r --log /l --log-format json --debug --systemd-cgroup --rootless=true",
            "start c1",
        ),
        ("", "features"),
        (CONMON, "create --bundle /b --pid-file /p c1"),
        (
            CONMON,
            "exec --pid-file /p --process /f --detach --tty --console-socket /s c1",
        ),
        (
            "--systemd-cgroup --cgroup-manager disabled --log-format=json --log /l",
            "create --bundle /b c1",
        ),
        ("--root=/r", "create --bundle /b --pid-file /p c1"),
        ("--root=/r", "exec --pid-file /p --process /f --detach c1"),
        ("--root /r", "kill -a c1 9"),
        ("--root /r", "exec --process /f c1"),
        ("", "update --resources=/f c1"),
        ("", "kill --all c1 9"),
        (
            SHIM,
            "checkpoint --image-path /i --work-path /w --leave-running --tcp-established --ext-unix-sk --shell-job \
             --file-locks --manage-cgroups-mode soft --empty-ns network --parent-path ../p --lazy-pages --page-server \
             127.0.0.1:1 --status-fd 3 --pre-dump c1",
        ),
        (
            SHIM,
            "restore --image-path /i --work-path /w --tcp-established --detach --pid-file /p --console-socket /s --no-pivot \
             -no-subreaper --bundle /b c1",
        ),
        (
            "--log-format=json --log /l",
            "checkpoint --image-path /i --work-path /w --leave-running --tcp-established --file-locks --pre-dump \
             --parent-path p c1",
        ),
        (
            CONMON,
            "restore --bundle /b --pid-file /p --detach --image-path /i --work-path /w --tcp-established --tcp-close \
             --file-locks --lsm-profile=apparmor:x --lsm-mount-context=y c1",
        ),
        (
            "--log-level debug --log=journald:c1",
            "exec --pid-file /p --process /f --detach --tty c1",
        ),
    ];
    for (globals, call) in calls {
        let line = format!("{globals} {call}");
        let verb = call.split(' ').next().unwrap_or_default();
        match parsed(&line).1 {
            Ok(Asked::Run(command, matches)) => {
                assert_eq!(command.name, verb, "{line}");
                let id = matches.word(0).map(OsStr::to_string_lossy);
                assert_eq!(id.as_deref(), call.contains("c1").then_some("c1"), "{line}");
            }
            other => panic!("{line}: {other:?}"),
        }
    }
    assert!(matches!(parsed("--version").1, Ok(Asked::Version)));
}
