//! The frames between init and its parent: one fixed size, numbers only; a descriptor may travel beside a frame.

use crate::call::Call;

/// Bytes of every frame, both ways.
pub const FRAME_LEN: usize = 32;

const MAGIC: u32 = 0x5243_4631; // "RCF1"

/// What init says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum FrameKind {
    /// The step was reached; whether init goes on by itself is the step's own business.
    Reached = 0x1001,
    /// init waits for a descriptor; the root's may travel with the question.
    Wanted = 0x1002,
    /// A descriptor travels with this frame (the terminal's master).
    Descriptor = 0x1004,
    /// init went on in a sibling: its process descriptor travels with this frame, `value` is its pid as the
    /// sender sees it.
    Sibling = 0x1008,
    /// The next thing init does is to execute the program: end of file from now on means that it runs.
    Starting = 0x1010,
    /// The step failed; init is about to exit.
    Failed = 0x1020,
}

/// A frame from init.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// What it says.
    pub kind: FrameKind,
    /// The line of the schedule that init is at.
    pub line: u32,
    /// The call that failed, where one did.
    pub call: Call,
    /// The errno of a failure, else 0.
    pub errno: u32,
    /// More about a failure, by step: see [`detail`].
    pub detail: u32,
    /// A number that belongs to the kind.
    pub value: u64,
}

/// Meanings of [`Frame::detail`].
pub mod detail {
    /// Nothing more to say.
    pub const NONE: u32 = 0;
    /// FindProgram: a name without slash that no directory of PATH has.
    pub const NOT_IN_PATH: u32 = 1;
    /// FindProgram, Exec: the path does not exist.
    pub const MISSING: u32 = 2;
    /// FindProgram, Exec: there is such a file, but it may not be executed.
    pub const NOT_EXECUTABLE: u32 = 3;
    /// FindProgram, Exec: the path is a directory.
    pub const DIRECTORY: u32 = 4;
    /// Hook: ended by exit; the frame's value is the exit code.
    pub const HOOK_EXIT: u32 = 5;
    /// Hook: ended by a signal; the frame's value is its number.
    pub const HOOK_SIGNAL: u32 = 6;
    /// Hook: ran longer than its timeout and was killed.
    pub const HOOK_TIMEOUT: u32 = 7;
    /// A path inside the container is of the wrong type (a symlink where a directory must be, a device that differs).
    pub const WRONG_TYPE: u32 = 8;
    /// The working directory lies outside the container's root.
    pub const OUTSIDE: u32 = 9;
    /// A mount target below /proc that no mount may cover.
    pub const FORBIDDEN_TARGET: u32 = 10;
    /// MountFs, Remount: the filesystem refused the option; the frame's value is the option's position.
    pub const OPTION: u32 = 11;
    /// The program's bytes are not valid; a bug.
    pub const MALFORMED: u32 = 12;
    /// The peer of the start socket is neither root nor the owner of the container.
    pub const STRANGER: u32 = 13;
    /// The source of a mount, as opposed to its target, is at fault.
    pub const SOURCE: u32 = 14;
    /// A limit of init was exceeded (path length, size of a copied tree); the frame's value is the limit.
    pub const LIMIT: u32 = 15;
    /// The mounted root belongs to a mount that is already there and of another kind.
    pub const EXISTS: u32 = 16;
    /// ExecProfile, ExecLabel, KeyLabel: what was read back is not what was written.
    pub const OTHER_LABEL: u32 = 20;
}

/// What the parent says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Command {
    /// Go on; a descriptor travels with it where init asked for one.
    Go = 0x2001,
}

impl Frame {
    /// A frame that says only `kind` at `line`.
    pub const fn new(kind: FrameKind, line: u32) -> Self {
        Self {
            kind,
            line,
            call: Call::None,
            errno: 0,
            detail: detail::NONE,
            value: 0,
        }
    }

    /// The frame's bytes.
    pub fn encode(&self) -> [u8; FRAME_LEN] {
        let mut bytes = [0; FRAME_LEN];
        let words = [
            MAGIC,
            self.kind as u32,
            self.line,
            self.call as u32,
            self.errno,
            self.detail,
        ];
        for (slot, word) in bytes.chunks_exact_mut(4).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        if let Some(slot) = bytes.get_mut(24..) {
            slot.copy_from_slice(&self.value.to_le_bytes());
        }
        bytes
    }

    /// The frame of these bytes; None where they are none.
    pub fn decode(bytes: &[u8; FRAME_LEN]) -> Option<Self> {
        if word(bytes, 0) != MAGIC {
            return None;
        }
        let kind = match word(bytes, 4) {
            0x1001 => FrameKind::Reached,
            0x1002 => FrameKind::Wanted,
            0x1004 => FrameKind::Descriptor,
            0x1008 => FrameKind::Sibling,
            0x1010 => FrameKind::Starting,
            0x1020 => FrameKind::Failed,
            _ => return None,
        };
        Some(Self {
            kind,
            line: word(bytes, 8),
            call: Call::from_code(word(bytes, 12)),
            errno: word(bytes, 16),
            detail: word(bytes, 20),
            value: u64::from(word(bytes, 24)) | u64::from(word(bytes, 28)) << 32,
        })
    }
}

impl Command {
    /// The command's bytes.
    pub fn encode(self) -> [u8; FRAME_LEN] {
        let mut bytes = [0; FRAME_LEN];
        for (slot, word) in bytes.chunks_exact_mut(4).zip([MAGIC, self as u32]) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The command of these bytes; None where they are none.
    pub fn decode(bytes: &[u8; FRAME_LEN]) -> Option<Self> {
        (word(bytes, 0) == MAGIC && word(bytes, 4) == Self::Go as u32).then_some(Self::Go)
    }
}

fn word(bytes: &[u8; FRAME_LEN], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}
