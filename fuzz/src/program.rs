//! What init and its parent say to each other.

use runtime_core_program::{Command, FRAME_LEN, Frame, Program, Step};

/// Programs: every step is decoded and every list in it walked, as init does.
pub(crate) fn read(data: &[u8]) {
    let Ok(program) = Program::new(data) else { return };
    let mut seen = 0;
    for step in program.steps() {
        seen += 1;
        // Its text walks every string, list and table in the arena.
        if let Ok((line, step)) = step {
            let text = format!("{line} {step:?}");
            assert!(!text.is_empty());
            walk(&step);
        }
    }
    assert_eq!(seen, program.len());
}

/// Lists are decoded when they are walked, not when the step is.
fn walk(step: &Step<'_>) {
    if let Step::Exec { args, env, .. } = step {
        assert_eq!(args.iter().count(), args.len());
        assert_eq!(env.iter().count(), env.len());
    }
}

/// Frames both ways: what is read is written as the bytes that mean the same.
pub(crate) fn frame(data: &[u8]) {
    let (frames, _) = data.as_chunks::<FRAME_LEN>();
    for bytes in frames {
        if let Some(frame) = Frame::decode(bytes) {
            let written = frame.encode();
            assert_eq!(Frame::decode(&written), Some(frame));
            // All but the call, of which unknown numbers become none.
            assert_eq!((&written[..12], &written[16..]), (&bytes[..12], &bytes[16..]));
        }
        if let Some(command) = Command::decode(bytes) {
            assert_eq!(Command::decode(&command.encode()), Some(command));
        }
    }
}
