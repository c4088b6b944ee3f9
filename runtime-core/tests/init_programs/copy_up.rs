//! A tmpfs that begins as a copy of what it covers.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use runtime_core_program::detail;
use runtime_core_program::step::mount_flags as flag;

use crate::harness::*;
use crate::mounts::{READ_ONLY, failing, stopped};

#[test]
fn copy_up_keeps_everything() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    let old = root.join("old");
    fs::create_dir_all(old.join("dir/deep")).unwrap();
    fs::write(old.join("dir/file"), vec![7; 3_000_000]).unwrap();
    fs::set_permissions(old.join("dir/file"), fs::Permissions::from_mode(0o6750)).unwrap();
    fs::set_permissions(old.join("dir"), fs::Permissions::from_mode(0o1777)).unwrap();
    std::os::unix::fs::chown(old.join("dir/deep"), Some(12), Some(34)).unwrap();
    symlink("/nowhere/at all", old.join("link")).unwrap();
    let cwd = rustix::fs::CWD;
    let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o640));
    rustix::fs::mknodat(cwd, old.join("fifo"), fifo, mode, 0).unwrap();
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(
        cwd,
        old.join("null"),
        rustix::fs::FileType::CharacterDevice,
        mode,
        null,
    )
    .unwrap();
    for number in 0..300 {
        fs::write(old.join(format!("dir/deep/{number}")), number.to_string()).unwrap();
    }
    let flags = flag::COPY_UP | flag::INHERIT_MODE;
    let mut mount = filesystem("tmpfs", "/old", &[], flags);
    if let Step::MountFs { attributes, .. } = &mut mount {
        *attributes = READ_ONLY;
    }
    let init = stopped(&root, &[mount]);
    assert!(init.mounts("/old")[0][5].starts_with("ro"));
    let copy = init.root("/old");
    for path in [
        "dir",
        "dir/file",
        "dir/deep",
        "dir/deep/299",
        "link",
        "fifo",
        "null",
    ] {
        let (old, new) = (
            fs::symlink_metadata(old.join(path)).unwrap(),
            fs::symlink_metadata(copy.join(path)).unwrap(),
        );
        let facts = |m: &fs::Metadata| (m.mode(), m.uid(), m.gid(), m.rdev(), m.mtime(), m.mtime_nsec());
        assert_eq!(facts(&old), facts(&new), "{path}");
        assert_ne!(old.dev(), new.dev(), "{path}");
    }
    assert_eq!(fs::read(copy.join("dir/file")).unwrap(), vec![7; 3_000_000]);
    assert_eq!(
        fs::read_link(copy.join("link")).unwrap().to_str(),
        Some("/nowhere/at all")
    );
    assert_eq!(fs::read_dir(copy.join("dir/deep")).unwrap().count(), 300);
}

#[test]
fn copy_up_has_a_limit_of_depth() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    fs::create_dir_all(root.join("old").join("d/".repeat(150))).unwrap();
    let frame = failing(&root, &[filesystem("tmpfs", "/old", &[], flag::COPY_UP)]);
    assert_eq!((frame.detail, frame.value), (detail::LIMIT, 128));
}
