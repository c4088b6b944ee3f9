//! bpf(2) for device filters: load a program, attach it to a cgroup, ask what is attached.
//!
//! Here: the one system call and the layout of its argument. Not here: what a program says and when it is attached; that
//! is `cgroup::devices`. Neither rustix nor nix has bpf(2), and a whole eBPF library would bring maps, ELF and BTF for six
//! commands.
#![allow(
    unsafe_code,
    reason = "bpf(2) has no safe wrapper in the dependencies; the argument is bytes with pointers in it"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;

/// BPF_PROG_TYPE_CGROUP_DEVICE
const TYPE_CGROUP_DEVICE: u32 = 15;
/// BPF_CGROUP_DEVICE, the place to attach to.
const CGROUP_DEVICE: u32 = 6;
/// Programs of groups above and below are asked too.
const ALLOW_MULTI: u32 = 2;
/// Takes the place of another program.
const REPLACE: u32 = 4;

/// As many as a cgroup can have (BPF_CGROUP_MAX_PROGS).
const MAX_PROGRAMS: usize = 64;

/// Tells programs and tools that the program uses no helper for GPL programs only.
const LICENSE: &std::ffi::CStr = c"Apache-2.0";

/// Shown by bpftool; at most 15 letters.
const NAME: &[u8] = b"rt_devices";

/// `union bpf_attr` as bytes: larger than that of any kernel, and zero where nothing is said. Kernels 6.17 to 7.1 write to
/// offset 56 in BPF_PROG_QUERY even when they were given a shorter argument (opencontainers/cgroups pull request 69).
#[repr(C, align(8))]
struct Attr([u8; 256]);

impl Attr {
    fn new() -> Self {
        Self([0; 256])
    }

    fn u32(mut self, offset: usize, value: u32) -> Self {
        self.0[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn u64(mut self, offset: usize, value: u64) -> Self {
        self.0[offset..offset + 8].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn fd(self, offset: usize, fd: BorrowedFd<'_>) -> Self {
        // Descriptors are not negative.
        self.u32(offset, fd.as_raw_fd().unsigned_abs())
    }

    fn at(&self, offset: usize) -> u32 {
        self.0
            .get(offset..offset + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u32::from_ne_bytes)
    }
}

fn address<T: ?Sized>(of: *const T) -> u64 {
    of.cast::<u8>().addr() as u64
}

/// bpf(2) with retries for EINTR and EAGAIN, which the verifier answers when a signal comes.
///
/// # Safety
/// Every pointer in `attr` has to be valid for the whole call, for what `command` reads and writes there.
unsafe fn bpf(command: libc::c_int, attr: &mut Attr) -> io::Result<libc::c_int> {
    for _ in 0..16 {
        // SAFETY: `attr` is exclusively borrowed, 256 bytes long as the size says, and aligned for the 8 byte fields; the
        // kernel reads and writes no more than the size. The pointers in it are valid by this function's own condition.
        // JUSTIFICATION: there is no other way to this system call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                std::ptr::from_mut(attr),
                size_of::<Attr>(),
            )
        };
        if let Ok(result) = libc::c_int::try_from(result)
            && result >= 0
        {
            return Ok(result);
        }
        let error = io::Error::last_os_error();
        if !matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN)) {
            return Err(error);
        }
    }
    Err(io::Error::from_raw_os_error(libc::EAGAIN))
}

