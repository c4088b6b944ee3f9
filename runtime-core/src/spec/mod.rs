//! The configuration: config.json read into typed data, and everything that can be said about it without a host.
//!
//! [`LoadedSpec`] is what the rest of the library plans from. Loading ([`load`]) is the only part that touches a file,
//! and it touches one. Checking ([`check`](mod@check)), mount options ([`mount_options`]), capability sets ([`capability`]) and the
//! default configuration ([`default`]) are pure. Nothing here asks what the host can do and nothing here decides how a
//! container is made; that is the plan's work.

pub mod capability;
pub mod check;
pub mod default;
pub mod load;
pub mod mount_options;
mod normalize;
pub(crate) mod numbers;
mod shape;

pub use check::{check, check_process};
pub use default::{DefaultSpec, default_json, default_spec};
pub use load::{LoadedProcess, LoadedResources, LoadedSpec, Warning};
pub use mount_options::MountOptions;
pub use oci_spec::runtime::{Process, Spec};

/// What stands for the `process` of a configuration that has none: root in `/`, without a capability and without a program.
/// Such a container can be created and entered, not started.
pub fn no_process() -> Process {
    let mut process = Process::default();
    process
        .set_args(None)
        .set_env(None)
        .set_capabilities(None)
        .set_rlimits(None)
        .set_no_new_privileges(None);
    process
}
