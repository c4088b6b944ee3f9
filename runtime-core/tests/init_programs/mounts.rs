//! Filesystems, binds, remounts, copy-up, and the targets that a hostile root prepares for them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use runtime_core_program::step::mount_flags as flag;
use runtime_core_program::{Call, Frame, FrameKind, detail};

use crate::harness::*;

pub(crate) const READ_ONLY: u64 = 1;
const NO_SUID: u64 = 2;
const NO_EXEC: u64 = 8;
const SHARED: u64 = 1 << 20;

/// Runs the steps in a root and stops; the test looks at it from outside.
pub(crate) fn stopped(root: &Folder, steps: &[Step]) -> Init {
    let program = all(&[&rooted(root), steps, &[Step::Pivot {}, Step::Sync {}]]);
    let init = Init::start(&program);
    init.expect(FrameKind::Reached, u32::try_from(program.len()).unwrap());
    init
}

pub(crate) fn failing(root: &Folder, steps: &[Step]) -> Frame {
    Init::start(&all(&[&rooted(root), steps, &[Step::Sync {}]])).failure()
}

#[test]
fn filesystems_get_options_attributes_and_propagation() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    let tmpfs = Step::MountFs {
        fstype: text("tmpfs"),
        source: text("some name"),
        options: texts(&["size=64k", "mode=1500", "noswap"][..2]),
        attributes: READ_ONLY | NO_SUID,
        recursive_set: NO_EXEC,
        recursive_clear: 0,
        propagation: vec![SHARED],
        target: text("/made/on/the/way"),
        fallback: text(""),
        flags: 0,
    };
    let init = stopped(
        &root,
        &[filesystem("proc", "/proc", &[], flag::TARGET_REAL), tmpfs],
    );
    let mount = &init.mounts("/made/on/the/way")[0];
    assert_eq!(mount[5], "ro,nosuid,noexec,relatime");
    assert!(mount[6].starts_with("shared:"), "{mount:?}");
    let [.., kind, source, options] = mount.as_slice() else {
        panic!("{mount:?}")
    };
    assert_eq!((kind.as_str(), source.as_str()), ("tmpfs", "some\\040name"));
    // Some kernels say more (inode64).
    assert!(options.starts_with("rw,size=64k,mode=1500"), "{mount:?}");
    assert_eq!(init.mounts("/proc").len(), 1);
    assert_eq!(
        fs::metadata(root.join("made/on/the")).unwrap().mode() & 0o7777,
        0o755
    );
    // The root is its own mount and nothing of the host is left.
    assert_eq!(init.proc("mountinfo").lines().count(), 3);
}

#[test]
fn an_option_that_the_filesystem_refuses_is_named() {
    if !is_root() {
        return;
    }
    let frame = failing(
        &Folder::new(),
        &[filesystem("tmpfs", "/t", &["size=1m", "nonsense=1"], 0)],
    );
    assert_eq!((frame.line, frame.call, frame.errno), (4, Call::Fsconfig, 22));
    assert_eq!((frame.detail, frame.value), (detail::OPTION, 1));
    let frame = failing(&Folder::new(), &[filesystem("nonsensefs", "/t", &[], 0)]);
    assert_eq!((frame.call, frame.errno), (Call::Fsopen, 19));
}

#[test]
fn a_tmpfs_inherits_the_mode_of_what_was_there() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    fs::create_dir(root.join("old")).unwrap();
    fs::set_permissions(root.join("old"), fs::Permissions::from_mode(0o2710)).unwrap();
    let inherit = flag::INHERIT_MODE;
    let init = stopped(
        &root,
        &[
            filesystem("tmpfs", "/old", &[], inherit),
            filesystem("tmpfs", "/new", &[], inherit),
        ],
    );
    let mode = |path: &str| fs::metadata(init.root(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("/old"), mode("/new")), (0o2710, 0o1777));
    assert!(init.mounts("/old")[0].last().unwrap().contains("mode=2710"));
    assert!(!init.mounts("/new")[0].last().unwrap().contains("mode="));
    // A mode among the options has the last word.
    let init = stopped(&root, &[filesystem("tmpfs", "/old", &["mode=1500"], inherit)]);
    assert_eq!(fs::metadata(init.root("/old")).unwrap().mode() & 0o7777, 0o1500);
}

