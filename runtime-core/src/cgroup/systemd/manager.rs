//! Talks to systemd: starts a scope around a process, moves processes into it, stops it.
//!
//! One connection for one operation of a container, each with one deadline. systemd's own socket comes first, since it
//! needs no bus daemon in between; the bus is for hosts that lend only that. A start or a stop is a job of systemd: it is
//! over when the signal JobRemoved says how it went.
//!
//! systemd that executes itself anew (`daemon-reexec`, as at its update) drops all connections and keeps its units. What was
//! asked is asked again then, over a new connection and until the same deadline.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::geteuid;

use super::device_list::{self, DeviceList};
use super::reach::{no_manager, open_first, system_addresses, user_addresses};
use super::unit::Scope;
use super::{Property, ScopePlan, not_running};
use crate::cgroup::path::Directory;
use crate::dbus::{Address, Connection, Failure, Message, Value, is_closed};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::cgroup::HierarchyKind;
use crate::facts::systemd::SystemdFacts;
use crate::trace::Trace;

/// How long one operation may take, with all its calls: as long as runc waits for a job. A busy systemd is slow, and a
/// hung one must not hang its callers (runc#3904).
const PATIENCE: Duration = Duration::from_secs(30);

/// sd_booted(3).
const BOOTED: &str = "/run/systemd/system";

/// For systemd to execute itself anew; a bus where it is not to be found for longer has none.
const RESTART: Duration = Duration::from_secs(10);
/// Between two attempts to reach a systemd that executes itself anew, which takes it a tenth of a second and more.
const PAUSE: Duration = Duration::from_millis(20);

const SERVICE: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const JOB_SIGNAL: &str = "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',\
     interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

/// A connection to the service manager.
#[derive(Debug)]
pub(crate) struct Manager {
    connection: Connection,
    addresses: Vec<Address>,
    user: bool,
    deadline: Instant,
    /// A bus sends signals to those who asked for them; systemd's own socket to everybody.
    subscribed: bool,
    trace: Trace,
}

impl Manager {
    /// Connects to the manager of the system, or to the caller's own.
    ///
    /// # Errors
    /// Unsupported, where systemd does not run here; System.
    pub(crate) fn connect(user: bool) -> Result<Self> {
        if !Path::new(BOOTED).is_dir() {
            return Err(not_running());
        }
        let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let addresses = if user {
            let runtime_dir =
                environment("XDG_RUNTIME_DIR").unwrap_or_else(|| format!("/run/user/{}", geteuid().as_raw()));
            user_addresses(&runtime_dir, environment("DBUS_SESSION_BUS_ADDRESS").as_deref())
        } else {
            system_addresses()
        };
        Self::connect_to(&addresses, user, Instant::now() + PATIENCE)
    }

    /// The same, with the time of each call recorded.
    ///
    /// # Errors
    /// As [`Manager::connect`].
    pub(crate) fn connect_traced(user: bool, trace: &Trace) -> Result<Self> {
        let mut manager = trace.time("connect to systemd", || Self::connect(user))?;
        manager.trace = trace.clone();
        Ok(manager)
    }

    /// The first address where somebody listens.
    pub(super) fn connect_to(addresses: &[Address], user: bool, deadline: Instant) -> Result<Self> {
        let (connection, is_bus) = loop {
            match open_first(addresses, deadline) {
                // It is there and went away while it was greeted.
                Err(error)
                    if (is_closed(&error) || error.errno() == Some(libc::ETIMEDOUT))
                        && Instant::now() + PAUSE < deadline =>
                {
                    std::thread::sleep(PAUSE);
                }
                other => break other.map_err(|error| no_manager(error, user))?,
            }
        };
        Ok(Self {
            connection,
            addresses: addresses.to_vec(),
            user,
            deadline,
            subscribed: !is_bus,
            trace: Trace::off(),
        })
    }

    /// Calls a method; again over a new connection where systemd went away with the old one.
    fn call(&mut self, call: Message) -> Result<Message, Failure> {
        let mut span = self.trace.span("call systemd");
        span.note("method", &call.member);
        let patience = (Instant::now() + RESTART).min(self.deadline);
        loop {
            let failure = match self.connection.call(call.clone(), self.deadline) {
                Err(failure) if failure.is_restart() => failure,
                other => return other,
            };
            let until = match failure {
                Failure::Broken(_) => self.deadline,
                Failure::Refused { .. } => patience,
            };
            if Instant::now() >= until {
                return Err(failure);
            }
            self.reconnect().map_err(Failure::Broken)?;
        }
    }

