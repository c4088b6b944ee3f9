//! The edits of the plain driver, against what NVIDIA's toolkit writes for the same files (`nvidia-ctk cdi generate`).
//!
//! Listed differences, all on purpose: nodes and links of the Direct Rendering Manager are ours where sysfs is not the
//! host's own; parts of GPUs have names of ours (`0:1:0`), since their UUIDs are NVML's alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use fixtures::driver::Shape;
use fixtures::driver::rootfs::Variant;
use runtime_core::gpu::cdi::spec::{CdiSpec, ContainerEdits};
use runtime_core::gpu::hooks::CDI_HOOK;

use crate::place::{Place, place};

/// A CDI file as a set of facts, without the folder that the fixture is in.
fn facts(spec: &CdiSpec, place: &Place) -> BTreeSet<String> {
    let dir = place.sandbox.dir().join("gpu");
    let dir = dir.canonicalize().unwrap();
    let plain = |text: &str| text.replace(dir.to_str().unwrap(), "");
    let mut facts = BTreeSet::from([format!("kind {}", spec.kind)]);
    let mut add = |who: &str, edits: &ContainerEdits| {
        for node in &edits.device_nodes {
            if !node.path.starts_with("/dev/dri/") {
                facts.insert(format!(
                    "{who}: node {} from {} {}:{} {:?} {}",
                    node.path,
                    plain(node.on_host()),
                    node.major,
                    node.minor,
                    node.file_mode,
                    node.permissions
                ));
            }
        }
        for mount in &edits.mounts {
            let mut options = mount.options.clone();
            options.sort();
            facts.insert(format!(
                "{who}: mount {} on {} {}",
                plain(&mount.host_path),
                mount.container_path,
                options.join(",")
            ));
        }
        facts.extend(edits.env.iter().map(|entry| format!("{who}: env {entry}")));
        for hook in edits
            .hooks
            .iter()
            .filter(|hook| !hook.args.iter().any(|arg| arg.contains("/dev/dri/")))
        {
            // A hook's options are a set: the order of links says nothing.
            let mut options = hook.args[2..]
                .join(" ")
                .replace("--host-driver-version=", "--host-driver-version ");
            options = options.replace(" --", "\n--");
            facts.extend(
                options
                    .lines()
                    .map(|option| format!("{who}: {} {} {option}", hook.hook_name, hook.args[1])),
            );
            facts.insert(format!("{who}: {} {}", hook.hook_name, hook.args[1]));
        }
    };
    add("all devices", &spec.container_edits);
    for device in spec
        .devices
        .iter()
        .filter(|device| device.name.matches(':').count() != 2)
    {
        add(&device.name, &device.container_edits);
    }
    facts
}

fn theirs(place: &Place, program: &str) -> CdiSpec {
    let output = Command::new(program)
        .args(["cdi", "generate", "--mode=nvml", "--format=json", "--driver-root"])
        .arg(place.driver.root())
        .arg("--dev-root")
        .arg(place.driver.dev_root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_same_edits_as_nvidias_toolkit() {
    let test = "the_same_edits_as_nvidias_toolkit";
    let real = std::env::var("NVIDIA_CTK").ok();
    if real.is_none() {
        eprintln!("SKIPPED {test}: NVIDIA_CTK does not name the real program; the stored result is compared");
    }
    for (shape, name) in [
        (Shape::Debian, "edits-debian.txt"),
        (Shape::Lib64, "edits-lib64.txt"),
    ] {
        let Some(place) = place(test, shape, Variant::Musl) else {
            return;
        };
        let ours = facts(&place.found().spec(CDI_HOOK).unwrap(), &place);
        let stored = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fixtures/gpu")
            .join(name);
        if let Some(real) = &real {
            let theirs = facts(&theirs(&place, real), &place);
            let only = |left: &BTreeSet<String>, right: &BTreeSet<String>| -> Vec<String> {
                left.difference(right).cloned().collect()
            };
            assert_eq!(
                (only(&ours, &theirs), only(&theirs, &ours)),
                (Vec::new(), Vec::new()),
                "{shape:?}: ours only, theirs only"
            );
            if std::env::var_os("STORE_GPU_RESULTS").is_some() {
                let lines: Vec<&str> = ours.iter().map(String::as_str).collect();
                fs::write(&stored, lines.join("\n") + "\n").unwrap();
            }
        }
        let text = fs::read_to_string(&stored).unwrap();
        let agreed: BTreeSet<String> = text.lines().map(str::to_owned).collect();
        assert_eq!(
            ours, agreed,
            "{shape:?}: not what NVIDIA's toolkit wrote when the result was stored"
        );
    }
}
