//! Events for containerd: one after the other, in order, each again until it is taken.
//!
//! containerd may be away: it is restarted while containers run. What happens meanwhile is kept, up to a limit, and told
//! when it is back.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant, SystemTime};

use prost::Message;

use crate::proto::events::{Envelope, ForwardRequest};
use crate::proto::types::Any;
use crate::ttrpc::{Connection, FrameKind, Request, Response};

/// Events that are kept; the oldest is dropped first.
const MOST: usize = 2048;
/// Between two attempts to reach containerd.
const PAUSE: Duration = Duration::from_millis(250);
/// An event that containerd refuses as often is dropped.
const TRIES: u32 = 5;
/// How long an answer may take until the connection counts as broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the event loop has to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// Listen to a new connection.
    Connected,
}

#[derive(Debug)]
pub(crate) struct Publisher {
    path: Option<String>,
    namespace: String,
    queue: VecDeque<Vec<u8>>,
    connection: Option<Connection>,
    stream: u32,
    /// Since when the first event of the queue waits for its answer.
    sent: Option<Instant>,
    tries: u32,
    retry: Option<Instant>,
    /// Events that nobody will hear of.
    pub(crate) dropped: usize,
}

impl Publisher {
    /// To this address; without one events go nowhere.
    pub(crate) fn new(address: Option<String>, namespace: &str) -> Self {
        let path = address
            .filter(|address| !address.is_empty())
            .map(|address| address.strip_prefix("unix://").unwrap_or(&address).to_owned());
        Self {
            path,
            namespace: namespace.to_owned(),
            queue: VecDeque::new(),
            connection: None,
            stream: 1,
            sent: None,
            tries: 0,
            retry: None,
            dropped: 0,
        }
    }

    /// Takes an event into the queue.
    pub(crate) fn publish(&mut self, topic: &str, name: &str, event: &impl Message) -> Change {
        if self.path.is_none() {
            return Change::None;
        }
        let request = ForwardRequest {
            envelope: Some(Envelope {
                timestamp: Some(SystemTime::now().into()),
                namespace: self.namespace.clone(),
                topic: topic.to_owned(),
                event: Some(Any::of(name, event)),
            }),
        };
        if self.queue.len() == MOST {
            // Not the one that is under way.
            self.queue.remove(usize::from(self.sent.is_some()));
            self.dropped += 1;
        }
        self.queue.push_back(request.encode_to_vec());
        self.go_on()
    }

    /// Sends the next event where none is under way.
    pub(crate) fn go_on(&mut self) -> Change {
        let now = Instant::now();
        if self.sent.is_some_and(|sent| now.duration_since(sent) > PATIENCE) {
            self.lose();
        }
        if self.queue.is_empty() || self.sent.is_some() || self.retry.is_some_and(|retry| now < retry) {
            return Change::None;
        }
        self.retry = None;
        let mut change = Change::None;
        if self.connection.is_none() {
            let connected = self.path.as_ref().and_then(|path| UnixStream::connect(path).ok());
            self.connection = connected.and_then(|socket| Connection::new(socket).ok());
            change = Change::Connected;
        }
        let (Some(connection), Some(payload)) = (&mut self.connection, self.queue.front()) else {
            self.retry = Some(now + PAUSE);
            return Change::None;
        };
        self.stream = self.stream.wrapping_add(2);
        let request = Request {
            service: "containerd.services.events.ttrpc.v1.Events".to_owned(),
            method: "Forward".to_owned(),
            payload: payload.clone(),
            timeout_nano: 0,
        };
        if connection.call(self.stream, &request).is_err() {
            self.drop_first();
        } else if connection.send() {
            self.sent = Some(now);
        } else {
            self.lose();
            return Change::None;
        }
        change
    }

    /// Takes what containerd answered. False: the connection is gone.
    pub(crate) fn receive(&mut self) -> bool {
        let Some(connection) = &mut self.connection else {
            return false;
        };
        connection.send();
        let incoming = connection.receive();
        for frame in incoming.frames {
            if frame.kind != FrameKind::Response || frame.stream != self.stream || self.sent.is_none() {
                continue;
            }
            self.sent = None;
            let response = Response::decode(frame.payload.as_slice()).unwrap_or_default();
            if response.status.is_none_or(|status| status.code == 0) {
                self.queue.pop_front();
                self.tries = 0;
            } else {
                self.tries += 1;
                self.retry = Some(Instant::now() + PAUSE);
                if self.tries >= TRIES {
                    self.drop_first();
                }
            }
        }
        if incoming.closed {
            self.lose();
        }
        !incoming.closed
    }

    fn drop_first(&mut self) {
        self.queue.pop_front();
        self.tries = 0;
        self.dropped += 1;
    }

    fn lose(&mut self) {
        self.connection = None;
        self.sent = None;
        self.retry = Some(Instant::now() + PAUSE);
    }

    /// When to go on without being asked.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.sent {
            Some(sent) => Some(sent + PATIENCE),
            None => self.retry.filter(|_| !self.queue.is_empty()),
        }
    }

    pub(crate) fn source(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().map(AsFd::as_fd)
    }

    /// Whether all has been told.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