#[test]
fn setgid_is_inherited_by_directories_made_on_the_way() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    fs::create_dir(root.join("setgid")).unwrap();
    fs::set_permissions(root.join("setgid"), fs::Permissions::from_mode(0o7755)).unwrap();
    drop(stopped(&root, &[filesystem("tmpfs", "/setgid/a/b/c", &[], 0)]));
    for path in ["setgid/a", "setgid/a/b", "setgid/a/b/c"] {
        assert_eq!(
            fs::metadata(root.join(path)).unwrap().mode() & 0o7777,
            0o2755,
            "{path}"
        );
    }
}

#[test]
fn binds_make_targets_of_the_sources_kind() {
    if !is_root() {
        return;
    }
    let (root, source) = (Folder::new(), Folder::new());
    fs::write(source.join("file"), "x").unwrap();
    fs::create_dir_all(source.join("dir/below")).unwrap();
    let path = |name: &str| source.join(name).to_str().unwrap().to_owned();
    let mut read_only = bind(&path("dir"), "a/dir/", 0);
    if let Step::MountBind { set, .. } = &mut read_only {
        *set = READ_ONLY | NO_SUID;
    }
    let init = stopped(&root, &[bind(&path("file"), "/a/b/file", 0), read_only]);
    let same = |inside: &str, outside: &str| {
        let (a, b) = (
            fs::metadata(init.root(inside)).unwrap(),
            fs::metadata(path(outside)).unwrap(),
        );
        assert_eq!((a.dev(), a.ino()), (b.dev(), b.ino()), "{inside}");
    };
    same("/a/b/file", "file");
    same("/a/dir/below", "dir/below");
    assert!(init.mounts("/a/dir")[0][5].starts_with("ro,nosuid"));
    assert!(fs::symlink_metadata(root.join("a/b/file")).unwrap().is_file());
    assert_eq!(
        fs::metadata(root.join("a/b/file")).unwrap().len(),
        0,
        "the host's file is only a place"
    );
}

#[test]
fn recursive_attributes_reach_mounts_below() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    let tree = |flags, recursive_set| {
        let mut bind = bind(&format!("{}/one", root.path().display()), "/two", flags);
        if let Step::MountBind {
            recursive_set: set, ..
        } = &mut bind
        {
            *set = recursive_set;
        }
        bind
    };
    let base = [
        filesystem("tmpfs", "/one", &[], 0),
        filesystem("tmpfs", "/one/below", &[], 0),
    ];
    let init = stopped(&root, &all(&[&base, &[tree(flag::RECURSIVE, READ_ONLY)]]));
    assert!(init.mounts("/two")[0][5].starts_with("ro") && init.mounts("/two/below")[0][5].starts_with("ro"));
    assert!(init.mounts("/one/below")[0][5].starts_with("rw"));
    let init = stopped(&root, &all(&[&base, &[tree(0, READ_ONLY)]]));
    assert!(init.mounts("/two")[0][5].starts_with("ro") && init.mounts("/two/below").is_empty());
}

