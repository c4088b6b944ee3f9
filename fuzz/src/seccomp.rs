//! Seccomp profiles: the compiled filter, run by an interpreter of classic BPF, against a plain reading of the profile.
//!
//! Only for the machine's own architecture and for calls whose numbers the C library knows: what every other
//! architecture means is compared with libseccomp by the tests of runtime-core.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall};
use runtime_core::ErrorKind;
use runtime_core::seccomp::compile;
use serde_json::{Value, json};

use crate::bytes::Bytes;

/// Name and number. None is a function of a multiplexer or differs by architecture of the same kernel.
const CALLS: [(&str, i64); 12] = [
    ("read", libc::SYS_read),
    ("write", libc::SYS_write),
    ("mmap", libc::SYS_mmap),
    ("ioctl", libc::SYS_ioctl),
    ("socket", libc::SYS_socket),
    ("clone", libc::SYS_clone),
    ("personality", libc::SYS_personality),
    ("mount", libc::SYS_mount),
    ("ptrace", libc::SYS_ptrace),
    ("openat", libc::SYS_openat),
    ("bpf", libc::SYS_bpf),
    ("openat2", libc::SYS_openat2),
];
#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;
const ENOSYS: u32 = 0x5_0000 | 38;

/// Any JSON: compiled or refused, and what is compiled is a program that ends with an answer for every number.
pub(crate) fn profile(data: &[u8]) {
    let Ok(profile) = serde_json::from_slice::<LinuxSeccomp>(data) else {
        return;
    };
    match compile(&profile) {
        Ok(filter) => {
            for number in (0..600).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
                for architecture in [AUDIT_ARCH, 0x4000_0003, 0] {
                    run(&filter.program, number, architecture, [number.into(); 6]);
                }
            }
        }
        Err(error) => assert_ne!(error.kind(), ErrorKind::Internal, "{error}"),
    }
}

/// Profiles that are mostly right, asked about arguments at the edges of what they say.
pub(crate) fn structured(data: &[u8]) {
    let mut bytes = Bytes(data);
    let document = document(&mut bytes);
    let profile: LinuxSeccomp = serde_json::from_value(document).expect("a profile");
    let filter = match compile(&profile) {
        Ok(filter) => filter,
        Err(error) => {
            assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
            return;
        }
    };
    let rules = profile.syscalls().as_deref().unwrap_or_default();
    let mut values = vec![0, u64::MAX];
    for argument in rules.iter().flat_map(|rule| rule.args().iter().flatten()) {
        for value in [Some(argument.value()), argument.value_two()]
            .into_iter()
            .flatten()
        {
            values.extend([
                value,
                value.wrapping_sub(1),
                value.wrapping_add(1),
                value ^ 1 << 32,
            ]);
        }
    }
    for (_, number) in CALLS {
        let number = u32::try_from(number).expect("a small number");
        for round in 0..values.len().min(40) {
            let pick = |argument: usize| values[(round * (argument + 1) + argument) % values.len()];
            let arguments = std::array::from_fn(pick);
            let ours = run(&filter.program, number, AUDIT_ARCH, arguments);
            let expected = reading(&profile, number, &arguments);
            assert_eq!(ours, expected, "number {number} with {arguments:x?}: {profile:?}");
        }
    }
}

fn document(bytes: &mut Bytes<'_>) -> Value {
    let actions = [
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_KILL",
        "SCMP_ACT_TRAP",
        "SCMP_ACT_TRACE",
        "SCMP_ACT_LOG",
    ];
    let operators = [
        "SCMP_CMP_NE",
        "SCMP_CMP_LT",
        "SCMP_CMP_LE",
        "SCMP_CMP_EQ",
        "SCMP_CMP_GE",
        "SCMP_CMP_GT",
        "SCMP_CMP_MASKED_EQ",
    ];
    let default = bytes.choose(&actions);
    let mut rules = Vec::new();
    while !bytes.is_empty() && rules.len() < 20 {
        let names: Vec<&str> = (0..=bytes.byte() % 3).map(|_| bytes.choose(&CALLS).0).collect();
        let action = bytes.choose(&actions);
        let takes_errno = matches!(action, "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE");
        let errno = (takes_errno && bytes.chance(2)).then(|| bytes.number() & 0xfff);
        let arguments: Vec<Value> = (0..bytes.byte() % 4)
            .map(|_| {
                json!({"index": bytes.byte() % 6, "value": bytes.number(), "valueTwo": bytes.number(),
                       "op": bytes.choose(&operators)})
            })
            .collect();
        rules.push(json!({"names": names, "action": action, "errnoRet": errno, "args": arguments}));
    }
    json!({"defaultAction": default, "syscalls": rules})
}

