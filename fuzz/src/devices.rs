//! Device rules: the program of version 2, the writes of version 1 and systemd's lists, each run by an interpreter of its
//! own, against the plain meaning of the rules.

use oci_spec::runtime::LinuxDeviceCgroup;
use runtime_core::ErrorKind;
use runtime_core::cgroup::Write;
use runtime_core::cgroup::devices::program::{Instruction, program};
use runtime_core::cgroup::devices::{DeviceKind, DeviceRule, device_rules};
use runtime_core::cgroup::systemd::{Property, Value, device_properties, device_properties_v1};
use serde_json::json;

use crate::bytes::Bytes;

/// A question of the kernel: kind (1 block, 2 character), major, minor, and the letters mknod 1, read 2, write 4.
#[derive(Debug, Clone, Copy)]
struct Question {
    kind: u32,
    major: u32,
    minor: u32,
    access: u32,
}

pub(crate) fn rules(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut listed: Vec<LinuxDeviceCgroup> = Vec::new();
    let mut numbers = vec![0, 1, 3, 5, 136, u32::MAX - 1];
    while !bytes.is_empty() && listed.len() < 24 {
        let number = |bytes: &mut Bytes<'_>| match bytes.chance(3) {
            true => None,
            false => Some(bytes.number() & 0xffff_ffff),
        };
        let (major, minor) = (number(&mut bytes), number(&mut bytes));
        let known = [major, minor].into_iter().flatten();
        numbers.extend(known.filter_map(|number| u32::try_from(number).ok()));
        let access = bytes.choose(&["rwm", "r", "w", "m", "rw", "rm", "wm"]);
        let kind = bytes.choose(&["c", "b", "a"]);
        let rule =
            json!({"allow": bytes.chance(2), "type": kind, "major": major, "minor": minor, "access": access});
        listed.push(serde_json::from_value(rule).expect("a rule"));
    }
    let Ok(rules) = device_rules(&listed, &[]) else {
        return;
    };
    let v1 = understood(rules.v1_writes()).map(|writes| Controller::after(&writes));
    let listed_v1 = understood(device_properties_v1(&rules)).map(|properties| Listed::of(&properties));
    let listed_v2 = Listed::of(&device_properties(&rules));
    let compiled = program(&rules);
    let mut asks = 0;
    for kind in [1, 2] {
        for &major in &numbers {
            for &minor in &numbers {
                for access in 1..8 {
                    let question = Question {
                        kind,
                        major,
                        minor,
                        access,
                    };
                    let expected = allowed(&rules.rules, question);
                    let what = || format!("{question:?} {listed:?}");
                    assert_eq!(run(&compiled, question), expected, "{}", what());
                    // Several letters at once need one exception that has them all, in version 1 (device_cgroup.c): less
                    // may be allowed then, and never more.
                    let one = access.is_power_of_two();
                    if let Some(controller) = &v1 {
                        let answer = controller.answer(question);
                        assert!(
                            answer == expected || !one && !answer,
                            "version 1: {answer}, {}",
                            what()
                        );
                    }
                    // systemd's list stands alone in version 1; in version 2 the program is there, too, and a list that
                    // cannot say the rules must not take anything away.
                    if let Some(list) = &listed_v1
                        && one
                    {
                        assert_eq!(list.answer(question), expected, "systemd, version 1: {}", what());
                    }
                    if one {
                        let answer = listed_v2.answer(question);
                        assert!(
                            answer == expected || listed_v2.open,
                            "systemd: {answer}, {}",
                            what()
                        );
                    }
                    asks += 1;
                }
            }
        }
        if asks > 40_000 {
            break;
        }
    }
}

/// What could not be said in this form is refused as that.
fn understood<T>(result: runtime_core::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            None
        }
    }
}

/// An exception or an entry of a list: kind, numbers, letters. No number is every number.
#[derive(Debug)]
struct Entry {
    kind: u32,
    major: Option<u32>,
    minor: Option<u32>,
    access: u32,
}

impl Entry {
    fn is_for(&self, question: Question) -> bool {
        self.kind == question.kind
            && self.major.is_none_or(|major| major == question.major)
            && self.minor.is_none_or(|minor| minor == question.minor)
    }
}

/// The number of a device, as the kernel reads it: all ones are every number (device_cgroup.c).
fn number(text: &str) -> Option<u32> {
    let number: Option<u32> = (text != "*").then(|| text.parse().expect("a number"));
    number.filter(|number| *number != u32::MAX)
}

fn letters(text: &str) -> u32 {
    text.chars().fold(0, |bits, letter| {
        bits | match letter {
            'm' => 1,
            'r' => 2,
            'w' => 4,
            other => panic!("the letter {other:?}"),
        }
    })
}

/// The devices controller of version 1: an answer, and exceptions from it.
#[derive(Debug, Default)]
struct Controller {
    default: bool,
    exceptions: Vec<Entry>,
}

impl Controller {
    fn after(writes: &[Write]) -> Self {
        let mut controller = Controller::default();
        for write in writes {
            let allow = match write.file.as_str() {
                "devices.allow" => true,
                "devices.deny" => false,
                other => panic!("the file {other:?}"),
            };
            if write.value == "a" {
                (controller.default, controller.exceptions) = (allow, Vec::new());
                continue;
            }
            // Taking back needs the very same numbers, so nothing is written twice.
            assert_ne!(allow, controller.default, "{write:?} says nothing");
            let words: Vec<&str> = write.value.split(' ').collect();
            let [kind, numbers, access] = words[..] else {
                panic!("{write:?} is no line of the controller");
            };
            let (major, minor) = numbers.split_once(':').expect("two numbers");
            controller.exceptions.push(Entry {
                kind: match kind {
                    "b" => 1,
                    "c" => 2,
                    other => panic!("the kind {other:?}"),
                },
                major: number(major),
                minor: number(minor),
                access: letters(access),
            });
        }
        controller
    }

