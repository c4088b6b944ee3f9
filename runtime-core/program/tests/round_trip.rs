//! What the writer writes the reader reads back, and no bytes make the reader panic.
#![cfg(feature = "writer")]
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use runtime_core_program::{Frame, Program, Step, StepBuf, Text, Writer};

#[test]
fn a_program_reads_back_as_it_was_written() {
    let text = |text: &str| Text::new(text).unwrap();
    let mut writer = Writer::new();
    writer.push(3, &StepBuf::CloseStray { keep: vec!["a", "b"] }, |name| {
        if *name == "a" { 7 } else { -1 }
    });
    writer.push(
        4,
        &StepBuf::<&str>::Exec {
            args: vec![text("sh"), text("-c")],
            env: vec![],
            home: 5,
            keep: 0,
        },
        |_| -1,
    );
    let bytes = writer.finish().unwrap();
    let program = Program::new(&bytes).unwrap();
    let steps: Vec<_> = program.steps().map(|step| step.unwrap()).collect();
    assert!(matches!(steps[0], (3, Step::CloseStray { keep }) if keep.iter().eq([7, -1])));
    let (
        4,
        Step::Exec {
            args,
            env,
            home: 5,
            keep: 0,
        },
    ) = steps[1]
    else {
        panic!("{:?}", steps[1])
    };
    assert!(args.iter().eq([c"sh", c"-c"]) && env.is_empty());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let mut framed = runtime_core_program::MAGIC.to_vec();
        framed.extend_from_slice(&2u32.to_le_bytes());
        framed.extend_from_slice(&u32::try_from(bytes.len().saturating_sub(208)).unwrap().to_le_bytes());
        framed.extend_from_slice(&[0; 4]);
        framed.extend_from_slice(&bytes);
        if let Ok(program) = Program::new(&framed) {
            for step in program.steps() {
                let _ = format!("{step:?}");
            }
        }
    }

    #[test]
    fn frames_keep_their_numbers(line: u32, errno: u32, value: u64) {
        let frame = Frame { errno, value, ..Frame::new(runtime_core_program::FrameKind::Failed, line) };
        prop_assert_eq!(Frame::decode(&frame.encode()), Some(frame));
    }
}
