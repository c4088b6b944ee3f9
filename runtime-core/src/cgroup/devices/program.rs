//! The eBPF program that filters devices in version 2 (BPF_PROG_TYPE_CGROUP_DEVICE).
//!
//! Pure: rules to instructions; nothing is loaded here. The kernel calls the program with the sort of device, the access
//! and the numbers, and takes 1 for yes. The rules are asked from the last to the first, with the letters of the access
//! that no rule has decided yet in a register: a rule that allows some of them leaves the rest to the rules before it, one
//! that denies any of them ends it. (A program that skips a rule which does not cover the whole access, as those of other
//! runtimes do, lets "rw" pass a rule that denies "w".)

use super::{Access, DeviceKind, DeviceRule, DeviceRules};

/// One instruction of eBPF in the kernel's layout (struct bpf_insn, little endian fields packed into 8 bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Class, source and operation.
    pub code: u8,
    /// The register that is written or compared.
    pub dst: u8,
    /// The other register.
    pub src: u8,
    /// How far to jump, or where to load from.
    pub offset: i16,
    /// The constant.
    pub constant: i32,
}

impl Instruction {
    /// The bytes that bpf(2) takes, on this machine.
    pub fn encode(self) -> u64 {
        let registers = if cfg!(target_endian = "little") {
            self.src << 4 | self.dst
        } else {
            self.dst << 4 | self.src
        };
        let mut bytes = [0u8; 8];
        bytes[0] = self.code;
        bytes[1] = registers;
        bytes[2..4].copy_from_slice(&self.offset.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.constant.to_ne_bytes());
        u64::from_ne_bytes(bytes)
    }
}

/// BPF_LDX | BPF_MEM | BPF_W
pub(super) const LOAD_WORD: u8 = 0x61;
/// BPF_ALU | BPF_AND | BPF_K
pub(super) const AND: u8 = 0x54;
/// BPF_ALU | BPF_RSH | BPF_K
pub(super) const SHIFT_RIGHT: u8 = 0x74;
/// BPF_ALU | BPF_MOV | BPF_X
pub(super) const MOVE: u8 = 0xbc;
/// BPF_ALU64 | BPF_MOV | BPF_K
pub(super) const SET: u8 = 0xb7;
/// BPF_JMP32 | BPF_JNE | BPF_K. The 64 bit compare would extend the sign of a large number.
pub(super) const JUMP_UNEQUAL: u8 = 0x56;
/// BPF_JMP32 | BPF_JEQ | BPF_K
pub(super) const JUMP_EQUAL: u8 = 0x16;
/// BPF_JMP | BPF_EXIT
pub(super) const EXIT: u8 = 0x95;

const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
/// The letters of the access that are not decided yet.
const OPEN: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// BPF_DEVCG_DEV_BLOCK and BPF_DEVCG_DEV_CHAR.
pub(super) fn kind_number(kind: DeviceKind) -> u32 {
    match kind {
        DeviceKind::Block => 1,
        DeviceKind::Char => 2,
    }
}

/// The program for the rules.
pub fn program(rules: &DeviceRules) -> Vec<Instruction> {
    let (default, rules) = rules.effective();
    // struct bpf_cgroup_dev_ctx: (access << 16 | kind), major, minor.
    let mut program = vec![
        load(KIND, 0),
        load(OPEN, 0),
        operate(AND, KIND, 0xffff),
        operate(SHIFT_RIGHT, OPEN, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    for rule in rules.iter().rev() {
        append(&mut program, rule);
    }
    program.extend(answer(default));
    program
}

fn append(program: &mut Vec<Instruction>, rule: &DeviceRule) {
    let Some(devices) = rule.devices else { return };
    let access = i32::from(rule.access.bits());
    let whole = rule.access == Access::ALL;
    let mut block = vec![(JUMP_UNEQUAL, KIND, as_constant(kind_number(devices.kind)))];
    block.extend(
        devices
            .major
            .map(|major| (JUMP_UNEQUAL, MAJOR, as_constant(major))),
    );
    block.extend(
        devices
            .minor
            .map(|minor| (JUMP_UNEQUAL, MINOR, as_constant(minor))),
    );
    match (whole, rule.allow) {
        (true, _) => {}
        (false, true) => block.extend([(AND, OPEN, !access), (JUMP_UNEQUAL, OPEN, 0)]),
        (false, false) => block.extend([
            (MOVE, SCRATCH, 0),
            (AND, SCRATCH, access),
            (JUMP_EQUAL, SCRATCH, 0),
        ]),
    }
    // A jump counts from the instruction behind it; the two of the answer are skipped too.
    let length = block.len() + 2;
    for (position, (code, register, constant)) in block.into_iter().enumerate() {
        let is_jump = code == JUMP_UNEQUAL || code == JUMP_EQUAL;
        let distance = i16::try_from(length - position - 1).unwrap_or(i16::MAX);
        program.push(Instruction {
            code,
            dst: register,
            src: if code == MOVE { OPEN } else { 0 },
            offset: if is_jump { distance } else { 0 },
            constant,
        });
    }
    program.extend(answer(rule.allow));
}

fn load(register: u8, offset: i16) -> Instruction {
    Instruction {
        code: LOAD_WORD,
        dst: register,
        src: CONTEXT,
        offset,
        constant: 0,
    }
}

fn operate(code: u8, register: u8, constant: i32) -> Instruction {
    Instruction {
        code,
        dst: register,
        src: 0,
        offset: 0,
        constant,
    }
}

fn answer(allow: bool) -> [Instruction; 2] {
    [operate(SET, ANSWER, i32::from(allow)), operate(EXIT, 0, 0)]
}

fn as_constant(number: u32) -> i32 {
    i32::from_ne_bytes(number.to_ne_bytes())
}
