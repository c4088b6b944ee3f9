//! What a name of standard output is: a path, or a URI with a scheme.

use std::path::{Component, Path};

use crate::ttrpc::Status;

/// A name of an output, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Nowhere.
    Null,
    /// A fifo, or a file that is there.
    Path(String),
    /// A file to append to; made where it is missing.
    File(String),
    /// A program that logs.
    Program(Program),
}

/// A program that logs, and its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) path: String,
    pub(super) args: Vec<String>,
    /// `binary-v2`: it must write a byte when it is ready; before, closing was enough.
    pub(super) must_answer: bool,
}

impl Target {
    pub(super) fn parse(name: &str) -> Result<Self, Status> {
        let Some((scheme, rest)) = name.split_once("://") else {
            return Ok(if name.is_empty() {
                Self::Null
            } else {
                Self::Path(name.to_owned())
            });
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = decoded(path);
        let plain = !Path::new(&path)
            .components()
            .any(|part| part == Component::ParentDir);
        if !path.starts_with('/') || !plain {
            return Err(Status::invalid(format!(
                "stdout: {path:?} in {name:?} is not allowed: an absolute path without \"..\" is"
            )));
        }
        match scheme {
            "fifo" => Ok(Self::Path(path)),
            "file" => Ok(Self::File(path)),
            "binary" | "binary-v2" => Ok(Self::Program(Program {
                path,
                args: arguments(query),
                must_answer: scheme == "binary-v2",
            })),
            other => Err(Status::invalid(format!(
                "stdout: unknown scheme {other:?} in {name:?}; allowed are fifo, file, binary and binary-v2"
            ))),
        }
    }
}

/// Each key, followed by its value where it has one.
fn arguments(query: &str) -> Vec<String> {
    let mut args = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        args.push(decoded(&key.replace('+', " ")));
        if pair.contains('=') {
            args.push(decoded(&value.replace('+', " ")));
        } else {
            args.push(String::new());
        }
    }
    args
}

/// Percent-encoding undone; what is no encoding stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(Target::parse("").unwrap(), Target::Null);
        assert_eq!(
            Target::parse("/run/f").unwrap(),
            Target::Path("/run/f".to_owned())
        );
        assert_eq!(
            Target::parse("file:///var/a%20b").unwrap(),
            Target::File("/var/a b".to_owned())
        );
        let Target::Program(program) = Target::parse("binary:///usr/bin/log?k=v&flag&x=a%3Db").unwrap()
        else {
            panic!("no program");
        };
        assert_eq!(program.path, "/usr/bin/log");
        assert_eq!(program.args, ["k", "v", "flag", "", "x", "a=b"]);
        assert!(!program.must_answer);
    }

    #[test]
    fn an_unknown_scheme_is_refused_by_name() {
        let error = Target::parse("npipe:///x").unwrap_err();
        assert!(error.message.contains("\"npipe\""), "{error:?}");
    }

    #[test]
    fn a_path_leads_where_it_says() {
        for name in [
            "file://var/log/x",
            "binary://../x",
            "file:///var/../etc/passwd",
            "binary:///a/%2e%2e/b",
        ] {
            let error = Target::parse(name).unwrap_err();
            assert!(error.message.contains("absolute"), "{error:?}");
        }
        assert!(Target::parse("file:///var/..log").is_ok());
    }
}
