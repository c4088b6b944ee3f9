//! What containerd, or whoever reaches its socket, sends to the shim: frames, calls, and the message of each method.

use prost::Message;
use shim::proto::{bootstrap, options, sandbox, task};
use shim::ttrpc::{Frame, FrameKind, HEADER, MAX_PAYLOAD, Request, Response};

/// A stream of frames, as a connection reads it.
pub(crate) fn stream(mut data: &[u8]) {
    while let Ok(Some((frame, taken))) = Frame::take(data) {
        assert!(taken >= HEADER && taken <= data.len() && frame.payload.len() <= MAX_PAYLOAD);
        assert_eq!(taken, HEADER + frame.payload.len());
        data = &data[taken..];
        match frame.kind {
            FrameKind::Request => {
                if let Some(request) = same::<Request>(&frame.payload) {
                    let mut out = Vec::new();
                    let put = Frame::put(&mut out, frame.stream, frame.kind, &request);
                    assert!(put.is_ok());
                    let (again, _) = Frame::take(&out)
                        .ok()
                        .flatten()
                        .expect("a frame that was written");
                    assert_eq!((again.stream, again.kind), (frame.stream, frame.kind));
                    call(&request.payload);
                }
            }
            FrameKind::Response => {
                same::<Response>(&frame.payload);
            }
            FrameKind::Other(_) => {}
        }
    }
    // Not every input has to find its way through two envelopes.
    call(data);
}

/// A message that is read is written as one that reads the same.
fn same<M: Message + Default + PartialEq>(bytes: &[u8]) -> Option<M> {
    let message = M::decode(bytes).ok()?;
    let written = message.encode_to_vec();
    let again = M::decode(written.as_slice()).expect("a message that was written");
    // A number that is none (NaN) equals nothing, so that the bytes have to tell; but maps are written in any order.
    let sorted = |mut bytes: Vec<u8>| {
        bytes.sort_unstable();
        bytes
    };
    assert!(again == message || sorted(again.encode_to_vec()) == sorted(written));
    Some(message)
}

/// The argument of every method: which one it is for is the sender's word.
fn call(bytes: &[u8]) {
    same::<task::CreateTaskRequest>(bytes);
    same::<task::ExecProcessRequest>(bytes);
    same::<task::DeleteRequest>(bytes);
    same::<task::KillRequest>(bytes);
    same::<task::ResizePtyRequest>(bytes);
    same::<task::CloseIoRequest>(bytes);
    same::<task::CheckpointTaskRequest>(bytes);
    same::<task::UpdateTaskRequest>(bytes);
    same::<task::WaitRequest>(bytes);
    same::<task::ShutdownRequest>(bytes);
    same::<sandbox::CreateSandboxRequest>(bytes);
    same::<sandbox::StopSandboxRequest>(bytes);
    same::<options::Options>(bytes);
    same::<bootstrap::BootstrapParams>(bytes);
}
