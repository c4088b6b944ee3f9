//! Device rules: parsing, the lines of version 1 against a model of the kernel's controller, and the program of version 2
//! in a small interpreter against the plain meaning of the rules.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::json;

use super::program::{
    AND, EXIT, Instruction, JUMP_EQUAL, JUMP_UNEQUAL, LOAD_WORD, MOVE, SET, SHIFT_RIGHT, kind_number, program,
};
use super::*;

fn rules(value: serde_json::Value) -> Result<DeviceRules> {
    let rules: Vec<LinuxDeviceCgroup> = serde_json::from_value(value).unwrap();
    device_rules(&rules, &[])
}

/// The rules without the runtime's own.
fn bare(value: serde_json::Value) -> DeviceRules {
    let mut rules = rules(value).unwrap();
    rules.rules.retain(|rule| rule.origin != DEFAULTS);
    rules
}

fn lines(rules: &DeviceRules) -> Vec<String> {
    let writes = rules.v1_writes().unwrap();
    writes
        .iter()
        .map(|write| format!("{} {}", write.file.trim_start_matches("devices."), write.value))
        .collect()
}

/// What a process asks for.
#[derive(Debug, Clone, Copy)]
struct Request {
    kind: DeviceKind,
    major: u32,
    minor: u32,
    access: u8,
}

/// The meaning of the rules, letter by letter: the last rule for the device and the letter decides.
fn allowed(rules: &[DeviceRule], request: Request) -> bool {
    [1u8, 2, 4]
        .into_iter()
        .filter(|letter| request.access & letter != 0)
        .all(|letter| {
            let mut answer = false;
            for rule in rules {
                let matches = match rule.devices {
                    None => true,
                    Some(devices) => {
                        devices.kind == request.kind
                            && devices.major.is_none_or(|major| major == request.major)
                            && devices.minor.is_none_or(|minor| minor == request.minor)
                            && rule.access.bits() & letter != 0
                    }
                };
                if matches {
                    answer = rule.allow;
                }
            }
            answer
        })
}

/// Runs a program on `struct bpf_cgroup_dev_ctx`. Knows what the generator emits and panics at anything else, at a read
/// of a register that was not written, and at a jump backwards or out of the program.
fn run(program: &[Instruction], request: Request) -> bool {
    let context = [
        u32::from(request.access) << 16 | kind_number(request.kind),
        request.major,
        request.minor,
    ];
    let mut registers: [Option<u64>; 11] = [None; 11];
    let mut at = 0usize;
    loop {
        let step = program[at];
        let (dst, src) = (usize::from(step.dst), usize::from(step.src));
        let constant = u32::from_ne_bytes(step.constant.to_ne_bytes());
        let low = |value: Option<u64>| {
            u32::try_from(value.expect("a register without a value") & 0xffff_ffff).unwrap()
        };
        let mut jump = false;
        match step.code {
            LOAD_WORD => {
                assert_eq!(src, 1, "loads are from the context");
                assert_eq!(step.offset % 4, 0);
                registers[dst] = Some(u64::from(context[usize::try_from(step.offset).unwrap() / 4]));
            }
            AND => registers[dst] = Some(u64::from(low(registers[dst]) & constant)),
            SHIFT_RIGHT => registers[dst] = Some(u64::from(low(registers[dst]) >> constant)),
            MOVE => registers[dst] = Some(u64::from(low(registers[src]))),
            SET => registers[dst] = Some(u64::from(constant)),
            JUMP_UNEQUAL => jump = low(registers[dst]) != constant,
            JUMP_EQUAL => jump = low(registers[dst]) == constant,
            EXIT => return registers[0].expect("an answer") == 1,
            other => panic!("unknown instruction {other:#x}"),
        }
        at += 1;
        if jump {
            assert!(step.offset > 0, "a jump forwards");
            at += usize::try_from(step.offset).unwrap();
        }
        assert!(at < program.len(), "the end of the program without an answer");
    }
}

/// The controller of version 1 in the kernel (security/device_cgroup.c), for a group below one that allows everything.
#[derive(Default)]
struct Kernel {
    allow: bool,
    exceptions: Vec<(Devices, u8)>,
}

