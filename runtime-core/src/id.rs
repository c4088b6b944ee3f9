//! Container ids and signals: the two things that callers hand in as text, parsed once, at the border.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// The longest id that is accepted, in bytes.
const MAX_ID_LEN: usize = 1024;

/// A valid container id: `[A-Za-z0-9_+.-]`, neither `.` nor `..`, at most 1024 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "container id cannot be empty",
            ));
        }
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_+.-".contains(&byte);
        if text == "." || text == ".." || text.len() > MAX_ID_LEN || !text.bytes().all(legal) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "invalid container ID format: {:?}",
                    text.chars().take(80).collect::<String>()
                ),
            )
            .with_hint("letters, digits, '_', '+', '-' and '.' are allowed, at most 1024 of them"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ContainerId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A signal number that the kernel knows: 1 to 64, or 0, which tests whether a process is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(i32);

impl Signal {
    /// SIGKILL.
    pub const KILL: Self = Self(libc::SIGKILL);
    /// SIGTERM.
    pub const TERM: Self = Self(libc::SIGTERM);

    /// The signal of this number, 0 to 64; None for others.
    pub fn from_number(number: i32) -> Option<Self> {
        (0..=64).contains(&number).then_some(Self(number))
    }

    /// The signal's number.
    pub fn number(self) -> i32 {
        self.0
    }
}

/// Names without SIG and their numbers, aliases included.
const NAMES: &[(&str, i32)] = &[
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
    ("UNUSED", libc::SIGSYS),
];

/// A number, or a name in any case, with or without SIG; also RTMIN, RTMIN+n, RTMAX and RTMAX-n.
impl FromStr for Signal {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || Error::new(ErrorKind::InvalidArgument, format!("unknown signal {text:?}"));
        if text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_digit() || byte == b'-')
        {
            return text.parse().ok().and_then(Self::from_number).ok_or_else(unknown);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let real_time = || -> Option<i32> {
            match name {
                "RTMIN" => Some(34),
                "RTMAX" => Some(64),
                _ => {
                    if let Some(up) = name.strip_prefix("RTMIN+") {
                        up.parse::<u8>()
                            .ok()
                            .map(|up| 34 + i32::from(up))
                            .filter(|number| *number <= 64)
                    } else {
                        let down = name.strip_prefix("RTMAX-")?.parse::<u8>().ok()?;
                        Some(64 - i32::from(down)).filter(|number| *number >= 34)
                    }
                }
            }
        };
        NAMES
            .iter()
            .find_map(|(known, number)| (*known == name).then_some(*number))
            .or_else(real_time)
            .map(Self)
            .ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked_at_the_border() {
        for good in ["a", "A_b+c.d-1", "0", ".a"] {
            assert!(good.parse::<ContainerId>().is_ok(), "{good}");
        }
        let long = "x".repeat(1025);
        for bad in ["", ".", "..", "a/b", "a b", "é", "a\n", long.as_str()] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("sigkill", 9),
            ("SigTerm", 15),
            ("rtmin", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(
                text.parse::<Signal>().map(Signal::number).ok(),
                Some(number),
                "{text}"
            );
        }
        for bad in ["", "65", "-1", "FOO", "SIG", "RTMIN+31", "9x"] {
            assert!(bad.parse::<Signal>().is_err(), "{bad}");
        }
    }
}
