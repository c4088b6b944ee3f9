//! seccomp
use crate::error::Result;
use crate::spec::Warning;
use oci_spec::runtime::LinuxSeccomp;

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// An array of `struct sock_filter` (8 bytes each, native byte order) for `seccomp(SECCOMP_SET_MODE_FILTER)`.
    pub program: Vec<u8>,
    /// `SECCOMP_FILTER_FLAG_*` bits.
    pub flags: u32,
    /// Number of instructions.
    pub instructions: u32,
    /// Rules that were skipped.
    pub warnings: Vec<Warning>,
}

/// Compiles `linux.seccomp`.
///
/// # Errors
/// InvalidSpec for a contradictory profile; Unsupported for NOTIFY.
pub fn compile(profile: &LinuxSeccomp) -> Result<Filter> {
    let _ = profile;
    Err(crate::Error::new(crate::ErrorKind::Internal, "not yet"))
}
