//! The edits of the plain driver, against what NVIDIA's toolkit writes for the same files (`nvidia-ctk cdi generate`).
//!
//! Listed differences, all on purpose: nodes and links of the Direct Rendering Manager are ours where sysfs is not the
//! host's own; parts of GPUs have names of ours (`0:1:0`), since their UUIDs are NVML's alone.

use std::fs;
use std::path::Path;

use fixtures::driver::Shape;
use fixtures::driver::edits::{by_toolkit, facts, stored, stored_name};
use fixtures::driver::rootfs::Variant;
use runtime_core::gpu::hooks::CDI_HOOK;
use serde_json::json;

use crate::place::place;

#[test]
fn the_same_edits_as_nvidias_toolkit() {
    let test = "the_same_edits_as_nvidias_toolkit";
    let real = std::env::var("NVIDIA_CTK").ok();
    if real.is_none() {
        eprintln!("SKIPPED {test}: NVIDIA_CTK does not name the real program; the stored result is compared");
    }
    for shape in [Shape::Debian, Shape::Lib64] {
        let Some(place) = place(test, shape, Variant::Musl) else {
            return;
        };
        let ours = facts(&json!(place.found().spec(CDI_HOOK).unwrap()), &place.driver);
        if let Some(real) = &real {
            let theirs = facts(
                &by_toolkit(Path::new(real), &place.driver).unwrap(),
                &place.driver,
            );
            let only_ours: Vec<_> = ours.difference(&theirs).collect();
            let only_theirs: Vec<_> = theirs.difference(&ours).collect();
            assert!(
                only_ours.is_empty() && only_theirs.is_empty(),
                "{shape:?}: ours only {only_ours:?}, theirs only {only_theirs:?}"
            );
            if std::env::var_os("STORE_GPU_RESULTS").is_some() {
                let lines: Vec<&str> = ours.iter().map(String::as_str).collect();
                let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/gpu");
                fs::write(folder.join(stored_name(shape).unwrap()), lines.join("\n") + "\n").unwrap();
                continue;
            }
        }
        assert_eq!(
            Some(ours),
            stored(shape),
            "{shape:?}: not what NVIDIA's toolkit wrote when the result was stored"
        );
    }
}
