//! New filesystems, and changes of mounts that are there already.

use std::path::Path;

use oci_spec::runtime::Mount;
use runtime_core_program::step::mount_flags as flag;

use super::long::{self, Form};
use super::{Mounts, RDONLY, proc_allowed, propagation};
use crate::error::{Error, Result};
use crate::plan::create::{absolute, text};
use crate::plan::labels;
use crate::plan::namespaces::USER;
use crate::plan::schedule::{Schedule, Step};
use crate::spec::mount_options::MountOptions;

/// Filesystems whose instance may be shared or is made by the kernel: `ro` is an attribute of the mount there, never of
/// the instance (a second mount with another `ro` would be refused with EBUSY).
const ATTRIBUTE_ONLY: &[&str] = &[
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "mqueue",
    "tmpfs",
    "devpts",
    "ramfs",
    "securityfs",
    "debugfs",
    "tracefs",
    "bpf",
    "devtmpfs",
    "efivarfs",
    "configfs",
    "fusectl",
    "binfmt_misc",
    "overlay",
];

impl<'a> Mounts<'a> {
    pub(super) fn filesystem(
        &self,
        schedule: &mut Schedule,
        mount: &Mount,
        field: &str,
        fstype: &str,
        target: &str,
        options: &MountOptions,
    ) -> Result<()> {
        let mut flags = 0;
        let mut fallback = "";
        if fstype == "tmpfs" {
            if options.tmpcopyup {
                flags |= flag::COPY_UP;
            }
            if !options.data.iter().any(|option| option.starts_with("mode=")) {
                flags |= flag::INHERIT_MODE;
            }
        } else if options.tmpcopyup {
            return Err(Error::spec(
                format!("{field}.options"),
                "tmpcopyup is only possible for tmpfs",
            ));
        }
        if target == "/proc" || target == "/sys" {
            flags |= flag::TARGET_REAL;
        }
        if fstype == "proc" || proc_allowed("", target, field)? {
            flags |= flag::ALLOW_PROC;
        }
        if self.namespaces.has(USER) && (fstype == "sysfs" || fstype == "mqueue") {
            flags |= flag::BIND_FALLBACK;
            fallback = if fstype == "sysfs" { "/sys" } else { "/dev/mqueue" };
        }
        if options.dest_nofollow {
            flags |= flag::TARGET_NOFOLLOW;
        }
        let late_read_only = self.is_read_only_late(mount, fstype, target, options);
        let source = mount
            .source()
            .as_ref()
            .map_or_else(|| fstype.to_owned(), |path| path.to_string_lossy().into_owned());
        let source = if self.facts.is_device_filesystem(fstype) {
            absolute(&self.request.bundle, Path::new(&source))
                .to_string_lossy()
                .into_owned()
        } else {
            source
        };
        let context = labels::context(fstype, &options.data, self.label);
        let given = options.data.clone();
        let mut data = match long::form(field, fstype, &source, given, context, self.facts.kernel)? {
            Form::Single(data) => data,
            Form::Page(data) => {
                return self.by_page(schedule, field, (fstype, &source, &data), target, options, flags);
            }
        };
        let instance_flags = options
            .fsconfig_flags()
            .filter(|name| !(ATTRIBUTE_ONLY.contains(&fstype) && matches!(*name, "ro" | "rw")));
        data.extend(instance_flags.map(str::to_owned));
        schedule.init(
            Step::MountFs {
                fstype: text(&format!("{field}.type"), fstype)?,
                source: text(&format!("{field}.source"), &source)?,
                options: data
                    .iter()
                    .map(|option| text(&format!("{field}.options"), option))
                    .collect::<Result<_>>()?,
                attributes: if late_read_only {
                    options.attributes.set & !RDONLY
                } else {
                    options.attributes.set
                },
                recursive_set: options.recursive.set,
                recursive_clear: options.recursive.clear,
                propagation: propagation(options),
                target: text(&format!("{field}.destination"), target)?,
                fallback: text(field, fallback)?,
                flags,
            },
            field,
        );
        if let Some(label) = self.label.filter(|_| fstype == "mqueue") {
            let step = Step::LabelFile {
                path: text(&format!("{field}.destination"), target)?,
                label: label.as_bytes().to_vec(),
                // The host's own, where it had to be bound, keeps the host's label.
                may_fail: flags & flag::BIND_FALLBACK != 0,
            };
            schedule.init(step, "linux.mountLabel");
        }
        Ok(())
    }

    /// A new filesystem whose options go to the kernel in one text.
    fn by_page(
        &self,
        schedule: &mut Schedule,
        field: &str,
        (fstype, source, data): (&str, &str, &str),
        target: &str,
        options: &MountOptions,
        flags: u32,
    ) -> Result<()> {
        let mut superblock = u64::from(options.superblock_set.bits());
        if ATTRIBUTE_ONLY.contains(&fstype) {
            superblock &= !libc::MS_RDONLY;
        }
        schedule.init(
            Step::MountPage {
                fstype: text(&format!("{field}.type"), fstype)?,
                source: text(&format!("{field}.source"), source)?,
                data: text(&format!("{field}.options"), data)?,
                superblock,
                attributes: options.attributes.set,
                recursive_set: options.recursive.set,
                recursive_clear: options.recursive.clear,
                propagation: propagation(options),
                target: text(&format!("{field}.destination"), target)?,
                flags,
            },
            field,
        );
        Ok(())
    }

    pub(super) fn remount(
        &self,
        schedule: &mut Schedule,
        field: &str,
        target: &str,
        options: &MountOptions,
    ) -> Result<()> {
        let mut data: Vec<String> = options.data.clone();
        if options.bind.is_none() {
            data.extend(
                options
                    .fsconfig_flags()
                    .filter(|name| !matches!(*name, "ro" | "rw"))
                    .map(str::to_owned),
            );
        }
        long::check_remount(field, &data)?;
        schedule.init(
            Step::Remount {
                target: text(&format!("{field}.destination"), target)?,
                options: data
                    .iter()
                    .map(|option| text(&format!("{field}.options"), option))
                    .collect::<Result<_>>()?,
                set: options.attributes.set,
                clear: options.attributes.clear,
                recursive_set: options.recursive.set,
                recursive_clear: options.recursive.clear,
                propagation: propagation(options),
            },
            field,
        );
        Ok(())
    }
}
