//! Classic BPF put together from its end to its beginning.
//!
//! A filter may only jump forward, so that whoever writes the end first knows every target. A conditional jump reaches
//! 255 instructions; what is farther is reached over a `return` of its own or an unconditional jump directly behind it.
//! Knows instructions only: no profile, no system call.

/// Opcodes of classic BPF (linux/bpf_common.h): BPF_LD|BPF_W|BPF_ABS and so on.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;

/// How far a conditional jump reaches, less one instruction that the jump's other target may need.
const REACH: usize = 254;

/// A comparison of the accumulator with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Compare {
    Equal = 0x15,
    Greater = 0x25,
    AtLeast = 0x35,
}

/// Where a filter goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// It ends with this SECCOMP_RET_* value.
    Return(u32),
    /// With the instruction of this position, counted from the end.
    At(usize),
}

/// `struct sock_filter`.
#[derive(Debug, Clone, Copy)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

/// A filter that grows towards its beginning.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// The last instruction first.
    code: Vec<Instruction>,
    /// The foremost `return` of each value.
    returns: Vec<(u32, usize)>,
}

impl Assembler {
    /// Loads the word at this offset of `struct seccomp_data`; what follows is the instruction added before.
    pub(super) fn load(&mut self, offset: u32) -> Target {
        Target::At(self.push(LOAD, 0, 0, offset))
    }

    /// Keeps these bits of the accumulator; what follows is the instruction added before.
    pub(super) fn mask(&mut self, bits: u32) -> Target {
        Target::At(self.push(AND, 0, 0, bits))
    }

    /// Compares the accumulator with a value.
    pub(super) fn branch(
        &mut self,
        compare: Compare,
        value: u32,
        if_true: Target,
        if_false: Target,
    ) -> Target {
        let (if_true, if_false) = (self.near(if_true), self.near(if_false));
        let (if_true, if_false) = (self.distance(if_true), self.distance(if_false));
        Target::At(self.push(compare as u16, if_true, if_false, value))
    }

    /// The program as the kernel takes it.
    pub(super) fn finish(self) -> Vec<u8> {
        self.code.into_iter().rev().flat_map(bytes).collect()
    }

    /// A position that a jump added next, or next but one, can reach.
    fn near(&mut self, target: Target) -> usize {
        let known = match target {
            Target::At(position) => Some(position),
            Target::Return(value) => self
                .returns
                .iter()
                .find(|(known, _)| *known == value)
                .map(|(_, position)| *position),
        };
        match (known, target) {
            (Some(position), _) if self.code.len() - position <= REACH => position,
            (_, Target::Return(value)) => self.give(value),
            (_, Target::At(position)) => self.jump(position),
        }
    }

    fn give(&mut self, value: u32) -> usize {
        let position = self.push(RETURN, 0, 0, value);
        self.returns.retain(|(known, _)| *known != value);
        self.returns.push((value, position));
        position
    }

    fn jump(&mut self, position: usize) -> usize {
        let distance = self.code.len() - position - 1;
        self.push(JUMP, 0, 0, u32::try_from(distance).unwrap_or(u32::MAX))
    }

    fn distance(&self, position: usize) -> u8 {
        // `near` sees to it that it fits; a filter with a wrong jump is refused by the kernel or by the tests.
        u8::try_from(self.code.len() - position - 1).unwrap_or(u8::MAX)
    }

    fn push(&mut self, code: u16, if_true: u8, if_false: u8, value: u32) -> usize {
        self.code.push(Instruction {
            code,
            if_true,
            if_false,
            value,
        });
        self.code.len() - 1
    }
}

fn bytes(instruction: Instruction) -> [u8; 8] {
    let [c0, c1] = instruction.code.to_ne_bytes();
    let [v0, v1, v2, v3] = instruction.value.to_ne_bytes();
    [c0, c1, instruction.if_true, instruction.if_false, v0, v1, v2, v3]
}
