//! Labels of the security modules for what this process will execute, and for its keyring.
//!
//! They are written to this process's own `attr` files on the private procfs, which nobody can cover or replace, by a
//! lookup that leaves neither that procfs nor follows its magic links (CVE-2019-16884, CVE-2025-52881). What was
//! written is read back: a label that did not take effect is a failure, never a container without one.

use core::ffi::CStr;

use runtime_core_program::{Call, detail, label};

use crate::failure::{Except, Failure, Outcome};
use crate::paths::{self, Last};
use crate::settings::write_value;
use crate::sys::Handle;
use crate::sys::errno::{EACCES, ENOENT, EPERM, EXDEV};
use crate::sys::files::{self, open, resolve};
use crate::text::Text;

/// `self` is a link of procfs to a directory beside it.
const OWN: u64 = resolve::BENEATH | resolve::NO_XDEV | resolve::NO_MAGICLINKS;
/// Room for a label; the kernel takes and gives at most a page.
type Label = Text<4096>;

/// Puts what is executed next under this AppArmor profile. The file is there since Linux 5.8; the old one, `attr/exec`, may
/// belong to another security module.
pub(crate) fn set_exec_profile(proc: Handle, profile: &CStr) -> Outcome {
    let path = c"self/attr/apparmor/exec";
    let asked = Label::of(&[b"exec ", profile.to_bytes()])?;
    write(proc, path, asked.bytes())?;
    verify(label::is_profile(read(proc, path)?.bytes(), profile.to_bytes()))
}

/// Gives what is executed next this SELinux label.
pub(crate) fn set_exec_label(proc: Handle, label: &CStr) -> Outcome {
    set_label(proc, c"self/attr/exec", label)
}

/// Gives keyrings that are made from now on this SELinux label; an empty one leaves that to the policy again.
pub(crate) fn set_key_label(proc: Handle, label: &CStr) -> Outcome {
    set_label(proc, c"self/attr/keycreate", label)
}

/// Labels what is at the path in the root. The extended attribute is the security module's own view: what it refuses is an
/// error, and no more need be read back.
pub(crate) fn set_on_file(root: Handle, path: &CStr, label: &[u8], may_fail: bool) -> Outcome {
    let refused = if may_fail { &[EPERM, EACCES][..] } else { &[] };
    let place = paths::find(root, path, Last::Follow)?.ok_or(Failure::os(Call::Openat, ENOENT))?;
    let file = files::open(place.fd.at(), c".", open::READ | open::DIRECTORY, 0, 0)?;
    files::set_attribute(file.at(), c"security.selinux", label)
        .except(refused)
        .map(drop)
}

fn set_label(proc: Handle, path: &CStr, label: &CStr) -> Outcome {
    if label.is_empty() {
        return write(proc, path, b"\n");
    }
    write(proc, path, label.to_bytes())?;
    verify(label::is_selinux(read(proc, path)?.bytes(), label.to_bytes()))
}

fn verify(took_effect: bool) -> Outcome {
    if took_effect {
        return Ok(());
    }
    Err(Failure::os(Call::Read, EXDEV).detail(detail::OTHER_LABEL))
}

fn write(proc: Handle, path: &CStr, value: &[u8]) -> Outcome {
    let file = files::open(proc, path, open::WRITE, 0, OWN)?;
    write_value(file.at(), value)
}

fn read(proc: Handle, path: &CStr) -> Outcome<Label> {
    let file = files::open(proc, path, open::READ, 0, OWN)?;
    let mut bytes = [0; 4095];
    let length = files::read(file.at(), &mut bytes)?;
    let mut shown = bytes.get(..length).unwrap_or_default();
    while let [rest @ .., b'\n' | 0] = shown {
        shown = rest;
    }
    Label::of(&[shown])
}
