//! The terminal, and what standard descriptors become.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Stdio;

use runtime_core_program::{Call, FrameKind, detail};

use crate::harness::*;

const CHARACTER: u32 = 0o020_000;

fn devpts() -> Step {
    filesystem(
        "devpts",
        "/dev/pts",
        &["newinstance", "ptmxmode=0666", "mode=0620"],
        0,
    )
}

fn console(bind: bool) -> Step {
    Step::Console {
        bind,
        rows: 33,
        columns: 99,
        uid: 1000,
    }
}

fn null(device: u64) -> Step {
    Step::Device {
        path: text("/dev/null"),
        mode: CHARACTER | 0o666,
        device,
        uid: 0,
        gid: 0,
    }
}

#[test]
fn the_program_gets_a_terminal_of_its_own() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    let tty = Step::Device {
        path: text("/dev/tty"),
        mode: CHARACTER | 0o666,
        device: 5 << 8,
        uid: 0,
        gid: 0,
    };
    let steps = all(&[
        &rooted(&root),
        &host_programs(),
        &[
            filesystem("proc", "/proc", &[], 0),
            devpts(),
            tty,
            Step::Pivot {},
            Step::NewSession {},
            console(true),
        ],
        &shell("tty; stty size; stat -c %u /dev/pts/0; stat -Lc %t:%T /dev/console; echo to tty >/dev/tty;"),
    ]);
    let init = Init::start(&steps);
    let line = u32::try_from(steps.len()).unwrap() - 2;
    let master = init.expect(FrameKind::Descriptor, line).unwrap();
    init.expect(FrameKind::Starting, line + 2);
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    // The end of a terminal is EIO.
    while let Ok(length) = rustix::io::read(&master, &mut buffer) {
        text.extend_from_slice(&buffer[..length]);
    }
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "/dev/pts/0\r\n33 99\r\n1000\r\n88:0\r\nto tty\r\n"
    );
}

#[test]
fn a_console_is_not_made_through_a_link() {
    if !is_root() {
        return;
    }
    let (root, outside) = (Folder::new(), Folder::new());
    fs::create_dir(root.join("dev")).unwrap();
    symlink(outside.join("x"), root.join("dev/console")).unwrap();
    let steps = all(&[&rooted(&root), &[devpts(), Step::NewSession {}, console(true)]]);
    let frame = Init::start(&steps).failure();
    assert_eq!((frame.errno, frame.detail), (40, detail::WRONG_TYPE));
    assert!(!outside.join("x").exists());
}

#[test]
fn only_a_devpts_is_asked_for_a_terminal() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    let console = |steps: &[Step]| Init::start(&all(&[&rooted(&root), steps, &[console(false)]])).failure();
    assert_eq!((console(&[]).call, console(&[]).errno), (Call::Openat, 2));
    let fake = Step::Device {
        path: text("/dev/pts/ptmx"),
        mode: CHARACTER | 0o666,
        device: 5 << 8 | 2,
        uid: 0,
        gid: 0,
    };
    assert_eq!(console(&[fake]).detail, detail::WRONG_TYPE);
    assert_eq!(
        console(&[filesystem("tmpfs", "/dev/pts", &[], 0)]).detail,
        detail::WRONG_TYPE
    );
}

#[test]
fn null_devices_become_the_containers_own() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    let init = Init::start(&all(&[
        &rooted(&root),
        &[null(0x103), Step::Pivot {}, Step::ReopenNull {}, Step::Sync {}],
    ]));
    init.expect(FrameKind::Reached, 7);
    let fd = |number: u32| fs::metadata(format!("/proc/{}/fd/{number}", init.child.id())).unwrap();
    let own = fs::metadata(init.root("/dev/null")).unwrap();
    assert_eq!((fd(0).dev(), fd(0).ino()), (own.dev(), own.ino()));
    assert_eq!(fd(1).mode() & 0o170_000, 0o010_000, "a pipe stays a pipe");
}

#[test]
fn what_is_no_null_device_is_not_opened() {
    if !is_root() {
        return;
    }
    let (root, bait) = (Folder::new(), Folder::new());
    fs::create_dir(root.join("dev")).unwrap();
    fs::write(bait.join("bait"), "").unwrap();
    let path = root.join("dev/null");
    let reopen = || Init::start(&all(&[&rooted(&root), &[Step::Pivot {}, Step::ReopenNull {}]])).failure();
    assert_eq!((reopen().call, reopen().errno), (Call::Openat, 2));
    fs::write(&path, "").unwrap();
    assert_eq!(reopen().detail, detail::WRONG_TYPE);
    fs::remove_file(&path).unwrap();
    symlink(bait.join("bait"), &path).unwrap();
    assert_eq!(reopen().detail, detail::WRONG_TYPE);
    fs::remove_file(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
    assert_eq!(reopen().detail, detail::WRONG_TYPE);
    let zero = all(&[&rooted(&root), &[null(0x105)]]);
    fs::remove_file(&path).unwrap();
    let steps = all(&[&zero, &[Step::Pivot {}, Step::ReopenNull {}]]);
    assert_eq!(Init::start(&steps).failure().detail, detail::WRONG_TYPE);
}

#[test]
fn standard_descriptors_are_given_where_possible() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let file = fs::File::create(folder.join("file")).unwrap();
    let own = Step::OwnStdio { uid: 1234 };
    let steps = [
        Step::Stdio {
            input: -1,
            output: -1,
            error: file.as_raw_fd(),
        },
        own,
        Step::Sync {},
    ];
    let init = Init::start_with(&bytes(&steps), &[file.as_fd()], Stdio::null());
    init.expect(FrameKind::Reached, 3);
    assert_eq!(fs::metadata(folder.join("file")).unwrap().uid(), 1234);
    assert_eq!(fs::metadata("/dev/null").unwrap().uid(), 0);
    let output = fs::metadata(format!("/proc/{}/fd/1", init.child.id())).unwrap();
    assert_eq!(output.uid(), 1234);
}
