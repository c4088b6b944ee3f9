//! Inside a user namespace: ids, time, and what the kernel refuses there.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use runtime_core_program::FrameKind;

use crate::harness::*;

/// Enters a user namespace with maps, then runs the steps and stops.
fn in_user_namespace(steps: &[Step]) -> Init {
    let enter = [
        Step::Unshare { namespaces: NEWUSER },
        Step::Sync {},
        Step::BecomeRoot { drop_groups: true },
    ];
    let program = all(&[&enter, steps]);
    let init = Init::start(&program);
    init.expect(FrameKind::Reached, 2);
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{}/{map}", init.child.id()), "0 100000 1000\n").unwrap();
    }
    init.go(None);
    init
}

#[test]
fn time_offsets_are_set_inside_a_user_namespace() {
    if !is_root() {
        return;
    }
    let offsets = Step::EnterTime {
        offsets: b"monotonic 7 0\n".to_vec(),
    };
    let init = in_user_namespace(&[Step::Undumpable {}, offsets, Step::Sync {}]);
    init.expect(FrameKind::Reached, 6);
    assert!(init.proc("timens_offsets").contains(" 7 "));
    assert_eq!(
        fs::metadata(format!("/proc/{}/environ", init.child.id()))
            .unwrap()
            .uid(),
        0,
        "undumpable again"
    );
}

#[test]
fn copies_of_unmapped_owners_are_nobodys_privilege() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::create_dir(root.join("old")).unwrap();
    fs::write(root.join("old/file"), "").unwrap();
    // Its owner, the host's root, is not mapped.
    fs::set_permissions(root.join("old/file"), fs::Permissions::from_mode(0o6755)).unwrap();
    let copy = filesystem(
        "tmpfs",
        "/old",
        &[],
        runtime_core_program::step::mount_flags::COPY_UP,
    );
    let steps = all(&[&rooted(&root), &[copy, Step::Pivot {}, Step::Sync {}]]);
    let init = in_user_namespace(&steps);
    init.expect(FrameKind::Reached, 9);
    let file = fs::metadata(init.root("/old/file")).unwrap();
    assert_eq!((file.mode() & 0o7777, file.uid()), (0o755, 100_000));
}

#[test]
fn sysctls_are_written_where_a_new_procfs_is_refused() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // The pid namespace is the host's, so that the user namespace may not mount a procfs of it.
    let steps = all(&[
        &rooted(&root),
        &host_programs(),
        &[
            bind(
                "/proc",
                "/proc",
                runtime_core_program::step::mount_flags::RECURSIVE,
            ),
            Step::Unshare { namespaces: NEWIPC },
            Step::OpenProc {},
            Step::Sysctl {
                path: text("kernel/shmmni"),
                value: b"77".to_vec(),
            },
            Step::Pivot {},
        ],
        &shell("cat /proc/sys/kernel/shmmni"),
    ]);
    let init = in_user_namespace(&steps);
    assert_eq!(init.output(), "77\n");
}

#[test]
fn a_user_namespace_is_entered_once_its_maps_are_written() {
    if !is_root() {
        return;
    }
    let init = Init::start(&[
        Step::Unshare { namespaces: NEWUSER },
        Step::Sync {},
        Step::BecomeRoot { drop_groups: true },
        Step::Unshare {
            namespaces: NEWNS | NEWUTS,
        },
        Step::Hostname {
            name: b"userns".to_vec(),
        },
        Step::Sync {},
    ]);
    init.expect(FrameKind::Reached, 2);
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{}/{map}", init.child.id()), "0 100000 65536\n").unwrap();
    }
    init.go(None);
    init.expect(FrameKind::Reached, 6);
    assert_eq!(init.status("Uid"), "100000\t100000\t100000\t100000");
    assert_eq!(init.status("Groups"), "");
}
