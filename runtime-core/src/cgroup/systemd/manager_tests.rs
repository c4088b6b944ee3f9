//! The manager against a service that a thread of the test plays: what it is asked, and what becomes of odd answers.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use super::*;
use crate::dbus::Kind;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A service behind a socket; `answer` gives the messages that follow a call.
struct Service {
    path: PathBuf,
    thread: Option<JoinHandle<Vec<String>>>,
}

impl Service {
    fn new(answer: impl Fn(&Message) -> Vec<Message> + Send + 'static) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("runtime-core-bus-{}-{number}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || {
            let mut calls = Vec::new();
            // The manager that does not come back has dropped its connection; one that lost it connects again.
            loop {
                calls.extend(serve(listener.accept().unwrap().0, &answer));
                if calls
                    .last()
                    .is_none_or(|call: &String| !call.starts_with(HANG_UP))
                {
                    return calls;
                }
            }
        });
        Self {
            path,
            thread: Some(thread),
        }
    }

    fn manager(&self, patience: Duration) -> Result<Manager> {
        Manager::connect_to(&[Address::direct(&self.path)], false, Instant::now() + patience)
    }

    /// What was called, once the manager is gone.
    fn calls(mut self) -> Vec<String> {
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A call whose record begins so had no answer: the service closed the connection.
const HANG_UP: &str = "closed: ";

fn serve(mut stream: UnixStream, answer: &impl Fn(&Message) -> Vec<Message>) -> Vec<String> {
    let mut received = Vec::new();
    let mut calls = Vec::new();
    let mut greeted = false;
    let mut piece = [0; 1000];
    loop {
        if !greeted && received.ends_with(b"BEGIN\r\n") {
            assert_eq!(received, b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n");
            received.clear();
            greeted = true;
            // In two pieces.
            stream.write_all(b"DATA\r\nOK 12").unwrap();
            stream.write_all(b"34\r\n").unwrap();
        }
        while let Some(length) = greeted
            .then(|| Message::length(&received).unwrap())
            .flatten()
            .filter(|length| *length <= received.len())
        {
            let call = Message::decode(&received[..length]).unwrap();
            received.drain(..length);
            let arguments: Vec<_> = call.body.iter().map(ToString::to_string).collect();
            calls.push(format!("{}({})", call.member, arguments.join(", ")));
            for message in answer(&call) {
                if message.kind == Kind::Unknown {
                    calls.last_mut().unwrap().insert_str(0, HANG_UP);
                    return calls;
                }
                if stream.write_all(&message.encode()).is_err() {
                    return calls;
                }
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return calls,
            Ok(length) => received.extend_from_slice(&piece[..length]),
        }
    }
}

fn reply(call: &Message, body: Vec<Value>) -> Message {
    Message {
        reply_to: call.serial,
        serial: 1000 + call.serial,
        ..Message::new(Kind::Reply).with(body)
    }
}

fn refusal(call: &Message, name: &str) -> Message {
    Message {
        reply_to: call.serial,
        serial: 1000 + call.serial,
        error: format!("org.freedesktop.systemd1.{name}"),
        ..Message::new(Kind::Error).with(vec![Value::text("No, because")])
    }
}

fn removed(job: &str, result: &str) -> Message {
    Message {
        serial: 5,
        path: OBJECT.into(),
        interface: MANAGER.into(),
        member: "JobRemoved".into(),
        ..Message::new(Kind::Signal).with(vec![
            Value::U32(1),
            Value::Path(job.into()),
            Value::text("x.scope"),
            Value::text(result),
        ])
    }
}

fn job(call: &Message, result: &str) -> Vec<Message> {
    vec![
        // Of somebody else.
        removed("/job/8", "failed"),
        reply(call, vec![Value::Path("/job/9".into())]),
        removed("/job/9", result),
    ]
}

fn plan() -> ScopePlan {
    ScopePlan {
        scope: Scope {
            unit: "x.scope".into(),
            slice: "y.slice".into(),
            user: false,
        },
        properties: vec![Property::new("Delegate", Value::Bool(true), "")],
    }
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_scope_is_started_and_stopped() {
    let service = Service::new(|call| match call.member.as_str() {
        // The signal before the answer: it is kept.
        "StartTransientUnit" => {
            let mut messages = job(call, "done");
            messages.swap(1, 2);
            messages
        }
        "StopUnit" => job(call, "done"),
        _ => vec![reply(call, vec![])],
    });
    let mut manager = service.manager(LONG).unwrap();
    manager.start(&plan(), 42).unwrap();
    manager.attach(&plan().scope, 43).unwrap();
    manager
        .set(&plan().scope, &[Property::new("TasksMax", Value::U64(5), "")])
        .unwrap();
    manager.stop(&plan().scope).unwrap();
    drop(manager);
    assert_eq!(
        service.calls(),
        [
            "StartTransientUnit(\"x.scope\", \"replace\", [(\"Delegate\", <true>), (\"PIDs\", <[uint32 42]>)], @a(sa(sv)) [])",
            "AttachProcessesToUnit(\"x.scope\", \"\", [uint32 43])",
            "SetUnitProperties(\"x.scope\", true, [(\"TasksMax\", <uint64 5>)])",
            "StopUnit(\"x.scope\", \"replace\")",
            "ResetFailedUnit(\"x.scope\")",
        ]
    );
}

/// A service that starts scopes and tells `kept` as what it allows of devices.
fn keeps_devices(kept: &'static [(&str, &str)]) -> Service {
    Service::new(move |call| match call.member.as_str() {
        "StartTransientUnit" | "StopUnit" => job(call, "done"),
        "GetUnit" => vec![reply(call, vec![Value::Path("/unit/x".into())])],
        "Get" => {
            let value = match &call.body[1] {
                Value::Text(name) if name == "DevicePolicy" => Value::text("strict"),
                _ => device_allow(kept),
            };
            vec![reply(call, vec![Value::Variant(Box::new(value))])]
        }
        _ => vec![reply(call, vec![])],
    })
}

fn device_allow(list: &[(&str, &str)]) -> Value {
    let entry = |(path, access): &(&str, &str)| Value::Struct(vec![Value::text(*path), Value::text(*access)]);
    Value::Array("(ss)".to_owned(), list.iter().map(entry).collect())
}

#[test]
fn devices_are_read_back_and_a_shorter_list_is_an_error() {
    const WHOLE: &[(&str, &str)] = &[("/dev/char/1:3", "rw"), ("/dev/char/195:0", "rw")];
    let mut plan = plan();
    plan.properties = vec![
        Property::new("DevicePolicy", Value::text("strict"), "linux.resources.devices"),
        Property::new("DeviceAllow", device_allow(WHOLE), "linux.resources.devices"),
    ];
    let service = keeps_devices(WHOLE);
    service.manager(LONG).unwrap().start(&plan, 42).unwrap();
    let calls = service.calls();
    let names: Vec<&str> = calls.iter().filter_map(|call| call.split('(').next()).collect();
    assert_eq!(names, ["StartTransientUnit", "GetUnit", "Get", "Get"]);

    let service = keeps_devices(&WHOLE[..1]);
    let error = service.manager(LONG).unwrap().start(&plan, 42).unwrap_err();
    let words = "systemd did not keep the device rules of \"x.scope\": \
                 DeviceAllow has nothing for /dev/char/195:0, and should have rw";
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(error.field(), Some("linux.resources.devices"));
    let calls = service.calls();
    assert!(
        calls[4].starts_with("StopUnit") && calls[5].starts_with("ResetFailedUnit"),
        "{calls:?}"
    );
}

#[test]
fn facts_are_asked() {
    let service = Service::new(|call| {
        let text = match &call.body[1] {
            Value::Text(name) if name == "Version" => "252.39-1~deb12u1",
            _ => "/a/b",
        };
        vec![reply(call, vec![Value::Variant(Box::new(Value::text(text)))])]
    });
    let facts = service.manager(LONG).unwrap().facts().unwrap();
    assert_eq!((facts.version, facts.control_group.as_str()), (252, "/a/b"));
}

/// A failed unit of a container that is gone holds its name until it is reset.
#[test]
fn a_name_that_a_failed_unit_holds_is_freed_once() {
    let service = Service::new(|call| match call.member.as_str() {
        "StartTransientUnit" => vec![refusal(call, "UnitExists")],
        _ => vec![reply(call, vec![])],
    });
    let mut manager = service.manager(LONG).unwrap();
    let error = manager.start(&plan(), 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.to_string().contains("No, because"), "{error}");
    drop(manager);
    let calls: Vec<String> = service.calls();
    let names: Vec<&str> = calls.iter().filter_map(|call| call.split('(').next()).collect();
    assert_eq!(
        names,
        ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]
    );
}

#[test]
fn a_job_that_fails_is_told_in_its_word_and_cleaned() {
    let service = Service::new(|call| match call.member.as_str() {
        "StartTransientUnit" => job(call, "dependency"),
        _ => vec![reply(call, vec![Value::Path("/job/10".into())])],
    });
    let mut manager = service.manager(LONG).unwrap();
    let error = manager.start(&plan(), 1).unwrap_err();
    assert!(error.to_string().contains("\"dependency\""), "{error}");
    drop(manager);
    let calls = service.calls();
    assert!(
        calls[1].starts_with("StopUnit") && calls[2].starts_with("ResetFailedUnit"),
        "{calls:?}"
    );
}

#[test]
fn a_unit_that_is_gone_is_stopped() {
    let service = Service::new(|call| vec![refusal(call, "NoSuchUnit")]);
    service.manager(LONG).unwrap().stop(&plan().scope).unwrap();
}

/// systemd executes itself anew (daemon-reexec) while it is asked.
#[test]
fn what_is_lost_with_a_connection_is_asked_again() {
    let lost = std::sync::atomic::AtomicU32::new(0);
    let service = Service::new(move |call| {
        // Every first time.
        if lost.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            return vec![Message::new(Kind::Unknown)];
        }
        match call.member.as_str() {
            "StopUnit" => job(call, "done"),
            _ => vec![reply(call, vec![])],
        }
    });
    let mut manager = service.manager(LONG).unwrap();
    manager.set(&plan().scope, &[]).unwrap();
    manager.stop(&plan().scope).unwrap();
    drop(manager);
    let calls = service.calls();
    let names: Vec<&str> = calls.iter().filter_map(|call| call.split('(').next()).collect();
    assert_eq!(
        names,
        [
            "closed: SetUnitProperties",
            "SetUnitProperties",
            "closed: StopUnit",
            "StopUnit",
            "closed: ResetFailedUnit",
            "ResetFailedUnit"
        ]
    );
}

/// runc#3904: a service that does not answer must not hang its caller.
#[test]
fn a_silent_service_is_waited_for_until_the_deadline() {
    let service = Service::new(|_| vec![]);
    let begun = Instant::now();
    let error = service
        .manager(Duration::from_millis(200))
        .unwrap()
        .facts()
        .unwrap_err();
    assert_eq!(error.errno(), Some(libc::ETIMEDOUT), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));

    // A job that does not end; the cleaning is not waited for either.
    let service = Service::new(|call| match call.member.as_str() {
        "StartTransientUnit" => vec![reply(call, vec![Value::Path("/job/9".into())])],
        _ => vec![reply(call, vec![])],
    });
    let mut manager = service.manager(Duration::from_millis(200)).unwrap();
    let error = manager.start(&plan(), 1).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("timed out waiting for systemd to start x.scope"),
        "{error}"
    );
}

