//! One life of a container, from its configuration to nothing left of it, and what strangers do to it meanwhile.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runtime_core::spec::{LoadedProcess, LoadedSpec};
use runtime_core::{
    CgroupDriver, Container, ContainerId, CreateRequest, Error, ErrorKind, ExecRequest, Executed, Runtime,
    Signal, Stdio, Terminal, UpdateRequest,
};
use serde_json::json;

use crate::config::{Drawn, draw};
use crate::dice::Dice;
use crate::tally::Tally;

/// Signals that let a process go on or end it; one that only stopped would never hear of the start.
const SIGNALS: [i32; 8] = [1, 2, 3, 6, 9, 10, 15, 18];
/// The same and those that stop.
const ALL_SIGNALS: [i32; 11] = [1, 2, 3, 6, 9, 10, 15, 18, 19, 20, 28];

/// Where all of it happens.
pub(crate) struct Stage {
    pub(crate) dir: PathBuf,
    pub(crate) name: String,
    pub(crate) seed: u64,
    /// The container that each worker has just now, for the strangers.
    pub(crate) current: Vec<Mutex<Option<ContainerId>>>,
}

impl Stage {
    fn runtime(&self, cgroup: bool) -> Runtime {
        let runtime = Runtime::new(self.dir.join("state"));
        match cgroup {
            true => runtime,
            false => runtime.cgroup_driver(CgroupDriver::Disabled),
        }
    }

    /// Lives the life with this number. What it broke is in the tally.
    pub(crate) fn live(&self, worker: usize, number: u64, tally: &Tally) {
        let mut dice = Dice::new(self.seed, number);
        let name = format!("{}-{number}", self.name);
        let shared = self.dir.join("shared");
        let drawn = draw(&mut dice, &self.name, &name, &shared.to_string_lossy());
        let Ok(id) = name.parse::<ContainerId>() else {
            return tally.broken(format!("{name} is no id"));
        };
        if let Ok(mut current) = self.current[worker].lock() {
            *current = Some(id.clone());
        }
        let runtime = self.runtime(drawn.cgroup);
        let mut life = Life {
            dice,
            tally,
            runtime: &runtime,
            executed: Vec::new(),
            terminals: Vec::new(),
        };
        life.all(&id, &drawn, self.dir.join("bundle"));
        life.end(&id);
        if let Ok(mut current) = self.current[worker].lock() {
            *current = None;
        }
    }

    /// What strangers do, until they are told to stop: to any container, at any time, by handles of their own.
    pub(crate) fn disturb(&self, stranger: u64, stop: &AtomicBool, tally: &Tally) {
        let mut dice = Dice::new(!self.seed, stranger);
        let runtime = self.runtime(true);
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_micros(dice.below(4000)));
            let worker = usize::try_from(dice.below(self.current.len() as u64)).unwrap_or(0);
            let current = self.current[worker].lock();
            let Some(id) = current.ok().and_then(|current| current.clone()) else {
                continue;
            };
            match (runtime.container(&id), dice.below(12)) {
                (_, 0) => tally.note("stranger deletes by force", &runtime.delete(&id, true)),
                (_, 1) => tally.note("stranger deletes", &runtime.delete(&id, false)),
                (Ok(container), choice) => interfere(&container, choice, &mut dice, tally),
                (found, _) => tally.note("stranger looks", &found),
            }
        }
    }
}

fn interfere(container: &Container, choice: u64, dice: &mut Dice, tally: &Tally) {
    match choice {
        2..5 => {
            let all = dice.percent(30);
            tally.note("stranger signals", &container.kill(signal(dice, &SIGNALS), all));
        }
        5 => {
            let paused = container.pause();
            tally.note("stranger pauses", &paused);
            std::thread::sleep(Duration::from_micros(dice.below(2000)));
            if paused.is_ok() {
                tally.note("stranger resumes", &container.resume());
            }
        }
        6 => tally.note("stranger counts", &container.stats()),
        7 => tally.note("stranger lists processes", &container.processes()),
        8 => {
            // It ends by itself, or with the container: either way somebody has to bury it.
            let executed = exec(container, &["true"], false);
            tally.note("stranger execs", &executed);
            if let Ok(executed) = executed {
                tally.note("stranger waits", &executed.wait());
            }
        }
        _ => tally.note("stranger asks", &container.state()),
    }
}

