//! procfs and sysfs covered or redirected: T-06, T-07.

use super::dev::volume;
use super::{Swapper, UNSHARE, attack, race, result, writable_proc};
use crate::case::{Case, text};
use crate::suite::{Check, Test, ensure, test};
use fixtures::config;
use serde_json::json;
use std::os::unix::fs::symlink;

const REDIRECT: &str = "CVE-2025-52881, CVE-2025-62596";
const LINKS: &str = "CVE-2023-27561, CVE-2023-28642, CVE-2019-19921, CVE-2025-54867";
const COVER: &str = "CVE-2019-16884, CVE-2015-3631";
/// Where the fake of a sysctl lies, and the value that is asked for.
const TTL: &str = "net.ipv4.ip_default_ttl";

/// The topic's tests.
pub(in super::super) const TESTS: &[Test] = &[
    test("t06-a-mount-is-led-over-sysctls", REDIRECT, |case| {
        let volume = volume(case)?;
        std::fs::create_dir(volume.join("d"))?;
        symlink("/proc/sys/net/ipv4", volume.join("link"))?;
        let fake = case.dir().join("fake");
        std::fs::create_dir(&fake)?;
        std::fs::write(fake.join("ip_default_ttl"), "12\n")?;
        let script = "grep -c ' /proc/sys/net' /proc/self/mountinfo >/result; \
                      cat /proc/sys/net/ipv4/ip_default_ttl >>/result; exit 0";
        let bundle = case.bundle(&["/bin/sh", "-c", script], |config| {
            writable_proc(config);
            config["root"]["readonly"] = false.into();
            config["linux"]["sysctl"] = json!({TTL: "77"});
            config::add_mount(config, "/vol", "bind", &text(&volume), &["rbind", "rw"]);
            config::add_mount(config, "/vol/d", "bind", &text(&fake), &["rbind", "rw"]);
        })?;
        let swapper = Swapper::start(&volume.join("d"), &volume.join("link"));
        race(case, &swapper, |_| {
            // It may not be there; then nothing has to be removed.
            let _ = std::fs::remove_file(bundle.rootfs().join("result"));
            if attack(case, &bundle)?.is_none() {
                return Ok(false);
            }
            let result = result(&bundle);
            ensure!(
                result == "0\n77\n",
                "FELL: mounts over sysctls, and {TTL}, which should be 0 and 77: {result:?}"
            );
            let file = std::fs::read_to_string(fake.join("ip_default_ttl"))?;
            ensure!(file == "12\n", "FELL: the sysctl was written to a fake: {file:?}");
            Ok(true)
        })
    })
    .needs(UNSHARE),
    test("t07-proc-is-a-link", LINKS, |case| link(case, "proc")),
    test("t07-sys-is-a-link", LINKS, |case| link(case, "sys")),
    test("t07-proc-is-a-file", LINKS, |case| {
        let bundle = case.bundle(&["/bin/true"], |_| {})?;
        std::fs::remove_dir(bundle.rootfs().join("proc"))?;
        std::fs::write(bundle.rootfs().join("proc"), "")?;
        must_refuse(case, &bundle, "a file as /proc")
    }),
    test("t07-folder-bound-over-proc", COVER, |case| {
        covered(case, "/proc", "bind")
    }),
    test("t07-folder-bound-over-proc-self", COVER, |case| {
        covered(case, "/proc/self", "bind")
    }),
    test("t07-folder-bound-over-proc-sys", COVER, |case| {
        covered(case, "/proc/sys", "bind")
    }),
    test("t07-folder-bound-over-proc-attr", COVER, |case| {
        covered(case, "/proc/self/attr", "bind")
    }),
    test("t07-tmpfs-over-proc-sys", COVER, |case| {
        covered(case, "/proc/sys", "tmpfs")
    }),
    test("t07-tmpfs-over-proc-by-another-name", COVER, |case| {
        covered(case, "/mnt/../proc/./fs", "tmpfs")
    }),
    test("t07-files-of-lxcfs-may-cover", COVER, |case| {
        let file = case.dir().join("uptime");
        std::fs::write(&file, "1.00 1.00\n")?;
        let report = case.probe(&["--read", "/proc/uptime"], |config| {
            config::add_mount(config, "/proc/uptime", "bind", &text(&file), &["bind", "ro"]);
        })?;
        let content = report.reads["/proc/uptime"].content.as_deref();
        ensure!(content == Some("1.00 1.00\n"), "/proc/uptime is {content:?}");
        Ok(())
    }),
];

fn link(case: &Case<'_>, name: &str) -> Check {
    let bundle = case.bundle(&["/bin/true"], |_| {})?;
    std::fs::remove_dir(bundle.rootfs().join(name))?;
    std::fs::create_dir(bundle.rootfs().join("fake"))?;
    symlink("/fake", bundle.rootfs().join(name))?;
    must_refuse(case, &bundle, &format!("a link as /{name}"))
}

fn covered(case: &Case<'_>, at: &str, kind: &str) -> Check {
    let source = case.dir().join("cover");
    std::fs::create_dir(&source)?;
    let bundle = case.bundle(&["/bin/true"], |config| match kind {
        "bind" => config::add_mount(config, at, "bind", &text(&source), &["rbind", "rw"]),
        _ => config::add_mount(config, at, kind, kind, &[]),
    })?;
    must_refuse(case, &bundle, &format!("a {kind} on {at}"))
}

fn must_refuse(case: &Case<'_>, bundle: &fixtures::Bundle, what: &str) -> Check {
    ensure!(attack(case, bundle)?.is_none(), "FELL: {what} was accepted");
    Ok(())
}
