//! The container's terminal. The pair comes from the container's own devpts, found by what it is and not by its name;
//! the peer is opened through the master, without any path (CVE-2025-52565).

use runtime_core_program::{Call, Frame, FrameKind, detail};

use crate::failure::{Except, Failure, Outcome};
use crate::paths::{self, Last};
use crate::report::Report;
use crate::sys::errno::{EEXIST, ELOOP, ENOENT, ENOTTY};
use crate::sys::files::{self, Kind, PTMX_DEVICE, open, resolve};
use crate::sys::{Fd, Handle, fd, mounts, terminals};

/// DEVPTS_SUPER_MAGIC.
const DEVPTS: i64 = 0x1cd1;
/// Inodes of a devpts: its root and its multiplexer (fs/devpts/inode.c).
const DEVPTS_ROOT: u64 = 1;
const DEVPTS_PTMX: u64 = 2;
/// The owner that fchownat(2) leaves as it is.
const UNCHANGED: u32 = u32::MAX;
/// The mode of the file that the terminal is bound on; nobody sees it.
const CONSOLE_MODE: u32 = 0o600;

/// The Console step.
pub(crate) struct Console {
    pub(crate) bind: bool,
    pub(crate) rows: u32,
    pub(crate) columns: u32,
    pub(crate) uid: u32,
}

pub(crate) fn open_console(root: Handle, console: &Console, report: &Report) -> Outcome {
    let master = open_master(root)?;
    terminals::unlock(master.at())?;
    let peer = terminals::peer(master.at())?;
    if console.rows != 0 || console.columns != 0 {
        let size = |number: u32| u16::try_from(number).map_err(|_| Failure::malformed());
        terminals::set_size(peer.at(), size(console.rows)?, size(console.columns)?)?;
    }
    files::give(peer.at(), c"", console.uid, UNCHANGED)?;
    if console.bind {
        bind(root, peer.at())?;
    }
    report.say_with(
        Frame::new(FrameKind::Descriptor, report.line()),
        Some(master.at()),
    );
    (0..3).try_for_each(|number| fd::place(peer.at(), number))?;
    terminals::control(peer.at())
}

/// Opens the multiplexer of the devpts that is on /dev/pts. The directory is open and known to be the root of a devpts
/// before anything in it is opened; nothing in a devpts can be exchanged, and no mount is crossed.
fn open_master(root: Handle) -> Outcome<Fd> {
    let wrong = Failure::os(Call::Openat, ENOTTY).detail(detail::WRONG_TYPE);
    let pts = paths::find(root, c"/dev/pts", Last::Follow)?.ok_or(Failure::os(Call::Openat, ENOENT))?;
    if files::filesystem(pts.fd.at())? != DEVPTS || pts.status.inode != DEVPTS_ROOT {
        return Err(wrong);
    }
    let how = resolve::BENEATH | resolve::NO_XDEV | resolve::NO_SYMLINKS;
    let master = files::open(pts.fd.at(), c"ptmx", open::READ_WRITE | open::NO_TTY, 0, how)?;
    let status = files::status(master.at())?;
    let genuine =
        status.kind == Kind::CHARACTER && status.device == PTMX_DEVICE && status.inode == DEVPTS_PTMX;
    if genuine { Ok(master) } else { Err(wrong) }
}

/// Binds the peer on /dev/console, which is made where missing; a symbolic link there is refused (CVE-2026-88264).
fn bind(root: Handle, peer: Handle) -> Outcome {
    let (dir, name) = paths::parent(root, c"/dev/console")?;
    let mode = Kind::REGULAR.bits() | CONSOLE_MODE;
    files::make_node(dir.at(), name.c_str(), mode, 0).except(&[EEXIST])?;
    let target = paths::child(dir.at(), name.c_str())?;
    if matches!(target.status.kind, Kind::SYMLINK | Kind::DIRECTORY) {
        return Err(Failure::os(Call::Openat, ELOOP).detail(detail::WRONG_TYPE));
    }
    let mount = mounts::clone_tree(peer, false)?;
    mounts::attach(mount.at(), target.fd.at())
}
