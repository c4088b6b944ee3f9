//! Terminals: the ioctls of a pseudoterminal pair (ioctl_tty(2)).

use super::files::open;
use super::{Fd, Handle, invoke};
use crate::failure::Outcome;

const TIOCSPTLCK: u32 = 0x4004_5431;
const TIOCGPTPEER: u32 = 0x5441;
const TIOCSWINSZ: u32 = 0x5414;
const TIOCSCTTY: u32 = 0x540e;

/// struct winsize.
#[repr(C)]
struct Size {
    rows: u16,
    columns: u16,
    width: u16,
    height: u16,
}

/// Lets the peer of a master be opened.
pub(crate) fn unlock(master: Handle) -> Outcome {
    let unlocked = 0i32;
    // SAFETY: the kernel reads one int.
    unsafe { invoke!(Ioctl, IOCTL, master, TIOCSPTLCK, &raw const unlocked) }.map(drop)
}

/// Opens the peer of a master without a path that somebody could change (kernel 4.13).
pub(crate) fn peer(master: Handle) -> Outcome<Fd> {
    let flags = open::READ_WRITE | open::NO_TTY | open::CLOSE_ON_EXEC;
    // SAFETY: the call takes numbers.
    unsafe { invoke!(Ioctl, IOCTL, master, TIOCGPTPEER, flags) }.map(Fd::from_result)
}

/// Sets the window size, in characters.
pub(crate) fn set_size(terminal: Handle, rows: u16, columns: u16) -> Outcome {
    let size = Size {
        rows,
        columns,
        width: 0,
        height: 0,
    };
    // SAFETY: the kernel reads one struct winsize.
    unsafe { invoke!(Ioctl, IOCTL, terminal, TIOCSWINSZ, &raw const size) }.map(drop)
}

/// Makes the terminal the controlling one of this session.
pub(crate) fn control(terminal: Handle) -> Outcome {
    // SAFETY: the call takes numbers; 0 does not steal the terminal from another session.
    unsafe { invoke!(Ioctl, IOCTL, terminal, TIOCSCTTY, 0u32) }.map(drop)
}
