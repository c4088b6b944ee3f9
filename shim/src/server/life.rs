//! The beginning, the loop and the end of the serving process.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::epoll::EventFlags;
use rustix::process::{Pid, WaitOptions};

use super::{Server, Source};
use crate::args::Args;
use crate::log::Log;
use crate::poller::{Poller, Token};
use crate::publish::Publisher;
use crate::ttrpc::Status;
use crate::workers::Workers;

/// How long a shim without tasks stays when nobody is connected: containerd died before it could say what for.
const IDLE: Duration = Duration::from_secs(10);
/// After how long without a call memory is given back.
const QUIET: Duration = Duration::from_secs(1);
/// How long events and output may take to be taken after a shutdown.
const FAREWELL: Duration = Duration::from_secs(3);

/// Serves until shutdown.
///
/// # Errors
/// What keeps it from serving at all.
pub(crate) fn serve(args: &Args) -> Result<(), Status> {
    let mut server = Server::new(args)?;
    // It was executed as /proc/self/exe, and would be called "exe" by ps and top. As containerd's own shim is called; the
    // kernel keeps 15 bytes.
    rustix::thread::set_name(c"containerd-shim").map_err(|errno| Status::os("prctl(PR_SET_NAME)", errno))?;
    // Orphans of containers that share the host's pid namespace come to us.
    let this = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(this))
        .map_err(|errno| Status::os("prctl(PR_SET_CHILD_SUBREAPER)", errno))?;
    server.run()
}

impl Server {
    fn new(args: &Args) -> Result<Self, Status> {
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGPIPE] {
            mask.add(signal);
        }
        let os = |what: &'static str| {
            move |errno: nix::errno::Errno| Status::os(what, std::io::Error::from(errno))
        };
        mask.thread_block().map_err(os("pthread_sigmask()"))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags).map_err(os("signalfd()"))?;
        let stdin = std::io::stdin().as_fd().try_clone_to_owned();
        let listener =
            UnixListener::from(stdin.map_err(|error| Status::os("fcntl(F_DUPFD_CLOEXEC, 0)", error))?);
        listener
            .set_nonblocking(true)
            .map_err(|error| Status::os("ioctl(standard input, FIONBIO)", error))?;
        let mut server = Self {
            poller: Poller::new()?,
            sources: HashMap::new(),
            listener,
            signals,
            workers: Workers::new()?,
            publisher: Publisher::new(std::env::var("TTRPC_ADDRESS").ok(), &args.namespace),
            publisher_token: 0,
            timers: Vec::new(),
            tasks: BTreeMap::new(),
            creating: BTreeSet::new(),
            log: Log::open(&args.id, args.debug),
            namespace: args.namespace.clone(),
            socket: args.socket.clone().into(),
            scratch: Vec::new(),
            ending: false,
            unwanted: false,
            quiet: Some(Instant::now()),
            idle: None,
        };
        for source in [Source::Listener, Source::Signals, Source::Workers] {
            let token = server.poller.token();
            let fd = match source {
                Source::Listener => server.listener.as_fd(),
                Source::Signals => server.signals.as_fd(),
                _ => server.workers.source(),
            };
            server.poller.add(fd, token, EventFlags::IN)?;
            server.sources.insert(token, source);
        }
        Ok(server)
    }

    fn run(&mut self) -> Result<(), Status> {
        while !self.ending {
            self.turn(None)?;
        }
        // Under this name nobody finds us any more.
        let _ = std::fs::remove_file(&self.socket);
        let deadline = Instant::now() + FAREWELL;
        while Instant::now() < deadline && (self.has_streams() || !self.publisher.is_empty()) {
            self.turn(Some(deadline))?;
        }
        for (_, timer) in self.timers.drain(..) {
            if let super::Timer::KillLogger(logger) = timer {
                logger.terminate();
            }
        }
        Ok(())
    }

    /// Waits once and does what became ready.
    fn turn(&mut self, until: Option<Instant>) -> Result<(), Status> {
        self.watch_idleness();
        let now = Instant::now();
        let timers = self.timers.iter().map(|(at, _)| *at);
        let others = [
            until,
            self.publisher.deadline(),
            self.workers.deadline(),
            self.idle.map(|since| since + IDLE),
            self.quiet.map(|since| since + QUIET),
        ];
        let next = timers.chain(others.into_iter().flatten()).min();
        let patience = next.map(|next| next.saturating_duration_since(now) + Duration::from_millis(1));
        for token in self.poller.wait(patience)? {
            self.ready(token);
        }
        self.run_timers();
        self.workers.relieve();
        self.rest();
        let change = self.publisher.go_on();
        self.attend_publisher(&change);
        Ok(())
    }

    fn ready(&mut self, token: Token) {
        match self.sources.get(&token) {
            None => {}
            Some(Source::Listener) => self.accept(),
            Some(Source::Signals) => self.take_signals(),
            Some(Source::Workers) => {
                for finish in self.workers.finished() {
                    finish(self);
                }
                self.quiet = Some(Instant::now());
                // Those that ended meanwhile.
                self.reap();
            }
            Some(Source::Publisher) => {
                let gone = token != self.publisher_token || !self.publisher.receive();
                if gone {
                    self.sources.remove(&token);
                }
            }
            Some(Source::Connection(_)) => self.receive(token),
            Some(Source::Stream(..)) => self.copy(token),
            Some(Source::Events(id)) => {
                let id = id.clone();
                self.attend_events(&id);
            }
            Some(Source::ExecEnd(id, exec_id)) => {
                let (id, exec_id) = (id.clone(), exec_id.clone());
                self.exec_ended(&id, &exec_id, None);
            }
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            if number == Signal::SIGTERM as i32 || number == Signal::SIGINT as i32 {
                // containerd finds its tasks without a shim then, and deletes them.
                self.log.warn(format!("ending by signal {number}"));
                self.ending = true;
            }
        }
        self.reap();
    }

    /// Takes the children that have ended. Only while no thread is at work: the library waits for helpers of its own.
    fn reap(&mut self) {
        if !self.workers.are_idle() {
            return;
        }
        while let Ok(Some((pid, status))) = rustix::process::waitpid(None::<Pid>, WaitOptions::NOHANG) {
            let code = status
                .exit_status()
                .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
                .unwrap_or(0);
            self.child_ended(pid.as_raw_nonzero().get().cast_unsigned(), code.cast_unsigned());
        }
    }

    /// Gives back what was needed for the last calls: a shim waits for most of its life.
    fn rest(&mut self) {
        if self.quiet.is_none_or(|since| since.elapsed() < QUIET) {
            return;
        }
        self.quiet = None;
        // A thread that comes back later says so again.
        if self.workers.are_idle() {
            self.scratch = Vec::new();
            if let Err(error) = runtime_core::memory::release_code() {
                self.log.debug(error);
            }
        }
    }

    fn watch_idleness(&mut self) {
        self.ending |= self.unwanted && self.tasks.is_empty() && self.creating.is_empty();
        let used = !self.tasks.is_empty()
            || !self.creating.is_empty()
            || self
                .sources
                .values()
                .any(|source| matches!(source, Source::Connection(_)));
        if used {
            self.idle = None;
        } else if let Some(since) = self.idle {
            self.ending |= since.elapsed() >= IDLE;
        } else {
            self.idle = Some(Instant::now());
        }
    }
}
