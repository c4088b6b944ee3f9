//! The serving process: one thread, one epoll, and everything that can be waited for in it.

mod dispatch;
mod life;
mod streams;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signalfd::SignalFd;
use prost::Message;
use rustix::event::epoll::EventFlags;

use crate::log::Log;
use crate::poller::{Poller, Token};
use crate::publish::{Change, Publisher};
use crate::stdio::{Names, Stream, Wait};
use crate::task::Task;
use crate::ttrpc::{Connection, FrameKind, Request, Status};
use crate::workers::{Finish, Workers};

pub(crate) use dispatch::{answer, done};
pub(crate) use life::serve;

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    connection: Token,
    stream: u32,
}

/// What a token stands for.
enum Source {
    Listener,
    Signals,
    Workers,
    Publisher,
    Connection(Connection),
    Stream(Box<Stream>, Wait),
    /// Something happened to a container.
    Events(String),
    /// A program that exec brought has ended: container, exec.
    ExecEnd(String, String),
}

/// What happens at a point in time.
enum Timer {
    /// A terminal whose program has ended is closed.
    CloseStream(Token),
    /// The output of a deleted program is given up where nothing was written since: this many bytes were.
    AbandonStream(Token, u64),
    /// A logger that did not end when asked.
    KillLogger(crate::stdio::Logger),
    /// An answer that waits until a client has read what the program wrote.
    Answer(Box<Withheld>),
}

/// An answer that waits.
struct Withheld {
    caller: Caller,
    answer: Vec<u8>,
    outputs: Names,
    /// Then it waits no longer.
    until: Instant,
    pause: Duration,
}

/// The server.
pub(crate) struct Server {
    pub(crate) poller: Poller,
    sources: HashMap<Token, Source>,
    listener: UnixListener,
    signals: SignalFd,
    pub(crate) workers: Workers,
    publisher: Publisher,
    publisher_token: Token,
    timers: Vec<(Instant, Timer)>,
    pub(crate) tasks: BTreeMap<String, Task>,
    /// Ids of tasks that are being made.
    pub(crate) creating: BTreeSet<String>,
    pub(crate) log: Log,
    pub(crate) namespace: String,
    socket: PathBuf,
    scratch: Vec<u8>,
    /// This is the end.
    pub(crate) ending: bool,
    /// Shutdown was asked for while a task was being made: it is the end where none comes of it.
    pub(crate) unwanted: bool,
    /// Since when nothing was asked for and no thread came back, where there was something before.
    quiet: Option<Instant>,
    /// Since when there is no task and no connection.
    idle: Option<Instant>,
}

impl Server {
    /// Answers a call that could not be answered at once.
    pub(crate) fn reply(&mut self, caller: Caller, result: Result<Vec<u8>, Status>) {
        let Some(Source::Connection(connection)) = self.sources.get_mut(&caller.connection) else {
            // Whoever asked is gone.
            return;
        };
        connection.answer(caller.stream, result);
        self.flush(caller.connection);
    }

    /// Whether whoever asked is still there to hear the answer.
    pub(crate) fn is_there(&self, caller: Caller) -> bool {
        self.sources.contains_key(&caller.connection)
    }

    fn flush(&mut self, token: Token) {
        let Some(Source::Connection(connection)) = self.sources.get_mut(&token) else {
            return;
        };
        if !connection.send() {
            self.hang_up(token);
        } else if connection.has_unsent() {
            self.poller
                .change(&*connection, token, EventFlags::IN | EventFlags::OUT);
        } else {
            self.poller.change(&*connection, token, EventFlags::IN);
        }
    }

    fn hang_up(&mut self, token: Token) {
        if let Some(Source::Connection(connection)) = self.sources.remove(&token) {
            self.poller.remove(&connection);
        }
    }

    /// Gives a thread something to do, whose result is handed to `finish` in this thread.
    pub(crate) fn later<T: Send + 'static>(
        &mut self,
        job: impl FnOnce() -> T + Send + 'static,
        finish: impl FnOnce(&mut Self, T) + Send + 'static,
    ) -> Result<(), Status> {
        self.workers.run(move || {
            let result = job();
            Box::new(move |server: &mut Self| finish(server, result)) as Finish
        })
    }

    /// Tells containerd what happened.
    pub(crate) fn publish(&mut self, topic: &str, name: &str, event: &impl Message) {
        let change = self
            .publisher
            .publish(topic, &format!("containerd.events.{name}"), event);
        self.attend_publisher(&change);
    }

    fn attend_publisher(&mut self, change: &Change) {
        if *change == Change::Connected
            && let Some(source) = self.publisher.source()
        {
            self.publisher_token = self.poller.token();
            let added = self.poller.add(source, self.publisher_token, EventFlags::IN);
            if let Err(status) = added {
                self.log.error(status.message);
            }
            self.sources.insert(self.publisher_token, Source::Publisher);
        }
        if self.publisher.dropped > 0 {
            self.log.warn(format!(
                "{} events could not be delivered",
                self.publisher.dropped
            ));
            self.publisher.dropped = 0;
        }
    }

    fn accept(&mut self) {
        while let Ok((socket, _)) = self.listener.accept() {
            let token = self.poller.token();
            let added = Connection::new(socket)
                .map_err(|error| Status::os("ioctl(FIONBIO)", error))
                .and_then(|connection| {
                    self.poller.add(&connection, token, EventFlags::IN)?;
                    Ok(connection)
                });
            match added {
                Ok(connection) => {
                    self.sources.insert(token, Source::Connection(connection));
                }
                Err(status) => self.log.error(status.message),
            }
        }
    }

    fn receive(&mut self, token: Token) {
        let Some(Source::Connection(connection)) = self.sources.get_mut(&token) else {
            return;
        };
        let incoming = connection.receive();
        for frame in incoming.frames {
            if frame.kind != FrameKind::Request {
                continue;
            }
            let caller = Caller {
                connection: token,
                stream: frame.stream,
            };
            self.quiet = Some(Instant::now());
            let outcome = match Request::decode(frame.payload.as_slice()) {
                Ok(request) => self.dispatch(caller, &request),
                Err(error) => Err(Status::invalid(format!("ttrpc request: {error}"))),
            };
            if let Some(result) = outcome.transpose() {
                self.reply(caller, result);
            }
        }
        if incoming.closed {
            self.hang_up(token);
        } else {
            self.flush(token);
        }
    }
}

impl Server {
    /// A token for what happens to a container.
    pub(crate) fn new_source_of_events(&mut self, id: &str) -> Token {
        let token = self.poller.token();
        self.sources.insert(token, Source::Events(id.to_owned()));
        token
    }

    /// A token for the end of a program that exec brought.
    pub(crate) fn new_source_of_exec(&mut self, id: &str, exec_id: &str) -> Token {
        let token = self.poller.token();
        self.sources
            .insert(token, Source::ExecEnd(id.to_owned(), exec_id.to_owned()));
        token
    }

    /// Nothing is awaited under this token any more.
    pub(crate) fn forget_source(&mut self, token: Token) {
        self.sources.remove(&token);
    }

    /// As above, by what it stood for.
    pub(crate) fn forget_exec_source(&mut self, id: &str, exec_id: &str) {
        self.sources.retain(
            |_, source| !matches!(source, Source::ExecEnd(task, exec) if task == id && exec == exec_id),
        );
    }
}