#[test]
fn a_mount_is_changed_afterwards() {
    if !is_root() {
        return;
    }
    let change = |target: &str, options: &[&str]| Step::Remount {
        target: text(target),
        options: texts(options),
        set: READ_ONLY,
        clear: 0,
        recursive_set: 0,
        recursive_clear: 0,
        propagation: vec![SHARED],
    };
    let root = Folder::new();
    let init = stopped(
        &root,
        &[
            filesystem("tmpfs", "/t", &["size=1m"], 0),
            change("/t", &["size=64k"]),
        ],
    );
    let mount = &init.mounts("/t")[0];
    assert!(
        mount[5].starts_with("ro,") && mount.last().unwrap().contains("size=64k"),
        "{mount:?}"
    );
    assert!(mount[6].starts_with("shared:"), "{mount:?}");
    let frame = failing(&root, &[change("/missing", &[])]);
    assert_eq!((frame.call, frame.errno), (Call::Openat, 2));
    let frame = failing(&root, &[change("/t", &[])]);
    assert_eq!((frame.call, frame.errno), (Call::MountSetattr, 22), "not a mount");
}

#[test]
fn a_source_at_fault_is_told_from_a_target() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    let frame = failing(&root, &[bind("/no/such/source", "/t", 0)]);
    assert_eq!(
        (frame.call, frame.errno, frame.detail),
        (Call::OpenTree, 2, detail::SOURCE)
    );
    let frame = failing(&root, &[bind("/proc/self", "/t", flag::SOURCE_NOFOLLOW)]);
    assert_eq!((frame.errno, frame.detail), (40, detail::SOURCE));
    fs::write(root.join("file"), "").unwrap();
    for target in ["/file", "/file/below"] {
        let frame = failing(&root, &[bind("/usr", target, 0)]);
        assert_eq!((frame.call, frame.errno), (Call::Openat, 20), "{target}");
    }
}

#[test]
fn a_link_is_copied_where_asked() {
    if !is_root() {
        return;
    }
    let (root, source) = (Folder::new(), Folder::new());
    symlink("some/where", source.join("link")).unwrap();
    let path = source.join("link").to_str().unwrap().to_owned();
    drop(stopped(&root, &[bind(&path, "/a/link", flag::COPY_SYMLINK)]));
    assert_eq!(
        fs::read_link(root.join("a/link")).unwrap().to_str(),
        Some("some/where")
    );
}

#[test]
fn links_in_targets_stay_inside_the_root() {
    if !is_root() {
        return;
    }
    let (root, outside) = (Folder::new(), Folder::new());
    fs::create_dir(root.join("real")).unwrap();
    symlink("/real", root.join("absolute")).unwrap();
    symlink(outside.path(), root.join("out")).unwrap();
    symlink("../../../../../../..", root.join("up")).unwrap();
    let steps = ["/absolute/t", "/out/t", "/up/../t", "/../../x/../t2"]
        .map(|target| filesystem("tmpfs", target, &[], 0));
    let init = stopped(&root, &steps);
    assert_eq!(
        fs::read_dir(outside.path()).unwrap().count(),
        0,
        "nothing was made outside"
    );
    let inside = format!("{}/t", outside.path().display());
    for place in ["/real/t", &inside, "/t", "/t2"] {
        assert_eq!(init.mounts(place).len(), 1, "{place}\n{}", init.proc("mountinfo"));
    }
}

#[test]
fn dangling_links_are_made_good_inside_the_root() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    fs::create_dir(root.join("etc")).unwrap();
    symlink("/tmp/foo/bar", root.join("jump")).unwrap();
    symlink("/jump/baz/hosts", root.join("etc/hosts")).unwrap();
    symlink("../tmp/./x/../dir/", root.join("etc/dir")).unwrap();
    let init = stopped(
        &root,
        &[bind("/etc/passwd", "/etc/hosts", 0), bind("/usr", "/etc/dir", 0)],
    );
    assert_eq!(init.mounts("/tmp/foo/bar/baz/hosts").len(), 1);
    assert_eq!(init.mounts("/tmp/dir").len(), 1);
    assert!(
        fs::metadata(root.join("tmp/foo/bar/baz/hosts"))
            .unwrap()
            .is_file()
    );
    // Links that go round in circles end.
    symlink("loop/x", root.join("loop")).unwrap();
    assert_eq!(failing(&root, &[bind("/usr", "/loop", 0)]).errno, 40);
}

