//! The list of steps that init can run: the one place where both halves of the format come from.
//!
//! Paths called "in the root" are resolved by openat2 with RESOLVE_IN_ROOT below the container's root, magic links
//! refused. Mount attributes are the MOUNT_ATTR_* bits of mount_setattr(2); propagation words are MS_SHARED,
//! MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE, with MS_REC added for the whole tree.

use crate::MAX_ARGS;
use crate::field::Field;
use crate::field::kind::{Blob, Bool, Fd, Fds, I32, Nums, Str, Strs, U32, U64};
use crate::reader::Malformed;

#[cfg(feature = "writer")]
use crate::writer::{Arena, FieldBuf};

/// Bits of `flags` in the mount steps.
pub mod mount_flags {
    /// MountFs: copy what the target holds into the new filesystem before it is attached (`tmpcopyup`).
    pub const COPY_UP: u32 = 1 << 0;
    /// MountFs: where the target was there before, put `mode=` with its twelve bits in front of the options (tmpfs).
    pub const INHERIT_MODE: u32 = 1 << 1;
    /// MountFs: where the kernel refuses a new instance (EPERM, EBUSY), bind `fallback` instead.
    pub const BIND_FALLBACK: u32 = 1 << 2;
    /// MountBind: take the whole tree below the source.
    pub const RECURSIVE: u32 = 1 << 3;
    /// MountBind: the source is the descriptor that the last Borrow step received, a detached mount.
    pub const LENT: u32 = 1 << 4;
    /// MountBind: the source itself may not be a symbolic link.
    pub const SOURCE_NOFOLLOW: u32 = 1 << 5;
    /// MountFs, MountBind: a symbolic link at the end of the target is refused, not followed.
    pub const TARGET_NOFOLLOW: u32 = 1 << 6;
    /// MountFs: the target must be a real directory, not a symbolic link to one (/proc, /sys).
    pub const TARGET_REAL: u32 = 1 << 7;
    /// MountFs, MountBind: the target may lie on or below /proc (a new procfs, the names that lxcfs provides).
    pub const ALLOW_PROC: u32 = 1 << 8;
    /// MountBind: where the source is a symbolic link, make the same link at the target instead.
    pub const COPY_SYMLINK: u32 = 1 << 9;
    /// MountBind: where the source does not exist, mount nothing. MountFs with BIND_FALLBACK: where `fallback` does not
    /// exist either, cover the target with an empty read-only tmpfs.
    pub const MAY_LACK: u32 = 1 << 10;
    /// MountBind: where the target exists already, mount nothing.
    pub const UNLESS_THERE: u32 = 1 << 11;
}

/// `uid` in the Exec step when HOME needs no lookup.
pub const NO_HOME: u32 = u32::MAX;

