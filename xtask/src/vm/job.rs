//! One command in a guest: folders to mount, the command, its output and its status.
//!
//! Lives here: the host's half of the talk with `guest/agent.sh`. Output and status come over three ports; a random mark at
//! the end of each stream of output tells that nothing of it is missing.

use super::machine::{From, Machine};
use super::{Layout, Trouble, Who, image, template};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The guest has 10 s to send what is left of the output after it sent the status.
const REST: Duration = Duration::from_secs(10);

/// What is to be done.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) layout: Layout,
    pub(super) who: Who,
    /// Read-only folders, mounted in this order; the first is the working directory.
    pub(super) shares: Vec<Share>,
    pub(super) command: Vec<String>,
    pub(super) limit: Duration,
}

/// A folder of the host, and where the guest sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) host: PathBuf,
    pub(super) guest: PathBuf,
}

impl Share {
    /// At the same path.
    pub(super) fn same(folder: PathBuf) -> Share {
        Share {
            guest: folder.clone(),
            host: folder,
        }
    }
}

/// How it came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Exit(u8),
    TimedOut,
}

impl Job {
    /// Runs it; `output` gets the standard output, the standard error goes to ours.
    ///
    /// # Errors
    /// There is no guest to be had, or it ended before the job did.
    pub(super) fn run(&self, output: &mut (dyn FnMut(&[u8]) + Send)) -> Result<End, Trouble> {
        let image = image::image(self.layout.suite())?;
        let template = template::template(&image, self.layout)?;
        let folders: Vec<PathBuf> = self.shares.iter().map(|share| share.host.clone()).collect();
        let mut machine = Machine::start(&image, self.layout, &From::Template(&template), &folders)?;
        let mark = mark()?;
        machine.control.write_all(self.scripts(&mark).as_bytes())?;
        let (mut out, mut err) = (machine.output.try_clone()?, machine.errors.try_clone()?);
        let mut errors = |bytes: &[u8]| {
            let _ = std::io::stderr().write_all(bytes);
        };
        std::thread::scope(|scope| {
            let readers = [
                scope.spawn(|| copy(&mut out, mark.as_bytes(), output)),
                scope.spawn(|| copy(&mut err, mark.as_bytes(), &mut errors)),
            ];
            let end = self.status(&mut machine);
            let deadline = Instant::now() + REST;
            while readers.iter().any(|reader| !reader.is_finished())
                && matches!(end, Ok(End::Exit(_)))
                && Instant::now() < deadline
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            if end.is_err() {
                eprintln!("-- the end of the guest's console:\n{}", machine.console(40));
            }
            // Whoever still reads comes to the end now.
            machine.stop();
            end
        })
    }

    /// Waits for the line with the status.
    fn status(&self, machine: &mut Machine) -> Result<End, Trouble> {
        let deadline = Instant::now() + self.limit;
        let mut text = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(End::TimedOut);
            }
            machine.control.set_read_timeout(Some(left))?;
            let mut bytes = [0; 64];
            match machine.control.read(&mut bytes) {
                Ok(0) => return Err(Trouble::Broken("the guest ended before the job did".into())),
                Ok(length) => text.extend_from_slice(&bytes[..length]),
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error.into()),
            }
            if text.ends_with(b"\n") {
                return read_status(&String::from_utf8_lossy(&text));
            }
        }
    }

    /// Everything that the agent reads: a line, what root does before the job, the job.
    fn scripts(&self, mark: &str) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let mut setup = String::new();
        for (slot, share) in self.shares.iter().enumerate() {
            let folder = &share.guest;
            // The user has to get there, wherever it is (/root is closed). A share before this one is read-only, and has
            // the modes that it has.
            let before = self.shares.iter().take(slot);
            let above: Vec<String> = folder
                .ancestors()
                .skip(1)
                .filter(|path| !before.clone().any(|share| path.starts_with(&share.guest)))
                .map(|path| quoted(&path.to_string_lossy()))
                .collect();
            let folder = quoted(&folder.to_string_lossy());
            setup.push_str(&format!(
                "busybox mkdir -p {folder} && busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,ro,\
                 cache=loose share{slot} {folder} && busybox chmod o+x {} &&\n",
                above.join(" ")
            ));
        }
        setup.push_str("true");
        let mut command = "export LANG=C.UTF-8\n".to_owned();
        if self.who == Who::Root {
            command.push_str("export HOME=/root USER=root LOGNAME=root SHELL=/bin/bash\n");
        }
        let folder = self
            .shares
            .first()
            .map_or("/tmp".into(), |share| share.guest.to_string_lossy());
        command.push_str(&format!("cd {} || exit 125\nexec", quoted(&folder)));
        for word in &self.command {
            command.push(' ');
            command.push_str(&quoted(word));
        }
        format!(
            "{} {now} {mark}\n{setup}\n{mark}\n{command}\n{mark}\n",
            self.who.name()
        )
    }
}

fn read_status(line: &str) -> Result<End, Trouble> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["exit", status] => match status.parse() {
            Ok(status) => Ok(End::Exit(status)),
            Err(_) => Err(Trouble::Broken(format!("the guest told the status {status:?}"))),
        },
        ["exit", _, why, ..] => Err(Trouble::Broken(format!("the job's service ended with {why}"))),
        _ => Err(Trouble::Broken(format!("the guest said {line:?}"))),
    }
}

/// Passes a stream on until its mark.
fn copy(from: &mut impl Read, mark: &[u8], to: &mut (dyn FnMut(&[u8]) + Send)) {
    let mut held = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => held.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        }
        if held.ends_with(mark) {
            held.truncate(held.len() - mark.len());
            break;
        }
        // Its first part may have come.
        let keep = (1..mark.len().min(held.len() + 1))
            .rev()
            .find(|&n| held.ends_with(&mark[..n]))
            .unwrap_or(0);
        let rest = held.split_off(held.len() - keep);
        to(&held);
        held = rest;
    }
    to(&held);
}

fn mark() -> Result<String, Trouble> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_ends_at_its_mark() {
        for (stream, wanted) in [
            ("outMARK", "out"),
            ("MARK", ""),
            ("MAMARK", "MA"),
            ("no mark", "no mark"),
        ] {
            let mut got = Vec::new();
            // One byte at a time: the mark comes in parts.
            struct Slow<'a>(&'a [u8]);
            impl Read for Slow<'_> {
                fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                    let Some((first, rest)) = self.0.split_first() else {
                        return Ok(0);
                    };
                    buffer[0] = *first;
                    self.0 = rest;
                    Ok(1)
                }
            }
            copy(&mut Slow(stream.as_bytes()), b"MARK", &mut |bytes| {
                got.extend_from_slice(bytes)
            });
            assert_eq!(String::from_utf8(got).unwrap(), wanted);
        }
    }

    #[test]
    fn the_status_is_read() {
        assert_eq!(read_status("exit 7\n").unwrap(), End::Exit(7));
        for wrong in ["exit 125 oom-kill\n", "exit x\n", "ready\n"] {
            assert!(read_status(wrong).is_err());
        }
    }
}