impl Kernel {
    fn write(&mut self, allow: bool, value: &str) {
        if value == "a" {
            *self = Self {
                allow,
                exceptions: Vec::new(),
            };
            return;
        }
        let fields: Vec<&str> = value.split([' ', ':']).collect();
        let [kind, major, minor, access] = fields[..] else {
            panic!("malformed line {value:?}")
        };
        let kind = if kind == "c" {
            DeviceKind::Char
        } else {
            DeviceKind::Block
        };
        let devices = Devices {
            kind,
            major: major.parse().ok(),
            minor: minor.parse().ok(),
        };
        let access = Access::parse(access, "line").unwrap().bits();
        if allow == self.allow {
            // dev_exception_rm: only one with the same numbers.
            for exception in &mut self.exceptions {
                if exception.0 == devices {
                    exception.1 &= !access;
                }
            }
        } else {
            self.exceptions.push((devices, access));
        }
    }

    fn allows(&self, request: Request) -> bool {
        let mut matching = self.exceptions.iter().filter(|(devices, _)| {
            devices.kind == request.kind
                && devices.major.is_none_or(|major| major == request.major)
                && devices.minor.is_none_or(|minor| minor == request.minor)
        });
        if self.allow {
            // match_exception_partial: any letter that is denied.
            matching.all(|(_, access)| access & request.access == 0)
        } else {
            // match_exception: one exception with all the letters.
            matching.any(|(_, access)| request.access & !access == 0)
        }
    }
}

fn some_number() -> impl Strategy<Value = Option<u32>> {
    prop_oneof![
        2 => Just(None),
        6 => (0u32..4).prop_map(Some),
        1 => Just(Some(0x8000_0001)),
        1 => Just(Some(u32::MAX)),
    ]
}

fn some_kind() -> impl Strategy<Value = DeviceKind> {
    prop_oneof![Just(DeviceKind::Char), Just(DeviceKind::Block)]
}

fn some_rule() -> impl Strategy<Value = DeviceRule> {
    let devices = (some_kind(), some_number(), some_number())
        .prop_map(|(kind, major, minor)| Some(Devices { kind, major, minor }));
    let devices = prop_oneof![8 => devices, 1 => Just(None)];
    (any::<bool>(), devices, 1u8..8).prop_map(|(allow, devices, access)| DeviceRule {
        allow,
        devices,
        access: Access(access),
        origin: String::new(),
    })
}

fn some_request() -> impl Strategy<Value = Request> {
    let number = || prop_oneof![8 => 0u32..5, 1 => Just(0x8000_0001u32), 1 => Just(u32::MAX)];
    (some_kind(), number(), number(), 1u8..8).prop_map(|(kind, major, minor, access)| Request {
        kind,
        major,
        minor,
        access,
    })
}

/// N-21. With 12 questions each: 100,800.
#[test]
#[allow(clippy::print_stdout, reason = "its verdict is a line of JSON")]
fn the_program_answers_as_the_rules_mean() {
    const CASES: u32 = 8400;
    const QUESTIONS: usize = 12;
    let config = ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let asked = (
        prop::collection::vec(some_rule(), 0..12),
        prop::collection::vec(some_request(), QUESTIONS),
    );
    let answers = [const { Cell::new(0_u64) }; 2];
    let result = TestRunner::new(config).run(&asked, |(rules, requests)| {
        let code = program(&DeviceRules { rules: rules.clone() });
        for request in requests {
            let meant = allowed(&rules, request);
            prop_assert_eq!(run(&code, request), meant, "{:?} {:?}", rules, request);
            let count = &answers[usize::from(meant)];
            count.set(count.get() + 1);
        }
        Ok(())
    });
    let [no, yes] = answers.map(Cell::into_inner);
    println!(
        "{{\"id\":\"N-21\",\"verdict\":\"{}\",\"evidence\":\"{CASES} sets of rules, {} questions, as the rules mean: \
         {no} denied, {yes} allowed\"}}",
        if result.is_ok() { "passed" } else { "failed" },
        no + yes
    );
    result.unwrap();
    // Answers of one kind alone would show little.
    assert!(no + yes == 100_800 && no > 10_000 && yes > 10_000, "{no} {yes}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    /// The one difference: the kernel of version 1 wants all letters of an access from one exception, and may refuse what
    /// several rules allow together. It never allows more.
    #[test]
    fn the_lines_of_version_1_mean_the_same_or_are_refused(
        rules in prop::collection::vec(some_rule(), 0..8),
        requests in prop::collection::vec(some_request(), 1..24),
    ) {
        let set = DeviceRules { rules: rules.clone() };
        match set.v1_writes() {
            Err(error) => prop_assert!(error.to_string().contains("cannot punch hole")),
            Ok(writes) => {
                let mut kernel = Kernel::default();
                for write in writes {
                    kernel.write(write.file == "devices.allow", &write.value);
                }
                for request in requests {
                    let (found, meant) = (kernel.allows(request), allowed(&rules, request));
                    let one_letter = request.access.count_ones() == 1;
                    let right = if one_letter { found == meant } else { meant || !found };
                    prop_assert!(right, "{:?} {:?}: {} for {}", rules, request, found, meant);
                }
            }
        }
    }
}

#[test]
fn a_denied_letter_denies_the_whole_access() {
    let rules = bare(json!([
        {"allow": true, "access": "rwm"},
        {"allow": false, "type": "c", "major": 1, "minor": 3, "access": "w"},
    ]));
    let code = program(&rules);
    let ask = |access| {
        run(
            &code,
            Request {
                kind: DeviceKind::Char,
                major: 1,
                minor: 3,
                access,
            },
        )
    };
    assert!(ask(2) && ask(1) && ask(3));
    assert!(!ask(4) && !ask(6));
}

#[test]
fn letters_may_come_from_different_rules() {
    let rules = bare(json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "access": "r"},
        {"allow": true, "type": "c", "minor": 3, "access": "w"},
    ]));
    let code = program(&rules);
    let ask = |major, minor| {
        run(
            &code,
            Request {
                kind: DeviceKind::Char,
                major,
                minor,
                access: 6,
            },
        )
    };
    assert!(ask(1, 3));
    assert!(!ask(1, 4) && !ask(2, 3));
}

