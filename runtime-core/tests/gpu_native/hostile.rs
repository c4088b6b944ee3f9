//! Images that point at the host: nothing outside of them may change, and create either works or fails cleanly.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fixtures::driver::hostile::{self, Exchange, IMAGES};
use fixtures::driver::rootfs::Variant;
use fixtures::driver::{CUDA_VERSION, Shape};
use fixtures::picture::{changes, picture};
use runtime_core::gpu::hooks::NativeHooks;

use crate::found;
use crate::place::{Place, place};

/// A place, and a directory of the host that the image points at.
fn attacked(test: &str) -> Option<(Place, PathBuf)> {
    let place = place(test, Shape::Debian, Variant::Debian)?;
    let bait = place.sandbox.dir().join("bait");
    hostile::bait(&bait).unwrap();
    Some((place, bait))
}

#[test]
fn images_that_point_at_the_host_change_nothing_there() {
    for image in IMAGES {
        let what = image.what;
        let Some((place, bait)) = attacked("images_that_point_at_the_host") else {
            return;
        };
        let config = place.gpu_config(&["/bin/payload"]);
        image.prepare(&place.sandbox.rootfs(), &bait).unwrap();
        let look = || [picture(&bait).unwrap(), picture(&place.driver.root()).unwrap()];
        let before = look();
        let started = Instant::now();
        match place.create(&config, NativeHooks::On) {
            Ok(container) => {
                let id = container.id().clone();
                drop(container);
                place.sandbox.runtime().delete(&id, true).unwrap();
                if image.usable {
                    assert_eq!(place.run(&config), found(CUDA_VERSION), "{what}");
                }
            }
            Err(error) => {
                assert!(!image.usable, "{what}: {error}");
                assert_eq!(place.sandbox.remains("one"), Vec::<PathBuf>::new(), "{what}");
            }
        }
        for (before, after) in before.iter().zip(look()) {
            assert_eq!(changes(before, &after), Vec::<String>::new(), "{what}");
        }
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
    let config = place.gpu_config(&["/bin/true"]);
    let before = picture(&bait).unwrap();
    let somebody = Exchange::start(&place.sandbox.rootfs(), &bait).unwrap();
    let mut worked = 0;
    for _ in 0..rounds {
        if let Ok(container) = place.create(&config, NativeHooks::On) {
            let id = container.id().clone();
            drop(container);
            place.sandbox.runtime().delete(&id, true).unwrap();
            worked += 1;
        }
    }
    let times = somebody.stop();
    eprintln!("{worked} of {rounds} containers were made; names were exchanged {times} times");
    assert_eq!(changes(&before, &picture(&bait).unwrap()), Vec::<String>::new());
    assert_eq!(place.sandbox.remains("one"), Vec::<PathBuf>::new());
}
