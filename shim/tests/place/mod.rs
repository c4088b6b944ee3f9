//! What the tests stand on: a place on disk for shims, a client that speaks to them, and a containerd that only listens.
#![allow(
    dead_code,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "each test binary uses a part; a skip must be seen; what does not hold here fails the test"
)]

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fixtures::Bundle;
use prost::Message;
use shim::proto::bootstrap::{BootstrapParams, BootstrapResult, Extension};
use shim::proto::events::ForwardRequest;
use shim::proto::options::{OPTIONS, Options};
use shim::proto::task::{
    CreateTaskRequest, CreateTaskResponse, DeleteRequest, KillRequest, ShutdownRequest, StartRequest,
    WaitRequest, WaitResponse,
};
use shim::proto::types::{Any, Empty};
use shim::ttrpc::{Frame, FrameKind, Request, Response, RpcStatus};

/// Most time that anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const SHIM: &str = env!("CARGO_BIN_EXE_containerd-shim-runtime-core-v2");
const NAMESPACE: &str = "shim-test";

/// Whether this host can run containers; says what is missing.
pub(crate) fn ready(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        skipped(test, "needs root");
        return false;
    }
    if fixtures::rootfs::host_busybox().is_err() {
        skipped(test, "needs the package busybox-static");
        return false;
    }
    true
}

/// Says what was not tried.
pub(crate) fn skipped(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
}

/// Waits for something.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A directory with sockets, state and bundles; its shims and containers end with it.
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    ids: Mutex<Vec<String>>,
    pub(crate) events: Listening,
}

