//! Names in a shared volume that change while they are mounted on: T-08, T-09.

use super::dev::volume;
use super::{Outside, Swapper, UNSHARE, attack, race};
use crate::case::{Case, text};
use crate::suite::{Check, Test, ensure, test};
use fixtures::config;
use serde_json::json;
use std::os::unix::fs::symlink;

const MOUNT: &str = "CVE-2021-30465";
const MAKE: &str = "CVE-2024-45310";

/// The topic's tests.
pub(in super::super) const TESTS: &[Test] = &[
    test("t08-target-of-a-tmpfs-is-exchanged", MOUNT, |case| {
        exchanged(case, "/vol/a/x", false)
    })
    .needs(UNSHARE),
    test("t08-target-of-a-bind-is-exchanged", MOUNT, |case| {
        exchanged(case, "/vol/a/x", true)
    })
    .needs(UNSHARE),
    test("t09-folders-made-for-a-mount", MAKE, |case| {
        exchanged(case, "/vol/a/new/folder", false)
    })
    .needs(UNSHARE),
    test("t09-file-made-for-a-bind", MAKE, |case| {
        exchanged(case, "/vol/a/new/file", true)
    })
    .needs(UNSHARE),
];

/// `/vol/a` is a folder or a link to a folder of the host, in turns. A hook in the container's mount namespace, before
/// the root changes, tells where the mounts went.
fn exchanged(case: &Case<'_>, at: &str, file: bool) -> Check {
    let outside = Outside::new(case)?;
    let volume = volume(case)?;
    std::fs::create_dir_all(volume.join("a/x"))?;
    symlink(outside.dir(), volume.join("link"))?;
    let source = case.dir().join("source");
    match file {
        true => std::fs::write(&source, "")?,
        false => std::fs::create_dir(&source)?,
    }
    if file && at.ends_with("/x") {
        std::fs::create_dir_all(source.with_extension("dir"))?;
    }
    let seen = case.dir().join("seen");
    let script = format!("cat /proc/self/mountinfo >{}", text(&seen));
    let bundle = case.bundle(&["/bin/true"], |config| {
        config["root"]["readonly"] = false.into();
        config::add_mount(config, "/vol", "bind", &text(&volume), &["rbind", "rw"]);
        match (file, at.ends_with("/x")) {
            (false, _) => config::add_mount(config, at, "tmpfs", "tmpfs", &[]),
            (true, true) => {
                config::add_mount(
                    config,
                    at,
                    "bind",
                    &text(&source.with_extension("dir")),
                    &["bind"],
                );
            }
            (true, false) => config::add_mount(config, at, "bind", &text(&source), &["bind"]),
        }
        config["hooks"] =
            json!({"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 5}]});
    })?;
    let swapper = Swapper::start(&volume.join("a"), &volume.join("link"));
    race(case, &swapper, |_| {
        // It may not be there; then nothing has to be removed.
        let _ = std::fs::remove_file(&seen);
        let began = attack(case, &bundle)?.is_some();
        outside.untouched()?;
        let mounts = std::fs::read_to_string(&seen).unwrap_or_default();
        ensure!(
            !fixtures::mountinfo::parse(&mounts)
                .iter()
                .any(|entry| std::path::Path::new(&entry.mount_point).starts_with(outside.dir())),
            "FELL: mounted on a folder of the host"
        );
        Ok(began)
    })
}
