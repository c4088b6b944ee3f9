//! Lives by chance, in a program that embeds the library (the example `lives`), and what is left of them.

use super::Soak;
use crate::Outcome;
use crate::steps;
use crate::workspace::{cargo, programs};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Runs it: its own promises first, then what only somebody outside can see. With the checks of a development build: an
/// overflow ends a life as a broken promise.
pub(super) fn run(lives: usize, seed: Option<usize>) -> Outcome {
    steps::must(&mut cargo(&[
        "build",
        "--package",
        "runtime-core",
        "--example",
        "lives",
    ]))?;
    let program = programs("debug")?.join("examples/lives");
    let soak = Soak::new(PathBuf::from("unused"), false)?;
    let mut command = Command::new(&program);
    command
        .args(["--lives", &lives.to_string(), "--place"])
        .arg(soak.scratch.join(&soak.name))
        .stdin(Stdio::null());
    if let Some(seed) = seed {
        command.args(["--seed", &seed.to_string()]);
    }
    let child = command
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let kept = ended(child.id())?;
    Ok(soak.is_clean() && kept)
}

/// Waits for the program, and buries the orphans that fall to this process meanwhile: there are too many to keep.
fn ended(pid: u32) -> Result<bool, String> {
    let program = i32::try_from(pid).map(Pid::from_raw).ok();
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(who, code)) if Some(who) == program => return Ok(code == 0),
            Ok(WaitStatus::Signaled(who, signal, _)) if Some(who) == program => {
                return Err(format!("lives ended by {signal}"));
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(format!("waitpid: {errno}")),
        }
    }
}
