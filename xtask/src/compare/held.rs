//! Callers that are not small, or whose host is not: `xtask held-caller [core=N] [resident=MIB] [mounts=COUNT:DIR]`.
//!
//! Lives here: both ends of such a process. It takes its memory or makes its mounts once, then starts one command for each
//! line that it reads and answers with the nanoseconds that it took. Mounts are made in a mount namespace of its own.

use super::sample::pin;
use crate::Outcome;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

/// The word that selects this.
pub(crate) const NAME: &str = "held-caller";
/// What it says when it is ready.
const READY: &str = "ready";
/// Between the words of an order. No id and no path of ours has it.
const BETWEEN: char = '\t';

/// The process: prepares itself as told, and follows orders until there are none.
///
/// # Errors
/// It cannot be prepared; a command cannot be run or fails.
pub(crate) fn serve(words: &[&str]) -> Outcome {
    let mut memory = Vec::new();
    for word in words {
        match word.split_once('=') {
            Some(("core", core)) => pin(core.parse().map_err(|_| format!("{core:?} is not a core"))?)?,
            Some(("resident", mib)) => {
                memory = touched(mib.parse().map_err(|_| format!("{mib:?} are no MiB"))?);
            }
            Some(("mounts", rest)) => {
                let (count, dir) = rest.split_once(':').ok_or("mounts=COUNT:DIR")?;
                let count = count.parse().map_err(|_| format!("{count:?} is no count"))?;
                many_mounts(count, Path::new(dir))?;
            }
            _ => return Err(format!("{NAME}: {word:?} is not understood")),
        }
    }
    println!("{READY}");
    for line in std::io::stdin().lines() {
        let line = line.map_err(|error| format!("orders: {error}"))?;
        println!("{}", obey(&line)?);
    }
    drop(std::hint::black_box(memory));
    Ok(true)
}

fn obey(line: &str) -> Result<u128, String> {
    let mut words = line.split(BETWEEN);
    let program = words.next().unwrap_or_default();
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null());
    let begin = Instant::now();
    let status = command.status().map_err(|error| format!("{program}: {error}"))?;
    let nanos = begin.elapsed().as_nanos();
    match status.success() {
        true => Ok(nanos),
        false => Err(format!("{line} ended with {status}")),
    }
}

/// Memory that is there: a page that was never written is none.
fn touched(mib: usize) -> Vec<u8> {
    let mut memory = vec![0u8; mib << 20];
    for page in memory.chunks_mut(4096) {
        if let Some(byte) = page.first_mut() {
            *byte = 1;
        }
    }
    memory
}

/// The folder bound on `count` folders in it, seen by this process and its children alone.
fn many_mounts(count: usize, dir: &Path) -> Result<(), String> {
    let nothing = None::<&str>;
    let wrong = |what: &str, errno| format!("{what}: {errno}");
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| wrong("unshare", errno))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing).map_err(|errno| wrong("make / private", errno))?;
    // Of a tmpfs, so that the folders go with the last user of the namespace.
    mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), nothing)
        .map_err(|errno| wrong("mount a tmpfs", errno))?;
    let source = dir.join("source");
    std::fs::create_dir(&source).map_err(|error| format!("{}: {error}", source.display()))?;
    for number in 0..count {
        let target = dir.join(number.to_string());
        std::fs::create_dir(&target).map_err(|error| format!("{}: {error}", target.display()))?;
        mount(Some(&source), &target, nothing, MsFlags::MS_BIND, nothing)
            .map_err(|errno| wrong("bind", errno))?;
    }
    Ok(())
}

/// Such a process, held; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Held {
    /// Starts `program` with these words and waits until it is ready.
    ///
    /// # Errors
    /// It cannot be started or does not get ready.
    pub(crate) fn start(program: &Path, words: &[String]) -> Result<Held, String> {
        let mut child = Command::new(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a process without pipes".to_owned());
        };
        let mut held = Held {
            child,
            orders: Some(orders),
            answers: BufReader::new(answers),
        };
        match held.answer()?.as_str() {
            READY => Ok(held),
            other => Err(format!("{} said {other:?}", program.display())),
        }
    }

    /// Gives one order and takes the nanoseconds that it took.
    ///
    /// # Errors
    /// It failed: what was wrong is on stderr.
    pub(crate) fn take(&mut self, words: &[&str]) -> Result<u64, String> {
        let line = words.join(&BETWEEN.to_string()) + "\n";
        let orders = self.orders.as_mut().ok_or("no orders are taken any more")?;
        orders
            .write_all(line.as_bytes())
            .and_then(|()| orders.flush())
            .map_err(|error| format!("order: {error}"))?;
        let answer = self.answer()?;
        answer.parse().map_err(|_| format!("{} failed", words.join(" ")))
    }

    fn answer(&mut self) -> Result<String, String> {
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .map_err(|error| format!("answer: {error}"))?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The end of the orders ends it.
        self.orders = None;
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_obeyed_and_failures_are_told() {
        assert!(obey("/bin/true").unwrap() > 0);
        assert!(obey("/bin/sh\t-c\texit 0").is_ok());
        assert!(obey("/bin/sh\t-c\texit 3").is_err());
        assert!(obey("/nonexistent/program").is_err());
    }

    #[test]
    fn a_held_process_answers_until_it_is_let_go() {
        // A shell in its place: ready, then a number for each line.
        let words = [
            "-c".to_owned(),
            "echo ready; while read x; do echo 7; done".to_owned(),
        ];
        let mut held = Held::start(Path::new("/bin/sh"), &words).unwrap();
        assert_eq!(held.take(&["a", "b"]), Ok(7));
        assert_eq!(held.take(&["c"]), Ok(7));
        drop(held);
        assert!(Held::start(Path::new("/bin/true"), &[]).is_err());
    }

    #[test]
    fn memory_is_touched() {
        assert!(serve(&["resident=x"]).is_err());
        assert!(serve(&["mounts=1"]).is_err());
        assert!(serve(&["other=1"]).is_err());
        let memory = touched(1);
        assert_eq!((memory.len(), memory[4096]), (1 << 20, 1));
    }
}
