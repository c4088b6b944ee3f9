//! Mount options: the strings of `mounts[].options` sorted into what the kernel's mount calls take.
//!
//! Pure text to flags. A later option overrides an earlier one of the same kind, as in fstab. What an option means for
//! one mount (a flag of a bind mount needs a remount, an idmap needs a user namespace) is decided by the plan.
//! Unknown options are not errors: they belong to the filesystem and travel in `data` (runtime-spec, config.md, Mounts).

mod idmap;

pub use idmap::{IdMapOption, IdRange};

use crate::error::{Error, Result};
use rustix::mount::{MountAttrFlags, MountFlags};

/// MS_I_VERSION of include/uapi/linux/mount.h, which rustix does not name.
const I_VERSION: MountFlags = MountFlags::from_bits_retain(1 << 23);

/// How a bind mount takes its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bind {
    /// `bind`: the one mount.
    Single,
    /// `rbind`: the mount and everything mounted below it.
    Recursive,
}

/// A propagation type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PropagationType {
    /// MS_SHARED.
    Shared,
    /// MS_SLAVE.
    Slave,
    /// MS_PRIVATE.
    Private,
    /// MS_UNBINDABLE.
    Unbindable,
}

/// One propagation change, applied after the mount, in the order of the options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    /// The new type.
    pub to: PropagationType,
    /// Whether it holds for the whole tree.
    pub recursive: bool,
}

impl Propagation {
    /// The change that an option such as `rslave` names; also the values of `linux.rootfsPropagation`.
    pub fn parse(option: &str) -> Option<Self> {
        let (to, recursive) = match option {
            "shared" => (PropagationType::Shared, false),
            "rshared" => (PropagationType::Shared, true),
            "slave" => (PropagationType::Slave, false),
            "rslave" => (PropagationType::Slave, true),
            "private" => (PropagationType::Private, false),
            "rprivate" => (PropagationType::Private, true),
            "unbindable" => (PropagationType::Unbindable, false),
            "runbindable" => (PropagationType::Unbindable, true),
            _ => return None,
        };
        Some(Self { to, recursive })
    }

    /// The MS_* bits, with MS_REC when recursive: for mount(2), and without MS_REC for mount_setattr(2).
    pub fn flags(self) -> u64 {
        let kind = match self.to {
            PropagationType::Shared => libc::MS_SHARED,
            PropagationType::Slave => libc::MS_SLAVE,
            PropagationType::Private => libc::MS_PRIVATE,
            PropagationType::Unbindable => libc::MS_UNBINDABLE,
        };
        if self.recursive { kind | libc::MS_REC } else { kind }
    }
}

/// Attributes of one mount or of a tree of mounts, in the form of mount_setattr(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// `attr_set`.
    pub set: u64,
    /// `attr_clr`. Contains MOUNT_ATTR__ATIME whenever an access-time mode was named, as the call requires.
    pub clear: u64,
}

impl Attributes {
    const ATIME: u64 = bits(MountAttrFlags::MOUNT_ATTR__ATIME);

    /// Whether there is nothing to change.
    pub fn is_empty(self) -> bool {
        self.set == 0 && self.clear == 0
    }

    /// What mount(2) makes of the attributes of a bind mount, and the flags that it clears unasked: who names one
    /// attribute names them all, as with MS_REMOUNT and MS_BIND. An access-time mode comes with nodiratime or without
    /// it, and nodiratime alone means relatime. In a user namespace the mount may be locked against what nobody asked
    /// to clear; that stays then.
    pub fn of_bind(self) -> (Self, u64) {
        if self.is_empty() {
            return (self, 0);
        }
        let mut asked = self;
        if self.clear & Self::ATIME != 0 {
            asked.clear |= NODIRATIME & !self.set;
        }
        if self.set & NODIRATIME != 0 {
            asked.clear |= Self::ATIME;
        }
        let unasked = RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW;
        (asked, unasked & !(asked.set | asked.clear))
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Retract(bits) => {
                self.set &= !bits;
                self.clear &= !bits;
            }
            Change::Set(flag) => {
                self.set |= flag;
                self.clear &= !flag;
            }
            Change::Clear(flag) => {
                self.clear |= flag;
                self.set &= !flag;
            }
            // The access-time modes are one field of three values, not three flags (mount_setattr(2)).
            Change::Atime(mode) => {
                self.clear |= Self::ATIME;
                self.set = self.set & !Self::ATIME | mode;
            }
        }
    }
}

