//! What makes a process who it is: ids, capabilities, keyring, scheduling, limits on itself, names of the machine.

use core::ffi::CStr;
use core::mem::size_of;

use super::errno::EINVAL;
use super::{Fd, invoke};
use crate::failure::{Except, Outcome};

const PR_SET_DUMPABLE: u32 = 4;
const PR_SET_KEEPCAPS: u32 = 8;
const PR_CAPBSET_READ: u32 = 23;
const PR_CAPBSET_DROP: u32 = 24;
const PR_SET_NO_NEW_PRIVS: u32 = 38;
const PR_CAP_AMBIENT: u32 = 47;
const PR_CAP_AMBIENT_RAISE: u32 = 2;
const PR_CAP_AMBIENT_CLEAR_ALL: u32 = 4;
/// _LINUX_CAPABILITY_VERSION_3: 64 bits per set.
const CAPABILITY_VERSION: u32 = 0x2008_0522;
const KEYCTL_JOIN_SESSION_KEYRING: u32 = 1;
const KEYCTL_SETPERM: u32 = 5;
const IOPRIO_WHO_PROCESS: u32 = 1;
const SECCOMP_SET_MODE_FILTER: u32 = 1;
/// Bytes of a struct sock_filter.
const INSTRUCTION: usize = 8;

/// struct __user_cap_header_struct.
#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

/// struct __user_cap_data_struct: half of each set.
#[repr(C)]
#[derive(Clone, Copy)]
struct CapHalf {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// The three old capability sets, as bit masks.
#[derive(Clone, Copy)]
pub(crate) struct Sets {
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
}

/// struct sched_attr, its first version.
#[repr(C)]
pub(crate) struct Scheduling {
    pub(crate) size: u32,
    pub(crate) policy: u32,
    pub(crate) flags: u64,
    pub(crate) nice: i32,
    pub(crate) priority: u32,
    pub(crate) runtime: u64,
    pub(crate) deadline: u64,
    pub(crate) period: u64,
}

impl Scheduling {
    pub(crate) const SIZE: u32 = 48;
}

const _: () = assert!(size_of::<Scheduling>() == 48);

/// struct sock_fprog.
#[repr(C)]
struct Filter {
    length: u16,
    start: *const u8,
}

fn prctl(option: u32, second: u64, third: u64) -> Outcome<usize> {
    // SAFETY: every option used in this file takes numbers.
    unsafe { invoke!(Prctl, PRCTL, option, second, third, 0usize, 0usize) }
}

/// Whether others may trace this process and open what its /proc directory offers.
pub(crate) fn set_dumpable(dumpable: bool) -> Outcome {
    prctl(PR_SET_DUMPABLE, u64::from(dumpable), 0).map(drop)
}

pub(crate) fn set_no_new_privileges() -> Outcome {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

/// Whether leaving uid 0 keeps the permitted capabilities.
pub(crate) fn keep_capabilities(keep: bool) -> Outcome {
    prctl(PR_SET_KEEPCAPS, u64::from(keep), 0).map(drop)
}

/// Whether a capability is in the bounding set; None where the kernel does not know the capability.
pub(crate) fn is_bounded(capability: u32) -> Outcome<Option<bool>> {
    Ok(prctl(PR_CAPBSET_READ, u64::from(capability), 0)
        .except(&[EINVAL])?
        .map(|answer| answer == 1))
}

pub(crate) fn drop_bound(capability: u32) -> Outcome {
    prctl(PR_CAPBSET_DROP, u64::from(capability), 0).map(drop)
}

pub(crate) fn clear_ambient() -> Outcome {
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL.into(), 0).map(drop)
}

pub(crate) fn raise_ambient(capability: u32) -> Outcome {
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE.into(), capability.into()).map(drop)
}

const fn halves(set: u64) -> [u32; 2] {
    [(set & 0xffff_ffff) as u32, (set >> 32) as u32]
}

/// The capability sets of this process.
pub(crate) fn capabilities() -> Outcome<Sets> {
    let mut header = CapHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let mut data = [CapHalf {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    }; 2];
    // SAFETY: version 3 makes the kernel write two halves; it may write the header's version.
    unsafe { invoke!(Capset, CAPGET, &raw mut header, data.as_mut_ptr()) }?;
    let [low, high] = data;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(Sets {
        effective: join(low.effective, high.effective),
        permitted: join(low.permitted, high.permitted),
        inheritable: join(low.inheritable, high.inheritable),
    })
}

pub(crate) fn set_capabilities(sets: Sets) -> Outcome {
    let mut header = CapHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let (effective, permitted, inheritable) = (
        halves(sets.effective),
        halves(sets.permitted),
        halves(sets.inheritable),
    );
    let ([e0, e1], [p0, p1], [i0, i1]) = (effective, permitted, inheritable);
    let data = [
        CapHalf {
            effective: e0,
            permitted: p0,
            inheritable: i0,
        },
        CapHalf {
            effective: e1,
            permitted: p1,
            inheritable: i1,
        },
    ];
    // SAFETY: version 3 makes the kernel read two halves; it may write the header's version.
    unsafe { invoke!(Capset, CAPSET, &raw mut header, data.as_ptr()) }.map(drop)
}

