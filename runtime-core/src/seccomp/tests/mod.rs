//! The compiled filter, run by the interpreter over every number, against a plain reading of the profile.

mod equal;
mod interpreter;
mod oracle;

use super::*;
use interpreter::{Call, run};
use libseccomp::{ScmpArch, ScmpSyscall};
use oci_spec::runtime::{LinuxSeccompArg, LinuxSeccompOperator};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const X32_BIT: u32 = 1 << 30;
const KILL_THREAD: u32 = 0;
const ENOSYS: u32 = 0x5_0000 | 38;

fn profile(value: Value) -> LinuxSeccomp {
    serde_json::from_value(value).unwrap()
}

fn verdict(filter: &Filter, architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    run(
        &filter.program,
        &Call {
            number,
            architecture,
            arguments,
        },
    )
}

/// `word`: the bits that count.
fn holds(condition: &LinuxSeccompArg, arguments: &[u64; 6], word: u64) -> bool {
    let (found, value) = (arguments[condition.index()] & word, condition.value() & word);
    match condition.op() {
        LinuxSeccompOperator::ScmpCmpNe => found != value,
        LinuxSeccompOperator::ScmpCmpLt => found < value,
        LinuxSeccompOperator::ScmpCmpLe => found <= value,
        LinuxSeccompOperator::ScmpCmpEq => found == value,
        LinuxSeccompOperator::ScmpCmpGe => found >= value,
        LinuxSeccompOperator::ScmpCmpGt => found > value,
        LinuxSeccompOperator::ScmpCmpMaskedEq => found & value == condition.value_two().unwrap_or(0) & value,
    }
}

/// The numbers that names have, by what the library calls each number (another table than the one that is tested): with
/// the function, where the number is a multiplexer's.
fn numbers(library: ScmpArch) -> BTreeMap<String, Vec<(u32, Option<u64>)>> {
    let mut names: BTreeMap<String, Vec<(u32, Option<u64>)>> = BTreeMap::new();
    let base = if library == ScmpArch::X32 { X32_BIT } else { 0 };
    for number in base..base + 1024 {
        let known = ScmpSyscall::from(i32::try_from(number).unwrap()).get_name_by_arch(library);
        if let Ok(name) = known {
            names.entry(name).or_default().push((number, None));
        }
    }
    if library == ScmpArch::X86 {
        // Functions of socketcall(2) and ipc(2) have negative numbers.
        let socketcall = (1..=20).map(|function| (-100 - function, 102, function));
        let ipc = (1..=24).map(|function| (-200 - function, 117, function));
        for (pseudo, through, function) in socketcall.chain(ipc) {
            if let Ok(name) = ScmpSyscall::from(pseudo).get_name_by_arch(library) {
                let number = (through, u64::try_from(function).ok());
                names.entry(name).or_default().push(number);
            }
        }
    }
    names
}

/// The profile, read as the specification has it.
struct Reading<'a> {
    profile: &'a LinuxSeccomp,
    /// By number: rule, function of the multiplexer of that number.
    rules: BTreeMap<u32, Vec<(usize, Option<u64>)>>,
    /// Rules with a name that is a function of a multiplexer only.
    pseudo: BTreeSet<usize>,
    /// Calls that the library does not know.
    recent: BTreeSet<u32>,
    /// None: the profile names no call of this architecture.
    largest: Option<u32>,
    /// The bits of an argument that count.
    word: u64,
}

impl<'a> Reading<'a> {
    fn new(profile: &'a LinuxSeccomp, architecture: ScmpArch) -> Self {
        let (mut rules, mut recent, mut pseudo) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let mut add = |number: u32, rule: usize, function: Option<u64>| {
            let known: &mut Vec<_> = rules.entry(number).or_default();
            known.push((rule, function));
        };
        let names = numbers(architecture);
        for (index, rule) in profile.syscalls().iter().flatten().enumerate() {
            for name in rule.names() {
                match (names.get(name), equal::recent(name, architecture)) {
                    (Some(numbers), _) => {
                        if numbers.iter().all(|(_, function)| function.is_some()) {
                            pseudo.insert(index);
                        }
                        for (number, function) in numbers {
                            add(*number, index, *function);
                        }
                    }
                    (None, Some(number)) => {
                        recent.insert(number);
                        add(number, index, None);
                    }
                    (None, None) => {}
                }
            }
        }
        let largest = rules.keys().max().copied();
        Self {
            profile,
            rules,
            pseudo,
            recent,
            largest,
            // libseccomp treats x32 as an architecture of 32-bit words, as its processes see it.
            word: match architecture {
                ScmpArch::X86 | ScmpArch::X32 | ScmpArch::Arm => 0xffff_ffff,
                _ => u64::MAX,
            },
        }
    }

