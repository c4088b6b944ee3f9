//! Clients and loggers that hold a shim up: the other calls of the pod go on, and nothing is left of them.
#![allow(clippy::unwrap_used, reason = "what does not hold here fails the test")]

mod place;

use std::fs::File;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use place::{Client, Place, ready, until};
use serde_json::json;
use shim::proto::task::{
    ConnectRequest, ConnectResponse, DeleteRequest, DeleteResponse, ExecProcessRequest, PauseRequest,
    ResumeRequest, StartRequest, WaitRequest, WaitResponse,
};
use shim::proto::types::{Any, Empty};

/// As long as an honest call may take on a busy host; a client is waited for as long as ten seconds.
const PROMPT: Duration = Duration::from_secs(5);

fn shim_pid(client: &mut Client, id: &str) -> u32 {
    let request = ConnectRequest { id: id.to_owned() };
    client
        .call::<ConnectResponse>("Connect", &request)
        .unwrap()
        .shim_pid
}

/// A container that runs: its shim's socket, a client of that, and the shim's process id.
fn running(place: &Place, id: &str) -> (PathBuf, Client, u32) {
    place.bundle(id, "sleep 100");
    let socket = place.start(id);
    let mut client = Client::connect(&socket);
    let shim = shim_pid(&mut client, id);
    client.create(place, id, "");
    client.start(id);
    (socket, client, shim)
}

fn entries(pid: u32, of: &str) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/{of}")).unwrap().count()
}