    /// Waits for a systemd that was just there to listen again.
    fn reconnect(&mut self) -> Result<()> {
        loop {
            std::thread::sleep(PAUSE);
            match open_first(&self.addresses, self.deadline) {
                Ok((connection, is_bus)) => {
                    self.connection = connection;
                    let subscribed = std::mem::replace(&mut self.subscribed, !is_bus);
                    return if subscribed { self.subscribe() } else { Ok(()) };
                }
                Err(error) if Instant::now() >= self.deadline => return Err(no_manager(error, self.user)),
                Err(_) => {}
            }
        }
    }

    /// What it says of itself.
    pub(crate) fn facts(&mut self) -> Result<SystemdFacts> {
        let version = self.property("Version")?;
        let control_group = self.property("ControlGroup")?;
        let digits = version.trim_start_matches('v');
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let version = digits[..end].parse().map_err(|_| {
            let message = format!("systemd says that its version is {version:?}");
            Error::new(ErrorKind::Unsupported, message)
        })?;
        Ok(SystemdFacts {
            version,
            user: self.user,
            control_group,
        })
    }

    /// Makes a scope around a process; returns when the process is in it.
    ///
    /// # Errors
    /// AlreadyExists, where a unit of this name is in use; System. Nothing is left then.
    pub(crate) fn start(&mut self, plan: &ScopePlan, pid: i32) -> Result<()> {
        self.subscribe()?;
        let started = match self.start_transient(plan, pid) {
            // Made by a call whose answer was lost with the connection.
            Err(Failure::Refused { name, .. })
                if name.ends_with(".UnitExists") && is_in(pid, &plan.scope.unit) =>
            {
                return Ok(());
            }
            // Of a container that is gone, but failed: forgotten, its name is free.
            Err(Failure::Refused { name, .. }) if name.ends_with(".UnitExists") => {
                let _ = self.on_unit("ResetFailedUnit", &plan.scope.unit);
                self.start_transient(plan, pid)
            }
            other => other,
        };
        let job = started.map_err(|failure| not_started(failure, &plan.scope))?;
        let awaited = match self.await_job(&job, &plan.scope.unit, "start") {
            Err(error) if is_closed(&error) => self.await_process(&plan.scope.unit, pid, error),
            other => other,
        };
        let kept = awaited.and_then(|()| self.check_devices(&plan.scope.unit, &plan.properties));
        kept.inspect_err(|_| {
            self.deadline = Instant::now() + Duration::from_secs(5);
            let _ = self.on_unit("StopUnit", &plan.scope.unit);
            let _ = self.on_unit("ResetFailedUnit", &plan.scope.unit);
        })
    }

    /// Moves a process into a scope: for callers who may not do so in the filesystem.
    ///
    /// # Errors
    /// System, where the unit is gone or systemd refuses.
    pub(crate) fn attach(&mut self, scope: &Scope, pid: i32) -> Result<()> {
        let pids = Value::Array("u".to_owned(), vec![Value::U32(pid.unsigned_abs())]);
        let call =
            self.method("AttachProcessesToUnit")
                .with(vec![Value::text(&scope.unit), Value::text(""), pids]);
        self.call(call)
            .map(drop)
            .map_err(|failure| failure.into_error(&format!("AttachProcessesToUnit({:?})", scope.unit)))
    }

    /// Changes properties of a scope until it ends: all of them or none.
    ///
    /// # Errors
    /// System, where the unit is gone or systemd refuses a value.
    pub(crate) fn set(&mut self, scope: &Scope, properties: &[Property]) -> Result<()> {
        let properties = properties.iter().map(|each| property(&each.name, &each.value));
        let call = self.method("SetUnitProperties").with(vec![
            Value::text(&scope.unit),
            Value::Bool(true),
            Value::Array("(sv)".to_owned(), properties.collect()),
        ]);
        self.call(call)
            .map(drop)
            .map_err(|failure| failure.into_error(&format!("unable to set properties of {:?}", scope.unit)))
    }

