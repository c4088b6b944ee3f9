//! The command line, the program's header, barriers, descriptors, forks.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use runtime_core_program::{Call, Frame, FrameKind, detail};
use rustix::process::{WaitId, WaitIdOptions};

use crate::harness::*;

#[test]
fn a_wrong_command_line_ends_quietly() {
    for args in [&[][..], &["3"], &["x", "4"], &["", "4"], &["99999999999", "4"]] {
        let status = Command::new(env!("RUNTIME_CORE_INIT"))
            .args(args)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn what_is_no_program_is_refused() {
    let good = bytes(&[Step::Sync {}]);
    let mut wrong_magic = good.clone();
    wrong_magic[0] ^= 1;
    let short = &good[..good.len() - 1];
    let mut unknown_step = good.clone();
    unknown_step[16] = 0xff;
    for (bytes, value) in [
        (&wrong_magic[..], 1),
        (short, 1),
        (&b"RCP"[..], 1),
        (&unknown_step[..], 2),
    ] {
        let mut init = Init::start_with(bytes, &[], Stdio::null());
        let frame = init.failure();
        assert_eq!((frame.detail, frame.value), (detail::MALFORMED, value));
        assert_eq!(init.code(), Some(1));
    }
    // An empty file cannot be mapped.
    assert_eq!(
        Init::start_with(b"", &[], Stdio::null()).failure().call,
        Call::Mmap
    );
}

#[test]
fn a_program_without_end_is_refused() {
    let frame = Init::start(&[Step::Umask { mask: 0o22 }]).failure();
    assert_eq!((frame.line, frame.detail), (1, detail::MALFORMED));
}

#[test]
fn steps_that_lack_an_earlier_one_are_refused() {
    for step in [
        Step::Mask { path: text("/x") },
        Step::Sysctl {
            path: text("x"),
            value: vec![],
        },
        Step::Pivot {},
        Step::OpenRoot {
            path: text("/"),
            lent: true,
            clone: false,
            detach: false,
        },
        Step::Exec {
            args: vec![],
            env: vec![],
            home: 0,
            keep: 0,
        },
    ] {
        let frame = Init::start(std::slice::from_ref(&step)).failure();
        assert_eq!(
            (frame.line, frame.detail),
            (1, detail::MALFORMED),
            "{}",
            step.name()
        );
    }
}

#[test]
fn init_waits_for_go_and_ends_without_its_parent() {
    let mut init = Init::start(&[Step::Tell {}, Step::Sync {}, Step::Sync {}]);
    init.expect(FrameKind::Reached, 1);
    init.expect(FrameKind::Reached, 2);
    init.go(None);
    init.expect(FrameKind::Reached, 3);
    rustix::net::shutdown(&init.report, rustix::net::Shutdown::Both).unwrap();
    assert_eq!(init.code(), Some(1));
}

#[test]
fn anything_but_go_is_refused() {
    for nonsense in [&b"go"[..], &[0; 32], &[0x55; 64]] {
        let init = Init::start(&[Step::Sync {}]);
        init.expect(FrameKind::Reached, 1);
        send(init.report.as_fd(), nonsense, None);
        let frame = init.failure();
        assert_eq!((frame.call, frame.errno), (Call::Recvmsg, 71));
    }
}

#[test]
fn signals_and_umask_are_reset() {
    let mut command = Command::new("sh");
    // The shell ignores two signals for its children; init takes that back.
    command.args([
        "-c",
        "trap '' TERM PIPE; exec \"$0\" 9999 9999",
        env!("RUNTIME_CORE_INIT"),
    ]);
    assert_eq!(
        command.status().unwrap().code(),
        Some(1),
        "both descriptors are missing"
    );
    let init = Init::start(&[Step::Sync {}]);
    init.expect(FrameKind::Reached, 1);
    for field in ["SigIgn", "SigBlk"] {
        assert_eq!(init.status(field), "0000000000000000", "{field}");
    }
    // HUP, INT, QUIT and TERM are heard, because the kernel drops them for a first process that leaves them alone.
    assert_eq!(init.status("SigCgt"), "0000000000004007");
    assert_eq!(init.status("Umask"), "0000");
}

#[test]
fn stray_descriptors_are_closed() {
    let file = || fs::File::open("/dev/null").unwrap();
    let (a, b, c) = (file(), file(), file());
    let keep = vec![b.as_raw_fd()];
    let inherited: Vec<BorrowedFd<'_>> = [&a, &b, &c].map(AsFd::as_fd).to_vec();
    let init = Init::start_with(
        &bytes(&[Step::CloseStray { keep: keep.clone() }, Step::Sync {}]),
        &inherited,
        Stdio::null(),
    );
    init.expect(FrameKind::Reached, 2);
    let mut open: Vec<i32> = fs::read_dir(format!("/proc/{}/fd", init.child.id()))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    open.sort_unstable();
    assert_eq!(open.len(), 5, "{open:?}");
    assert!(
        open.starts_with(&[0, 1, 2]) && open.contains(&b.as_raw_fd()),
        "{open:?}"
    );
}

#[test]
fn a_sibling_goes_on_in_the_pid_namespace() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    fs::create_dir(root.join("proc")).unwrap();
    let mut init = Init::start(&all(&[
        &[
            Step::Undumpable {},
            Step::Unshare { namespaces: NEWPID },
            Step::Fork {},
            Step::Sync {},
        ],
        &rooted(&root),
        &host_programs(),
        &[filesystem("proc", "/proc", &[], 0), Step::Pivot {}],
        &shell("echo $$; ls /proc | grep -c '^[0-9]'"),
    ]));
    let (frame, pidfd) = init.receive().unwrap();
    assert_eq!(
        (frame.kind, frame.line),
        (FrameKind::Sibling, 3),
        "the sibling is reported before it speaks"
    );
    let pidfd = pidfd.unwrap();
    assert_eq!(init.code(), Some(0));
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
    assert!(info.contains(&format!("Pid:\t{}\n", frame.value)), "{info}");
    let status = fs::read_to_string(format!("/proc/{}/status", frame.value)).unwrap();
    assert!(
        status.contains(&format!("PPid:\t{}\n", std::process::id())),
        "{status}"
    );
    init.expect(FrameKind::Reached, 4);
    init.go(None);
    let output = init.output();
    assert_eq!(output.lines().next(), Some("1"), "{output}");
    let ended = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
        .unwrap()
        .unwrap();
    assert_eq!(ended.exit_status(), Some(0));
}

/// The parent names another cgroup, or none, as long as the kernel refuses.
#[test]
fn a_sibling_is_born_in_a_cgroup_or_where_init_is() {
    if !is_root() {
        return;
    }
    let null = fs::File::open("/dev/null").unwrap();
    let start = || {
        let steps = [
            Step::ForkInto {
                cgroup: null.as_raw_fd(),
            },
            Step::Sync {},
        ];
        let init = Init::start_with(&bytes(&steps), &[null.as_fd()], Stdio::null());
        let (frame, _) = init.receive().unwrap();
        assert_eq!((frame.kind, frame.errno), (FrameKind::Wanted, 9), "no cgroup");
        init
    };
    let cgroup_of = |frame: Frame| fs::read_to_string(format!("/proc/{}/cgroup", frame.value)).unwrap();
    let sibling = |init: &Init| {
        let (frame, _) = init.receive().unwrap();
        assert_eq!(frame.kind, FrameKind::Sibling);
        init.expect(FrameKind::Reached, 2);
        frame
    };
    let mut init = start();
    init.go(None);
    let frame = sibling(&init);
    assert_eq!(init.code(), Some(0), "the original ends");
    assert_eq!(cgroup_of(frame), fs::read_to_string("/proc/self/cgroup").unwrap());
    let unified = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let Some(top) = unified
        .iter()
        .map(Path::new)
        .find(|top| top.join("cgroup.procs").exists())
    else {
        fixtures::skip::part("needs cgroup v2");
        return;
    };
    let group = CgroupFolder::new(top.join(format!("init-programs-{}", std::process::id())));
    let mut init = start();
    init.go(Some(null.as_fd()));
    let (frame, _) = init.receive().unwrap();
    assert_eq!((frame.kind, frame.errno), (FrameKind::Wanted, 9), "asked again");
    init.go(Some(fs::File::open(&group.0).unwrap().as_fd()));
    let frame = sibling(&init);
    assert_eq!(init.code(), Some(0));
    let name = group.0.file_name().unwrap().to_str().unwrap();
    assert!(
        cgroup_of(frame).contains(&format!("0::/{name}\n")),
        "{}",
        cgroup_of(frame)
    );
    let pid = rustix::process::Pid::from_raw(i32::try_from(frame.value).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
}

/// A cgroup that goes with the test.
struct CgroupFolder(std::path::PathBuf);

impl CgroupFolder {
    fn new(path: std::path::PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for CgroupFolder {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
