//! The verbs as an embedder calls them, on real containers: what the states are, who wins a race, what is refused, and
//! that a failure leaves nothing.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod sandbox;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use runtime_core::{
    ContainerId, Error, ErrorKind, ExecRequest, Exit, PrepareTerminal, Runtime, Signal, Status, Stdio,
    Terminal,
};
use sandbox::{eventually, mounts, open_files, sandbox};
use serde_json::json;

fn id(text: &str) -> ContainerId {
    text.parse().unwrap()
}

#[test]
fn a_life() {
    let Some(place) = sandbox("a_life") else { return };
    let runtime = place.runtime();
    let mut container = place.create("life", "echo ran > /out/ran; exec sleep 1000");
    assert_eq!(container.status().unwrap(), Status::Created);
    assert!(!place.out().join("ran").exists(), "the program waits for start");
    container.start().unwrap();
    assert_eq!(container.status().unwrap(), Status::Running);
    eventually("the program's file", || place.out().join("ran").exists());
    assert_eq!(container.start().unwrap_err().kind(), ErrorKind::WrongState);
    assert_eq!(
        runtime.delete(&id("life"), false).unwrap_err().kind(),
        ErrorKind::WrongState
    );
    assert_eq!(
        container.status().unwrap(),
        Status::Running,
        "a refused delete touches nothing"
    );

    let state = runtime.container(&id("life")).unwrap().state().unwrap();
    assert_eq!(
        (state.pid, state.status),
        (container.pid().unwrap(), Status::Running)
    );
    container.kill(Signal::KILL, false).unwrap();
    assert_eq!(container.wait().unwrap(), Exit::Signal(9));
    assert_eq!(container.status().unwrap(), Status::Stopped);
    assert_eq!(container.state().unwrap().pid, 0);
    assert_eq!(
        container.kill(Signal::KILL, false).unwrap_err().kind(),
        ErrorKind::NotRunning
    );
    assert_eq!(container.start().unwrap_err().kind(), ErrorKind::WrongState);
    runtime.delete(&id("life"), false).unwrap();
    assert_eq!(place.remains("life"), Vec::<std::path::PathBuf>::new());
    assert_eq!(
        runtime.delete(&id("life"), false).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    runtime.delete(&id("life"), true).unwrap();
}

/// A program that embeds the library keeps values while others work on its containers.
#[test]
fn a_value_follows_what_others_do() {
    let Some(place) = sandbox("a_value_follows_what_others_do") else {
        return;
    };
    let kept = place.create("kept", "exec sleep 1000");
    let loaded = place.runtime().container(&id("kept")).unwrap();
    place.runtime().container(&id("kept")).unwrap().start().unwrap();
    for value in [&kept, &loaded] {
        assert_eq!(value.status().unwrap(), Status::Running);
        assert_eq!(value.state().unwrap().pid, value.pid().unwrap());
    }
    // One that was looked up while the container was made: a hook on the host is a good moment.
    let mut config = place.config("seen", &["/bin/sleep", "1000"]);
    let go = place.dir().join("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.01; done", go.display());
    config["hooks"] =
        json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", wait], "timeout": 60}]});
    let (runtime, request) = (place.runtime(), place.request("seen", &config));
    let creates = std::thread::spawn(move || runtime.create(request));
    let mut early = None;
    eventually("a container that is being made", || {
        early = place.runtime().container(&id("seen")).ok();
        early
            .as_ref()
            .is_some_and(|early| early.status().unwrap() == Status::Creating)
    });
    let early = early.unwrap();
    std::fs::write(go, "").unwrap();
    let mut container = creates.join().unwrap().unwrap();
    assert_eq!(early.status().unwrap(), Status::Created);
    container.start().unwrap();
    assert_eq!(early.status().unwrap(), Status::Running);
    early.kill(Signal::KILL, false).unwrap();
    assert_eq!(container.wait().unwrap(), Exit::Signal(9));
    early.wait().unwrap();
    assert_eq!(early.status().unwrap(), Status::Stopped);
    for name in ["kept", "seen"] {
        place.runtime().delete(&id(name), true).unwrap();
        assert_eq!(place.remains(name), Vec::<PathBuf>::new());
    }
}

#[test]
fn pause_and_resume_also_before_the_start() {
    let Some(place) = sandbox("pause_and_resume_also_before_the_start") else {
        return;
    };
    let mut container = place.create("frozen", "exec sleep 1000");
    container.pause().unwrap();
    assert_eq!(container.status().unwrap(), Status::Paused);
    assert_eq!(container.start().unwrap_err().kind(), ErrorKind::WrongState);
    container.resume().unwrap();
    assert_eq!(container.status().unwrap(), Status::Created);
    container.start().unwrap();
    container.pause().unwrap();
    assert_eq!(container.status().unwrap(), Status::Paused);
    assert_eq!(container.pause().unwrap_err().kind(), ErrorKind::NotRunning);
    container.resume().unwrap();
    assert_eq!(container.resume().unwrap_err().kind(), ErrorKind::WrongState);
    container.pause().unwrap();
    place.runtime().delete(&id("frozen"), true).unwrap();
    assert_eq!(place.remains("frozen"), Vec::<std::path::PathBuf>::new());
}

#[test]
fn run_gives_the_exit_code_and_its_own_descriptors() {
    let Some(place) = sandbox("run_gives_the_exit_code_and_its_own_descriptors") else {
        return;
    };
    let mut config = place.config(
        "run",
        &[
            "/bin/sh",
            "-c",
            "cat; echo err >&2; cat <&3; cat <&4; ls /proc/self/fd | tr '\\n' ' '; exit 7",
        ],
    );
    config["process"]["args"][2] = "cat; echo err >&2; cat <&3; cat <&4; echo /proc/self/fd/*; exit 7".into();
    let mut request = place.request("run", &config);
    let file = |name: &str, text: &str| -> OwnedFd {
        let path = place.out().join(name);
        std::fs::write(&path, text).unwrap();
        File::open(path).unwrap().into()
    };
    let (mut output, output_end) = std::io::pipe().unwrap();
    let (mut error, error_end) = std::io::pipe().unwrap();
    request.stdio = Stdio {
        input: Some(file("in", "in\n")),
        output: Some(output_end.into()),
        error: Some(error_end.into()),
    };
    // The numbers that they will have are in use by one another: the first opened is the last placed.
    let (four, three) = (file("four", "four\n"), file("three", "three\n"));
    request.preserve_fds = vec![three, four];
    let container = place.runtime().run(request).unwrap();
    assert_eq!(container.wait().unwrap(), Exit::Code(7));
    let read = |from: &mut std::io::PipeReader| {
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        text
    };
    let shown = read(&mut output);
    assert!(shown.starts_with("in\nthree\nfour\n"), "{shown}");
    // The shell's listing has one descriptor more, that of the directory.
    assert!(!shown.contains("/fd/6"), "stray descriptors: {shown}");
    assert_eq!(read(&mut error), "err\n");
    place.runtime().delete(&id("run"), false).unwrap();
}

#[test]
fn a_terminal_that_the_caller_keeps() {
    let Some(place) = sandbox("a_terminal_that_the_caller_keeps") else {
        return;
    };
    let mut config = place.config(
        "tty",
        &[
            "/bin/sh",
            "-c",
            "tty; busybox stty size; test -t 0 && test -t 2 && echo all",
        ],
    );
    config["process"]["terminal"] = true.into();
    let mut request = place.request("tty", &config);
    assert!(matches!(request.terminal, Terminal::None));
    assert_eq!(
        place
            .runtime()
            .create(place.request("tty", &config))
            .unwrap_err()
            .field(),
        Some("process.terminal")
    );
    request.terminal = Terminal::Keep;
    // The program runs before `run` returns: its size is there first.
    let (ws_row, ws_col) = (12, 34);
    request.prepare_terminal = Some(PrepareTerminal::new(move |master| {
        let size = rustix::termios::Winsize {
            ws_row,
            ws_col,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(master, size).map_err(|errno| Error::os("tcsetwinsize", errno))
    }));
    let mut container = place.runtime().run(request).unwrap();
    let mut master = File::from(container.take_terminal().unwrap());
    assert!(container.take_terminal().is_none());
    container.wait().unwrap();
    let mut text = Vec::new();
    // A terminal without its other side ends with EIO.
    let _ = master.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.contains("/dev/pts/0") && text.contains("all"), "{text:?}");
    assert!(text.contains("12 34"), "{text:?}");
    // What fails there ends the container before its program.
    let mut request = place.request("unseen", &config);
    request.terminal = Terminal::Keep;
    request.prepare_terminal = Some(PrepareTerminal::new(|_| {
        Err(Error::new(ErrorKind::System, "too small"))
    }));
    let error = place.runtime().run(request).unwrap_err();
    assert!(error.to_string().contains("too small"), "{error}");
    assert_eq!(place.remains("unseen"), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_relative_state_directory_is_refused_by_every_operation() {
    let Some(place) = sandbox("a_relative_state_directory_is_refused_by_every_operation") else {
        return;
    };
    let relative = "state-of-a-test-that-nobody-makes";
    let runtime = Runtime::new(relative);
    let id: ContainerId = "c1".parse().unwrap();
    let config = place.config("c1", &["/bin/true"]);
    let refusals = [
        runtime.create(place.request("c1", &config)).unwrap_err(),
        runtime.run(place.request("c1", &config)).unwrap_err(),
        runtime.container(&id).unwrap_err(),
        runtime.containers().unwrap_err(),
        runtime.delete(&id, true).unwrap_err(),
    ];
    for error in refusals {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(relative), "{error}");
    }
    assert!(!std::path::Path::new(relative).exists());
}

#[test]
fn one_of_many_creates_wins_and_is_not_touched() {
    let Some(place) = sandbox("one_of_many_creates_wins_and_is_not_touched") else {
        return;
    };
    for round in 0..5 {
        let name = format!("race{round}");
        let config = place.config(&name, &["/bin/sleep", "1000"]);
        let requests: Vec<_> = (0..8).map(|_| place.request(&name, &config)).collect();
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = requests
                .into_iter()
                .map(|request| scope.spawn(|| place.runtime().create(request)))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        for error in lost {
            assert_eq!(error.unwrap_err().kind(), ErrorKind::AlreadyExists);
        }
        let mut winner = won.into_iter().map(Result::unwrap);
        let mut container = winner.next().unwrap();
        assert!(winner.next().is_none());
        container.start().unwrap();
        assert_eq!(container.status().unwrap(), Status::Running);
        place.runtime().delete(&id(&name), true).unwrap();
    }
}

/// The id of a container that is being deleted may be taken again at once; a delete that waited meanwhile has nothing
/// to do with the new one.
#[test]
fn deletes_never_touch_the_next_container_of_the_id() {
    let Some(place) = sandbox("deletes_never_touch_the_next_container_of_the_id") else {
        return;
    };
    let config = place.config("again", &["/bin/sleep", "1000"]);
    for _ in 0..15 {
        place.runtime().create(place.request("again", &config)).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| place.runtime().delete(&id("again"), false));
            }
            let deadline = Instant::now() + Duration::from_secs(20);
            while place.state().join("again").exists() {
                assert!(Instant::now() < deadline);
                std::thread::yield_now();
            }
            // "created" may be deleted without force: late deletes would take a container of that state, so this one runs.
            match place.runtime().run(place.request("again", &config)) {
                Ok(_) => {}
                // A late delete may well come between create and its lock, but then it says so.
                Err(error) => panic!("{error}"),
            }
        });
        let container = place.runtime().container(&id("again")).unwrap();
        assert_eq!(container.status().unwrap(), Status::Running);
        place.runtime().delete(&id("again"), true).unwrap();
    }
}