    /// Reads back which devices a unit allows, where that was among what it was told. systemd leaves out what it cannot
    /// resolve with a line in its own log only, and the container would lose that device at the next daemon-reload.
    fn check_devices(&mut self, unit: &str, told: &[Property]) -> Result<()> {
        let [policy, allow] = device_list::NAMES.map(|name| told.iter().find(|each| each.name == name));
        let (Some(policy), Some(allow)) = (policy, allow) else {
            return Ok(());
        };
        let kept = self.device_list(unit)?;
        match kept.difference(&[policy.clone(), allow.clone()]) {
            None => Ok(()),
            Some(difference) => Err(Error::new(
                ErrorKind::System,
                format!("systemd did not keep the device rules of {unit:?}: {difference}"),
            )
            .with_field(&allow.origin)),
        }
    }

    /// Ends a scope and makes systemd forget it; one that is gone is fine. Its processes have been killed before.
    ///
    /// # Errors
    /// System.
    pub(crate) fn stop(&mut self, scope: &Scope) -> Result<()> {
        self.subscribe()?;
        let stopped = loop {
            match self.on_unit("StopUnit", &scope.unit) {
                Ok(reply) => match self.await_job(&job_of(reply), &scope.unit, "stop") {
                    // The job goes on, or is over: a further one comes to the same end.
                    Err(error) if is_closed(&error) => self.reconnect()?,
                    other => break other,
                },
                Err(Failure::Refused { name, .. }) if name.ends_with(".NoSuchUnit") => return Ok(()),
                Err(failure) => break Err(failure.into_error(&format!("StopUnit({:?})", scope.unit))),
            }
        };
        // One that failed (out of memory, out of time) stays until somebody has seen it.
        let _ = self.on_unit("ResetFailedUnit", &scope.unit);
        stopped
    }

