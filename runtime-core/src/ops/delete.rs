//! delete: undo what the record lists, in an order that may be repeated after any interruption.

use std::path::Path;
use std::time::{Duration, Instant};

use super::state::document;
use super::{Container, Runtime, not_found};
use crate::cgroup::Cgroup;
use crate::cgroup::systemd::{Manager, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::launch::HookRun;
use crate::record::{Lock, Record, StateDir};
use crate::state::Status;
use crate::trace::Trace;

/// How long processes and cgroups may take to be gone.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How long another operation may go on after its container was killed; an update waits for systemd as long as 30 s.
const LOCK_PATIENCE: Duration = Duration::from_secs(40);

/// How long an init that lost its parent may take to notice.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(2);

/// What is to be said about a container that is gone.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Deleted {
    /// poststop hooks that failed: the specification asks to warn and go on. A unit that systemd did not take back. A
    /// record that was damaged (kind State), with what could be ended and removed by the rest of it.
    pub warnings: Vec<Error>,
}

impl Runtime {
    /// Deletes a container. Without `force` it must be stopped or only created; with it the container is killed
    /// first, remains of a killed runtime are cleaned too, a damaged record is followed as far as it can be read, and a
    /// missing container is fine. An operation that is under way is not waited for then: the container that it works on is
    /// killed, so that it fails.
    ///
    /// Before kernel 6.15 the end of a container that is killed here may be told as [`crate::Exit::Unknown`] to a thread of the
    /// same process that waits for it: only one of the two can reap it.
    ///
    /// # Errors
    /// NotFound; WrongState, where it is not stopped; System, where something cannot be removed: delete may be repeated.
    /// State, where the record is damaged (without `force`); Unsupported, where a newer version wrote it (always).
    pub fn delete(&self, id: &ContainerId, force: bool) -> Result<Deleted> {
        let Some(dir) = StateDir::open(self.root(), id.as_str())? else {
            return if force {
                Ok(Deleted::default())
            } else {
                Err(not_found())
            };
        };
        let locked = self.trace.time("wait for the lock", || match force {
            true => lock_by_force(&dir),
            false => dir.lock(),
        });
        let lock = match locked {
            // Another delete was faster.
            Err(error) if force && error.kind() == ErrorKind::NotFound => return Ok(Deleted::default()),
            other => other?,
        };
        let record = match dir.load() {
            // A create that is about to write its record, or one that was killed before it did.
            Ok(None) if !force => {
                return Err(not_found().with_hint("delete --force removes what a killed create left"));
            }
            Ok(record) => record,
            // Damaged for good. One that cannot be read now (EIO, EMFILE, ENOMEM), or by a newer runtime only, is no reason
            // to forget what it lists.
            Err(error) if force && error.kind() == ErrorKind::State => {
                return self.delete_damaged(dir, lock, id, &error);
            }
            Err(error) => return Err(error),
        };
        if let (Some(record), false) = (&record, force) {
            let container = Container::load(
                StateDir::open(self.root(), id.as_str())?.ok_or_else(not_found)?,
                &self.trace,
            )?;
            match container.status()? {
                Status::Stopped | Status::Created => {}
                status => {
                    return Err(Error::new(
                        ErrorKind::WrongState,
                        format!(
                            "cannot delete container {} that is not stopped: {}",
                            record.id,
                            status.as_str()
                        ),
                    ));
                }
            }
        }
        destroy(dir, lock, record.as_ref(), &self.trace)
    }
}

/// The lock, also from who waits for the container itself: for a hook in it that does not end, or for an image to be
/// written. Without its processes nothing is left to wait for.
fn lock_by_force(dir: &StateDir) -> Result<Lock> {
    if let Some(lock) = dir.lock_within(Duration::ZERO)? {
        return Ok(lock);
    }
    // What cannot be read now is read again under the lock.
    if let Ok(Some(record)) = dir.load() {
        if let Some(init) = record.init.and_then(|init| init.open().ok().flatten()) {
            // The end of what is gone already is fine, and of what cannot be killed the lock's holder will tell.
            let _ = crate::sys::wait::signal(&init, libc::SIGKILL);
        }
        let cgroup = record
            .cgroup
            .as_ref()
            .filter(|_| record.cgroup_made && !record.own_pid_namespace);
        if let Some(cgroup) = cgroup.map(Cgroup::open) {
            let _ = cgroup.kill_all();
        }
    }
    dir.lock_within(LOCK_PATIENCE)?.ok_or_else(|| {
        let message = format!(
            "another operation on the container has not ended within {} s, although its processes were killed",
            LOCK_PATIENCE.as_secs()
        );
        Error::new(ErrorKind::System, message)
    })
}