#[test]
fn hooks_see_what_they_are_given_and_nothing_else() {
    let Some(place) = sandbox("hooks_see_what_they_are_given_and_nothing_else") else {
        return;
    };
    let out = place.out();
    let script = |name: &str| {
        let path = place.dir().join(name);
        let to = out.join(name);
        // The shell adds PWD to the environment that it was given.
        let text = format!(
            "#!/bin/sh\nread -r state\n{{ env | grep -v ^_= ; wc -c < /proc/$$/environ; echo --; echo /proc/$$/fd/*; pwd; echo \"$state\"; }} > {} 2>&1\n",
            to.display()
        );
        std::fs::write(&path, text).unwrap();
        std::os::unix::fs::PermissionsExt::set_mode(
            &mut std::fs::metadata(&path).unwrap().permissions(),
            0o755,
        );
        std::process::Command::new("chmod")
            .arg("755")
            .arg(&path)
            .status()
            .unwrap();
        path
    };
    let (before, after) = (script("before"), script("after"));
    let mut config = place.config("hooked", &["/bin/true"]);
    config["annotations"] = json!({"org.example": "yes"});
    config["hooks"] = json!({
        "createRuntime": [{"path": before, "args": ["zero", "one"], "env": ["ONLY=this", "PATH=/usr/bin:/bin"]}],
        "poststop": [{"path": after, "env": ["PATH=/usr/bin:/bin"]}],
    });
    let stray = File::open("/dev/null").unwrap();
    // Not close-on-exec: a descriptor that a careless embedder leaks must not reach a hook.
    rustix::io::fcntl_setfd(&stray, rustix::io::FdFlags::empty()).unwrap();
    let container = place.runtime().create(place.request("hooked", &config)).unwrap();
    let told = std::fs::read_to_string(out.join("before")).unwrap();
    let (env, rest) = told.split_once("--\n").unwrap();
    let mut env: Vec<_> = env.lines().filter(|line| !line.starts_with("PWD=")).collect();
    env.sort_unstable();
    // The number is that of the bytes that the shell was given; PWD is its own.
    let given = "ONLY=this\0PATH=/usr/bin:/bin\0".len().to_string();
    assert_eq!(env, [given.as_str(), "ONLY=this", "PATH=/usr/bin:/bin"]);
    let mut rest = rest.lines();
    let fds: Vec<_> = rest
        .next()
        .unwrap()
        .split(' ')
        .map(|path| path.rsplit('/').next().unwrap().parse::<u32>().unwrap())
        .collect();
    // A shell keeps its script and what a redirection replaced at 10 or above; 3 is the directory that it lists.
    assert!(fds.iter().all(|fd| *fd <= 3 || *fd >= 10), "{fds:?}");
    assert_eq!(rest.next().unwrap(), place.bundle().to_str().unwrap());
    let state: serde_json::Value = serde_json::from_str(rest.next().unwrap()).unwrap();
    assert_eq!(state["status"], "creating");
    assert_eq!(state["pid"], container.pid().unwrap());
    assert_eq!(state["annotations"]["org.example"], "yes");
    place.runtime().delete(&id("hooked"), false).unwrap();
    let state: serde_json::Value = serde_json::from_str(
        std::fs::read_to_string(out.join("after"))
            .unwrap()
            .lines()
            .last()
            .unwrap(),
    )
    .unwrap();
    assert_eq!(
        (state["status"].as_str(), state.get("pid")),
        (Some("stopped"), None)
    );
}