macro_rules! steps {
    ($(
        $(#[$doc:meta])*
        $code:literal $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ident),* $(,)? }
    )*) => {
        /// One step, as init reads it.
        #[allow(missing_docs, reason = "each step's text explains its fields")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Step<'a> {
            $($(#[$doc])* $name { $($(#[$field_doc])* $field: <$kind as Field>::Read<'a>),* }),*
        }

        impl<'a> Step<'a> {
            /// Decodes a record.
            pub(crate) fn decode(code: u32, args: &[u64; MAX_ARGS], arena: &'a [u8]) -> Result<Self, Malformed> {
                let mut args = args.iter().copied();
                let step = match code {
                    $($code => Self::$name {
                        $($field: <$kind as Field>::read(args.next().ok_or(Malformed::Header)?, arena)?),*
                    },)*
                    _ => return Err(Malformed::Code),
                };
                // A slot that no field uses is zero, so that every program has one spelling only.
                if args.any(|rest| rest != 0) { Err(Malformed::Number) } else { Ok(step) }
            }
        }

        /// One step, as the planner keeps it; `F` names a descriptor that does not exist yet.
        #[cfg(feature = "writer")]
        #[allow(missing_docs, reason = "each step's text explains its fields")]
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
        #[serde(tag = "op", rename_all = "kebab-case")]
        pub enum StepBuf<F> {
            $($(#[$doc])* $name { $($(#[$field_doc])* $field: <$kind as FieldBuf>::Owned<F>),* }),*
        }

        #[cfg(feature = "writer")]
        impl<F> StepBuf<F> {
            /// Stores the step's fields and gives its code.
            pub(crate) fn encode(
                &self,
                args: &mut [u64; MAX_ARGS],
                arena: &mut Arena,
                fd: &mut dyn FnMut(&F) -> i32,
            ) -> u32 {
                let mut slots = args.iter_mut();
                match self {
                    $(Self::$name { $($field),* } => {
                        $(if let Some(slot) = slots.next() {
                            *slot = <$kind as FieldBuf>::put($field, arena, fd);
                        })*
                        $code
                    })*
                }
            }

            /// The step's name as the schedule and its JSON have it.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$name { .. } => stringify!($name)),* }
            }

            /// Each descriptor that the step names.
            pub fn descriptors(&self) -> Vec<&F> {
                let mut found = Vec::new();
                match self {
                    $(Self::$name { $($field),* } => {
                        let _ = &mut found;
                        $(steps!(@fd $kind $field found);)*
                    })*
                }
                found
            }
        }
    };
    (@fd Fd $field:ident $found:ident) => { $found.push($field) };
    (@fd Fds $field:ident $found:ident) => { $found.extend($field) };
    (@fd $kind:ident $field:ident $found:ident) => { let _ = $field; };
}

steps! {
    // ---- getting started, joining ----

    /// Close every descriptor but these, stdio, the report socket and the program; they come sorted.
    1 CloseStray { keep: Fds }
    /// Make this process undumpable: nobody in a namespace that it joins may trace it (CVE-2016-9962).
    2 Undumpable {}
    /// Start a new session.
    3 NewSession {}
    /// Say Reached and wait for Go. End of file instead means that the parent is gone: exit.
    4 Sync {}
    /// Say Reached and go on.
    5 Tell {}
    /// Say Wanted, wait for Go with a descriptor, keep it for the next step.
    6 Borrow {}
    /// setns(2) into the namespace of this CLONE_NEW* kind, then close the descriptor.
    7 Join { namespace: Fd, kind: U32 }
    /// unshare(2) these CLONE_NEW* namespaces.
    8 Unshare { namespaces: U64 }
    /// Go on in a sibling (CLONE_PARENT), which is in the pid namespace joined or unshared before; say Sibling with
    /// its process descriptor and pid, and exit.
    9 Fork {}
    /// Go on in a sibling that is born in this cgroup (CLONE_INTO_CGROUP), as with Fork. Where the kernel refuses, say
    /// Wanted with the errno and wait for Go with another cgroup, or without one: the sibling then stays where this
    /// process is.
    14 ForkInto { cgroup: Fd }
    /// The id maps are written: become uid 0 and gid 0 of the user namespace, without supplementary groups where
    /// `drop_groups`; all capabilities stay.
    10 BecomeRoot { drop_groups: Bool }
    /// Unshare the time namespace, write the offsets (text of timens_offsets, may be empty), enter it.
    11 EnterTime { offsets: Blob }
    /// Write "0" to this `tasks` file of a v1 hierarchy.
    12 JoinCgroup { tasks: Fd }
    /// Run on every CPU that the cgroup allows (sched_setaffinity(2)); a refusal is fine.
    95 AllCpus {}
    /// Write bytes to a file of the host's /proc that is about init itself (`/proc/self/...`), before the root changes.
    13 WriteSelf { path: Str, value: Blob }

    // ---- the tree of mounts ----

    /// mount_setattr(2) propagation on a path of the present root (`/`, or the container's root after Pivot).
    20 Propagation { path: Str, flags: U64 }
    /// Open the container's root: clone the mount at `path` (or the lent one), with everything below it, attach the
    /// clone over it and keep it. Without `clone` only open the directory. With `detach` the mount that the root lies on
    /// is made private first: what is done in the root must not propagate, although `/` is shared.
    21 OpenRoot { path: Str, lent: Bool, clone: Bool, detach: Bool }
    /// Make a filesystem (fsopen, one fsconfig per option `key=value` or `flag`), give it the attributes, attach it at
    /// `target` in the root, which is made where missing, and set its propagation.
    22 MountFs {
        fstype: Str, source: Str, options: Strs, attributes: U64, recursive_set: U64, recursive_clear: U64,
        propagation: Nums, target: Str, fallback: Str, flags: U32,
    }
    /// The same for options that are too long for fsconfig: mount(2) with these MS_* flags of the filesystem and one text
    /// of at most 4095 bytes, on a place of init's own, from where it is taken to `target`.
    96 MountPage {
        fstype: Str, source: Str, data: Str, superblock: U64, attributes: U64, recursive_set: U64,
        recursive_clear: U64, propagation: Nums, target: Str, flags: U32,
    }
    /// Clone the mount at `source` (a path of the present root, not of the container's), change attributes, attach it at
    /// `target` in the root, which is made where missing as the source's type asks, and set its propagation. The
    /// attributes `unasked` are cleared too, but where the mount is locked against that.
    23 MountBind {
        source: Str, target: Str, set: U64, clear: U64, unasked: U64, recursive_set: U64, recursive_clear: U64,
        propagation: Nums, flags: U32,
    }
    /// Change a mount that is at `target` in the root: attributes, propagation, and, with options, its filesystem's
    /// parameters (fspick).
    24 Remount {
        target: Str, options: Strs, set: U64, clear: U64, recursive_set: U64, recursive_clear: U64, propagation: Nums,
    }
    /// Make a directory in the root and what is missing above it, with this mode; an existing one stays as it is.
    25 MakeDir { path: Str, mode: U32 }
    /// Make a symbolic link in the root; one that is there already stays as it is.
    26 Symlink { target: Str, path: Str }
    /// Make a device node or fifo in the root with this type and mode, number and owner. One that is there already with
    /// the same type and number is given mode and owner; anything else there is an error.
    27 Device { path: Str, mode: U32, device: U64, uid: U32, gid: U32 }
    /// Bind the host's device node `source`, checked to be of this type and number, on a file made at `path` in the root.
    28 BindDevice { source: Str, path: Str, mode: U32, device: U64 }
    /// Before the root changes: clone the host's /dev/null (checked) and make the shared empty read-only tmpfs, which
    /// the Mask steps attach, with this SELinux label where it is not empty.
    29 PrepareMasks { label: Str }
    /// Cover what is at the path: a directory with the shared empty one, anything else with the host's null device. A
    /// missing path is fine. A symbolic link at the end is not followed, nor covered.
    30 Mask { path: Str }
    /// Make the tree at the path read-only by a bind of itself. A missing path is fine.
    31 ReadOnlyPath { path: Str }
    /// Give what is at the path in the root this SELinux label. Where `may_fail`, one that this user may not label stays
    /// as it is.
    94 LabelFile { path: Str, label: Blob, may_fail: Bool }
    /// Make the container's root (its top mount only) read-only.
    32 ReadOnlyRoot {}

    /// Make a symbolic link in the root in the place of what is at the path; a directory there is an error. The same link
    /// stays as it is.
    33 ReplaceLink { target: Str, path: Str }
    /// Write a file of this mode beside the path in the root, and put it in the place of what is there by rename(2).
    34 WriteFile { path: Str, content: Blob, mode: U32 }
    /// Cover the regular file at the path in the root by a read-only one of init's own that has this content. Where
    /// nothing is there, nothing is covered.
    35 CoverFile { path: Str, content: Blob, mode: U32 }
    /// chmod(2) of what is at the path in the root. A missing path, or one that may not be changed, is fine.
    36 SetMode { path: Str, mode: U32 }
    /// Say Wanted with the root's descriptor, wait for Go; where a program travels with it, run its steps, which may be
    /// MakeDir, ReplaceLink, WriteFile and SetMode only.
    37 Extend {}

    // ---- changing the root ----

    /// pivot_root(2) into the root, unmount the old one, chdir to `/`.
    40 Pivot {}
    /// Without pivot_root: unmount or cover every other proc and sysfs, move the root over `/`, chroot, chdir to `/`.
    41 MoveRoot {}
    /// Without a mount namespace: chroot into the root, chdir to `/`.
    42 Chroot {}

    // ---- the container's own settings ----

    /// Make a private procfs for the Sysctl steps: one that no container process can see.
    50 OpenProc {}
    /// Write a value below /proc/sys of the private procfs.
    51 Sysctl { path: Str, value: Blob }
    /// sethostname(2).
    52 Hostname { name: Blob }
    /// setdomainname(2).
    53 Domainname { name: Blob }
    /// Run a hook: stdin is `head`, the pid of init as this pid namespace sees it in decimal, `tail`; the environment is
    /// exactly `env`, with HOME of the uid `home` as in Exec; own session; killed as a group after `timeout` seconds
    /// (0: never). Its exit must be 0; where it is not, what it printed travels with Failed as a file. An empty `cwd`
    /// leaves init's own.
    54 Hook { path: Str, args: Strs, env: Strs, home: U32, cwd: Str, head: Blob, tail: Blob, timeout: U64 }
    /// Set the loopback device of this network namespace up.
    55 Loopback {}

    // ---- terminal and descriptors ----

    /// Open the ptmx of the container's devpts (checked), unlock it, take its peer by TIOCGPTPEER, set the window size
    /// where not 0, give the peer to this owner, say Descriptor with the master, make the peer stdin, stdout, stderr and
    /// controlling terminal, and, where `bind`, bind it on /dev/console in the root.
    60 Console { bind: Bool, rows: U32, columns: U32, uid: U32 }
    /// Make these the standard descriptors; -1 leaves one as it is.
    61 Stdio { input: Fd, output: Fd, error: Fd }
    /// Each standard descriptor that is the host's null device (type and number) becomes the container's /dev/null,
    /// which must be the null device.
    62 ReopenNull {}
    /// Give the standard descriptors to this user, but for null devices; what cannot be given stays as it is.
    63 OwnStdio { uid: U32 }
    /// Put these descriptors, in order, at 3, 4, ...
    64 PlaceFds { fds: Fds }

    // ---- becoming the program ----

    /// Join a new session keyring of this name and restrict its permissions; a kernel without keyrings is fine.
    70 NewKeyring { name: Str }
    /// prctl(PR_SET_NO_NEW_PRIVS).
    71 NoNewPrivs {}
    /// sched_setattr(2), all times in nanoseconds.
    72 Scheduler { policy: U32, flags: U64, nice: I32, priority: U32, runtime: U64, deadline: U64, period: U64 }
    /// ioprio_set(2) of this process.
    73 IoPriority { value: U32 }
    /// personality(2).
    74 Personality { persona: U64 }
    /// umask(2).
    75 Umask { mask: U32 }
    /// Drop every capability that is not in the mask from the bounding set.
    76 LimitBounding { keep: U64 }
    /// Keep capabilities, setgroups where `set_groups`, setresgid, setresuid.
    77 User { uid: U32, gid: U32, groups: Nums, set_groups: Bool }
    /// chdir to the working directory and check that it lies inside the root (CVE-2024-21626). Where `may_fail`, a
    /// refused permission is left to the later step of the same kind.
    78 WorkDir { path: Str, may_fail: Bool }
    /// Set the effective, permitted and inheritable sets, then the ambient one. Where the kernel refuses an ambient
    /// capability it is left out.
    79 Capabilities { effective: U64, permitted: U64, inheritable: U64, ambient: U64 }
    /// Find the program: a name with a slash as it is, else in the directories of `search`. Keep it for Exec.
    80 FindProgram { name: Str, search: Str }
    /// Say Reached at this step (the container is created) and wait for Go; then, unless the listening socket is -1, wait
    /// for start there, where only root and the owner of this user namespace may connect. The connection becomes the
    /// report socket. Before waiting everything is closed but stdio, the placed descriptors and the socket.
    81 WaitStart { listener: Fd }
    /// seccomp(2) with this filter (struct sock_filter) and flags.
    82 Seccomp { filter: Blob, flags: U32 }
    /// prlimit64(2) of this process: the limit of this RLIMIT_* number.
    84 Rlimit { resource: U32, soft: U64, hard: U64 }
    /// set_mempolicy(2): mode with its flags, and the nodes as a bit mask in whole words of 8 bytes.
    90 MemoryPolicy { mode: U32, nodes: Blob }
    /// Let what is executed next be confined by this AppArmor profile; written to the private procfs, and read back.
    91 ExecProfile { profile: Str }
    /// Let what is executed next have this SELinux label; written to the private procfs, and read back.
    92 ExecLabel { label: Str }
    /// Let new keyrings have this SELinux label, or, with an empty one, that of the policy; the same way.
    93 KeyLabel { label: Str }
    /// Say Starting, close everything above the first 3 + `keep` descriptors, execve(2) the program found. With
    /// `home` not NO_HOME the environment gets HOME of that uid from the container's /etc/passwd, else `/`.
    83 Exec { args: Strs, env: Strs, home: U32, keep: U32 }
}
