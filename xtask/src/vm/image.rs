//! What is made once and kept: the guest's disk, kernel and drivers, and QEMU.
//!
//! Lives here: the bootstrap of a Debian tree and what is taken out of it. Must not live here: how a guest is started.
//! Everything is made beside its place and renamed, so that what has a name is whole. The guest is Debian's, whatever the
//! host; QEMU is of the same suite for every guest, and runs with its own libraries, because Debian 12's (7.2) cannot
//! save to a file and lost guests with two processors.

use super::archive::{Archive, Entry};
use super::{Suite, Trouble};
use crate::host;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What a guest has beside a minimal Debian.
const PACKAGES: &str = "systemd,systemd-sysv,libpam-systemd,dbus,dbus-user-session,kmod,udev,linux-image-amd64,apparmor,\
    busybox-static,bash,util-linux,procps,iproute2,e2fsprogs,libcap2-bin,bpftool,jq,strace,bats,uidmap,iptables,nftables,\
    python3-minimal,runc,crun";
/// What the initrd loads, with what these need; what the kernel has built in is left out.
const MODULES: [&str; 8] = [
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
const CUSTOMIZE: &str = include_str!("guest/customize.sh");
const INIT: &str = include_str!("guest/init.sh");
const AGENT: &str = include_str!("guest/agent.sh");
const RUNNER: &str = include_str!("guest/runner.sh");
const AGENT_UNIT: &str = include_str!("guest/agent.service");
const JOB_UNIT: &str = include_str!("guest/job.service");
/// Where QEMU comes from.
const QEMU_SUITE: &str = "trixie";
const DISK_SIZE: &str = "4G";

/// The files that a guest starts from.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) folder: PathBuf,
    pub(super) initrd: PathBuf,
    /// QEMU and its first arguments.
    pub(super) qemu: Vec<String>,
}

/// Where everything is kept: `RUNTIME_VM_CACHE`, or a folder of the user's cache.
pub(super) fn cache() -> Result<PathBuf, Trouble> {
    if let Some(folder) = std::env::var_os("RUNTIME_VM_CACHE") {
        return Ok(folder.into());
    }
    let home = |name: &str| std::env::var_os(name).map(PathBuf::from);
    home("XDG_CACHE_HOME")
        .or_else(|| Some(home("HOME")?.join(".cache")))
        .map(|folder| folder.join("runtime-core-vm"))
        .ok_or_else(|| Trouble::Absent("no HOME to keep the image in: set RUNTIME_VM_CACHE".into()))
}

/// The image of a suite, made when it is missing.
pub(super) fn image(suite: Suite) -> Result<Image, Trouble> {
    let cache = cache()?;
    let key = digest(&[PACKAGES, CUSTOMIZE, &MODULES.join(","), DISK_SIZE]);
    let folder = kept(&cache.join(format!("{}-{key}", suite.name())), |new| {
        build(new, suite)
    })?;
    let qemu = kept(&cache.join(format!("qemu-{QEMU_SUITE}")), unpack_qemu)?;
    let qemu = qemu.display();
    let initrd = initrd(&folder)?;
    Ok(Image {
        folder,
        initrd,
        qemu: vec![
            format!("{qemu}/lib64/ld-linux-x86-64.so.2"),
            "--library-path".into(),
            format!("{qemu}/lib/x86_64-linux-gnu"),
            format!("{qemu}/bin/qemu-system-x86_64"),
            "-L".into(),
            format!("{qemu}/share/seabios"),
            "-L".into(),
            format!("{qemu}/share/qemu"),
        ],
    })
}

/// Makes `folder` with `make` unless it is there; one at a time, whoever asks.
pub(super) fn kept(
    folder: &Path,
    make: impl FnOnce(&Path) -> Result<(), Trouble>,
) -> Result<PathBuf, Trouble> {
    if folder.is_dir() {
        return Ok(folder.to_owned());
    }
    let above = folder.parent().unwrap_or(folder);
    fs::create_dir_all(above)?;
    let lock = fs::File::create(above.join(".lock"))?;
    lock.lock()?;
    if !folder.is_dir() {
        let mut new = folder.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        if new.exists() {
            fs::remove_dir_all(&new)?;
        }
        fs::create_dir_all(&new)?;
        make(&new)?;
        fs::rename(&new, folder)?;
    }
    Ok(folder.to_owned())
}

/// The same parts give the same short name, today and in a year (FNV-1a).
pub(super) fn digest(parts: &[&str]) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0xff])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    format!("{hash:016x}")
}

fn build(new: &Path, suite: Suite) -> Result<(), Trouble> {
    let begin = Instant::now();
    println!("building the image of {}, once", suite.name());
    let customize = new.join("customize");
    write_program(&customize, CUSTOMIZE.as_bytes())?;
    let options = [
        "--variant=minbase".to_owned(),
        format!("--include={PACKAGES}"),
        format!("--customize-hook={}", customize.display()),
    ];
    let pack = format!(
        "mkdir root; tar -xf - -C root; mke2fs -q -t ext4 -O ^has_journal \
         -E lazy_itable_init=1,nodiscard,root_owner=0:0 -m 0 -d root disk.img {DISK_SIZE}"
    );
    bootstrap(new, suite.name(), &options, &pack)?;
    let root = new.join("root");
    let release = fs::read_dir(root.join("usr/lib/modules"))?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .max()
        .ok_or_else(|| Trouble::Broken("the image has no kernel".into()))?;
    fs::copy(root.join(format!("boot/vmlinuz-{release}")), new.join("vmlinuz"))?;
    fs::copy(root.join("usr/bin/busybox"), new.join("busybox"))?;
    modules(&root.join("usr/lib/modules").join(&release), new)?;
    fs::remove_dir_all(root)?;
    println!("image built in {} s", begin.elapsed().as_secs());
    Ok(())
}

