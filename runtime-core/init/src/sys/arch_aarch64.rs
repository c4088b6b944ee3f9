//! aarch64: the entry point, the system call instruction and the system call numbers. Nothing else may depend on the
//! architecture, so that a port is one file.

use core::arch::{asm, global_asm};

// The kernel enters with argc at the top of the stack, which is aligned already, and no frame.
global_asm!(
    ".globl _start",
    ".type _start, @function",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "bl {begin}",
    "brk #1",
    begin = sym crate::entry::begin,
);

/// Makes a system call; negative numbers are errnos.
///
/// # Safety
/// Every argument that the call takes as an address must be valid for what the call does with it.
#[inline]
pub(crate) unsafe fn syscall(number: usize, args: [usize; 6]) -> isize {
    let result: isize;
    let [first, second, third, fourth, fifth, sixth] = args;
    // SAFETY: the instruction clobbers x0 only; what the call does with memory is the caller's promise.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") first.cast_signed() => result,
            in("x1") second,
            in("x2") third,
            in("x3") fourth,
            in("x4") fifth,
            in("x5") sixth,
            options(nostack),
        );
    }
    result
}

/// The processor's virtual counter.
pub(crate) fn counter() -> u64 {
    let count: u64;
    // SAFETY: the instruction reads a counter into one register and touches nothing else.
    unsafe { asm!("mrs {}, cntvct_el0", out(reg) count, options(nomem, nostack, preserves_flags)) };
    count
}

/// Makes a thread by clone(2) with these flags: it calls `entry` with `argument` on the stack whose end is `stack`. Gives
/// the thread's number; negative numbers are errnos.
///
/// # Safety
/// The flags say CLONE_VM and CLONE_THREAD and ask for no thread-local storage; `stack` is the end, aligned to 16, of
/// memory that nothing else uses as long as the thread lives; `entry` may be called with `argument` on any thread.
pub(crate) unsafe fn start_thread(
    flags: usize,
    stack: usize,
    entry: extern "C" fn(usize) -> !,
    argument: usize,
) -> isize {
    let result: isize;
    // SAFETY: on this thread the instructions change the registers named and nothing else; on the new one they touch
    // only its stack, which the caller vouches for, and end in `entry`, which does not return.
    unsafe {
        asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x21",
            "blr x20",
            "brk #1",
            "2:",
            in("x8") number::CLONE,
            inlateout("x0") flags.cast_signed() => result,
            in("x1") stack,
            in("x2") 0usize,
            in("x3") 0usize,
            in("x4") 0usize,
            in("x20") entry,
            in("x21") argument,
            options(nostack),
        );
    }
    result
}

/// System call numbers (include/uapi/asm-generic/unistd.h).
pub(crate) mod number {
    pub(crate) const FSETXATTR: usize = 7;
    pub(crate) const FGETXATTR: usize = 10;
    pub(crate) const FLISTXATTR: usize = 13;
    pub(crate) const GETCWD: usize = 17;
    pub(crate) const DUP3: usize = 24;
    pub(crate) const FCNTL: usize = 25;
    pub(crate) const IOCTL: usize = 29;
    pub(crate) const IOPRIO_SET: usize = 30;
    pub(crate) const MKNODAT: usize = 33;
    pub(crate) const MKDIRAT: usize = 34;
    pub(crate) const SYMLINKAT: usize = 36;
    pub(crate) const UMOUNT2: usize = 39;
    pub(crate) const MOUNT: usize = 40;
    pub(crate) const PIVOT_ROOT: usize = 41;
    pub(crate) const FSTATFS: usize = 44;
    pub(crate) const FACCESSAT: usize = 48;
    pub(crate) const CHDIR: usize = 49;
    pub(crate) const FCHDIR: usize = 50;
    pub(crate) const CHROOT: usize = 51;
    pub(crate) const FCHMOD: usize = 52;
    pub(crate) const FCHMODAT: usize = 53;
    pub(crate) const FCHOWNAT: usize = 54;
    pub(crate) const CLOSE: usize = 57;
    pub(crate) const PIPE2: usize = 59;
    pub(crate) const GETDENTS64: usize = 61;
    pub(crate) const READ: usize = 63;
    pub(crate) const WRITE: usize = 64;
    pub(crate) const SENDFILE: usize = 71;
    pub(crate) const PPOLL: usize = 73;
    pub(crate) const READLINKAT: usize = 78;
    pub(crate) const UTIMENSAT: usize = 88;
    pub(crate) const CAPGET: usize = 90;
    pub(crate) const CAPSET: usize = 91;
    pub(crate) const PERSONALITY: usize = 92;
    pub(crate) const EXIT: usize = 93;
    pub(crate) const EXIT_GROUP: usize = 94;
    pub(crate) const WAITID: usize = 95;
    pub(crate) const UNSHARE: usize = 97;
    pub(crate) const CLOCK_GETTIME: usize = 113;
    pub(crate) const SCHED_YIELD: usize = 124;
    pub(crate) const KILL: usize = 129;
    pub(crate) const RT_SIGACTION: usize = 134;
    pub(crate) const RT_SIGPROCMASK: usize = 135;
    pub(crate) const SETRESUID: usize = 147;
    pub(crate) const SETRESGID: usize = 149;
    pub(crate) const SETSID: usize = 157;
    pub(crate) const SETGROUPS: usize = 159;
    pub(crate) const SETHOSTNAME: usize = 161;
    pub(crate) const SETDOMAINNAME: usize = 162;
    pub(crate) const UMASK: usize = 166;
    pub(crate) const PRCTL: usize = 167;
    pub(crate) const GETPID: usize = 172;
    pub(crate) const SOCKET: usize = 198;
    pub(crate) const GETSOCKOPT: usize = 209;
    pub(crate) const SENDMSG: usize = 211;
    pub(crate) const RECVMSG: usize = 212;
    pub(crate) const KEYCTL: usize = 219;
    pub(crate) const CLONE: usize = 220;
    pub(crate) const EXECVE: usize = 221;
    pub(crate) const MMAP: usize = 222;
    pub(crate) const MUNMAP: usize = 215;
    pub(crate) const SET_MEMPOLICY: usize = 237;
    pub(crate) const ACCEPT4: usize = 242;
    pub(crate) const PRLIMIT: usize = 261;
    pub(crate) const SETNS: usize = 268;
    pub(crate) const SCHED_SETAFFINITY: usize = 122;
    pub(crate) const SCHED_SETATTR: usize = 274;
    pub(crate) const SECCOMP: usize = 277;
    pub(crate) const MEMFD_CREATE: usize = 279;
    pub(crate) const STATX: usize = 291;
    pub(crate) const PIDFD_SEND_SIGNAL: usize = 424;
    pub(crate) const OPEN_TREE: usize = 428;
    pub(crate) const MOVE_MOUNT: usize = 429;
    pub(crate) const FSOPEN: usize = 430;
    pub(crate) const FSCONFIG: usize = 431;
    pub(crate) const FSMOUNT: usize = 432;
    pub(crate) const FSPICK: usize = 433;
    pub(crate) const CLONE3: usize = 435;
    pub(crate) const CLOSE_RANGE: usize = 436;
    pub(crate) const OPENAT2: usize = 437;
    pub(crate) const FACCESSAT2: usize = 439;
    pub(crate) const MOUNT_SETATTR: usize = 442;
    pub(crate) const FCHMODAT2: usize = 452;
    pub(crate) const RENAMEAT2: usize = 276;
    pub(crate) const UNLINKAT: usize = 35;
    pub(crate) const GETRANDOM: usize = 278;
}
