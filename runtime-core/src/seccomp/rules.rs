//! The rules of a profile put in order: for each architecture, what happens to each number. Pure.
//!
//! One call can have several rules. A rule without conditions decides alone, whatever the others say and wherever it
//! stands; otherwise the first rule whose conditions hold decides, and the default action where none does. libseccomp
//! does the same, but for rules with different actions that hold for the same call: there it follows an order of its own.

use super::names::{Abi, Meaning, Name};
use crate::spec::Warning;
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

/// ENOSYS as SECCOMP_RET_ERRNO.
pub(super) const RETURN_ENOSYS: u32 = 0x0005_0000 | 38;

/// What a condition asks of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// These bits have this value.
    Bits { mask: u64, value: u64 },
    /// More than this.
    Greater(u64),
    /// This or more.
    AtLeast(u64),
}

/// A condition on an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    /// Of which argument, 0 to 5.
    pub(super) argument: u32,
    pub(super) ask: Ask,
    /// Whether it holds where `ask` does not.
    pub(super) negated: bool,
    /// Whether the upper half of the argument counts.
    pub(super) wide: bool,
}

/// A rule for one number; it holds where all of its conditions do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// A SECCOMP_RET_* value.
    pub(super) action: u32,
    pub(super) conditions: Vec<Condition>,
}

/// What happens to the calls of one architecture.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) abi: Abi,
    /// Numbers and rules, ascending; the rules of one number one after the other.
    rules: Vec<(u32, Rule)>,
    /// What happens to all other numbers.
    pub(super) default: u32,
    /// The largest number that the profile knows, where those above it get ENOSYS and not the default.
    pub(super) newest: Option<u32>,
}

impl Table {
    /// The rules of each number that has some, ascending.
    pub(super) fn calls(&self) -> impl Iterator<Item = &[(u32, Rule)]> {
        self.rules.chunk_by(|one, next| one.0 == next.0)
    }
}

/// The SECCOMP_RET_* value of an action; EPERM where it needs a number and the profile names none.
pub(super) fn value(action: LinuxSeccompAction, errno: Option<u32>) -> u32 {
    // `check` has seen to it that the number fits.
    let number = errno.unwrap_or(1) & 0xffff;
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => 0,
        LinuxSeccompAction::ScmpActKillProcess => 0x8000_0000,
        LinuxSeccompAction::ScmpActTrap => 0x0003_0000,
        LinuxSeccompAction::ScmpActErrno => 0x0005_0000 | number,
        LinuxSeccompAction::ScmpActNotify => 0x7fc0_0000,
        LinuxSeccompAction::ScmpActTrace => 0x7ff0_0000 | number,
        LinuxSeccompAction::ScmpActLog => 0x7ffc_0000,
        LinuxSeccompAction::ScmpActAllow => 0x7fff_0000,
    }
}

/// The tables of these architectures, the machine's own first. Calls that no architecture has become warnings.
pub(super) fn tables(profile: &LinuxSeccomp, abis: &[Abi], warnings: &mut Vec<Warning>) -> Vec<Table> {
    let default = value(profile.default_action(), profile.default_errno_ret());
    let mut collected: Vec<Collected> = abis.iter().map(|abi| Collected::of(*abi)).collect();
    for (index, rule) in profile.syscalls().iter().flatten().enumerate() {
        let action = value(rule.action(), rule.errno_ret());
        // A rule that says what the default says is none, so that it stands in the way of no other.
        let says = (action != default).then(|| Says {
            action,
            alternatives: alternatives(rule),
        });
        for (position, name) in rule.names().iter().enumerate() {
            let looked_up = Name::look_up(name);
            for one in &mut collected {
                if !one.add(&looked_up, says.as_ref()) {
                    warnings.push(Warning::new(
                        format!("linux.seccomp.syscalls[{index}].names[{position}]"),
                        format!("unknown seccomp syscall {name:?}, ignored"),
                    ));
                    break;
                }
            }
        }
    }
    let newer_than_profile = newer_than_profile_is_enosys(profile);
    let finish = |one: Collected| one.finish(default, newer_than_profile);
    collected.into_iter().map(finish).collect()
}

/// A profile that denies by default answers EPERM to every call that its author had not heard of, and a C library that
/// tries a new call first takes EPERM for the last word where ENOSYS would make it try the older one. So calls above the
/// largest number that the profile names get ENOSYS (the idea is runc's, libcontainer/seccomp/patchbpf), except where
/// the default lets calls through, or leaves them to a tracer, which judges for itself.
fn newer_than_profile_is_enosys(profile: &LinuxSeccomp) -> bool {
    !matches!(
        profile.default_action(),
        LinuxSeccompAction::ScmpActAllow | LinuxSeccompAction::ScmpActLog | LinuxSeccompAction::ScmpActTrace
    )
}

/// What a rule of the profile says about each of its names: any of these lists of conditions leads to the action.
struct Says {
    action: u32,
    alternatives: Vec<Vec<Condition>>,
}

