//! Bytes of a CDI file into its types.

use serde::Deserialize;
use serde_json::Value;

use super::name::{check_class, check_vendor};
use super::spec::CdiSpec;
use super::{shape, validate, yaml};
use crate::error::{Error, ErrorKind, Result};

/// Size limit of a CDI file, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reads and judges the content of a CDI file, YAML or JSON.
///
/// # Errors
/// InvalidArgument, with the place in the text or the field: not UTF-8, larger than [`MAX_FILE_BYTES`], not YAML, an alias,
/// nested deeper than 64, an unknown field, a value that is not allowed, a version that is older than what is used.
pub fn parse(bytes: &[u8]) -> Result<CdiSpec> {
    parse_text(bytes).map_err(|why| Error::new(ErrorKind::InvalidArgument, why))
}

pub(super) fn parse_text(bytes: &[u8]) -> std::result::Result<CdiSpec, String> {
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("larger than {MAX_FILE_BYTES} bytes"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8 text: {error}"))?;
    let mut document = match yaml::parse(text)? {
        None | Some(Value::Null) => return Err("the file is empty".to_owned()),
        Some(document) => document,
    };
    shape::fit(&mut document)?;
    let spec = typed(&document)?;
    validate::validate(&spec)?;
    Ok(spec)
}

/// The kind that a file names which cannot be used; None where that much cannot be read either.
pub(super) fn kind_of(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let document = yaml::parse(text).ok()??;
    let mut kinds = document.as_object()?.iter();
    let (_, kind) = kinds.find(|(key, _)| key.eq_ignore_ascii_case("kind"))?;
    let kind = kind.as_str()?;
    let (vendor, class) = kind.split_once('/')?;
    (check_vendor(vendor).is_ok() && check_class(class).is_ok()).then(|| kind.to_owned())
}

fn typed(document: &Value) -> std::result::Result<CdiSpec, String> {
    if let Ok(spec) = CdiSpec::deserialize(document) {
        return Ok(spec);
    }
    serde_path_to_error::deserialize(document).map_err(|error| match error.path().to_string().as_str() {
        "." => error.inner().to_string(),
        path => format!("{path}: {}", error.inner()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: &str = "devices: [{name: 0, containerEdits: {env: [A=b]}}]\n";

    #[test]
    fn a_file_as_people_write_it() {
        let text = "---\ncdiVersion: 0.5.0\nKind: nvidia.com/gpu\ndevices:\n- name: 0\n  containerEdits:\n    deviceNodes:\n    \
                    - path: /dev/nvidia0\n      major: 195\n      fileMode: 0666\n    env:\n";
        let spec = parse(text.as_bytes()).unwrap();
        assert_eq!(spec.devices[0].name, "0");
        assert_eq!(
            spec.devices[0].container_edits.device_nodes[0].file_mode,
            Some(0o666)
        );
        assert_eq!(spec.kind, "nvidia.com/gpu");
    }

    #[test]
    fn faults_name_their_place() {
        for (text, words) in [
            ("".to_owned(), "empty"),
            ("null\n".to_owned(), "empty"),
            ("[]\n".to_owned(), "the file: found an array"),
            (
                format!("cdiVersion: 9.9.9\nkind: v/c\n{DEVICE}"),
                "cdiVersion: found \"9.9.9\", allowed: 0.1.0",
            ),
            (
                format!("cdiVersion: 0.3.0\nkind: v/c\n{DEVICE}"),
                "needs at least 0.5.0",
            ),
            (
                format!("cdiVersion: 0.5.0\nkind: v\n{DEVICE}"),
                "kind: the vendor is empty",
            ),
            (
                format!("cdiVersion: 0.5.0\nkind: v/c\nextra: 1\n{DEVICE}"),
                "the file: unknown field \"extra\"",
            ),
            (
                "cdiVersion: 0.5.0\nkind: v/c\ndevices: [{name: a, containerEdits: {env: [A]}}]".to_owned(),
                "devices[0].containerEdits.env[0]: found \"A\"",
            ),
            (
                "cdiVersion: 0.5.0\nkind: v/c\ndevices: [{name: a, containerEdits: {env: {a: b}}}]"
                    .to_owned(),
                "devices[0].containerEdits.env: invalid type",
            ),
            (
                "cdiVersion: 0.5.0\nkind: v/c\ndevices: [{name: a, containerEdits: {}}]".to_owned(),
                "devices[0].containerEdits: there is none",
            ),
            (
                "cdiVersion: 0.5.0\nkind: v/c\ndevices: []".to_owned(),
                "devices: there is none",
            ),
        ] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{text}\n{error}");
        }
        assert!(
            parse(&vec![b' '; (1 << 20) + 1])
                .unwrap_err()
                .to_string()
                .contains("larger")
        );
        assert!(parse(b"\xff").unwrap_err().to_string().contains("UTF-8"));
    }
}
