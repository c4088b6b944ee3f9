//! Directories, links and devices in a hostile root; ways of changing the root.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};

use runtime_core_program::{Call, FrameKind, detail};

use crate::harness::*;

const CHARACTER: u32 = 0o020_000;
const FIFO: u32 = 0o010_000;
const NULL: u64 = 1 << 8 | 3;

fn node(path: &str, mode: u32, device: u64) -> Step {
    Step::Device {
        path: text(path),
        mode,
        device,
        uid: 5,
        gid: 6,
    }
}

fn run(root: &Folder, steps: &[Step]) -> Init {
    let program = all(&[&rooted(root), steps, &[Step::Sync {}]]);
    Init::start(&program)
}

#[test]
fn files_are_made_with_exact_modes_and_owners() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    fs::create_dir(root.join("there")).unwrap();
    symlink("other", root.join("link")).unwrap();
    let init = run(
        &root,
        &[
            Step::MakeDir {
                path: text("/a/b"),
                mode: 0o1777,
            },
            Step::MakeDir {
                path: text("/there"),
                mode: 0o700,
            },
            Step::Symlink {
                target: text("/proc/self/fd"),
                path: text("/dev/fd"),
            },
            Step::Symlink {
                target: text("x"),
                path: text("/link"),
            },
            node("/dev/null", CHARACTER | 0o666, NULL),
            node("/dev/null", CHARACTER | 0o600, NULL),
            node("/dev/fifo", FIFO | 0o622, 0),
        ],
    );
    init.expect(FrameKind::Reached, 11);
    let mode = |path: &str| fs::symlink_metadata(root.join(path)).unwrap().mode();
    assert_eq!((mode("a") & 0o7777, mode("a/b") & 0o7777), (0o755, 0o1777));
    assert_eq!(mode("there") & 0o7777, 0o755, "what is there stays");
    assert_eq!(
        fs::read_link(root.join("dev/fd")).unwrap().to_str(),
        Some("/proc/self/fd")
    );
    assert_eq!(fs::read_link(root.join("link")).unwrap().to_str(), Some("other"));
    let null = fs::symlink_metadata(root.join("dev/null")).unwrap();
    assert_eq!(
        (null.mode(), null.rdev(), null.uid(), null.gid()),
        (CHARACTER | 0o600, NULL, 5, 6)
    );
    assert_eq!(mode("dev/fifo"), FIFO | 0o622);
}

#[test]
fn what_is_another_file_already_is_refused() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    fs::create_dir(root.join("dev")).unwrap();
    fs::write(root.join("dev/file"), "").unwrap();
    symlink("/dev/real", root.join("dev/link")).unwrap();
    for (path, number) in [("/dev/file", NULL), ("/dev/link", NULL)] {
        let frame = run(&root, &[node(path, CHARACTER | 0o666, number)]).failure();
        assert_eq!(
            (frame.call, frame.detail),
            (Call::Mknod, detail::WRONG_TYPE),
            "{path}"
        );
    }
    let steps = [
        node("/dev/zero", CHARACTER | 0o666, 1 << 8 | 5),
        node("/dev/zero", CHARACTER | 0o666, NULL),
    ];
    assert_eq!(run(&root, &steps).failure().detail, detail::WRONG_TYPE);
    for path in ["/", "..", "/dev/..", ""] {
        let frame = run(&root, &[node(path, CHARACTER, NULL)]).failure();
        assert_eq!((frame.errno, frame.detail), (22, detail::WRONG_TYPE), "{path}");
    }
    assert!(!root.join("dev/real").exists());
}

#[test]
fn a_linked_dev_makes_nothing_outside() {
    if !is_root() {
        return;
    }
    let (root, outside) = (Folder::new(), Folder::new());
    symlink(outside.path(), root.join("dev")).unwrap();
    let init = run(
        &root,
        &[
            node("/dev/null", CHARACTER | 0o666, NULL),
            Step::Symlink {
                target: text("pts/ptmx"),
                path: text("/dev/ptmx"),
            },
            Step::BindDevice {
                source: text("/dev/zero"),
                path: text("/dev/zero"),
                mode: CHARACTER | 0o666,
                device: 1 << 8 | 5,
            },
        ],
    );
    init.expect(FrameKind::Reached, 7);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    let inside = root.join(&outside.path().to_str().unwrap()[1..]);
    assert_eq!(fs::read_dir(inside).unwrap().count(), 3);
}

#[test]
fn a_bound_device_is_checked() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    let bound = |source: &str, path: &str, device: u64| Step::BindDevice {
        source: text(source),
        path: text(path),
        mode: CHARACTER | 0o666,
        device,
    };
    let init = run(&root, &[bound("/dev/null", "/dev/null", NULL), Step::Pivot {}]);
    init.expect(FrameKind::Reached, 6);
    let null = fs::metadata(init.root("/dev/null")).unwrap();
    assert!(null.file_type().is_char_device() && null.rdev() == NULL);
    for (source, device) in [
        ("/dev/null", 5),
        ("/etc/passwd", NULL),
        ("/etc/passwd", 0),
        ("/proc/self", NULL),
    ] {
        let frame = run(&root, &[bound(source, "/dev/x", device)]).failure();
        assert_eq!(frame.detail, detail::SOURCE, "{source}");
    }
    symlink("/target", root.join("dev/link")).unwrap();
    let frame = run(&root, &[bound("/dev/null", "/dev/link", NULL)]).failure();
    assert_eq!(frame.detail, detail::WRONG_TYPE);
    assert!(!root.join("target").exists());
}

#[test]
fn the_root_is_changed_in_three_ways() {
    if !is_root() {
        return;
    }
    for change in [Step::Pivot {}, Step::MoveRoot {}, Step::Chroot {}] {
        let root = Folder::new();
        fs::write(root.join("here"), "").unwrap();
        let steps = all(&[
            &rooted(&root),
            &host_programs(),
            &[
                filesystem("proc", "/proc", &[], 0),
                Step::ReadOnlyRoot {},
                change.clone(),
            ],
            &shell(
                "ls -d /here /proc/self; pwd; touch /new 2>&- || echo read-only; grep -c ' - proc ' /proc/self/mountinfo",
            ),
        ]);
        assert_eq!(
            Init::start(&steps).output(),
            "/here\n/proc/self\n/\nread-only\n1\n",
            "{}",
            change.name()
        );
        assert!(!root.join("new").exists());
    }
}
