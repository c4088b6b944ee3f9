//! What tests of checkpoint and restore stand on: whether CRIU can work here, and calls without files of the host.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::{Place, end_of};

/// Lets CRIU by itself save a process that sleeps.
pub(crate) fn why_not() -> Option<String> {
    let version = match Command::new("criu").arg("--version").output() {
        Err(error) => return Some(format!("criu cannot be run: {error}")),
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().replace('\n', " "),
    };
    let dir = std::env::temp_dir().join(format!("rcli-criu-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder");
    let mut sleeper = Command::new("setsid");
    let null = || Stdio::null();
    sleeper
        .args(["sleep", "100"])
        .stdin(null())
        .stdout(null())
        .stderr(null());
    let mut child = sleeper.spawn().expect("setsid starts");
    std::thread::sleep(Duration::from_millis(100));
    let output = Command::new("criu")
        .args([
            "dump",
            "--leave-running",
            "--log-file",
            "log",
            "--tree",
            &child.id().to_string(),
        ])
        .arg("--images-dir")
        .arg(&dir)
        .output()
        .expect("criu starts");
    let _ = child.kill();
    let _ = child.wait();
    let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
    let _ = std::fs::remove_dir_all(&dir);
    if output.status.success() {
        return None;
    }
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("Error (")).collect();
    Some(format!(
        "criu ({version}) cannot save a process here: {}",
        errors.join("; ")
    ))
}

impl Place {
    /// A call whose container has the null device: a file of the host could not be saved.
    pub(crate) fn detached(&self, arguments: &[&str]) -> Output {
        let log = self.dir.join("log");
        let _ = std::fs::remove_file(&log);
        let mut line = vec!["--log", log.to_str().expect("UTF-8")];
        line.extend(arguments);
        let mut command = self.command(&line);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let status = end_of(command.spawn().expect("the program starts"));
        Output {
            status,
            stdout: Vec::new(),
            stderr: std::fs::read(&log).unwrap_or_default(),
        }
    }
}
