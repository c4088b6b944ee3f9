//! What is wrong in a profile whatever the machine (runtime-spec, config-linux.md, Seccomp). Pure.

use crate::error::{Error, Result};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSyscall};

/// System calls take six arguments.
const ARGUMENTS: usize = 6;

/// Judges a profile.
///
/// # Errors
/// InvalidSpec with the field, what was found and what is allowed.
pub fn check(profile: &LinuxSeccomp) -> Result<()> {
    let action = profile.default_action();
    errno(
        "linux.seccomp.defaultErrnoRet",
        action,
        profile.default_errno_ret(),
    )?;
    if action == LinuxSeccompAction::ScmpActNotify {
        // Neither could we be told that the filter is in place, nor could the agent be.
        let message = "SCMP_ACT_NOTIFY cannot be used as default action";
        return Err(Error::spec("linux.seccomp.defaultAction", message));
    }
    if profile.listener_metadata().is_some() && profile.listener_path().is_none() {
        let message = "listenerMetadata must not be set without listenerPath";
        return Err(Error::spec("linux.seccomp.listenerMetadata", message));
    }
    for (index, rule) in profile.syscalls().iter().flatten().enumerate() {
        let nobody = profile
            .listener_path()
            .as_ref()
            .is_none_or(|path| path.as_os_str().is_empty());
        if rule.action() == LinuxSeccompAction::ScmpActNotify && nobody {
            let message = format!(
                "the field is missing or empty, and linux.seccomp.syscalls[{index}] has SCMP_ACT_NOTIFY"
            );
            return Err(Error::spec("linux.seccomp.listenerPath", message));
        }
        check_rule(&format!("linux.seccomp.syscalls[{index}]"), rule)?;
    }
    Ok(())
}

fn check_rule(field: &str, rule: &LinuxSyscall) -> Result<()> {
    if rule.names().is_empty() {
        return Err(Error::spec(
            format!("{field}.names"),
            "found no name, allowed are one and more",
        ));
    }
    for (index, name) in rule.names().iter().enumerate() {
        let field = || format!("{field}.names[{index}]");
        if name.is_empty() || name.contains('\0') {
            return Err(Error::spec(field(), format!("{name:?} is not a valid syscall")));
        }
        if name == "write" && rule.action() == LinuxSeccompAction::ScmpActNotify {
            return Err(Error::spec(
                field(),
                "SCMP_ACT_NOTIFY cannot be used for the write syscall",
            ));
        }
    }
    errno(&format!("{field}.errnoRet"), rule.action(), rule.errno_ret())?;
    for (index, condition) in rule.args().iter().flatten().enumerate() {
        if condition.index() >= ARGUMENTS {
            let message = format!("found {}, allowed are 0 to {}", condition.index(), ARGUMENTS - 1);
            return Err(Error::spec(format!("{field}.args[{index}].index"), message));
        }
    }
    Ok(())
}

/// Only two actions return a number. libseccomp takes an errno below the kernel's MAX_ERRNO (4095); a tracer's word has
/// 16 bits.
fn errno(field: &str, action: LinuxSeccompAction, value: Option<u32>) -> Result<()> {
    let Some(value) = value else {
        return Ok(());
    };
    let max = match action {
        LinuxSeccompAction::ScmpActErrno => 4094,
        LinuxSeccompAction::ScmpActTrace => u32::from(u16::MAX),
        _ => {
            let message =
                format!("found {value}, but {action} takes no errno; SCMP_ACT_ERRNO and SCMP_ACT_TRACE do");
            return Err(Error::spec(field, message));
        }
    };
    if value > max {
        return Err(Error::spec(
            field,
            format!("found {value}, allowed with {action} are 0 to {max}"),
        ));
    }
    Ok(())
}
