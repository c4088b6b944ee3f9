//! The filter that libseccomp makes of a profile, to compare with: what runc and crun would load.

use std::io::{Read, Seek};

use libseccomp::error::SeccompErrno;
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

/// libseccomp's program. Names that it does not know are left out. None: it finds that one rule contradicts another.
pub(super) fn filter(profile: &LinuxSeccomp) -> Option<Vec<u8>> {
    let default = action(profile.default_action(), profile.default_errno_ret());
    let mut context = ScmpFilterContext::new(default).unwrap();
    for architecture in profile.architectures().iter().flatten() {
        context
            .add_arch(match architecture {
                Arch::ScmpArchX86_64 => ScmpArch::X8664,
                Arch::ScmpArchX86 => ScmpArch::X86,
                Arch::ScmpArchX32 => ScmpArch::X32,
                Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
                Arch::ScmpArchArm => ScmpArch::Arm,
                other => panic!("{other} is not compared"),
            })
            .unwrap();
    }
    if !add(profile, &mut context) {
        return None;
    }
    let fd = rustix::fs::memfd_create("seccomp", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = std::fs::File::from(fd);
    context.export_bpf(&file).unwrap();
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    Some(bytes)
}

/// The action with its number; EPERM where the profile names none.
fn action(action: LinuxSeccompAction, errno: Option<u32>) -> ScmpAction {
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

/// Adds every rule. A rule with the default action changes nothing and libseccomp refuses it, so it is left out.
fn add(profile: &LinuxSeccomp, context: &mut ScmpFilterContext) -> bool {
    let mut fits = true;
    let default = action(profile.default_action(), profile.default_errno_ret());
    for rule in profile.syscalls().iter().flatten() {
        let action = action(rule.action(), rule.errno_ret());
        if action == default {
            continue;
        }
        for name in rule.names() {
            if let Ok(number) = ScmpSyscall::from_name(name) {
                fits &= add_one(context, action, number, rule);
            }
        }
    }
    fits
}

fn add_one(
    context: &mut ScmpFilterContext,
    action: ScmpAction,
    number: ScmpSyscall,
    rule: &LinuxSyscall,
) -> bool {
    let mut fits = true;
    let conditions: Vec<ScmpArgCompare> = rule.args().iter().flatten().map(condition).collect();
    let separately: Vec<&[ScmpArgCompare]> = match repeats_an_argument(rule) {
        true => conditions.chunks(1).collect(),
        false => vec![&conditions],
    };
    for conditions in separately {
        match context.add_rule_conditional(action, number, conditions) {
            Ok(_) => {}
            Err(error) if error.errno() == Some(SeccompErrno::EEXIST) => fits = false,
            Err(error) => panic!("{number:?}: {error}"),
        }
    }
    fits
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
    ScmpArgCompare::new(
        u32::try_from(argument.index()).unwrap_or(u32::MAX),
        operator,
        value,
    )
}
