//! Files of the image that a runtime reads, and its own files on the host: T-26, T-29, T-30.

use super::{LIMIT, node, started};
use crate::case::{Case, text};
use crate::suite::{Check, Failure, Need, Test, ensure, test, why};
use fixtures::Bundle;
use rustix::fs::FileType;
use serde_json::json;
use std::fmt::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Stdio;

const SMALL: &str = "CVE-2024-5154, CVE-2025-4437";
const STATE: &str = "CVE-2021-41103, CVE-2024-25621";
const LOADER: &str = "CVE-2019-14271";
/// Far more than a runtime should read of such a file.
const SPARSE: u64 = 8 << 30;

/// The topic's tests.
pub(in super::super) const TESTS: &[Test] = &[
    test("t26-state-under-umask-0", STATE, |case| state(case, "000")),
    test("t26-state-under-umask-077", STATE, |case| state(case, "077")),
    test("t29-nothing-of-the-root-is-loaded", LOADER, loader).needs(&[
        Need::Root("traced programs lose the privilege of newuidmap"),
        Need::Program("/usr/bin/strace"),
    ]),
    test("t30-passwd-is-a-fifo", SMALL, |case| {
        small(case, |path| node(path, FileType::Fifo, 0, 0))
    })
    .needs(&[Need::Ids]),
    test("t30-passwd-is-an-endless-device", SMALL, |case| {
        small(case, |path| node(path, FileType::CharacterDevice, 1, 5))
    })
    .needs(&[Need::Root(why::HOST_NODE)]),
    test("t30-passwd-is-a-folder", SMALL, |case| {
        small(case, |path| Ok(std::fs::create_dir(path)?))
    })
    .needs(&[Need::Ids]),
    test("t30-passwd-is-huge", SMALL, |case| {
        small(case, |path| Ok(std::fs::File::create(path)?.set_len(SPARSE)?))
    })
    .needs(&[Need::Ids]),
    test("t30-passwd-leads-out", SMALL, |case| {
        small(case, |path| Ok(symlink("/proc/self/fd/0", path)?))
    })
    .needs(&[Need::Ids]),
    test("t30-passwd-has-a-million-lines", SMALL, |case| {
        small(case, |path| {
            Ok(std::fs::write(
                path,
                "someone:x:5:5::/:/bin/sh\n".repeat(1_000_000),
            )?)
        })
    })
    .needs(&[Need::Ids]),
    test("t30-passwd-is-a-socket", SMALL, |case| {
        small(case, |path| node(path, FileType::Socket, 0, 0))
    })
    .needs(&[Need::Ids]),
];

/// A life and an exec with hostile files where a runtime looks for the user's home and groups; they may fail, not hang.
fn small(case: &Case<'_>, make: impl Fn(&Path) -> Check) -> Check {
    let bundle = case.bundle(&["/bin/sleep", "600"], |config| {
        // Without HOME a runtime looks for it.
        config["process"]["env"] = json!(["PATH=/bin"]);
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    })?;
    let paths = ["passwd", "group", "os-release"].map(|name| bundle.rootfs().join("etc").join(name));
    for path in &paths {
        std::fs::remove_file(path)?;
        make(path)?;
    }
    let outcome = small_life(case, &bundle);
    // Who still waits for the other end of a fifo goes on.
    for path in &paths {
        let _ = rustix::fs::open(
            path,
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NONBLOCK,
            rustix::fs::Mode::empty(),
        );
    }
    outcome
}

fn small_life(case: &Case<'_>, bundle: &Bundle) -> Check {
    let dir = text(bundle.dir());
    let run = case.command(&["run", "--detach", "--bundle", &dir, case.id()]);
    if bounded(case, run, "run")?.is_none() {
        return Ok(());
    }
    bounded(case, case.command(&["exec", case.id(), "/bin/true"]), "exec").map(|_| ())
}

