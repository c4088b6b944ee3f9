//! `cargo xtask vm`: a Debian guest with systemd and cgroup v2 under QEMU, and commands in it.
//!
//! Lives here: the command line, and the way from it to a status. [`image`] makes what is kept, [`initrd`] and [`archive`] its first file system,
//! [`machine`] is a running QEMU, [`template`] a guest that has booted and waits, [`job`] one command in such a guest,
//! [`suite`] the project's tests as a job, [`inside`] its half in the guest. Must not live here: anything that the tests
//! themselves need.
//!
//! The emulation is QEMU's own (TCG): neither KVM nor a host privilege is needed, and everything is 10 to 40 times slower
//! than outside. A guest that has booted is kept with its memory, which later runs map copy-on-write: they begin within
//! a second. Nothing that a job does outlives it.

mod archive;
pub(crate) mod image;
mod initrd;
pub(crate) mod inside;
mod job;
mod machine;
pub(crate) mod suite;
mod template;

use crate::host;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// For a command, unless it is told.
const TIME_LIMIT: Duration = Duration::from_secs(3600);
/// As `timeout` ends.
const TIMED_OUT: u8 = 124;
/// The guest or the test bed failed, as opposed to the command.
const BROKEN: u8 = 125;

/// Why there is no status of the command.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The host has not what it takes.
    Absent(String),
    /// The test bed or the guest failed.
    Broken(String),
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Trouble {
        Trouble::Broken(format!("the test bed's own files: {error}"))
    }
}

/// The Debian release of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Suite {
    Bookworm,
    Trixie,
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Suite::Bookworm => "bookworm",
            Suite::Trixie => "trixie",
        }
    }
}

/// The cgroup hierarchies of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Version 2 alone.
    Unified,
    /// The controllers in hierarchies of version 1, systemd's names in version 2.
    Hybrid,
}

impl Layout {
    /// Debian 13's kernel has no memory and cpuset controllers of version 1 any more.
    fn suite(self) -> Suite {
        match self {
            Layout::Unified => Suite::Trixie,
            Layout::Hybrid => Suite::Bookworm,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Layout::Unified => "v2",
            Layout::Hybrid => "hybrid",
        }
    }
}

/// Who runs in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// root, in a service of the system.
    Root,
    /// The user `tester`, in a service of its own manager.
    User,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Who::Root => "root",
            Who::User => "user",
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    who: Who,
    layout: Layout,
    limit: Option<Duration>,
    shares: Vec<PathBuf>,
    command: Vec<String>,
}

/// The whole command; the status is that of the command in the guest.
pub(crate) fn run(words: &[&str]) -> ExitCode {
    let done = options(words).and_then(|options| {
        require().map_err(|trouble| trouble.to_string())?;
        if options.command.is_empty() {
            return suite::alone(options.layout, options.who, options.limit)
                .map(u8::from)
                .map(|good| 1 - good);
        }
        one(&options).map_err(|trouble| trouble.to_string())
    });
    match done {
        Ok(status) => ExitCode::from(status),
        Err(message) => {
            eprintln!("xtask vm: {message}");
            ExitCode::from(BROKEN)
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Absent(text) | Trouble::Broken(text) => out.write_str(text),
        }
    }
}

fn one(options: &Options) -> Result<u8, Trouble> {
    let folders = std::iter::once(crate::workspace::root()).chain(options.shares.iter().cloned());
    let job = job::Job {
        layout: options.layout,
        who: options.who,
        shares: folders.map(job::Share::same).collect(),
        command: options.command.clone(),
        limit: options.limit.unwrap_or(TIME_LIMIT),
    };
    let status = job.run(&mut |bytes| {
        use std::io::Write;
        let mut out = std::io::stdout().lock();
        // Who closed our output does not want the rest.
        let _ = out.write_all(bytes).and_then(|()| out.flush());
    })?;
    match status {
        job::End::Exit(status) => Ok(status),
        job::End::TimedOut => {
            eprintln!("xtask vm: the command took longer than {} s", job.limit.as_secs());
            Ok(TIMED_OUT)
        }
    }
}

fn options(words: &[&str]) -> Result<Options, String> {
    let mut options = Options {
        who: Who::Root,
        layout: Layout::Unified,
        limit: None,
        shares: Vec::new(),
        command: Vec::new(),
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match *word {
            "--user" => options.who = Who::User,
            "--cgroup" => {
                options.layout = match *value()? {
                    "v2" => Layout::Unified,
                    "hybrid" => Layout::Hybrid,
                    other => return Err(format!("--cgroup {other:?} is not v2 or hybrid")),
                };
            }
            "--time-limit" => {
                let given = value()?;
                let seconds = given.parse().ok().filter(|seconds| *seconds > 0);
                let seconds =
                    seconds.ok_or(format!("--time-limit {given:?} is no number of seconds above 0"))?;
                options.limit = Some(Duration::from_secs(seconds));
            }
            "--share" => {
                let folder = PathBuf::from(value()?);
                let folder = folder
                    .canonicalize()
                    .ok()
                    .filter(|folder| folder.is_dir())
                    .ok_or(format!("--share {}: no such folder", folder.display()))?;
                options.shares.push(folder);
            }
            "--" => {
                options.command = words.by_ref().map(|word| (*word).to_owned()).collect();
                if options.command.is_empty() {
                    return Err("no command after --".to_owned());
                }
            }
            other => {
                return Err(format!(
                    "{other:?} is not --user, --cgroup, --share, --time-limit or -- COMMAND"
                ));
            }
        }
    }
    if options.shares.len() >= machine::SHARES {
        return Err(format!("at most {} folders can be shared", machine::SHARES - 1));
    }
    if options.command.is_empty() && !options.shares.is_empty() {
        return Err("--share goes with a COMMAND".to_owned());
    }
    Ok(options)
}

/// What the test bed needs of the host, installed where that can be done.
pub(crate) fn require() -> Result<(), Trouble> {
    if std::env::consts::ARCH != "x86_64" {
        return Err(Trouble::Absent(format!(
            "the guest is of x86_64, this host is {}",
            std::env::consts::ARCH
        )));
    }
    host::install(&host::Need::VM).map_err(Trouble::Absent)?;
    if !host::is_root() && !host::on_path("fakeroot") {
        return Err(Trouble::Absent(
            "who is not root needs fakeroot to pack the image".to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_refused() {
        let read = options(&[
            "--user",
            "--cgroup",
            "hybrid",
            "--time-limit",
            "7",
            "--",
            "id",
            "-u",
        ])
        .unwrap();
        assert_eq!((read.who, read.layout), (Who::User, Layout::Hybrid));
        assert_eq!(read.limit, Some(Duration::from_secs(7)));
        assert_eq!(read.command, ["id", "-u"]);
        assert!(options(&[]).unwrap().command.is_empty());
        for wrong in [
            &["--"][..],
            &["id"],
            &["--cgroup", "v1"],
            &["--time-limit", "0"],
            &["--share", "/nowhere", "--", "id"],
            &["--share", "/tmp"],
        ] {
            assert!(options(wrong).is_err(), "{wrong:?}");
        }
    }
}