fn signal(dice: &mut Dice, among: &[i32]) -> Signal {
    let place = usize::try_from(dice.below(among.len() as u64)).unwrap_or(0);
    Signal::from_number(among[place]).unwrap_or(Signal::KILL)
}

fn null() -> Option<OwnedFd> {
    let file = std::fs::File::options().read(true).write(true).open("/dev/null");
    file.ok().map(OwnedFd::from)
}

fn nothing() -> Stdio {
    Stdio {
        input: null(),
        output: null(),
        error: null(),
    }
}

fn exec(container: &Container, args: &[&str], terminal: bool) -> Result<Executed, Error> {
    let process = json!({"args": args, "cwd": "/", "env": ["PATH=/bin"], "terminal": terminal});
    let process = LoadedProcess::from_slice(process.to_string().as_bytes(), "program")?;
    let mut request = ExecRequest::new(process.process);
    match terminal {
        true => request.terminal = Terminal::Keep,
        false => request.stdio = nothing(),
    }
    container.exec(request)
}

/// What one life holds.
struct Life<'a> {
    dice: Dice,
    tally: &'a Tally,
    runtime: &'a Runtime,
    executed: Vec<Executed>,
    terminals: Vec<OwnedFd>,
}

impl Life<'_> {
    fn all(&mut self, id: &ContainerId, drawn: &Drawn, bundle: PathBuf) {
        let spec = LoadedSpec::from_slice(drawn.config.to_string().as_bytes(), "config.json");
        self.tally.note("load", &spec);
        let Ok(spec) = spec else { return };
        let mut request = CreateRequest::new(id.clone(), bundle, spec);
        match drawn.terminal {
            true => request.terminal = Terminal::Keep,
            false => request.stdio = nothing(),
        }
        let created = self.runtime.create(request);
        self.tally.note("create", &created);
        let mut container = match created {
            Ok(container) => container,
            Err(_) => {
                if self.runtime.container(id).is_ok() {
                    self.tally
                        .broken(format!("{id}: create failed and left its record"));
                }
                return;
            }
        };
        self.terminals.extend(container.take_terminal());
        let mut running = false;
        if self.dice.percent(90) {
            let started = container.start();
            self.tally.note("start", &started);
            running = started.is_ok();
        }
        for _ in 0..self.dice.below(5) {
            self.act(&mut container, running);
        }
    }

    fn act(&mut self, container: &mut Container, running: bool) {
        let (dice, tally) = (&mut self.dice, self.tally);
        match dice.below(10) {
            0..3 => {
                let terminal = dice.percent(15);
                let program: &[&str] = dice.choose(&[
                    &["true"][..],
                    &["sleep", "1000"],
                    &["nowhere"],
                    &["sh", "-c", "setsid sleep 1000 & exit 3"],
                ]);
                let executed = exec(container, program, terminal);
                tally.note("exec", &executed);
                if let Ok(mut executed) = executed {
                    self.terminals.extend(executed.take_terminal());
                    self.executed.push(executed);
                }
            }
            3 | 4 => {
                let among: &[i32] = if running { &ALL_SIGNALS } else { &SIGNALS };
                let all = dice.percent(30);
                tally.note("signal", &container.kill(signal(dice, among), all));
            }
            5 => {
                tally.note("pause", &container.pause());
                if dice.percent(70) {
                    tally.note("resume", &container.resume());
                }
            }
            6 => {
                let limits =
                    json!({"pids": {"limit": 1 + dice.below(100)}, "cpu": {"shares": 2 + dice.below(999)}});
                if let Ok(limits) = serde_json::from_value(limits) {
                    tally.note("update", &container.update(&UpdateRequest::new(limits)));
                }
            }
            7 => tally.note("events", &container.events()),
            8 => {
                self.terminals.pop();
            }
            _ => std::thread::sleep(Duration::from_micros(dice.below(5000))),
        }
    }

    /// Whatever it was, it can be deleted; then there is no such container, and nobody of it lives.
    fn end(self, id: &ContainerId) {
        if let Err(error) = self.runtime.delete(id, true) {
            self.tally.broken(format!("{id}: delete by force: {error}"));
        }
        match self.runtime.container(id) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            found => self
                .tally
                .broken(format!("{id}: after its delete: {:?}", found.map(drop))),
        }
        for executed in self.executed {
            self.tally.note("wait", &executed.wait());
        }
    }
}