#[test]
fn what_docker_writes_in_lines_of_version_1() {
    let set = rules(json!([{"allow": false, "access": "rwm"}])).unwrap();
    assert_eq!(
        lines(&set),
        [
            "deny a",
            "allow b *:* m",
            "allow c *:* m",
            "allow c 1:3 rwm",
            "allow c 1:5 rwm",
            "allow c 1:7 rwm",
            "allow c 1:8 rwm",
            "allow c 1:9 rwm",
            "allow c 5:0 rwm",
            "allow c 5:2 rwm",
            "allow c 10:200 rwm",
            "allow c 136:* rwm",
        ]
    );
    assert_eq!(
        set.lines()[0],
        (
            "deny a *:* rwm".to_owned(),
            "linux.resources.devices[0]".to_owned()
        )
    );
    // A privileged container.
    let all = rules(json!([{"allow": true, "access": "rwm"}])).unwrap();
    assert!(all.allow_everything());
    assert_eq!(lines(&all), ["allow a"]);
    // No rules at all still deny.
    assert!(!rules(json!([])).unwrap().allow_everything());
}

#[test]
fn rules_that_version_1_cannot_have() {
    let hole = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "access": "rw"},
        {"allow": false, "type": "c", "major": 1, "minor": 5, "access": "w"},
    ]);
    let error = bare(hole.clone()).v1_writes().unwrap_err();
    assert_eq!(error.field(), Some("linux.resources.devices[2]"));
    assert!(
        error
            .to_string()
            .contains("cannot punch hole in existing wildcard rule c 1:* rw"),
        "{error}"
    );
    // Version 2 can.
    let code = program(&bare(hole));
    let ask = |minor| {
        run(
            &code,
            Request {
                kind: DeviceKind::Char,
                major: 1,
                minor,
                access: 4,
            },
        )
    };
    assert!(ask(4) && !ask(5));
}