    /// Whoever waits for a job loses its signal with the connection; what the job does shows.
    fn await_process(&self, unit: &str, pid: i32, error: Error) -> Result<()> {
        while !is_in(pid, unit) {
            if Instant::now() >= self.deadline {
                return Err(error);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn start_transient(&mut self, plan: &ScopePlan, pid: i32) -> Result<String, Failure> {
        let mut properties: Vec<Value> = plan
            .properties
            .iter()
            .map(|each| property(&each.name, &each.value))
            .collect();
        let pids = Value::Array("u".to_owned(), vec![Value::U32(pid.unsigned_abs())]);
        properties.push(property("PIDs", &pids));
        let call = self.method("StartTransientUnit").with(vec![
            Value::text(&plan.scope.unit),
            Value::text("replace"),
            Value::Array("(sv)".to_owned(), properties),
            Value::Array("(sa(sv))".to_owned(), Vec::new()),
        ]);
        self.call(call).map(job_of)
    }

    fn on_unit(&mut self, method: &str, unit: &str) -> Result<Message, Failure> {
        let mut arguments = vec![Value::text(unit)];
        if method == "StopUnit" {
            arguments.push(Value::text("replace"));
        }
        let call = self.method(method).with(arguments);
        self.call(call)
    }

    fn method(&self, member: &str) -> Message {
        Message::call(SERVICE, OBJECT, MANAGER, member)
    }

    /// What a scope allows of devices.
    ///
    /// # Errors
    /// System, where there is no such unit or no answer.
    pub(crate) fn device_list(&mut self, unit: &str) -> Result<DeviceList> {
        let asked = self
            .on_unit("GetUnit", unit)
            .map_err(|failure| failure.into_error(&format!("GetUnit({unit:?})")))?;
        let Some(Value::Path(path)) = asked.body.into_iter().next() else {
            return Err(odd_answer("GetUnit", "no path"));
        };
        let mut values = Vec::new();
        for name in device_list::NAMES {
            let call = Message::call(SERVICE, &path, "org.freedesktop.DBus.Properties", "Get").with(vec![
                Value::text("org.freedesktop.systemd1.Scope"),
                Value::text(name),
            ]);
            let reply = self
                .call(call)
                .map_err(|failure| failure.into_error(&format!("Get({name:?}) of {unit:?}")))?;
            match reply.body.into_iter().next() {
                Some(Value::Variant(value)) => values.push(*value),
                _ => return Err(odd_answer(name, "nothing")),
            }
        }
        DeviceList::of(&values).ok_or_else(|| odd_answer("DeviceAllow", "another type"))
    }

    fn property(&mut self, name: &str) -> Result<String> {
        let call = Message::call(SERVICE, OBJECT, "org.freedesktop.DBus.Properties", "Get")
            .with(vec![Value::text(MANAGER), Value::text(name)]);
        let reply = self
            .call(call)
            .map_err(|failure| no_manager(failure.into_error(&format!("Get({name:?})")), self.user))?;
        match reply.body.into_iter().next() {
            Some(Value::Variant(value)) => match *value {
                Value::Text(text) => Ok(text),
                other => Err(odd_answer(name, &other.to_string())),
            },
            _ => Err(odd_answer(name, "nothing")),
        }
    }

    fn subscribe(&mut self) -> Result<()> {
        if self.subscribed {
            return Ok(());
        }
        let bus = "org.freedesktop.DBus";
        let calls = [
            Message::call(bus, "/org/freedesktop/DBus", bus, "AddMatch").with(vec![Value::text(JOB_SIGNAL)]),
            self.method("Subscribe"),
        ];
        for call in calls {
            let name = call.member.clone();
            self.connection
                .call(call, self.deadline)
                .map_err(|failure| failure.into_error(&name))?;
        }
        self.subscribed = true;
        Ok(())
    }

    /// Waits for the end of a job. The words for it are those of `systemctl`: done, canceled, timeout, failed, ...
    fn await_job(&mut self, job: &str, unit: &str, verb: &str) -> Result<()> {
        let what = format!("systemd to {verb} {unit}");
        let ours = |message: &Message| {
            message.member == "JobRemoved"
                && message.interface == MANAGER
                && matches!(message.body.get(1), Some(Value::Path(path)) if path == job)
        };
        let removed = self.connection.signal(&what, self.deadline, ours)?;
        match removed.body.get(3) {
            Some(Value::Text(result)) if result == "done" => Ok(()),
            Some(Value::Text(result)) => {
                let message =
                    format!("error: the job of systemd to {verb} the unit {unit:?} ended with {result:?}");
                Err(Error::new(ErrorKind::System, message)
                    .with_hint(format!("journalctl -u {unit} tells more")))
            }
            _ => Err(odd_answer("JobRemoved", "no result")),
        }
    }
}

/// Makes sure that a process is in the cgroup that was planned: limits in another one would hold for nobody.
///
/// # Errors
/// System, where it is elsewhere.
pub(crate) fn check_place(pid: i32, planned: &Directory) -> Result<()> {
    let path = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&path).map_err(|error| Error::os(format!("open({path:?})"), error))?;
    let line = match planned.kind {
        HierarchyKind::Unified => "0::".to_owned(),
        // Of version 1 systemd has named hierarchies of its own, and those of some controllers.
        HierarchyKind::Named => format!(":{}:", planned.name()),
        HierarchyKind::V1 => return Ok(()),
    };
    let found = text
        .lines()
        .find_map(|each| Some(&each[each.find(&line)? + line.len()..]))
        .unwrap_or("/");
    // The mount may show a part of the hierarchy only, and the path counts from the top.
    if Path::new(found).ends_with(&planned.relative) {
        return Ok(());
    }
    let message = format!(
        "systemd put the container's process into the cgroup {found:?}, expected was {:?}",
        planned.relative
    );
    Err(Error::new(ErrorKind::System, message).with_field(crate::cgroup::path::FIELD))
}

/// Whether a process is in the cgroup of a unit.
fn is_in(pid: i32, unit: &str) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .any(|path| Path::new(path).file_name().is_some_and(|name| name == unit))
}

fn property(name: &str, value: &Value) -> Value {
    Value::Struct(vec![Value::text(name), Value::Variant(Box::new(value.clone()))])
}

fn job_of(reply: Message) -> String {
    match reply.body.into_iter().next() {
        Some(Value::Path(path)) => path,
        _ => String::new(),
    }
}

fn odd_answer(what: &str, found: &str) -> Error {
    Error::new(ErrorKind::System, format!("systemd answered {what} with {found}"))
}

fn not_started(failure: Failure, scope: &Scope) -> Error {
    let call = format!("unable to start unit {:?} in {:?}", scope.unit, scope.slice);
    let exists = matches!(&failure, Failure::Refused { name, .. } if name.ends_with(".UnitExists"));
    let error = failure.into_error(&call);
    if exists {
        // The words are those for a cgroup that is in use, with either driver: engines and tests of runc look for them.
        return error
            .context("container's cgroup is not empty")
            .with_kind(ErrorKind::AlreadyExists)
            .with_hint("another container uses this linux.cgroupsPath");
    }
    error
}

#[cfg(test)]
#[path = "manager_tests.rs"]
mod tests;
