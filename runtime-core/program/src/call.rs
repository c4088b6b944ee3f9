//! Names of the system calls that init makes, as numbers: init reports the number, the parent shows the name.

macro_rules! calls {
    ($($name:ident $text:literal)*) => {
        /// A system call of init.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u32)]
        #[allow(missing_docs, reason = "each variant is the system call of that name")]
        pub enum Call { None, $($name),* }

        impl Call {
            const ALL: &'static [Self] = &[Self::None, $(Self::$name),*];

            /// The call's name as its man page has it.
            pub const fn name(self) -> &'static str {
                match self { Self::None => "", $(Self::$name => $text),* }
            }

            /// The call of a number; [`Call::None`] for one that this version does not know.
            pub fn from_code(code: u32) -> Self {
                usize::try_from(code).ok().and_then(|at| Self::ALL.get(at)).copied().unwrap_or(Self::None)
            }
        }
    };
}

calls! {
    Accept "accept4" Capset "capset" Chdir "chdir" Chown "fchownat" Chmod "fchmodat" Chroot "chroot" Clone "clone3"
    CloseRange "close_range" Dup "dup3" Execve "execve" Fchdir "fchdir" Fcntl "fcntl" Fsconfig "fsconfig"
    Fsmount "fsmount" Fsopen "fsopen" Fspick "fspick" Fstat "statx" Getcwd "getcwd" Getdents "getdents64"
    Getsockopt "getsockopt" Ioctl "ioctl" IoprioSet "ioprio_set" Keyctl "keyctl" Listen "listen" Mkdir "mkdirat"
    Mknod "mknodat" Mmap "mmap" Mount "mount" MountSetattr "mount_setattr" MoveMount "move_mount"
    OpenTree "open_tree" Openat "openat2" Personality "personality" PidfdOpen "pidfd_open" Pipe "pipe2"
    PivotRoot "pivot_root" Poll "ppoll" Prctl "prctl" Read "read" Readlink "readlinkat" Recvmsg "recvmsg"
    SchedSetattr "sched_setattr" Seccomp "seccomp" Sendmsg "sendmsg" Setdomainname "setdomainname"
    Setgroups "setgroups" Sethostname "sethostname" Setns "setns" Setresgid "setresgid" Setresuid "setresuid"
    Setsid "setsid" Sigaction "rt_sigaction" Socket "socket" Symlink "symlinkat" Umount "umount2"
    Unlink "unlinkat" Unshare "unshare" Wait "waitid" Write "write" Xattr "fgetxattr" Statfs "fstatfs"
    Kill "kill" Prlimit "prlimit64" MemPolicy "set_mempolicy" Affinity "sched_setaffinity"
    Rename "renameat2" Random "getrandom"
}
