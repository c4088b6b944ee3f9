//! How a program is run by the kernel: scheduling, I/O priority, execution domain, memory policy.

use oci_spec::runtime::{
    IOPriorityClass, Linux, LinuxIOPriority, LinuxMemoryPolicy, LinuxPersonalityDomain, LinuxSchedulerFlag,
    LinuxSchedulerPolicy, Process, Scheduler,
};

use super::memory_policy;
use super::schedule::{Schedule, Step};
use crate::error::{Error, Result};

/// What all programs of a container share.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shared<'a> {
    personality: Option<LinuxPersonalityDomain>,
    memory_policy: Option<&'a LinuxMemoryPolicy>,
}

impl<'a> Shared<'a> {
    pub(super) fn of(linux: Option<&'a Linux>) -> Self {
        Self {
            personality: linux
                .and_then(|linux| linux.personality().as_ref())
                .map(|personality| personality.domain()),
            memory_policy: linux.and_then(|linux| linux.memory_policy().as_ref()),
        }
    }
}

/// Everything that `process` and `linux` say about it.
pub(super) fn set(schedule: &mut Schedule, process: &Process, shared: Shared<'_>) -> Result<()> {
    if let Some(asked) = process.scheduler() {
        schedule.init(scheduler(asked)?, "process.scheduler");
    }
    if let Some(asked) = process.io_priority() {
        schedule.init(io_priority(asked)?, "process.ioPriority");
    }
    if let Some(domain) = shared.personality {
        let persona = match domain {
            LinuxPersonalityDomain::PerLinux => 0,
            LinuxPersonalityDomain::PerLinux32 => 0x0008,
        };
        schedule.init(Step::Personality { persona }, "linux.personality");
    }
    memory_policy::set(schedule, shared.memory_policy)
}

fn io_priority(asked: &LinuxIOPriority) -> Result<Step> {
    let class = match asked.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    let level = u32::try_from(asked.priority())
        .ok()
        .filter(|level| *level < 8)
        .ok_or_else(|| {
            Error::spec(
                "process.ioPriority.priority",
                format!("{} is not between 0 and 7", asked.priority()),
            )
        })?;
    Ok(Step::IoPriority {
        value: class << 13 | level,
    })
}

fn scheduler(asked: &Scheduler) -> Result<Step> {
    let policy = match asked.policy() {
        LinuxSchedulerPolicy::SchedOther => libc::SCHED_OTHER,
        LinuxSchedulerPolicy::SchedFifo => libc::SCHED_FIFO,
        LinuxSchedulerPolicy::SchedRr => libc::SCHED_RR,
        LinuxSchedulerPolicy::SchedBatch => libc::SCHED_BATCH,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => libc::SCHED_IDLE,
        LinuxSchedulerPolicy::SchedDeadline => libc::SCHED_DEADLINE,
    };
    let flags = asked.flags().iter().flatten().fold(0, |flags, flag| {
        flags
            | match flag {
                LinuxSchedulerFlag::SchedResetOnFork => 0x01,
                LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
                LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
                LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
                LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
                LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
                LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
            }
    });
    let priority = asked.priority().unwrap_or(0);
    Ok(Step::Scheduler {
        policy: policy.cast_unsigned(),
        flags,
        nice: asked.nice().unwrap_or(0),
        priority: u32::try_from(priority)
            .map_err(|_| Error::spec("process.scheduler.priority", format!("{priority} is negative")))?,
        runtime: asked.runtime().unwrap_or(0),
        deadline: asked.deadline().unwrap_or(0),
        period: asked.period().unwrap_or(0),
    })
}
