//! Our filter and libseccomp's say the same, for every number of every architecture and for arguments at the edges of
//! what the profile asks.
//!
//! Four differences are meant, and the tests say where each holds: calls newer than the profile get ENOSYS (as in
//! runc); calls that the library does not know yet are known here; where a call has several rules with conditions the
//! library, which merges them into one tree, follows an order of its own or is wrong; and it loses rules
//! where an architecture has none, or one for a function of socketcall(2) and ipc(2) without a number: then ours must be what the profile
//! says, read by itself. For the engines' profiles there is no such difference.

use super::*;

/// Architecture of the library, its name in a filter, first number.
const ABIS: [(ScmpArch, u32, u32); 3] = [
    (ScmpArch::X8664, X86_64, 0),
    (ScmpArch::X32, X86_64, X32_BIT),
    (ScmpArch::X86, I386, 0),
];

/// The number of a call that the library does not know.
pub(super) fn recent(name: &str, library: ScmpArch) -> Option<u32> {
    match names::Name::look_up(name).meaning(abi_of(library)) {
        names::Meaning::Call(number) => Some(number),
        _ => None,
    }
}

struct Tally {
    compared: usize,
    /// Rules contradict each other; the library may have refused one of them.
    ambiguous: usize,
    /// The library does not know the call.
    newer: usize,
    /// The library is wrong about several rules for one call: ours is what the profile says.
    contradicted: usize,
}

/// Compares on one architecture; `Err` names the first difference.
fn compare_with_library(
    profile: &LinuxSeccomp,
    (library, architecture, base): (ScmpArch, u32, u32),
) -> Result<Tally, String> {
    let filter = compile(profile).unwrap();
    let theirs = oracle::filter(profile);
    let reading = Reading::new(profile, library);
    // What each number is asked about.
    let mut asked: BTreeMap<u32, Vec<(usize, u64)>> = BTreeMap::new();
    for (number, index) in reading
        .rules
        .iter()
        .flat_map(|(number, rules)| rules.iter().map(move |(rule, _)| (number, rule)))
    {
        let about = asked.entry(*number).or_default();
        let rule = &profile.syscalls().as_ref().unwrap()[*index];
        for one in rule.args().iter().flatten() {
            about.push((one.index(), one.value()));
            about.extend(one.value_two().map(|two| (one.index(), two)));
        }
    }
    // Where an architecture has no rule, or one for a function of a multiplexer without a number, such as semop(2) on
    // x86, the library loses rules, also of the architecture that shares its name in the kernel: uselib(2), which x32
    // lacks, on x86_64.
    let loses = with_its_sibling(library)
        .iter()
        .any(|one| Reading::new(profile, *one).is_hard_for_the_library());
    let mut tally = Tally {
        compared: 0,
        ambiguous: 0,
        newer: 0,
        contradicted: 0,
    };
    let edges = [base + 4095, base + 0x0fff_ffff, base | 0x3fff_ffff];
    for number in (base..base + 1024).chain(edges) {
        for arguments in samples(number, asked.get(&number).map_or(&[][..], Vec::as_slice)) {
            let ours = verdict(&filter, architecture, number, arguments);
            let call = Call {
                number,
                architecture,
                arguments,
            };
            let actions: BTreeSet<u32> = reading.actions(number, &arguments).into_iter().collect();
            let expected = if reading.is_newer(number) {
                ENOSYS
            } else if reading.recent.contains(&number) {
                tally.newer += 1;
                reading.verdict(number, &arguments)
            } else if actions.len() > 1 || theirs.is_none() {
                tally.ambiguous += 1;
                reading.verdict(number, &arguments)
            } else {
                tally.compared += 1;
                run(theirs.as_deref().unwrap_or_default(), &call)
            };
            // The library merges the conditions of several rules into one tree, and is not always right about it.
            let merged = reading.rules.get(&number).map_or(0, Vec::len) > 1;
            if ours != expected && (merged || loses) && ours == reading.verdict(number, &arguments) {
                tally.contradicted += 1;
            } else if ours != expected {
                return Err(format!(
                    "{library:?} number {number:#x} with {arguments:x?}: ours {ours:#x}, expected {expected:#x}"
                ));
            }
        }
    }
    Ok(tally)
}

