//! linux.resources.devices: which devices a container may open and make.
//!
//! Pure here: the rules in their order with the runtime's own at the end, and what they come to in version 1 (lines for
//! devices.deny and devices.allow). [`program`] makes the eBPF program of version 2, `attach` puts either in force. A
//! rule decides for the letters of its access alone, and of several that match the last decides; a rule for all devices
//! ("a") forgets what was before it, as in the kernel and in runc. Without a rule nothing is allowed.

mod attach;
mod compare;
pub mod program;
#[cfg(test)]
mod tests;

pub use attach::DeviceFilter;

use std::collections::BTreeMap;
use std::fmt;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};
use serde::{Deserialize, Serialize};

use super::limits::{Version, Write};
use crate::error::{Error, ErrorKind, Result};
use crate::spec::Warning;

const FIELD: &str = "linux.resources.devices";

/// Where the rules come from that the runtime adds.
const DEFAULTS: &str = "(runtime default)";

/// What is done with a device, as bits; the values are those of the kernel (BPF_DEVCG_ACC_*).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Access(u8);

impl Access {
    /// Making the node.
    pub const MKNOD: Self = Self(1);
    /// Opening to read.
    pub const READ: Self = Self(2);
    /// Opening to write.
    pub const WRITE: Self = Self(4);
    /// All three.
    pub const ALL: Self = Self(7);

    /// The bits as the kernel knows them.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// What is left; nothing where nothing is.
    fn without(self, other: Self) -> Option<Self> {
        let left = self.0 & !other.0;
        (left != 0).then_some(Self(left))
    }

    fn parse(text: &str, origin: &str) -> Result<Self> {
        let mut bits = 0;
        for letter in text.chars() {
            bits |= match letter {
                'r' => Self::READ.0,
                'w' => Self::WRITE.0,
                'm' => Self::MKNOD.0,
                // Meant for "all", and nothing to the kernel and to runc: see access_warnings.
                'a' => 0,
                _ => {
                    let message =
                        format!("{letter:?} in {text:?}: r (read), w (write) and m (mknod) are allowed");
                    return Err(Error::spec(format!("{origin}.access"), message));
                }
            };
        }
        match bits {
            0 => Err(Error::spec(
                format!("{origin}.access"),
                "device access cannot be empty",
            )),
            bits => Ok(Self(bits)),
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [(Self::READ, "r"), (Self::WRITE, "w"), (Self::MKNOD, "m")];
        letters
            .iter()
            .filter(|(bit, _)| self.0 & bit.0 != 0)
            .try_for_each(|(_, letter)| f.write_str(letter))
    }
}

/// The two sorts of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// `b`
    Block,
    /// `c`
    Char,
}

/// The devices that a rule is for; no number is every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Devices {
    /// Block or character.
    pub kind: DeviceKind,
    /// The major number.
    pub major: Option<u32>,
    /// The minor number.
    pub minor: Option<u32>,
}

impl Devices {
    /// Every device of `other` is one of these.
    fn covers(&self, other: &Self) -> bool {
        let covers = |wide: Option<u32>, narrow: Option<u32>| wide.is_none() || wide == narrow;
        self.kind == other.kind && covers(self.major, other.major) && covers(self.minor, other.minor)
    }

    /// Some device is of both.
    fn overlaps(&self, other: &Self) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind && meet(self.major, other.major) && meet(self.minor, other.minor)
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.kind {
            DeviceKind::Block => 'b',
            DeviceKind::Char => 'c',
        };
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        write!(f, "{letter} {}:{}", number(self.major), number(self.minor))
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// It allows, else it denies.
    pub allow: bool,
    /// For which devices; nothing is for all of both sorts, whatever numbers and access the rule names.
    pub devices: Option<Devices>,
    /// For what.
    pub access: Access,
    /// Where it comes from: `linux.resources.devices[2]`.
    pub origin: String,
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.allow { "allow" } else { "deny" };
        match self.devices {
            Some(devices) => write!(f, "{verb} {devices} {}", self.access),
            None => write!(f, "{verb} a *:* rwm"),
        }
    }
}

/// The device rules of a container in their order, the runtime's own at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRules {
    /// The rules; the last that matches decides.
    pub rules: Vec<DeviceRule>,
}