/// Ends and removes everything that the record lists, then the record. The lock is given up before the poststop hooks: by
/// then there is nothing that it would keep others from.
pub(super) fn destroy(dir: StateDir, lock: Lock, record: Option<&Record>, trace: &Trace) -> Result<Deleted> {
    // A directory without a record: the runtime died before it did anything.
    let Some(record) = record else {
        dir.remove()?;
        return Ok(Deleted::default());
    };
    let cgroup = record
        .cgroup
        .as_ref()
        .filter(|_| record.cgroup_made)
        .map(Cgroup::open);
    trace.time("end the processes", || end_processes(record, cgroup.as_ref()))?;
    let mut deleted = Deleted::default();
    if let Some(cgroup) = &cgroup {
        // systemd first: it removes what it made and forgets the unit. Whatever it says, the cgroup goes.
        let scope = record.cgroup.as_ref().and_then(|cgroup| cgroup.scope.as_ref());
        deleted
            .warnings
            .extend(scope.and_then(|scope| stop(scope, trace).err()));
        trace.time("remove the cgroup", || cgroup.remove(PATIENCE))?;
    } else if let Some(planned) = &record.cgroup {
        // The runtime was killed while it made them. An init that nobody wrote down ends by itself when it misses its
        // parent; what is not empty then, or not there, is not ours.
        let deadline = Instant::now() + ORPHAN_PATIENCE;
        for directory in &planned.directories {
            remove_when_empty(&directory.path(), deadline);
        }
    }
    if let Some(rdt) = &record.rdt {
        crate::resctrl::remove(rdt)?;
    }
    trace.time("remove the state directory", || dir.remove())?;
    drop(lock);
    for hook in &record.poststop {
        let state = document(record, Status::Stopped, 0);
        let run = HookRun {
            hook,
            state: &state,
            cwd: &record.bundle,
        };
        if let Err(error) = super::hook(trace, run) {
            deleted.warnings.push(error);
        }
    }
    Ok(deleted)
}

fn stop(scope: &Scope, trace: &Trace) -> Result<()> {
    Manager::connect_traced(scope.user, trace)?.stop(scope)
}

/// Removes a cgroup's directory unless somebody is still in it at the deadline. Version 1 tells nobody when a cgroup
/// becomes empty, so this has to look again.
fn remove_when_empty(path: &Path, deadline: Instant) {
    while let Err(error) = std::fs::remove_dir(path) {
        if error.raw_os_error() != Some(libc::EBUSY) || Instant::now() >= deadline {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What keeps a killed process from its end: in version 1 a frozen one does not even die, and what is frozen from above is
/// not this container's to thaw.
fn frozen_or(error: Error, cgroup: Option<&Cgroup>) -> Error {
    match cgroup.and_then(|cgroup| cgroup.frozen_above().ok().flatten()) {
        Some(above) => error.with_hint(format!(
            "its cgroup is frozen from above, by {}: thaw that, and it ends",
            above.display()
        )),
        None => error,
    }
}

fn end_processes(record: &Record, cgroup: Option<&Cgroup>) -> Result<()> {
    let init = match &record.init {
        Some(init) => init.open()?,
        None => None,
    };
    if let Some(init) = &init {
        crate::sys::wait::signal(init, libc::SIGKILL)
            .or_else(|error| {
                if error.raw_os_error() == Some(libc::ESRCH) {
                    Ok(())
                } else {
                    Err(error)
                }
            })
            .map_err(|error| Error::os("pidfd_send_signal(SIGKILL)", error))?;
    }
    // Frozen processes must be thawed to die, and where init does not take the others along they are killed one by one.
    // A cgroup with processes although init is gone has ones that joined from outside.
    if let Some(cgroup) = cgroup {
        if !record.own_pid_namespace || init.is_none() {
            cgroup.kill_all()?;
        } else if cgroup.is_frozen()? {
            cgroup.resume()?;
        }
    }
    match (init, &record.init) {
        (Some(init), _) => super::kill::end(&init).map_err(|error| frozen_or(error, cgroup)),
        // Of a caller that never waited for its container: nobody can ask for it any more.
        (None, Some(identity)) => {
            if let Some(ended) = identity.open_ended()? {
                crate::sys::wait::reap_if_child(&ended);
            }
            Ok(())
        }
        (None, None) => Ok(()),
    }
}