fn with_its_sibling(library: ScmpArch) -> &'static [ScmpArch] {
    match library {
        ScmpArch::X8664 | ScmpArch::X32 => &[ScmpArch::X8664, ScmpArch::X32],
        ScmpArch::X86 => &[ScmpArch::X86],
        ScmpArch::Aarch64 => &[ScmpArch::Aarch64],
        _ => &[ScmpArch::Arm],
    }
}

fn abi_of(library: ScmpArch) -> Abi {
    match library {
        ScmpArch::X8664 => Abi::X86_64,
        ScmpArch::X32 => Abi::X32,
        ScmpArch::X86 => Abi::X86,
        ScmpArch::Aarch64 => Abi::Aarch64,
        _ => Abi::Arm,
    }
}

/// Arguments around the values that a call is asked about, one argument at a time and all at once, and functions of the
/// multiplexers.
fn samples(number: u32, asked: &[(usize, u64)]) -> Vec<[u64; 6]> {
    let mut samples: Vec<[u64; 6]> = vec![[0; 6], [u64::MAX; 6], [1, 2, 3, 4, 5, 6]];
    if number == 102 || number == 117 {
        samples.extend((0..25).map(|function| [function, 0x7f00_0000_1000, 0, 0, 0, 0]));
    }
    let asked: BTreeSet<_> = asked.iter().collect();
    for (index, value) in &asked {
        let near = [
            *value,
            value.wrapping_sub(1),
            value.wrapping_add(1),
            !value,
            value & 0xffff_ffff,
            value | 0x1_0000_0000,
            value ^ 0x8000_0000_0000_0000,
        ];
        for base in [[0; 6], [1; 6], [u64::MAX; 6]] {
            for value in near {
                let mut arguments: [u64; 6] = base;
                arguments[*index] = value;
                samples.push(arguments);
                for (other, value) in asked.iter().filter(|asked| asked.0 != *index) {
                    let mut arguments = arguments;
                    arguments[*other] = *value;
                    samples.push(arguments);
                }
            }
        }
    }
    samples.sort_unstable();
    samples.dedup();
    samples
}

#[test]
#[cfg(target_arch = "x86_64")]
fn default_profiles_of_the_engines_get_libseccomps_verdicts() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/configs");
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let seccomp = &config["linux"]["seccomp"];
        if seccomp["syscalls"].as_array().is_none_or(Vec::is_empty) || seccomp["listenerPath"].is_string() {
            continue;
        }
        found.push(path.file_stem().unwrap().to_string_lossy().into_owned());
        let mut profile = seccomp.clone();
        profile["architectures"] = Value::Null;
        if !seen.insert(profile.to_string()) {
            continue;
        }
        for architectures in [
            json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
            json!(["SCMP_ARCH_X86_64"]),
        ] {
            let all = architectures.as_array().unwrap().len() == 3;
            profile["architectures"] = architectures;
            let profile = super::profile(profile.clone());
            assert_eq!(compile(&profile).unwrap().warnings, [], "{path:?}");
            for abi in ABIS {
                if all || abi.0 == ScmpArch::X8664 {
                    let tally =
                        compare_with_library(&profile, abi).unwrap_or_else(|why| panic!("{path:?}: {why}"));
                    assert!(tally.compared > 1_000, "{path:?}: {}", tally.compared);
                    assert_eq!((tally.ambiguous, tally.contradicted), (0, 0), "{path:?}");
                } else {
                    killed_elsewhere(&profile, abi);
                }
            }
        }
    }
    for engine in ["docker", "podman-root", "containerd-cri-container"] {
        assert!(found.contains(&engine.to_owned()), "{engine} not in {found:?}");
    }
}

