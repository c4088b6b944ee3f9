//! `/dev` of the image or of a shared volume, in the attacker's hand: T-01, T-03, T-04.

use super::{BAITED, Outside, Swapper, WORD, attack, node, race, result, without_dev, writable_proc};
use crate::case::{Case, text};
use crate::suite::{Check, Failure, Test, ensure, test};
use fixtures::{Bundle, config};
use rustix::fs::FileType;
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const LINK: &str = "CVE-2026-41579, CVE-2026-47766, CVE-2019-18837";
const STDIO: &str = "CVE-2026-88265";
const MASK: &str = "CVE-2025-31133, CVE-2025-62161";
const BAIT: &str = "/proc/sys/kernel/domainname";

/// The topic's tests.
pub(in super::super) const TESTS: &[Test] = &[
    // Without it a runtime that refuses everything would look safe.
    test("t00-a-harmless-container-runs", "control", |case| {
        let bundle = case.bundle(&["/bin/echo", WORD], |config| {
            without_dev(config);
            writable_proc(config);
        })?;
        let finished = attack(case, &bundle)?;
        ensure!(finished.is_some(), "a harmless container is refused");
        Ok(())
    }),
    test("t01-dev-is-an-absolute-link", LINK, |case| {
        dev_link(case, |outside| outside.to_owned())
    }),
    test("t01-dev-is-a-relative-link", LINK, |case| {
        dev_link(case, |_| PathBuf::from("../../outside"))
    }),
    test("t01-pts-and-shm-are-links", LINK, |case| {
        let outside = Outside::new(case)?;
        let bundle = case.bundle(&["/bin/true"], |config| {
            if let Some(mounts) = config["mounts"].as_array_mut() {
                mounts.retain(|mount| mount["destination"] != "/dev");
            }
            config["root"]["readonly"] = false.into();
        })?;
        for name in ["pts", "shm", "mqueue"] {
            symlink(outside.dir().join(name), bundle.rootfs().join("dev").join(name))?;
        }
        attack(case, &bundle)?;
        outside.untouched()
    }),
    test("t01-device-below-a-link", LINK, |case| {
        let outside = Outside::new(case)?;
        let bundle = case.bundle(&["/bin/true"], |config| {
            without_dev(config);
            let entry = json!({"path": "/dev/a/b", "type": "c", "major": 1, "minor": 3});
            config::push(&mut config["linux"]["devices"], entry);
        })?;
        symlink(outside.dir(), bundle.rootfs().join("dev/a"))?;
        attack(case, &bundle)?;
        outside.untouched()
    }),
    test("t01-device-path-climbs", LINK, |case| {
        let outside = Outside::new(case)?;
        let bundle = case.bundle(&["/bin/true"], |config| {
            without_dev(config);
            let entry = json!({"path": "/dev/../../../outside/evil", "type": "c", "major": 1, "minor": 3});
            config::push(&mut config["linux"]["devices"], entry);
        })?;
        attack(case, &bundle)?;
        outside.untouched()
    }),
    test("t03-null-leads-to-a-sysctl", STDIO, |case| {
        stdio(case, |null| Ok(symlink(BAIT, null)?))
    })
    .needs(BAITED),
    test("t03-null-leads-to-a-file-of-the-image", STDIO, |case| {
        stdio(case, |null| Ok(symlink("/etc/hostname", null)?))
    })
    .needs(BAITED),
    test("t03-null-is-a-regular-file", STDIO, |case| {
        stdio(case, |null| Ok(std::fs::write(null, "")?))
    })
    .needs(BAITED),
    test("t03-null-is-a-fifo", STDIO, |case| {
        stdio(case, |null| node(null, FileType::Fifo, 0, 0))
    })
    .needs(BAITED),
    test("t03-null-is-a-socket", STDIO, |case| {
        stdio(case, |null| node(null, FileType::Socket, 0, 0))
    })
    .needs(BAITED),
    test("t03-null-is-a-block-device", STDIO, |case| {
        stdio(case, |null| node(null, FileType::BlockDevice, 1, 3))
    })
    .needs(BAITED),
    test("t03-null-is-another-device", STDIO, |case| {
        stdio(case, |null| node(null, FileType::CharacterDevice, 1, 5))
    })
    .needs(BAITED),
    test("t04-mask-by-a-fake-null", MASK, |case| {
        let volume = volume(case)?;
        symlink(BAIT, volume.join("null"))?;
        masked(case, &volume, |_| {})
    })
    .needs(BAITED),
    test("t04-mask-by-a-fake-null-and-readonly-paths", MASK, |case| {
        let volume = volume(case)?;
        symlink(BAIT, volume.join("null"))?;
        masked(case, &volume, |config| {
            config["linux"]["readonlyPaths"] = json!(["/proc/sys"])
        })
    })
    .needs(BAITED),
    test("t04-mask-by-a-null-that-is-exchanged", MASK, |case| {
        let volume = volume(case)?;
        node(&volume.join("null"), FileType::CharacterDevice, 1, 3)?;
        symlink(BAIT, volume.join("link"))?;
        let bundle = mask_bundle(case, &volume, |_| {})?;
        let swapper = Swapper::start(&volume.join("null"), &volume.join("link"));
        race(case, &swapper, |_| masked_run(case, &bundle))
    })
    .needs(BAITED),
];