    fn answer(&self, question: Question) -> bool {
        let mut of_device = self.exceptions.iter().filter(|entry| entry.is_for(question));
        if self.default {
            !of_device.any(|entry| entry.access & question.access != 0)
        } else {
            of_device.any(|entry| entry.access & question.access == question.access)
        }
    }
}

/// `DevicePolicy=` and `DeviceAllow=` (systemd.resource-control(5)).
#[derive(Debug)]
struct Listed {
    /// Everything is allowed.
    open: bool,
    entries: Vec<Entry>,
}

impl Listed {
    fn of(properties: &[Property]) -> Self {
        let [policy, allow] = properties else {
            panic!("{properties:?}");
        };
        assert_eq!(
            (policy.name.as_str(), allow.name.as_str()),
            ("DevicePolicy", "DeviceAllow")
        );
        let Value::Array(_, list) = &allow.value else {
            panic!("{allow:?}");
        };
        let open = match &policy.value {
            Value::Text(text) if text == "strict" => false,
            // With an empty list it is everything.
            Value::Text(text) if text == "auto" && list.is_empty() => true,
            other => panic!("{other:?} with {list:?}"),
        };
        let entries = list.iter().map(entry).collect();
        Self { open, entries }
    }

    fn answer(&self, question: Question) -> bool {
        let mut of_device = self.entries.iter().filter(|entry| entry.is_for(question));
        self.open || of_device.any(|entry| entry.access & question.access == question.access)
    }
}

/// `/dev/char/1:3`, `char-195` (all of a major number), `char-*` (all).
fn entry(value: &Value) -> Entry {
    let Value::Struct(parts) = value else {
        panic!("{value:?}");
    };
    let [Value::Text(path), Value::Text(access)] = &parts[..] else {
        panic!("{value:?}");
    };
    let (kind, numbers) = ["/dev/block/", "block-", "/dev/char/", "char-"]
        .iter()
        .enumerate()
        .find_map(|(place, start)| Some((place, path.strip_prefix(start)?)))
        .unwrap_or_else(|| panic!("{path:?}"));
    let (major, minor) = match numbers.split_once(':') {
        Some((major, minor)) => (major, minor),
        None => (numbers, "*"),
    };
    Entry {
        kind: if kind < 2 { 1 } else { 2 },
        major: number(major),
        minor: number(minor),
        access: letters(access),
    }
}

/// Letter by letter: the last rule for the device and the letter decides; without one it is no.
fn allowed(rules: &[DeviceRule], question: Question) -> bool {
    let matches = |rule: &&DeviceRule, letter: u32| {
        rule.devices.is_none_or(|devices| {
            let kind = match devices.kind {
                DeviceKind::Block => 1,
                DeviceKind::Char => 2,
            };
            kind == question.kind
                && devices.major.is_none_or(|major| major == question.major)
                && devices.minor.is_none_or(|minor| minor == question.minor)
                && u32::from(rule.access.bits()) & letter != 0
        })
    };
    [1, 2, 4]
        .into_iter()
        .filter(|letter| question.access & letter != 0)
        .all(|letter| {
            let last = rules.iter().rev().find(|rule| matches(rule, letter));
            last.is_some_and(|rule| rule.allow)
        })
}

/// The part of eBPF that device programs are made of (bpf(2), linux/bpf.h), with the checks of the kernel's verifier that
/// matter here: no read of an unwritten register, no jump backwards or outside.
fn run(program: &[Instruction], question: Question) -> bool {
    let context = [
        question.access << 16 | question.kind,
        question.major,
        question.minor,
    ];
    let mut registers: [Option<u32>; 11] = [None; 11];
    let mut at = 0;
    loop {
        let step = program[at];
        let read = |register: u8| registers[usize::from(register)].expect("a register that was written");
        let constant = step.constant.cast_unsigned();
        let mut jumps = false;
        match step.code {
            0x61 => {
                assert_eq!((step.src, step.offset % 4), (1, 0), "loads are from the context");
                let word = usize::try_from(step.offset).expect("inside") / 4;
                registers[usize::from(step.dst)] = Some(context[word]);
            }
            0x54 => registers[usize::from(step.dst)] = Some(read(step.dst) & constant),
            0x74 => registers[usize::from(step.dst)] = Some(read(step.dst) >> constant),
            0xbc => registers[usize::from(step.dst)] = Some(read(step.src)),
            // BPF_ALU and BPF_ALU64 with a constant below 2^31 are the same here.
            0xb4 | 0xb7 => registers[usize::from(step.dst)] = Some(constant),
            0x56 => jumps = read(step.dst) != constant,
            0x16 => jumps = read(step.dst) == constant,
            0x95 => return registers[0].expect("an answer") == 1,
            other => panic!("instruction {other:#x}"),
        }
        at += 1;
        if jumps {
            at += usize::try_from(step.offset).expect("a jump forwards");
        }
        assert!(at < program.len(), "the program ends without an answer");
    }
}
