//! A shim driven over its socket, as containerd drives it.
#![allow(clippy::unwrap_used, reason = "what does not hold here fails the test")]

mod place;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use place::{Client, Place, ready, skipped, until};
use serde_json::json;
use shim::proto::options::{OPTIONS, Options};
use shim::proto::task::{
    CloseIoRequest, CreateTaskRequest, CreateTaskResponse, DeleteRequest, DeleteResponse, ExecProcessRequest,
    KillRequest, PauseRequest, PidsRequest, PidsResponse, ResizePtyRequest, ResumeRequest, StartRequest,
    StateRequest, StateResponse, StatsRequest, StatsResponse, Status, WaitRequest, WaitResponse,
};
use shim::proto::types::{Any, Empty};

fn state(client: &mut Client, id: &str) -> StateResponse {
    let request = StateRequest {
        id: id.to_owned(),
        exec_id: String::new(),
    };
    client.call("State", &request).unwrap()
}

fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn shim_pid(client: &mut Client, id: &str) -> u32 {
    let request = shim::proto::task::ConnectRequest { id: id.to_owned() };
    let response: shim::proto::task::ConnectResponse = client.call("Connect", &request).unwrap();
    response.shim_pid
}

#[test]
fn a_task_lives_and_its_shim_ends_with_it() {
    if !ready("a_task_lives_and_its_shim_ends_with_it") {
        return;
    }
    let place = Place::new();
    place.bundle("c1", "echo out; echo err >&2; exit 7");
    let socket = place.start("c1");
    assert_eq!(
        std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let mut client = Client::connect(&socket);
    let shim = shim_pid(&mut client, "c1");
    let name = std::fs::read_to_string(format!("/proc/{shim}/comm")).unwrap();
    assert_eq!(name, "containerd-shim\n");
    let log = place.dir.join("log");
    let pid = client.create(&place, "c1", &format!("file://{}", log.display()));
    assert!(alive(pid));
    assert_eq!(state(&mut client, "c1").status, Status::Created as i32);
    client.start("c1");
    assert_eq!(client.wait("c1"), 7);
    let ended = state(&mut client, "c1");
    assert_eq!(
        (ended.status, ended.exit_status, ended.pid),
        (Status::Stopped as i32, 7, pid)
    );
    // What ended and is not deleted still counts: containerd asks when it comes back.
    let pids: PidsResponse = client.call("Pids", &PidsRequest { id: "c1".to_owned() }).unwrap();
    assert_eq!(pids.processes.len(), 1);
    // Once more, by the older service.
    client.service = "containerd.task.v2.Task";
    assert_eq!(client.wait("c1"), 7);
    client.delete("c1");
    client.shut_down("c1");
    until("the shim has ended", || !alive(shim));
    assert!(!socket.exists());
    let mut lines: Vec<String> = std::fs::read_to_string(&log)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    assert_eq!(lines, ["err", "out"]);
    let expected = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"];
    assert_eq!(place.events.topics(), expected);
    assert!(
        std::fs::read_dir(place.dir.join("root/shim-test"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn each_containerd_is_answered_in_its_own_form() {
    if !ready("each_containerd_is_answered_in_its_own_form") {
        return;
    }
    let place = Place::new();
    place.bundle("f1", "sleep 100");
    let bare = String::from_utf8(place.start_by_hand("f1", b"", &[])).unwrap();
    assert!(bare.starts_with("unix:///run/containerd/s/"), "{bare}");
    let json = place.start_by_hand("f1", b"", &[("MAX_SHIM_VERSION", "2")]);
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    // The same shim: it was found, not made again.
    assert_eq!((&json["address"], &json["version"]), (&json!(bare), &json!(2)));
    let mut client = Client::connect(bare.strip_prefix("unix://").unwrap().as_ref());
    let error = client
        .call::<Empty>(
            "Start",
            &StartRequest {
                id: "f1".to_owned(),
                exec_id: String::new(),
            },
        )
        .unwrap_err();
    assert_eq!(error.code, 5, "{error:?}");
    let shim = shim_pid(&mut client, "f1");
    client.shut_down("f1");
    until("the shim has ended", || !alive(shim));
}

#[test]
fn programs_come_and_go_and_are_told_before_their_container() {
    if !ready("programs_come_and_go_and_are_told_before_their_container") {
        return;
    }
    let place = Place::new();
    place.bundle("e1", "sleep 100");
    let socket = place.start("e1");
    let mut client = Client::connect(&socket);
    client.create(&place, "e1", "");
    client.start("e1");
    let (input, output) = (place.dir.join("in"), place.dir.join("out"));
    for fifo in [&input, &output] {
        rustix::fs::mknodat(rustix::fs::CWD, fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    }
    let process = json!({"args": ["/bin/cat"], "cwd": "/", "user": {"uid": 0, "gid": 0}});
    let mut request = ExecProcessRequest {
        id: "e1".to_owned(),
        exec_id: "x1".to_owned(),
        stdin: input.display().to_string(),
        stdout: output.display().to_string(),
        spec: Some(Any {
            type_url: String::new(),
            value: process.to_string().into_bytes(),
        }),
        ..ExecProcessRequest::default()
    };
    client.call::<Empty>("Exec", &request).unwrap();
    let twice = client.call::<Empty>("Exec", &request).unwrap_err();
    assert_eq!(twice.code, 6, "{twice:?}");
    let path = output.clone();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        std::fs::File::open(path)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    });
    let start = StartRequest {
        id: "e1".to_owned(),
        exec_id: "x1".to_owned(),
    };
    client.call::<Empty>("Start", &start).unwrap();
    let mut feed = std::fs::File::options().write(true).open(&input).unwrap();
    feed.write_all(b"through the container").unwrap();
    drop(feed);
    let close = CloseIoRequest {
        id: "e1".to_owned(),
        exec_id: "x1".to_owned(),
        stdin: true,
    };
    client.call::<Empty>("CloseIO", &close).unwrap();
    assert_eq!(reader.join().unwrap(), "through the container");
    let wait = WaitRequest {
        id: "e1".to_owned(),
        exec_id: "x1".to_owned(),
    };
    assert_eq!(client.call::<WaitResponse>("Wait", &wait).unwrap().exit_status, 0);
    let delete = DeleteRequest {
        id: "e1".to_owned(),
        exec_id: "x1".to_owned(),
    };
    client.call::<DeleteResponse>("Delete", &delete).unwrap();

    // One that outlives the container's own program is ended and told first.
    request.exec_id = "x2".to_owned();
    request.stdin = String::new();
    request.stdout = String::new();
    let process = json!({"args": ["/bin/sleep", "100"], "cwd": "/", "user": {"uid": 0, "gid": 0}});
    request.spec.as_mut().unwrap().value = process.to_string().into_bytes();
    client.call::<Empty>("Exec", &request).unwrap();
    let start = StartRequest {
        id: "e1".to_owned(),
        exec_id: "x2".to_owned(),
    };
    client.call::<Empty>("Start", &start).unwrap();
    client.kill("e1");
    assert_eq!(client.wait("e1"), 137);
    client.delete("e1");
    client.shut_down("e1");
    let added = ["/tasks/exec-added", "/tasks/exec-started"];
    let expected: Vec<&str> = ["/tasks/create", "/tasks/start"]
        .into_iter()
        .chain(added)
        .chain(["/tasks/exit"])
        .chain(added)
        .chain(["/tasks/exit", "/tasks/exit", "/tasks/delete"])
        .collect();
    until("all is told", || place.events.topics().len() == expected.len());
    assert_eq!(place.events.topics(), expected);
}

#[test]
fn a_terminal_has_a_size_and_loses_nothing_at_its_end() {
    if !ready("a_terminal_has_a_size_and_loses_nothing_at_its_end") {
        return;
    }
    let place = Place::new();
    place.bundle_of("t1", "stty size; read line; stty size; seq 1 2000", |config| {
        config["process"]["terminal"] = json!(true);
    });
    let socket = place.start("t1");
    let mut client = Client::connect(&socket);
    let (input, log) = (place.dir.join("in"), place.dir.join("log"));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &input,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let request = CreateTaskRequest {
        id: "t1".to_owned(),
        bundle: place.dir.join("t1").display().to_string(),
        terminal: true,
        stdin: input.display().to_string(),
        stdout: format!("file://{}", log.display()),
        options: Some(Any::of(OPTIONS, &place.options())),
        ..CreateTaskRequest::default()
    };
    client.call::<CreateTaskResponse>("Create", &request).unwrap();
    client.start("t1");
    let resize = ResizePtyRequest {
        id: "t1".to_owned(),
        exec_id: String::new(),
        width: 101,
        height: 33,
    };
    client.call::<Empty>("ResizePty", &resize).unwrap();
    let mut feed = std::fs::File::options().write(true).open(&input).unwrap();
    feed.write_all(b"go\n").unwrap();
    assert_eq!(client.wait("t1"), 0);
    let text = || std::fs::read_to_string(&log).unwrap_or_default();
    until("the output is there", || text().contains("\n2000\r\n"));
    assert!(text().contains("33 101"), "{}", text());
    client.delete("t1");
    client.shut_down("t1");
}

#[test]
fn pause_stats_and_refusals() {
    if !ready("pause_stats_and_refusals") {
        return;
    }
    let place = Place::new();
    place.bundle("p1", "sleep 100");
    let socket = place.start("p1");
    let mut client = Client::connect(&socket);
    let wrong = CreateTaskRequest {
        id: "p1".to_owned(),
        bundle: place.dir.join("p1").display().to_string(),
        options: Some(Any::of(
            OPTIONS,
            &Options {
                binary_name: "no-runc".to_owned(),
                ..Options::default()
            },
        )),
        ..CreateTaskRequest::default()
    };
    let error = client.call::<Empty>("Create", &wrong).unwrap_err();
    assert!(
        error.message.contains("options.binary_name: \"no-runc\""),
        "{error:?}"
    );
    client.create(&place, "p1", "");
    client.start("p1");
    let running = client.call::<Empty>(
        "Delete",
        &DeleteRequest {
            id: "p1".to_owned(),
            exec_id: String::new(),
        },
    );
    assert_eq!(running.unwrap_err().code, 9);
    client
        .call::<Empty>("Pause", &PauseRequest { id: "p1".to_owned() })
        .unwrap();
    assert_eq!(state(&mut client, "p1").status, Status::Paused as i32);
    client
        .call::<Empty>("Resume", &ResumeRequest { id: "p1".to_owned() })
        .unwrap();
    assert_eq!(state(&mut client, "p1").status, Status::Running as i32);
    let stats: StatsResponse = client
        .call("Stats", &StatsRequest { id: "p1".to_owned() })
        .unwrap();
    let stats = stats.stats.unwrap();
    assert!(
        stats.type_url.starts_with("io.containerd.cgroups.v"),
        "{}",
        stats.type_url
    );
    assert!(!stats.value.is_empty());
    let unknown = client.call::<Empty>("Levitate", &Empty {}).unwrap_err();
    assert_eq!(unknown.code, 12);
    client.kill("p1");
    assert_eq!(client.wait("p1"), 137);
    let gone = client.call::<Empty>(
        "Kill",
        &KillRequest {
            id: "p1".to_owned(),
            signal: 15,
            ..KillRequest::default()
        },
    );
    assert_eq!(gone.unwrap_err().code, 5);
    client.delete("p1");
    client.shut_down("p1");
}

#[test]
fn what_a_killed_shim_leaves_is_cleaned_up() {
    if !ready("what_a_killed_shim_leaves_is_cleaned_up") {
        return;
    }
    let place = Place::new();
    place.bundle("k1", "sleep 100");
    let socket = place.start("k1");
    let mut client = Client::connect(&socket);
    let pid = client.create(&place, "k1", "");
    client.start("k1");
    let shim = shim_pid(&mut client, "k1");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(shim.cast_signed()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    until("the shim is dead", || !alive(shim));
    assert!(socket.exists());
    place.delete("k1");
    assert!(!alive(pid));
    assert!(!socket.exists());
    // Again, as it may happen.
    place.delete("k1");
}

/// A containerd that dies while it waits for a container comes back, finds no task, and wants no shim.
#[test]
fn what_nobody_waits_for_any_more_is_removed_and_its_shim_ends() {
    if !ready("what_nobody_waits_for_any_more_is_removed_and_its_shim_ends") {
        return;
    }
    let place = Place::new();
    let (begun, go) = (place.dir.join("begun"), place.dir.join("go"));
    let script = format!(
        "echo >{}; until [ -e {} ]; do sleep 0.05; done",
        begun.display(),
        go.display()
    );
    place.bundle_of("o1", "sleep 100", |config| {
        config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
    });
    let socket = place.start("o1");
    let mut first = Client::connect(&socket);
    let shim = shim_pid(&mut first, "o1");
    first.ask_to_create(&place, "o1");
    until("the container is being made", || begun.exists());
    drop(first);
    let mut second = Client::connect(&socket);
    let gone = second.call::<Empty>(
        "Delete",
        &DeleteRequest {
            id: "o1".to_owned(),
            exec_id: String::new(),
        },
    );
    assert_eq!(gone.unwrap_err().code, 5);
    second.shut_down("o1");
    drop(second);
    std::fs::write(&go, "").unwrap();
    until("the shim has ended", || !alive(shim));
    assert!(!socket.exists());
    let records = std::fs::read_dir(place.dir.join("root/shim-test")).unwrap();
    assert_eq!(records.count(), 0);
    assert!(place.events.topics().is_empty());
}

#[test]
fn one_shim_serves_a_group_and_its_socket_goes_with_the_last() {
    if !ready("one_shim_serves_a_group_and_its_socket_goes_with_the_last") {
        return;
    }
    let place = Place::new();
    let group = |config: &mut serde_json::Value| {
        config["annotations"] = json!({"io.kubernetes.cri.sandbox-id": "pod"});
    };
    for id in ["g1", "g2"] {
        place.bundle_of(id, "sleep 100", group);
    }
    let (first, second) = (place.start("g1"), place.start("g2"));
    assert_eq!(first, second);
    let mut client = Client::connect(&first);
    for id in ["g1", "g2"] {
        client.create(&place, id, "");
        client.start(id);
    }
    let shim = shim_pid(&mut client, "g1");
    for id in ["g1", "g2"] {
        assert!(alive(shim));
        client.end(id);
        place.delete(id);
    }
    until("the shim has ended", || !alive(shim));
    assert!(!first.exists());
}

#[test]
fn what_happens_while_containerd_is_away_is_told_when_it_is_back() {
    if !ready("what_happens_while_containerd_is_away_is_told_when_it_is_back") {
        return;
    }
    let place = Place::new();
    place.bundle("a1", "exit 42");
    let socket = place.start("a1");
    place.events.go_away();
    let mut client = Client::connect(&socket);
    client.create(&place, "a1", "");
    client.start("a1");
    assert_eq!(client.wait("a1"), 42);
    drop(client);
    assert!(place.events.topics().is_empty());
    place.events.come_back();
    until("all is told", || place.events.topics().len() == 3);
    let mut client = Client::connect(&socket);
    assert_eq!(state(&mut client, "a1").exit_status, 42);
    client.delete("a1");
    client.shut_down("a1");
}

/// containerd's `enable_core_scheduling` sets SCHED_CORE for `start`.
#[test]
fn core_scheduling_is_inherited_or_refused_with_the_reason() {
    let test = "core_scheduling_is_inherited_or_refused_with_the_reason";
    if !ready(test) {
        return;
    }
    let place = Place::new();
    place.bundle("s1", "sleep 100");
    let params = place.params("s1");
    let output = place.try_start_by_hand("s1", &params, &[("SCHED_CORE", "1")]);
    let cookie = |pid: u32| {
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        rustix::thread::core_scheduling_cookie(pid, rustix::thread::CoreSchedulingScope::Thread)
    };
    if let Err(errno) = cookie(std::process::id()) {
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{error}");
        let reason = match errno {
            rustix::io::Errno::INVAL => "CONFIG_SCHED_CORE",
            rustix::io::Errno::NODEV => "SMT",
            _ => "",
        };
        for part in [
            "SCHED_CORE",
            "enable_core_scheduling",
            "PR_SCHED_CORE_CREATE",
            reason,
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(
            !place.dir.join("s").read_dir().unwrap().any(|entry| entry.is_ok()),
            "a socket is left"
        );
        skipped(
            test,
            &format!("the half with a cookie: PR_SCHED_CORE_GET: {errno}"),
        );
        return;
    }
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{error}");
    let mut client = Client::connect(&place.socket(&output.stdout));
    let shim = shim_pid(&mut client, "s1");
    let init = client.create(&place, "s1", "");
    assert_ne!(cookie(shim).unwrap(), cookie(std::process::id()).unwrap());
    assert_eq!(cookie(shim).unwrap(), cookie(init).unwrap());
    client.start("s1");
    client.end("s1");
}
