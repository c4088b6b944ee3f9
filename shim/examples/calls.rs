//! How long a shim takes for what containerd asks of it, from start to gone, without containerd: `calls SHIM BUNDLE ID ROOT [BINARY]`.
//!
//! Takes one container whose program ends at once through one shim (any of containerd 1.6 to 2.x), and prints a line of
//! nanoseconds and name for each call, then `whole` for all. ROOT is the state directory; BINARY is the runtime that a shim
//! runs which has none inside. `cargo xtask bench` runs it; it needs root.
#![allow(clippy::print_stdout, reason = "an example that shows its figures")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use prost::Message;
use shim::proto::bootstrap::BootstrapResult;
use shim::proto::options::{OPTIONS, Options};
use shim::proto::task::{
    CreateTaskRequest, CreateTaskResponse, DeleteRequest, DeleteResponse, ShutdownRequest, StartRequest,
    StartResponse, WaitRequest, WaitResponse,
};
use shim::proto::types::{Any, Empty};
use shim::ttrpc::{Frame, FrameKind, Request, Response};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Longer than any call should take.
const PATIENCE: Duration = Duration::from_secs(20);
const NAMESPACE: &str = "bench";

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (Some([shim, bundle, id, root]), binary) = (words.first_chunk(), words.get(4)) else {
        return Err("usage: calls SHIM BUNDLE ID ROOT [BINARY]".into());
    };
    let place = Place {
        shim: shim.into(),
        bundle: Path::new(bundle).canonicalize()?,
        id: id.clone(),
        // Short, because a socket's path is limited.
        events: std::env::temp_dir().join(format!("calls-{}.ttrpc", std::process::id())),
    };
    let options = Options {
        root: root.clone(),
        binary_name: binary.cloned().unwrap_or_default(),
        ..Options::default()
    };
    // containerd reads a shim's log from there; some shims end when nobody does.
    let log = place.bundle.join("log");
    let _ = std::fs::remove_file(&log);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &log,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o600),
        0,
    )?;
    let _reader = std::fs::File::options().read(true).write(true).open(&log)?;
    let listener = UnixListener::bind(&place.events)?;
    std::thread::spawn(move || take_events(&listener));
    let outcome = life(&place, &options);
    // Whatever happened: the shim's own clean-up ends what lives, as containerd has it done after every task.
    let cleaned = place.command("delete").output();
    std::fs::remove_file(&place.events)?;
    outcome?;
    cleaned?;
    Ok(())
}

struct Place {
    shim: PathBuf,
    bundle: PathBuf,
    id: String,
    events: PathBuf,
}

impl Place {
    fn command(&self, action: &str) -> Command {
        let mut command = Command::new(&self.shim);
        command
            .args(["-namespace", NAMESPACE, "-id", &self.id, "-address"])
            .arg(self.events.with_extension("sock"))
            // The program that older shims publish events with when the socket does not take them.
            .args(["-publish-binary", "/bin/true", action])
            .current_dir(&self.bundle)
            .env("TTRPC_ADDRESS", &self.events)
            .env_remove("MAX_SHIM_VERSION")
            .stdin(Stdio::null());
        command
    }

    /// The socket of a new shim, and which version of the task service answers there.
    fn start(&self) -> Outcome<(PathBuf, i64)> {
        let output = self.command("start").output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            return Err(format!("start: {said}").into());
        }
        // An address alone, a document that has it, or the message of containerd 2.3, which shims write by themselves where
        // nothing was on their standard input.
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (address, version) = match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(document) => (
                document["address"].as_str().unwrap_or_default().to_owned(),
                document["version"].as_i64().unwrap_or(2),
            ),
            Err(_) if text.starts_with("unix://") => (text.trim().to_owned(), 2),
            Err(_) => {
                let result = BootstrapResult::decode(output.stdout.as_slice())?;
                (result.address, result.version.into())
            }
        };
        let path = address
            .strip_prefix("unix://")
            .ok_or(format!("start said {text:?}"))?;
        Ok((path.into(), version))
    }
}

