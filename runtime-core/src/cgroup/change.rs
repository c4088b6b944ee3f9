//! Changes limits of a running container so that they can be taken back.
//!
//! Before each write the file is read; what it held is turned into what has to be written to get it again. That is pure
//! and one function ([`former`]), because files show values in another form than they take them: a list of devices, a
//! word before the number, a number for "none". Nothing here knows which limit a file is for beyond that form, and
//! creating a container does not come by: a cgroup that is made for it has nothing to go back to.

use rustix::io::Errno;

use super::dir;
use super::fs::{Cgroup, Group};
use super::limits::{Absent, Version, Write};
use crate::error::{Error, Result};

/// Limits that were changed, and how to take that back.
#[derive(Debug)]
pub struct Change<'a> {
    olds: Vec<Old<'a>>,
}

/// What a file held before a write.
#[derive(Debug)]
pub(super) struct Old<'a> {
    group: &'a Group,
    file: &'a str,
    /// What to write to have it again; None: there is nothing that could be written.
    lines: Option<Vec<String>>,
}

impl Cgroup {
    /// Writes the limits, in their order, and remembers what was there before.
    ///
    /// # Errors
    /// As [`Cgroup::apply`]; what was written before the failed one has been taken back then, the last first. What could
    /// not be is named.
    pub fn change<'a>(&'a self, writes: &'a [Write]) -> Result<Change<'a>> {
        let mut change = Change { olds: Vec::new() };
        match self.write_all(writes, Some(&mut change.olds)) {
            Ok(()) => Ok(change),
            Err(error) => Err(change.undo_for(error)),
        }
    }
}

impl Change<'_> {
    /// Takes everything back, the last first; gives the files that it was not possible for.
    pub fn undo(self) -> Vec<String> {
        let mut left = Vec::new();
        for old in self.olds.iter().rev() {
            if old.put_back().is_err() {
                left.push(old.file.to_owned());
            }
        }
        left.dedup();
        left
    }

    /// Takes everything back because of `error`, which learns what could not be.
    pub fn undo_for(self, error: Error) -> Error {
        let left = self.undo();
        if left.is_empty() {
            return error;
        }
        error.context(format!(
            "partly changed, {} could not be set back",
            left.join(", ")
        ))
    }
}

impl Old<'_> {
    fn put_back(&self) -> Result<(), Errno> {
        let lines = self.lines.as_ref().ok_or(Errno::INVAL)?;
        let fd = self.group.fd()?;
        lines.iter().try_for_each(|line| dir::write(fd, self.file, line))
    }
}

impl Group {
    /// What has to be known to take `write` back; None, where it goes to no file.
    pub(super) fn remember<'a>(&'a self, write: &'a Write) -> Option<Old<'a>> {
        let fd = self.fd().ok()?;
        let mut file = write.file.as_str();
        let mut value = write.value.as_str();
        let mut content = dir::read(fd, file);
        if content == Err(Errno::NOENT) && write.version == Version::V2 {
            // An update may want a controller that create did not. It stays handed down, with the kernel's defaults.
            self.hand_down(&write.controller);
            content = dir::read(fd, file);
        }
        if content == Err(Errno::NOENT) {
            match &write.absent {
                Absent::Instead {
                    file: other,
                    value: for_other,
                } => {
                    (file, value) = (other, for_other);
                    content = dir::read(fd, file);
                }
                Absent::Skip => return None,
                Absent::Fail => {}
            }
        }
        let lines = content.ok().and_then(|content| former(file, value, &content));
        Some(Old {
            group: self,
            file,
            lines,
        })
    }
}

/// What to write into `file` so that it shows `content` again, after `value` was written into it.
fn former(file: &str, value: &str, content: &str) -> Option<Vec<String>> {
    if file == "memory.oom_control" {
        let found = content
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill_disable "))?;
        return Some(vec![found.trim().to_owned()]);
    }
    let keyed: Vec<&str> = value.lines().filter_map(key).collect();
    if !keyed.is_empty() {
        return keyed
            .into_iter()
            .map(|key| former_entry(file, key, content))
            .collect();
    }
    let content = content.trim_end();
    // io.weight and io.bfq.weight show "default 100" before the lines of devices.
    if let Some(line) = content.lines().find(|line| line.starts_with("default ")) {
        return Some(vec![line.to_owned()]);
    }
    match content.lines().count() {
        // An empty list of CPUs: the kernel takes no write of nothing.
        0 => Some(vec!["\n".to_owned()]),
        1 => Some(vec![content.to_owned()]),
        _ => None,
    }
}

