//! Where a service of D-Bus listens: the text of $DBUS_SESSION_BUS_ADDRESS to the sockets that it names.
//!
//! Pure: nothing is looked up.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) place: Place,
    /// A bus with many services is there, else the one service itself.
    pub(crate) is_bus: bool,
}

/// A name of a unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Path(PathBuf),
    Abstract(Vec<u8>),
}

impl Address {
    /// A service's own socket.
    pub(crate) fn direct(path: impl Into<PathBuf>) -> Self {
        Self {
            place: Place::Path(path.into()),
            is_bus: false,
        }
    }

    /// The socket of a bus.
    pub(crate) fn bus(path: impl Into<PathBuf>) -> Self {
        Self {
            place: Place::Path(path.into()),
            is_bus: true,
        }
    }

    /// The unix sockets of a list in the form of the D-Bus specification (`unix:path=/run/user/1000/bus,guid=...;...`).
    /// Other transports are left out.
    pub(crate) fn list(text: &str) -> Vec<Self> {
        text.split(';').filter_map(one).collect()
    }
}

fn one(text: &str) -> Option<Address> {
    let pairs = text.strip_prefix("unix:")?;
    let place = pairs.split(',').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        match key {
            "path" => Some(Place::Path(PathBuf::from(OsString::from_vec(unescape(value)?)))),
            "abstract" => Some(Place::Abstract(unescape(value)?)),
            _ => None,
        }
    })?;
    Some(Address { place, is_bus: true })
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let number = digit(bytes.next()?)? * 16 + digit(bytes.next()?)?;
                u8::try_from(number).ok()?
            }
            byte => byte,
        });
    }
    Some(out)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Path(path) => write!(f, "{:?}", path.display().to_string()),
            Place::Abstract(name) => write!(f, "\"@{}\"", String::from_utf8_lossy(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_as_they_are_met() {
        assert_eq!(
            Address::list("unix:path=/run/user/1000/bus"),
            [Address::bus("/run/user/1000/bus")]
        );
        assert_eq!(
            Address::list(
                "tcp:host=x;unix:guid=1,path=/a%20b;unix:abstract=/tmp/c;unix:runtime=yes;unix:path=%zz"
            ),
            [
                Address::bus("/a b"),
                Address {
                    place: Place::Abstract(b"/tmp/c".to_vec()),
                    is_bus: true
                }
            ]
        );
        assert_eq!(Address::list("disabled:"), []);
    }
}
