//! What the service manager of this host says of itself, as data. Asked only where cgroups are to be made by it.

use serde::{Deserialize, Serialize};

/// A running systemd: that of the system, or a user's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemdFacts {
    /// Its version, as 257.
    pub version: u32,
    /// It is the manager of a user.
    pub user: bool,
    /// The cgroup that its units are in, from the root of the hierarchy: `/`, or
    /// `/user.slice/user-1000.slice/user@1000.service`.
    pub control_group: String,
}