fn bounded(
    case: &Case<'_>,
    command: std::process::Command,
    what: &str,
) -> Check<Option<crate::command::Finished>> {
    match case.start_within(command, what, LIMIT)?.finish() {
        Ok(finished) => started(finished),
        Err(_) => Err(Failure::Failed(format!("FELL: `{what}` hangs"))),
    }
}

/// Nobody but the owner may read, write or list anything of the state; a folder may be passed through at most.
fn state(case: &Case<'_>, umask: &str) -> Check {
    let bundle = case.bundle(&["/bin/sleep", "600"], |_| {})?;
    let line = format!(
        "umask {umask}; exec {} run --detach --bundle {} {}",
        case.shell_words(),
        text(bundle.dir()),
        case.id()
    );
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", &line]).stdin(Stdio::null());
    case.start_command(command, "run")?.finish()?.ok()?;
    let mut wide = String::new();
    reachable(&case.root(), &mut wide)?;
    ensure!(wide.is_empty(), "FELL: open to other users:{wide}");
    Ok(())
}

fn reachable(path: &Path, wide: &mut String) -> Check {
    let meta = path.symlink_metadata()?;
    let allowed = if meta.is_dir() { 0o711 } else { 0o700 };
    if !meta.is_symlink() && meta.mode() & 0o777 & !allowed != 0 {
        // A text that grows cannot fail.
        let _ = write!(wide, " {} {:o}", path.display(), meta.mode() & 0o7777);
    }
    // What is below a folder that others cannot pass is out of their reach.
    if meta.is_dir() && meta.mode() & 0o011 != 0 {
        for entry in std::fs::read_dir(path)? {
            reachable(&entry?.path(), wide)?;
        }
    }
    Ok(())
}

/// After the root has changed, a runtime opens nothing that a loader or a name service would: a file of the image would
/// become code of the host's root.
fn loader(case: &Case<'_>) -> Check {
    let bundle = case.bundle(&["/bin/true"], |config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [4]});
    })?;
    for name in ["lib", "lib64", "usr/lib", "lib/x86_64-linux-gnu"] {
        std::fs::create_dir_all(bundle.rootfs().join(name))?;
        for library in ["libnss_files.so.2", "libc.so.6", "libseccomp.so.2"] {
            std::fs::write(bundle.rootfs().join(name).join(library), "no library")?;
        }
    }
    std::fs::write(bundle.rootfs().join("etc/nsswitch.conf"), "passwd: files\n")?;
    std::fs::write(bundle.rootfs().join("etc/ld.so.preload"), "/lib/libc.so.6\n")?;
    let trace = case.dir().join("trace");
    let inner = case.command(&["run", "--bundle", &text(bundle.dir()), case.id()]);
    let mut command = std::process::Command::new("/usr/bin/strace");
    command
        .args([
            "-f",
            "-qq",
            "-e",
            "trace=open,openat,openat2,pivot_root,chroot",
            "-o",
        ])
        .arg(&trace)
        .arg(inner.get_program())
        .args(inner.get_args())
        .current_dir(case.dir())
        .stdin(Stdio::null());
    case.start_within(command, "run under strace", LIMIT)?
        .finish()?
        .ok()?;
    let told = std::fs::read(&trace)?;
    let told = String::from_utf8_lossy(&told).into_owned();
    let Some((before, after)) = told.split_once("pivot_root(") else {
        return super::skip("this runtime's pivot_root was not seen");
    };
    // Each line begins with a process id. Only the process that changed its root sees the image by short names.
    let process = before.lines().last().unwrap_or_default().trim();
    let rootfs = text(&bundle.rootfs());
    let code = |line: &&str| line.contains(".so") || line.contains("nsswitch");
    let by_full_name = told.lines().filter(|line| line.contains(&rootfs)).find(code);
    let by_short_name = after
        .lines()
        .skip(1)
        .filter(|line| line.split_whitespace().next() == Some(process))
        .find(code);
    let found = by_full_name.or(by_short_name);
    ensure!(found.is_none(), "FELL: read from the image: {found:?}");
    Ok(())
}
