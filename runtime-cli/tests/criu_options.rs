//! Each option of checkpoint and restore reaches CRIU as what CRIU calls it (images/rpc.proto): by a false CRIU that writes
//! down what it is asked for, and says that it failed.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod place;

use std::collections::HashMap;
use std::fs::read_to_string;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use place::{Place, err};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// Where the false CRIU writes its request.
const ASKED: &str = "RCLI_CRIU_ASKED";

/// Not a test by itself: what the program named criu becomes in the tests below.
#[test]
fn false_criu() {
    let Some(asked) = std::env::var_os(ASKED) else {
        return;
    };
    let ourselves = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let socket = pidfd_getfd(&ourselves, 3, PidfdGetfdFlags::empty()).unwrap();
    let mut request = vec![0; 1 << 16];
    let answer = |bytes: &[u8]| send(&socket, bytes, SendFlags::empty()).map(drop).unwrap();
    while let Ok((length @ 1.., _)) = recv(&socket, request.as_mut_slice(), RecvFlags::empty()) {
        match request[1] {
            // Version 4.2; both features.
            10 => answer(b"\x08\x0a\x10\x01\x52\x04\x08\x04\x10\x02"),
            9 => answer(b"\x08\x09\x10\x01\x42\x04\x08\x01\x10\x01"),
            // What is said to a notification is of no interest.
            6 => {}
            kind => {
                std::fs::write(&asked, &request[..length]).unwrap();
                answer(&notice(if kind == 2 {
                    "setup-namespaces"
                } else {
                    "status-ready"
                }));
                answer(&[&[8, kind][..], b"\x10\x00\x4a\x08no, said"].concat());
            }
        }
    }
}

/// A notification with the pid of the caller.
fn notice(stage: &str) -> Vec<u8> {
    let mut inner = [&[10, u8::try_from(stage.len()).unwrap()], stage.as_bytes(), &[16]].concat();
    let mut pid = std::process::id();
    while pid >= 0x80 {
        inner.push((pid & 0x7f) as u8 | 0x80);
        pid >>= 7;
    }
    inner.push(u8::try_from(pid).unwrap());
    [
        b"\x08\x06\x10\x01\x2a",
        &[u8::try_from(inner.len()).unwrap()][..],
        &inner,
    ]
    .concat()
}

/// A place with a false criu in its search path.
struct Asking {
    place: Place,
    id: String,
}

impl Asking {
    fn new(test: &str) -> Option<Self> {
        let place = Place::new(test)?;
        let bin = place.dir.join("criu-bin");
        std::fs::create_dir(&bin).unwrap();
        let ourselves = std::env::current_exe().unwrap();
        let script = format!("#!/bin/sh\nexec {} --exact false_criu\n", ourselves.display());
        std::fs::write(bin.join("criu"), script).unwrap();
        std::fs::set_permissions(bin.join("criu"), PermissionsExt::from_mode(0o755)).unwrap();
        let image = place.dir.join("image");
        std::fs::create_dir(&image).unwrap();
        std::fs::write(image.join("descriptors.json"), "[\"\",\"\",\"\"]").unwrap();
        let id = place.id("a");
        Some(Self { place, id })
    }

    fn asked_file(&self) -> PathBuf {
        self.place.dir.join("asked")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(arguments);
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = self.place.dir.join("criu-bin");
        command
            .env("PATH", format!("{}:{path}", bin.display()))
            .env(ASKED, self.asked_file());
        command
    }

    fn call(&self, arguments: &[&str]) -> Output {
        self.place.finish(self.command(arguments))
    }

    /// The options that CRIU is asked with, and the kind of the request.
    fn asked(&self, command: &str, more: &[&str]) -> (u64, HashMap<u64, Value>) {
        let _ = std::fs::remove_file(self.asked_file());
        let image = self.place.dir.join("image");
        let mut line = vec![command, "--image-path", image.to_str().unwrap()];
        line.extend(more);
        line.push(&self.id);
        let output = self.call(&line);
        let said = err(&output);
        assert!(
            !output.status.success() && said.contains("no, said"),
            "{line:?}: {said}"
        );
        let bytes = std::fs::read(self.asked_file()).unwrap();
        let request = fields(&bytes);
        let Value::Bytes(options) = &request[&2] else {
            panic!("{line:?}: no options")
        };
        (request[&1].number(), fields(options))
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Value {
    fn number(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Bytes(bytes) => panic!("{bytes:?} is no number"),
        }
    }
}

/// The last value of each field of a message.
fn fields(mut bytes: &[u8]) -> HashMap<u64, Value> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut found = HashMap::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let value = varint(&mut bytes);
        let value = if tag & 7 == 2 {
            let (head, tail) = bytes.split_at(usize::try_from(value).unwrap());
            bytes = tail;
            Value::Bytes(head.to_vec())
        } else {
            Value::Number(value)
        };
        found.insert(tag >> 3, value);
    }
    found
}

