//! What CRIU leaves to be done about namespaces: a loopback device that is up, and a time namespace that exec finds.

use std::os::fd::AsFd;

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType};
use rustix::process::{Pid, PidfdFlags};

use crate::error::{Error, ErrorKind, Result};
use crate::netlink::Links;
use crate::spec::LoadedSpec;

/// What init does in a network namespace that it made.
pub(super) fn set_loopback_up(pid: i32) -> Result<()> {
    let process = Pid::from_raw(pid)
        .ok_or_else(|| Error::new(ErrorKind::System, format!("criu names process {pid}")))?;
    let pidfd = rustix::process::pidfd_open(process, PidfdFlags::empty())
        .map_err(|errno| Error::os(format!("pidfd_open({pid})"), errno))?;
    let links = Links::of_process(pidfd.as_fd())?;
    links.set_up(links.index("lo")?)
}

/// The configuration with a time namespace; None where it has one.
pub(super) fn with_time(mut loaded: LoadedSpec) -> Option<LoadedSpec> {
    let mut linux = loaded.spec.linux().clone()?;
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    if namespaces
        .iter()
        .any(|namespace| namespace.typ() == LinuxNamespaceType::Time)
    {
        return None;
    }
    let mut time = LinuxNamespace::default();
    time.set_typ(LinuxNamespaceType::Time);
    namespaces.push(time);
    linux.set_namespaces(Some(namespaces));
    loaded.spec.set_linux(Some(linux));
    Some(loaded)
}