    fn default(&self) -> u32 {
        let profile = self.profile;
        profile.default_action().as_u32(profile.default_errno_ret())
    }

    /// The actions of all rules that hold, the one that decides first. A rule that says what the default says is none.
    fn actions(&self, number: u32, arguments: &[u64; 6]) -> Vec<u32> {
        let (mut bare, mut conditional) = (Vec::new(), Vec::new());
        for (index, function) in self.rules.get(&number).into_iter().flatten() {
            let rule = &self.profile.syscalls().as_ref().unwrap()[*index];
            let action = rule.action().as_u32(rule.errno_ret());
            if action == self.default() {
                continue;
            }
            let conditions: Vec<_> = rule.args().iter().flatten().collect();
            let repeats =
                (0..6).any(|index| conditions.iter().filter(|one| one.index() == index).count() > 1);
            if let Some(function) = function {
                // Only the function is known of a call through a multiplexer: a condition on that argument is lost.
                let rest = |one: &LinuxSeccompArg| one.index() == 0 || holds(one, arguments, self.word);
                let matches = match repeats {
                    true => conditions.iter().any(|one| rest(one)),
                    false => conditions.iter().all(|one| rest(one)),
                };
                if matches && arguments[0] & self.word == *function {
                    conditional.push(action);
                }
                continue;
            }
            // One that asks for no bit at all is none.
            let vacuous = |one: &&LinuxSeccompArg| {
                one.op() == LinuxSeccompOperator::ScmpCmpMaskedEq && one.value() & self.word == 0
            };
            let is_bare = match repeats {
                true => conditions.iter().any(vacuous),
                false => conditions.iter().all(vacuous),
            };
            let matches = match repeats {
                true => conditions.iter().any(|one| holds(one, arguments, self.word)),
                false => conditions.iter().all(|one| holds(one, arguments, self.word)),
            };
            match (is_bare, matches) {
                (true, _) => bare.push(action),
                (false, true) => conditional.push(action),
                (false, false) => {}
            }
        }
        bare.truncate(1);
        if bare.is_empty() { conditional } else { bare }
    }

    /// Whether no rule counts, or one names a function of a multiplexer without a number of its own.
    fn is_hard_for_the_library(&self) -> bool {
        let counts = |index: &usize| {
            let rule = &self.profile.syscalls().as_ref().unwrap()[*index];
            rule.action().as_u32(rule.errno_ret()) != self.default()
        };
        self.pseudo.iter().any(counts) || !self.rules.values().flatten().any(|(index, _)| counts(index))
    }

    fn is_newer(&self, number: u32) -> bool {
        let permissive = matches!(
            self.profile.default_action(),
            LinuxSeccompAction::ScmpActAllow
                | LinuxSeccompAction::ScmpActLog
                | LinuxSeccompAction::ScmpActTrace
        );
        !permissive && self.largest.is_some_and(|largest| number > largest)
    }

    fn verdict(&self, number: u32, arguments: &[u64; 6]) -> u32 {
        if self.is_newer(number) {
            return ENOSYS;
        }
        self.actions(number, arguments)
            .first()
            .copied()
            .unwrap_or_else(|| self.default())
    }
}

const WORDS: [u64; 9] = [
    0,
    1,
    8,
    0xffff_ffff,
    0x7e02_0000,
    0x1_0000_0000,
    0x1_0000_0008,
    u64::MAX,
    0x8000_0000_0000_0000,
];

/// Every number against every word at each of the first two arguments.
fn compare(profile: &LinuxSeccomp, filter: &Filter, library: ScmpArch, architecture: u32, base: u32) {
    let reading = Reading::new(profile, library);
    for number in base..base + 600 {
        for first in WORDS {
            for second in [0, 8, u64::MAX] {
                let arguments = [first, second, 0, 0, 0, 7];
                assert_eq!(
                    verdict(filter, architecture, number, arguments),
                    reading.verdict(number, &arguments),
                    "number {number:#x} with {arguments:x?} on {architecture:#x}"
                );
            }
        }
    }
}

