//! checkpoint and restore for who embeds the library: pipes of the caller's, the end of a restored program, and a caller
//! that is as before. Skipped, and said so, where CRIU is missing or cannot save this host's processes.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a skip must be seen; a test may panic"
)]

mod sandbox;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use runtime_core::spec::LoadedSpec;
use runtime_core::{
    CheckpointRequest, Container, ErrorKind, Exit, ManageCgroups, RestoreRequest, Status, Stdio,
};
use sandbox::{Sandbox, eventually, mounts, open_files, sandbox};
use serde_json::Value;

/// Answers each line with its number and the line.
const ECHO: &str = "n=0; while read line; do n=$((n+1)); echo $n $line; done; exit 5";

/// The caller's ends of the program's pipes.
struct Pipes {
    input: File,
    output: BufReader<File>,
}

impl Pipes {
    fn new() -> (Self, Stdio) {
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let ((theirs_in, input), (output, theirs_out)) = (pipe(), pipe());
        let null: OwnedFd = File::options().write(true).open("/dev/null").unwrap().into();
        let mut stdio = Stdio::default();
        (stdio.input, stdio.output, stdio.error) = (Some(theirs_in), Some(theirs_out), Some(null));
        let pipes = Self {
            input: input.into(),
            output: BufReader::new(output.into()),
        };
        (pipes, stdio)
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        answer.trim().to_owned()
    }
}

fn started(sandbox: &Sandbox, id: &str, config: &Value) -> (Container, Pipes) {
    let (pipes, stdio) = Pipes::new();
    let mut request = sandbox.request(id, config);
    request.stdio = stdio;
    (sandbox.runtime().run(request).expect("run"), pipes)
}

fn image(sandbox: &Sandbox) -> PathBuf {
    sandbox.dir().join("image")
}

/// Saves the container; None, with the reason told, where this host's CRIU cannot.
fn saved(test: &str, sandbox: &Sandbox, container: &mut Container, leave_running: bool) -> Option<()> {
    let mut request = CheckpointRequest::new(image(sandbox));
    request.leave_running = leave_running;
    request.criu.manage_cgroups = ManageCgroups::Ignore;
    match container.checkpoint(request) {
        Ok(()) => Some(()),
        // CRIU 3.17 on newer kernels gives up before it looks at a process.
        Err(error)
            if error.kind() == ErrorKind::Unsupported
                || error.to_string().contains("vdso")
                || error.to_string().contains("criu ended without an answer") =>
        {
            eprintln!("SKIPPED {test}: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn restore(sandbox: &Sandbox, id: &str, config: &Value) -> RestoreRequest {
    let spec = LoadedSpec::from_slice(&serde_json::to_vec(config).unwrap(), "config.json").unwrap();
    let mut request = RestoreRequest::new(id.parse().unwrap(), sandbox.bundle(), spec, image(sandbox));
    request.criu.manage_cgroups = ManageCgroups::Ignore;
    request
}

/// What must not change in the caller.
fn caller() -> (PathBuf, String, String, Vec<String>) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kept = |line: &&str| {
        [
            "Umask",
            "SigBlk",
            "SigIgn",
            "SigCgt",
            "NoNewPrivs",
            "CapEff",
            "NSpid",
        ]
        .iter()
        .any(|name| line.starts_with(name))
    };
    let status: Vec<&str> = status.lines().filter(kept).collect();
    (
        std::env::current_dir().unwrap(),
        mounts(),
        status.join("\n"),
        open_files(),
    )
}

#[test]
fn pipes_are_replaced_and_the_caller_is_as_before() {
    const TEST: &str = "pipes_are_replaced_and_the_caller_is_as_before";
    let Some(sandbox) = sandbox(TEST) else { return };
    let config = sandbox.config("c1", &["/bin/sh", "-c", ECHO]);
    let before = caller();
    let (mut container, mut pipes) = started(&sandbox, "c1", &config);
    assert_eq!(pipes.ask("one"), "1 one");
    if saved(TEST, &sandbox, &mut container, false).is_none() {
        return;
    }
    assert_eq!(container.status().unwrap(), Status::Stopped);
    let runtime = sandbox.runtime();
    runtime.delete(container.id(), false).expect("delete");
    drop((container, pipes));
    assert_eq!(sandbox.remains("c1"), Vec::<PathBuf>::new());

    let (mut pipes, stdio) = Pipes::new();
    let mut request = restore(&sandbox, "c1", &config);
    request.stdio = stdio;
    let container = runtime.restore(request).expect("restore");
    assert_eq!(container.status().unwrap(), Status::Running);
    assert_eq!(pipes.ask("two"), "2 two");
    drop(pipes);
    assert_eq!(container.wait().unwrap(), Exit::Code(5));
    runtime.delete(container.id(), false).expect("delete");
    drop(container);
    assert_eq!(sandbox.remains("c1"), Vec::<PathBuf>::new());
    assert_eq!(caller(), before);
}

#[test]
fn a_failed_restore_leaves_nothing_and_the_next_succeeds() {
    const TEST: &str = "a_failed_restore_leaves_nothing_and_the_next_succeeds";
    let Some(sandbox) = sandbox(TEST) else { return };
    let config = sandbox.config("c1", &["/bin/sh", "-c", ECHO]);
    let (mut container, mut pipes) = started(&sandbox, "c1", &config);
    assert_eq!(pipes.ask("one"), "1 one");
    if saved(TEST, &sandbox, &mut container, true).is_none() {
        return;
    }
    assert_eq!(pipes.ask("two"), "2 two");
    let runtime = sandbox.runtime();
    // The id is taken.
    let error = runtime.restore(restore(&sandbox, "c1", &config)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(pipes.ask("three"), "3 three");
    runtime.delete(container.id(), true).expect("delete");
    drop((container, pipes));
    let before = caller();
    // A program that is no CRIU.
    let mut request = restore(&sandbox, "c1", &config);
    request.criu.program = "/bin/false".into();
    let error = runtime.restore(request).unwrap_err();
    assert!(
        error.to_string().contains("criu ended without an answer"),
        "{error}"
    );
    // A hook that fails when all namespaces are there.
    let mut hooked = config.clone();
    hooked["hooks"] = serde_json::json!({"prestart": [{"path": "/bin/false"}]});
    let error = runtime.restore(restore(&sandbox, "c1", &hooked)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Hook, "{error}");
    assert_eq!(sandbox.remains("c1"), Vec::<PathBuf>::new());
    assert_eq!(caller(), before);
    let (mut pipes, stdio) = Pipes::new();
    let mut request = restore(&sandbox, "c1", &config);
    request.stdio = stdio;
    let container = runtime.restore(request).expect("restore");
    // It was saved behind its first line.
    assert_eq!(pipes.ask("again"), "2 again");
    runtime.delete(container.id(), true).expect("delete");
}

#[test]
fn a_container_that_dies_while_it_is_saved_is_an_error() {
    const TEST: &str = "a_container_that_dies_while_it_is_saved_is_an_error";
    let Some(sandbox) = sandbox(TEST) else { return };
    let config = sandbox.config("c1", &["/bin/sh", "-c", "exit 0"]);
    let (mut container, _pipes) = started(&sandbox, "c1", &config);
    eventually("the end of the program", || {
        container.status().unwrap() == Status::Stopped
    });
    let error = container
        .checkpoint(CheckpointRequest::new(image(&sandbox)))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongState);
    assert!(!image(&sandbox).exists());
}