/// A result of bpf(2) that is a new descriptor.
///
/// # Safety
/// `fd` is a descriptor that nothing else owns.
unsafe fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: by this function's condition. JUSTIFICATION: a number from a system call has to become a descriptor somewhere.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Loads a program that filters devices; `code` are instructions as the kernel encodes them.
pub(crate) fn load(code: &[u64]) -> io::Result<OwnedFd> {
    let count = u32::try_from(code.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let mut attr = Attr::new()
        .u32(0, TYPE_CGROUP_DEVICE)
        .u32(4, count)
        .u64(8, address(code.as_ptr()))
        .u64(16, address(LICENSE.as_ptr()))
        .u32(68, CGROUP_DEVICE);
    attr.0[48..48 + NAME.len()].copy_from_slice(NAME);
    // SAFETY: the kernel reads `count` instructions of 8 bytes at `code`, which is that long, and the license up to its
    // zero; both outlive the call. The result is a new descriptor (close-on-exec) that nobody else knows.
    // JUSTIFICATION: loading a program is given by pointers.
    unsafe { bpf(PROG_LOAD, &mut attr).map(|fd| owned(fd)) }
}

/// The ids of the programs attached to this very cgroup, in their order.
pub(crate) fn query(cgroup: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut ids = [0u32; MAX_PROGRAMS];
    let room = u32::try_from(ids.len()).unwrap_or(0);
    let mut attr = Attr::new()
        .fd(0, cgroup)
        .u32(4, CGROUP_DEVICE)
        .u64(16, address(ids.as_mut_ptr()))
        .u32(24, room);
    // SAFETY: the kernel writes at most `room` ids of 4 bytes to `ids`, which has that many, is exclusively ours and
    // outlives the call. JUSTIFICATION: the ids come through a pointer.
    unsafe { bpf(PROG_QUERY, &mut attr)? };
    let count = usize::try_from(attr.at(24)).unwrap_or(0).min(ids.len());
    Ok(ids[..count].to_vec())
}

/// Attaches a program, in the place of `old` where there is one.
pub(crate) fn attach(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    old: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let attr = Attr::new().fd(0, cgroup).fd(4, program).u32(8, CGROUP_DEVICE);
    let mut attr = match old {
        None => attr.u32(12, ALLOW_MULTI),
        Some(old) => attr.u32(12, ALLOW_MULTI | REPLACE).fd(16, old),
    };
    // SAFETY: no pointers in this command. JUSTIFICATION: as for `bpf`.
    unsafe { bpf(PROG_ATTACH, &mut attr).map(drop) }
}

/// Detaches a program.
pub(crate) fn detach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = Attr::new().fd(0, cgroup).fd(4, program).u32(8, CGROUP_DEVICE);
    // SAFETY: no pointers in this command. JUSTIFICATION: as for `bpf`.
    unsafe { bpf(PROG_DETACH, &mut attr).map(drop) }
}

/// A descriptor of the program with the id.
pub(crate) fn by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attr = Attr::new().u32(0, id);
    // SAFETY: no pointers in this command; the result is a new descriptor (close-on-exec) that nobody else knows.
    // JUSTIFICATION: as for `bpf`.
    unsafe { bpf(PROG_GET_FD_BY_ID, &mut attr).map(|fd| owned(fd)) }
}

/// The tag of a program: a hash of its instructions.
pub(crate) fn tag_of(program: BorrowedFd<'_>) -> io::Result<u64> {
    // struct bpf_prog_info begins with type, id and 8 bytes of tag.
    let mut info = [0u32; 4];
    let length = u32::try_from(size_of_val(&info)).unwrap_or(0);
    let mut attr = Attr::new()
        .fd(0, program)
        .u32(4, length)
        .u64(8, address(info.as_mut_ptr()));
    // SAFETY: the kernel writes at most `length` bytes to `info`, which is that long, exclusively ours and outlives the
    // call. JUSTIFICATION: the answer comes through a pointer.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr)? };
    Ok(u64::from(info[2]) << 32 | u64::from(info[3]))
}

/// The id of a program.
pub(crate) fn id_of(program: BorrowedFd<'_>) -> io::Result<u32> {
    // struct bpf_prog_info begins with type and id.
    let mut info = [0u32; 2];
    let length = u32::try_from(size_of_val(&info)).unwrap_or(0);
    let mut attr = Attr::new()
        .fd(0, program)
        .u32(4, length)
        .u64(8, address(info.as_mut_ptr()));
    // SAFETY: the kernel writes at most `length` bytes to `info`, which is that long, exclusively ours and outlives the
    // call. JUSTIFICATION: the answer comes through a pointer.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr)? };
    Ok(info[1])
}
