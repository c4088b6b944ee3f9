//! The errnos that steps look at (asm-generic/errno-base.h, errno.h).

pub(crate) const EPERM: u16 = 1;
pub(crate) const ENOENT: u16 = 2;
pub(crate) const EINTR: u16 = 4;
pub(crate) const ENXIO: u16 = 6;
pub(crate) const EBADF: u16 = 9;
pub(crate) const EAGAIN: u16 = 11;
pub(crate) const EACCES: u16 = 13;
pub(crate) const EBUSY: u16 = 16;
pub(crate) const EEXIST: u16 = 17;
pub(crate) const EXDEV: u16 = 18;
pub(crate) const ENODEV: u16 = 19;
pub(crate) const ENOTDIR: u16 = 20;
pub(crate) const EISDIR: u16 = 21;
pub(crate) const EINVAL: u16 = 22;
pub(crate) const ENOTTY: u16 = 25;
pub(crate) const EROFS: u16 = 30;
pub(crate) const EPIPE: u16 = 32;
pub(crate) const ENAMETOOLONG: u16 = 36;
pub(crate) const ENOSYS: u16 = 38;
pub(crate) const ELOOP: u16 = 40;
pub(crate) const EPROTO: u16 = 71;
pub(crate) const EOPNOTSUPP: u16 = 95;
pub(crate) const ECONNABORTED: u16 = 103;
