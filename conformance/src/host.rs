//! What this host offers to tests: privilege, cgroup layout, kernel, and the template of all root file systems.

use crate::args::Args;
use crate::ids::Who;
use crate::place::Place;
use crate::suite::Need;
use fixtures::{binaries, rootfs};
use std::path::{Path, PathBuf};

/// Mount point of the cgroup file systems.
pub(crate) const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// Facts, and the suite's own scratch folder, which is removed on drop.
#[derive(Debug)]
pub(crate) struct Host {
    /// Scratch folder; short, because socket paths are limited to 107 bytes.
    pub(crate) work: PathBuf,
    /// Root file system that bundles are copied from.
    pub(crate) template: PathBuf,
    /// Where containers' cgroups are.
    pub(crate) place: Place,
    /// In whose name containers are made.
    pub(crate) who: Who,
    /// Bound of the runs of one race.
    pub(crate) race_runs: u32,
    /// Options in front of every command.
    pub(crate) globals: Vec<String>,
    kernel: (u32, u32),
}

impl Host {
    /// Looks around and makes the template.
    pub(crate) fn look(args: &Args) -> Result<Host, String> {
        let own = std::process::id();
        let work = args
            .work_dir
            .clone()
            .unwrap_or_else(std::env::temp_dir)
            .join(format!("cf-{own}"));
        let probe = binaries::find(binaries::Program::Probe, args.probe.as_deref())
            .map_err(|error| error.to_string())?;
        let who = Who::look(args.single_id);
        let host = Host {
            template: work.join("template"),
            work,
            place: Place::look(who.is_root(), args.systemd_cgroup, &format!("cf-{own}-all"))?,
            who,
            race_runs: args.race_runs,
            globals: args.globals.clone(),
            kernel: kernel_version(),
        };
        rootfs::build(&host.template, &probe).map_err(|error| format!("root file system: {error}"))?;
        Ok(host)
    }

    /// Why `needs` are not met, if so.
    pub(crate) fn lacks(&self, needs: &[Need]) -> Option<String> {
        needs.iter().find(|need| !self.has(**need)).map(|need| {
            let why = match need {
                Need::Ids => self.who.lacks_ids().map(str::to_owned),
                Need::OwnCgroup => self.place.lacks().map(str::to_owned),
                Need::Cgroup(name) | Need::CgroupV1(name) | Need::CgroupV2(name) => {
                    self.delegation_lacks(name)
                }
                _ => None,
            };
            match why {
                Some(why) => format!("needs {need}: {why}"),
                None => format!("needs {need}"),
            }
        })
    }

    /// Why a user may not use a controller that the host may have.
    fn delegation_lacks(&self, name: &str) -> Option<String> {
        if let Some(why) = self.place.lacks() {
            return Some(why.to_owned());
        }
        (!self.may_use(name)).then(|| "not delegated to this user".to_owned())
    }

    /// Whether the place has the controller; freezing is part of version 2 without one.
    fn may_use(&self, name: &str) -> bool {
        let controllers = self.place.controllers();
        controllers.is_none_or(|own| {
            self.place.lacks().is_none() && name == "freezer" || own.iter().any(|own| own == name)
        })
    }

    fn has(&self, need: Need) -> bool {
        match need {
            Need::Root(_) => self.who.is_root(),
            Need::User => !self.who.is_root(),
            Need::Ids => self.who.lacks_ids().is_none(),
            Need::OwnCgroup => self.place.lacks().is_none(),
            Need::NoCgroup => self.place.lacks().is_some(),
            Need::CgroupV1(name) => self.may_use(name) && is_v1(name),
            Need::CgroupV2(name) => self.may_use(name) && is_v2(name),
            Need::Cgroup(name) => self.may_use(name) && (is_v1(name) || is_v2(name)),
            Need::Kernel(major, minor) => self.kernel >= (major, minor),
            Need::Namespace(name) => Path::new("/proc/self/ns").join(name).exists(),
            Need::Program(path) => Path::new(path).exists(),
            Need::AppArmor(on) => on == is_confining(),
            Need::Selinux(on) => on == Path::new("/sys/fs/selinux/enforce").exists(),
            Need::Resctrl(on) => on == Path::new("/sys/fs/resctrl/schemata").exists(),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.place.clear();
        // Gone already when nothing was kept; with --keep the folder is what the user asked for.
        let kept = std::fs::read_dir(&self.work)
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| entry.path() != self.template);
        if !kept {
            let _ = std::fs::remove_dir_all(&self.work);
        }
    }
}

/// A v1 controller counts when something of type cgroup is mounted there: engines leave plain folders beside.
fn is_v1(name: &str) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let point = format!("{CGROUP_ROOT}/{name}");
    fixtures::mountinfo::parse(&mounts)
        .iter()
        .any(|entry| entry.mount_point == point && entry.fs_type == "cgroup")
}

/// Freezing and devices are part of version 2 without a controller.
fn is_v2(name: &str) -> bool {
    std::fs::read_to_string(format!("{CGROUP_ROOT}/cgroup.controllers")).is_ok_and(|text| {
        ["devices", "freezer"].contains(&name) || text.split_whitespace().any(|own| own == name)
    })
}

/// Whether AppArmor is enabled and its profiles can be reached.
fn is_confining() -> bool {
    Path::new("/sys/kernel/security/apparmor").exists()
        && std::fs::read("/sys/module/apparmor/parameters/enabled")
            .is_ok_and(|answer| answer.starts_with(b"Y"))
}

fn kernel_version() -> (u32, u32) {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
