//! Starts init on a program and talks to it; ends it whatever happens to the test.

use std::fs;
use std::io::{IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use runtime_core_program as program;
use runtime_core_program::{FRAME_LEN, Frame, FrameKind, StepBuf, Text, Writer};
use rustix::fs::MemfdFlags;
use rustix::io::FdFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// A step whose descriptors are numbers already.
pub(crate) type Step = StepBuf<i32>;

pub(crate) const NEWNS: u64 = 0x2_0000;
pub(crate) const NEWUTS: u64 = 0x400_0000;
pub(crate) const NEWIPC: u64 = 0x800_0000;
pub(crate) const NEWUSER: u64 = 0x1000_0000;
pub(crate) const NEWPID: u64 = 0x2000_0000;
pub(crate) const NEWNET: u64 = 0x4000_0000;
pub(crate) const PRIVATE_TREE: u64 = 1 << 18 | 0x4000;

/// How long any answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Descriptors without close-on-exec may be open only while this is held: another test's child would inherit them.
static SPAWN: Mutex<()> = Mutex::new(());

pub(crate) fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}

pub(crate) fn texts(list: &[&str]) -> Vec<Text> {
    list.iter().map(|item| text(item)).collect()
}

/// Whether the tests can run at all; says so where not.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        fixtures::skip::test("needs root");
    }
    root
}

