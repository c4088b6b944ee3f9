//! `-info` and `-version`: who this is and what the library can do.

use std::io::{Read as _, Write as _};

use prost::Message;

use crate::NAME;
use crate::proto::types::{Any, RuntimeInfo, RuntimeVersion};
use crate::ttrpc::Status;

/// The name under which containerd looks for the document of runtime-spec's features.md.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";
/// Most bytes of the options on standard input.
const MOST: u64 = 1 << 20;

/// Writes a RuntimeInfo; the options on standard input are echoed.
///
/// # Errors
/// Standard input is no options.
pub(crate) fn info() -> Result<(), Status> {
    let mut input = Vec::new();
    std::io::stdin()
        .take(MOST)
        .read_to_end(&mut input)
        .map_err(|error| Status::os("read(standard input)", error))?;
    let options = Any::decode(input.as_slice())
        .map_err(|error| Status::invalid(format!("standard input: google.protobuf.Any: {error}")))?;
    let features = serde_json::to_vec(&runtime_core::features::features())
        .map_err(|error| Status::invalid(format!("the features: {error}")))?;
    let info = RuntimeInfo {
        name: NAME.to_owned(),
        version: Some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: String::new(),
        }),
        options: Some(options).filter(|options| !options.type_url.is_empty()),
        features: Some(Any {
            type_url: FEATURES.to_owned(),
            value: features,
        }),
        ..RuntimeInfo::default()
    };
    write(&info.encode_to_vec())
}

/// Writes name and version for people.
///
/// # Errors
/// Standard output takes nothing.
pub(crate) fn version() -> Result<(), Status> {
    write(
        format!(
            "{NAME} (containerd-shim-runtime-core-v2)\n  Version: {}\n",
            env!("CARGO_PKG_VERSION")
        )
        .as_bytes(),
    )
}

fn write(bytes: &[u8]) -> Result<(), Status> {
    std::io::stdout()
        .write_all(bytes)
        .map_err(|error| Status::os("write(standard output)", error))
}
