//! The device rules that are in force, against those that should be: what `doctor` asks of the kernel and of systemd.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use super::program::{Instruction, program};
use super::{Access, DeviceKind, DeviceRules, Devices};
use crate::cgroup::dir;
use crate::cgroup::fs::{Cgroup, Group};
use crate::error::{Error, Result};
use crate::sys::bpf;

impl Cgroup {
    /// The first difference between these rules and those that the kernel has; None where there is none.
    ///
    /// # Errors
    /// System, where the kernel cannot be asked; its text tells of what.
    pub fn device_difference(&self, rules: &DeviceRules) -> Result<Option<String>> {
        let v1 = self
            .groups
            .iter()
            .find(|group| !group.is_unified() && group.has("devices"));
        match (v1, self.groups.iter().find(|group| group.is_unified())) {
            (Some(group), _) => group.list_difference(rules),
            (None, Some(group)) => group.program_difference(rules),
            (None, None) => Ok(Some(
                "the container has no cgroup in which devices could have rules".to_owned(),
            )),
        }
    }
}

impl Group {
    fn list_difference(&self, rules: &DeviceRules) -> Result<Option<String>> {
        let fd = self.fd().map_err(|errno| self.os_error("openat2", "", errno))?;
        let text =
            dir::read(fd, "devices.list").map_err(|errno| self.os_error("read", "devices.list", errno))?;
        let (default, _) = rules.effective();
        let expected = if default {
            None
        } else {
            let exceptions = rules.exceptions()?.into_iter();
            Some(
                exceptions
                    .map(|(devices, (access, _))| (devices, access))
                    .collect(),
            )
        };
        Ok(compare(expected, parse(&text)))
    }

    fn program_difference(&self, rules: &DeviceRules) -> Result<Option<String>> {
        let path = self.directory.path().display().to_string();
        let failed = |call: &str| {
            let call = format!("bpf({call}, {path:?})");
            move |error: std::io::Error| Error::os(call, error)
        };
        let fd = self.fd().map_err(|errno| self.os_error("openat2", "", errno))?;
        let attached = bpf::query(fd).map_err(failed("BPF_PROG_QUERY"))?;
        let wanted = if rules.allow_everything() {
            None
        } else {
            let code: Vec<u64> = program(rules).into_iter().map(Instruction::encode).collect();
            let ours = bpf::load(&code).map_err(failed("BPF_PROG_LOAD"))?;
            Some(bpf::tag_of(ours.as_fd()).map_err(failed("BPF_OBJ_GET_INFO_BY_FD"))?)
        };
        let mut tags = Vec::new();
        for id in &attached {
            let program = bpf::by_id(*id).map_err(failed("BPF_PROG_GET_FD_BY_ID"))?;
            tags.push(bpf::tag_of(program.as_fd()).map_err(failed("BPF_OBJ_GET_INFO_BY_FD"))?);
        }
        let own = tags.iter().filter(|tag| Some(**tag) == wanted).count();
        Ok(match wanted {
            Some(_) if attached.is_empty() => Some(format!(
                "no device filter is attached to {path}: every device can be opened"
            )),
            Some(_) if own == 0 => Some(format!(
                "the device filters of {path} ({attached:?}) are others than the one of the container's rules"
            )),
            None if !attached.is_empty() => Some(format!(
                "device filters {attached:?} are attached to {path}, although everything is allowed"
            )),
            _ => None,
        })
    }
}

/// What is allowed; None: everything.
type List = Option<BTreeMap<Devices, u8>>;

/// The content of devices.list: `c 195:0 rwm`.
fn parse(text: &str) -> List {
    let mut list = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (kind, numbers, access) = (words.next(), words.next(), words.next());
        let kind = match kind {
            Some("a") => return None,
            Some("b") => DeviceKind::Block,
            _ => DeviceKind::Char,
        };
        let (major, minor) = numbers
            .and_then(|numbers| numbers.split_once(':'))
            .unwrap_or_default();
        let devices = Devices {
            kind,
            major: major.parse().ok(),
            minor: minor.parse().ok(),
        };
        let bit = |letter| match letter {
            'r' => Access::READ.bits(),
            'w' => Access::WRITE.bits(),
            'm' => Access::MKNOD.bits(),
            _ => 0,
        };
        let bits = access
            .unwrap_or_default()
            .chars()
            .map(bit)
            .fold(0, |all, bit| all | bit);
        *list.entry(devices).or_default() |= bits;
    }
    Some(list)
}

fn compare(expected: List, found: List) -> Option<String> {
    let (expected, found) = match (expected, found) {
        (None, None) => return None,
        (Some(_), None) => return Some("every device is allowed".to_owned()),
        (None, Some(_)) => return Some("not every device is allowed, as the rules say".to_owned()),
        (Some(expected), Some(found)) => (expected, found),
    };
    let bits = |list: &BTreeMap<Devices, u8>, devices| list.get(devices).copied().unwrap_or(0);
    let all = expected.keys().chain(found.keys());
    let mut differing = all.filter(|devices| bits(&expected, devices) != bits(&found, devices));
    differing.next().map(|devices| {
        format!(
            "{devices}: the kernel allows {}, the rules say {}",
            letters(bits(&found, devices)),
            letters(bits(&expected, devices))
        )
    })
}

fn letters(bits: u8) -> String {
    match bits {
        0 => "nothing".to_owned(),
        bits => Access(bits).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::device_rules;

    fn expected(rules: &str) -> List {
        let rules: Vec<oci_spec::runtime::LinuxDeviceCgroup> = serde_json::from_str(rules).unwrap();
        let rules = device_rules(&rules, &[]).unwrap();
        let exceptions = rules.exceptions().unwrap().into_iter();
        Some(
            exceptions
                .map(|(devices, (access, _))| (devices, access))
                .collect(),
        )
    }

    #[test]
    fn the_first_difference_is_named() {
        let rules = r#"[{"allow":true,"type":"c","major":195,"minor":0,"access":"rw"}]"#;
        let list = "c *:* m\nb *:* m\nc 1:3 rwm\nc 1:8 rwm\nc 1:7 rwm\nc 5:0 rwm\nc 1:5 rwm\nc 1:9 rwm\nc 136:* rwm\n\
                    c 5:2 rwm\nc 10:200 rwm\n";
        let with = |line: &str| parse(&format!("{list}{line}"));
        assert_eq!(compare(expected(rules), with("c 195:0 rw\n")), None);
        assert_eq!(
            compare(expected(rules), with("")).unwrap(),
            "c 195:0: the kernel allows nothing, the rules say rw"
        );
        assert_eq!(
            compare(expected(rules), with("c 195:0 rw\nc 195:1 rwm\n")).unwrap(),
            "c 195:1: the kernel allows rwm, the rules say nothing"
        );
        assert_eq!(
            compare(expected(rules), parse("a *:* rwm\n")).unwrap(),
            "every device is allowed"
        );
        assert_eq!(compare(None, parse("a *:* rwm\n")), None);
    }
}
