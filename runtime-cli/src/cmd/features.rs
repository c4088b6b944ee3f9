//! `features`: what this version can do, for engines that ask once before they write configurations.

use std::collections::BTreeMap;

use runtime_core::features::{Features, LinuxFeature, features};
use runtime_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

use crate::args::{Command, Matches};
use crate::fail::Outcome;
use crate::output::out;
use crate::session::Session;

pub(crate) const COMMAND: Command = Command {
    name: "features",
    about: "show what this version can do",
    words: "",
    min: 0,
    max: 0,
    first_word_ends_options: false,
    failure: 1,
    text: "   A JSON document in the form of features.md of the runtime specification. It tells what this version of the\n   \
           program can do; what this host can do is told by info.",
    flags: &[],
    run,
};

fn run(_session: &Session, _matches: &Matches) -> Outcome {
    out(&format!("{}\n", text(&features())?));
    Ok(0)
}

/// The document in the order of the specification. oci-spec writes null for what is absent and the annotations in any
/// order, which changes the text from call to call.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    oci_version_min: &'a str,
    oci_version_max: &'a str,
    hooks: &'a Option<Vec<String>>,
    mount_options: &'a Option<Vec<String>>,
    linux: BTreeMap<String, Value>,
    annotations: BTreeMap<&'a String, &'a String>,
    potentially_unsafe_config_annotations: &'a Option<Vec<String>>,
}

fn text(features: &Features) -> Result<String> {
    let document = Document {
        oci_version_min: features.oci_version_min(),
        oci_version_max: features.oci_version_max(),
        hooks: features.hooks(),
        mount_options: features.mount_options(),
        linux: present(features.linux().as_ref())?,
        annotations: features.annotations().iter().flatten().collect(),
        potentially_unsafe_config_annotations: features.potentially_unsafe_config_annotations(),
    };
    let mut bytes = Vec::new();
    let formatter = PrettyFormatter::with_indent(b"    ");
    document
        .serialize(&mut Serializer::with_formatter(&mut bytes, formatter))
        .map_err(broken)?;
    String::from_utf8(bytes).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
}

/// The members that are there.
fn present(linux: Option<&LinuxFeature>) -> Result<BTreeMap<String, Value>> {
    let value = serde_json::to_value(linux).map_err(broken)?;
    let mut members: BTreeMap<String, Value> = serde_json::from_value(value).map_err(broken)?;
    members.retain(|_, member| !member.is_null());
    Ok(members)
}

fn broken(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("the features as JSON: {error}"))
}
