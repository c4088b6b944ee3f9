//! What is made once and kept: the guest's disk, kernel and drivers, and QEMU.
//!
//! Lives here: the bootstrap of a Debian tree. Must not live here: how a guest is started, and its initrd (`initrd`).
//! Everything is made beside its place and renamed, so that what has a name is whole. The guest is Debian's, whatever the
//! host; QEMU is of the same suite for every guest, and runs with its own libraries, because Debian 12's (7.2) cannot
//! save to a file and lost guests with two processors.

use super::initrd::{MODULES, initrd, modules};
use super::{Suite, Trouble};
use crate::host;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What a guest has beside a minimal Debian.
const PACKAGES: &str = "systemd,systemd-sysv,libpam-systemd,dbus,dbus-user-session,kmod,udev,linux-image-amd64,apparmor,\
    busybox-static,bash,util-linux,procps,iproute2,e2fsprogs,libcap2-bin,bpftool,jq,strace,bats,uidmap,iptables,nftables,\
    python3-minimal,runc,crun";
const CUSTOMIZE: &str = include_str!("guest/customize.sh");
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
pub(crate) fn cache() -> Result<PathBuf, Trouble> {
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
pub(crate) fn kept(
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
pub(crate) fn digest(parts: &[&str]) -> String {
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

/// A list of sources for `suite` on the mirrors that the host's apt uses, written to `new`; none where none is of Debian.
pub(crate) fn sources(new: &Path, suite: &str) -> Result<Option<PathBuf>, Trouble> {
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
        // sid has no updates beside itself.
        let exists = suite != "sid" || rest.is_empty();
        if origin == "Debian" && component == "main" && exists && !lines.contains(&line) {
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