#[test]
fn a_hook_that_takes_too_long_is_killed_with_its_children() {
    let Some(place) = sandbox("a_hook_that_takes_too_long_is_killed_with_its_children") else {
        return;
    };
    let mut config = place.config("slow", &["/bin/true"]);
    let marker = format!("9{}", std::process::id());
    config["hooks"] = json!({"createRuntime": [
        {"path": "/bin/sh", "args": ["sh", "-c", format!("sleep {marker} & sleep {marker}")], "env": ["PATH=/usr/bin:/bin"], "timeout": 1}
    ]});
    // Its children sleep for a day: whoever waits for them does not come back.
    let error = place
        .runtime()
        .create(place.request("slow", &config))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Hook);
    eventually("the end of the hook's children", || {
        !std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            std::fs::read_to_string(entry.path().join("cmdline"))
                .is_ok_and(|line| line.contains(&format!("sleep\0{marker}")))
        })
    });
    assert_eq!(place.remains("slow"), Vec::<std::path::PathBuf>::new());
}

#[test]
fn the_pid_file_and_the_notify_directory() {
    let Some(place) = sandbox("the_pid_file_and_the_notify_directory") else {
        return;
    };
    let config = place.config(
        "notify",
        &[
            "/bin/sh",
            "-c",
            "echo $NOTIFY_SOCKET > /out/env; ls -d /run/notify > /out/dir; exec sleep 1000",
        ],
    );
    let mut request = place.request("notify", &config);
    request.notify_socket = Some("/run/systemd/notify".into());
    request.pid_file = Some(place.dir().join("pid"));
    let container = place.runtime().run(request).unwrap();
    assert_eq!(
        std::fs::read_to_string(place.dir().join("pid")).unwrap(),
        container.pid().unwrap().to_string()
    );
    assert!(container.directory().join("notify").is_dir());
    let read = |name: &str| std::fs::read_to_string(place.out().join(name)).unwrap_or_default();
    eventually("the program's files", || !read("dir").is_empty());
    assert_eq!(
        (read("env").trim(), read("dir").trim()),
        ("/run/notify/notify.sock", "/run/notify")
    );
    place.runtime().delete(&id("notify"), true).unwrap();
}

