//! Labels of the security modules, as far as a host without them can show: where they are written, and that one that
//! cannot be had is a failure. What a host with AppArmor does is in `conformance's chapter on labels`.

use std::fs;

use runtime_core_program::Call;

use crate::harness::*;

const ENOENT: u32 = 2;
const EINVAL: u32 = 22;

/// Whether no security module gives this process a label; says so where one does.
fn has_no_module() -> bool {
    let own = fs::read("/proc/thread-self/attr/current");
    let none = own.is_err_and(|error| error.raw_os_error() == Some(22));
    if !none {
        fixtures::skip::test("a security module of this host takes labels");
    }
    none && is_root()
}

fn labels() -> [Step; 3] {
    [
        Step::ExecLabel {
            label: text("system_u:system_r:container_t:s0"),
        },
        Step::KeyLabel {
            label: text("system_u:system_r:container_t:s0"),
        },
        Step::KeyLabel { label: text("") },
    ]
}

#[test]
fn a_label_that_nobody_takes_is_a_failure() {
    if !has_no_module() {
        return;
    }
    for step in labels() {
        let frame = Init::start(&[Step::OpenProc {}, step]).failure();
        assert_eq!((frame.line, frame.call, frame.errno), (2, Call::Write, EINVAL));
    }
    let profile = Step::ExecProfile {
        profile: text("docker-default"),
    };
    let frame = Init::start(&[Step::OpenProc {}, profile.clone()]).failure();
    assert_eq!((frame.call, frame.errno), (Call::Openat, ENOENT));
    // Without the private procfs nothing is written at all.
    let frame = Init::start(&[profile]).failure();
    assert_eq!(frame.detail, runtime_core_program::detail::MALFORMED);
}

/// CVE-2019-16884: the image's volume on /proc took the label, and the program ran without it.
#[test]
fn a_false_proc_gets_no_label() {
    if !has_no_module() {
        return;
    }
    let root = Folder::new();
    for name in ["exec", "keycreate", "apparmor/exec"] {
        let path = root.join(&format!("proc/self/attr/{name}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "bait").unwrap();
    }
    let profile = Step::ExecProfile {
        profile: text("docker-default"),
    };
    for step in labels().into_iter().chain([profile]) {
        let steps = all(&[&rooted(&root), &[Step::Pivot {}, Step::OpenProc {}, step]]);
        let frame = Init::start(&steps).failure();
        assert_eq!(frame.line, 6, "{frame:?}");
    }
    for name in ["exec", "keycreate", "apparmor/exec"] {
        assert_eq!(
            fs::read(root.join(&format!("proc/self/attr/{name}"))).unwrap(),
            b"bait"
        );
    }
}

#[test]
fn a_memory_policy_is_the_programs_too() {
    let policy = |mode, nodes: &[u8]| Step::MemoryPolicy {
        mode,
        nodes: nodes.to_vec(),
    };
    let look = shell("head -n 1 /proc/self/numa_maps | cut -d ' ' -f 2");
    // MPOL_INTERLEAVE on node 0, MPOL_BIND with MPOL_F_STATIC_NODES, MPOL_DEFAULT.
    for (step, shown) in [
        (policy(3, &[1, 0, 0, 0, 0, 0, 0, 0]), "interleave:0\n"),
        (policy(2 | 1 << 15, &[1, 0, 0, 0, 0, 0, 0, 0]), "bind=static:0\n"),
        (policy(0, &[]), "default\n"),
    ] {
        assert_eq!(Init::start(&all(&[&[step], &look])).output(), shown);
    }
    // A node that no machine has.
    let mut nodes = [0; 128];
    nodes[127] = 0x80;
    let frame = Init::start(&[policy(2, &nodes)]).failure();
    assert_eq!((frame.call, frame.errno), (Call::MemPolicy, EINVAL));
}

/// A file's own label, which needs no module to be stored where the filesystem keeps such attributes.
#[test]
fn the_root_of_a_filesystem_is_labelled() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    fs::create_dir(root.join("queues")).unwrap();
    let label = |may_fail| Step::LabelFile {
        path: text("/queues"),
        label: b"system_u:object_r:container_file_t:s0".to_vec(),
        may_fail,
    };
    let steps = all(&[&rooted(&root), &[label(false), Step::Sync {}]]);
    let init = Init::start(&steps);
    init.expect(runtime_core_program::FrameKind::Reached, 5);
    let mut value = [0; 128];
    let length = rustix::fs::getxattr(root.join("queues"), "security.selinux", &mut value).unwrap();
    assert_eq!(&value[..length], b"system_u:object_r:container_file_t:s0");
    // Another user may not; where that is tolerated the file stays as it is.
    let other = [
        Step::User {
            uid: 1000,
            gid: 1000,
            groups: vec![],
            set_groups: true,
        },
        Step::Capabilities {
            effective: 0,
            permitted: 0,
            inheritable: 0,
            ambient: 0,
        },
    ];
    let frame = Init::start(&all(&[&rooted(&root), &other, &[label(false)]])).failure();
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    if modules.split(',').any(|name| name == "bpf") && frame.call == Call::None {
        println!(
            "SKIPPED the_root_of_a_filesystem_is_labelled, by another user: this kernel's bpf module lets everybody"
        );
        return;
    }
    assert_eq!((frame.call, frame.errno), (Call::Xattr, 1));
    let init = Init::start(&all(&[&rooted(&root), &other, &[label(true), Step::Sync {}]]));
    init.expect(runtime_core_program::FrameKind::Reached, 7);
}
