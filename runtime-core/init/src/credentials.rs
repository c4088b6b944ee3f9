//! Who the program will be: keyring, bounding set, ids, capabilities, working directory.

use core::ffi::CStr;

use runtime_core_program::{Call, Words, detail};

use crate::failure::{Except, Failure, Outcome};
use crate::sys::errno::{EACCES, EINVAL, ENOSYS, EPERM, EXDEV};
use crate::sys::identity::{self, Sets};
use crate::sys::{files, process};
use crate::text::PATH_MAX;

/// Bits of a capability set.
const CAPABILITIES: u32 = 64;
/// The owner's process may do anything with its keyring; others of the same user may view, read and search it, not
/// write or change it (keyctl_setperm(3)).
const KEYRING_PERMISSIONS: u32 = 0x3f00_0000 | 0x000b_0000;

pub(crate) fn new_keyring(name: &CStr) -> Outcome {
    // A kernel without keyrings has none to share.
    match identity::join_keyring(name).except(&[ENOSYS])? {
        Some(key) => identity::set_key_permissions(key, KEYRING_PERMISSIONS),
        None => Ok(()),
    }
}

pub(crate) fn limit_bounding(keep: u64) -> Outcome {
    for capability in 0..CAPABILITIES {
        match identity::is_bounded(capability)? {
            None => break,
            Some(true) if keep >> capability & 1 == 0 => identity::drop_bound(capability)?,
            Some(_) => {}
        }
    }
    Ok(())
}

/// Becomes this user with exactly these groups. The permitted capabilities outlive the change of uid, and the effective
/// ones are given back, since the steps up to Capabilities need them.
pub(crate) fn become_user(uid: u32, gid: u32, groups: Option<Words<'_>>, dumpable: bool) -> Outcome {
    identity::keep_capabilities(true)?;
    if let Some(groups) = groups {
        set_groups(groups)?;
    }
    identity::set_gid(gid)?;
    identity::set_uid(uid)?;
    identity::keep_capabilities(false)?;
    let sets = identity::capabilities()?;
    identity::set_capabilities(Sets {
        effective: sets.permitted,
        ..sets
    })?;
    // A change of uid gives the flag a system-wide default (proc_sys_fs(5), suid_dumpable).
    if dumpable {
        Ok(())
    } else {
        identity::set_dumpable(false)
    }
}

fn set_groups(groups: Words<'_>) -> Outcome {
    let table = process::numbers(groups.len())?;
    for (slot, group) in table.iter_mut().zip(groups.iter()) {
        *slot = u32::try_from(group)
            .map_err(|_| Failure::malformed())?
            .cast_signed();
    }
    identity::set_groups(table)
}

/// Changes to the working directory and makes sure that it has a name in this root: a descriptor of the host, reached
/// through /proc/self/fd, has none (CVE-2024-21626).
pub(crate) fn enter_work_dir(path: &CStr, may_fail: bool) -> Outcome {
    let refused = if may_fail { &[EACCES, EPERM][..] } else { &[] };
    if files::change_dir(path).except(refused)?.is_none() {
        return Ok(());
    }
    let mut name = [0; PATH_MAX];
    files::working_dir(&mut name)?;
    if name.first() == Some(&b'/') {
        return Ok(());
    }
    Err(Failure::os(Call::Getcwd, EXDEV).detail(detail::OUTSIDE))
}

pub(crate) fn set_capabilities(sets: Sets, ambient: u64) -> Outcome {
    identity::clear_ambient()?;
    identity::set_capabilities(sets)?;
    for capability in (0..CAPABILITIES).filter(|capability| ambient >> capability & 1 == 1) {
        // Only what is permitted and inheritable can be ambient; the rest is left out, as runc and crun do.
        identity::raise_ambient(capability).except(&[EPERM, EINVAL])?;
    }
    Ok(())
}