const fn bits(flag: MountAttrFlags) -> u64 {
    flag.bits() as u64
}

#[derive(Clone, Copy)]
enum Change {
    Set(u64),
    Clear(u64),
    Atime(u64),
    /// Takes back what an earlier option said about access times: a fresh mount has the kernel's default then, and
    /// another keeps what it has, as with mount(2).
    Retract(u64),
}

impl Change {
    /// The same for a whole tree: mount_setattr(2) has no way back but to the default.
    fn recursive(self) -> Self {
        match self {
            Self::Retract(NODIRATIME) => Self::Clear(NODIRATIME),
            Self::Retract(_) => Self::Atime(RELATIME),
            other => other,
        }
    }
}

const RDONLY: u64 = bits(MountAttrFlags::MOUNT_ATTR_RDONLY);
const NOSUID: u64 = bits(MountAttrFlags::MOUNT_ATTR_NOSUID);
const NODEV: u64 = bits(MountAttrFlags::MOUNT_ATTR_NODEV);
const NOEXEC: u64 = bits(MountAttrFlags::MOUNT_ATTR_NOEXEC);
const NODIRATIME: u64 = bits(MountAttrFlags::MOUNT_ATTR_NODIRATIME);
const NOSYMFOLLOW: u64 = bits(MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW);
const RELATIME: u64 = bits(MountAttrFlags::MOUNT_ATTR_RELATIME);
const NOATIME: u64 = bits(MountAttrFlags::MOUNT_ATTR_NOATIME);
const STRICTATIME: u64 = bits(MountAttrFlags::MOUNT_ATTR_STRICTATIME);

/// Per-mount attributes; with an `r` in front each exists in the recursive form too.
const ATTRIBUTES: [(&str, Change); 18] = [
    ("ro", Change::Set(RDONLY)),
    ("rw", Change::Clear(RDONLY)),
    ("nosuid", Change::Set(NOSUID)),
    ("suid", Change::Clear(NOSUID)),
    ("nodev", Change::Set(NODEV)),
    ("dev", Change::Clear(NODEV)),
    ("noexec", Change::Set(NOEXEC)),
    ("exec", Change::Clear(NOEXEC)),
    ("nodiratime", Change::Set(NODIRATIME)),
    ("diratime", Change::Retract(NODIRATIME)),
    ("nosymfollow", Change::Set(NOSYMFOLLOW)),
    ("symfollow", Change::Clear(NOSYMFOLLOW)),
    ("noatime", Change::Atime(NOATIME)),
    ("atime", Change::Retract(Attributes::ATIME)),
    ("relatime", Change::Atime(RELATIME)),
    ("norelatime", Change::Retract(Attributes::ATIME)),
    ("strictatime", Change::Atime(STRICTATIME)),
    ("nostrictatime", Change::Retract(Attributes::ATIME)),
];

/// Flags of the superblock: option, flag, whether it sets or clears.
const SUPERBLOCK: [(&str, MountFlags, bool); 12] = [
    ("sync", MountFlags::SYNCHRONOUS, true),
    ("async", MountFlags::SYNCHRONOUS, false),
    ("dirsync", MountFlags::DIRSYNC, true),
    ("mand", MountFlags::PERMIT_MANDATORY_FILE_LOCKING, true),
    ("nomand", MountFlags::PERMIT_MANDATORY_FILE_LOCKING, false),
    ("lazytime", MountFlags::LAZYTIME, true),
    ("nolazytime", MountFlags::LAZYTIME, false),
    ("iversion", I_VERSION, true),
    ("noiversion", I_VERSION, false),
    ("silent", MountFlags::SILENT, true),
    ("loud", MountFlags::SILENT, false),
    // Of a fresh filesystem `ro` concerns the superblock as well; it is recorded here next to the attribute.
    ("ro", MountFlags::RDONLY, true),
];