/// The conditions of a rule are joined by and, except where two of them are on one argument: then each is a rule of its
/// own (the reading of runc, crun and youki).
fn alternatives(rule: &LinuxSyscall) -> Vec<Vec<Condition>> {
    let arguments = rule.args().as_deref().unwrap_or_default();
    let repeated = arguments.iter().enumerate().any(|(position, one)| {
        arguments[..position]
            .iter()
            .any(|other| other.index() == one.index())
    });
    let conditions = arguments.iter().map(condition);
    if repeated {
        conditions.map(|one| vec![one]).collect()
    } else {
        vec![conditions.collect()]
    }
}

fn condition(argument: &LinuxSeccompArg) -> Condition {
    let value = argument.value();
    let (ask, negated) = match argument.op() {
        LinuxSeccompOperator::ScmpCmpEq => (
            Ask::Bits {
                mask: u64::MAX,
                value,
            },
            false,
        ),
        LinuxSeccompOperator::ScmpCmpNe => (
            Ask::Bits {
                mask: u64::MAX,
                value,
            },
            true,
        ),
        LinuxSeccompOperator::ScmpCmpGt => (Ask::Greater(value), false),
        LinuxSeccompOperator::ScmpCmpLe => (Ask::Greater(value), true),
        LinuxSeccompOperator::ScmpCmpGe => (Ask::AtLeast(value), false),
        LinuxSeccompOperator::ScmpCmpLt => (Ask::AtLeast(value), true),
        // `value` is the mask, `valueTwo` what it is compared with, masked as well (seccomp_rule_add(3)).
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            let wanted = argument.value_two().unwrap_or(0) & value;
            (
                Ask::Bits {
                    mask: value,
                    value: wanted,
                },
                false,
            )
        }
    };
    Condition {
        // `check` has seen to it that the index is below six.
        argument: u32::try_from(argument.index()).unwrap_or(u32::MAX),
        ask,
        negated,
        wide: true,
    }
}

impl Condition {
    /// The condition for an architecture whose arguments have these bits; None: it always holds.
    fn for_word(self, word: u64) -> Option<Self> {
        let ask = match self.ask {
            Ask::Bits { mask, .. } if mask & word == 0 => return None,
            Ask::Bits { mask, value } => Ask::Bits {
                mask: mask & word,
                value: value & word,
            },
            Ask::Greater(value) => Ask::Greater(value & word),
            Ask::AtLeast(value) => Ask::AtLeast(value & word),
        };
        let wide = word == u64::MAX;
        Some(Self { ask, wide, ..self })
    }
}

/// A table that is being filled.
struct Collected {
    abi: Abi,
    rules: Vec<(u32, Rule)>,
    newest: Option<u32>,
}

impl Collected {
    fn of(abi: Abi) -> Self {
        Self {
            abi,
            rules: Vec::new(),
            newest: None,
        }
    }

    /// Adds what is said about a name; false: there is no such call.
    fn add(&mut self, name: &Name<'_>, says: Option<&Says>) -> bool {
        match name.meaning(self.abi) {
            Meaning::Unknown => return false,
            Meaning::Absent => {}
            Meaning::Call(number) => self.put(number, None, says),
            Meaning::Multiplexed {
                number,
                through,
                function,
            } => {
                self.put(through, Some(function), says);
                if let Some(number) = number {
                    self.put(number, None, says);
                }
            }
        }
        true
    }

    /// As a function of a multiplexer the call has its real arguments in memory, which no filter can read: only the
    /// first argument, which says what function, is known. A condition on it is given up, as in libseccomp.
    fn put(&mut self, number: u32, function: Option<u32>, says: Option<&Says>) {
        self.newest = self.newest.max(Some(number));
        let Some(says) = says else { return };
        for conditions in &says.alternatives {
            let function = function.map(|function| Condition {
                argument: 0,
                ask: Ask::Bits {
                    mask: u64::MAX,
                    value: function.into(),
                },
                negated: false,
                wide: true,
            });
            let kept = conditions
                .iter()
                .filter(|condition| function.is_none() || condition.argument != 0);
            let word = self.abi.word();
            let mut conditions: Vec<Condition> = function
                .iter()
                .chain(kept)
                .filter_map(|condition| condition.for_word(word))
                .collect();
            conditions.sort_by_key(|condition| condition.argument);
            self.rules.push((
                number,
                Rule {
                    action: says.action,
                    conditions,
                },
            ));
        }
    }

    fn finish(mut self, default: u32, newer_is_enosys: bool) -> Table {
        // Stable: the rules of one number stay in the order of the profile.
        self.rules.sort_by_key(|(number, _)| *number);
        let mut rules: Vec<(u32, Rule)> = Vec::with_capacity(self.rules.len());
        // Where the rules of the current number begin.
        let mut first = 0;
        for (number, rule) in self.rules {
            match rules.get(first) {
                // The first rule without conditions is the only one that counts.
                Some((last, decided)) if *last == number && decided.conditions.is_empty() => continue,
                Some((last, _)) if *last == number => {
                    if rule.conditions.is_empty() {
                        rules.truncate(first);
                    }
                }
                _ => first = rules.len(),
            }
            rules.push((number, rule));
        }
        Table {
            abi: self.abi,
            rules,
            default,
            newest: self
                .newest
                .filter(|_| newer_is_enosys && default != RETURN_ENOSYS),
        }
    }
}
