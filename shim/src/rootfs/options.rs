//! Mount options in the style of fstab, sorted into flags of mount(2), id maps and what is for the filesystem.

use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags};

use crate::proto::types::Mount;
use crate::ttrpc::Status;

/// One range of ids: inside the mount, outside, how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) inside: u32,
    pub(super) outside: u32,
    pub(super) size: u32,
}

/// Both maps of an id-mapped mount.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) uids: Vec<Range>,
    pub(super) gids: Vec<Range>,
}

/// Options, sorted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) flags: MountFlags,
    propagation: Option<MountPropagationFlags>,
    pub(super) data: Vec<String>,
    pub(super) ids: Option<Ids>,
}

/// A flag's name, whether it sets or clears, and its bit.
const FLAGS: &[(&str, bool, MountFlags)] = &[
    ("defaults", true, MountFlags::empty()),
    ("ro", true, MountFlags::RDONLY),
    ("rw", false, MountFlags::RDONLY),
    ("nosuid", true, MountFlags::NOSUID),
    ("suid", false, MountFlags::NOSUID),
    ("nodev", true, MountFlags::NODEV),
    ("dev", false, MountFlags::NODEV),
    ("noexec", true, MountFlags::NOEXEC),
    ("exec", false, MountFlags::NOEXEC),
    ("sync", true, MountFlags::SYNCHRONOUS),
    ("async", false, MountFlags::SYNCHRONOUS),
    ("dirsync", true, MountFlags::DIRSYNC),
    ("mand", true, MountFlags::PERMIT_MANDATORY_FILE_LOCKING),
    ("nomand", false, MountFlags::PERMIT_MANDATORY_FILE_LOCKING),
    ("noatime", true, MountFlags::NOATIME),
    ("atime", false, MountFlags::NOATIME),
    ("nodiratime", true, MountFlags::NODIRATIME),
    ("diratime", false, MountFlags::NODIRATIME),
    ("relatime", true, MountFlags::RELATIME),
    ("norelatime", false, MountFlags::RELATIME),
    ("strictatime", true, MountFlags::STRICTATIME),
    ("nostrictatime", false, MountFlags::STRICTATIME),
    ("bind", true, MountFlags::BIND),
    ("rbind", true, MountFlags::BIND.union(MountFlags::REC)),
];

fn propagation(option: &str) -> Option<MountPropagationFlags> {
    let (recursive, name) = match option.strip_prefix('r') {
        Some(name) => (MountPropagationFlags::REC, name),
        None => (MountPropagationFlags::empty(), option),
    };
    let kind = match name {
        "private" => MountPropagationFlags::PRIVATE,
        "shared" => MountPropagationFlags::SHARED,
        "slave" => MountPropagationFlags::DOWNSTREAM,
        "unbindable" => MountPropagationFlags::UNBINDABLE,
        _ => return None,
    };
    Some(kind | recursive)
}

impl Parsed {
    /// Sorts the options of a mount.
    pub(super) fn of(mount: &Mount) -> Result<Self, Status> {
        let mut parsed = Self {
            flags: MountFlags::empty(),
            propagation: None,
            data: Vec::new(),
            ids: None,
        };
        if mount.kind == "bind" {
            parsed.flags |= MountFlags::BIND;
        }
        for (position, option) in mount.options.iter().enumerate() {
            parsed
                .take(option)
                .map_err(|text| Status::invalid(format!("options[{position}]: {text}")))?;
        }
        Ok(parsed)
    }

    fn take(&mut self, option: &str) -> Result<(), String> {
        if let Some((_, set, flag)) = FLAGS.iter().find(|(name, ..)| *name == option) {
            self.flags.set(*flag, *set);
        } else if let Some(kind) = propagation(option) {
            self.propagation = Some(kind);
        } else if let Some(map) = option.strip_prefix("uidmap=") {
            self.ids.get_or_insert_default().uids = ranges(option, map)?;
        } else if let Some(map) = option.strip_prefix("gidmap=") {
            self.ids.get_or_insert_default().gids = ranges(option, map)?;
        } else if option == "loop" || option.starts_with("X-containerd.") {
            return Err(format!(
                "{option:?} is not supported by this shim: containerd's mount manager (2.2 and newer) makes plain mounts of it"
            ));
        } else {
            self.data.push(option.to_owned());
        }
        Ok(())
    }

    /// What is for the filesystem.
    pub(super) fn data(&self) -> String {
        self.data.join(",")
    }

    /// Changes the propagation where an option asks for it.
    pub(super) fn propagate(&self, target: &Path) -> Result<(), Status> {
        let Some(kind) = self.propagation else {
            return Ok(());
        };
        rustix::mount::mount_change(target, kind)
            .map_err(|errno| Status::os(format!("mount({target:?}, {kind:?})"), errno))
    }
}

/// `0:100000:65536`, several with commas.
fn ranges(option: &str, text: &str) -> Result<Vec<Range>, String> {
    let one = |range: &str| {
        let mut numbers = range.split(':').map(|number| number.parse().ok());
        let found = [numbers.next()??, numbers.next()??, numbers.next()??];
        let [inside, outside, size] = found;
        (numbers.next().is_none() && size > 0).then_some(Range {
            inside,
            outside,
            size,
        })
    };
    text.split(',')
        .map(|range| {
            one(range).ok_or_else(|| format!("{option:?}: found {range:?}, allowed is INSIDE:OUTSIDE:SIZE"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Result<Parsed, Status> {
        Parsed::of(&Mount {
            kind: "overlay".to_owned(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            ..Mount::default()
        })
    }

    #[test]
    fn options_are_sorted() {
        let parsed = parse(&[
            "ro",
            "nosuid",
            "lowerdir=/a:/b",
            "index=off",
            "rslave",
            "uidmap=0:1:2,5:6:7",
            "gidmap=0:1:2",
        ]);
        let parsed = parsed.unwrap();
        assert_eq!(parsed.flags, MountFlags::RDONLY | MountFlags::NOSUID);
        assert_eq!(parsed.data(), "lowerdir=/a:/b,index=off");
        assert_eq!(
            parsed.propagation,
            Some(MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        );
        let ids = parsed.ids.unwrap();
        assert_eq!(
            ids.uids[1],
            Range {
                inside: 5,
                outside: 6,
                size: 7
            }
        );
        assert_eq!(ids.gids.len(), 1);
        assert_eq!(parse(&["ro", "rw"]).unwrap().flags, MountFlags::empty());
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        for bad in [
            "uidmap=0:1",
            "uidmap=0:1:0",
            "gidmap=a:b:c",
            "uidmap=0:1:2:3",
            "loop",
        ] {
            let error = parse(&["ro", bad]).unwrap_err();
            assert!(
                error.message.starts_with("options[1]") && error.message.contains(bad),
                "{error:?}"
            );
        }
    }
}
