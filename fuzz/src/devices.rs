//! Device rules: the program of version 2, run by an interpreter of its own, against the plain meaning of the rules.

use oci_spec::runtime::LinuxDeviceCgroup;
use runtime_core::cgroup::devices::program::{Instruction, program};
use runtime_core::cgroup::devices::{DeviceKind, DeviceRule, device_rules};
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
    let mut numbers = vec![0, 1, 3, 5, 136, u32::MAX];
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
    let _ = rules.v1_writes();
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
                    let answer = run(&compiled, question);
                    assert_eq!(answer, allowed(&rules.rules, question), "{question:?} {listed:?}");
                    asks += 1;
                }
            }
        }
        if asks > 40_000 {
            break;
        }
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
