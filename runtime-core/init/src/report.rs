//! The report socket: what init says and how it waits. Once `start` has connected, that connection takes its place.

use runtime_core_program::{Call, Command, FRAME_LEN, Frame, FrameKind};

use crate::failure::{Except, Failure, Outcome};
use crate::sys::{self, Fd, Handle, errno, fd, sockets};
use crate::trace::Trace;

/// The exit code after a failed step.
const FAILED: usize = 1;

/// The socket and the line of the schedule that is being run.
pub(crate) struct Report {
    /// None while nobody listens: between the end of `create` and the connection of `start`.
    socket: Option<Fd>,
    line: u32,
    /// What goes along with the next failure.
    evidence: Option<Fd>,
    /// When the lines begin.
    pub(crate) trace: Trace,
}

impl Report {
    pub(crate) const fn new(socket: Fd, trace: Trace) -> Self {
        Self {
            socket: Some(socket),
            line: 0,
            evidence: None,
            trace,
        }
    }

    /// The socket; where there is none, a number that no call takes.
    pub(crate) fn socket(&self) -> Handle {
        self.socket.as_ref().map_or(Handle::NONE, Fd::at)
    }

    /// From now on frames go to this socket.
    pub(crate) fn move_to(&mut self, socket: Fd) {
        self.socket = Some(socket);
    }

    /// Nobody is told any more.
    pub(crate) fn close(&mut self) {
        self.socket = None;
    }

    /// Gives the socket a number that is at least `least`.
    pub(crate) fn move_behind(&mut self, least: u32) -> Outcome {
        if u32::try_from(self.socket().number()).is_ok_and(|number| number < least) {
            self.socket = Some(fd::duplicate(self.socket(), least)?);
        }
        Ok(())
    }

    pub(crate) fn at_line(&mut self, line: u32) {
        self.line = line;
        self.trace.line(line);
    }

    pub(crate) const fn line(&self) -> u32 {
        self.line
    }

    /// Says something at the present line. Where nobody listens any more the container is not wanted: exit.
    pub(crate) fn say(&self, kind: FrameKind) {
        self.say_with(Frame::new(kind, self.line), None);
    }

    /// Says something with a number and a descriptor.
    pub(crate) fn say_with(&self, frame: Frame, fd: Option<Handle>) {
        if self.send(&frame, fd).is_err() {
            sys::exit(FAILED);
        }
    }

    fn send(&self, frame: &Frame, fd: Option<Handle>) -> Outcome {
        let bytes = frame.encode();
        while sockets::send(self.socket(), &bytes, fd)
            .except(&[errno::EINTR])?
            .is_none()
        {}
        Ok(())
    }

    /// A file that tells more about the failure that is going to be said; None takes it back.
    pub(crate) fn attach(&mut self, evidence: Option<Fd>) {
        self.evidence = evidence;
    }

    /// Says why the step failed, and ends.
    pub(crate) fn fail(&self, failure: Failure) -> ! {
        self.trace.failed();
        let evidence = self.evidence.as_ref().map(Fd::at);
        let _ = self.send(&failed(self.line, failure), evidence);
        sys::exit(FAILED)
    }

    /// Waits for Go; gives the descriptor that came with it. End of file means that the parent is gone: exit.
    pub(crate) fn wait(&self) -> Outcome<Option<Fd>> {
        match receive_go(self.socket())? {
            Received::Go(fd) => Ok(fd),
            Received::Nothing => sys::exit(FAILED),
            Received::Nonsense => Err(Failure::os(Call::Recvmsg, errno::EPROTO)),
        }
    }
}

/// What a peer sent.
pub(crate) enum Received {
    Go(Option<Fd>),
    /// End of file.
    Nothing,
    Nonsense,
}

/// Waits for one frame.
pub(crate) fn receive_go(socket: Handle) -> Outcome<Received> {
    let mut bytes = [0; FRAME_LEN];
    loop {
        let Some((length, fd)) = sockets::receive(socket, &mut bytes).except(&[errno::EINTR])? else {
            continue;
        };
        return Ok(match length {
            0 => Received::Nothing,
            FRAME_LEN if Command::decode(&bytes) == Some(Command::Go) => Received::Go(fd),
            _ => Received::Nonsense,
        });
    }
}

/// The frame of a failure.
pub(crate) fn failed(line: u32, failure: Failure) -> Frame {
    let Failure {
        call,
        errno,
        detail,
        value,
    } = failure;
    Frame {
        kind: FrameKind::Failed,
        line,
        call,
        errno: errno.into(),
        detail: detail.into(),
        value,
    }
}