/// In the manner of the engines' default profiles: deny by default, a long list, a few conditions.
fn usual() -> LinuxSeccomp {
    let denied = [
        "mount",
        "umount2",
        "clone",
        "clone3",
        "personality",
        "ptrace",
        "bpf",
        "kexec_load",
        "reboot",
        "socket",
    ];
    let names: Vec<String> = (0..335)
        .filter_map(|number| ScmpSyscall::from(number).get_name_by_arch(ScmpArch::X8664).ok())
        .filter(|name| !denied.contains(&name.as_str()))
        .chain(
            [
                "openat2",
                "close_range",
                "faccessat2",
                "epoll_pwait2",
                "not_a_call",
            ]
            .map(str::to_owned),
        )
        .collect();
    profile(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            {"names": names, "action": "SCMP_ACT_ALLOW"},
            {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]},
            {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 0x7e02_0000_u64, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {"names": ["reboot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
        ]
    }))
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_usual_profile_means_what_it_says_on_three_architectures() {
    let profile = usual();
    let filter = compile(&profile).unwrap();
    assert_eq!(filter.flags, FLAG_SPEC_ALLOW);
    assert_eq!(
        filter.program.len(),
        filter.instructions as usize * INSTRUCTION_BYTES
    );
    let unknown: Vec<_> = filter.warnings.iter().map(ToString::to_string).collect();
    assert!(
        unknown.len() == 1 && unknown[0].ends_with("unknown seccomp syscall \"not_a_call\", ignored"),
        "{unknown:?}"
    );
    compare(&profile, &filter, ScmpArch::X8664, X86_64, 0);
    compare(&profile, &filter, ScmpArch::X32, X86_64, X32_BIT);
    compare(&profile, &filter, ScmpArch::X86, I386, 0);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn numbers_are_those_of_the_kernel() {
    let filter = compile(&usual()).unwrap();
    let at = |number: i64| verdict(&filter, X86_64, u32::try_from(number).unwrap(), [0; 6]);
    assert_eq!(at(libc::SYS_read), 0x7fff_0000);
    assert_eq!(at(libc::SYS_mount), 0x5_0001);
    assert_eq!(at(libc::SYS_clone3), ENOSYS);
    assert_eq!(at(libc::SYS_epoll_pwait2), 0x7fff_0000, "441, the largest named");
    assert_eq!(at(libc::SYS_mount_setattr), ENOSYS, "442, newer than the profile");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn uncovered_architectures_are_killed() {
    let value = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"}]});
    let filter = compile(&profile(value)).unwrap();
    for number in 0..600 {
        assert_eq!(verdict(&filter, I386, number, [0; 6]), KILL_THREAD, "{number}");
        assert_eq!(verdict(&filter, AARCH64, number, [0; 6]), KILL_THREAD, "{number}");
        assert_eq!(
            verdict(&filter, X86_64, X32_BIT + number, [0; 6]),
            KILL_THREAD,
            "{number}"
        );
    }
    let value = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_MIPS", "SCMP_ARCH_AARCH64"],
        "syscalls": [{"names": ["reboot"], "action": "SCMP_ACT_KILL_PROCESS"}]});
    let filter = compile(&profile(value)).unwrap();
    assert_eq!(
        filter.warnings.len(),
        1,
        "of the other byte order: {:?}",
        filter.warnings
    );
    assert_eq!(filter.warnings[0].field, "linux.seccomp.architectures[0]");
    assert_eq!(
        verdict(&filter, AARCH64, 142, [0; 6]),
        0x8000_0000,
        "reboot there"
    );
    assert_eq!(verdict(&filter, AARCH64, 63, [0; 6]), 0x7fff_0000, "read there");
}

#[test]
fn every_action_has_its_value() {
    for (action, errno, expected) in [
        ("SCMP_ACT_KILL", None, 0),
        ("SCMP_ACT_KILL_THREAD", None, 0),
        ("SCMP_ACT_KILL_PROCESS", None, 0x8000_0000),
        ("SCMP_ACT_TRAP", None, 0x3_0000),
        ("SCMP_ACT_ERRNO", None, 0x5_0001),
        ("SCMP_ACT_ERRNO", Some(0), 0x5_0000),
        ("SCMP_ACT_ERRNO", Some(4094), 0x5_0ffe),
        ("SCMP_ACT_TRACE", None, 0x7ff0_0001),
        ("SCMP_ACT_TRACE", Some(65535), 0x7ff0_ffff_u32),
        ("SCMP_ACT_LOG", None, 0x7ffc_0000),
    ] {
        let rule = json!({"names": ["reboot"], "action": action, "errnoRet": errno});
        let filter = compile(&profile(
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}),
        ))
        .unwrap();
        let reboot = u32::try_from(libc::SYS_reboot).unwrap();
        assert_eq!(
            verdict(&filter, Reading::native(), reboot, [0; 6]),
            expected,
            "{action} {errno:?}"
        );
        let filter = compile(&profile(
            json!({"defaultAction": action, "defaultErrnoRet": errno}),
        ))
        .unwrap();
        assert_eq!(
            verdict(&filter, Reading::native(), 1, [0; 6]),
            expected,
            "{action} {errno:?} by default"
        );
    }
}