/// A tmpfs on the host that a container gets as a volume.
pub(super) fn volume(case: &Case<'_>) -> Check<PathBuf> {
    if case.who().is_root() {
        return case.host_tmpfs("volume");
    }
    // Users do not mount; what is bound is a mount of its own inside all the same.
    let folder = case.dir().join("volume");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Binds `volume` on `/dev`.
pub(super) fn dev_from(config: &mut Value, volume: &Path) {
    without_dev(config);
    writable_proc(config);
    config::add_mount(config, "/dev", "bind", &text(volume), &["rbind", "rw"]);
}

/// The image's `/dev` is a link to a folder of the host; nothing is mounted there.
fn dev_link(case: &Case<'_>, target: impl FnOnce(&Path) -> PathBuf) -> Check {
    let outside = Outside::new(case)?;
    let bundle = case.bundle(&["/bin/true"], without_dev)?;
    std::fs::remove_dir(bundle.rootfs().join("dev"))?;
    symlink(target(outside.dir()), bundle.rootfs().join("dev"))?;
    attack(case, &bundle)?;
    outside.untouched()
}

/// A runtime that takes what lies at `/dev/null` for the null device, and standard streams for it, moves them there.
fn stdio(case: &Case<'_>, make_null: impl FnOnce(&Path) -> Check) -> Check {
    let volume = volume(case)?;
    make_null(&volume.join("null"))?;
    let script = format!("echo {WORD}; cat {BAIT} >/result; readlink /proc/self/fd/1 >>/result");
    let bundle = case.bundle(&["/bin/sh", "-c", &script], |config| dev_from(config, &volume))?;
    let Some(finished) = attack(case, &bundle)? else {
        return Ok(());
    };
    let result = result(&bundle);
    ensure!(
        !result.contains(WORD),
        "FELL: standard output went to {BAIT}: {result:?}"
    );
    ensure!(
        finished.stdout.trim() == WORD,
        "FELL: standard output did not stay what it was: {:?}, seen inside as {result:?}",
        finished.stdout
    );
    Ok(())
}

fn mask_bundle(case: &Case<'_>, volume: &Path, edit: impl FnOnce(&mut Value)) -> Check<Bundle> {
    let masked = masked_file()?;
    let script = format!(
        "grep ' {masked} ' /proc/self/mountinfo >/result; echo {WORD} >{masked}; cat {BAIT} >>/result; exit 0"
    );
    case.bundle(&["/bin/sh", "-c", &script], |config| {
        dev_from(config, volume);
        config["linux"]["maskedPaths"] = json!([masked]);
        edit(config);
    })
}

/// A file of procfs that tests may mask and try to write without harm: reading is all it allows.
fn masked_file() -> Check<&'static str> {
    ["/proc/version", "/proc/timer_list"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .ok_or_else(|| Failure::Skipped("no file of procfs to mask".into()))
}

fn masked(case: &Case<'_>, volume: &Path, edit: impl FnOnce(&mut Value)) -> Check {
    let bundle = mask_bundle(case, volume, edit)?;
    masked_run(case, &bundle).map(|_| ())
}

fn masked_run(case: &Case<'_>, bundle: &Bundle) -> Check<bool> {
    // It may not be there; then nothing has to be removed.
    let _ = std::fs::remove_file(bundle.rootfs().join("result"));
    if attack(case, bundle)?.is_none() {
        return Ok(false);
    }
    let result = result(bundle);
    ensure!(
        !result.contains("sysctl") && !result.contains("/sys/kernel") && !result.contains(WORD),
        "FELL: the mask is another file: {result:?}"
    );
    ensure!(result.contains(" - "), "FELL: nothing is masked: {result:?}");
    Ok(true)
}
