//! Threads for the library's calls that may take long: create, start, exec, delete, whose hooks, mounts, programs and clients
//! are not ours. The thread of the event loop never waits for them; what is to be done with a result is handed back to it.
//!
//! Two threads do everything as long as calls come to an end, and stay. Where all threads are held up, by hooks that hang or
//! by a client that does not open its fifo, another one is started for the call that waits, and ends when nothing waits.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::EventfdFlags;

use crate::server::Server;
use crate::ttrpc::Status;

/// Threads that stay, beside the one of the event loop.
const KEPT: usize = 2;
/// Most threads beside it.
const MOST: usize = 32;
/// How long a call waits while no thread comes to an end with another one, before it gets a thread of its own. A create takes
/// some milliseconds: a burst of them stays with the two threads, and with their memory.
const HELD_UP: Duration = Duration::from_millis(50);
/// Bytes of a thread's stack; the deepest user is the parser of a configuration.
const STACK: usize = 512 << 10;

/// What is to be done with a result, in the thread of the event loop.
pub(crate) type Finish = Box<dyn FnOnce(&mut Server) + Send>;
type Job = Box<dyn FnOnce() -> Finish + Send>;

struct Queues {
    jobs: VecDeque<Job>,
    finished: Vec<Finish>,
    threads: usize,
    idle: usize,
    /// When a job was last taken, or the first of those that wait came.
    progress: Instant,
}

impl Queues {
    fn deadline(&self) -> Option<Instant> {
        let waits = !self.jobs.is_empty() && self.threads < MOST;
        waits.then(|| self.progress + HELD_UP)
    }
}

struct Shared {
    queues: Mutex<Queues>,
    more: Condvar,
    wake: OwnedFd,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        // A job that panicked held no lock.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        loop {
            let job = {
                let mut queues = self.lock();
                loop {
                    if let Some(job) = queues.jobs.pop_front() {
                        queues.progress = Instant::now();
                        break job;
                    }
                    if queues.threads > KEPT {
                        queues.threads -= 1;
                        return;
                    }
                    queues.idle += 1;
                    queues = self.more.wait(queues).unwrap_or_else(PoisonError::into_inner);
                    queues.idle -= 1;
                }
            };
            let finish = job();
            self.lock().finished.push(finish);
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }
}

/// The threads.
pub(crate) struct Workers {
    shared: Arc<Shared>,
    /// Jobs whose result has not been taken.
    running: usize,
}

impl Workers {
    pub(crate) fn new() -> Result<Self, Status> {
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Status::os("eventfd(EFD_CLOEXEC|EFD_NONBLOCK)", errno))?;
        let shared = Shared {
            queues: Mutex::new(Queues {
                jobs: VecDeque::new(),
                finished: Vec::new(),
                threads: 0,
                idle: 0,
                progress: Instant::now(),
            }),
            more: Condvar::new(),
            wake,
        };
        Ok(Self {
            shared: Arc::new(shared),
            running: 0,
        })
    }

    /// Readable when a result is there.
    pub(crate) fn source(&self) -> BorrowedFd<'_> {
        self.shared.wake.as_fd()
    }

    /// Whether nothing is being done: then every child that ends and is not known belongs to nobody.
    pub(crate) fn are_idle(&self) -> bool {
        self.running == 0
    }

    /// Gives a thread something to do.
    pub(crate) fn run(&mut self, job: impl FnOnce() -> Finish + Send + 'static) -> Result<(), Status> {
        let mut queues = self.shared.lock();
        if queues.jobs.is_empty() {
            queues.progress = Instant::now();
        }
        queues.jobs.push_back(Box::new(job));
        if queues.jobs.len() > queues.idle && queues.threads < KEPT {
            match self.spawn() {
                Ok(()) => queues.threads += 1,
                // The threads that are there will come to it.
                Err(_) if queues.threads > 0 => {}
                Err(error) => {
                    queues.jobs.pop_back();
                    return Err(Status::os("clone(CLONE_THREAD)", error));
                }
            }
        }
        drop(queues);
        self.running += 1;
        self.shared.more.notify_one();
        Ok(())
    }

    /// When `relieve` is to be called: None where nothing waits.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.shared.lock().deadline()
    }

    /// Starts another thread where calls wait and no thread comes to them.
    pub(crate) fn relieve(&mut self) {
        let mut queues = self.shared.lock();
        if queues.deadline().is_none_or(|deadline| Instant::now() < deadline) {
            return;
        }
        // Whether it works or not: the next try is due as much later.
        queues.progress = Instant::now();
        if self.spawn().is_ok() {
            queues.threads += 1;
        }
    }

    fn spawn(&self) -> std::io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new()
            .name("worker".to_owned())
            .stack_size(STACK);
        thread.spawn(move || shared.work()).map(drop)
    }

    /// The results that are there.
    pub(crate) fn finished(&mut self) -> Vec<Finish> {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.shared.wake, &mut count);
        let finished = std::mem::take(&mut self.shared.lock().finished);
        self.running -= finished.len();
        finished
    }
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers")
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}
