//! The created container waits for its start. Whoever created it may be gone; `start` is another process, which
//! connects to a socket that lies in a directory of the host that only the container's owner can enter.

use runtime_core_program::{Call, FrameKind, detail};

use crate::failure::{Except, Failure, Outcome};
use crate::report::{self, Received, Report};
use crate::sys::errno::{EACCES, ECONNABORTED, EINTR};
use crate::sys::{Fd, Handle, sockets};

/// The uid that stands for all uids which a user namespace does not map (/proc/sys/kernel/overflowuid).
const OVERFLOW: u32 = 65534;

/// Who may start the container, beside root: whoever created it.
struct Starters {
    /// The creator's uid.
    owner: u32,
    /// Whether init entered a user namespace: the host's root is outside of it and has the overflow uid. That proves
    /// little, but what keeps others away is the socket's directory; the check is a second lock.
    inside: bool,
}

impl Starters {
    fn include(&self, uid: u32) -> bool {
        uid == 0 || uid == self.owner || self.inside && uid == OVERFLOW
    }
}

/// Says that the container is created, then waits for Go: an init whose parent was killed before it was ready must not
/// wait for ever. Where another process starts it, the connection over the listening socket that says Go once more becomes
/// the report socket.
pub(crate) fn wait(report: &mut Report, listener: Option<Fd>, inside: bool) -> Outcome {
    report.say(FrameKind::Reached);
    report.wait()?;
    let Some(listener) = listener else {
        return Ok(());
    };
    // Who created it reads its page no more, and nothing of the host's is left in a process that waits.
    report.trace.leave();
    // Asked for here and not at the beginning: the same user has another number in another user namespace.
    let owner = sockets::peer_uid(report.socket())?;
    report.close();
    let starters = Starters { owner, inside };
    loop {
        let Some(connection) = sockets::accept(listener.at()).except(&[EINTR, ECONNABORTED])? else {
            continue;
        };
        if let Some((connection, page)) = admit(connection, report, &starters) {
            report.move_to(connection);
            report.trace.take(page);
            return Ok(());
        }
    }
}

/// The connection, where its peer may start the container and says so, and the page of times that it may have sent. A peer that breaks off or talks nonsense is
/// left, so that the next one can start the container.
fn admit(connection: Fd, report: &Report, starters: &Starters) -> Option<(Fd, Option<Fd>)> {
    if !sockets::peer_uid(connection.at()).is_ok_and(|uid| starters.include(uid)) {
        let stranger = Failure::os(Call::Getsockopt, EACCES).detail(detail::STRANGER);
        let _ = send_failure(connection.at(), report.line(), stranger);
        return None;
    }
    match report::receive_go(connection.at()) {
        Ok(Received::Go(page)) => Some((connection, page)),
        _ => None,
    }
}

fn send_failure(connection: Handle, line: u32, failure: Failure) -> Outcome {
    sockets::send(connection, &report::failed(line, failure).encode(), None)
}
