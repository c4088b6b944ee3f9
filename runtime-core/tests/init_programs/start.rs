//! Waiting for the start: on the report socket, and on a socket of its own.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;

use runtime_core_program::{Command, FrameKind, detail};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::harness::*;

fn socket() -> OwnedFd {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap()
}

pub(crate) fn listen(path: &Path) -> OwnedFd {
    let listener = socket();
    rustix::net::bind(&listener, &SocketAddrUnix::new(path).unwrap()).unwrap();
    rustix::net::listen(&listener, 4).unwrap();
    listener
}

pub(crate) fn connect(path: &Path) -> OwnedFd {
    let socket = socket();
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    rustix::net::sockopt::set_socket_timeout(
        &socket,
        rustix::net::sockopt::Timeout::Recv,
        Some(std::time::Duration::from_secs(20)),
    )
    .unwrap();
    socket
}

#[test]
fn start_comes_over_the_report_socket() {
    let init = Init::start(&all(&[
        &[Step::WaitStart { listener: -1 }],
        &shell("echo started"),
    ]));
    init.expect(FrameKind::Reached, 1);
    init.go(None);
    assert_eq!(init.output(), "started\n");
}

#[test]
fn start_comes_over_a_connection() {
    let folder = Folder::new();
    let path = folder.join("start");
    let listener = listen(&path);
    let steps = all(&[
        &[Step::WaitStart {
            listener: listener.as_raw_fd(),
        }],
        &shell("exit 5"),
    ]);
    let mut init = Init::start_with(&bytes(&steps), &[listener.as_fd()], Stdio::null());
    drop(listener);
    init.expect(FrameKind::Reached, 1);
    init.go(None);
    assert!(init.receive().is_none(), "create is let go");
    // One that breaks off, one that talks nonsense: the next one can still start the container.
    drop(connect(&path));
    let rude = connect(&path);
    send(rude.as_fd(), b"start!", None);
    assert!(receive(rude.as_fd()).is_none());
    assert_eq!(init.child.try_wait().unwrap(), None);
    let start = connect(&path);
    send(start.as_fd(), &Command::Go.encode(), None);
    assert_eq!(receive(start.as_fd()).unwrap().0.kind, FrameKind::Starting);
    assert!(receive(start.as_fd()).is_none(), "end of file: it runs");
    assert_eq!(init.code(), Some(5));
}

#[test]
fn a_failure_after_the_start_goes_to_whoever_started() {
    let folder = Folder::new();
    let path = folder.join("start");
    let listener = listen(&path);
    let steps = [
        Step::WaitStart {
            listener: listener.as_raw_fd(),
        },
        Step::Pivot {},
    ];
    let init = Init::start_with(&bytes(&steps), &[listener.as_fd()], Stdio::null());
    init.expect(FrameKind::Reached, 1);
    init.go(None);
    let start = connect(&path);
    send(start.as_fd(), &Command::Go.encode(), None);
    let (frame, _) = receive(start.as_fd()).unwrap();
    assert_eq!(
        (frame.kind, frame.line, frame.detail),
        (FrameKind::Failed, 2, detail::MALFORMED)
    );
}

#[test]
fn a_stranger_cannot_start_the_container() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let path = folder.join("start");
    let listener = listen(&path);
    let steps = [
        Step::WaitStart {
            listener: listener.as_raw_fd(),
        },
        Step::Pivot {},
    ];
    let mut init = Init::start_with(&bytes(&steps), &[listener.as_fd()], Stdio::null());
    init.expect(FrameKind::Reached, 1);
    init.go(None);
    // The credentials are those at the time of connect: a thread of this test becomes another user for that.
    let stranger = std::thread::scope(|scope| {
        let connect = || {
            let socket = socket();
            rustix::thread::set_thread_gid(rustix::thread::Gid::from_raw(65534)).unwrap();
            // The folder and the socket must let the stranger in for this test.
            rustix::thread::set_thread_uid(rustix::thread::Uid::from_raw(65534)).unwrap();
            rustix::net::connect(&socket, &SocketAddrUnix::new(&path).unwrap()).map(|()| socket)
        };
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        scope.spawn(connect).join().unwrap().unwrap()
    });
    let (frame, _) = receive(stranger.as_fd()).unwrap();
    assert_eq!((frame.kind, frame.detail), (FrameKind::Failed, detail::STRANGER));
    assert_eq!(init.child.try_wait().unwrap(), None);
}

#[test]
fn a_container_that_nobody_recorded_goes_with_its_creator() {
    let folder = Folder::new();
    let listener = listen(&folder.join("start"));
    let steps = [Step::WaitStart {
        listener: listener.as_raw_fd(),
    }];
    let mut init = Init::start_with(&bytes(&steps), &[listener.as_fd()], Stdio::null());
    init.expect(FrameKind::Reached, 1);
    rustix::net::shutdown(&init.report, rustix::net::Shutdown::Both).unwrap();
    assert_eq!(init.code(), Some(1));
}

#[test]
fn a_waiting_container_holds_nothing_of_the_hosts() {
    if !is_root() {
        return;
    }
    let (root, folder) = (Folder::new(), Folder::new());
    let path = folder.join("start");
    let listener = listen(&path);
    let file = || std::fs::File::open("/etc/passwd").unwrap();
    let (stray, placed) = (file(), file());
    let steps = all(&[
        &[
            Step::Unshare { namespaces: NEWIPC },
            Step::PlaceFds {
                fds: vec![placed.as_raw_fd()],
            },
        ],
        &rooted(&root),
        &[
            Step::PrepareMasks { label: text("") },
            Step::OpenProc {},
            Step::Pivot {},
        ],
        &[Step::WaitStart {
            listener: listener.as_raw_fd(),
        }],
    ]);
    let inherited = [listener.as_fd(), stray.as_fd(), placed.as_fd()];
    let init = Init::start_with(&bytes(&steps), &inherited, Stdio::null());
    init.expect(FrameKind::Reached, 9);
    init.go(None);
    assert!(init.receive().is_none());
    let mut open: Vec<i32> = std::fs::read_dir(format!("/proc/{}/fd", init.child.id()))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    open.sort_unstable();
    let mut expected = vec![0, 1, 2, listener.as_raw_fd(), placed.as_raw_fd()];
    expected.sort_unstable();
    assert_eq!(open, expected);
}
