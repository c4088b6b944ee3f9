//! An attacker who exchanges names below a mount target all the time, as another container with a shared volume could
//! (CVE-2021-30465, CVE-2024-45310).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use runtime_core_program::FrameKind;
use rustix::fs::{CWD, RenameFlags};

use crate::harness::*;

/// Runs; a bound of runs, not of time.
const RUNS: u32 = 100;

fn exchange(a: &Path, b: &Path, stop: &AtomicBool, swaps: &AtomicU32) {
    while !stop.load(Ordering::Relaxed) {
        if rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).is_ok() {
            swaps.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn nothing_is_made_or_mounted_outside() {
    if !is_root() {
        return;
    }
    let (root, outside) = (Folder::new(), Folder::new());
    fs::create_dir_all(root.join("volume/a")).unwrap();
    symlink(outside.path(), root.join("volume/b")).unwrap();
    fs::create_dir(outside.join("kept")).unwrap();
    let (stop, swaps) = (AtomicBool::new(false), AtomicU32::new(0));
    let (mut done, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        let (a, b) = (root.join("volume/a"), root.join("volume/b"));
        scope.spawn(|| {
            let (a, b) = (a, b);
            exchange(&a, &b, &stop, &swaps);
        });
        for run in 0..RUNS {
            let target = format!("/volume/a/new{run}/dir");
            let steps = [
                filesystem("tmpfs", &target, &[], 0),
                bind("/etc/passwd", &format!("/volume/a/file{run}"), 0),
                Step::MakeDir {
                    path: text(&format!("/volume/a/made{run}")),
                    mode: 0o755,
                },
                Step::Mask {
                    path: text("/volume/a/kept"),
                },
            ];
            let prepare = [Step::PrepareMasks { label: text("") }];
            let init = Init::start(&all(&[&rooted(&root), &prepare, &steps, &[Step::Sync {}]]));
            match init.receive().unwrap().0.kind {
                FrameKind::Reached => {
                    done += 1;
                    let host = outside.path().to_str().unwrap();
                    let reached = init.proc("mountinfo");
                    assert!(
                        !reached
                            .lines()
                            .any(|line| line.split(' ').nth(4).unwrap().starts_with(host))
                    );
                }
                _ => refused += 1,
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(
        fs::read_dir(outside.path()).unwrap().count(),
        1,
        "something was made outside"
    );
    assert!(
        swaps.load(Ordering::Relaxed) > RUNS,
        "the attacker was too slow to prove anything"
    );
    assert!(done > RUNS / 100, "{done} done, {refused} refused");
    println!("{done} done, {refused} refused");
}
