//! The bytes of init, the only program of ours that ever runs inside a container. The launcher copies them into a sealed
//! memfd; nothing else may use them. How they are built is in `build.rs`.

/// init's ELF image: static, without loader or relocations.
pub(crate) static INIT: &[u8] = include_bytes!(env!("RUNTIME_CORE_INIT"));
