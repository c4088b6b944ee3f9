//! The log: lines in runc's two formats, to standard error, a file, the journal or syslog, and the final error.
//!
//! Three readers decide the form. containerd reads a stream of JSON objects and wants RFC 3339 times; podman reads the
//! whole file as *one* object, so a failed command writes exactly one JSON line and carries its warnings inside; runc's
//! tests compare whole outputs, so success is silent. Names and hook output come from strangers: control bytes are
//! escaped and long messages cut.

use std::cell::RefCell;
use std::fmt::{Arguments, Write as _};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::SystemTime;

use runtime_core::time::to_the_second;
use runtime_core::{Error, ErrorKind, Result};

use crate::args::Matches;
use crate::fail::Failure;
use crate::output::{err, escape};

/// How much an event matters; the numbers are those of syslog(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Error = 3,
    Warning = 4,
    Debug = 7,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Debug => "debug",
        }
    }
}

/// Where lines go.
#[derive(Debug)]
enum Sink {
    Stderr,
    File(File),
    /// The journal's socket, and the name under which entries stand there.
    Journal(UnixDatagram, String),
    /// The socket of syslog, likewise.
    Syslog(UnixDatagram, String),
}

/// Where and how events are written.
#[derive(Debug)]
pub(crate) struct Log {
    sink: Sink,
    json: bool,
    level: Level,
    /// Warnings that wait for the command's end, in JSON only.
    held: RefCell<Vec<String>>,
}

impl Log {
    /// The log to standard error: for complaints about the log options themselves.
    pub(crate) fn plain() -> Self {
        Self {
            sink: Sink::Stderr,
            json: false,
            level: Level::Warning,
            held: RefCell::default(),
        }
    }

