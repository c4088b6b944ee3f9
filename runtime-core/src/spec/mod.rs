//! Loading config.json (being written on its own branch).

use oci_spec::runtime::Spec;

/// A configuration and what was noticed while reading it.
#[derive(Debug)]
pub struct LoadedSpec {
    /// The configuration.
    pub spec: Spec,
}