#[test]
fn a_stopped_container_that_nobody_waited_for_leaves_no_zombie() {
    let Some(place) = sandbox("a_stopped_container_that_nobody_waited_for_leaves_no_zombie") else {
        return;
    };
    let container = place
        .runtime()
        .run(place.request("quick", &place.config("quick", &["/bin/true"])))
        .unwrap();
    let pid = container.pid().unwrap();
    eventually("its end", || container.status().unwrap() == Status::Stopped);
    place.runtime().delete(&id("quick"), false).unwrap();
    assert!(
        !std::path::Path::new(&format!("/proc/{pid}")).exists(),
        "a zombie is left"
    );
}

#[test]
fn a_failing_create_leaves_nothing() {
    let Some(place) = sandbox("a_failing_create_leaves_nothing") else {
        return;
    };
    let hook = json!([{"path": "/bin/false"}]);
    let bad = [
        ("/mounts/3/source", json!("/nowhere/at/all")),
        ("/mounts/1/options/2", json!("size=nonsense")),
        ("/linux/sysctl", json!({"net.ipv4.no_such_thing": "1"})),
        ("/linux/sysctl", json!({"kernel.msgmax": "nonsense"})),
        ("/process/args/0", json!("/bin/missing")),
        ("/process/args/0", json!("/etc/passwd")),
        ("/hooks", json!({"prestart": hook})),
        ("/hooks", json!({"createRuntime": hook})),
        ("/hooks", json!({"createContainer": hook})),
        ("/hooks", json!({"createRuntime": [{"path": "/bin/missing"}]})),
        (
            "/linux/namespaces/4",
            json!({"type": "network", "path": "/proc/self/ns/uts"}),
        ),
        (
            "/linux/namespaces/4",
            json!({"type": "network", "path": "/proc/self/status"}),
        ),
        ("/root/path", json!("link")),
        ("/root/path", json!("missing")),
        ("/linux/resources", json!({"memory": {"limit": 4096}})),
        (
            "/linux/resources",
            json!({"pids": {"limit": 9}, "cpu": {"cpus": "4000"}}),
        ),
        (
            "/linux/devices",
            json!([{"path": "/etc/passwd/x", "type": "c", "major": 1, "minor": 3}]),
        ),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 18_446_744_073_709_551_615_u64}]),
        ),
    ];
    std::os::unix::fs::symlink("rootfs", place.bundle().join("link")).unwrap();
    let set = |pointer: &str, value: &serde_json::Value| {
        let mut config = place.config("bad", &["/bin/sleep", "1000"]);
        if let Some(place) = config.pointer_mut(pointer) {
            *place = value.clone();
        } else {
            let (above, name) = pointer.rsplit_once('/').unwrap();
            config.pointer_mut(above).unwrap()[name] = value.clone();
        }
        config
    };
    // Once, so that what is opened only once is open.
    place.create("first", "true");
    place.runtime().delete(&id("first"), true).unwrap();
    let before = (open_files(), mounts());
    let mut with_user_namespace = place.config("bad", &["/bin/sleep", "1000"]);
    with_user_namespace["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .push(json!({"type": "user"}));
    with_user_namespace["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
    with_user_namespace["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
    with_user_namespace["process"]["user"]["uid"] = 5000.into();
    let configs = bad
        .iter()
        .map(|(pointer, value)| (format!("{pointer} = {value}"), set(pointer, value)));
    let configs: Vec<_> = configs
        .chain([("unmapped uid".to_owned(), with_user_namespace)])
        .collect();
    for by_run in [false, true] {
        for (what, config) in &configs {
            let request = place.request("bad", config);
            let result = if by_run {
                place.runtime().run(request)
            } else {
                place.runtime().create(request)
            };
            let error = match result {
                Ok(_) => panic!("{what} was accepted"),
                Err(error) => error,
            };
            eprintln!("{what}: {error}");
            assert_ne!(error.kind(), ErrorKind::Internal, "{what}: {error}");
            assert_eq!(place.remains("bad"), Vec::<std::path::PathBuf>::new(), "{what}");
            assert_eq!(open_files(), before.0, "{what}");
            assert_eq!(mounts(), before.1, "{what}");
        }
    }
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    assert_eq!(children.trim(), "", "children are left");
}

#[test]
fn a_program_that_fails_at_start_is_named_and_the_container_stops() {
    let Some(place) = sandbox("a_program_that_fails_at_start_is_named_and_the_container_stops") else {
        return;
    };
    let mut config = place.config("late", &["/bin/true"]);
    config["hooks"] = json!({"startContainer": [{"path": "/bin/false"}]});
    let mut container = place.runtime().create(place.request("late", &config)).unwrap();
    let error = container.start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Hook);
    assert!(error.to_string().contains("startContainer hook #0"), "{error}");
    eventually("its end", || container.status().unwrap() == Status::Stopped);
    place.runtime().delete(&id("late"), false).unwrap();
    assert_eq!(place.remains("late"), Vec::<std::path::PathBuf>::new());
}

/// config.md: `process` is required when start is called, not before.
#[test]
fn a_container_without_a_process_is_created_entered_and_never_started() {
    let Some(sandbox) = sandbox("a_container_without_a_process_is_created_entered_and_never_started") else {
        return;
    };
    let mut config = sandbox.config("bare", &[]);
    config.as_object_mut().unwrap().remove("process");
    let runtime = sandbox.runtime();
    let error = runtime.run(sandbox.request("bare", &config)).unwrap_err();
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::InvalidSpec, Some("process"))
    );
    assert_eq!(sandbox.remains("bare"), Vec::<PathBuf>::new());

    let mut container = runtime.create(sandbox.request("bare", &config)).unwrap();
    assert_eq!(container.status().unwrap(), Status::Created);
    for _ in 0..2 {
        let error = container.start().unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (
                ErrorKind::InvalidSpec,
                "process: the field is missing: there is no program to start"
            )
        );
        assert_eq!(container.status().unwrap(), Status::Created);
    }
    let mut process = runtime_core::spec::no_process();
    process.set_args(Some(vec!["/bin/true".to_owned()]));
    let executed = container.exec(ExecRequest::new(process)).unwrap();
    assert_eq!(executed.wait().unwrap(), Exit::Code(0));
    runtime.delete(container.id(), false).unwrap();
    assert_eq!(sandbox.remains("bare"), Vec::<PathBuf>::new());
}

