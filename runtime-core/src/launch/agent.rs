//! Handing the listener of a seccomp filter to the agent that answers for it (config-linux.md, "The Container Process
//! State"): one connection, one document with the descriptor beside its first byte, then the end.
//!
//! The listener is not kept: while anybody but the agent holds it, the end of the agent is no end to the calls that wait
//! for it, which would hang and not fail with ENOSYS.

use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};
use serde_json::{Value, json};

use crate::error::{Error, ErrorKind, Result};
use crate::seccomp::Agent;

/// How long an agent may take to accept and to read; init waits all the while.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends the listener of process `pid` and the state of its container, a document of runtime.md#state.
///
/// # Errors
/// System, where nobody listens, or the agent does not read.
pub(crate) fn hand_over(agent: &Agent, listener: OwnedFd, pid: i32, state: &[u8]) -> Result<()> {
    let stream = connect(&agent.socket)
        .map_err(|error| Error::os(format!("connect({:?})", agent.socket), error))
        .map_err(|error| {
            error
                .context("failed to connect with seccomp agent")
                .with_field("linux.seccomp.listenerPath")
        })?;
    let document = document(agent, pid, state)?;
    send(stream, &document, listener).map_err(|error| {
        Error::os(format!("sendmsg({:?})", agent.socket), error)
            .context("the seccomp agent did not take the listener")
            .with_field("linux.seccomp.listenerPath")
    })
}

fn document(agent: &Agent, pid: i32, state: &[u8]) -> Result<Vec<u8>> {
    let state: Value = serde_json::from_slice(state)
        .map_err(|error| Error::new(ErrorKind::Internal, format!("the container's state: {error}")))?;
    let mut document = json!({
        "ociVersion": state["ociVersion"],
        "fds": ["seccompFd"],
        "pid": pid,
        "state": state,
    });
    if let (Some(metadata), Some(fields)) = (&agent.metadata, document.as_object_mut()) {
        fields.insert("metadata".to_owned(), metadata.as_str().into());
    }
    Ok(document.to_string().into_bytes())
}

/// A path, or with @ a name in the abstract namespace, as in runc. A socket whose queue is full makes connect(2) wait too.
fn connect(socket: &str) -> std::io::Result<UnixStream> {
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        None => SocketAddrUnix::new(socket)?,
    };
    let (family, kind, flags) = (AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC);
    let stream = UnixStream::from(rustix::net::socket_with(family, kind, flags, None)?);
    stream.set_write_timeout(Some(PATIENCE))?;
    rustix::io::retry_on_intr(|| rustix::net::connect(&stream, &address))?;
    Ok(stream)
}

fn send(mut stream: UnixStream, bytes: &[u8], listener: OwnedFd) -> std::io::Result<()> {
    let fds = [listener.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let sent = rustix::io::retry_on_intr(|| {
        let bytes = [IoSlice::new(bytes)];
        rustix::net::sendmsg(&stream, &bytes, &mut ancillary, SendFlags::NOSIGNAL)
    })?;
    // A document that the socket has no room for; the descriptor has gone with the first part.
    stream.write_all(bytes.get(sent..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_that_of_the_specification() {
        let state = br#"{"ociVersion":"1.3.0","id":"c1","status":"creating","pid":7,"bundle":"/b"}"#;
        let agent = |metadata: Option<&str>| Agent {
            socket: "/run/agent".to_owned(),
            metadata: metadata.map(str::to_owned),
        };
        let value = |agent| serde_json::from_slice::<Value>(&document(&agent, 9, state).unwrap()).unwrap();
        assert_eq!(
            value(agent(Some("A=b"))),
            json!({"ociVersion": "1.3.0", "fds": ["seccompFd"], "pid": 9, "metadata": "A=b",
                "state": {"ociVersion": "1.3.0", "id": "c1", "status": "creating", "pid": 7, "bundle": "/b"}})
        );
        assert!(value(agent(None)).get("metadata").is_none());
    }

    #[test]
    fn an_absent_agent_is_named() {
        for socket in ["/no/such/socket", "@runtime-core-nobody-listens"] {
            let agent = Agent {
                socket: socket.to_owned(),
                metadata: None,
            };
            let listener = std::fs::File::open("/dev/null").unwrap().into();
            let error = hand_over(&agent, listener, 1, b"{}").unwrap_err();
            assert_eq!(error.field(), Some("linux.seccomp.listenerPath"));
            let text = error.to_string();
            assert!(text.contains("failed to connect with seccomp agent"), "{text}");
            assert!(text.contains(socket), "{text}");
        }
    }

    /// More than the socket's buffer holds, with the descriptor at its beginning.
    #[test]
    fn a_large_document_arrives_whole() {
        use std::io::Read;
        use std::os::unix::net::UnixListener;
        let path = std::env::temp_dir().join(format!("agent-{}.sock", std::process::id()));
        let socket = UnixListener::bind(&path).unwrap();
        let reader = std::thread::spawn(move || {
            let (mut stream, _) = socket.accept().unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let agent = Agent {
            socket: path.to_string_lossy().into_owned(),
            metadata: Some("x".repeat(1 << 20)),
        };
        let listener = std::fs::File::open("/dev/null").unwrap().into();
        hand_over(&agent, listener, 1, br#"{"ociVersion":"1.3.0"}"#).unwrap();
        let bytes = reader.join().unwrap();
        std::fs::remove_file(&path).unwrap();
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["metadata"].as_str().map(str::len), Some(1 << 20));
    }
}
