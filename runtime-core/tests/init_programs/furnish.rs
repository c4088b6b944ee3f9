//! Files and links that take the place of what a hostile root has, and programs that the parent sends later.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};

use runtime_core_program::{FrameKind, detail};
use rustix::fs::MemfdFlags;

use crate::harness::*;

fn link(target: &str, path: &str) -> Step {
    Step::ReplaceLink {
        target: text(target),
        path: text(path),
    }
}

fn file(path: &str, content: &str, mode: u32) -> Step {
    Step::WriteFile {
        path: text(path),
        content: content.as_bytes().to_vec(),
        mode,
    }
}

fn cover(path: &str, content: &str) -> Step {
    Step::CoverFile {
        path: text(path),
        content: content.as_bytes().to_vec(),
        mode: 0o444,
    }
}

fn run(root: &Folder, steps: &[Step]) -> Init {
    Init::start(&all(&[&rooted(root), steps, &[Step::Sync {}]]))
}

/// No name that init made for itself is left.
fn no_leftovers(root: &Folder) {
    let mut names = fs::read_dir(root.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert!(names.all(|name| !name.to_string_lossy().starts_with('.')));
}

#[test]
fn links_and_files_take_the_place_of_what_is_there() {
    if !is_root() {
        return;
    }
    let (root, outside) = (Folder::new(), Folder::new());
    fs::write(outside.join("bait"), "bait").unwrap();
    fs::write(root.join("file"), "old").unwrap();
    symlink(outside.join("bait"), root.join("to-bait")).unwrap();
    symlink("same", root.join("same")).unwrap();
    let kept = fs::symlink_metadata(root.join("same")).unwrap().ino();
    symlink(outside.path(), root.join("dir")).unwrap();
    let init = run(
        &root,
        &[
            link("new", "/file"),
            link("../x", "/deep/er/link"),
            link("same", "/same"),
            file("/to-bait", "text", 0o640),
            file("/dir/made", "inside", 0o444),
            Step::SetMode {
                path: text("/to-bait"),
                mode: 0o604,
            },
            Step::SetMode {
                path: text("/missing"),
                mode: 0o777,
            },
        ],
    );
    init.expect(FrameKind::Reached, 11);
    let points = |path: &str| {
        fs::read_link(root.join(path))
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        (points("file"), points("deep/er/link")),
        ("new".to_owned(), "../x".to_owned())
    );
    assert_eq!(
        fs::symlink_metadata(root.join("same")).unwrap().ino(),
        kept,
        "the same link stays"
    );
    assert_eq!(fs::read_to_string(root.join("to-bait")).unwrap(), "text");
    assert_eq!(
        fs::symlink_metadata(root.join("to-bait")).unwrap().mode() & 0o7777,
        0o604
    );
    // The link to the host is a path in the root.
    let inside = root.join(
        outside
            .path()
            .strip_prefix("/")
            .unwrap()
            .join("made")
            .to_str()
            .unwrap(),
    );
    assert_eq!(fs::read_to_string(inside).unwrap(), "inside");
    assert_eq!(fs::read_to_string(outside.join("bait")).unwrap(), "bait");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    no_leftovers(&root);
}

#[test]
fn a_directory_is_not_replaced_and_nothing_is_left_behind() {
    if !is_root() {
        return;
    }
    for step in [link("x", "/there"), file("/there", "x", 0o644)] {
        let root = Folder::new();
        fs::create_dir(root.join("there")).unwrap();
        let frame = run(&root, &[step]).failure();
        assert_eq!(i32::try_from(frame.errno), Ok(libc::EISDIR), "{frame:?}");
        assert!(root.join("there").is_dir());
        no_leftovers(&root);
    }
}

#[test]
fn a_cover_is_read_only_and_hides_only_files() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    fs::write(root.join("params"), "real").unwrap();
    fs::create_dir(root.join("dir")).unwrap();
    symlink("params", root.join("link")).unwrap();
    let steps = [
        cover("/params", "covered\n"),
        cover("/missing", "x"),
        Step::Pivot {},
    ];
    let script = "cat /params; (echo x > /params) 2>&1 | grep -o 'Read-only'; \
                  grep ' /params ' /proc/self/mountinfo | cut -d' ' -f6";
    let program = all(&[
        &rooted(&root),
        &host_programs(),
        &[filesystem("proc", "/proc", &[], 0)],
        &steps,
        &shell(script),
    ]);
    let said = Init::start(&program).output();
    assert!(
        said.starts_with("covered\nRead-only\nro,nosuid,nodev,noexec"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(root.join("params")).unwrap(), "real");
    assert!(!root.join("missing").exists());
    for path in ["/dir", "/link"] {
        assert_eq!(
            run(&root, &[cover(path, "x")]).failure().detail,
            detail::WRONG_TYPE
        );
    }
}

/// A program in a file, as the parent sends it.
fn sent(steps: &[Step]) -> std::os::fd::OwnedFd {
    let memfd = rustix::fs::memfd_create("later", MemfdFlags::CLOEXEC).unwrap();
    rustix::io::write(&memfd, &bytes(steps)).unwrap();
    memfd
}

#[test]
fn the_root_is_lent_and_the_answer_is_made() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    fs::write(root.join("seen"), "seen").unwrap();
    let init = run(&root, &[Step::Extend {}, Step::Extend {}]);
    let lent = init.expect(FrameKind::Wanted, 4).expect("the root");
    let flags = rustix::fs::OFlags::RDONLY;
    let file_in_root = rustix::fs::openat(&lent, "seen", flags, rustix::fs::Mode::empty()).unwrap();
    let mut text_read = [0; 4];
    rustix::io::read(&file_in_root, &mut text_read).unwrap();
    assert_eq!(&text_read, b"seen");
    let later = sent(&[
        Step::MakeDir {
            path: text("/made"),
            mode: 0o755,
        },
        link("x", "/made/link"),
        file("/made/file", "content", 0o600),
    ]);
    init.go(Some(later.as_fd()));
    init.expect(FrameKind::Wanted, 5);
    init.go(None);
    init.expect(FrameKind::Reached, 6);
    assert_eq!(fs::read_to_string(root.join("made/file")).unwrap(), "content");
    assert_eq!(fs::read_link(root.join("made/link")).unwrap().to_str(), Some("x"));
}

#[test]
fn an_answer_with_other_steps_is_refused() {
    if !is_root() {
        return;
    }
    for step in [
        Step::Extend {},
        Step::Pivot {},
        bind("/", "/mnt", 0),
        cover("/x", "x"),
        Step::Unshare { namespaces: 0 },
    ] {
        let root = Folder::new();
        let init = run(&root, &[Step::Extend {}]);
        init.expect(FrameKind::Wanted, 4);
        let later = sent(&[step]);
        init.go(Some(later.as_fd()));
        let frame = init.failure();
        assert_eq!((frame.detail, frame.line), (detail::MALFORMED, 4));
    }
}