#[test]
fn a_wider_rule_takes_narrower_ones_back() {
    let set = bare(json!([
        {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rw"},
        {"allow": true, "type": "b", "major": 1, "access": "r"},
        {"allow": false, "type": "c", "access": "w"},
    ]));
    assert_eq!(lines(&set), ["deny a", "allow b 1:* r", "allow c 1:5 r"]);
}

#[test]
fn rules_that_nobody_can_have() {
    for (rule, field, part) in [
        (
            json!({"allow": true, "access": ""}),
            "access",
            "device access cannot be empty",
        ),
        (json!({"allow": true}), "access", "device access cannot be empty"),
        (json!({"allow": true, "access": "rx"}), "access", "'x' in \"rx\""),
        (
            json!({"allow": true, "access": "r", "type": "p"}),
            "type",
            "a (all), b (block) and c (char)",
        ),
        (
            json!({"allow": true, "access": "r", "type": "c", "major": -2}),
            "major",
            "0 to 4294967294",
        ),
        (
            json!({"allow": true, "access": "r", "type": "c", "minor": 1_i64 << 32}),
            "minor",
            "0 to 4294967294",
        ),
        (
            json!({"allow": true, "access": "r", "type": "c", "major": u32::MAX}),
            "major",
            "0 to 4294967294",
        ),
    ] {
        let error = rules(json!([{"allow": false, "access": "rwm"}, rule])).unwrap_err();
        assert_eq!(
            error.field().unwrap(),
            format!("linux.resources.devices[1].{field}")
        );
        assert!(error.to_string().contains(part), "{error}");
    }
    let wild = bare(json!([{"allow": true, "type": "c", "major": -1, "minor": -1, "access": "r"}]));
    assert_eq!(wild.rules[0].to_string(), "allow c *:* r");
}

#[test]
fn a_device_of_the_configuration_takes_the_rule_of_the_default_away() {
    let devices: Vec<LinuxDevice> =
        serde_json::from_value(json!([{"path": "/dev/null", "type": "c", "major": 200, "minor": 1}]))
            .unwrap();
    let set = device_rules(&[], &devices).unwrap();
    assert!(!set.rules.iter().any(|rule| rule.to_string() == "allow c 1:3 rwm"));
    assert_eq!(set.rules.len(), DEFAULT_RULES.len() - 1);
}

#[test]
fn rules_survive_json() {
    let set = rules(json!([{"allow": false, "access": "rwm"}])).unwrap();
    let text = serde_json::to_string(&set).unwrap();
    assert_eq!(serde_json::from_str::<DeviceRules>(&text).unwrap(), set);
}

#[test]
fn a_default_is_turned_off_by_denying_its_devices_by_name() {
    let of_default = |value: serde_json::Value, devices: &str| -> Option<String> {
        let rules = rules(value).unwrap().rules;
        let own = rules.iter().find(|rule| {
            rule.origin == DEFAULTS && rule.devices.is_some_and(|own| own.to_string() == devices)
        });
        own.map(|rule| rule.access.to_string())
    };
    let deny = |major: i64, minor: i64, access: &str| json!({"allow": false, "type": "c", "major": major, "minor": minor, "access": access});
    let all = json!({"allow": false, "access": "rwm"});
    assert_eq!(of_default(json!([all]), "c 10:200").as_deref(), Some("rwm"));
    assert_eq!(of_default(json!([all, deny(10, 200, "rwm")]), "c 10:200"), None);
    assert_eq!(
        of_default(json!([all, deny(10, 200, "w")]), "c 10:200").as_deref(),
        Some("rm")
    );
    // Not by a rule for more devices, nor by one that a later rule takes back or forgets.
    assert_eq!(
        of_default(json!([all, deny(10, -1, "rwm")]), "c 10:200").as_deref(),
        Some("rwm")
    );
    assert_eq!(
        of_default(json!([deny(10, 200, "rwm"), all]), "c 10:200").as_deref(),
        Some("rwm")
    );
    let allow = json!({"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw"});
    assert_eq!(
        of_default(json!([deny(10, 200, "rwm"), allow]), "c 10:200").as_deref(),
        Some("rw")
    );
    // Making nodes is a default, too, for every number.
    let no_nodes = json!([all, {"allow": false, "type": "b", "access": "m"}]);
    assert_eq!(of_default(no_nodes.clone(), "b *:*"), None);
    assert_eq!(of_default(no_nodes, "c *:*").as_deref(), Some("m"));
}

#[test]
fn the_letter_a_is_no_access_and_is_told() {
    let value = json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rwa"}]);
    assert_eq!(bare(value.clone()).rules[1].access.to_string(), "rw");
    let rules: Vec<LinuxDeviceCgroup> = serde_json::from_value(value).unwrap();
    let warnings = access_warnings(&rules);
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].field, "linux.resources.devices[1].access");
    // Alone it is no access at all.
    let alone: Vec<LinuxDeviceCgroup> =
        serde_json::from_value(json!([{"allow": true, "access": "a"}])).unwrap();
    let error = device_rules(&alone, &[]).unwrap_err();
    assert!(
        error.to_string().contains("device access cannot be empty"),
        "{error}"
    );
}
