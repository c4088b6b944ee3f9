//! Runs the steps of a build, each in a container of its own: `build_sandbox STATE_DIR ROOTFS SOURCES STEP...`.
//!
//! A step is a shell command. It sees ROOTFS read-only, SOURCES at /src (the only place where it can leave anything) and an
//! empty /tmp; it has no network, no capability, no way to more of them, bounds of memory, processes and time, and is the
//! user that SOURCES belongs to. The configuration is made here, there is no bundle. The first step that fails ends it.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use runtime_core::spec::LoadedSpec;
use runtime_core::{Container, CreateRequest, Exit, Runtime, Signal, Stdio};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const MEMORY: u64 = 512 << 20;
const PROCESSES: u64 = 128;
/// The longest that a step may take, in seconds; BUILD_SANDBOX_SECONDS changes it.
const LIMIT: u64 = 600;

fn main() -> Outcome<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [root, rootfs, sources, steps @ ..] = words.as_slice() else {
        return Err("usage: build_sandbox STATE_DIR ROOTFS SOURCES STEP...".into());
    };
    let limit = match std::env::var("BUILD_SANDBOX_SECONDS") {
        Ok(text) => text
            .parse()
            .map_err(|_| format!("BUILD_SANDBOX_SECONDS={text}: not a number"))?,
        Err(_) => LIMIT,
    };
    let runtime = Runtime::new(root);
    for (number, step) in (1..).zip(steps) {
        let begin = Instant::now();
        let config = config(&runtime, Path::new(rootfs), Path::new(sources), step)?;
        let (exit, output) = run(&runtime, number, config, Duration::from_secs(limit))?;
        println!(
            "step {number}: {step}: {exit:?} after {:.1} s",
            begin.elapsed().as_secs_f64()
        );
        print!("{output}");
        if exit != Exit::Code(0) {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The usual configuration with less in it.
fn config(runtime: &Runtime, rootfs: &Path, sources: &Path, step: &str) -> Outcome<LoadedSpec> {
    let owner = std::fs::metadata(sources)?;
    let mut config: Value = serde_json::from_str(&runtime.default_config(false)?)?;
    config["hostname"] = "build".into();
    config["root"] = json!({"path": rootfs.canonicalize()?, "readonly": true});
    config["process"] = json!({
        "args": ["/bin/sh", "-c", step],
        "cwd": "/src",
        "env": ["PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp"],
        "user": {"uid": owner.uid(), "gid": owner.gid()},
        "capabilities": {},
        "noNewPrivileges": true,
    });
    let mounts = config["mounts"]
        .as_array_mut()
        .ok_or("the default configuration has no mounts")?;
    mounts.push(json!({
        "destination": "/src", "type": "bind", "source": sources.canonicalize()?,
        "options": ["rbind", "rprivate", "nosuid", "nodev"],
    }));
    mounts.push(json!({
        "destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
        "options": ["nosuid", "nodev", "mode=1777", "size=256m"],
    }));
    config["linux"]["resources"] = json!({
        "devices": [{"allow": false, "access": "rwm"}],
        "memory": {"limit": MEMORY},
        "pids": {"limit": PROCESSES},
    });
    Ok(LoadedSpec::from_slice(
        config.to_string().as_bytes(),
        "build_sandbox",
    )?)
}

/// Runs a step to its end; what it wrote.
fn run(runtime: &Runtime, number: usize, config: LoadedSpec, limit: Duration) -> Outcome<(Exit, String)> {
    let id = format!("build-{}-{number}", std::process::id()).parse()?;
    let (mut from, to) = std::io::pipe()?;
    let mut request = CreateRequest::new(id, "/", config);
    request.stdio = Stdio {
        input: Some(std::fs::File::open("/dev/null")?.into()),
        output: Some(to.try_clone()?.into()),
        error: Some(to.into()),
    };
    let container = runtime.run(request)?;
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)
            .map(|_| String::from_utf8_lossy(&bytes).into_owned())
    });
    let end = wait(&container, limit);
    // Also kills what the step left running, so that the reader comes to an end.
    runtime.delete(container.id(), true)?;
    let output = reader.join().map_err(|_| "the reader panicked")??;
    Ok((end?, output))
}

/// Waits for the end, which comes by force after `limit`.
fn wait(container: &Container, limit: Duration) -> Outcome<Exit> {
    if let Some(pidfd) = container.pidfd() {
        let timeout = Timespec::try_from(limit)?;
        if poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout))? == 0 {
            container.kill(Signal::KILL, true)?;
        }
    }
    Ok(container.wait()?)
}