/// Options that are neither attributes nor superblock flags nor propagation.
const OTHERS: [&str; 10] = [
    "bind",
    "rbind",
    "remount",
    "defaults",
    "idmap",
    "ridmap",
    "tmpcopyup",
    "copy-symlink",
    "src-nofollow",
    "dest-nofollow",
];

const PROPAGATIONS: [&str; 8] = [
    "shared",
    "rshared",
    "slave",
    "rslave",
    "private",
    "rprivate",
    "unbindable",
    "runbindable",
];

/// The options of one mount, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOptions {
    /// Attributes of the mount itself.
    pub attributes: Attributes,
    /// Attributes of the mount and of all mounts below it (`rro`, ...).
    pub recursive: Attributes,
    /// Superblock flags to set (MS_*).
    pub superblock_set: MountFlags,
    /// Superblock flags to clear (MS_*).
    pub superblock_clear: MountFlags,
    /// Propagation changes in order.
    pub propagation: Vec<Propagation>,
    /// Set for a bind mount; the type field of the mount is then without meaning.
    pub bind: Option<Bind>,
    /// `remount`: change the mount that is already there.
    pub remount: bool,
    /// `idmap` or `ridmap`.
    pub idmap: Option<IdMapOption>,
    /// `tmpcopyup`: copy what the tmpfs hides into it.
    pub tmpcopyup: bool,
    /// `copy-symlink`: a source that is a symbolic link is recreated instead of mounted.
    pub copy_symlink: bool,
    /// `src-nofollow`: bind the symbolic link itself.
    pub src_nofollow: bool,
    /// `dest-nofollow`: mount onto the symbolic link itself.
    pub dest_nofollow: bool,
    /// Options for the filesystem, in order.
    pub data: Vec<String>,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            attributes: Attributes::default(),
            recursive: Attributes::default(),
            superblock_set: MountFlags::empty(),
            superblock_clear: MountFlags::empty(),
            propagation: Vec::new(),
            bind: None,
            remount: false,
            idmap: None,
            tmpcopyup: false,
            copy_symlink: false,
            src_nofollow: false,
            dest_nofollow: false,
            data: Vec::new(),
        }
    }
}

impl MountOptions {
    /// Sorts `options`.
    ///
    /// # Errors
    /// InvalidSpec with the field `options[i]` (the caller puts the mount in front with [`Error::context`] or by
    /// building the field itself, see [`MountOptions::parse_at`]) for an option with a NUL byte and for a malformed
    /// `idmap=`.
    pub fn parse(options: &[String]) -> Result<Self> {
        Self::parse_at("options", options)
    }

    /// As [`MountOptions::parse`], naming the options `field[i]` in errors, as `mounts[3].options[1]`.
    pub fn parse_at(field: &str, options: &[String]) -> Result<Self> {
        let mut parsed = Self::default();
        for (position, option) in options.iter().enumerate() {
            parsed
                .take(option)
                .map_err(|message| Error::spec(format!("{field}[{position}]"), message))?;
        }
        Ok(parsed)
    }

    /// Whether the superblock of a fresh filesystem is to be read-only.
    pub fn read_only(&self) -> bool {
        self.attributes.set & RDONLY != 0
    }