fn fifo(path: &Path) {
    let mode = rustix::fs::Mode::from(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

fn reader(path: &Path) -> File {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut options = File::options();
    options.read(true).custom_flags(nonblocking).open(path).unwrap()
}

/// Notes a program.
fn exec(client: &mut Client, id: &str, exec_id: &str, script: &str, stdout: &Path) -> StartRequest {
    let process = json!({"args": ["/bin/sh", "-c", script], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"]});
    let request = ExecProcessRequest {
        id: id.to_owned(),
        exec_id: exec_id.to_owned(),
        stdout: stdout.display().to_string(),
        spec: Some(Any {
            type_url: String::new(),
            value: process.to_string().into_bytes(),
        }),
        ..ExecProcessRequest::default()
    };
    client.call::<Empty>("Exec", &request).unwrap();
    StartRequest {
        id: id.to_owned(),
        exec_id: exec_id.to_owned(),
    }
}

/// A program that logs and never says that it is ready; where it writes its process id.
fn stuck_logger(place: &Place, name: &str) -> (String, PathBuf) {
    let (program, pid) = (place.dir.join(name), place.dir.join(format!("{name}.pid")));
    std::fs::write(
        &program,
        format!(
            "#!/bin/sh\necho $$ >{0}.new && mv {0}.new {0}\nexec sleep 1000\n",
            pid.display()
        ),
    )
    .unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    (format!("binary-v2://{}", program.display()), pid)
}

fn end_logger(pid: &Path) {
    let pid = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn clients_that_open_no_fifo_hold_up_nobody_else() {
    if !ready("clients_that_open_no_fifo_hold_up_nobody_else") {
        return;
    }
    let place = Place::new();
    let (socket, mut client, shim) = running(&place, "s1");
    let mut stuck = Vec::new();
    for number in 0..5 {
        let path = place.dir.join(format!("stuck{number}"));
        fifo(&path);
        let start = exec(&mut client, "s1", &format!("stuck{number}"), "true", &path);
        let mut caller = Client::connect(&socket);
        caller.ask("Start", &start);
        stuck.push((caller, path));
    }
    let begun = Instant::now();
    let id = || "s1".to_owned();
    client.call::<Empty>("Pause", &PauseRequest { id: id() }).unwrap();
    client
        .call::<Empty>("Resume", &ResumeRequest { id: id() })
        .unwrap();
    let start = exec(&mut client, "s1", "x", "exit 3", Path::new(""));
    client.call::<Empty>("Start", &start).unwrap();
    assert!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());
    assert!(entries(shim, "task") > 3, "nobody was held up");
    // Those that were only late are served.
    for (caller, path) in &mut stuck {
        let reading = reader(path);
        caller.answer::<Empty>("Start").unwrap();
        drop(reading);
    }
    until("the threads that were needed are gone", || {
        entries(shim, "task") <= 3
    });
    client.end("s1");
}

#[test]
fn loggers_that_are_never_ready_hold_up_nobody_else_and_no_shim() {
    if !ready("loggers_that_are_never_ready_hold_up_nobody_else_and_no_shim") {
        return;
    }
    let place = Place::new();
    let pod = |config: &mut serde_json::Value| {
        config["annotations"] = json!({"io.kubernetes.cri.sandbox-id": "pod"});
    };
    for id in ["p0", "p1", "p2", "p3"] {
        place.bundle_of(id, "sleep 100", pod);
    }
    let socket = place.start("p0");
    let mut client = Client::connect(&socket);
    let shim = shim_pid(&mut client, "p0");
    let mut stuck = Vec::new();
    for id in ["p1", "p2"] {
        let (uri, pid) = stuck_logger(&place, &format!("logger-{id}"));
        let mut caller = Client::connect(&socket);
        caller.ask_to_create_with(&place, id, &uri);
        stuck.push((caller, pid));
    }
    until("the loggers are there", || {
        stuck.iter().all(|(_, pid)| pid.exists())
    });
    let begun = Instant::now();
    client.create(&place, "p3", "");
    client.start("p3");
    client.kill("p3");
    client.wait("p3");
    client.delete("p3");
    assert!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());
    // It is asked to end while two tasks are being made: it does when nothing came of them, with callers that still listen.
    client.shut_down("p3");
    for (caller, pid) in &mut stuck {
        end_logger(pid);
        let error = caller.answer::<Empty>("Create").unwrap_err();
        assert!(error.message.contains("descriptor 5"), "{error:?}");
    }
    until("the shim has ended", || {
        !Path::new(&format!("/proc/{shim}")).exists()
    });
    assert!(!socket.exists());
}

#[test]
fn output_that_nobody_reads_is_not_kept_behind_a_deleted_program() {
    if !ready("output_that_nobody_reads_is_not_kept_behind_a_deleted_program") {
        return;
    }
    let place = Place::new();
    let (_, mut client, shim) = running(&place, "d1");
    let mut before = 0;
    for number in 0..4 {
        let path = place.dir.join(format!("out{number}"));
        fifo(&path);
        let reading = reader(&path);
        // More than the fifo holds, less than what lies between it and the program.
        let start = exec(
            &mut client,
            "d1",
            &format!("x{number}"),
            "head -c 100000 /dev/zero",
            &path,
        );
        client.call::<Empty>("Start", &start).unwrap();
        let (id, exec_id) = (start.id, start.exec_id);
        let wait = WaitRequest {
            id: id.clone(),
            exec_id: exec_id.clone(),
        };
        assert_eq!(client.call::<WaitResponse>("Wait", &wait).unwrap().exit_status, 0);
        drop(reading);
        let delete = DeleteRequest { id, exec_id };
        let begun = Instant::now();
        client.call::<DeleteResponse>("Delete", &delete).unwrap();
        assert!(
            begun.elapsed() < Duration::from_millis(1500),
            "{:?}",
            begun.elapsed()
        );
        if number == 0 {
            // With what the first one needs and keeps.
            until("nothing is left", || !links(shim).contains(&path));
            before = entries(shim, "fd");
        }
        until("nothing is left", || !links(shim).contains(&path));
    }
    until("no descriptor is left", || entries(shim, "fd") <= before);
    client.end("d1");
}

/// Where the descriptors of a process lead.
fn links(pid: u32) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    entries
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .collect()
}