#[test]
fn proc_is_neither_a_link_nor_covered() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    fs::create_dir(root.join("fake")).unwrap();
    symlink("/fake", root.join("proc")).unwrap();
    let proc = filesystem("proc", "/proc", &[], flag::TARGET_REAL);
    let frame = failing(&root, std::slice::from_ref(&proc));
    assert_eq!((frame.errno, frame.detail), (40, detail::WRONG_TYPE));
    fs::remove_file(root.join("proc")).unwrap();
    symlink("/proc/sys", root.join("alias")).unwrap();
    let forbidden = |steps: &[Step]| {
        assert_eq!(
            failing(&root, steps).detail,
            detail::FORBIDDEN_TARGET,
            "{steps:?}"
        )
    };
    forbidden(&[filesystem("tmpfs", "/proc", &[], 0)]);
    forbidden(&[filesystem("tmpfs", "/proc", &[], flag::ALLOW_PROC)]);
    forbidden(&[bind("/usr", "/proc", flag::ALLOW_PROC)]);
    forbidden(&[proc.clone(), filesystem("tmpfs", "/proc/sys", &[], 0)]);
    forbidden(&[proc.clone(), bind("/usr", "/alias", 0)]);
    forbidden(&[proc.clone(), bind("/etc/passwd", "/proc/uptime", 0)]);
    let init = stopped(
        &root,
        &[
            proc.clone(),
            bind("/etc/passwd", "/proc/uptime", flag::ALLOW_PROC),
        ],
    );
    assert_eq!(init.mounts("/proc/uptime").len(), 1);
    let init = stopped(&root, &[bind("/proc", "/proc", flag::RECURSIVE)]);
    assert!(!init.mounts("/proc").is_empty());
}

#[test]
fn the_host_stays_as_it_was() {
    if !is_root() {
        return;
    }
    let (root, before) = (Folder::new(), fs::read_to_string("/proc/self/mountinfo").unwrap());
    drop(stopped(
        &root,
        &[
            filesystem("tmpfs", "/t", &[], 0),
            bind("/usr", "/usr", flag::RECURSIVE),
        ],
    ));
    assert_eq!(before, fs::read_to_string("/proc/self/mountinfo").unwrap());
}

#[test]
fn a_detached_root_keeps_its_mounts_to_itself() {
    if !is_root() {
        return;
    }
    // Without that, what is mounted in a root on a shared mount appears in every namespace that shares it.
    for detach in [true, false] {
        let (root, shared) = (Folder::new(), Folder::new());
        fs::create_dir_all(shared.join("root")).unwrap();
        let outer = Init::start(&[
            Step::Unshare { namespaces: NEWNS },
            Step::Propagation {
                path: text("/"),
                flags: PRIVATE_TREE,
            },
            Step::OpenRoot {
                path: shared.text(),
                lent: false,
                clone: true,
                detach: false,
            },
            Step::Propagation {
                path: shared.text(),
                flags: SHARED,
            },
            Step::Sync {},
        ]);
        outer.expect(FrameKind::Reached, 5);
        let namespace = fs::File::open(format!("/proc/{}/ns/mnt", outer.child.id())).unwrap();
        use std::os::fd::{AsFd, AsRawFd};
        let path = text(shared.join("root").to_str().unwrap());
        let steps = [
            Step::Join {
                namespace: namespace.as_raw_fd(),
                kind: u32::try_from(NEWNS).unwrap(),
            },
            Step::Unshare { namespaces: NEWNS },
            Step::OpenRoot {
                path,
                lent: false,
                clone: true,
                detach,
            },
            filesystem("tmpfs", "/t", &[], 0),
            Step::Sync {},
        ];
        let inner = Init::start_with(&bytes(&steps), &[namespace.as_fd()], std::process::Stdio::null());
        inner.expect(FrameKind::Reached, 5);
        let leaked = outer
            .proc("mountinfo")
            .contains(&format!("{}/root", shared.path().display()));
        assert_eq!(leaked, !detach);
        drop(root);
    }
}