/// What the profile says of a call. Rules that say what the default says are none; of the others a rule without
/// conditions comes first, then the first that holds. Two conditions on one argument make each a rule of its own.
fn reading(profile: &LinuxSeccomp, number: u32, arguments: &[u64; 6]) -> u32 {
    let default = profile.default_action().as_u32(profile.default_errno_ret());
    let rules = profile.syscalls().as_deref().unwrap_or_default();
    let number_of = |name: &str| {
        CALLS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, number)| *number)
    };
    let named = rules.iter().flat_map(LinuxSyscall::names);
    let largest = named.filter_map(|name| number_of(name)).max();
    // Allow, log and trace let a call go on.
    let permissive = matches!(default & 0xffff_0000, 0x7fff_0000 | 0x7ffc_0000 | 0x7ff0_0000);
    if !permissive && largest.is_some_and(|largest| i64::from(number) > largest) {
        return ENOSYS;
    }
    let mine = rules.iter().filter(|rule| {
        let numbers = rule.names().iter().filter_map(|name| number_of(name));
        numbers.into_iter().any(|one| one == i64::from(number))
            && rule.action().as_u32(rule.errno_ret()) != default
    });
    let (mut bare, mut conditional) = (None, None);
    for rule in mine {
        let action = rule.action().as_u32(rule.errno_ret());
        let conditions: Vec<&LinuxSeccompArg> = rule.args().iter().flatten().collect();
        let repeats = (0..6).any(|index| conditions.iter().filter(|one| one.index() == index).count() > 1);
        let vacuous =
            |one: &&LinuxSeccompArg| one.op() == LinuxSeccompOperator::ScmpCmpMaskedEq && one.value() == 0;
        let holds = |one: &&LinuxSeccompArg| holds(one, arguments);
        let (is_bare, matches) = match repeats {
            true => (conditions.iter().any(vacuous), conditions.iter().any(holds)),
            false => (conditions.iter().all(vacuous), conditions.iter().all(holds)),
        };
        if is_bare {
            bare = bare.or(Some(action));
        } else if matches {
            conditional = conditional.or(Some(action));
        }
    }
    bare.or(conditional).unwrap_or(default)
}

fn holds(condition: &LinuxSeccompArg, arguments: &[u64; 6]) -> bool {
    let (found, value) = (arguments[condition.index()], condition.value());
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

/// Classic BPF on `struct seccomp_data` (seccomp(2)), little endian.
fn run(program: &[u8], number: u32, architecture: u32, arguments: [u64; 6]) -> u32 {
    let mut data = [0u8; 64];
    data[..4].copy_from_slice(&number.to_ne_bytes());
    data[4..8].copy_from_slice(&architecture.to_ne_bytes());
    for (slot, argument) in data[16..].chunks_exact_mut(8).zip(arguments) {
        slot.copy_from_slice(&argument.to_ne_bytes());
    }
    let (steps, rest) = program.as_chunks::<8>();
    assert!(rest.is_empty() && steps.len() <= 4096);
    let (mut accumulator, mut at) = (0u32, 0usize);
    loop {
        let [low, high, if_true, if_false, value @ ..] = steps[at];
        let value = u32::from_ne_bytes(value);
        at += 1;
        let holds = match u16::from_ne_bytes([low, high]) {
            0x20 => {
                let from = usize::try_from(value).expect("an offset");
                assert_eq!(from % 4, 0);
                accumulator = u32::from_ne_bytes(data[from..from + 4].try_into().expect("four bytes"));
                continue;
            }
            0x54 => {
                accumulator &= value;
                continue;
            }
            0x05 => {
                at += usize::try_from(value).expect("a distance");
                continue;
            }
            0x06 => return value,
            0x15 => accumulator == value,
            0x25 => accumulator > value,
            0x35 => accumulator >= value,
            other => panic!("instruction {other:#x}"),
        };
        at += usize::from(if holds { if_true } else { if_false });
    }
}
