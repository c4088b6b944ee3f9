//! The streams of programs in the event loop, and what is left of them when a program is gone.

use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;

use super::{Caller, Server, Source, Timer, Withheld};
use crate::poller::Token;
use crate::stdio::{Logger, Names, Opened, Stream, Wait};
use crate::task::ProgramIo;

/// Bytes that are copied at once: half of what a pipe holds.
const SCRATCH: usize = 32 << 10;
/// How long a logger may take to end.
const LOGGER_PATIENCE: Duration = Duration::from_secs(12);
/// How long a terminal may stay open behind its program, where others still hold it.
const TERMINAL_PATIENCE: Duration = Duration::from_millis(200);
/// How long output of a deleted program is kept for a reader that takes nothing of it.
const DELETED_PATIENCE: Duration = Duration::from_secs(60);
/// How long the answer to Delete waits for a client that has not read all of the output; as long as containerd's own shim waits
/// for its copying.
const READER_PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at what it has read, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

fn flags(wait: Wait) -> EventFlags {
    match wait {
        Wait::Output => EventFlags::OUT,
        Wait::Input | Wait::Nothing => EventFlags::IN,
    }
}

impl Server {
    /// Begins to copy.
    pub(crate) fn adopt(&mut self, opened: Opened) -> ProgramIo {
        ProgramIo {
            waiting: opened.input,
            terminal: opened.terminal,
            logger: opened.logger,
            outputs: opened
                .outputs
                .into_iter()
                .filter_map(|stream| self.add_stream(stream))
                .collect(),
            ..ProgramIo::default()
        }
    }

    /// Begins to read standard input.
    pub(crate) fn begin_input(&mut self, io: &mut ProgramIo) {
        let Some(input) = io.waiting.take() else { return };
        match input.open(!io.closed) {
            Ok((stream, keeper)) => {
                io.keeper = keeper;
                io.input = self.add_stream(stream);
            }
            Err(status) => self.log.error(status.message),
        }
    }

    fn add_stream(&mut self, stream: Stream) -> Option<Token> {
        let token = self.poller.token();
        match self.poller.add(stream.source(Wait::Input), token, EventFlags::IN) {
            Ok(()) => {
                self.sources
                    .insert(token, Source::Stream(Box::new(stream), Wait::Input));
                Some(token)
            }
            Err(status) => {
                self.log.error(status.message);
                None
            }
        }
    }

    /// Copies what can be.
    pub(super) fn copy(&mut self, token: Token) {
        let Some(Source::Stream(stream, wait)) = self.sources.get_mut(&token) else {
            return;
        };
        if self.scratch.is_empty() {
            self.scratch = vec![0; SCRATCH];
        }
        let next = stream.copy(&mut self.scratch);
        if next == *wait {
            return;
        }
        self.poller.remove(stream.source(*wait));
        *wait = next;
        let goes_on =
            next != Wait::Nothing && self.poller.add(stream.source(next), token, flags(next)).is_ok();
        if !goes_on {
            self.sources.remove(&token);
        }
    }

    fn drop_stream(&mut self, token: Token) {
        if let Some(Source::Stream(stream, wait)) = self.sources.remove(&token) {
            self.poller.remove(stream.source(wait));
        }
    }

    /// What is there is copied; then the stream ends.
    fn end_stream(&mut self, token: Token) {
        if let Some(Source::Stream(stream, _)) = self.sources.get_mut(&token) {
            stream.end();
            self.copy(token);
        }
    }

    /// As above; what is left then is for a reader that is there.
    fn let_stream_go(&mut self, token: Token) {
        let Some(Source::Stream(stream, wait)) = self.sources.get_mut(&token) else {
            return;
        };
        self.poller.remove(stream.source(*wait));
        stream.let_go();
        if let Err(status) = self.poller.add(stream.source(*wait), token, flags(*wait)) {
            self.log.error(status.message);
        }
        self.end_stream(token);
        if let Some(Source::Stream(stream, _)) = self.sources.get(&token) {
            let timer = Timer::AbandonStream(token, stream.written());
            self.timer(DELETED_PATIENCE, timer);
        }
    }

    /// Gives up a stream of a deleted program whose reader takes nothing.
    fn abandon(&mut self, token: Token, written: u64) {
        match self.sources.get(&token) {
            Some(Source::Stream(stream, _)) if stream.written() != written => {
                let timer = Timer::AbandonStream(token, stream.written());
                self.timer(DELETED_PATIENCE, timer);
            }
            Some(_) => {
                self.log
                    .warn("output of a deleted program is given up: its reader does not read");
                self.drop_stream(token);
            }
            None => {}
        }
    }

    /// The program has ended: nobody reads its input any more. Of its output everything is still to come.
    pub(crate) fn program_ended(&mut self, io: &mut ProgramIo) {
        io.keeper = None;
        io.waiting = None;
        if let Some(token) = io.input.take() {
            self.drop_stream(token);
        }
        if io.terminal.take().is_some() {
            for token in &io.outputs {
                self.copy(*token);
                if self.sources.contains_key(token) {
                    self.timer(TERMINAL_PATIENCE, Timer::CloseStream(*token));
                }
            }
        }
    }

    /// The program is deleted: what is in its pipes is all. A client that reads slowly gets it nevertheless.
    pub(crate) fn program_deleted(&mut self, mut io: ProgramIo) {
        self.program_ended(&mut io);
        for token in io.outputs {
            self.let_stream_go(token);
        }
        if let Some(logger) = io.logger {
            self.dismiss(logger);
        }
    }

    /// Answers a Delete when the client has read the output: containerd's client (ctr among them, until 1.7 at least) closes its
    /// ends of the fifos when it has the answer, read to the end or not.
    pub(crate) fn reply_when_read(&mut self, caller: Caller, answer: Vec<u8>, outputs: Names) {
        self.withhold(Withheld {
            caller,
            answer,
            outputs,
            until: Instant::now() + READER_PATIENCE,
            pause: PAUSES.0,
        });
    }

    fn withhold(&mut self, mut withheld: Withheld) {
        let is_time = Instant::now() >= withheld.until || !self.is_there(withheld.caller);
        if is_time || !withheld.outputs.are_unread() {
            return self.reply(withheld.caller, Ok(withheld.answer));
        }
        let pause = withheld.pause;
        withheld.pause = (pause * 2).min(PAUSES.1);
        self.timer(pause, Timer::Answer(Box::new(withheld)));
    }

    fn dismiss(&mut self, logger: Logger) {
        logger.terminate();
        self.timer(LOGGER_PATIENCE, Timer::KillLogger(logger));
    }

    pub(super) fn timer(&mut self, patience: Duration, timer: Timer) {
        self.timers.push((Instant::now() + patience, timer));
    }

    /// Does what is due.
    pub(super) fn run_timers(&mut self) {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.timers)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.timers = later;
        for (_, timer) in due {
            match timer {
                Timer::CloseStream(token) => self.end_stream(token),
                Timer::AbandonStream(token, written) => self.abandon(token, written),
                Timer::KillLogger(logger) => logger.kill(),
                Timer::Answer(withheld) => self.withhold(*withheld),
            }
        }
    }

    /// Whether output is still under way to somebody.
    pub(super) fn has_streams(&self) -> bool {
        self.sources
            .values()
            .any(|source| matches!(source, Source::Stream(..)))
    }
}
