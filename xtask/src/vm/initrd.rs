//! The first file system of a guest: busybox, the drivers, and the guest's side of the test bed.
//!
//! Must not live here: the disk (`image`) and the form of the archive (`archive`).

use super::Trouble;
use super::archive::{Archive, Entry};
use super::image::digest;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the initrd loads, with what these need; what the kernel has built in is left out.
pub(super) const MODULES: [&str; 8] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "crc32c_generic",
    "ext4",
    "9p",
    "9pnet_virtio",
    "overlay",
];
/// Units that only cost time in a guest that lives for one job.
const MASKED: [&str; 21] = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-tmpfiles-clean.timer",
    "getty@tty1.service",
    "getty-static.service",
    "serial-getty@ttyS0.service",
    "systemd-journal-flush.service",
    "systemd-random-seed.service",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-pcrmachine.service",
    "systemd-pstore.service",
    "modprobe@drm.service",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "dev-hugepages.mount",
    "systemd-udev-trigger.service",
];
const INIT: &str = include_str!("guest/init.sh");
const AGENT: &str = include_str!("guest/agent.sh");
const RUNNER: &str = include_str!("guest/runner.sh");
const AGENT_UNIT: &str = include_str!("guest/agent.service");
const JOB_UNIT: &str = include_str!("guest/job.service");

/// Copies [`MODULES`] and what they need, unpacked, with the order in which they are loaded.
pub(super) fn modules(from: &Path, new: &Path) -> Result<(), Trouble> {
    let text = fs::read_to_string(from.join("modules.dep"))?;
    let needs: BTreeMap<&str, Vec<&str>> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| (path, needs.split_whitespace().collect()))
        .collect();
    let name = |path: &str| {
        let file = path.rsplit('/').next().unwrap_or(path);
        file.split('.').next().unwrap_or(file).replace('-', "_")
    };
    let mut order: Vec<&str> = Vec::new();
    for module in MODULES {
        let Some((path, own)) = needs.iter().find(|(path, _)| name(path) == module) else {
            continue;
        };
        // modules.dep lists all that is needed, the last first.
        for path in own.iter().rev().chain([path]) {
            if !order.contains(path) {
                order.push(path);
            }
        }
    }
    let folder = new.join("modules");
    fs::create_dir(&folder)?;
    let mut list = String::new();
    for path in order {
        let file = format!("{}.ko", name(path));
        let content = match path.ends_with(".xz") {
            false => fs::read(from.join(path))?,
            true => {
                let unpacked = Command::new(new.join("busybox"))
                    .arg("xzcat")
                    .stdin(fs::File::open(from.join(path))?)
                    .output()?;
                unpacked.stdout
            }
        };
        if !content.starts_with(b"\x7fELF") {
            return Err(Trouble::Broken(format!(
                "{path} is no module that can be unpacked here"
            )));
        }
        fs::write(folder.join(&file), content)?;
        list.push_str(&file);
        list.push('\n');
    }
    fs::write(folder.join("order"), list)?;
    Ok(())
}

/// busybox, the drivers and the guest's side of the test bed.
pub(super) fn initrd(image: &Path) -> Result<PathBuf, Trouble> {
    let parts = [INIT, AGENT, RUNNER, AGENT_UNIT, JOB_UNIT, &MASKED.join(",")];
    let path = image.join(format!("initrd-{}", digest(&parts)));
    if path.exists() {
        return Ok(path);
    }
    let mut archive = Archive::default();
    archive.add("dev", Entry::Folder(0o755));
    archive.add("root", Entry::Folder(0o755));
    archive.add("init", Entry::File(0o755, INIT.into()));
    archive.add(
        "bin/busybox",
        Entry::File(0o755, fs::read(image.join("busybox"))?),
    );
    for entry in fs::read_dir(image.join("modules"))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        archive.add(
            format!("modules/{name}"),
            Entry::File(0o644, fs::read(entry.path())?),
        );
    }
    archive.add("run/vm", Entry::Folder(0o777));
    archive.add("run/vm/agent", Entry::File(0o755, AGENT.into()));
    archive.add("run/vm/runner", Entry::File(0o755, RUNNER.into()));
    let units = "run/systemd/system";
    let job = |who: &str| Entry::File(0o644, JOB_UNIT.replace("@WHO@", who).into());
    archive.add(
        format!("{units}/vm-agent.service"),
        Entry::File(0o644, AGENT_UNIT.into()),
    );
    archive.add(format!("{units}/vm-job.service"), job("root"));
    archive.add("run/systemd/user/vm-job.service", job("user"));
    for (path, target) in [
        (
            format!("{units}/multi-user.target.wants/vm-agent.service"),
            "../vm-agent.service",
        ),
        (
            format!("{units}/multi-user.target.wants/vm-job.service"),
            "../vm-job.service",
        ),
        (
            "run/systemd/user/default.target.wants/vm-job.service".into(),
            "../vm-job.service",
        ),
        (
            format!("{units}/default.target"),
            "/usr/lib/systemd/system/multi-user.target",
        ),
    ] {
        archive.add(path, Entry::Link(target.into()));
    }
    for unit in MASKED {
        archive.add(format!("{units}/{unit}"), Entry::Link("/dev/null".into()));
    }
    let new = image.join(format!("initrd.{}", std::process::id()));
    fs::write(&new, archive.bytes())?;
    fs::rename(new, &path)?;
    Ok(path)
}
