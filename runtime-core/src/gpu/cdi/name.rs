//! Names of devices: `vendor/class=name` (SPEC.md, "CDI Kind" and "devices"; the rules of Go's `pkg/parser`).

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// The name of one device among all vendors': `nvidia.com/gpu=0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualifiedName {
    text: String,
    slash: usize,
    equals: usize,
}

impl QualifiedName {
    /// A name out of its parts.
    ///
    /// # Errors
    /// InvalidArgument: a part is empty or has a character that is not allowed.
    pub fn new(vendor: &str, class: &str, name: &str) -> Result<Self, Error> {
        format!("{vendor}/{class}={name}").parse()
    }

    /// The vendor: `nvidia.com`.
    pub fn vendor(&self) -> &str {
        &self.text[..self.slash]
    }

    /// The class: `gpu`.
    pub fn class(&self) -> &str {
        &self.text[self.slash + 1..self.equals]
    }

    /// Vendor and class: `nvidia.com/gpu`.
    pub fn kind(&self) -> &str {
        &self.text[..self.equals]
    }

    /// The name within the kind: `0`.
    pub fn name(&self) -> &str {
        &self.text[self.equals + 1..]
    }

    /// All of it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for QualifiedName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        split(text).map_err(|why| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "{text:?} is no name of a device: {why}; allowed: VENDOR/CLASS=NAME, as nvidia.com/gpu=0"
                ),
            )
        })
    }
}

fn split(text: &str) -> Result<QualifiedName, String> {
    let equals = text.find('=').ok_or("there is no \"=\"")?;
    let slash = text[..equals]
        .find('/')
        .ok_or("there is no \"/\" before the \"=\"")?;
    let name = QualifiedName {
        text: text.to_owned(),
        slash,
        equals,
    };
    check_vendor(name.vendor())?;
    check_class(name.class())?;
    check_device(name.name())?;
    Ok(name)
}

/// The rule for vendors: a letter first, a letter or digit last, between them also `_`, `-` and `.`.
pub(super) fn check_vendor(vendor: &str) -> Result<(), String> {
    check("vendor", vendor, |first| first.is_ascii_alphabetic(), "_-.")
}

/// The rule for classes: as for vendors.
pub(super) fn check_class(class: &str) -> Result<(), String> {
    check("class", class, |first| first.is_ascii_alphabetic(), "_-.")
}

/// The rule for names of devices: a letter or digit first and last, between them also `_`, `-`, `.` and `:`.
pub(super) fn check_device(name: &str) -> Result<(), String> {
    check("device name", name, |first| first.is_ascii_alphanumeric(), "_-.:")
}

fn check(what: &str, text: &str, may_begin: fn(char) -> bool, inner: &str) -> Result<(), String> {
    let mut letters = text.chars();
    let Some(first) = letters.next() else {
        return Err(format!("the {what} is empty"));
    };
    if !may_begin(first) {
        return Err(format!("the {what} {text:?} must not begin with {first:?}"));
    }
    let Some(last) = letters.next_back() else {
        return Ok(());
    };
    if let Some(wrong) = letters.find(|letter| !letter.is_ascii_alphanumeric() && !inner.contains(*letter)) {
        return Err(format!("the {what} {text:?} must not contain {wrong:?}"));
    }
    if !last.is_ascii_alphanumeric() {
        return Err(format!("the {what} {text:?} must not end with {last:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_three_parts() {
        let name: QualifiedName = "nvidia.com/gpu=0:1".parse().unwrap();
        assert_eq!(
            (name.vendor(), name.class(), name.name()),
            ("nvidia.com", "gpu", "0:1")
        );
        assert_eq!(name.kind(), "nvidia.com/gpu");
        assert!("a/b=c".parse::<QualifiedName>().is_ok());
        assert!("v-e_n.d/c.l=GPU-1".parse::<QualifiedName>().is_ok());
    }

    #[test]
    fn names_that_go_refuses_are_refused() {
        for text in [
            "",
            "0",
            "gpu=0",
            "nvidia.com/gpu",
            "nvidia.com/gpu=",
            "/gpu=0",
            "nvidia.com/=0",
            "1v/gpu=0",
            "v/1=0",
            "v/c=-0",
            "v/c=0-",
            "v./c=0",
            "v/c-=0",
            "v/c=a b",
            "v/c=a=b",
            "v/c/d=0",
            "é/c=0",
            "v/c=é",
            "/dev/nvidia0",
        ] {
            assert!(text.parse::<QualifiedName>().is_err(), "{text}");
        }
    }
}