/// Checks the rules of linux.resources.devices and puts the runtime's own behind them, as runc does: every node may be
/// made, and the devices that every container has may be used. `devices` are linux.devices: a node there with the path of
/// a default device takes the default's rule away, since it may be another device. So does a rule that denies exactly the
/// devices of a default, for what it denies: see docs/adr/0010-default-device-rules.md.
///
/// # Errors
/// A rule has no access, an unknown letter in it, a sort of device that has no rules, or an impossible number.
pub fn device_rules(rules: &[LinuxDeviceCgroup], devices: &[LinuxDevice]) -> Result<DeviceRules> {
    let mut all = Vec::with_capacity(rules.len() + DEFAULT_RULES.len());
    for (position, rule) in rules.iter().enumerate() {
        all.push(check(rule, &format!("{FIELD}[{position}]"))?);
    }
    for (path, kind, major, minor, access) in DEFAULT_RULES {
        if path.is_some_and(|path| devices.iter().any(|device| device.path().as_os_str() == path)) {
            continue;
        }
        let devices = Devices { kind, major, minor };
        let Some(access) = access.without(denied_by_name(&all[..rules.len()], devices)) else {
            continue;
        };
        all.push(DeviceRule {
            allow: true,
            devices: Some(devices),
            access,
            origin: DEFAULTS.to_owned(),
        });
    }
    Ok(DeviceRules { rules: all })
}

/// Letters that change nothing, though their writers may think so.
pub(crate) fn access_warnings(rules: &[LinuxDeviceCgroup]) -> Vec<Warning> {
    let has_a = |rule: &LinuxDeviceCgroup| {
        rule.access()
            .as_deref()
            .is_some_and(|access| access.contains('a'))
    };
    let positions = rules
        .iter()
        .enumerate()
        .filter(|(_, rule)| has_a(rule))
        .map(|(position, _)| position);
    let message = "the letter a is ignored: r (read), w (write) and m (mknod) are accesses, a is a type";
    positions
        .map(|position| Warning::new(format!("{FIELD}[{position}].access"), message))
        .collect()
}

/// What the rules deny for exactly these devices. A rule for all devices forgets those before it.
fn denied_by_name(rules: &[DeviceRule], devices: Devices) -> Access {
    let forgotten = rules
        .iter()
        .rposition(|rule| rule.devices.is_none())
        .map_or(0, |last| last + 1);
    let named = rules[forgotten..]
        .iter()
        .filter(|rule| rule.devices == Some(devices));
    Access(named.fold(0, |bits, rule| match rule.allow {
        true => bits & !rule.access.0,
        false => bits | rule.access.0,
    }))
}

type DefaultRule = (Option<&'static str>, DeviceKind, Option<u32>, Option<u32>, Access);

/// runc's list. /dev/pts/N is 136:N, /dev/ptmx 5:2, /dev/net/tun 10:200 (dropped by runc 1.2.0-rc1 and put back, because
/// engines cannot add rules).
const DEFAULT_RULES: [DefaultRule; 11] = [
    (None, DeviceKind::Char, None, None, Access::MKNOD),
    (None, DeviceKind::Block, None, None, Access::MKNOD),
    (Some("/dev/null"), DeviceKind::Char, Some(1), Some(3), Access::ALL),
    (
        Some("/dev/random"),
        DeviceKind::Char,
        Some(1),
        Some(8),
        Access::ALL,
    ),
    (Some("/dev/full"), DeviceKind::Char, Some(1), Some(7), Access::ALL),
    (Some("/dev/tty"), DeviceKind::Char, Some(5), Some(0), Access::ALL),
    (Some("/dev/zero"), DeviceKind::Char, Some(1), Some(5), Access::ALL),
    (
        Some("/dev/urandom"),
        DeviceKind::Char,
        Some(1),
        Some(9),
        Access::ALL,
    ),
    (None, DeviceKind::Char, Some(136), None, Access::ALL),
    (None, DeviceKind::Char, Some(5), Some(2), Access::ALL),
    (None, DeviceKind::Char, Some(10), Some(200), Access::ALL),
];

fn check(rule: &LinuxDeviceCgroup, origin: &str) -> Result<DeviceRule> {
    let access = Access::parse(rule.access().as_deref().unwrap_or_default(), origin)?;
    let kind = match rule.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::B) => Some(DeviceKind::Block),
        Some(LinuxDeviceType::C) => Some(DeviceKind::Char),
        Some(other) => {
            let message = format!(
                "{:?}: a (all), b (block) and c (char) are allowed",
                other.as_str()
            );
            return Err(Error::spec(format!("{origin}.type"), message));
        }
    };
    let major = number(rule.major(), &format!("{origin}.major"))?;
    let minor = number(rule.minor(), &format!("{origin}.minor"))?;
    let devices = kind.map(|kind| Devices { kind, major, minor });
    Ok(DeviceRule {
        allow: rule.allow(),
        devices,
        access,
        origin: origin.to_owned(),
    })
}

