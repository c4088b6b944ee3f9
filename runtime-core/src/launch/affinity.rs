//! The CPUs that a process may run on (sched_setaffinity(2)).

use rustix::process::Pid;
use rustix::thread::CpuSet;

use crate::error::{Error, ErrorKind, Result};

/// Lets a process of one thread run on these CPUs only; the kernel leaves out those that its cgroup does not have.
pub(super) fn set(pid: i32, cpus: &[u32]) -> Result<()> {
    let pid = Pid::from_raw(pid).ok_or_else(|| Error::new(ErrorKind::Internal, "there is no process 0"))?;
    let mut set = CpuSet::new();
    for cpu in cpus {
        let number = usize::try_from(*cpu).unwrap_or(usize::MAX);
        if number >= CpuSet::MAX_CPU {
            let message = format!("CPU {cpu}: numbers are below {}", CpuSet::MAX_CPU);
            return Err(Error::new(ErrorKind::InvalidSpec, message));
        }
        set.set(number);
    }
    rustix::thread::sched_setaffinity(Some(pid), &set)
        .map_err(|errno| Error::os(format!("sched_setaffinity({pid}, {cpus:?})"), errno))
}
