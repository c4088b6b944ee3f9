//! Masked and read-only paths, sysctls and other settings.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};

use runtime_core_program::{Call, FrameKind, detail};

use crate::harness::*;

fn mask(path: &str) -> Step {
    Step::Mask { path: text(path) }
}

#[test]
fn masks_cover_what_is_there() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    for dir in ["one", "two", "target"] {
        fs::create_dir(root.join(dir)).unwrap();
        fs::write(root.join(dir).join("secret"), "secret").unwrap();
    }
    fs::write(root.join("file"), "secret").unwrap();
    fs::write(root.join("file2"), "secret").unwrap();
    symlink("target", root.join("link")).unwrap();
    // A null device of the container's own is not what covers anything (CVE-2025-31133).
    fs::create_dir(root.join("dev")).unwrap();
    symlink("/file", root.join("dev/null")).unwrap();
    let paths = [
        "/one",
        "/two",
        "/file",
        "/file2",
        "/missing/x",
        "/file/x",
        "/link",
        "/proc/cpuinfo",
    ];
    let masks: Vec<Step> = paths.iter().map(|path| mask(path)).collect();
    let init = Init::start(&all(&[
        &rooted(&root),
        &[
            filesystem("proc", "/proc", &[], 0),
            Step::PrepareMasks { label: text("") },
            Step::Pivot {},
        ],
        &masks,
        &[Step::Sync {}],
    ]));
    init.expect(FrameKind::Reached, 15);
    for file in ["/file", "/file2", "/proc/cpuinfo"] {
        let found = fs::metadata(init.root(file)).unwrap();
        assert!(
            found.file_type().is_char_device() && found.rdev() == 0x103,
            "{file}"
        );
    }
    let dir = |path: &str| {
        (
            fs::metadata(init.root(path)).unwrap().dev(),
            fs::read_dir(init.root(path)).unwrap().count(),
        )
    };
    assert_eq!(dir("/one"), dir("/two"), "one filesystem for all");
    assert_eq!(dir("/one").1, 0);
    assert!(init.mounts("/one")[0][5].starts_with("ro,nosuid,nodev,noexec"));
    // A link stands for what it leads to: a path of the usual ones may be a link in an image.
    assert_eq!(dir("/target"), dir("/one"));
    assert_eq!(init.mounts("/target").len(), 1);
}

#[test]
fn read_only_paths_keep_their_mounts_below() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    let read_only = |path: &str| Step::ReadOnlyPath { path: text(path) };
    let init = Init::start(&all(&[
        &rooted(&root),
        &[
            filesystem("tmpfs", "/t", &[], 0),
            filesystem("tmpfs", "/t/below", &[], 0),
            filesystem("proc", "/proc", &[], 0),
            Step::Pivot {},
            read_only("/t"),
            read_only("/proc/sys"),
            read_only("/missing"),
            Step::Sync {},
        ],
    ]));
    init.expect(FrameKind::Reached, 11);
    for path in ["/t", "/t/below", "/proc/sys"] {
        let mounts = init.mounts(path);
        assert!(mounts.last().unwrap()[5].starts_with("ro"), "{path}: {mounts:?}");
    }
    assert!(init.mounts("/proc")[0][5].starts_with("rw"));
}

#[test]
fn names_and_sysctls_are_set_in_their_namespaces() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    let sysctl = |path: &str, value: &str| Step::Sysctl {
        path: text(path),
        value: value.into(),
    };
    let before = fs::read_to_string("/proc/sys/kernel/domainname").unwrap();
    let steps = all(&[
        &rooted(&root),
        &host_programs(),
        &[
            Step::Unshare {
                namespaces: NEWIPC | NEWNET,
            },
            filesystem("proc", "/proc", &[], 0),
            Step::Pivot {},
            Step::OpenProc {},
            sysctl("kernel/shmmni", "77"),
            sysctl("net/ipv4/ip_forward", "1"),
            Step::Hostname {
                name: b"inside".to_vec(),
            },
            Step::Domainname {
                name: b"domain.inside".to_vec(),
            },
        ],
        &shell(
            "cat /proc/sys/kernel/shmmni /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/hostname /proc/sys/kernel/domainname",
        ),
    ]);
    assert_eq!(Init::start(&steps).output(), "77\n1\ninside\ndomain.inside\n");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/domainname").unwrap(), before);
}

#[test]
fn a_sysctl_cannot_leave_proc_sys() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    for (path, errno) in [
        ("../self/comm", 18),
        ("/proc/self/comm", 18),
        ("kernel/nothing", 2),
        ("kernel", 21),
    ] {
        let sysctl = Step::Sysctl {
            path: text(path),
            value: b"x".to_vec(),
        };
        let frame = Init::start(&all(&[&rooted(&root), &[Step::OpenProc {}, sysctl]])).failure();
        assert_eq!((frame.call, frame.errno), (Call::Openat, errno), "{path}");
    }
    let sysctl = Step::Sysctl {
        path: text("kernel/shmmni"),
        value: b"nonsense".to_vec(),
    };
    let frame = Init::start(&[Step::Unshare { namespaces: NEWIPC }, Step::OpenProc {}, sysctl]).failure();
    assert_eq!((frame.call, frame.errno), (Call::Write, 22));
}

#[test]
fn files_about_itself_are_written_on_procfs_only() {
    if !is_root() {
        return;
    }
    let write = |path: &str| Step::WriteSelf {
        path: text(path),
        value: b"7".to_vec(),
    };
    let init = Init::start(&[write("/proc/self/oom_score_adj"), Step::Sync {}]);
    init.expect(FrameKind::Reached, 2);
    assert_eq!(init.proc("oom_score_adj"), "7\n");
    let folder = Folder::new();
    fs::write(folder.join("file"), "").unwrap();
    let frame = Init::start(&[write(folder.join("file").to_str().unwrap())]).failure();
    assert_eq!(frame.detail, detail::WRONG_TYPE);
    assert_eq!(fs::read(folder.join("file")).unwrap(), b"");
}
