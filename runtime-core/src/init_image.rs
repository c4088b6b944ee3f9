//! The bytes of init, the only program of ours that ever runs inside a container. The launcher copies them into a sealed
//! memfd. How they are built is in `build.rs`.

/// Where hosts that refuse to execute a memfd keep a copy of init, which must be of the same version.
pub const INSTALLED_INIT: &str = "/usr/libexec/runtime-core/init";

/// init's image, for installing it as [`INSTALLED_INIT`].
pub fn init_image() -> &'static [u8] {
    INIT
}

/// init's ELF image: static, without loader or relocations.
pub(crate) static INIT: &[u8] = include_bytes!(env!("RUNTIME_CORE_INIT"));
