//! Images that point at the host: nothing outside of them may change, and create either works or fails cleanly.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fixtures::driver::rootfs::Variant;
use fixtures::driver::{CUDA_VERSION, Shape, multiarch};
use runtime_core::gpu::hooks::NativeHooks;
use rustix::fs::{AtFlags, CWD, FileType, Mode, RenameFlags, mknodat, renameat_with, statat};

use crate::found;
use crate::place::{Place, place, put};

/// Everything below a directory, with times and contents.
fn picture(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let status = statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        let content = if path.is_file() {
            fs::read_to_string(&path).unwrap_or_default()
        } else {
            String::new()
        };
        lines.push(format!(
            "{} {:o} {} {content}",
            path.display(),
            status.st_mode,
            status.st_ino
        ));
        if path.is_dir() && !path.is_symlink() {
            lines.extend(picture(&path));
        }
    }
    lines.sort();
    lines
}

/// A place, and a directory of the host that the image points at.
fn attacked(test: &str) -> Option<(Place, PathBuf)> {
    let place = place(test, Shape::Debian, Variant::Debian)?;
    let bait = place.sandbox.dir().join("bait");
    put(&bait.join("file"), "bait\n");
    put(&bait.join("ld.so.cache"), "bait\n");
    Some((place, bait))
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
}

type Attack = fn(&Path, &Path);

#[test]
fn images_that_point_at_the_host_change_nothing_there() {
    let libraries = multiarch();
    assert!(libraries.starts_with("usr/lib/"));
    let attacks: [(&str, Attack, Option<bool>); 10] = [
        (
            "ld.so.cache is a link to a file of the host",
            |root, bait| {
                fs::remove_file(root.join("etc/ld.so.cache")).unwrap();
                symlink(bait.join("file"), root.join("etc/ld.so.cache")).unwrap();
            },
            Some(true),
        ),
        (
            "ld.so.conf.d is a link to a directory of the host",
            |root, bait| {
                fs::remove_dir_all(root.join("etc/ld.so.conf.d")).unwrap();
                symlink(bait, root.join("etc/ld.so.conf.d")).unwrap();
            },
            None,
        ),
        (
            "the directory of libraries is a link to the host",
            |root, bait| {
                fs::rename(root.join(multiarch()), root.join("usr/lib/moved")).unwrap();
                symlink(bait, root.join(multiarch())).unwrap();
            },
            None,
        ),
        (
            "etc is a link to the host",
            |root, bait| {
                fs::rename(root.join("etc"), root.join("moved")).unwrap();
                symlink(bait, root.join("etc")).unwrap();
            },
            None,
        ),
        (
            "libcuda.so.1 is a file",
            |root, _| {
                put(&root.join(multiarch()).join("libcuda.so.1"), "no library");
            },
            Some(true),
        ),
        (
            "ld.so.conf is a fifo",
            |root, _| {
                fs::remove_file(root.join("etc/ld.so.conf")).unwrap();
                fifo(&root.join("etc/ld.so.conf"));
            },
            Some(true),
        ),
        (
            "ld.so.cache is a fifo",
            |root, _| {
                fs::remove_file(root.join("etc/ld.so.cache")).unwrap();
                fifo(&root.join("etc/ld.so.cache"));
            },
            Some(true),
        ),
        (
            "a library is a fifo",
            |root, _| fifo(&root.join(multiarch()).join("libzz.so.1")),
            Some(true),
        ),
        (
            "ld.so.conf includes itself, and all",
            |root, _| {
                fs::write(
                    root.join("etc/ld.so.conf"),
                    "include /etc/ld.so.conf\ninclude /*\n/proc\n/proc/self/fd\n",
                )
                .unwrap();
            },
            Some(true),
        ),
        (
            "ld.so.cache is 4 GiB of nothing",
            |root, _| {
                fs::File::create(root.join("etc/ld.so.cache"))
                    .unwrap()
                    .set_len(4 << 30)
                    .unwrap();
            },
            Some(true),
        ),
    ];
    for (what, attack, works) in attacks {
        let Some((place, bait)) = attacked("images_that_point_at_the_host") else {
            return;
        };
        let config = place.gpu_config(&["/bin/payload"]);
        attack(&place.sandbox.rootfs(), &bait);
        let (before, driver) = (picture(&bait), picture(&place.driver.root()));
        let started = Instant::now();
        match place.create(&config, NativeHooks::On) {
            Ok(container) => {
                let id = container.id().clone();
                drop(container);
                place.sandbox.runtime().delete(&id, true).unwrap();
                assert_ne!(works, Some(false), "{what}");
                if works == Some(true) {
                    assert_eq!(place.run(&config), found(CUDA_VERSION), "{what}");
                }
            }
            Err(error) => {
                assert_ne!(works, Some(true), "{what}: {error}");
                assert_eq!(place.sandbox.remains("one"), Vec::<PathBuf>::new(), "{what}");
            }
        }
        assert_eq!(picture(&bait), before, "{what}");
        assert_eq!(picture(&place.driver.root()), driver, "{what}");
        assert!(started.elapsed() < Duration::from_secs(30), "{what}");
    }
}

/// Somebody who may write to the image exchanges directories and links while containers are made.
#[test]
fn exchanged_names_lead_nowhere() {
    let rounds: u32 = std::env::var("GPU_RACES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(60);
    let Some((place, bait)) = attacked("exchanged_names_lead_nowhere") else {
        return;
    };
    let root = place.sandbox.rootfs();
    let config = place.gpu_config(&["/bin/true"]);
    let pairs = [("etc", "etc-link"), ("usr/lib", "lib-link")];
    for (_, link) in pairs {
        symlink(&bait, root.join(link)).unwrap();
    }
    let before = picture(&bait);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (real, link) in pairs {
            let (real, link) = (root.join(real), root.join(link));
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let _ = renameat_with(CWD, &real, CWD, &link, RenameFlags::EXCHANGE);
                    std::thread::yield_now();
                }
            });
        }
        let mut worked = 0;
        for _ in 0..rounds {
            if let Ok(container) = place.create(&config, NativeHooks::On) {
                let id = container.id().clone();
                drop(container);
                place.sandbox.runtime().delete(&id, true).unwrap();
                worked += 1;
            }
        }
        done.store(true, Ordering::Relaxed);
        eprintln!("{worked} of {rounds} containers were made");
    });
    assert_eq!(picture(&bait), before);
    assert_eq!(place.sandbox.remains("one"), Vec::<PathBuf>::new());
}
