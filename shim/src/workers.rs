//! Two threads for the library's calls that may take long: create, start, exec, delete, whose hooks, mounts and programs
//! are not ours. The thread of the event loop never waits for them; what is to be done with a result is handed back to it.
//!
//! The threads are started when they are first needed and stay: the kernel ties a child to the thread that made it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::event::EventfdFlags;

use crate::server::Server;
use crate::ttrpc::Status;

/// Threads beside the one of the event loop.
const MOST: usize = 2;
/// Bytes of a thread's stack; the deepest user is the parser of a configuration.
const STACK: usize = 512 << 10;

/// What is to be done with a result, in the thread of the event loop.
pub(crate) type Finish = Box<dyn FnOnce(&mut Server) + Send>;
type Job = Box<dyn FnOnce() -> Finish + Send>;

#[derive(Default)]
struct Queues {
    jobs: VecDeque<Job>,
    finished: Vec<Finish>,
    idle: usize,
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
                        break job;
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
    started: usize,
    /// Jobs whose result has not been taken.
    running: usize,
}

impl Workers {
    pub(crate) fn new() -> Result<Self, Status> {
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Status::os("eventfd(EFD_CLOEXEC|EFD_NONBLOCK)", errno))?;
        let shared = Shared {
            queues: Mutex::default(),
            more: Condvar::new(),
            wake,
        };
        Ok(Self {
            shared: Arc::new(shared),
            started: 0,
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
        let waiting = {
            let mut queues = self.shared.lock();
            queues.jobs.push_back(Box::new(job));
            queues.jobs.len() > queues.idle
        };
        self.running += 1;
        if waiting && self.started < MOST {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new()
                .name("worker".to_owned())
                .stack_size(STACK);
            let spawned = thread.spawn(move || shared.work());
            match spawned {
                Ok(_) => self.started += 1,
                // The threads that are there will come to it.
                Err(_) if self.started > 0 => {}
                Err(error) => {
                    self.running -= 1;
                    self.shared.lock().jobs.pop_back();
                    return Err(Status::os("clone(CLONE_THREAD)", error));
                }
            }
        }
        self.shared.more.notify_one();
        Ok(())
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
            .field("started", &self.started)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}