fn life(place: &Place, options: &Options) -> Outcome {
    let whole = Instant::now();
    let mut watch = Watch(Instant::now());
    let (socket, version) = place.start()?;
    let mut client = Client {
        socket: UnixStream::connect(socket)?,
        service: format!("containerd.task.v{version}.Task"),
        stream: 1,
    };
    client.socket.set_read_timeout(Some(PATIENCE))?;
    watch.lap("start of the shim");
    let (id, exec_id) = (place.id.clone(), String::new());
    let create = CreateTaskRequest {
        id: id.clone(),
        bundle: place.bundle.display().to_string(),
        options: Some(Any::of(OPTIONS, options)),
        ..CreateTaskRequest::default()
    };
    client.call::<CreateTaskResponse>("Create", &create)?;
    watch.lap("Create");
    let start = StartRequest {
        id: id.clone(),
        exec_id: exec_id.clone(),
    };
    client.call::<StartResponse>("Start", &start)?;
    watch.lap("Start");
    let wait = WaitRequest {
        id: id.clone(),
        exec_id: exec_id.clone(),
    };
    let status = client.call::<WaitResponse>("Wait", &wait)?.exit_status;
    if status != 0 {
        return Err(format!("the container ended with {status}").into());
    }
    watch.lap("Wait");
    let delete = DeleteRequest {
        id: id.clone(),
        exec_id,
    };
    client.call::<DeleteResponse>("Delete", &delete)?;
    watch.lap("Delete");
    let nanos = whole.elapsed().as_nanos();
    println!("{nanos} whole");
    // It ends by it: some answer, some hang up first.
    let _ = client.call::<Empty>("Shutdown", &ShutdownRequest { id, now: true });
    Ok(())
}

/// Time since the last look.
struct Watch(Instant);

impl Watch {
    fn lap(&mut self, name: &str) {
        println!("{} {name}", self.0.elapsed().as_nanos());
        self.0 = Instant::now();
    }
}

/// A connection to a shim; one call at a time.
struct Client {
    socket: UnixStream,
    service: String,
    stream: u32,
}

impl Client {
    fn call<M: Message + Default>(&mut self, method: &str, message: &impl Message) -> Outcome<M> {
        self.stream += 2;
        let request = Request {
            service: self.service.clone(),
            method: method.to_owned(),
            payload: message.encode_to_vec(),
            timeout_nano: 0,
        };
        let mut bytes = Vec::new();
        Frame::put(&mut bytes, self.stream, FrameKind::Request, &request).map_err(|status| status.message)?;
        self.socket.write_all(&bytes)?;
        let frame = receive(&mut self.socket)?.ok_or(format!("{method}: the shim hung up"))?;
        let response = Response::decode(frame.payload.as_slice())?;
        match response.status.filter(|status| status.code != 0) {
            Some(status) => Err(format!("{method}: {status:?}").into()),
            None => Ok(M::decode(response.payload.as_slice())?),
        }
    }
}

fn receive(socket: &mut UnixStream) -> Outcome<Option<Frame>> {
    let mut bytes = Vec::new();
    loop {
        let taken = Frame::take(&bytes).map_err(|long| format!("a frame of {} bytes", long.length))?;
        if let Some((frame, _)) = taken {
            return Ok(Some(frame));
        }
        let mut piece = [0; 4096];
        match socket.read(&mut piece)? {
            0 => return Ok(None),
            count => bytes.extend_from_slice(&piece[..count]),
        }
    }
}

/// A containerd that takes events and nothing else.
fn take_events(listener: &UnixListener) {
    for mut socket in listener.incoming().flatten() {
        std::thread::spawn(move || {
            // One event is under way at a time.
            while let Ok(Some(frame)) = receive(&mut socket) {
                let mut bytes = Vec::new();
                let answered = Frame::put(
                    &mut bytes,
                    frame.stream,
                    FrameKind::Response,
                    &Response::default(),
                );
                if answered.is_err() || socket.write_all(&bytes).is_err() {
                    return;
                }
            }
        });
    }
}