    /// The log that the global options describe.
    pub(crate) fn open(globals: &Matches) -> Result<Self> {
        let levels = [
            ("error", Level::Error),
            ("warning", Level::Warning),
            ("debug", Level::Debug),
        ];
        let mut level = globals.choice("log-level", Level::Warning, &levels)?;
        if globals.has("debug") {
            level = Level::Debug;
        }
        let json = match globals.text("log-format")? {
            None | Some("text") => false,
            Some("json") => true,
            Some(other) => {
                let message = format!("invalid log-format: {other} (allowed: text, json)");
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
        };
        let sink = match globals.path("log") {
            Some(path) => Sink::open(&path)?,
            None => Sink::Stderr,
        };
        Ok(Self {
            sink,
            json,
            level,
            held: RefCell::default(),
        })
    }

    /// Whether anybody reads debug events.
    pub(crate) fn is_debug(&self) -> bool {
        self.level == Level::Debug
    }

    /// Something that happened, for who debugs.
    pub(crate) fn debug(&self, message: Arguments<'_>) {
        if self.is_debug() {
            self.line(Level::Debug, &message.to_string(), &[]);
        }
    }

    /// Something that the caller should look at although the work goes on.
    pub(crate) fn warn(&self, message: Arguments<'_>) {
        if self.level < Level::Warning {
            return;
        }
        let message = message.to_string();
        if self.json && !self.is_debug() {
            self.held.borrow_mut().push(message);
        } else {
            self.line(Level::Warning, &message, &[]);
        }
    }

    /// The same, with `aloud` on standard error as well where the log is elsewhere.
    pub(crate) fn warn_aloud(&self, message: Arguments<'_>, aloud: bool) {
        if aloud && !matches!(self.sink, Sink::Stderr) {
            let mut text = String::new();
            escape(&mut text, &message.to_string(), false);
            text.push('\n');
            err(&text);
        }
        self.warn(message);
    }

    /// Writes the warnings that were held back: the command went well.
    pub(crate) fn finish(&self) {
        for message in self.held.take() {
            self.line(Level::Warning, &message, &[]);
        }
    }

    /// The last line of a failed command. With a log elsewhere the bare message is on standard error too, as in runc.
    pub(crate) fn fatal(&self, failure: &Failure) {
        let message = failure.message();
        let error = &failure.error;
        let errno = error.errno().map(|errno| errno.to_string());
        let mut keys = Vec::new();
        if self.json || matches!(self.sink, Sink::Journal(..)) {
            keys.extend(error.field().map(|field| ("field", field)));
            keys.extend(error.step().map(|step| ("step", step)));
            keys.extend(error.call().map(|call| ("syscall", call)));
            keys.extend(errno.as_deref().map(|errno| ("errno", errno)));
        }
        keys.extend(error.hint().map(|hint| ("hint", hint)));
        let warnings = self.held.take();
        keys.extend(warnings.iter().map(|warning| ("warning", warning.as_str())));
        let elsewhere = !matches!(self.sink, Sink::Stderr);
        if failure.bare.is_none() || elsewhere {
            self.line(Level::Error, &message, &keys);
        }
        if failure.bare.is_some() || elsewhere {
            let mut text = String::new();
            escape(&mut text, &message, false);
            text.push('\n');
            err(&text);
        }
    }

    /// Writes one line by one write(2), so that lines of several processes do not mix. A full disk or a log daemon that
    /// is gone must not turn a working container into a failed one.
    fn line(&self, level: Level, message: &str, keys: &[(&str, &str)]) {
        let line = || {
            let time = to_the_second(SystemTime::now());
            if self.json {
                json_line(level.as_str(), message, &time, keys)
            } else {
                text_line(level.as_str(), message, &time, keys)
            }
        };
        match &self.sink {
            Sink::Stderr => err(&line()),
            Sink::File(file) => drop((&*file).write_all(line().as_bytes())),
            Sink::Journal(socket, name) => {
                drop(socket.send(journal_entry(level, message, keys, name).as_bytes()));
            }
            Sink::Syslog(socket, name) => {
                drop(socket.send(syslog_line(level, message, keys, name).as_bytes()));
            }
        }
    }
}

/// The journal's socket (systemd, "Native Journal Protocol").
const JOURNAL: &str = "/run/systemd/journal/socket";
/// The socket of syslog(3).
const SYSLOG: &str = "/dev/log";

impl Sink {
    /// `PATH` or, as crun has them, `file:PATH`, `journald:NAME` and `syslog:NAME`. A path that begins like one of these
    /// is written with a directory in front: `./journald:x`.
    fn open(typed: &Path) -> Result<Self> {
        let text = typed.to_str().unwrap_or_default();
        let named = |name: &str| if name.is_empty() { "runtime" } else { name }.to_owned();
        match text.split_once(':') {
            Some(("file", path)) => open(Path::new(path)).map(Self::File),
            Some(("journald", name)) => Ok(Self::Journal(connect(JOURNAL)?, named(name))),
            Some(("syslog", name)) => Ok(Self::Syslog(connect(SYSLOG)?, named(name))),
            _ => open(typed).map(Self::File),
        }
    }
}

fn connect(path: &str) -> Result<UnixDatagram> {
    let failed = |error| Error::os(format!("connect({path:?})"), error);
    let socket = UnixDatagram::unbound().map_err(failed)?;
    socket.connect(path).map_err(|error| {
        failed(error).with_hint("--log needs the log daemon to listen there, or the path of a file")
    })?;
    Ok(socket)
}

fn open(path: &Path) -> Result<File> {
    // runc adds O_SYNC; a page in the cache outlives this process too, and syncing costs milliseconds on a disk.
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .open(path)
        .map_err(|error| Error::os(format!("open({path:?}, O_WRONLY|O_CREAT|O_APPEND, 0644)"), error))
}

/// Fields of the journal: one `NAME=value` a line. A value holds no newline, because control bytes are escaped.
fn journal_entry(level: Level, message: &str, keys: &[(&str, &str)], name: &str) -> String {
    let mut entry = format!("PRIORITY={}\n", level as u8);
    for (key, value) in [("message", message), ("syslog_identifier", name)]
        .iter()
        .chain(keys)
    {
        let _ = write!(entry, "{}=", key.to_ascii_uppercase());
        escape(&mut entry, value, false);
        entry.push('\n');
    }
    entry
}

/// The form of syslog(3) with LOG_USER: the daemon adds the time.
fn syslog_line(level: Level, message: &str, keys: &[(&str, &str)], name: &str) -> String {
    const LOG_USER: u8 = 1 << 3;
    let mut line = format!("<{}>", LOG_USER | level as u8);
    escape(&mut line, name, false);
    let _ = write!(line, "[{}]: ", std::process::id());
    escape(&mut line, message, false);
    for (key, value) in keys {
        let _ = write!(line, " {key}=");
        quote(&mut line, value);
    }
    line
}

/// `level`, `msg`, `time` first: some readers look no further. Warnings of a failed command become one list.
fn json_line(level: &str, message: &str, time: &str, keys: &[(&str, &str)]) -> String {
    let mut line = format!("{{\"level\":\"{level}\",\"msg\":");
    quote(&mut line, message);
    let _ = write!(line, ",\"time\":\"{time}\"");
    for (key, value) in keys.iter().filter(|(key, _)| *key != "warning") {
        let _ = write!(line, ",\"{key}\":");
        if *key == "errno" {
            line.push_str(value)
        } else {
            quote(&mut line, value)
        }
    }
    let warnings: Vec<&str> = keys
        .iter()
        .filter(|(key, _)| *key == "warning")
        .map(|(_, value)| *value)
        .collect();
    for (position, warning) in warnings.iter().enumerate() {
        line.push_str(if position == 0 { ",\"warnings\":[" } else { "," });
        quote(&mut line, warning);
    }
    line.push_str(if warnings.is_empty() { "}\n" } else { "]}\n" });
    line
}

/// The form of logrus without a terminal.
fn text_line(level: &str, message: &str, time: &str, keys: &[(&str, &str)]) -> String {
    let mut line = format!("time=\"{time}\" level={level} msg=");
    quote(&mut line, message);
    for (key, value) in keys {
        let _ = write!(line, " {key}=");
        quote(&mut line, value);
    }
    line.push('\n');
    line
}

/// A string in double quotes that is right in JSON and, by chance, in logfmt.
fn quote(line: &mut String, text: &str) {
    line.push('"');
    escape(line, text, true);
    line.push('"');
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