/// A folder that goes with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("init-programs-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// A container's root in which the host's programs can run; see [`host_programs`].
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn text(&self) -> Text {
        text(self.0.to_str().unwrap())
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Numbers the steps from 1 and gives the program's bytes.
pub(crate) fn bytes(steps: &[Step]) -> Vec<u8> {
    let mut writer = Writer::new();
    for (line, step) in (1..).zip(steps) {
        writer.push(line, step, |fd| *fd);
    }
    writer.finish().unwrap()
}

/// init at work.
pub(crate) struct Init {
    pub(crate) child: Child,
    pub(crate) report: OwnedFd,
    stdout: Option<ChildStdout>,
}

impl Init {
    pub(crate) fn start(steps: &[Step]) -> Self {
        Self::start_with(&bytes(steps), &[], Stdio::null())
    }

    /// Starts init; it inherits the descriptors under their present numbers.
    pub(crate) fn start_with(program: &[u8], inherited: &[BorrowedFd<'_>], stdin: Stdio) -> Self {
        Self::spawn(program, None, inherited, stdin)
    }

    /// Starts init with a page of times.
    pub(crate) fn start_watched(program: &[u8], page: &OwnedFd, inherited: &[BorrowedFd<'_>]) -> Self {
        Self::spawn(program, Some(page), inherited, Stdio::null())
    }

    fn spawn(program: &[u8], page: Option<&OwnedFd>, inherited: &[BorrowedFd<'_>], stdin: Stdio) -> Self {
        let memfd = rustix::fs::memfd_create("program", MemfdFlags::CLOEXEC).unwrap();
        rustix::io::write(&memfd, program).unwrap();
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        rustix::net::sockopt::set_socket_timeout(&ours, rustix::net::sockopt::Timeout::Recv, Some(PATIENCE))
            .unwrap();
        let guard = SPAWN.lock().unwrap_or_else(|broken| broken.into_inner());
        let passed: Vec<_> = [memfd.as_fd(), theirs.as_fd()]
            .into_iter()
            .chain(page.map(AsFd::as_fd))
            .chain(inherited.iter().copied())
            .collect();
        for fd in &passed {
            rustix::io::fcntl_setfd(fd, FdFlags::empty()).unwrap();
        }
        let mut child = Command::new(env!("RUNTIME_CORE_INIT"))
            .args([memfd.as_raw_fd().to_string(), theirs.as_raw_fd().to_string()])
            .args(page.map(|page| page.as_raw_fd().to_string()))
            .env_clear()
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        for fd in &passed {
            rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC).unwrap();
        }
        drop(guard);
        let stdout = child.stdout.take();
        Self {
            child,
            report: ours,
            stdout,
        }
    }

    /// The next frame and what came with it; None at the end of file.
    pub(crate) fn receive(&self) -> Option<(Frame, Option<OwnedFd>)> {
        receive(self.report.as_fd())
    }

    #[track_caller]
    pub(crate) fn expect(&self, kind: FrameKind, line: u32) -> Option<OwnedFd> {
        let (frame, fd) = self.receive().expect("a frame, not the end of file");
        assert_eq!((frame.kind, frame.line), (kind, line), "{frame:?}");
        fd
    }

    /// The frame of the step that must fail.
    #[track_caller]
    pub(crate) fn failure(&self) -> Frame {
        let (frame, _) = self.receive().expect("a frame, not the end of file");
        assert_eq!(frame.kind, FrameKind::Failed, "{frame:?}");
        assert!(self.receive().is_none(), "init must end after a failure");
        frame
    }

    pub(crate) fn go(&self, fd: Option<BorrowedFd<'_>>) {
        send(self.report.as_fd(), &program::Command::Go.encode(), fd);
    }

    /// Waits for Starting and the end of file behind it, and gives what the program printed.
    #[track_caller]
    pub(crate) fn output(self) -> String {
        let (frame, _) = self.receive().expect("a frame, not the end of file");
        assert_eq!(frame.kind, FrameKind::Starting, "{frame:?}");
        if let Some((frame, _)) = self.receive() {
            panic!("{frame:?}");
        }
        self.rest()
    }

    /// What the program printed.
    pub(crate) fn rest(mut self) -> String {
        let mut text = String::new();
        self.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// How the process ended.
    pub(crate) fn code(&mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "init does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A path of this process's own view, as the test reaches it.
    pub(crate) fn root(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.child.id()))
    }

    /// A file of its /proc directory.
    pub(crate) fn proc(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }

    /// The lines of its mountinfo for a mount point, each split at spaces.
    pub(crate) fn mounts(&self, place: &str) -> Vec<Vec<String>> {
        let split = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let lines = self.proc("mountinfo");
        lines
            .lines()
            .map(split)
            .filter(|fields| fields[4] == place)
            .collect()
    }

    /// A field of its status, for example `CapEff`.
    pub(crate) fn status(&self, field: &str) -> String {
        let status = self.proc("status");
        let line = status
            .lines()
            .find(|line| line.starts_with(&format!("{field}:")))
            .unwrap();
        line.split_once(':').unwrap().1.trim().to_owned()
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn receive(socket: BorrowedFd<'_>) -> Option<(Frame, Option<OwnedFd>)> {
    let mut bytes = [0; FRAME_LEN];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let length = loop {
        let spans = &mut [IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(socket, spans, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => break message.bytes,
            Err(rustix::io::Errno::CONNRESET) => break 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("no frame in time: {error}"),
        }
    };
    if length == 0 {
        return None;
    }
    assert_eq!(length, FRAME_LEN);
    let mut found = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message {
            found = fds.next();
        }
    }
    Some((Frame::decode(&bytes).unwrap(), found))
}

pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], fd: Option<BorrowedFd<'_>>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd]);
    if let Some(fds) = &fds {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
}

// ---- steps that many tests begin or end with ----

/// A mount namespace of its own and the container's root in it.
pub(crate) fn rooted(root: &Folder) -> Vec<Step> {
    vec![
        Step::Unshare {
            namespaces: NEWNS | NEWUTS,
        },
        Step::Propagation {
            path: text("/"),
            flags: PRIVATE_TREE,
        },
        Step::OpenRoot {
            path: root.text(),
            lent: false,
            clone: true,
            detach: false,
        },
    ]
}

pub(crate) fn bind(source: &str, target: &str, flags: u32) -> Step {
    Step::MountBind {
        source: text(source),
        target: text(target),
        set: 0,
        clear: 0,
        unasked: 0,
        recursive_set: 0,
        recursive_clear: 0,
        propagation: vec![],
        flags,
    }
}

pub(crate) fn filesystem(kind: &str, target: &str, options: &[&str], flags: u32) -> Step {
    Step::MountFs {
        fstype: text(kind),
        source: text(kind),
        options: texts(options),
        attributes: 0,
        recursive_set: 0,
        recursive_clear: 0,
        propagation: vec![],
        target: text(target),
        fallback: text(""),
        flags,
    }
}

/// The host's programs in the root, so that a shell can look around there.
pub(crate) fn host_programs() -> Vec<Step> {
    let links = program::step::mount_flags::COPY_SYMLINK;
    ["/usr", "/bin", "/lib", "/lib64"]
        .iter()
        .filter(|path| fs::symlink_metadata(path).is_ok())
        .map(|path| bind(path, path, links))
        .collect()
}

/// Runs a shell script as the container's program.
pub(crate) fn shell(script: &str) -> Vec<Step> {
    vec![
        Step::FindProgram {
            name: text("/bin/sh"),
            search: text(""),
        },
        Step::Exec {
            args: texts(&["sh", "-c", script]),
            env: texts(&["PATH=/bin:/usr/bin:/sbin:/usr/sbin"]),
            home: program::step::NO_HOME,
            keep: 0,
        },
    ]
}

/// The steps of several lists.
pub(crate) fn all(lists: &[&[Step]]) -> Vec<Step> {
    lists.concat()
}