    /// The superblock flags as parameter names for fsconfig(2) FSCONFIG_SET_FLAG. `silent` and `iversion` have no name
    /// there (fs/fs_context.c): `silent` concerns only kernel messages, `iversion` is a parameter of some filesystems.
    pub fn fsconfig_flags(&self) -> impl Iterator<Item = &'static str> {
        let named = [
            (MountFlags::RDONLY, "ro", "rw"),
            (MountFlags::SYNCHRONOUS, "sync", "async"),
            (MountFlags::DIRSYNC, "dirsync", "dirsync"),
            (MountFlags::PERMIT_MANDATORY_FILE_LOCKING, "mand", "nomand"),
            (MountFlags::LAZYTIME, "lazytime", "nolazytime"),
        ];
        let (set, clear) = (self.superblock_set, self.superblock_clear);
        named.into_iter().filter_map(move |(flag, yes, no)| {
            if set.contains(flag) {
                Some(yes)
            } else {
                clear.contains(flag).then_some(no)
            }
        })
    }

    fn take(&mut self, option: &str) -> Result<(), String> {
        // What Go makes of a list in an empty string.
        if option.is_empty() {
            return Ok(());
        }
        if option.contains('\0') {
            return Err(format!("mount option {option:?} contains a null byte"));
        }
        if let Some(propagation) = Propagation::parse(option) {
            self.propagation.push(propagation);
        } else if !self.take_flag(option) && !self.take_other(option)? {
            self.data.extend(single(option));
        }
        Ok(())
    }

    fn take_flag(&mut self, option: &str) -> bool {
        let find = |name: &str| {
            ATTRIBUTES
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, change)| *change)
        };
        if option == "rw" {
            self.superblock(MountFlags::RDONLY, false);
        }
        let on_superblock = SUPERBLOCK.iter().find(|(known, ..)| *known == option);
        if let Some((_, flag, set)) = on_superblock {
            self.superblock(*flag, *set);
        }
        if let Some(change) = find(option) {
            self.attributes.apply(change);
            return true;
        }
        if on_superblock.is_some() {
            return true;
        }
        let recursive = option.strip_prefix('r').and_then(find);
        if let Some(change) = recursive {
            self.recursive.apply(change.recursive());
        }
        recursive.is_some()
    }

    fn superblock(&mut self, flag: MountFlags, set: bool) {
        self.superblock_set.set(flag, set);
        self.superblock_clear.set(flag, !set);
    }

    fn take_other(&mut self, option: &str) -> Result<bool, String> {
        match option {
            "bind" => self.bind = Some(Bind::Single),
            "rbind" => self.bind = Some(Bind::Recursive),
            "remount" => self.remount = true,
            "defaults" => {}
            "tmpcopyup" => self.tmpcopyup = true,
            "copy-symlink" => self.copy_symlink = true,
            "src-nofollow" => self.src_nofollow = true,
            "dest-nofollow" => self.dest_nofollow = true,
            _ => match IdMapOption::parse(option)? {
                Some(idmap) => self.idmap = Some(idmap),
                None => return Ok(false),
            },
        }
        Ok(true)
    }
}

/// Every option that is not handed to the filesystem, sorted, for `features`.
pub fn known_options() -> Vec<String> {
    let mut names: Vec<String> = OTHERS
        .iter()
        .chain(&PROPAGATIONS)
        .map(|name| (*name).to_owned())
        .collect();
    for (name, _) in ATTRIBUTES {
        names.push(name.to_owned());
        names.push(format!("r{name}"));
    }
    names.extend(SUPERBLOCK.iter().map(|(name, ..)| (*name).to_owned()));
    names.sort_unstable();
    names.dedup();
    names
}

/// The options of one text: mount(2) takes several with commas between them, fsconfig(2) does not. A comma behind a
/// backslash (overlay) or in quotes (labels) belongs to a value, and so does one of a label without quotes.
fn single(text: &str) -> Vec<String> {
    let is_label = |name: &str| text.starts_with(name) && !text.contains('"');
    if ["context=", "fscontext=", "defcontext=", "rootcontext="]
        .into_iter()
        .any(is_label)
    {
        return vec![text.to_owned()];
    }
    let mut options = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for letter in text.chars() {
        match letter {
            ',' if !quoted && !escaped => {
                options.push(String::new());
                continue;
            }
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = letter == '\\' && !escaped;
        if let Some(option) = options.last_mut() {
            option.push(letter);
        }
    }
    options.retain(|option| !option.is_empty());
    options
}

#[cfg(test)]
mod tests;