#[test]
fn nobody_there_and_nonsense() {
    let nowhere = Address::direct("/nonexistent/systemd/private");
    let error = Manager::connect_to(&[nowhere], true, Instant::now() + LONG).unwrap_err();
    assert_eq!(error.errno(), Some(libc::ENOENT));
    assert!(error.hint().unwrap().contains("XDG_RUNTIME_DIR"), "{error}");

    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("runtime-core-bus-{}-{number}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let thread = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.write_all(b"REJECTED EXTERNAL\r\n").unwrap();
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
    });
    let error = Manager::connect_to(&[Address::direct(&path)], false, Instant::now() + LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission, "{error}");
    thread.join().unwrap();
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn addresses() {
    let shown = |addresses: Vec<Address>| -> Vec<String> {
        addresses
            .iter()
            .map(|address| format!("{address}{}", if address.is_bus { " bus" } else { "" }))
            .collect()
    };
    assert_eq!(
        shown(user_addresses("/run/user/5", None)),
        ["\"/run/user/5/systemd/private\"", "\"/run/user/5/bus\" bus"]
    );
    assert_eq!(
        shown(user_addresses("/r", Some("unix:path=/b;unix:abstract=c"))),
        ["\"/r/systemd/private\"", "\"/b\" bus", "\"@c\" bus"]
    );
}