/// The entry that a written line is about: a device (`8:0`), an interface, the name of an RDMA device.
fn key(line: &str) -> Option<&str> {
    let (key, rest) = line.split_once(' ')?;
    let is_device = key.split_once(':').is_some_and(|(major, minor)| {
        !major.is_empty()
            && !minor.is_empty()
            && [major, minor]
                .iter()
                .all(|n| n.bytes().all(|b| b.is_ascii_digit()))
    });
    // "50000 100000" (cpu.max) and "default 100" have no entry.
    let is_name = key != "default"
        && !key.starts_with(|c: char| c.is_ascii_digit())
        && key != "max"
        && !rest.is_empty();
    (is_device || is_name).then_some(key)
}

/// The line of an entry as it was; where there was none, the one that stands for "no limit".
fn former_entry(file: &str, key: &str, content: &str) -> Option<String> {
    let is_it = |line: &&str| line.split_ascii_whitespace().next() == Some(key);
    if let Some(line) = content.lines().find(is_it) {
        return Some(line.trim_end().to_owned());
    }
    let nothing = match file {
        "io.max" => "rbps=max wbps=max riops=max wiops=max",
        "rdma.max" => "hca_handle=max hca_object=max",
        "net_prio.ifpriomap" => "0",
        "misc.max" => "max",
        _ if file.starts_with("blkio.throttle.") => "0",
        _ if file.ends_with("weight") || file.ends_with("weight_device") => "default",
        _ => return None,
    };
    Some(format!("{key} {nothing}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(file: &str, value: &str, content: &str) -> Option<String> {
        former(file, value, content).map(|lines| lines.join("|"))
    }

    #[test]
    fn a_file_with_one_value_gets_it_again() {
        for (file, value, content, expected) in [
            (
                "memory.limit_in_bytes",
                "1",
                "9223372036854771712\n",
                "9223372036854771712",
            ),
            ("pids.max", "7", "max\n", "max"),
            ("cpu.cfs_quota_us", "7", "-1\n", "-1"),
            ("cpu.max", "1000 100000", "max 100000\n", "max 100000"),
            ("cpuset.cpus", "0", "0-3,7\n", "0-3,7"),
            ("cpuset.cpus", "0", "\n", "\n"),
            (
                "memory.oom_control",
                "1",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
                "0",
            ),
            ("io.weight", "50", "default 100\n8:0 20\n", "default 100"),
            ("io.bfq.weight", "50", "default 100\n", "default 100"),
        ] {
            assert_eq!(one(file, value, content).as_deref(), Some(expected), "{file}");
        }
    }

    #[test]
    fn an_entry_of_a_list_gets_its_line_or_no_limit() {
        for (file, value, content, expected) in [
            (
                "blkio.throttle.read_bps_device",
                "8:0 5",
                "8:16 9\n8:0 7\n",
                "8:0 7",
            ),
            ("blkio.throttle.read_bps_device", "8:0 5", "\n", "8:0 0"),
            ("blkio.bfq.weight_device", "8:0 5", "", "8:0 default"),
            ("io.bfq.weight", "8:0 5", "default 100\n", "8:0 default"),
            (
                "io.max",
                "8:0 rbps=5",
                "8:0 rbps=max wbps=3 riops=max wiops=max\n",
                "8:0 rbps=max wbps=3 riops=max wiops=max",
            ),
            (
                "io.max",
                "8:0 rbps=5",
                "",
                "8:0 rbps=max wbps=max riops=max wiops=max",
            ),
            (
                "io.max",
                "8:0 riops=1\n8:16 riops=2\n",
                "8:16 rbps=9 wbps=max riops=max wiops=max\n",
                "8:0 rbps=max wbps=max riops=max wiops=max|8:16 rbps=9 wbps=max riops=max wiops=max",
            ),
            (
                "rdma.max",
                "mlx5_1 hca_handle=3",
                "mlx4_0 hca_handle=1 hca_object=max\n",
                "mlx5_1 hca_handle=max hca_object=max",
            ),
            ("net_prio.ifpriomap", "eth0 5", "lo 0\neth0 3\n", "eth0 3"),
        ] {
            assert_eq!(
                one(file, value, content).as_deref(),
                Some(expected),
                "{file} {value:?}"
            );
        }
    }

    #[test]
    fn what_has_no_way_back_says_so() {
        assert_eq!(one("io.latency", "8:0 target=5", ""), None);
        assert_eq!(one("cgroup.something", "1", "two\nlines\n"), None);
    }
}
