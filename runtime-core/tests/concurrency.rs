//! Many callers at one container: every operation either does its work or is refused with a reason that fits what the
//! others just did, nothing hangs, and a delete at the end leaves nothing. Two creates of one id are in lifecycle.rs.
#![allow(clippy::unwrap_used, reason = "tests")]

mod sandbox;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use runtime_core::spec::LoadedProcess;
use runtime_core::{Container, ContainerId, ErrorKind, ExecRequest, Exit, Result, Signal, Status};
use sandbox::{Sandbox, eventually, mounts, open_files, sandbox};

/// How long the callers go on.
const TIME: Duration = Duration::from_secs(2);
const ID: &str = "shared";

fn id() -> ContainerId {
    ID.parse().unwrap()
}

fn exec(place: &Sandbox, args: &str) -> Result<Exit> {
    let text = format!(
        r#"{{"args":["/bin/sh","-c","{args}"],"cwd":"/","env":["PATH=/bin"],"user":{{"uid":0,"gid":0}}}}"#
    );
    let process = LoadedProcess::from_slice(text.as_bytes(), "process.json")
        .unwrap()
        .process;
    let container = place.runtime().container(&id())?;
    container.exec(ExecRequest::new(process))?.wait()
}

/// What may be refused while others are at work.
struct Caller<'a> {
    what: &'a str,
    does: &'a (dyn Fn() -> Result<()> + Sync),
    may_be: &'a [ErrorKind],
}

/// Every caller again and again, two threads each; gives how often each succeeded.
fn all_at_once(callers: &[Caller<'_>]) -> Vec<usize> {
    let stop = AtomicBool::new(false);
    let counts: Vec<AtomicUsize> = callers.iter().map(|_| AtomicUsize::new(0)).collect();
    let repeat = |caller: &Caller<'_>, count: &AtomicUsize| {
        while !stop.load(Ordering::Relaxed) {
            match (caller.does)() {
                Ok(()) => _ = count.fetch_add(1, Ordering::Relaxed),
                Err(error) => assert!(
                    caller.may_be.contains(&error.kind()),
                    "{}: {:?} {error}",
                    caller.what,
                    error.kind()
                ),
            }
        }
    };
    std::thread::scope(|scope| {
        let repeat = &repeat;
        for (caller, count) in callers.iter().zip(&counts) {
            for _ in 0..2 {
                scope.spawn(move || repeat(caller, count));
            }
        }
        std::thread::sleep(TIME);
        stop.store(true, Ordering::Relaxed);
    });
    counts.into_iter().map(AtomicUsize::into_inner).collect()
}

#[test]
fn everything_at_once_on_a_running_container() {
    let Some(place) = sandbox("everything_at_once_on_a_running_container") else {
        return;
    };
    let before = (open_files(), mounts());
    let mut container = place.create(ID, "trap '' USR1; while :; do sleep 1000; done");
    container.start().unwrap();
    let find = || place.runtime().container(&id());
    let freeze = || {
        let container = find()?;
        container.pause()?;
        container.resume()
    };
    let signal = || find()?.kill("USR1".parse::<Signal>().unwrap(), false);
    let state = || {
        let state = find()?.state()?;
        assert!(
            matches!(state.status, Status::Running | Status::Paused),
            "{:?}",
            state.status
        );
        assert!(state.pid > 0);
        Ok(())
    };
    let run = || {
        // In a container that is frozen meanwhile the program waits, and goes on when it is thawed.
        assert_eq!(exec(&place, "exit 7")?, Exit::Code(7));
        Ok(())
    };
    let ps = || {
        assert!(!find()?.processes()?.is_empty());
        Ok(())
    };
    let start = || find()?.start();
    let delete = || place.runtime().delete(&id(), false).map(|_| ());
    let paused = [ErrorKind::WrongState, ErrorKind::NotRunning];
    let callers = [
        Caller {
            what: "exec",
            does: &run,
            may_be: &paused,
        },
        Caller {
            what: "pause",
            does: &freeze,
            may_be: &paused,
        },
        Caller {
            what: "kill",
            does: &signal,
            may_be: &[],
        },
        Caller {
            what: "state",
            does: &state,
            may_be: &[],
        },
        Caller {
            what: "ps",
            does: &ps,
            may_be: &[],
        },
        Caller {
            what: "start",
            does: &start,
            may_be: &[ErrorKind::WrongState],
        },
        Caller {
            what: "delete",
            does: &delete,
            may_be: &[ErrorKind::WrongState],
        },
    ];
    let counts = all_at_once(&callers);
    for (caller, count) in callers.iter().zip(&counts) {
        let never = matches!(caller.what, "start" | "delete");
        assert_eq!(*count == 0, never, "{} succeeded {count} times", caller.what);
    }
    // The last pause may have been left to its partner's resume, which was refused.
    let _ = container.resume();
    assert_eq!(container.status().unwrap(), Status::Running);
    place.runtime().delete(&id(), true).unwrap();
    assert_eq!(place.remains(ID), Vec::<PathBuf>::new());
    drop(container);
    assert_eq!((open_files(), mounts()), before);
}

/// Execs, signals and questions while the container goes away: each is told so, and the delete leaves nothing.
#[test]
fn a_container_goes_away_under_its_callers() {
    let Some(place) = sandbox("a_container_goes_away_under_its_callers") else {
        return;
    };
    for _ in 0..8 {
        let mut container: Container = place.create(ID, "exec sleep 1000");
        container.start().unwrap();
        let gone = AtomicBool::new(false);
        let fits = |error: &runtime_core::Error| {
            matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::WrongState | ErrorKind::NotRunning
            )
        };
        std::thread::scope(|scope| {
            let (gone, place) = (&gone, &place);
            for _ in 0..4 {
                scope.spawn(move || {
                    while !gone.load(Ordering::Relaxed) {
                        match exec(place, "exit 7") {
                            // 137: the program ran already when the container was killed.
                            Ok(exit) => assert!(matches!(exit, Exit::Code(7) | Exit::Signal(9)), "{exit:?}"),
                            Err(error) => assert!(fits(&error), "exec: {:?} {error}", error.kind()),
                        }
                    }
                });
            }
            scope.spawn(move || {
                while !gone.load(Ordering::Relaxed) {
                    let asked = place
                        .runtime()
                        .container(&id())
                        .and_then(|container| container.state());
                    if let Err(error) = asked {
                        assert_eq!(error.kind(), ErrorKind::NotFound, "state: {error}");
                    }
                }
            });
            std::thread::sleep(Duration::from_millis(30));
            let deletes: Vec<_> = (0..3)
                .map(|_| scope.spawn(move || place.runtime().delete(&id(), true)))
                .collect();
            for delete in deletes {
                delete.join().unwrap().unwrap();
            }
            gone.store(true, Ordering::Relaxed);
        });
        eventually("an empty place", || place.remains(ID).is_empty());
    }
}
