//! The examples do what their first lines say, as programs, on real containers.
//!
//! `cargo test -p runtime-core` builds them; `cargo test --test examples` alone does not, and says so.
#![allow(clippy::unwrap_used, reason = "tests")]

mod sandbox;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use sandbox::{Sandbox, eventually, sandbox};

/// The longest that a server's answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn example(name: &str) -> Command {
    let own = std::env::current_exe().unwrap();
    let path = own
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples")
        .join(name);
    let how = "cargo build --examples -p runtime-core builds it";
    assert!(path.is_file(), "{} is missing: {how}", path.display());
    let mut command = Command::new(path);
    command.stdin(Stdio::null());
    command
}

/// Writes the configuration of a container that runs `script` into the bundle.
fn bundle(place: &Sandbox, id: &str, script: &str) -> PathBuf {
    let config = place.config(id, &["/bin/sh", "-c", script]);
    place.out();
    std::fs::write(place.bundle().join("config.json"), config.to_string()).unwrap();
    place.bundle()
}

fn text(output: &Output) -> String {
    let (output, error) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(output),
        String::from_utf8_lossy(error)
    )
}

#[test]
fn smallest_runs_a_bundle_to_its_end() {
    let Some(place) = sandbox("smallest_runs_a_bundle_to_its_end") else {
        return;
    };
    let id = format!("smallest-{}", std::process::id());
    let output = example("smallest")
        .arg(bundle(&place, &id, "echo inside; exit 3"))
        .arg(&id)
        .output()
        .unwrap();
    // Its state directory is fixed; others may use it.
    let _ = std::fs::remove_dir("/run/runtime-core-smallest");
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("inside\n") && text.contains("ended: Code(3)"),
        "{text}"
    );
    assert_eq!(place.remains(&id), Vec::<PathBuf>::new());
}

#[test]
fn run_bundle_ends_as_its_program_ended() {
    let Some(place) = sandbox("run_bundle_ends_as_its_program_ended") else {
        return;
    };
    let mut command = example("run_bundle");
    command
        .arg(place.state())
        .arg(bundle(&place, "once", "echo inside; exit 9"))
        .arg("once");
    let output = command.output().unwrap();
    assert_eq!(
        (output.status.code(), text(&output).as_str()),
        (Some(9), "inside\n")
    );
    assert_eq!(place.remains("once"), Vec::<PathBuf>::new());
}

#[test]
fn exec_output_keeps_both_streams_and_the_code() {
    let Some(place) = sandbox("exec_output_keeps_both_streams_and_the_code") else {
        return;
    };
    place.create("captured", "exec sleep 1000").start().unwrap();
    // More than a pipe holds, on both at once.
    let script = "echo to output; i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo 0123456789012345678901234567890123456789; \
                  echo 0123456789012345678901234567890123456789 >&2; done; exit 5";
    let output = example("exec_output")
        .arg(place.state())
        .args(["captured", "/bin/sh", "-c", script])
        .output()
        .unwrap();
    let text = text(&output);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(
        text.starts_with("Code(5)\nstandard output, 123010 bytes:\nto output\n"),
        "{text}"
    );
    assert!(text.contains("standard error, 123000 bytes:\n"), "{text}");
}

#[test]
fn build_sandbox_confines_steps_and_stops_at_a_failure() {
    let Some(place) = sandbox("build_sandbox_confines_steps_and_stops_at_a_failure") else {
        return;
    };
    let sources = place.out();
    std::fs::write(sources.join("in"), "source\n").unwrap();
    std::os::unix::fs::chown(&sources, Some(1234), Some(1235)).unwrap();
    let build = |steps: &[&str], seconds: &str| {
        let mut command = example("build_sandbox");
        command
            .arg(place.state())
            .arg(place.rootfs())
            .arg(&sources)
            .args(steps);
        command.env("BUILD_SANDBOX_SECONDS", seconds).output().unwrap()
    };
    let look = "cat in >made; id -u; while read -r line; do case $line in Cap*|NoNewPrivs*) echo $line;; esac; done </proc/self/status; \
                echo net: /sys/class/net/*; echo x >/tmp/x && echo tmp";
    let output = build(&[look, "cat made; echo x >/bin/x", "echo never"], "60");
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in [
        "1234\n",
        "CapBnd: 0000000000000000\n",
        "CapEff: 0000000000000000\n",
        "NoNewPrivs: 1\n",
        "net: /sys/class/net/lo\n",
        "tmp\n",
        "source\n",
        "Read-only file system",
        "step 2: ",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert!(!text.contains("never"), "{text}");
    assert_eq!(std::fs::read_to_string(sources.join("made")).unwrap(), "source\n");

    let output = build(&["sleep 1000 & sleep 1000"], "1");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("Signal(9)"),
        "{output:?}"
    );
    assert!(place.runtime().containers().unwrap().next().is_none());
}

/// A server that ends with its owner.
struct Server(Child, PathBuf);

impl Server {
    fn start(place: &Sandbox) -> Self {
        let socket = place.out().join("socket");
        let mut child = example("server")
            .arg(&socket)
            .arg(place.state())
            .arg(bundle(place, "unused", "true"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.starts_with("listening on "), "{line}");
        Self(child, socket)
    }

    fn ask(&self, command: &str) -> UnixStream {
        let mut stream = UnixStream::connect(&self.1).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("{command}\n").as_bytes()).unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn answer(mut stream: UnixStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn server_runs_each_clients_command_in_a_container() {
    let Some(place) = sandbox("server_runs_each_clients_command_in_a_container") else {
        return;
    };
    let server = Server::start(&place);
    let clients: Vec<UnixStream> = (0..6)
        .map(|number| server.ask(&format!("echo client {number} is process $$; exit {number}")))
        .collect();
    for (number, client) in clients.into_iter().enumerate() {
        assert_eq!(
            answer(client),
            format!("client {number} is process 1\nexit: {number}\n")
        );
    }

    let runtime = place.runtime();
    let client = server.ask("echo started; exec sleep 1000");
    let mut lines = BufReader::new(client);
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(
        (line.as_str(), runtime.containers().unwrap().count()),
        ("started\n", 1)
    );
    lines.into_inner().shutdown(Shutdown::Both).unwrap();
    eventually("the end of the container whose client went away", || {
        runtime.containers().unwrap().next().is_none()
    });
}

#[test]
fn own_devices_gives_a_node_a_rule_and_a_variable() {
    let Some(place) = sandbox("own_devices_gives_a_node_a_rule_and_a_variable") else {
        return;
    };
    let script = "test -c /dev/accelerator && echo x >/dev/accelerator && echo \"$ACCELERATOR\"; exit 4";
    let output = example("own_devices")
        .arg(place.state())
        .arg(place.out().join("cdi"))
        .arg(bundle(&place, "device", script))
        .args(["device", "/dev/null"])
        .output()
        .unwrap();
    assert_eq!(
        (output.status.code(), text(&output).as_str()),
        (Some(4), "first\n")
    );
    assert_eq!(place.remains("device"), Vec::<PathBuf>::new());
}