impl Reading<'_> {
    fn native() -> u32 {
        if cfg!(target_arch = "x86_64") {
            X86_64
        } else {
            AARCH64
        }
    }

    fn native_library() -> ScmpArch {
        ScmpArch::Native
    }
}

#[test]
fn conditions_are_joined_by_and_unless_they_share_an_argument() {
    let condition =
        |index: usize, op: &str, value: u64| json!({"index": index, "op": op, "value": value, "valueTwo": 8});
    for conditions in [
        json!([condition(0, "SCMP_CMP_EQ", 1), condition(1, "SCMP_CMP_EQ", 8)]),
        json!([condition(0, "SCMP_CMP_EQ", 1), condition(0, "SCMP_CMP_EQ", 8)]),
        json!([
            condition(0, "SCMP_CMP_EQ", 1),
            condition(1, "SCMP_CMP_EQ", 8),
            condition(0, "SCMP_CMP_EQ", 8)
        ]),
        json!([
            condition(0, "SCMP_CMP_MASKED_EQ", 0xf),
            condition(5, "SCMP_CMP_NE", 8)
        ]),
        json!([
            condition(1, "SCMP_CMP_GT", 1),
            condition(0, "SCMP_CMP_LE", 0x1_0000_0000)
        ]),
    ] {
        let profile = profile(json!({"defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": ["ioctl", "fcntl"], "action": "SCMP_ACT_ALLOW", "args": conditions}]}));
        let filter = compile(&profile).unwrap();
        compare(&profile, &filter, Reading::native_library(), Reading::native(), 0);
    }
}

#[test]
fn redundant_and_repeated_rules_are_fine() {
    let profile = profile(
        json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5, "syscalls": [
            {"names": ["reboot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5},
            {"names": ["read", "read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
        ]}),
    );
    let filter = compile(&profile).unwrap();
    compare(&profile, &filter, Reading::native_library(), Reading::native(), 0);
}

#[test]
fn a_default_of_enosys_or_one_that_allows_holds_for_newer_calls_too() {
    for (value, expected) in [
        (json!({"defaultAction": "SCMP_ACT_ERRNO"}), 0x5_0001),
        (
            json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38}),
            ENOSYS,
        ),
        (json!({"defaultAction": "SCMP_ACT_LOG"}), 0x7ffc_0000),
        (json!({"defaultAction": "SCMP_ACT_TRACE"}), 0x7ff0_0001),
    ] {
        let mut value = value;
        value["syscalls"] = json!([{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]);
        let errno = value["defaultErrnoRet"].is_null() && value["defaultAction"] == "SCMP_ACT_ERRNO";
        let filter = compile(&profile(value)).unwrap();
        let newest = if errno { ENOSYS } else { expected };
        assert_eq!(verdict(&filter, Reading::native(), 4000, [0; 6]), newest);
    }
}

#[test]
fn flags_are_those_of_the_call() {
    let flags = |list: Value| {
        compile(&profile(
            json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": list}),
        ))
        .unwrap()
    };
    assert_eq!(flags(Value::Null).flags, FLAG_SPEC_ALLOW);
    assert_eq!(flags(json!([])).flags, 0);
    assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_LOG"])).flags, 2);
    assert_eq!(
        flags(json!([
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            "SECCOMP_FILTER_FLAG_LOG",
            "SECCOMP_FILTER_FLAG_TSYNC"
        ]))
        .flags,
        6
    );
    let waiting = flags(json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]));
    assert_eq!((waiting.flags, waiting.warnings.len()), (0, 1));
}

