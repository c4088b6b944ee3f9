//! The statistics files of one cgroup: read, and taken apart by their form.
//!
//! The kernel documents four forms: one number, lines of a key and a number, lines of a key and several `name=number`,
//! and lists like `0-3,7`. A file that is not there, a group that is gone in between and a form of pressure that is turned
//! off (EOPNOTSUPP) are nothing; a line that is not of the form is an error, for a wrong number is worse than none.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::{Pressure, PressureTimes};
use crate::cgroup::dir;
use crate::cgroup::fs::Group;
use crate::error::{Error, ErrorKind, Result};
use crate::spec::numbers;

/// The files of one group.
pub(super) struct Files<'a> {
    group: &'a Group,
    fd: BorrowedFd<'a>,
}

impl<'a> Files<'a> {
    /// None where the group is gone.
    pub(super) fn of(group: &'a Group) -> Result<Option<Self>> {
        match group.fd() {
            Ok(fd) => Ok(Some(Self { group, fd })),
            Err(errno) if dir::is_gone(errno) => Ok(None),
            Err(errno) => Err(group.os_error("openat2", "", errno)),
        }
    }

    /// The names of all files.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        match dir::files(self.fd) {
            Err(errno) if !dir::is_gone(errno) => Err(self.group.os_error("getdents64", "", errno)),
            names => Ok(names.unwrap_or_default()),
        }
    }

    /// The text of a file.
    pub(super) fn text(&self, file: &str) -> Result<Option<String>> {
        match dir::read(self.fd, file) {
            Ok(text) => Ok(Some(text)),
            Err(errno) if dir::is_gone(errno) || errno == Errno::OPNOTSUPP => Ok(None),
            Err(errno) => Err(self.group.os_error("read", file, errno)),
        }
    }

    /// One number; `max` is the largest.
    pub(super) fn number(&self, file: &str) -> Result<Option<u64>> {
        let Some(text) = self.text(file)? else {
            return Ok(None);
        };
        match text.trim() {
            "max" => Ok(Some(u64::MAX)),
            number => number.parse().map(Some).map_err(|_| self.odd(file, &text)),
        }
    }

    /// One number, 0 where there is no file.
    pub(super) fn number_or_zero(&self, file: &str) -> Result<u64> {
        Ok(self.number(file)?.unwrap_or(0))
    }

    /// Lines of a key and a number.
    pub(super) fn pairs(&self, file: &str) -> Result<Vec<(String, u64)>> {
        let text = self.text(file)?.unwrap_or_default();
        text.lines()
            .map(|line| {
                let (key, number) = line.split_once(' ').ok_or_else(|| self.odd(file, line))?;
                let number = number.trim().parse().map_err(|_| self.odd(file, line))?;
                Ok((key.to_owned(), number))
            })
            .collect()
    }

    /// The number behind one key.
    pub(super) fn value_of(&self, file: &str, key: &str) -> Result<u64> {
        let pairs = self.pairs(file)?;
        Ok(pairs
            .iter()
            .find(|(name, _)| name == key)
            .map_or(0, |(_, number)| *number))
    }

    /// Numbers with blanks between them.
    pub(super) fn numbers(&self, file: &str) -> Result<Vec<u64>> {
        let text = self.text(file)?.unwrap_or_default();
        let numbers = text.split_ascii_whitespace().map(str::parse);
        numbers
            .collect::<Result<_, _>>()
            .map_err(|_| self.odd(file, &text))
    }

    /// A list of CPUs or nodes, each by its number.
    pub(super) fn list(&self, file: &str) -> Result<Vec<u16>> {
        let text = self.text(file)?.unwrap_or_default();
        let list = numbers::parse(text.trim(), 1 << 16).ok_or_else(|| self.odd(file, &text))?;
        Ok(list
            .into_iter()
            .filter_map(|number| u16::try_from(number).ok())
            .collect())
    }

    /// Pressure stall information.
    pub(super) fn pressure(&self, file: &str) -> Result<Option<Pressure>> {
        let Some(text) = self.text(file)? else {
            return Ok(None);
        };
        pressure(&text).map(Some).ok_or_else(|| self.odd(file, &text))
    }

    /// A line that is not of the file's form.
    pub(super) fn odd(&self, file: &str, found: &str) -> Error {
        let path = self.group.directory.path().join(file);
        let message = format!("{}: unexpected content {found:?}", path.display());
        Error::new(ErrorKind::System, message)
    }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and a line `full`, which not every kernel has for the processor.
pub(super) fn pressure(text: &str) -> Option<Pressure> {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let times = match words.next()? {
            "some" => &mut pressure.some,
            "full" => &mut pressure.full,
            _ => continue,
        };
        *times = times_of(words)?;
    }
    Some(pressure)
}

fn times_of<'a>(words: impl Iterator<Item = &'a str>) -> Option<PressureTimes> {
    let mut times = PressureTimes::default();
    for word in words {
        let (name, value) = word.split_once('=')?;
        match name {
            "avg10" => times.avg10 = value.parse().ok()?,
            "avg60" => times.avg60 = value.parse().ok()?,
            "avg300" => times.avg300 = value.parse().ok()?,
            "total" => times.total = value.parse().ok()?,
            _ => {}
        }
    }
    Some(times)
}
