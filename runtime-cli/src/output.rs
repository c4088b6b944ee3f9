//! What the program says: log lines in runc's two formats, the final error, tables.
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
use std::path::Path;
use std::time::SystemTime;

use runtime_core::time::to_the_second;
use runtime_core::{Error, State};

use crate::args::Matches;
use crate::fail::Failure;

/// The longest value in a log line, in bytes.
const MAX_VALUE: usize = 4096;

/// Where and how events are written.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<File>,
    json: bool,
    debug: bool,
    /// Warnings that wait for the command's end, in JSON only.
    held: RefCell<Vec<String>>,
}

impl Log {
    /// The log to standard error: for complaints about the log options themselves.
    pub(crate) fn plain() -> Self {
        Self {
            file: None,
            json: false,
            debug: false,
            held: RefCell::default(),
        }
    }

    /// The log that the global options describe.
    pub(crate) fn open(globals: &Matches) -> runtime_core::Result<Self> {
        let debug = globals.has("debug");
        let json = match globals.text("log-format")? {
            None | Some("text") => false,
            Some("json") => true,
            Some(other) => {
                let message = format!("invalid log-format: {other} (allowed: text, json)");
                return Err(Error::new(runtime_core::ErrorKind::InvalidArgument, message));
            }
        };
        let file = globals.path("log").map(|path| open(&path)).transpose()?;
        Ok(Self {
            file,
            json,
            debug,
            held: RefCell::default(),
        })
    }

    /// Whether anybody reads debug events.
    pub(crate) fn is_debug(&self) -> bool {
        self.debug
    }

    /// Something that happened, for who debugs.
    pub(crate) fn debug(&self, message: Arguments<'_>) {
        if self.debug {
            self.line("debug", &message.to_string(), &[]);
        }
    }

    /// Something that the caller should look at although the work goes on.
    pub(crate) fn warn(&self, message: Arguments<'_>) {
        let message = message.to_string();
        if self.json && !self.debug {
            self.held.borrow_mut().push(message);
        } else {
            self.line("warning", &message, &[]);
        }
    }

    /// Writes the warnings that were held back: the command went well.
    pub(crate) fn finish(&self) {
        for message in self.held.take() {
            self.line("warning", &message, &[]);
        }
    }

    /// The last line of a failed command. With a log file the bare message is on standard error too, as in runc.
    pub(crate) fn fatal(&self, failure: &Failure) {
        let message = failure.message();
        let error = &failure.error;
        let errno = error.errno().map(|errno| errno.to_string());
        let mut keys = Vec::new();
        if self.json {
            keys.extend(error.field().map(|field| ("field", field)));
            keys.extend(error.step().map(|step| ("step", step)));
            keys.extend(error.call().map(|call| ("syscall", call)));
            keys.extend(errno.as_deref().map(|errno| ("errno", errno)));
        }
        keys.extend(error.hint().map(|hint| ("hint", hint)));
        let warnings = self.held.take();
        keys.extend(warnings.iter().map(|warning| ("warning", warning.as_str())));
        if failure.bare.is_none() || self.file.is_some() {
            self.line("error", &message, &keys);
        }
        if failure.bare.is_some() || self.file.is_some() {
            let mut text = String::new();
            escape(&mut text, &message, false);
            text.push('\n');
            err(&text);
        }
    }

    /// Writes one line by one write(2), so that lines of several processes do not mix.
    fn line(&self, level: &str, message: &str, keys: &[(&str, &str)]) {
        let time = to_the_second(SystemTime::now());
        let line = if self.json {
            json_line(level, message, &time, keys)
        } else {
            text_line(level, message, &time, keys)
        };
        match &self.file {
            // A full disk must not turn a working container into a failed one.
            Some(file) => drop((&*file).write_all(line.as_bytes())),
            None => err(&line),
        }
    }
}

fn open(path: &Path) -> runtime_core::Result<File> {
    // runc adds O_SYNC; a page in the cache outlives this process too, and syncing costs milliseconds on a disk.
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .open(path)
        .map_err(|error| Error::os(format!("open({path:?}, O_WRONLY|O_CREAT|O_APPEND, 0644)"), error))
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

/// The text without control characters, cut in the middle when it is long: the cause is at its end.
fn escape(line: &mut String, text: &str, quoted: bool) {
    let cut = text.len() > MAX_VALUE;
    let head = if cut {
        text.floor_char_boundary(MAX_VALUE * 3 / 4)
    } else {
        text.len()
    };
    let tail = if cut {
        text.ceil_char_boundary(text.len() - MAX_VALUE / 8)
    } else {
        text.len()
    };
    let shortened = [&text[..head], if cut { " [...] " } else { "" }, &text[tail..]];
    for char in shortened.into_iter().flat_map(str::chars) {
        match char {
            '"' | '\\' if quoted => line.extend(['\\', char]),
            '\n' => line.push_str("\\n"),
            '\t' => line.push_str("\\t"),
            char if char.is_control() => {
                let _ = write!(line, "\\u{:04x}", u32::from(char));
            }
            char => line.push(char),
        }
    }
}

/// The table of `list`: columns at least 12 wide, 3 spaces between them, the last one not padded.
pub(crate) fn table(states: &[State]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let cells = states.iter().map(|state| {
        let plain = |text: &str| {
            let mut cell = String::new();
            escape(&mut cell, text, false);
            cell
        };
        let status = state.status.as_str().to_owned();
        [
            plain(&state.id),
            state.pid.to_string(),
            status,
            plain(&state.bundle),
            plain(&state.created),
            plain(&state.owner),
        ]
    });
    let rows: Vec<[String; 6]> = [head].into_iter().chain(cells).collect();
    let width = |column: usize| {
        let widest = rows
            .iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0);
        (widest + 3).max(12)
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(text, "{cell:width$}");
        }
        text.push_str(&row[5]);
        text.push('\n');
    }
    text
}

/// Writes to standard output. Who closed it (`runtime list | head -1`) does not want more.
pub(crate) fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Writes to standard error; there is nowhere to report that this failed.
pub(crate) fn err(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
