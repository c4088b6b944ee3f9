//! Which namespaces the container is in of its own, new or joined, and the rules of the list itself.

use super::{absolute, no_nul_path};
use crate::error::{Error, Result};
use oci_spec::runtime::{Linux, LinuxNamespaceType};
use std::path::Path;

/// Every type that a configuration may name.
pub(crate) const TYPES: [LinuxNamespaceType; 8] = [
    LinuxNamespaceType::Cgroup,
    LinuxNamespaceType::Ipc,
    LinuxNamespaceType::Mount,
    LinuxNamespaceType::Network,
    LinuxNamespaceType::Pid,
    LinuxNamespaceType::Time,
    LinuxNamespaceType::User,
    LinuxNamespaceType::Uts,
];

/// The namespaces that the configuration names, whether it makes or joins them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Namespaces {
    /// The container has its own mount namespace; the other fields likewise.
    pub(crate) mount: bool,
    pub(crate) network: bool,
    pub(crate) ipc: bool,
    pub(crate) uts: bool,
    pub(crate) user: bool,
    pub(crate) time: bool,
    /// The user namespace is joined by path.
    pub(crate) user_joined: bool,
    /// The time namespace is joined by path.
    pub(crate) time_joined: bool,
}

impl Namespaces {
    /// Reads the list.
    ///
    /// # Errors
    /// InvalidSpec for a type that occurs twice and a path that is not absolute.
    pub(crate) fn of(linux: Option<&Linux>) -> Result<Self> {
        let mut found = Self::default();
        let mut seen: Vec<LinuxNamespaceType> = Vec::with_capacity(8);
        let list = linux.and_then(|linux| linux.namespaces().as_ref());
        for (index, namespace) in list.into_iter().flatten().enumerate() {
            let kind = namespace.typ();
            if seen.contains(&kind) {
                let message = format!("malformed spec file: duplicated ns {:?}", name(kind));
                return Err(Error::spec(format!("linux.namespaces[{index}].type"), message));
            }
            seen.push(kind);
            let path = namespace.path().as_deref().filter(|path| *path != Path::new(""));
            if let Some(path) = path {
                let field = format!("linux.namespaces[{index}].path");
                absolute(&field, path)?;
                no_nul_path(&field, path)?;
            }
            found.take(kind, path.is_some());
        }
        Ok(found)
    }

    fn take(&mut self, kind: LinuxNamespaceType, joined: bool) {
        match kind {
            LinuxNamespaceType::Mount => self.mount = true,
            LinuxNamespaceType::Network => self.network = true,
            LinuxNamespaceType::Ipc => self.ipc = true,
            LinuxNamespaceType::Uts => self.uts = true,
            LinuxNamespaceType::User => (self.user, self.user_joined) = (true, joined),
            LinuxNamespaceType::Time => (self.time, self.time_joined) = (true, joined),
            LinuxNamespaceType::Pid | LinuxNamespaceType::Cgroup => {}
        }
    }
}

/// The name in config.json.
fn name(kind: LinuxNamespaceType) -> &'static str {
    match kind {
        LinuxNamespaceType::Mount => "mount",
        LinuxNamespaceType::Cgroup => "cgroup",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::User => "user",
        LinuxNamespaceType::Pid => "pid",
        LinuxNamespaceType::Network => "network",
        LinuxNamespaceType::Time => "time",
    }
}