/// An architecture that the profile does not name.
fn killed_elsewhere(profile: &LinuxSeccomp, (_, architecture, base): (ScmpArch, u32, u32)) {
    let (filter, theirs) = (compile(profile).unwrap(), oracle::filter(profile).unwrap());
    let edges = [base + 4095, base | 0x3fff_ffff];
    for number in (base..base + 1024).chain(edges) {
        let call = Call {
            number,
            architecture,
            arguments: [0; 6],
        };
        assert_eq!(run(&theirs, &call), KILL_THREAD);
        assert_eq!(run(&filter.program, &call), KILL_THREAD, "{number:#x}");
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn numbers_beyond_the_table_are_the_same() {
    for architectures in [
        json!(["SCMP_ARCH_X86_64"]),
        json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"]),
    ] {
        let profile = profile(
            json!({"defaultAction": "SCMP_ACT_LOG", "architectures": architectures,
            "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}),
        );
        let (filter, theirs) = (compile(&profile).unwrap(), oracle::filter(&profile).unwrap());
        for number in [
            0,
            1,
            X32_BIT - 1,
            X32_BIT,
            X32_BIT + 1,
            0x8000_0000,
            u32::MAX - 1,
            u32::MAX,
        ] {
            for architecture in [X86_64, I386, AARCH64, 0] {
                let call = Call {
                    number,
                    architecture,
                    arguments: [0; 6],
                };
                assert_eq!(
                    run(&filter.program, &call),
                    run(&theirs, &call),
                    "{number:#x} on {architecture:#x}"
                );
            }
        }
    }
}

/// The library loses rules of an architecture that has functions without a number of their own, and those of x86_64 where
/// x32 has none; ours are what the profile says.
#[test]
#[cfg(target_arch = "x86_64")]
fn what_the_library_loses() {
    for (name, abi) in [
        ("semop", 2),
        ("semtimedop", 2),
        ("recv", 2),
        ("accept", 2),
        ("uselib", 0),
    ] {
        for (default, action) in [("ALLOW", "ERRNO"), ("ERRNO", "ALLOW"), ("LOG", "TRAP")] {
            let profile = profile(json!({"defaultAction": format!("SCMP_ACT_{default}"),
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
                "syscalls": [{"names": [name], "action": format!("SCMP_ACT_{action}"),
                    "args": [{"index": 1, "op": "SCMP_CMP_NE", "value": 0}]}]}));
            let tally = compare_with_library(&profile, ABIS[abi]).unwrap();
            assert!(tally.contradicted > 0, "{name}: the library has learned it");
        }
    }
}

/// What libseccomp makes of the same names for the machines that are not this one.
#[test]
fn foreign_architectures_get_libseccomps_verdicts() {
    let mut value = serde_json::to_value(usual()).unwrap();
    value["architectures"] = json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]);
    let profile = profile(value);
    for abi in [(ScmpArch::Aarch64, AARCH64, 0), (ScmpArch::Arm, 0x4000_0028, 0)] {
        let tally = compare_with_library(&profile, abi).unwrap();
        assert!(tally.compared > 1_000);
    }
}

/// Every name that the library knows is in our table, with the same numbers; beyond that there are only newer calls.
#[test]
fn the_tables_agree() {
    assert!(calls::CALLS.is_sorted_by(|one, next| one.0 < next.0));
    let all = ABIS.iter().map(|(library, ..)| *library);
    for library in all.chain([ScmpArch::Aarch64, ScmpArch::Arm]) {
        let known = numbers(library);
        for (name, numbers) in &known {
            assert_eq!(meant(name, library), *numbers, "{name} on {library:?}");
        }
        for (name, _) in &calls::CALLS {
            let ours = meant(name, library);
            let found = ScmpSyscall::from_name_by_arch(name, library).map(|found| found.as_raw_syscall());
            // Some calls came to one architecture first.
            let newer = match found {
                Err(_) => true,
                Ok(number) => number < 0 && ours.iter().all(|(number, _)| *number & !X32_BIT > 450),
            };
            let big = ours.iter().any(|(number, _)| *number & !X32_BIT >= 1024);
            assert!(
                newer || big || ours == known.get(*name).cloned().unwrap_or_default(),
                "{name}"
            );
        }
    }
    for (name, number) in [
        ("mseal", 462),
        ("statmount", 457),
        ("open_tree_attr", 467),
        ("uretprobe", 335),
    ] {
        assert_eq!(
            names::Name::look_up(name).meaning(Abi::X86_64),
            names::Meaning::Call(number)
        );
        assert_eq!(
            names::Name::look_up(name).meaning(Abi::X32),
            names::Meaning::Call(number | X32_BIT)
        );
    }
    assert_eq!(
        names::Name::look_up("uretprobe").meaning(Abi::Aarch64),
        names::Meaning::Absent
    );
    assert_eq!(
        names::Name::look_up("riscv_hwprobe").meaning(Abi::X86_64),
        names::Meaning::Absent
    );
    assert_eq!(
        names::Name::look_up("no_such_call").meaning(Abi::X86_64),
        names::Meaning::Unknown
    );
}

/// Our numbers in the form of the library's.
fn meant(name: &str, library: ScmpArch) -> Vec<(u32, Option<u64>)> {
    match names::Name::look_up(name).meaning(abi_of(library)) {
        names::Meaning::Call(number) => vec![(number, None)],
        names::Meaning::Multiplexed {
            number,
            through,
            function,
        } => {
            let number = number.map(|number| (number, None));
            let through = (through, Some(u64::from(function)));
            number.into_iter().chain([through]).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether two conditions, of one rule or of two, order one argument of one call: libseccomp 2.5 merges their comparisons
/// into a tree that loses branches.
fn library_is_wrong(profile: &LinuxSeccomp) -> bool {
    let mut seen = BTreeSet::new();
    let rules = profile.syscalls().iter().flatten();
    rules
        .flat_map(|rule| rule.names().iter().map(move |name| (name, rule)))
        .any(|(name, rule)| {
            let mut conditions = rule.args().iter().flatten();
            conditions.any(|one| {
                use LinuxSeccompOperator as Op;
                let orders = matches!(
                    one.op(),
                    Op::ScmpCmpLt | Op::ScmpCmpLe | Op::ScmpCmpGe | Op::ScmpCmpGt
                );
                orders && !seen.insert((name, one.index()))
            })
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Profiles of any default and any rules, calls named several times.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn random_profiles_get_libseccomps_verdicts(
        default in 0..5_usize,
        rules in proptest::collection::vec((proptest::collection::vec(0..440_u32, 1..8), 0..5_usize, 0..3_usize,
            proptest::collection::vec((0..6_usize, 0..7_usize, 0..9_usize, 0..9_usize), 1..3)), 0..12),
    ) {
        let actions = ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_LOG", "SCMP_ACT_TRAP"];
        let operators = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
        let rules: Vec<Value> = rules
            .into_iter()
            .filter_map(|(numbers, action, bare, conditions)| {
                let names: Vec<String> = numbers
                    .into_iter()
                    .filter_map(|number| ScmpSyscall::from(i32::try_from(number).ok()?).get_name().ok())
                    .collect();
                let conditions: Vec<Value> = conditions
                    .into_iter()
                    .map(|(index, op, value, two)| json!({"index": index, "op": format!("SCMP_CMP_{}", operators[op]),
                        "value": WORDS[value], "valueTwo": WORDS[two]}))
                    .collect();
                let conditions = if bare == 0 { Vec::new() } else { conditions };
                (!names.is_empty()).then(|| json!({"names": names, "action": actions[action], "args": conditions}))
            })
            .collect();
        let profile = profile(json!({"defaultAction": actions[default], "syscalls": rules,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]}));
        if !library_is_wrong(&profile) {
            for abi in ABIS {
                if let Err(why) = compare_with_library(&profile, abi) {
                    panic!("{why}\n{}", serde_json::to_string(&profile).unwrap());
                }
            }
        }
    }
}
