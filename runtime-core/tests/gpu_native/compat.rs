//! CUDA forward compatibility: which of two libcuda a program gets, and what a hostile one brings about: nothing.

use std::fs;
use std::time::{Duration, Instant};

use fixtures::driver::hostile::{LIBRARIES, compat};
use fixtures::driver::rootfs::Variant;
use fixtures::driver::{CUDA_VERSION, Shape, compile_cuda};

use crate::found;
use crate::place::{Place, place};

const NEWER: u32 = 14_000;

fn with(name: &str, note: Option<&str>, test: &str) -> Option<(Place, String)> {
    let place = place(test, Shape::Debian, Variant::Debian)?;
    compile_cuda(NEWER, note, &compat(&place.sandbox.rootfs(), name).unwrap()).unwrap();
    let said = place.run(&place.gpu_config(&["/bin/payload"]));
    Some((place, said))
}

#[test]
fn a_newer_library_of_the_image_goes_first() {
    let Some((place, said)) = with("libcuda.so.1000.1", None, "a_newer_library") else {
        return;
    };
    assert_eq!(said, found(NEWER));
    let file = place
        .sandbox
        .rootfs()
        .join("etc/ld.so.conf.d/00-compat-runtime.conf");
    assert_eq!(fs::read_to_string(file).unwrap(), "/usr/local/cuda-14/compat\n");
    // A second start of the same root comes to the same end.
    assert_eq!(place.run(&place.gpu_config(&["/bin/payload"])), found(NEWER));
}

#[test]
fn an_older_one_does_not() {
    let Some((_, said)) = with("libcuda.so.998.1", None, "an_older_one_does_not") else {
        return;
    };
    assert_eq!(said, found(CUDA_VERSION));
}

#[test]
fn the_note_says_for_which_drivers_it_is() {
    let note = r#"{"Format":1,"CUDA Version":"14.0","Driver":[998,999],"Device":[1]}"#;
    let Some((_, said)) = with("libcuda.so.999.90", Some(note), "the_note_says") else {
        return;
    };
    assert_eq!(
        said,
        found(NEWER),
        "a newer one of the same branch, which the note allows"
    );
    let note = r#"{"Format":1,"CUDA Version":"14.0","Driver":[998],"Device":[1]}"#;
    let Some((_, said)) = with("libcuda.so.1000.1", Some(note), "the_note_says") else {
        return;
    };
    assert_eq!(said, found(CUDA_VERSION), "made for another branch");
}

#[test]
fn hostile_ones_are_passed_over_quickly() {
    // By their names an older one, which nobody has to look into, and a newer one.
    for ((what, make), name) in LIBRARIES
        .iter()
        .flat_map(|library| ["libcuda.so.998.9", "libcuda.so.1000.9"].map(|name| (library, name)))
    {
        let Some(place) = place("hostile_ones_are_passed_over", Shape::Debian, Variant::Debian) else {
            return;
        };
        make(&compat(&place.sandbox.rootfs(), name).unwrap()).unwrap();
        let started = Instant::now();
        assert_eq!(
            place.run(&place.gpu_config(&["/bin/payload"])),
            found(CUDA_VERSION),
            "{what}, {name}"
        );
        // No measure of speed: a fifo would hold it for ever.
        assert!(started.elapsed() < Duration::from_secs(20), "{what}, {name}");
    }
}
