//! `process`, of the configuration or of `exec`.

use super::identity::mapped;
use super::{absolute, environment, strings_without_nul};
use crate::error::{Error, Result};
use oci_spec::runtime::{Linux, LinuxSchedulerPolicy, PosixRlimit, Process, Scheduler};

/// Judges a process, for `create` and for `exec`. `linux` is the container's section, for its id mappings.
///
/// # Errors
/// InvalidSpec with the field, what was found and what is allowed.
pub fn check_process(process: &Process, linux: Option<&Linux>) -> Result<()> {
    arguments(process)?;
    identities(process, linux)?;
    limits(process.rlimits().as_deref().unwrap_or_default())?;
    if let Some(score) = process
        .oom_score_adj()
        .filter(|score| !(-1000..=1000).contains(score))
    {
        return Err(Error::spec(
            "process.oomScoreAdj",
            format!("found {score}, allowed are -1000 to 1000"),
        ));
    }
    if let Some(priority) = process.io_priority().as_ref().map(|io| io.priority())
        && !(0..=7).contains(&priority)
    {
        let message = format!("invalid ioPriority.Priority: {priority}, allowed are 0 to 7");
        return Err(Error::spec("process.ioPriority.priority", message));
    }
    if let Some(size) = process.console_size() {
        for (name, value) in [("height", size.height()), ("width", size.width())] {
            if u16::try_from(value).is_err() {
                let message = format!("found {value}, allowed are 0 to {}", u16::MAX);
                return Err(Error::spec(format!("process.consoleSize.{name}"), message));
            }
        }
    }
    process.scheduler().as_ref().map_or(Ok(()), scheduler)
}

fn arguments(process: &Process) -> Result<()> {
    match process.args().as_deref() {
        None | Some([]) => return Err(Error::spec("process.args", "args must not be empty")),
        Some([program, ..]) if program.is_empty() => {
            return Err(Error::spec("process.args[0]", "found an empty program name"));
        }
        Some(_) => {}
    }
    strings_without_nul("process.args", process.args())?;
    if process.cwd().as_os_str().is_empty() {
        return Err(Error::spec("process.cwd", "Cwd property must not be empty"));
    }
    absolute("process.cwd", process.cwd()).map_err(|error| error.context("Cwd must be an absolute path"))?;
    environment("process.env", process.env())
}

fn identities(process: &Process, linux: Option<&Linux>) -> Result<()> {
    let user = process.user();
    let uids = linux.and_then(|linux| linux.uid_mappings().as_deref());
    let gids = linux.and_then(|linux| linux.gid_mappings().as_deref());
    mapped("process.user.uid", "uid", user.uid(), uids)?;
    mapped("process.user.gid", "gid", user.gid(), gids)?;
    for (index, gid) in user.additional_gids().iter().flatten().enumerate() {
        mapped(
            &format!("process.user.additionalGids[{index}]"),
            "gid",
            *gid,
            gids,
        )?;
    }
    if let Some(umask) = user.umask().filter(|umask| *umask > 0o777) {
        return Err(Error::spec(
            "process.user.umask",
            format!("found {umask}, allowed are 0 to 511 (octal 777)"),
        ));
    }
    Ok(())
}

fn limits(limits: &[PosixRlimit]) -> Result<()> {
    for (index, limit) in limits.iter().enumerate() {
        let kind = limit.typ();
        if limits[..index].iter().any(|other| other.typ() == kind) {
            let message = format!("duplicated rlimit {kind}, each type may occur once");
            return Err(Error::spec(format!("process.rlimits[{index}].type"), message));
        }
        if limit.soft() > limit.hard() {
            let message = format!(
                "found {}, allowed is at most the hard limit {}",
                limit.soft(),
                limit.hard()
            );
            return Err(Error::spec(format!("process.rlimits[{index}].soft"), message));
        }
    }
    Ok(())
}

/// sched_setattr(2).
fn scheduler(scheduler: &Scheduler) -> Result<()> {
    use LinuxSchedulerPolicy as Policy;
    let policy = *scheduler.policy();
    let fault =
        |field: &str, message: String| Err(Error::spec(format!("process.scheduler.{field}"), message));
    let nice = scheduler.nice().unwrap_or(0);
    if matches!(policy, Policy::SchedOther | Policy::SchedBatch) && !(-20..=19).contains(&nice) {
        let message = format!(
            "invalid scheduler.nice: {nice} when scheduler.policy is {policy}, allowed are -20 to 19"
        );
        return fault("nice", message);
    }
    let priority = scheduler.priority().unwrap_or(0);
    if matches!(policy, Policy::SchedFifo | Policy::SchedRr) {
        if !(1..=99).contains(&priority) {
            return fault(
                "priority",
                format!("found {priority} when scheduler.policy is {policy}, allowed are 1 to 99"),
            );
        }
    } else if priority != 0 {
        let message = "scheduler.priority can only be specified for SchedFIFO or SchedRR policy".to_owned();
        return fault("priority", message);
    }
    if policy == Policy::SchedIso {
        return fault(
            "policy",
            "found SCHED_ISO, which Linux reserves and does not implement".to_owned(),
        );
    }
    for (field, value) in [
        ("runtime", scheduler.runtime()),
        ("deadline", scheduler.deadline()),
        ("period", scheduler.period()),
    ] {
        if policy != Policy::SchedDeadline && value.is_some_and(|value| value != 0) {
            let message = "scheduler runtime/deadline/period can only be specified for SchedDeadline policy";
            return fault(field, message.to_owned());
        }
    }
    Ok(())
}