/// -1 is what runc and older engines write for "every number".
fn number(number: Option<i64>, origin: &str) -> Result<Option<u32>> {
    match number {
        None | Some(-1) => Ok(None),
        // Cgroup v1 takes all ones for every number (device_cgroup.c), where the program of v2 would look for that one.
        Some(number) => match u32::try_from(number) {
            Ok(number) if number != u32::MAX => Ok(Some(number)),
            _ => Err(Error::spec(
                origin,
                format!("{number}: 0 to 4294967294 is allowed, and -1 for all"),
            )),
        },
    }
}

impl DeviceRules {
    /// The rules as lines for people, each with where it comes from.
    pub fn lines(&self) -> Vec<(String, String)> {
        self.rules
            .iter()
            .map(|rule| (rule.to_string(), rule.origin.clone()))
            .collect()
    }

    /// The answer without any rule that matches, and the rules that count: those after the last for all devices.
    pub(in crate::cgroup) fn effective(&self) -> (bool, &[DeviceRule]) {
        match self.rules.iter().rposition(|rule| rule.devices.is_none()) {
            Some(last) => (self.rules[last].allow, &self.rules[last + 1..]),
            None => (false, &self.rules),
        }
    }

    /// Nothing is denied: there is no need for a filter.
    pub fn allow_everything(&self) -> bool {
        let (default, rules) = self.effective();
        default && rules.iter().all(|rule| rule.allow)
    }

    /// The writes of version 1. The controller knows one answer and exceptions from it, and drops an exception only when
    /// it is taken back with the same numbers; so the exceptions are worked out here and written once.
    ///
    /// # Errors
    /// A rule takes something back from a part of an exception with more devices. The kernel would ignore it without a
    /// word, and the device would stay open.
    pub fn v1_writes(&self) -> Result<Vec<Write>> {
        let (default, _) = self.effective();
        let exceptions = self.exceptions()?;
        let file = |allow: bool| if allow { "devices.allow" } else { "devices.deny" };
        let write = |allow, value: String, origin: &str| {
            Write::new(Version::V1, "devices", file(allow), value, origin)
        };
        let mut writes = vec![write(default, "a".to_owned(), FIELD)];
        let exceptions = exceptions.into_iter().filter(|(_, (access, _))| *access != 0);
        writes.extend(exceptions.map(|(devices, (access, origin))| {
            write(!default, format!("{devices} {}", Access(access)), origin)
        }));
        Ok(writes)
    }

    /// What differs from the answer without any rule, with its access bits and where it comes from.
    pub(in crate::cgroup) fn exceptions(&self) -> Result<BTreeMap<Devices, (u8, &str)>> {
        let (default, rules) = self.effective();
        let mut exceptions: BTreeMap<Devices, (u8, &str)> = BTreeMap::new();
        for rule in rules {
            let Some(devices) = rule.devices else { continue };
            if rule.allow != default {
                let entry = exceptions.entry(devices).or_insert((0, &rule.origin));
                entry.0 |= rule.access.0;
                continue;
            }
            take_back(&mut exceptions, rule, devices)?;
        }
        Ok(exceptions)
    }
}

/// Takes a rule back from the exceptions: whole from those that lie within it; one that only overlaps with it would need
/// a hole.
fn take_back(
    exceptions: &mut BTreeMap<Devices, (u8, &str)>,
    rule: &DeviceRule,
    devices: Devices,
) -> Result<()> {
    for (exception, (access, origin)) in exceptions {
        if !devices.overlaps(exception) || *access & rule.access.0 == 0 {
            continue;
        }
        if !devices.covers(exception) {
            let message = format!(
                "cannot punch hole in existing wildcard rule {exception} {} of {origin}: cgroup v1 has no such rules",
                Access(*access)
            );
            return Err(Error::new(ErrorKind::Unsupported, message).with_field(&rule.origin));
        }
        *access &= !rule.access.0;
    }
    Ok(())
}
