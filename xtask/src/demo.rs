//! `cargo xtask demo`: a stranger sees containers run, from a fresh clone, with every command in the open.
//!
//! Lives here: the story. Must not live here: checks (see `checks`). Nothing is left behind, on failure neither: the
//! scratch folder holds bundles and the runtime's state, and containers that still exist are deleted first.

use crate::workspace::{Scratch, cargo, programs};
use crate::{Outcome, bundle, host, steps};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What the last container says about itself.
const SCRIPT: &str = r#"
echo "hello from a container"
echo "host name    $(hostname)"
echo "user         $(id)"
echo "processes    $(ls -d /proc/[0-9]* | wc -l) (this shell is number $$)"
echo "network      $(ls /sys/class/net | tr '\n' ' ')"
echo "capabilities $(sed -n 's/^CapEff:\s*//p' /proc/self/status)"
echo "new privs    $(sed -n 's/^NoNewPrivs:\s*//p' /proc/self/status) (1: none can be gained)"
echo "root         $(ls / | tr '\n' ' ')"
touch /not-allowed 2>&1
echo "bye"
"#;

/// How long a container may take from one status to the next.
const PATIENCE: Duration = Duration::from_secs(10);

/// The ids, unlikely to be anyone else's.
const LONG: &str = "xtask-demo-1";
const SHORT: &str = "xtask-demo-2";

/// Tells the story.
pub(crate) fn run() -> Outcome {
    steps::heading("packages");
    host::install(&host::Need::ALL)?;
    // The development profile: built in a fifth of the time that the release profile takes, and `cargo xtask test`
    // uses the same files. What runs inside the container (init) is built the same way for both.
    steps::heading("build (a minute or two, the first time)");
    steps::must(&mut cargo(&[
        "build",
        "--locked",
        "--package=runtime-cli",
        "--package=fixtures",
        "--bins",
    ]))?;
    let programs = programs("debug")?;
    let stage = Stage {
        runtime: programs.join("runtime"),
        scratch: Scratch::new("demo")?,
    };
    let result = stage.play(&programs);
    stage.clear();
    result.map(|()| true)
}

/// Where it happens.
struct Stage {
    runtime: PathBuf,
    scratch: Scratch,
}

impl Stage {
    fn play(&self, programs: &Path) -> Result<(), String> {
        println!("\nruntime is {}", self.runtime.display());
        steps::heading("two bundles: busybox, a test program and a config.json each");
        let (long, short) = (self.scratch.join("long"), self.scratch.join("short"));
        self.make(programs, &long, &["/bin/probe", "wait-signal"])?;
        self.make(programs, &short, &["/bin/sh", "-c", SCRIPT])?;

        steps::heading(
            "a container step by step; its program says \"ready\" and the name of the signal that it gets",
        );
        self.must(&["create", "--bundle", &text(&long), LONG])?;
        self.must(&["state", LONG])?;
        self.must(&["start", LONG])?;
        // The program blocks signals first and says "ready" afterwards; a signal before that would just end it.
        std::thread::sleep(Duration::from_millis(200));
        self.must(&["state", LONG])?;
        self.must(&["kill", LONG, "TERM"])?;
        self.wait_for_stop()?;
        self.must(&["state", LONG])?;
        self.must(&["delete", LONG])?;

        steps::heading("a container in one command; what follows is its own output");
        self.must(&["run", "--bundle", &text(&short), SHORT])
    }

    fn make(&self, programs: &Path, dir: &Path, args: &[&str]) -> Result<(), String> {
        let made = bundle::make(programs, dir, args);
        let mut command = host::as_root(&text(made.get_program().as_ref()))?;
        command.args(made.get_args());
        // The script has many lines, they would hide the command.
        let shown = steps::show(&command);
        let mut lines = shown.lines();
        let first = lines.next().unwrap_or_default();
        println!("$ {first}{}", if lines.next().is_some() { "...'" } else { "" });
        let status = command.status().map_err(|error| format!("{shown}: {error}"))?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("{shown} ended with {status}")),
        }
    }

    /// A command line of the runtime, with a state folder of its own.
    fn command(&self, arguments: &[&str]) -> Result<Command, String> {
        let mut command = host::as_root(&text(&self.runtime))?;
        command
            .arg("--root")
            .arg(self.scratch.join("state"))
            .args(arguments);
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Shows the command by the program's name alone and runs it.
    fn must(&self, arguments: &[&str]) -> Result<(), String> {
        let mut command = self.command(arguments)?;
        let shown = steps::show(&command).replace(&text(&self.runtime), "runtime");
        println!("$ {shown}");
        let status = command.status().map_err(|error| format!("{shown}: {error}"))?;
        if arguments.first() == Some(&"state") {
            // Its JSON ends without a line feed, as runc's does.
            println!();
        }
        match status.success() {
            true => Ok(()),
            false => Err(format!("{shown} ended with {status}")),
        }
    }

    fn status(&self) -> Result<String, String> {
        let output = self.command(&["state", LONG])?.output();
        let output = output.map_err(|error| format!("cannot run {}: {error}", self.runtime.display()))?;
        let state: serde_json::Value =
            serde_json::from_slice(&output.stdout).map_err(|error| format!("state is not JSON: {error}"))?;
        Ok(state["status"].as_str().unwrap_or("none").to_owned())
    }

    fn wait_for_stop(&self) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        while self.status()? != "stopped" {
            if Instant::now() > end {
                return Err(format!(
                    "{LONG} is not stopped {} s after SIGTERM",
                    PATIENCE.as_secs()
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Deletes what a failure may have left, and the folder, which may hold files of root.
    fn clear(self) {
        for id in [LONG, SHORT] {
            if !self.scratch.join("state").join(id).exists() {
                continue;
            }
            if let Ok(mut command) = self.command(&["delete", "--force", id]) {
                // The failure that led here is what is reported.
                let _ = command.status();
            }
        }
        if host::is_root() {
            return;
        }
        if let Ok(mut command) = host::as_root("rm") {
            // The drop of the folder says what could not be removed.
            let _ = command.args(["-r", "-f"]).arg(self.scratch.path()).status();
        }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