#[test]
fn a_lent_mount_is_attached() {
    if !is_root() {
        return;
    }
    use rustix::mount::{OpenTreeFlags, open_tree};
    use std::os::fd::AsFd;
    let root = Folder::new();
    let lent = |step: Step| {
        let steps = all(&[&rooted(&root), &[Step::Borrow {}, step, Step::Sync {}]]);
        let init = Init::start(&steps);
        init.expect(FrameKind::Wanted, 4);
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        init.go(Some(open_tree(rustix::fs::CWD, "/usr", flags).unwrap().as_fd()));
        init
    };
    let init = lent(bind("", "/lent", flag::LENT));
    init.expect(FrameKind::Reached, 6);
    let place = format!("{}/lent", root.path().display());
    assert_eq!(init.mounts(&place).len(), 1);
    let init = lent(Step::OpenRoot {
        path: root.text(),
        lent: true,
        clone: false,
        detach: false,
    });
    init.expect(FrameKind::Reached, 6);
    assert_eq!(init.mounts(root.path().to_str().unwrap()).len(), 2);
    // Without a descriptor there is nothing to attach.
    let init = Init::start(&all(&[
        &rooted(&root),
        &[Step::Borrow {}, bind("", "/lent", flag::LENT)],
    ]));
    init.expect(FrameKind::Wanted, 4);
    init.go(None);
    assert_eq!(init.failure().detail, detail::MALFORMED);
}

#[test]
fn a_refused_filesystem_falls_back_to_a_bind() {
    if !is_root() {
        return;
    }
    // In a user namespace that does not own the network namespace sysfs is refused.
    let root = Folder::new();
    let mut sysfs = filesystem("sysfs", "/sys", &[], flag::BIND_FALLBACK);
    if let Step::MountFs {
        fallback, attributes, ..
    } = &mut sysfs
    {
        (*fallback, *attributes) = (text("/sys"), READ_ONLY | NO_SUID);
    }
    let mut plain = sysfs.clone();
    if let Step::MountFs { flags, .. } = &mut plain {
        *flags = 0;
    }
    let mut steps = rooted(&root);
    steps.insert(0, Step::Unshare { namespaces: NEWUSER });
    let frame = Init::start(&all(&[&steps, &[plain]])).failure();
    assert_eq!((frame.line, frame.errno), (5, 1));
    let init = Init::start(&all(&[&steps, &[sysfs, Step::Sync {}]]));
    init.expect(FrameKind::Reached, 6);
    let place = format!("{}/sys", root.path().display());
    assert!(
        init.mounts(&place)[0][5].starts_with("ro,nosuid"),
        "{}",
        init.proc("mountinfo")
    );
}

