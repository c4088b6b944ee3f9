//! Labels of the security modules: AppArmor profile and SELinux label of the program, SELinux label of mounts.
//!
//! A label that was asked for and cannot be had is an error, also where the module is off: engines ask only where it is
//! on, and a container without its label must not look like one that has it. init writes the labels on a procfs of its
//! own and reads them back.

use oci_spec::runtime::{Process, Spec};

use super::create::text;
use super::schedule::{Schedule, Step};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::HostFacts;

/// The name that stands for no confinement; a host without AppArmor confines nobody.
const UNCONFINED: &str = "unconfined";

/// Filesystems that take no `context=`: their instances are the kernel's own, or exist already with other labels. The
/// root of a message queue filesystem is labelled by its extended attribute instead.
const WITHOUT_CONTEXT: &[&str] = &["proc", "sysfs", "cgroup", "cgroup2", "mqueue"];

/// What the program's process asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Labels<'a> {
    apparmor: Option<&'a str>,
    selinux: Option<&'a str>,
}

impl<'a> Labels<'a> {
    /// The labels of a process, where this host has them.
    pub(super) fn of(process: &'a Process, facts: &HostFacts) -> Result<Self> {
        let given = |label: &'a Option<String>| label.as_deref().filter(|label| !label.is_empty());
        let asked = Self {
            apparmor: given(process.apparmor_profile()),
            selinux: given(process.selinux_label()),
        };
        if !facts.apparmor && asked.apparmor.is_some_and(|profile| profile != UNCONFINED) {
            let message =
                "apparmor: config provided but apparmor not supported: it is not enabled on this host";
            return Err(Error::spec("process.apparmorProfile", message).with_kind(ErrorKind::Unsupported));
        }
        if asked.selinux.is_some() {
            needs_selinux("process.selinuxLabel", facts)?;
        }
        Ok(Self {
            apparmor: asked.apparmor.filter(|_| facts.apparmor),
            ..asked
        })
    }

    /// The private procfs that the labels are written to; `needed` by others anyway.
    pub(super) fn open_proc(&self, schedule: &mut Schedule, needed: bool) {
        if needed {
            schedule.init(Step::OpenProc {}, "linux.sysctl");
        } else if self.apparmor.is_some() {
            schedule.init(Step::OpenProc {}, "process.apparmorProfile");
        } else if self.selinux.is_some() {
            schedule.init(Step::OpenProc {}, "process.selinuxLabel");
        }
    }

    /// Makes the session keyring by `make`, with the program's label: otherwise the program could not use it.
    pub(super) fn keyring(&self, schedule: &mut Schedule, make: Step) -> Result<()> {
        let field = "process.selinuxLabel";
        if let Some(label) = self.selinux {
            let label = text(field, label)?;
            schedule.init(Step::KeyLabel { label }, field);
        }
        schedule.init(make, "(keyring)");
        if self.selinux.is_some() {
            let label = text(field, "")?;
            schedule.init(Step::KeyLabel { label }, field);
        }
        Ok(())
    }

    /// The labels that the program gets when it is executed.
    pub(super) fn at_exec(&self, schedule: &mut Schedule) -> Result<()> {
        if let Some(profile) = self.apparmor {
            let field = "process.apparmorProfile";
            let profile = text(field, profile)?;
            schedule.init(Step::ExecProfile { profile }, field);
        }
        if let Some(label) = self.selinux {
            let field = "process.selinuxLabel";
            let label = text(field, label)?;
            schedule.init(Step::ExecLabel { label }, field);
        }
        Ok(())
    }
}

/// linux.mountLabel, where this host has SELinux.
pub(super) fn mount_label<'a>(spec: &'a Spec, facts: &HostFacts) -> Result<Option<&'a str>> {
    let linux = spec.linux().as_ref();
    let label = linux
        .and_then(|linux| linux.mount_label().as_deref())
        .filter(|label| !label.is_empty());
    if label.is_some() {
        needs_selinux("linux.mountLabel", facts)?;
    }
    Ok(label)
}

/// The option that gives everything on a new filesystem this label. One that the mount's own options bring stays.
pub(super) fn context(fstype: &str, options: &[String], label: Option<&str>) -> Option<String> {
    let label = label.filter(|_| !WITHOUT_CONTEXT.contains(&fstype))?;
    let own = options.iter().any(|option| option.starts_with("context="));
    (!own).then(|| format!("context={label}"))
}

fn needs_selinux(field: &str, facts: &HostFacts) -> Result<()> {
    if facts.selinux {
        return Ok(());
    }
    let message = "selinux label is specified in config, but selinux is disabled or not supported";
    Err(Error::spec(field, message).with_kind(ErrorKind::Unsupported))
}
