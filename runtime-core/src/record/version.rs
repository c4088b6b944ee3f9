//! Which records this code reads, and what is said of the others.

use std::path::Path;

use serde::Deserialize;

use super::Record;
use crate::error::{Error, ErrorKind};

/// The version of the record that this code writes; it reads this one only.
pub(super) const VERSION: u32 = 1;

#[derive(Deserialize)]
struct Version {
    version: u32,
    /// Of any form: a newer version may have changed it, and counts as newer all the same.
    #[serde(default)]
    written_by: serde_json::Value,
}

/// Why bytes are no record for this code.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// Another runtime's, which knows more: what it lists must not be forgotten.
    Newer { version: u32, written_by: String },
    /// Not what any runtime wrote.
    Damaged(String),
}

impl Unreadable {
    pub(super) fn at(self, path: &Path) -> Error {
        let path = path.display();
        match self {
            Self::Newer { version, written_by } => {
                let runtime = match written_by.is_empty() {
                    true => "a newer runtime".to_owned(),
                    false => format!("runtime {written_by}"),
                };
                let message = format!(
                    "{path}: found version {version} of the record, written by {runtime}, allowed is version {VERSION}"
                );
                Error::new(ErrorKind::Unsupported, message)
                    .with_hint(format!("use {runtime} for this container; it is kept as it is"))
            }
            Self::Damaged(why) => {
                let message = format!("{path}: the record is damaged: {why}");
                Error::new(ErrorKind::State, message)
                    .with_hint("delete --force ends and removes what can still be read of the container")
            }
        }
    }
}

impl Record {
    /// The record in these bytes; else why they are none.
    pub(crate) fn parse(bytes: &[u8]) -> std::result::Result<Self, Unreadable> {
        let damaged = |error: serde_json::Error| Unreadable::Damaged(error.to_string());
        let Version { version, written_by } = serde_json::from_slice(bytes).map_err(damaged)?;
        match version {
            VERSION => serde_json::from_slice(bytes).map_err(damaged),
            newer if newer > VERSION => Err(Unreadable::Newer {
                version,
                written_by: written_by.as_str().unwrap_or_default().to_owned(),
            }),
            older => Err(Unreadable::Damaged(format!("there was never a version {older}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_is_newer_whatever_else_is_there() {
        for text in [
            r#"{"version": 2}"#,
            r#"{"version": 4294967295, "written_by": {"name": 7}, "init": "x"}"#,
        ] {
            let found = Record::parse(text.as_bytes()).unwrap_err();
            assert!(matches!(found, Unreadable::Newer { .. }), "{text}: {found:?}");
        }
        let named = Record::parse(br#"{"version": 2, "written_by": "9.8.7"}"#).unwrap_err();
        let said = named.at(Path::new("/s/c/state.json")).to_string();
        assert!(
            said.contains("version 2 of the record, written by runtime 9.8.7"),
            "{said}"
        );
        for text in [r#"{"version": 0}"#, r#"{"version": 1}"#, "{}", "[]", ""] {
            let found = Record::parse(text.as_bytes()).unwrap_err();
            assert!(matches!(found, Unreadable::Damaged(_)), "{text}: {found:?}");
        }
    }
}