/// fsconfig(2) takes 255 bytes for each value; 70 layers need thousands.
#[test]
fn an_overlay_of_many_layers() {
    let Some(sandbox) = sandbox("an_overlay_of_many_layers") else {
        return;
    };
    let layers: Vec<PathBuf> = (0..70)
        .map(|at| sandbox.dir().join(format!("layers/{at}-{}", "x".repeat(100))))
        .collect();
    for (at, layer) in layers.iter().enumerate() {
        std::fs::create_dir_all(layer).unwrap();
        std::fs::write(layer.join(format!("file{at}")), "").unwrap();
    }
    // The first layer is the upper one.
    std::fs::write(layers[0].join("who"), "first").unwrap();
    std::fs::write(layers[69].join("who"), "last").unwrap();
    let list: Vec<_> = layers.iter().map(|layer| layer.to_string_lossy()).collect();
    let mut config = sandbox.config(
        "layers",
        &["/bin/sh", "-c", "cat /merged/who; test -e /merged/file69"],
    );
    let mount = json!({"destination": "/merged", "type": "overlay", "source": "overlay",
        "options": ["ro", format!("lowerdir={}", list.join(":"))]});
    config["mounts"].as_array_mut().unwrap().push(mount);
    let mut request = sandbox.request("layers", &config);
    let (mut reader, writer) = std::io::pipe().unwrap();
    request.stdio = Stdio {
        output: Some(writer.into()),
        ..Stdio::default()
    };
    let runtime = sandbox.runtime();
    match runtime.run(request) {
        Ok(container) => {
            assert_eq!(container.wait().unwrap(), Exit::Code(0));
            let mut said = String::new();
            reader.read_to_string(&mut said).unwrap();
            assert_eq!(said, "first");
            runtime.delete(container.id(), true).unwrap();
        }
        // A kernel before 6.8 has a page for all of them, and says so.
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}"),
    }
    assert_eq!(sandbox.remains("layers"), Vec::<PathBuf>::new());
}
