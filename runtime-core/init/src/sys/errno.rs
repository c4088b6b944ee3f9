//! The errnos that steps look at (asm-generic/errno-base.h, errno.h).

pub(crate) const EPERM: u32 = 1;
pub(crate) const ENOENT: u32 = 2;
pub(crate) const EINTR: u32 = 4;
pub(crate) const ENXIO: u32 = 6;
pub(crate) const EAGAIN: u32 = 11;
pub(crate) const EACCES: u32 = 13;
pub(crate) const EBUSY: u32 = 16;
pub(crate) const EEXIST: u32 = 17;
pub(crate) const EXDEV: u32 = 18;
pub(crate) const ENODEV: u32 = 19;
pub(crate) const ENOTDIR: u32 = 20;
pub(crate) const EISDIR: u32 = 21;
pub(crate) const EINVAL: u32 = 22;
pub(crate) const ENOTTY: u32 = 25;
pub(crate) const EROFS: u32 = 30;
pub(crate) const EPIPE: u32 = 32;
pub(crate) const ENAMETOOLONG: u32 = 36;
pub(crate) const ENOSYS: u32 = 38;
pub(crate) const ELOOP: u32 = 40;
pub(crate) const EPROTO: u32 = 71;
pub(crate) const EOPNOTSUPP: u32 = 95;
pub(crate) const ECONNABORTED: u32 = 103;
