//! The rules of a profile put into libseccomp's filter.

use crate::error::{Error, ErrorKind, Result};
use crate::spec::Warning;
use libseccomp::error::SeccompErrno;
use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};
use std::collections::HashMap;

/// The action with its number; EPERM where the profile names none.
pub(super) fn action(action: LinuxSeccompAction, errno: Option<u32>) -> ScmpAction {
    // `check` has seen to it that the number fits.
    let errno = errno.and_then(|errno| u16::try_from(errno).ok()).unwrap_or(1);
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(i32::from(errno)),
        LinuxSeccompAction::ScmpActNotify => ScmpAction::Notify,
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(errno),
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
    }
}

/// Refuses what libseccomp 2.5 compiles wrongly: two rules for one call that order one argument (LT, LE, GT, GE) against
/// values that need the upper 32 bits; they are merged into one comparison tree that loses branches. Found by trying
/// all pairs of operators with the interpreter of the tests. A filter that means something else must not be loaded.
pub(super) fn refuse_miscompiled(profile: &LinuxSeccomp) -> Result<()> {
    let mut seen: HashMap<&str, Vec<(usize, usize, bool)>> = HashMap::new();
    for (index, rule) in profile.syscalls().iter().flatten().enumerate() {
        let separate = repeats_an_argument(rule);
        for (position, condition) in rule.args().iter().flatten().enumerate() {
            if !orders(condition.op()) {
                continue;
            }
            let wide = condition.value() >= u64::from(u32::MAX);
            // Conditions on one argument become rules of their own, so each counts as one.
            let rule_number = if separate {
                index * ARGUMENT_STRIDE + position
            } else {
                index * ARGUMENT_STRIDE
            };
            for name in rule.names() {
                let others = seen.entry(name).or_default();
                let clash = others.iter().any(|(other_rule, argument, other_wide)| {
                    *other_rule != rule_number && *argument == condition.index() && (wide || *other_wide)
                });
                if clash {
                    let message = format!(
                        "several rules for {name} order argument {} against values of more than 32 bits, which \
                         libseccomp compiles wrongly",
                        condition.index()
                    );
                    let field = format!("linux.seccomp.syscalls[{index}].args[{position}]");
                    return Err(Error::new(ErrorKind::Unsupported, message).with_field(field));
                }
                others.push((rule_number, condition.index(), wide));
            }
        }
    }
    Ok(())
}

/// Keeps the numbers of rules apart from those of conditions that became rules.
const ARGUMENT_STRIDE: usize = 1 << 16;

fn orders(operator: LinuxSeccompOperator) -> bool {
    use LinuxSeccompOperator as Op;
    matches!(
        operator,
        Op::ScmpCmpLt | Op::ScmpCmpLe | Op::ScmpCmpGe | Op::ScmpCmpGt
    )
}

/// Adds every rule. A rule with the default action changes nothing and libseccomp refuses it, so it is left out.
pub(super) fn add(
    profile: &LinuxSeccomp,
    context: &mut ScmpFilterContext,
    warnings: &mut Vec<Warning>,
) -> Result<()> {
    let default = action(profile.default_action(), profile.default_errno_ret());
    for (index, rule) in profile.syscalls().iter().flatten().enumerate() {
        let action = action(rule.action(), rule.errno_ret());
        if action == default {
            continue;
        }
        for (position, name) in rule.names().iter().enumerate() {
            let field = || format!("linux.seccomp.syscalls[{index}].names[{position}]");
            match ScmpSyscall::from_name(name) {
                Ok(number) if !number.is_error() => {
                    add_one(context, action, number, rule).map_err(|message| {
                        Error::spec(
                            field(),
                            format!("error adding seccomp filter rule for syscall {name}: {message}"),
                        )
                    })?;
                }
                _ => warnings.push(Warning::new(
                    field(),
                    format!("unknown seccomp syscall {name:?}, ignored"),
                )),
            }
        }
    }
    Ok(())
}

fn add_one(
    context: &mut ScmpFilterContext,
    action: ScmpAction,
    number: ScmpSyscall,
    rule: &LinuxSyscall,
) -> Result<(), String> {
    let conditions: Vec<ScmpArgCompare> = rule.args().iter().flatten().map(condition).collect();
    let separately: Vec<&[ScmpArgCompare]> = match repeats_an_argument(rule) {
        true => conditions.chunks(1).collect(),
        false => vec![&conditions],
    };
    for conditions in separately {
        match context.add_rule_conditional(action, number, conditions) {
            Ok(_) => {}
            // The same rule once more.
            Err(error) if error.errno() == Some(SeccompErrno::EEXIST) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

fn repeats_an_argument(rule: &LinuxSyscall) -> bool {
    let arguments = rule.args().as_deref().unwrap_or_default();
    arguments.iter().enumerate().any(|(position, one)| {
        arguments[..position]
            .iter()
            .any(|other| other.index() == one.index())
    })
}

fn condition(argument: &LinuxSeccompArg) -> ScmpArgCompare {
    let (operator, value) = match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, argument.value()),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, argument.value()),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, argument.value()),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, argument.value()),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, argument.value()),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, argument.value()),
        // `value` is the mask and `valueTwo` what must remain.
        LinuxSeccompOperator::ScmpCmpMaskedEq => (
            ScmpCompareOp::MaskedEqual(argument.value()),
            argument.value_two().unwrap_or(0),
        ),
    };
    // `check` has seen to it that the index is below six.
    ScmpArgCompare::new(
        u32::try_from(argument.index()).unwrap_or(u32::MAX),
        operator,
        value,
    )
}