fn unpack_qemu(new: &Path) -> Result<(), Trouble> {
    println!("unpacking QEMU of {QEMU_SUITE}, once");
    let options = [
        "--variant=extract".to_owned(),
        "--include=qemu-system-x86".to_owned(),
    ];
    let pack = "tar -xf - --strip-components=2 ./usr/bin/qemu-system-x86_64 ./usr/lib64 \
                ./usr/lib/x86_64-linux-gnu ./usr/share/qemu ./usr/share/seabios";
    bootstrap(new, QEMU_SUITE, &options, pack)
}

/// Runs mmdebstrap; the shell commands `pack` get its tar archive, in `new`.
fn bootstrap(new: &Path, suite: &str, options: &[String], pack: &str) -> Result<(), Trouble> {
    let log_path = new.join("build.log");
    let log = fs::File::create(&log_path)?;
    // An own mount namespace: no mount of the bootstrap can stay on the host.
    let mut command = match host::is_root() {
        true => {
            let mut command = Command::new("unshare");
            command.args(["--mount", "--propagation", "private", "mmdebstrap"]);
            command
        }
        false => Command::new("mmdebstrap"),
    };
    command
        .args(options)
        .args(["--format=tar", "--aptopt=APT::Install-Recommends false"])
        .args([
            "--dpkgopt=force-unsafe-io",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
        ])
        .args([
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
        ])
        .args([suite, "-"])
        .args(sources(new, suite)?)
        .env("INITRD", "No")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.try_clone()?);
    let mut first = command
        .spawn()
        .map_err(|error| Trouble::Absent(format!("mmdebstrap cannot be started: {error}")))?;
    let tar = first
        .stdout
        .take()
        .ok_or_else(|| Trouble::Broken("no pipe".into()))?;
    // Owners in the archive are kept for who may not chown.
    let mut second = match host::is_root() {
        true => Command::new("sh"),
        false => {
            let mut command = Command::new("fakeroot");
            command.arg("sh");
            command
        }
    };
    let packed = second
        .args(["-ec", pack])
        .current_dir(new)
        .stdin(tar)
        .stdout(log.try_clone()?)
        .stderr(log)
        .status();
    let made = first.wait()?;
    if made.success() && packed.as_ref().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    let text = fs::read_to_string(&log_path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(12)..].join("\n");
    Err(Trouble::Absent(format!(
        "mmdebstrap of {suite} ended with {made}, its packing with {packed:?}:\n{tail}"
    )))
}

/// A list of sources for `suite` on the mirrors that the host's apt uses; empty where none is of Debian.
fn sources(new: &Path, suite: &str) -> Result<Option<PathBuf>, Trouble> {
    let rows = Command::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(ORIGIN)|$(RELEASE)|$(REPO_URI)|$(COMPONENT)",
        ])
        .arg("Created-By: Packages")
        .output()
        .map_err(|error| Trouble::Absent(format!("apt-get cannot be started: {error}")))?;
    let mut lines = Vec::new();
    for row in String::from_utf8_lossy(&rows.stdout).lines() {
        let fields: Vec<&str> = row.split('|').collect();
        let [origin, release, uri, component] = fields[..] else {
            continue;
        };
        // bookworm-security is trixie-security for trixie.
        let rest = release.trim_start_matches(|letter: char| letter.is_ascii_lowercase());
        let line = format!("deb {uri} {suite}{rest} main\n");
        if origin == "Debian" && component == "main" && !lines.contains(&line) {
            lines.push(line);
        }
    }
    if lines.is_empty() {
        return Ok(None);
    }
    let file = new.join("sources.list");
    fs::write(&file, lines.concat())?;
    Ok(Some(file))
}

/// Copies [`MODULES`] and what they need, unpacked, with the order in which they are loaded.
fn modules(from: &Path, new: &Path) -> Result<(), Trouble> {
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
fn initrd(image: &Path) -> Result<PathBuf, Trouble> {
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

fn write_program(path: &Path, content: &[u8]) -> Result<(), Trouble> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_tells_parts_apart() {
        assert_eq!(digest(&["ab", "c"]), digest(&["ab", "c"]));
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
    }

    #[test]
    fn what_is_kept_is_made_once_and_whole() {
        let scratch = crate::workspace::Scratch::new("xtask-kept").unwrap();
        let folder = scratch.join("a/b");
        let failed = kept(&folder, |_| Err(Trouble::Broken("no".into())));
        assert!(failed.is_err() && !folder.exists());
        kept(&folder, |new| Ok(fs::write(new.join("file"), "1")?)).unwrap();
        kept(&folder, |_| panic!("it is there")).unwrap();
        assert!(folder.join("file").exists());
    }
}
