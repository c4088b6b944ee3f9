//! Getting into the container's namespaces, and out of the descriptors that nobody named.

use runtime_core_program::{Call, FdList, Frame, FrameKind};

use crate::failure::{Failure, Outcome};
use crate::report::Report;
use crate::settings::write_value;
use crate::sys::errno::{EACCES, EPROTO};
use crate::sys::files::{self, open};
use crate::sys::process::{Forked, Kin};
use crate::sys::{self, Fd, Handle, fd, identity, process};

const CLONE_NEWTIME: u64 = 0x80;
/// The first descriptor that is not a standard one.
const FIRST: u32 = 3;

/// Closes every descriptor that is neither a standard one, nor named, nor the report socket.
pub(crate) fn close_stray(keep: FdList<'_>, report: Handle) -> Outcome {
    let mut first = FIRST;
    let mut kept = keep.iter().peekable();
    let mut report = Some(report.number());
    loop {
        // The report socket takes its place among the sorted numbers.
        let next = match (kept.peek().copied(), report) {
            (Some(number), Some(own)) if number < own => kept.next(),
            (_, Some(_)) => report.take(),
            (_, None) => kept.next(),
        };
        let Some(number) = next else {
            return fd::close_range(first, u32::MAX);
        };
        let Ok(number) = u32::try_from(number) else {
            continue;
        };
        if number > first {
            fd::close_range(first, number - 1)?;
        }
        first = first.max(number.saturating_add(1));
    }
}

/// Closes every descriptor that is neither a standard one nor among these.
pub(crate) fn close_all_but(these: &[i32], placed: Option<FdList<'_>>) -> Outcome {
    let kept = || these.iter().copied().chain(placed.iter().flat_map(FdList::iter));
    let mut first = FIRST;
    loop {
        let next = kept()
            .filter_map(|fd| u32::try_from(fd).ok())
            .filter(|&fd| fd >= first)
            .min();
        let Some(next) = next else {
            return fd::close_range(first, u32::MAX);
        };
        if next > first {
            fd::close_range(first, next - 1)?;
        }
        first = next.saturating_add(1);
    }
}

/// Goes on in a sibling that is in the pid namespace joined or unshared before.
pub(crate) fn fork(report: &Report) -> Outcome {
    let pipe = fd::pipe()?;
    part(report, process::fork(Kin::Sibling)?, pipe)
}

/// The same in a sibling that is born in this cgroup, or in one that the parent names where the kernel refuses the first.
pub(crate) fn fork_into(report: &Report, cgroup: i32) -> Outcome {
    let mut cgroup = Some(Fd::own(cgroup));
    let pipe = fd::pipe()?;
    loop {
        let kin = cgroup.as_ref().map_or(Kin::Sibling, Kin::SiblingIn);
        match process::fork(kin) {
            Err(refused) if cgroup.is_some() => {
                let frame = Frame {
                    errno: refused.errno.into(),
                    ..Frame::new(FrameKind::Wanted, report.line())
                };
                report.say_with(frame, None);
                cgroup = report.wait()?;
            }
            forked => return part(report, forked?, pipe),
        }
    }
}

/// This process reports the sibling and ends; the sibling waits until that is done, so that the parent hears of it before
/// it hears from it.
fn part(report: &Report, forked: Forked, (told, tell): (Fd, Fd)) -> Outcome {
    match forked {
        Forked::Child => {
            drop(tell);
            let mut byte = [0];
            match files::read(told.at(), &mut byte)? {
                1 => Ok(()),
                // The original ended before it could report this process; nobody waits for it.
                _ => sys::exit(1),
            }
        }
        Forked::Parent { pid, pidfd } => {
            let frame = Frame {
                value: pid.into(),
                ..Frame::new(FrameKind::Sibling, report.line())
            };
            report.say_with(frame, Some(pidfd.at()));
            match files::write(tell.at(), &[1])? {
                1 => sys::exit(0),
                _ => Err(Failure::os(Call::Write, EPROTO)),
            }
        }
    }
}

/// Becomes root of the user namespace whose maps have been written.
pub(crate) fn become_root(drop_groups: bool, dumpable: bool) -> Outcome {
    if drop_groups {
        identity::set_groups(&[])?;
    }
    identity::set_gid(0)?;
    identity::set_uid(0)?;
    // A change of uid gives the flag a system-wide default (proc_sys_fs(5), suid_dumpable).
    if dumpable {
        Ok(())
    } else {
        identity::set_dumpable(false)
    }
}

/// Unshares the time namespace, sets its offsets while nobody is in it, and enters it (time_namespaces(7)).
/// `exposable`: no foreign namespace was joined, so nobody else sees this process and it may be dumpable for a moment:
/// in a new user namespace the files of an undumpable process belong to an unmapped user.
pub(crate) fn enter_time(offsets: &[u8], exposable: bool) -> Outcome {
    process::unshare(CLONE_NEWTIME)?;
    if !offsets.is_empty() {
        let path = c"/proc/self/timens_offsets";
        let file = match files::open(Handle::CWD, path, open::WRITE, 0, 0) {
            Err(failure) if failure.errno == EACCES && exposable => {
                identity::set_dumpable(true)?;
                let file = files::open(Handle::CWD, path, open::WRITE, 0, 0);
                identity::set_dumpable(false)?;
                file?
            }
            file => file?,
        };
        write_value(file.at(), offsets)?;
    }
    let namespace = files::open(Handle::CWD, c"/proc/self/ns/time_for_children", open::READ, 0, 0)?;
    #[allow(clippy::cast_possible_truncation, reason = "a constant of eight bits")]
    process::join(namespace.at(), CLONE_NEWTIME as u32)
}

/// Moves this process into the cgroup of a `tasks` file.
pub(crate) fn join_cgroup(tasks: i32) -> Outcome {
    write_value(Fd::own(tasks).at(), b"0")
}