/// Sets the supplementary groups.
pub(crate) fn set_groups(groups: &[i32]) -> Outcome {
    // SAFETY: the kernel reads as many gids as the slice has.
    unsafe { invoke!(Setgroups, SETGROUPS, groups.len(), groups.as_ptr()) }.map(drop)
}

pub(crate) fn set_gid(gid: u32) -> Outcome {
    // SAFETY: the call takes numbers.
    unsafe { invoke!(Setresgid, SETRESGID, gid, gid, gid) }.map(drop)
}

pub(crate) fn set_uid(uid: u32) -> Outcome {
    // SAFETY: the call takes numbers.
    unsafe { invoke!(Setresuid, SETRESUID, uid, uid, uid) }.map(drop)
}

/// Joins a new session keyring; gives its number.
pub(crate) fn join_keyring(name: &CStr) -> Outcome<usize> {
    // SAFETY: the kernel reads the name.
    unsafe { invoke!(Keyctl, KEYCTL, KEYCTL_JOIN_SESSION_KEYRING, name) }
}

pub(crate) fn set_key_permissions(key: usize, permissions: u32) -> Outcome {
    // SAFETY: the call takes numbers.
    unsafe { invoke!(Keyctl, KEYCTL, KEYCTL_SETPERM, key, permissions) }.map(drop)
}

pub(crate) fn set_scheduling(scheduling: &Scheduling) -> Outcome {
    let scheduling = Scheduling {
        size: Scheduling::SIZE,
        ..*scheduling
    };
    // SAFETY: the kernel reads as many bytes as the struct says it has; that is SIZE, its real size.
    unsafe { invoke!(SchedSetattr, SCHED_SETATTR, 0u32, &raw const scheduling, 0u32) }.map(drop)
}

/// The mask has room for more CPUs than any kernel is built for (8192); what a machine lacks the kernel leaves out.
pub(crate) fn use_all_cpus() -> Outcome {
    let mask = [u64::MAX; 128];
    // SAFETY: the kernel reads at most as many bytes as it is told, which is the size of the mask.
    unsafe {
        invoke!(
            Affinity,
            SCHED_SETAFFINITY,
            0u32,
            size_of_val(&mask),
            mask.as_ptr()
        )
    }
    .map(drop)
}

pub(crate) fn set_io_priority(value: u32) -> Outcome {
    // SAFETY: the call takes numbers.
    unsafe { invoke!(IoprioSet, IOPRIO_SET, IOPRIO_WHO_PROCESS, 0u32, value) }.map(drop)
}

pub(crate) fn set_personality(persona: u64) -> Outcome {
    // SAFETY: the call takes a number.
    unsafe { invoke!(Personality, PERSONALITY, persona) }.map(drop)
}

/// The policy for memory of this process; `nodes` is a bit mask in whole words.
pub(crate) fn set_memory_policy(mode: u32, nodes: &[u8]) -> Outcome {
    let mask = if nodes.is_empty() {
        core::ptr::null()
    } else {
        nodes.as_ptr()
    };
    // The kernel counts the bits from one (get_nodes of mm/mempolicy.c).
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 8 + 1 };
    // SAFETY: the kernel reads `bits` - 1 bits by copy_from_user, no more than the slice has; without a mask none.
    unsafe { invoke!(MemPolicy, SET_MEMPOLICY, mode, mask, bits) }.map(drop)
}

/// Loads a filter of whole instructions; gives the number that the call returns: a descriptor where the flags ask
/// for one.
pub(crate) fn load_filter(instructions: &[u8], flags: u32) -> Outcome<usize> {
    let length = u16::try_from(instructions.len() / INSTRUCTION).unwrap_or(0);
    let filter = Filter {
        length,
        start: instructions.as_ptr(),
    };
    // SAFETY: the kernel copies `length` instructions of 8 bytes, no more than the slice has, by copy_from_user,
    // which needs no alignment. A length of 0 is refused.
    unsafe {
        invoke!(
            Seccomp,
            SECCOMP,
            SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const filter
        )
    }
}

/// A descriptor that [`load_filter`] returned.
pub(crate) fn filter_listener(result: usize) -> Fd {
    Fd::from_result(result)
}

pub(crate) fn set_host_name(name: &[u8]) -> Outcome {
    // SAFETY: the kernel reads `name.len()` bytes.
    unsafe { invoke!(Sethostname, SETHOSTNAME, name.as_ptr(), name.len()) }.map(drop)
}

pub(crate) fn set_domain_name(name: &[u8]) -> Outcome {
    // SAFETY: the kernel reads `name.len()` bytes.
    unsafe { invoke!(Setdomainname, SETDOMAINNAME, name.as_ptr(), name.len()) }.map(drop)
}