impl Place {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Short: the path of a socket has 107 bytes at most, and a hash in it.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("sh{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let events = Listening::begin(dir.join("c.ttrpc"));
        Self {
            dir,
            ids: Mutex::default(),
            events,
        }
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            root: self.dir.join("root").display().to_string(),
            ..Options::default()
        }
    }

    /// A bundle whose program is a line of shell.
    pub(crate) fn bundle(&self, id: &str, script: &str) -> Bundle {
        self.bundle_of(id, script, |_| {})
    }

    pub(crate) fn bundle_of(
        &self,
        id: &str,
        script: &str,
        edit: impl FnOnce(&mut serde_json::Value),
    ) -> Bundle {
        self.ids.lock().unwrap().push(id.to_owned());
        Bundle::builder(self.dir.join(id))
            .args(&["/bin/sh", "-c", script])
            .edit(edit)
            .build()
            .unwrap()
    }

    fn command(&self, id: &str, action: &str) -> Command {
        let mut command = Command::new(SHIM);
        command
            .args(["-namespace", NAMESPACE, "-id", id, "-address"])
            .arg(self.dir.join("c.sock"))
            .arg(action)
            .current_dir(self.dir.join(id))
            .env("TTRPC_ADDRESS", self.dir.join("c.ttrpc"))
            .env_remove("MAX_SHIM_VERSION")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts a shim as containerd 2.3 does; gives its socket.
    pub(crate) fn start(&self, id: &str) -> PathBuf {
        self.socket(&fed(self.command(id, "start"), &self.params(id)))
    }

    /// What containerd 2.3 gives `start` to read.
    pub(crate) fn params(&self, id: &str) -> Vec<u8> {
        let params = BootstrapParams {
            instance_id: id.to_owned(),
            namespace: NAMESPACE.to_owned(),
            containerd_grpc_address: self.dir.join("c.sock").display().to_string(),
            containerd_ttrpc_address: self.dir.join("c.ttrpc").display().to_string(),
            socket_dir: Some(self.dir.join("s").display().to_string()),
            extensions: vec![Extension {
                value: Some(Any::of(OPTIONS, &self.options())),
            }],
            ..BootstrapParams::default()
        };
        params.encode_to_vec()
    }

    /// The socket in what it answers.
    pub(crate) fn socket(&self, answer: &[u8]) -> PathBuf {
        let result = BootstrapResult::decode(answer).unwrap();
        assert_eq!((result.version, result.protocol.as_str()), (3, "ttrpc"));
        let path: PathBuf = result.address.strip_prefix("unix://").unwrap().into();
        assert!(path.starts_with(&self.dir), "{path:?}");
        path
    }

    /// What `start` answers to this input, with this in the environment.
    pub(crate) fn start_by_hand(&self, id: &str, input: &[u8], env: &[(&str, &str)]) -> Vec<u8> {
        let mut command = self.command(id, "start");
        command.envs(env.iter().copied());
        fed(command, input)
    }

    /// As above, where it may fail.
    pub(crate) fn try_start_by_hand(&self, id: &str, input: &[u8], env: &[(&str, &str)]) -> Output {
        let mut command = self.command(id, "start");
        command.envs(env.iter().copied());
        tried(command, input)
    }

    /// Ends the shims whose sockets are here: a test that failed has not.
    fn kill_shims(&self) {
        let dir = self.dir.display().to_string();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            let number = entry.file_name().to_string_lossy().parse().ok();
            if let Some(pid) = number.and_then(rustix::process::Pid::from_raw)
                && line.contains(SHIM)
                && line.contains(&format!("-socket\0{dir}/"))
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }

    /// Cleans up as containerd does after every task.
    pub(crate) fn delete(&self, id: &str) {
        fed(self.command(id, "delete"), b"");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for id in self.ids.lock().unwrap().iter() {
            let _ = self.command(id, "delete").stdin(Stdio::null()).output();
        }
        if std::thread::panicking() {
            self.kill_shims();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn tried(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn fed(command: Command, input: &[u8]) -> Vec<u8> {
    let name = format!("{command:?}");
    let output = tried(command, input);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {error}");
    assert!(error.is_empty(), "standard error belongs to the answer: {error}");
    output.stdout
}

/// A connection to a shim; one call at a time.
pub(crate) struct Client {
    socket: UnixStream,
    stream: u32,
    pub(crate) service: &'static str,
}

impl Client {
    pub(crate) fn connect(path: &Path) -> Self {
        let socket = UnixStream::connect(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            socket,
            stream: 1,
            service: "containerd.task.v3.Task",
        }
    }

    pub(crate) fn call<M: Message + Default>(
        &mut self,
        method: &str,
        message: &impl Message,
    ) -> Result<M, RpcStatus> {
        self.ask(method, message);
        self.answer(method)
    }

    /// Whether an answer to what was asked last begins to arrive in this time.
    pub(crate) fn has_answer_within(&mut self, patience: std::time::Duration) -> bool {
        let timeout = rustix::event::Timespec {
            tv_sec: patience.as_secs().cast_signed(),
            tv_nsec: patience.subsec_nanos().into(),
        };
        let mut polled = [rustix::event::PollFd::new(
            &self.socket,
            rustix::event::PollFlags::IN,
        )];
        rustix::event::poll(&mut polled, Some(&timeout)).unwrap() > 0
    }

    /// The answer to what was asked last.
    pub(crate) fn answer<M: Message + Default>(&mut self, method: &str) -> Result<M, RpcStatus> {
        let frame = receive(&mut self.socket).unwrap_or_else(|| panic!("{method}: the shim hung up"));
        assert_eq!(
            (frame.kind, frame.stream),
            (FrameKind::Response, self.stream),
            "{method}"
        );
        let response = Response::decode(frame.payload.as_slice()).unwrap();
        match response.status.filter(|status| status.code != 0) {
            Some(status) => Err(status),
            None => Ok(M::decode(response.payload.as_slice()).unwrap()),
        }
    }

    /// A call whose answer is not waited for.
    pub(crate) fn ask(&mut self, method: &str, message: &impl Message) {
        self.stream += 2;
        let request = Request {
            service: self.service.to_owned(),
            method: method.to_owned(),
            payload: message.encode_to_vec(),
            timeout_nano: 0,
        };
        let mut bytes = Vec::new();
        Frame::put(&mut bytes, self.stream, FrameKind::Request, &request).unwrap();
        self.socket.write_all(&bytes).unwrap();
    }

    /// Creates a task with this output.
    pub(crate) fn create(&mut self, place: &Place, id: &str, stdout: &str) -> u32 {
        let request = create_request(place, id, stdout);
        self.call::<CreateTaskResponse>("Create", &request).unwrap().pid
    }

    /// Asks for a task without waiting for it.
    pub(crate) fn ask_to_create(&mut self, place: &Place, id: &str) {
        self.ask_to_create_with(place, id, "");
    }

    /// As above, with this output.
    pub(crate) fn ask_to_create_with(&mut self, place: &Place, id: &str, stdout: &str) {
        self.ask("Create", &create_request(place, id, stdout));
    }

    pub(crate) fn start(&mut self, id: &str) {
        let request = StartRequest {
            id: id.to_owned(),
            exec_id: String::new(),
        };
        self.call::<Empty>("Start", &request).unwrap();
    }

    pub(crate) fn wait(&mut self, id: &str) -> u32 {
        let request = WaitRequest {
            id: id.to_owned(),
            exec_id: String::new(),
        };
        self.call::<WaitResponse>("Wait", &request).unwrap().exit_status
    }

    pub(crate) fn kill(&mut self, id: &str) {
        let request = KillRequest {
            id: id.to_owned(),
            signal: 9,
            ..KillRequest::default()
        };
        self.call::<Empty>("Kill", &request).unwrap();
    }

    /// Ends what runs, deletes the task and lets the shim go.
    pub(crate) fn end(&mut self, id: &str) {
        self.kill(id);
        self.wait(id);
        self.delete(id);
        self.shut_down(id);
    }

    pub(crate) fn shut_down(&mut self, id: &str) {
        let request = ShutdownRequest {
            id: id.to_owned(),
            now: false,
        };
        self.call::<Empty>("Shutdown", &request).unwrap();
    }

    pub(crate) fn delete(&mut self, id: &str) {
        let request = DeleteRequest {
            id: id.to_owned(),
            exec_id: String::new(),
        };
        self.call::<Empty>("Delete", &request).unwrap();
    }
}

fn create_request(place: &Place, id: &str, stdout: &str) -> CreateTaskRequest {
    CreateTaskRequest {
        id: id.to_owned(),
        bundle: place.dir.join(id).display().to_string(),
        stdout: stdout.to_owned(),
        options: Some(Any::of(OPTIONS, &place.options())),
        ..CreateTaskRequest::default()
    }
}

fn receive(socket: &mut UnixStream) -> Option<Frame> {
    let mut bytes = Vec::new();
    loop {
        if let Some((frame, _)) = Frame::take(&bytes).unwrap() {
            return Some(frame);
        }
        let mut piece = [0; 4096];
        match socket.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
        }
    }
}

/// A containerd that takes events and nothing else.
pub(crate) struct Listening {
    path: PathBuf,
    topics: Arc<Mutex<Vec<String>>>,
}

impl Listening {
    fn begin(path: PathBuf) -> Self {
        let listening = Self {
            path,
            topics: Arc::default(),
        };
        listening.come_back();
        listening
    }

    /// Nobody listens any more.
    pub(crate) fn go_away(&self) {
        std::fs::remove_file(&self.path).unwrap();
    }

    pub(crate) fn come_back(&self) {
        let listener = UnixListener::bind(&self.path).unwrap();
        let topics = Arc::clone(&self.topics);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let topics = Arc::clone(&topics);
                std::thread::spawn(move || take_events(socket, &topics));
            }
        });
    }

    pub(crate) fn topics(&self) -> Vec<String> {
        self.topics.lock().unwrap().clone()
    }
}

fn take_events(mut socket: UnixStream, topics: &Mutex<Vec<String>>) {
    // One event is under way at a time, so that no bytes of the next one are lost here.
    while let Some(frame) = receive(&mut socket) {
        let request = Request::decode(frame.payload.as_slice()).unwrap();
        assert_eq!(request.method, "Forward");
        let event = ForwardRequest::decode(request.payload.as_slice()).unwrap();
        let envelope = event.envelope.unwrap();
        assert_eq!(envelope.namespace, NAMESPACE);
        topics.lock().unwrap().push(envelope.topic);
        let mut bytes = Vec::new();
        Frame::put(
            &mut bytes,
            frame.stream,
            FrameKind::Response,
            &Response::default(),
        )
        .unwrap();
        if socket.write_all(&bytes).is_err() {
            return;
        }
    }
}
