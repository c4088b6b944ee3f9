//! What the options of exec make of a container's configuration.

use std::ffi::OsString;

use serde_json::json;

use super::*;
use crate::args::{Asked, parse};

fn matches(line: &[&str]) -> Matches {
    let words: Vec<OsString> = ["exec"].iter().chain(line).map(OsString::from).collect();
    match parse("runtime", words, crate::session::GLOBALS, crate::cmd::ALL).1 {
        Ok(Asked::Run(_, matches)) => matches,
        other => panic!("{line:?}: {other:?}"),
    }
}

fn config() -> LoadedSpec {
    let config = json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {
            "terminal": true, "user": {"uid": 5, "gid": 6, "additionalGids": [7]}, "args": ["app"],
            "env": ["A=1"], "cwd": "/srv", "noNewPrivileges": true,
            "capabilities": {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]},
        },
    });
    LoadedSpec::from_slice(config.to_string().as_bytes(), "config.json").expect("a configuration")
}

fn process(line: &[&str]) -> Process {
    described(&config(), &matches(line)).expect("a process").0
}

fn refusal(line: &[&str]) -> String {
    described(&config(), &matches(line))
        .expect_err("refused")
        .to_string()
}

#[test]
fn without_options_all_but_the_terminal_is_the_containers() {
    let process = process(&["c1", "sh", "-c", "-t", "--user"]);
    let args: Vec<&str> = process.args().iter().flatten().map(String::as_str).collect();
    assert_eq!(args, ["sh", "-c", "-t", "--user"]);
    assert_eq!(process.terminal(), Some(false));
    assert_eq!((process.user().uid(), process.user().gid()), (5, 6));
    assert_eq!(process.user().additional_gids().as_deref(), Some(&[7][..]));
    assert_eq!(process.cwd(), Path::new("/srv"));
    assert_eq!(process.no_new_privileges(), Some(true));
}

#[test]
fn options_change_the_process() {
    let process = process(&[
        "-t",
        "--cwd",
        "/bin",
        "-e",
        "B=2",
        "--env=C=3",
        "-u",
        "1000:100",
        "-g",
        "8",
        "-g",
        "9",
        "--no-new-privs=false",
        "c1",
        "id",
    ]);
    assert_eq!(process.terminal(), Some(true));
    assert_eq!(process.cwd(), Path::new("/bin"));
    let env: Vec<&str> = process.env().iter().flatten().map(String::as_str).collect();
    assert_eq!(env, ["A=1", "B=2", "C=3"]);
    assert_eq!((process.user().uid(), process.user().gid()), (1000, 100));
    assert_eq!(process.user().additional_gids().as_deref(), Some(&[7, 8, 9][..]));
    assert_eq!(process.no_new_privileges(), Some(false));
    // A uid alone leaves the gid.
    let process = self::process(&["-u", "0", "c1", "id"]);
    assert_eq!((process.user().uid(), process.user().gid()), (0, 6));
}

#[test]
fn ids_are_numbers_and_nothing_else() {
    for wrong in [
        "-1",
        "+1",
        "4294967295",
        "4294967296",
        "18446744073709551616",
        "1x",
        " 1",
        "root",
        ":1",
        "1:",
        "1:-1",
        "1:4294967295",
        "0x0",
        "1:2:3",
    ] {
        let typed = format!("--user={wrong}");
        let said = refusal(&[&typed, "c1", "id"]);
        assert!(said.contains("--user") && said.contains(wrong), "{said}");
    }
    for wrong in ["-1", "4294967295", "x"] {
        let typed = format!("--additional-gids={wrong}");
        assert!(refusal(&[&typed, "c1", "id"]).contains("--additional-gids"));
    }
    assert_eq!(
        process(&["-u", "4294967294:4294967294", "c1", "id"]).user().gid(),
        u32::MAX - 1
    );
    assert!(refusal(&["c1"]).contains("exec args cannot be empty"));
}

#[test]
fn capabilities_are_added_but_never_inheritable() {
    let (process, unknown) = described(
        &config(),
        &matches(&["-c", "CAP_SYSLOG", "-c", "CAP_NONSENSE", "c1", "id"]),
    )
    .expect("a process");
    assert_eq!(unknown, ["CAP_NONSENSE"]);
    let masks = capability::CapabilityMasks::of(process.capabilities().as_ref());
    let both = 1 << 5 | 1 << 34;
    assert_eq!(
        (masks.bounding, masks.effective, masks.permitted),
        (both, both, both)
    );
    assert_eq!((masks.inheritable, masks.ambient), (0, 0));
}

#[test]
fn sub_cgroups_as_runc_reads_them() {
    let sub = |controller: Option<&str>, path: &str| SubCgroup {
        controller: controller.map(str::to_owned),
        path: path.to_owned(),
    };
    assert_eq!(sub_cgroups(&["a/b"]).expect("a path"), [sub(None, "a/b")]);
    assert_eq!(
        sub_cgroups(&["memory:m", "cpu,cpuacct:c"]).expect("paths"),
        [
            sub(Some("memory"), "m"),
            sub(Some("cpu"), "c"),
            sub(Some("cpuacct"), "c")
        ]
    );
    for wrong in [&["a", "b"][..], &[":a"], &["cpu,:a"], &["cpu:a", "cpu:b"]] {
        let said = sub_cgroups(wrong).expect_err("refused").to_string();
        assert!(said.contains("invalid --cgroup argument"), "{said}");
    }
}
