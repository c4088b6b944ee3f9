//! A request that a CDI file would have answered, had it been whole.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::facts::HostFacts;
use crate::gpu::config::GpuConfig;
use crate::gpu::request::DeviceRequest;
use crate::gpu::{inject, offers};
use crate::spec::LoadedSpec;

#[test]
fn the_driver_does_not_answer_for_a_faulty_file() {
    let Some(place) = Place::new("the_driver_does_not_answer_for_a_faulty_file", Shape::Debian) else {
        return;
    };
    let dir = place.0.join("cdi");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).unwrap();
    let roots = place.roots();
    let request = DeviceRequest {
        names: vec!["nvidia.com/gpu=0".to_owned()],
        cdi_spec_dirs: vec![dir.clone()],
        config: GpuConfig {
            driver_root: roots.driver_root,
            dev_root: roots.dev_root,
            proc_root: roots.proc_root,
            sysfs_root: roots.sysfs_root,
            ..GpuConfig::default()
        },
    };
    let facts = HostFacts::gather().unwrap();
    let ask = || {
        let config = br#"{"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "process": {"args": ["true"], "cwd": "/"}}"#;
        let mut loaded = LoadedSpec::from_slice(config, "config.json").unwrap();
        inject(&mut loaded, std::path::Path::new("/nowhere"), &request, &facts)
    };
    let listed = || {
        let found = offers(&request);
        let one = found.devices.iter().any(|offer| offer.name == "nvidia.com/gpu=0");
        (one, found.problems.join("; "))
    };
    let write = |name: &str, text: &str| {
        let file = dir.join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        file
    };
    let text = |kind: &str, more: &str| {
        format!(
            "cdiVersion: 0.5.0\nkind: {kind}\n{more}devices: [{{name: held, containerEdits: {{env: [A=b]}}}}]\n"
        )
    };
    assert!(ask().is_ok() && listed().0, "without a file the driver answers");
    write("other.yaml", &text("v.com/c", "typo: 1\n"));
    assert!(
        ask().is_ok() && listed().0,
        "a faulty file of another kind is no hindrance"
    );
    for broken in [text("nvidia.com/gpu", "typo: 1\n"), "kind: [".to_owned()] {
        let file = write("nvidia.yaml", &broken);
        let error = ask().unwrap_err();
        let said = error.to_string();
        assert_eq!(error.field(), Some("--device"));
        for word in ["nvidia.com/gpu=0", "is not asked", file.to_str().unwrap()] {
            assert!(said.contains(word), "{word:?} is not in {said}");
        }
        let (found, problems) = listed();
        assert!(!found && problems.contains(file.to_str().unwrap()), "{problems}");
    }
    write("nvidia.yaml", &text("nvidia.com/gpu", ""));
    write("nvidia.json", &text("nvidia.com/gpu", ""));
    let said = ask().unwrap_err().to_string();
    assert!(
        said.contains("unresolvable CDI devices nvidia.com/gpu=0"),
        "{said}"
    );
    assert!(!listed().0, "two files that are in each other's way answer, too");
}
