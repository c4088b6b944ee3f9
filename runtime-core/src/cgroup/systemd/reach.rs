//! Where systemd can be reached, and which of the places answers.
//!
//! Must not live here: what it is asked.

use std::time::{Duration, Instant};

use crate::dbus::{Address, Connection, is_closed};
use crate::error::{Error, ErrorKind, Result};

/// For the greeting at one address. A connection that is waiting to be taken while systemd executes itself anew is never
/// heard of again.
const GREETING: Duration = Duration::from_secs(5);

/// The first address where somebody listens, and whether that is a bus.
pub(super) fn open_first(addresses: &[Address], deadline: Instant) -> Result<(Connection, bool)> {
    let mut refused = None;
    for address in addresses {
        let attempt = (Instant::now() + GREETING).min(deadline);
        match Connection::open(address, attempt) {
            Ok(connection) => return Ok((connection, address.is_bus)),
            // Nobody is there, or not for this caller, or it went away meanwhile: what is next may be.
            Err(error) if may_be_elsewhere(&error) => {
                refused.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or_else(|| Error::new(ErrorKind::System, "there is no address to connect to")))
}

pub(super) fn system_addresses() -> Vec<Address> {
    vec![
        Address::direct("/run/systemd/private"),
        Address::bus("/run/dbus/system_bus_socket"),
    ]
}

pub(super) fn user_addresses(runtime_dir: &str, session_bus: Option<&str>) -> Vec<Address> {
    let mut addresses = vec![Address::direct(format!("{runtime_dir}/systemd/private"))];
    match session_bus {
        Some(list) => addresses.extend(Address::list(list)),
        None => addresses.push(Address::bus(format!("{runtime_dir}/bus"))),
    }
    addresses
}

fn may_be_elsewhere(error: &Error) -> bool {
    is_closed(error)
        || matches!(
            error.errno(),
            Some(libc::ENOENT | libc::ECONNREFUSED | libc::EACCES | libc::ETIMEDOUT)
        )
}

pub(super) fn no_manager(error: Error, user: bool) -> Error {
    if user {
        return error
            .context("cannot talk to the systemd of this user")
            .with_hint(
                "a login session starts it (loginctl enable-linger USER: without one); XDG_RUNTIME_DIR or \
                 DBUS_SESSION_BUS_ADDRESS must name its place",
            );
    }
    error.context("cannot talk to systemd")
}
