//! The descriptors that the container's program gets: the three standard ones, and those handed on by number.

use runtime_core_program::{Call, FdList, detail};

use crate::failure::{Except, Failure, Outcome};
use crate::paths::{self, Last};
use crate::sys::errno::{EACCES, EINVAL, ENODEV, ENOENT, ENOSYS, EOPNOTSUPP, EPERM, EROFS};
use crate::sys::files::{self, open, resolve};
use crate::sys::{Fd, Handle, fd, process};

/// The standard descriptors.
const STANDARD: [i32; 3] = [0, 1, 2];
/// The first descriptor that is not one.
const FIRST: i32 = 3;
const UNCHANGED: u32 = u32::MAX;

/// Makes these descriptors stdin, stdout and stderr. All are copied out of the way first: one of them may be another's
/// place.
pub(crate) fn set_standard(input: i32, output: i32, error: i32) -> Outcome {
    let copy = |number: i32| match number {
        -1 => Ok(None),
        number => fd::duplicate(Handle::named(number), FIRST.cast_unsigned()).map(Some),
    };
    let copies: [Option<Fd>; 3] = [copy(input)?, copy(output)?, copy(error)?];
    for (number, copy) in STANDARD.into_iter().zip(&copies) {
        if let Some(copy) = copy {
            fd::place(copy.at(), number)?;
        }
    }
    Ok(())
}

/// Replaces each standard descriptor that is the host's null device by the container's own.
pub(crate) fn reopen_null(root: Handle) -> Outcome {
    let mut own = None;
    for number in STANDARD {
        // A closed descriptor is nothing to replace.
        if !files::status(Handle::named(number)).is_ok_and(|status| status.is_null_device()) {
            continue;
        }
        let own = match &own {
            Some(own) => own,
            None => own.insert(open_null(root)?),
        };
        fd::place(own.at(), number)?;
    }
    Ok(())
}

/// Opens the container's null device. It is looked at before it is opened, so that nothing else is touched, and again
/// afterwards: the name may have been given to something else in between (CVE-2026-88265).
fn open_null(root: Handle) -> Outcome<Fd> {
    let wrong = Failure::os(Call::Openat, ENODEV).detail(detail::WRONG_TYPE);
    let place = paths::find(root, c"/dev/null", Last::Stay)?.ok_or(Failure::os(Call::Openat, ENOENT))?;
    if !place.status.is_null_device() {
        return Err(wrong);
    }
    let flags = open::READ_WRITE | open::NO_FOLLOW | open::NO_TTY | open::NONBLOCK;
    let null = files::open(
        root,
        c"/dev/null",
        flags,
        0,
        resolve::IN_ROOT | resolve::NO_MAGICLINKS,
    )?;
    if !files::status(null.at())?.is_null_device() {
        return Err(wrong);
    }
    Ok(null)
}

/// Gives the standard descriptors to a user, as far as they can be given.
pub(crate) fn give_standard(uid: u32) -> Outcome {
    for number in STANDARD {
        let fd = Handle::named(number);
        // A closed one has no owner.
        let Ok(status) = files::status(fd) else { continue };
        if status.is_null_device() || status.uid == uid {
            continue;
        }
        files::give(fd, c"", uid, UNCHANGED).except(&[EPERM, EACCES, EROFS, EINVAL, ENOSYS, EOPNOTSUPP])?;
    }
    Ok(())
}

/// Puts these descriptors at 3, 4, ... for the program. Those that are not at their place are copied behind the last
/// place first: one of them may stand where another belongs. The copies are closed with everything else there.
pub(crate) fn place(fds: FdList<'_>) -> Outcome {
    let numbers = process::numbers(fds.len())?;
    let behind = FIRST.saturating_add(i32::try_from(fds.len()).unwrap_or(i32::MAX));
    for ((fd, place), number) in fds.iter().zip(FIRST..).zip(numbers.iter_mut()) {
        *number = fd;
        if fd != place {
            *number = fd::duplicate(Handle::named(fd), behind.cast_unsigned())?.release();
        }
    }
    for (number, place) in numbers.iter().zip(FIRST..) {
        fd::place(Handle::named(*number), place)?;
    }
    Ok(())
}
