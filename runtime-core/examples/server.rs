//! A server that runs each client's command in a container of its own: `server SOCKET STATE_DIR BUNDLE`.
//!
//! A client connects to the unix socket and writes one line, a shell command. It gets what the command writes, as it
//! comes, and `exit: N` as the last line. A client that shuts its side down or goes away takes its container
//! with it.
//!
//! One thread serves all clients (tokio). Creating a container takes some milliseconds of system calls, so that is done on
//! tokio's threads for blocking work, and so is the wait for its end. An event loop that may use unsafe code, as
//! `AsyncFd::register` asks for, can wait for [`Container::pidfd`] instead, which becomes readable, and needs no thread.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use runtime_core::spec::LoadedSpec;
use runtime_core::{Container, CreateRequest, Exit, Runtime, Stdio};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::spawn_blocking;

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// What all clients share.
struct Server {
    runtime: Runtime,
    bundle: PathBuf,
    next: AtomicU32,
}

fn main() -> Result<(), Fault> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [socket, root, bundle] = words.as_slice() else {
        return Err("usage: server SOCKET STATE_DIR BUNDLE".into());
    };
    let server = Arc::new(Server {
        runtime: Runtime::new(root),
        bundle: PathBuf::from(bundle),
        next: AtomicU32::new(0),
    });
    let reactor = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    reactor.block_on(serve(server, Path::new(socket)))
}

async fn serve(server: Arc<Server>, socket: &Path) -> Result<(), Fault> {
    let listener = UnixListener::bind(socket)?;
    println!("listening on {}", socket.display());
    loop {
        let (client, _) = listener.accept().await?;
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            if let Err(fault) = attend(server, client).await {
                println!("a client's command failed: {fault}");
            }
        });
    }
}

/// One client from its line to the end of its container.
async fn attend(server: Arc<Server>, client: UnixStream) -> Result<(), Fault> {
    let (from, mut to) = client.into_split();
    let mut from = BufReader::new(from);
    let mut line = String::new();
    from.read_line(&mut line).await?;

    let (output, writer) = std::io::pipe()?;
    let starter = Arc::clone(&server);
    let started = spawn_blocking(move || starter.start(line.trim_end(), writer)).await?;
    let container = match started {
        Ok(container) => container,
        Err(fault) => return Ok(to.write_all(format!("{fault}\nexit: none\n").as_bytes()).await?),
    };
    let id = container.id().clone();
    let mut output = Receiver::from_owned_fd(output.into())?;
    let exit = tokio::select! {
        exit = follow(&mut output, &mut to, container) => exit,
        // The client's side ends only when the client goes away.
        _ = from.read_u8() => Err("the client went away".into()),
    };
    // By force: it may still run.
    spawn_blocking(move || server.runtime.delete(&id, true)).await??;
    to.write_all(format!("exit: {}\n", words(exit?)).as_bytes())
        .await?;
    Ok(())
}

/// Passes the output on until nobody can write any more, then waits for the end, which is near by then.
async fn follow(
    output: &mut Receiver,
    to: &mut (impl AsyncWriteExt + Unpin),
    container: Container,
) -> Result<Exit, Fault> {
    tokio::io::copy(output, to).await?;
    Ok(spawn_blocking(move || container.wait()).await??)
}

fn words(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => code.to_string(),
        Exit::Signal(number) => format!("signal {number}"),
        Exit::Unknown => "unknown".to_owned(),
    }
}

impl Server {
    /// A container of the bundle that runs `command`.
    fn start(&self, command: &str, writer: std::io::PipeWriter) -> Result<Container, Fault> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("server-{}-{number}", std::process::id()).parse()?;
        let mut config = LoadedSpec::from_bundle(&self.bundle, "config.json")?;
        if let Some(process) = config.spec.process_mut() {
            process.set_args(Some(vec!["/bin/sh".into(), "-c".into(), command.into()]));
        }
        if let Some(linux) = config.spec.linux_mut() {
            // The bundle's own path would be shared by all.
            linux.set_cgroups_path(None);
        }
        let mut request = CreateRequest::new(id, &self.bundle, config);
        request.stdio = Stdio {
            input: Some(std::fs::File::open("/dev/null")?.into()),
            output: Some(writer.try_clone()?.into()),
            error: Some(writer.into()),
        };
        Ok(self.runtime.run(request)?)
    }
}