#[test]
fn faults_are_named() {
    let rule = |rule: Value| json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]});
    let table = [
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}),
            "linux.seccomp.defaultErrnoRet: found 1, but SCMP_ACT_ALLOW takes no errno",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4095}),
            "linux.seccomp.defaultErrnoRet: found 4095, allowed with SCMP_ACT_ERRNO are 0 to 4094",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_NOTIFY"}),
            "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be used as default action",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}),
            "linux.seccomp.listenerMetadata: listenerMetadata must not be set without listenerPath",
        ),
        (
            rule(json!({"names": [], "action": "SCMP_ACT_ALLOW"})),
            "linux.seccomp.syscalls[0].names: found no name",
        ),
        (
            rule(json!({"names": ["a", ""], "action": "SCMP_ACT_ALLOW"})),
            "linux.seccomp.syscalls[0].names[1]: \"\" is not a valid syscall",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent.sock",
                "syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]}),
            "linux.seccomp.syscalls[0].names[0]: SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ),
        (
            rule(json!({"names": ["read"], "action": "SCMP_ACT_KILL", "errnoRet": 3})),
            "linux.seccomp.syscalls[0].errnoRet: found 3, but SCMP_ACT_KILL takes no errno",
        ),
        (
            rule(
                json!({"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}),
            ),
            "linux.seccomp.syscalls[0].args[0].index: found 6, allowed are 0 to 5",
        ),
    ];
    for (value, expected) in table {
        let error = compile(&profile(value)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSpec);
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

#[test]
fn a_listener_needs_an_agent() {
    let with = |path: Value, action: &str| {
        profile(json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path,
            "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], "syscalls": [{"names": ["mkdir"], "action": action}]}))
    };
    for path in [Value::Null, json!("")] {
        let error = compile(&with(path, "SCMP_ACT_NOTIFY")).unwrap_err();
        assert_eq!(
            (error.kind(), error.field()),
            (ErrorKind::InvalidSpec, Some("linux.seccomp.listenerPath"))
        );
    }
    let filter = compile(&with(json!("/run/agent.sock"), "SCMP_ACT_NOTIFY")).unwrap();
    assert_eq!(filter.flags, FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE_RECV);
    assert_eq!(filter.agent.unwrap().socket, "/run/agent.sock");
    // Nobody is asked.
    let filter = compile(&with(json!("/run/agent.sock"), "SCMP_ACT_LOG")).unwrap();
    assert_eq!((filter.flags, filter.agent), (0, None));
}

/// All pairs of operators and values on one argument. libseccomp 2.5 merges some of them wrongly (see `equal`).
#[test]
fn pairs_of_conditions_on_one_argument_are_right() {
    let operators = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
    for (first, second) in operators
        .iter()
        .flat_map(|first| operators.iter().map(move |second| (first, second)))
    {
        for (a, b) in [
            (1, 8),
            (8, 0xffff_ffff),
            (0x1_0000_0000, 8),
            (0x1_0000_0008, 0x1_0000_0000),
            (u64::MAX, 0),
        ] {
            let condition = |op: &str, value: u64| json!({"index": 0, "op": format!("SCMP_CMP_{op}"), "value": value, "valueTwo": value & 8});
            let rule = |conditions: Value| json!({"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": conditions});
            let one_rule = json!([rule(json!([condition(first, a), condition(second, b)]))]);
            let two_rules = json!([
                rule(json!([condition(first, a)])),
                rule(json!([condition(second, b)]))
            ]);
            for rules in [one_rule, two_rules] {
                let profile = profile(json!({"defaultAction": "SCMP_ACT_LOG", "syscalls": rules}));
                let filter = compile(&profile).unwrap();
                let reading = Reading::new(&profile, Reading::native_library());
                let number = u32::try_from(libc::SYS_ioctl).unwrap();
                for word in WORDS {
                    let arguments = [word, 0, 0, 0, 0, 0];
                    let found = verdict(&filter, Reading::native(), number, arguments);
                    assert_eq!(
                        found,
                        reading.verdict(number, &arguments),
                        "{first} {a:#x}, {second} {b:#x}, {word:#x}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_same_profile_gives_the_same_bytes() {
    assert_eq!(compile(&usual()).unwrap(), compile(&usual()).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Profiles of any default and any rules, each call named once, on the native architecture.
    #[test]
    fn random_profiles_mean_what_they_say(
        default in 0..5_usize,
        rules in proptest::collection::btree_map(0..330_u32, (0..5_usize, any::<bool>(), proptest::collection::vec((0..2_usize, 0..7_usize, 0..9_usize, 0..9_usize), 1..3)), 0..60),
    ) {
        let actions = ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_LOG", "SCMP_ACT_TRAP"];
        let operators = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
        let rules: Vec<Value> = rules
            .into_iter()
            .filter_map(|(number, (action, bare, conditions))| {
                let name = ScmpSyscall::from(i32::try_from(number).ok()?).get_name().ok()?;
                let conditions: Vec<Value> = conditions
                    .into_iter()
                    .map(|(index, op, value, two)| json!({"index": index, "op": format!("SCMP_CMP_{}", operators[op]),
                        "value": WORDS[value], "valueTwo": WORDS[two] & WORDS[value]}))
                    .collect();
                let conditions = if bare { Vec::new() } else { conditions };
                Some(json!({"names": [name], "action": actions[action], "args": conditions}))
            })
            .collect();
        let profile = profile(json!({"defaultAction": actions[default], "syscalls": rules}));
        let filter = compile(&profile).unwrap();
        compare(&profile, &filter, Reading::native_library(), Reading::native(), 0);
    }
}
