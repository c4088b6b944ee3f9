//! A small interpreter of the classic BPF that seccomp filters are made of, for tests: what would the kernel answer?

/// One call, as `struct seccomp_data` without the instruction pointer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) architecture: u32,
    pub(super) arguments: [u64; 6],
}

impl Call {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.number.to_ne_bytes().to_vec();
        bytes.extend(self.architecture.to_ne_bytes());
        bytes.extend(0_u64.to_ne_bytes());
        bytes.extend(self.arguments.iter().flat_map(|argument| argument.to_ne_bytes()));
        bytes
    }
}

/// Runs `program` on `call` and gives the SECCOMP_RET_* value. Panics on anything that the kernel would not load.
pub(super) fn run(program: &[u8], call: &Call) -> u32 {
    let data = call.bytes();
    let (mut accumulator, mut index) = (0_u32, 0_u32);
    let mut memory = [0_u32; 16];
    let mut at = 0_usize;
    loop {
        let raw = &program[at * 8..at * 8 + 8];
        let code = u16::from_ne_bytes([raw[0], raw[1]]);
        let (if_true, if_false) = (usize::from(raw[2]), usize::from(raw[3]));
        let value = u32::from_ne_bytes([raw[4], raw[5], raw[6], raw[7]]);
        at += 1;
        let branch = |condition: bool| if condition { if_true } else { if_false };
        match code {
            0x20 => {
                let offset = value as usize;
                assert!(
                    offset.is_multiple_of(4) && offset + 4 <= data.len(),
                    "load at {offset}"
                );
                accumulator = u32::from_ne_bytes(data[offset..offset + 4].try_into().unwrap());
            }
            0x60 => accumulator = memory[value as usize],
            0x61 => index = memory[value as usize],
            0x02 => memory[value as usize] = accumulator,
            0x54 => accumulator &= value,
            0x05 => at += value as usize,
            0x15 => at += branch(accumulator == value),
            0x25 => at += branch(accumulator > value),
            0x35 => at += branch(accumulator >= value),
            0x45 => at += branch(accumulator & value != 0),
            0x1d => at += branch(accumulator == index),
            0x06 => return value,
            0x16 => return accumulator,
            other => panic!("instruction {other:#x} at {}", at - 1),
        }
    }
}
