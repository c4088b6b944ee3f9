//! Puts the device rules in force: lines in version 1, a program on the group in version 2.
//!
//! The program of an update takes the place of the one before in one step and never comes on top of it: the kernel asks
//! every attached program and wants a yes from all, so an old one would go on denying. Afterwards the kernel is asked what
//! is attached: a filter that is not there is a container that opens every device.

use std::os::fd::{AsFd, BorrowedFd};

use super::program::{Instruction, program};
use super::{DeviceRules, FIELD};
use crate::cgroup::fs::{Cgroup, Group};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::bpf;

/// What became of the device rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceFilter {
    /// They hold.
    Applied,
    /// This caller cannot set them, and need not: without privileges over the host it cannot make nodes of devices either,
    /// and opens those that it may open anyway. The reason, for a warning.
    Skipped(String),
}

impl Cgroup {
    /// Sets the device rules in place of those that hold now. `rootless` is a caller without privileges over the host.
    ///
    /// # Errors
    /// The kernel refuses a rule or the program, or there is no way to have rules on this host.
    pub fn apply_devices(&self, rules: &DeviceRules, rootless: bool) -> Result<DeviceFilter> {
        let v1 = self
            .groups
            .iter()
            .any(|group| !group.is_unified() && group.has("devices"));
        let unified = self.groups.iter().find(|group| group.is_unified());
        let result = match unified {
            _ if v1 => self.apply(&rules.v1_writes()?),
            Some(group) => group.filter_devices(rules),
            None => {
                let message = "there is no cgroup to set device rules in";
                Err(Error::new(ErrorKind::Unsupported, message).with_field(FIELD))
            }
        };
        match result {
            Ok(()) => Ok(DeviceFilter::Applied),
            Err(error) if rootless || may_not(&error) && in_user_namespace() => {
                Ok(DeviceFilter::Skipped(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }
}

fn may_not(error: &Error) -> bool {
    matches!(error.errno(), Some(libc::EPERM | libc::EACCES))
}

/// user_namespaces(7): only the first namespace maps everything to itself.
fn in_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_ascii_whitespace().ne(["0", "0", "4294967295"]))
}

impl Group {
    fn filter_devices(&self, rules: &DeviceRules) -> Result<()> {
        let fd = self.fd().map_err(|errno| self.os_error("openat2", "", errno))?;
        let failed = |call: &str| {
            let call = format!("bpf({call}, {:?})", self.directory.path().display().to_string());
            move |error: std::io::Error| Error::os(call, error).with_field(FIELD)
        };
        let before = bpf::query(fd).map_err(failed("BPF_PROG_QUERY"))?;
        if rules.allow_everything() {
            return before
                .into_iter()
                .try_for_each(|id| detach(fd, id))
                .map_err(failed("BPF_PROG_DETACH"));
        }
        let code: Vec<u64> = program(rules).into_iter().map(Instruction::encode).collect();
        let program = bpf::load(&code).map_err(failed("BPF_PROG_LOAD"))?;
        match before.as_slice() {
            [] => bpf::attach(fd, program.as_fd(), None).map_err(failed("BPF_PROG_ATTACH"))?,
            [only] => {
                let old = bpf::by_id(*only).map_err(failed("BPF_PROG_GET_FD_BY_ID"))?;
                bpf::attach(fd, program.as_fd(), Some(old.as_fd())).map_err(failed("BPF_PROG_ATTACH"))?;
            }
            // More than one is not of our making. The new one first: at no time is there none.
            several => {
                bpf::attach(fd, program.as_fd(), None).map_err(failed("BPF_PROG_ATTACH"))?;
                several
                    .iter()
                    .try_for_each(|id| detach(fd, *id))
                    .map_err(failed("BPF_PROG_DETACH"))?;
            }
        }
        let ours = bpf::id_of(program.as_fd()).map_err(failed("BPF_OBJ_GET_INFO_BY_FD"))?;
        let after = bpf::query(fd).map_err(failed("BPF_PROG_QUERY"))?;
        if after != [ours] {
            let path = self.directory.path();
            let message = format!("the device filter {ours} is not the only one of {path:?}: {after:?}");
            return Err(Error::new(ErrorKind::System, message).with_field(FIELD));
        }
        Ok(())
    }

    /// The ids of the programs on this group.
    #[cfg(test)]
    pub(in crate::cgroup) fn filters(&self) -> Vec<u32> {
        bpf::query(self.fd().unwrap()).unwrap()
    }
}

/// A program that is gone already is as good as detached.
fn detach(group: BorrowedFd<'_>, id: u32) -> std::io::Result<()> {
    let gone = |error: &std::io::Error| error.raw_os_error() == Some(libc::ENOENT);
    match bpf::by_id(id).and_then(|program| bpf::detach(group, program.as_fd())) {
        Err(error) if gone(&error) => Ok(()),
        other => other,
    }
}