#[test]
fn what_may_lack_is_skipped_or_covered() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    let place = |name: &str| format!("{}/{name}", root.path().display());
    // In a user namespace that does not own the network namespace sysfs is refused.
    let mut sysfs = filesystem("sysfs", "/sys", &[], flag::BIND_FALLBACK | flag::MAY_LACK);
    if let Step::MountFs { fallback, .. } = &mut sysfs {
        *fallback = text("/nowhere");
    }
    let mut steps = rooted(&root);
    steps.insert(0, Step::Unshare { namespaces: NEWUSER });
    let lacking = bind("/nowhere", "/left-out", flag::MAY_LACK);
    let init = Init::start(&all(&[&steps, &[lacking, sysfs, Step::Sync {}]]));
    init.expect(FrameKind::Reached, 7);
    assert!(!root.path().join("left-out").exists());
    let covered = &init.mounts(&place("sys"))[0];
    assert!(covered[5].starts_with("ro"), "{covered:?}");
    assert!(covered.iter().any(|field| field == "tmpfs"), "{covered:?}");
    // The first that has a source gets the target.
    let first = bind("/etc", "/first", flag::MAY_LACK);
    let second = bind("/usr", "/first", flag::MAY_LACK | flag::UNLESS_THERE);
    let init = Init::start(&all(&[&rooted(&root), &[first, second, Step::Sync {}]]));
    init.expect(FrameKind::Reached, 6);
    assert_eq!(init.mounts(&place("first")).len(), 1);
    let lacking = bind("/nowhere", "/second", flag::MAY_LACK);
    let second = bind("/usr", "/second", flag::MAY_LACK | flag::UNLESS_THERE);
    let init = Init::start(&all(&[&rooted(&root), &[lacking, second, Step::Sync {}]]));
    init.expect(FrameKind::Reached, 6);
    assert_eq!(init.mounts(&place("second"))[0][3], "/usr");
    // Another failure than a missing source is none to pass over.
    std::fs::write(root.path().join("file"), "").unwrap();
    let wrong = bind(&place("file/below"), "/left-out", flag::MAY_LACK);
    let frame = Init::start(&all(&[&rooted(&root), &[wrong]])).failure();
    assert_eq!((frame.errno, frame.detail), (20, detail::SOURCE));
}

/// Options that fsconfig(2) would refuse for their length.
#[test]
fn a_page_of_options_makes_a_filesystem() {
    if !is_root() {
        return;
    }
    let (root, layers) = (Folder::new(), Folder::new());
    fs::create_dir(root.join("merged")).unwrap();
    fs::write(root.join("merged/below"), "").unwrap();
    let mut paths = Vec::new();
    for at in 0..20 {
        let layer = layers.join(&format!("{at}-{}", "x".repeat(90)));
        fs::create_dir(&layer).unwrap();
        fs::write(layer.join(format!("file{at}")), "").unwrap();
        paths.push(layer.to_str().unwrap().to_owned());
    }
    let page = |fstype: &str, data: &str, target: &str| Step::MountPage {
        fstype: text(fstype),
        source: text("layers"),
        data: text(data),
        superblock: 0,
        attributes: READ_ONLY | NO_SUID,
        recursive_set: NO_EXEC,
        recursive_clear: 0,
        propagation: vec![SHARED],
        target: text(target),
        flags: 0,
    };
    let data = format!("lowerdir={}", paths.join(":"));
    assert!(data.len() > 2000);
    let init = stopped(
        &root,
        &[
            filesystem("proc", "/proc", &[], flag::TARGET_REAL),
            page("overlay", &data, "/merged"),
        ],
    );
    let found = init.mounts("/merged");
    assert_eq!(found.len(), 1, "nothing of the stage is left: {found:?}");
    assert_eq!(found[0][5], "ro,nosuid,noexec,relatime");
    assert!(found[0][6].starts_with("shared:"), "{found:?}");
    assert!(init.root("/merged/file19").exists() && !init.root("/merged/below").exists());
    assert_eq!(
        fs::read_link(format!("/proc/{}/cwd", init.child.id())).unwrap(),
        std::path::Path::new("/")
    );
    // A refusal takes the stage away too.
    for (step, errno) in [
        (page("overlay", "lowerdir=/no/such:/neither", "/merged"), 2),
        (page("nosuchfs", "a", "/merged"), 19),
    ] {
        let frame = failing(&root, &[step]);
        assert_eq!((frame.call, frame.errno), (Call::Mount, errno), "{frame:?}");
    }
    // Nothing comes on or below /proc this way either.
    let steps = [
        filesystem("proc", "/proc", &[], flag::TARGET_REAL),
        page("overlay", &data, "/proc/self/attr"),
    ];
    let frame = failing(&root, &steps);
    assert_eq!(frame.detail, detail::FORBIDDEN_TARGET, "{frame:?}");
}