/// An option, its value, the number of CRIU's field, and what is there.
type Row = (&'static str, &'static str, u64, Expected);

enum Expected {
    Number(u64),
    Text(&'static [u8]),
}

use Expected::{Number, Text};

/// Each option adds its field, which is not there, or another one, without it.
fn compare(asking: &Asking, command: &str, always: &[&str], rows: &[Row]) {
    let (_, plain) = asking.asked(command, always);
    for (option, value, field, expected) in rows {
        let mut more = vec![*option];
        more.extend((!value.is_empty()).then_some(*value));
        more.extend(always);
        let (_, options) = asking.asked(command, &more);
        let expected = match expected {
            Number(number) => Value::Number(*number),
            Text(text) => Value::Bytes(text.to_vec()),
        };
        assert_eq!(options.get(field), Some(&expected), "{command} {option} {value}");
        // The namespace that stays empty is always the same.
        let same = *option == "--empty-ns";
        assert_eq!(plain.get(field) == Some(&expected), same, "{command} {option}");
    }
}

/// CLONE_NEWNET.
const NETWORK: u64 = 0x4000_0000;

const CHECKPOINT: &[Row] = &[
    ("--leave-running", "", 3, Number(1)),
    ("--ext-unix-sk", "", 4, Number(1)),
    ("--tcp-established", "", 5, Number(1)),
    ("--shell-job", "", 7, Number(1)),
    ("--file-locks", "", 8, Number(1)),
    (
        "--page-server",
        "127.0.0.1:7",
        11,
        Text(b"\x0a\x09127.0.0.1\x10\x07"),
    ),
    ("--parent-path", "../image", 14, Text(b"../image")),
    ("--auto-dedup", "", 16, Number(1)),
    ("--link-remap", "", 18, Number(1)),
    ("--manage-cgroups-mode", "soft", 34, Number(3)),
    ("--manage-cgroups-mode", "full", 34, Number(4)),
    ("--manage-cgroups-mode", "strict", 34, Number(5)),
    ("--manage-cgroups-mode", "ignore", 34, Number(0)),
    ("--empty-ns", "network", 38, Number(NETWORK)),
    ("--tcp-skip-in-flight", "", 46, Number(1)),
    ("--lazy-pages", "", 48, Number(1)),
    ("--network-lock", "iptables", 64, Number(1)),
    ("--network-lock", "nftables", 64, Number(2)),
    ("--network-lock", "skip", 64, Number(3)),
];

#[test]
fn checkpoint_asks_criu_for_what_its_options_name() {
    let Some(asking) = Asking::new("checkpoint_asks_criu_for_what_its_options_name") else {
        return;
    };
    asking.place.expect(&["run", "--detach", &asking.id]);
    compare(&asking, "checkpoint", &[], CHECKPOINT);
    // Dump and pre-dump.
    assert_eq!(asking.asked("checkpoint", &[]).0, 1);
    assert_eq!(asking.asked("checkpoint", &["--pre-dump"]).0, 4);
    assert_eq!(asking.place.state(&asking.id)["status"], "running");
}

#[test]
fn checkpoint_writes_to_the_status_descriptor() {
    let Some(asking) = Asking::new("checkpoint_writes_to_the_status_descriptor") else {
        return;
    };
    asking.place.expect(&["run", "--detach", &asking.id]);
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    // It must reach the program: rustix made it without close-on-exec.
    let number = writer.as_raw_fd().to_string();
    asking.asked("checkpoint", &["--lazy-pages", "--status-fd", &number]);
    let mut read = [7; 8];
    assert_eq!(rustix::io::read(&reader, &mut read[..]), Ok(1));
    assert_eq!(read[0], 0);
    // Nothing else tells anything by it.
    let output = asking.call(&["checkpoint", "--status-fd", &number, &asking.id]);
    assert!(err(&output).contains("--lazy-pages"), "{}", err(&output));
}

const RESTORE: &[Row] = &[
    ("--ext-unix-sk", "", 4, Number(1)),
    ("--tcp-established", "", 5, Number(1)),
    ("--shell-job", "", 7, Number(1)),
    ("--file-locks", "", 8, Number(1)),
    ("--auto-dedup", "", 16, Number(1)),
    ("--manage-cgroups-mode", "full", 34, Number(4)),
    ("--manage-cgroups-mode", "ignore", 34, Number(0)),
    ("--empty-ns", "network", 38, Number(NETWORK)),
    ("--lazy-pages", "", 48, Number(1)),
    ("--tcp-close", "", 52, Number(1)),
    ("--lsm-profile", "apparmor:other", 53, Text(b"apparmor:other")),
    ("--lsm-mount-context", "a:b:c:d", 63, Text(b"a:b:c:d")),
    ("--network-lock", "skip", 64, Number(3)),
];

#[test]
fn restore_asks_criu_for_what_its_options_name() {
    let Some(asking) = Asking::new("restore_asks_criu_for_what_its_options_name") else {
        return;
    };
    compare(&asking, "restore", &["--detach"], RESTORE);
    // Nothing is left of all these, and a log where it was asked for.
    assert_eq!(asking.place.expect(&["list", "--quiet"]), "");
}

#[test]
fn restore_takes_bundle_and_configuration_by_name() {
    let Some(asking) = Asking::new("restore_takes_bundle_and_configuration_by_name") else {
        return;
    };
    let other = asking.place.dir.join("other");
    std::fs::create_dir(&other).unwrap();
    let config = read_to_string(asking.place.bundle().join("config.json")).unwrap();
    let root = asking.place.bundle().join("rootfs");
    let config = config.replace("\"rootfs\"", &format!("\"{}\"", root.display()));
    std::fs::write(other.join("second.json"), config).unwrap();
    std::fs::remove_file(asking.place.bundle().join("config.json")).unwrap();
    let line = [
        "--bundle",
        other.to_str().unwrap(),
        "--config",
        "second.json",
        "--detach",
    ];
    let (kind, options) = asking.asked("restore", &line);
    assert_eq!(kind, 2);
    let Value::Bytes(found) = &options[&13] else {
        panic!("no root")
    };
    assert_eq!(Path::new(std::str::from_utf8(found).unwrap()), root);
}

#[test]
fn logs_go_to_the_working_directory() {
    let Some(asking) = Asking::new("logs_go_to_the_working_directory") else {
        return;
    };
    let work = asking.place.dir.join("work/deeper");
    asking.place.expect(&["run", "--detach", &asking.id]);
    let same = |fd: &Value, path: &Path| {
        let _ = fd.number();
        path.is_dir()
    };
    let more = ["--work-path", work.to_str().unwrap()];
    let (_, plain) = asking.asked("checkpoint", &[]);
    let (_, options) = asking.asked("checkpoint", &more);
    assert!(!plain.contains_key(&17) && same(&options[&17], &work));
    asking.place.expect(&["delete", "--force", &asking.id]);
    std::fs::remove_dir(&work).unwrap();
    let (_, options) = asking.asked("restore", &["--work-path", work.to_str().unwrap(), "--detach"]);
    assert!(same(&options[&17], &work));
}

#[test]
fn restore_says_that_no_pivot_means_nothing() {
    let Some(asking) = Asking::new("restore_says_that_no_pivot_means_nothing") else {
        return;
    };
    let image = asking.place.dir.join("image");
    let output = asking.call(&[
        "restore",
        "--no-pivot",
        "--image-path",
        image.to_str().unwrap(),
        &asking.id,
    ]);
    assert!(
        err(&output).contains("--no-pivot changes nothing"),
        "{}",
        err(&output)
    );
}

#[test]
fn restore_adopts_what_is_left_behind() {
    let Some(asking) = Asking::new("restore_adopts_what_is_left_behind") else {
        return;
    };
    // A hook leaves a process whose parent has ended: whose child is it now?
    let dir = &asking.place.dir;
    let script = format!(
        "(sleep 10 & echo $! > {0}/orphan); sleep 0.3; grep PPid /proc/$(cat {0}/orphan)/status > {0}/parent",
        dir.display()
    );
    asking.place.configure("config.json", "true", |config| {
        config["hooks"] = serde_json::json!({"createRuntime": [
            {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]});
    });
    let image = dir.join("image");
    let parent = |flags: &[&str]| {
        let line = [
            &["restore", "--image-path", image.to_str().unwrap()],
            flags,
            &[&asking.id],
        ]
        .concat();
        let mut child = asking
            .command(&line)
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let _ = child.wait();
        let said = read_to_string(dir.join("parent")).unwrap();
        let parent = said
            .split_whitespace()
            .last()
            .and_then(|pid| pid.parse::<u32>().ok());
        (parent.unwrap_or_else(|| panic!("{said}")), child.id())
    };
    let (adopter, runtime) = parent(&[]);
    assert_eq!(adopter, runtime);
    let (adopter, runtime) = parent(&["--no-subreaper"]);
    assert_ne!(adopter, runtime);
}
