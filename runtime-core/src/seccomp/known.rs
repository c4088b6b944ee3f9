//! Which words of a profile this version understands, for `features`. A word is listed when [`super::compile`] honours
//! it; the tests ask it about each one, listed or not.

use oci_spec::runtime::{Arch, LinuxSeccompAction, LinuxSeccompFilterFlag, LinuxSeccompOperator};

/// The actions that compile.
pub(crate) const ACTIONS: [LinuxSeccompAction; 9] = [
    LinuxSeccompAction::ScmpActAllow,
    LinuxSeccompAction::ScmpActErrno,
    LinuxSeccompAction::ScmpActKill,
    LinuxSeccompAction::ScmpActKillProcess,
    LinuxSeccompAction::ScmpActKillThread,
    LinuxSeccompAction::ScmpActLog,
    LinuxSeccompAction::ScmpActNotify,
    LinuxSeccompAction::ScmpActTrace,
    LinuxSeccompAction::ScmpActTrap,
];

/// The comparisons.
pub(crate) const OPERATORS: [LinuxSeccompOperator; 7] = [
    LinuxSeccompOperator::ScmpCmpEq,
    LinuxSeccompOperator::ScmpCmpGe,
    LinuxSeccompOperator::ScmpCmpGt,
    LinuxSeccompOperator::ScmpCmpLe,
    LinuxSeccompOperator::ScmpCmpLt,
    LinuxSeccompOperator::ScmpCmpMaskedEq,
    LinuxSeccompOperator::ScmpCmpNe,
];

/// The architectures whose names are understood, on whatever machine.
pub(crate) const ARCHITECTURES: [Arch; 23] = [
    Arch::ScmpArchAarch64,
    Arch::ScmpArchArm,
    Arch::ScmpArchLoongarch64,
    Arch::ScmpArchM68k,
    Arch::ScmpArchMips,
    Arch::ScmpArchMips64,
    Arch::ScmpArchMips64n32,
    Arch::ScmpArchMipsel,
    Arch::ScmpArchMipsel64,
    Arch::ScmpArchMipsel64n32,
    Arch::ScmpArchParisc,
    Arch::ScmpArchParisc64,
    Arch::ScmpArchPpc,
    Arch::ScmpArchPpc64,
    Arch::ScmpArchPpc64le,
    Arch::ScmpArchRiscv64,
    Arch::ScmpArchS390,
    Arch::ScmpArchS390x,
    Arch::ScmpArchSh,
    Arch::ScmpArchSheb,
    Arch::ScmpArchX32,
    Arch::ScmpArchX86,
    Arch::ScmpArchX86_64,
];

/// The flags whose names are understood.
pub(crate) const FLAGS: [LinuxSeccompFilterFlag; 4] = [
    LinuxSeccompFilterFlag::SeccompFilterFlagTsync,
    LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow,
    LinuxSeccompFilterFlag::SeccompFilterFlagLog,
    LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv,
];

/// The flags that take effect on a kernel of this version.
pub(crate) fn honoured_flags(kernel: (u32, u32)) -> Vec<LinuxSeccompFilterFlag> {
    let wait_killable = kernel >= (5, 19);
    FLAGS
        .into_iter()
        .filter(|flag| *flag != LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv || wait_killable)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::compile;
    use oci_spec::runtime::LinuxSeccomp;
    use serde_json::{Value, json};

    fn profile(profile: &Value) -> LinuxSeccomp {
        serde_json::from_value(profile.clone()).unwrap()
    }

    fn rule(action: &str) -> LinuxSeccomp {
        profile(
            &json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent.sock",
                        "syscalls": [{"names": ["getpid"], "action": action}]}),
        )
    }

    #[test]
    fn a_listed_action_compiles() {
        for action in ACTIONS {
            compile(&rule(&action.to_string())).unwrap();
        }
    }

    #[test]
    fn a_listed_comparison_compiles() {
        for operator in OPERATORS {
            let profile = profile(
                &json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getpid"],
                "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 1, "op": operator.to_string()}]}]}),
            );
            compile(&profile).unwrap();
        }
    }

    #[test]
    fn a_listed_architecture_is_understood() {
        for architecture in ARCHITECTURES {
            let profile = profile(&json!({"defaultAction": "SCMP_ACT_ALLOW",
                                          "architectures": [architecture.to_string()]}));
            compile(&profile).unwrap();
        }
    }

    #[test]
    fn a_flag_that_the_kernel_knows_gives_no_warning() {
        for flag in honoured_flags((5, 19)) {
            let mut profile = rule("SCMP_ACT_NOTIFY");
            profile.set_flags(Some(vec![flag]));
            assert_eq!(compile(&profile).unwrap().warnings, [], "{flag}");
        }
        assert_eq!(honoured_flags((5, 18)).len(), FLAGS.len() - 1);
    }
}
