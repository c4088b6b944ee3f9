#![allow(
    clippy::print_stderr,
    reason = "a skipped test must not look like a passed one"
)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use fixtures::driver::{self, Shape, VERSION};

use super::*;
use crate::gpu::hooks::{Link, NativeHook};

#[path = "sockets_tests.rs"]
mod sockets;
#[path = "withheld_tests.rs"]
mod withheld;

/// A driver on disk that goes with the test.
struct Place(PathBuf, driver::Driver);

impl Place {
    fn new(test: &str, shape: Shape) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED {test}: needs root: a driver must belong to root");
            return None;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("gpu-driver-{}-{number}", std::process::id()));
        match driver::Driver::build(&dir, shape, 2) {
            Ok(made) => Some(Self(dir, made)),
            Err(error) => {
                let _ = std::fs::remove_dir_all(&dir);
                eprintln!("SKIPPED {test}: the fixture cannot be made: {error}");
                None
            }
        }
    }

    fn roots(&self) -> Roots {
        Roots {
            driver_root: Some(self.1.root()),
            dev_root: Some(self.1.dev_root()),
            proc_root: self.1.proc_root(),
            sysfs_root: self.1.sysfs_root(),
        }
    }

    fn driver(&self) -> Driver {
        discover(&self.roots()).unwrap().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn paths(edits: &crate::gpu::cdi::spec::ContainerEdits) -> Vec<&str> {
    edits
        .mounts
        .iter()
        .map(|mount| mount.container_path.as_str())
        .collect()
}

fn nodes(edits: &crate::gpu::cdi::spec::ContainerEdits) -> Vec<&str> {
    edits.device_nodes.iter().map(|node| node.path.as_str()).collect()
}

#[test]
fn a_driver_is_found_in_every_shape() {
    for (shape, folder) in [
        (Shape::Debian, format!("/{}", driver::multiarch())),
        (Shape::Lib64, "/usr/lib64".to_owned()),
        (Shape::Tree, "/usr/local/nvidia/lib64".to_owned()),
    ] {
        let Some(place) = Place::new("a_driver_is_found_in_every_shape", shape) else {
            return;
        };
        let found = place.driver();
        assert_eq!(found.version, VERSION, "{shape:?}");
        assert_eq!(found.library_dirs, std::slice::from_ref(&folder), "{shape:?}");
        let got = found.edits(&["0"], Capabilities::ALL).unwrap();
        let got_paths = paths(&got.edits);
        for wanted in [
            format!("{folder}/libcuda.so.{VERSION}"),
            format!("{folder}/vdpau/libvdpau_nvidia.so.{VERSION}"),
            format!("{folder}/libnvidia-egl-gbm.so.1.1.2"),
            "/usr/bin/nvidia-smi".to_owned(),
            format!("/lib/firmware/nvidia/{VERSION}/gsp_ga10x.bin"),
            "/run/nvidia-persistenced/socket".to_owned(),
            "/etc/vulkan/icd.d/nvidia_icd.json".to_owned(),
        ] {
            assert!(
                got_paths.contains(&wanted.as_str()),
                "{shape:?}: no {wanted} in {got_paths:?}"
            );
        }
        assert!(
            !got_paths.iter().any(|path| path.contains("libz")),
            "{got_paths:?}"
        );
        assert!(
            got.edits
                .mounts
                .iter()
                .all(|mount| PathBuf::from(&mount.host_path).exists())
        );
    }
}

#[test]
fn devices_have_names_and_nodes() {
    let Some(place) = Place::new("devices_have_names_and_nodes", Shape::Debian) else {
        return;
    };
    let found = place.driver();
    let uuid = driver::Driver::uuid(1);
    let common = [
        "/dev/nvidia-modeset",
        "/dev/nvidia-uvm",
        "/dev/nvidia-uvm-tools",
        "/dev/nvidiactl",
    ];
    let get = |names: &[&str]| found.edits(names, Capabilities::ALL).unwrap();
    let one = get(&["1"]);
    let mut expected = vec!["/dev/nvidia1", "/dev/dri/card2", "/dev/dri/renderD129"];
    expected.extend(common);
    assert_eq!(nodes(&one.edits), expected);
    assert_eq!(get(&[&uuid]), one, "a UUID is the same device");
    let mut everything: Vec<String> = nodes(&get(&["0", "1", "0:1:0", "0:2:0"]).edits)
        .into_iter()
        .map(str::to_owned)
        .collect();
    let all = get(&["all", "1"]).edits;
    let mut of_all = nodes(&all);
    assert!(of_all.contains(&"/dev/nvidia-caps/nvidia-cap4"), "{of_all:?}");
    everything.sort_unstable();
    of_all.sort_unstable();
    assert_eq!(of_all, everything, "`all` has the parts of GPUs, too");
    assert_eq!(nodes(&get(&["none"]).edits), Vec::<&str>::new());
    let uvm = one
        .edits
        .device_nodes
        .iter()
        .find(|node| node.path == "/dev/nvidia-uvm")
        .unwrap();
    assert_eq!(
        (uvm.major, uvm.minor, uvm.file_mode),
        (driver::UVM_MAJOR.into(), 0, Some(0o666))
    );
    let link = Link {
        target: "../card2".to_owned(),
        path: "/dev/dri/by-path/pci-0000:02:00.0-card".to_owned(),
    };
    assert!(
        matches!(&one.native[0], NativeHook::Links(links) if links.contains(&link)),
        "{:?}",
        one.native
    );
    let mig = get(&["0:1:0"]);
    assert_eq!(
        nodes(&mig.edits)[..3],
        [
            "/dev/nvidia0",
            "/dev/nvidia-caps/nvidia-cap3",
            "/dev/nvidia-caps/nvidia-cap4"
        ]
    );
    let error = found
        .edits(&["0", "7", "GPU-x"], Capabilities::ALL)
        .unwrap_err()
        .to_string();
    assert!(error.contains("7, GPU-x") && error.contains(&uuid), "{error}");
}

#[test]
fn without_its_control_node_no_gpu_is_given() {
    let Some(place) = Place::new("without_its_control_node_no_gpu_is_given", Shape::Debian) else {
        return;
    };
    std::fs::remove_file(place.1.dev_root().join("dev/nvidiactl")).unwrap();
    let found = place.driver();
    let error = found.edits(&["0"], Capabilities::ALL).unwrap_err();
    assert!(error.to_string().contains("/dev/nvidiactl"), "{error}");
    assert!(found.edits(&["none"], Capabilities::ALL).is_ok());
}

#[test]
fn a_kernel_module_of_another_version_is_an_error_with_both() {
    let Some(place) = Place::new("a_kernel_module_of_another_version", Shape::Debian) else {
        return;
    };
    std::fs::write(place.1.sysfs_root().join("module/nvidia/version"), "580.1.2\n").unwrap();
    let error = discover(&place.roots()).unwrap_err().to_string();
    assert!(error.contains("580.1.2") && error.contains(VERSION), "{error}");
    std::fs::remove_file(place.1.sysfs_root().join("module/nvidia/version")).unwrap();
    assert!(discover(&place.roots()).unwrap().is_some(), "procfs tells too");
}

#[test]
fn a_root_that_others_may_write_is_refused() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let Some(place) = Place::new("a_root_that_others_may_write_is_refused", Shape::Debian) else {
        return;
    };
    let root = place.1.root();
    let refused = |word: &str| {
        let error = discover(&place.roots()).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o775)).unwrap();
    refused("0775");
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).unwrap();
    chown(&place.0, Some(1000), None).unwrap();
    refused("user 1000");
    chown(&place.0, Some(0), None).unwrap();
    let found = place.driver();
    assert!(found.check_outside(&place.0, &place.0.join("rootfs")).is_err());
    assert!(
        found
            .check_outside(
                std::path::Path::new("/nowhere"),
                std::path::Path::new("/nowhere/rootfs")
            )
            .is_ok()
    );
}

#[test]
fn capabilities_choose_files() {
    let Some(place) = Place::new("capabilities_choose_files", Shape::Debian) else {
        return;
    };
    let found = place.driver();
    let get = |value: &str| {
        let edits = found
            .edits(&["0"], Capabilities::parse(value).unwrap())
            .unwrap()
            .edits;
        paths(&edits).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let has = |list: &[String], name: &str| list.iter().any(|path| path.contains(name));
    let utility = get("utility");
    assert!(has(&utility, "libnvidia-ml.so") && has(&utility, "nvidia-smi"));
    assert!(
        !has(&utility, "libcuda.so") && !has(&utility, "libGLX"),
        "{utility:?}"
    );
    let default = get("");
    assert!(has(&default, "libcuda.so") && has(&default, "libnvidia-ml.so") && !has(&default, "libnvcuvid"));
    assert!(has(&get("video"), "libnvcuvid") && has(&get("ngx"), "libnvidia-ngx"));
    assert_eq!(
        get("all"),
        get("compute,utility,video,graphics,display,ngx,compat32")
    );
    let error = Capabilities::parse("utility,telepathy").unwrap_err().to_string();
    assert!(
        error.contains("telepathy") && error.contains("compute"),
        "{error}"
    );
}

#[test]
fn requirements_are_judged_by_what_is_known() {
    let env = |entries: &[&str]| -> Requirements {
        let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        Requirements::of_env(&entries)
    };
    let host = Versions {
        cuda: Some("13.0".to_owned()),
        ..Versions::of_driver(VERSION)
    };
    let error = env(&["NVIDIA_REQUIRE_CUDA=cuda>=14"])
        .check(&host)
        .unwrap_err()
        .to_string();
    assert!(error.contains("cuda>=14") && error.contains("13.0"), "{error}");
    for fine in [
        "cuda>=13.0",
        "cuda>=14 driver>=450,driver<1000",
        "brand=tesla",
        "cuda!=12.9,driver=999.88.77",
        "",
    ] {
        env(&[&format!("NVIDIA_REQUIRE_X={fine}")]).check(&host).unwrap();
    }
    env(&["NVIDIA_REQUIRE_CUDA=cuda>=14", "NVIDIA_DISABLE_REQUIRE=1"])
        .check(&host)
        .unwrap();
    env(&["NVIDIA_REQUIRE_CUDA=cuda>=14", "NVIDIA_REQUIRE_CUDA=cuda>=1"])
        .check(&host)
        .unwrap();
    env(&["NVIDIA_REQUIRE_CUDA=cuda>=14"])
        .check(&Versions::of_driver(VERSION))
        .unwrap();
    assert_eq!(Versions::of_driver("580.95.05").cuda.as_deref(), Some("13.0"));
    for wrong in ["cuda", "cuda>>1", "cuda>=x", "moon=full", "brand>=a"] {
        let error = env(&[&format!("NVIDIA_REQUIRE_X={wrong}")])
            .check(&Versions {
                brand: Some("a".to_owned()),
                ..host.clone()
            })
            .unwrap_err()
            .to_string();
        assert!(error.contains(wrong), "{error}");
    }
}

#[test]
fn what_is_found_survives_json_and_makes_a_cdi_file() {
    let Some(place) = Place::new("what_is_found_survives_json", Shape::Debian) else {
        return;
    };
    let found = place.driver();
    let json = serde_json::to_string(&found).unwrap();
    assert_eq!(serde_json::from_str::<Driver>(&json).unwrap(), found);
    let spec = found.spec(crate::gpu::hooks::CDI_HOOK).unwrap();
    let names: Vec<_> = spec.devices.iter().map(|device| device.name.as_str()).collect();
    assert!(
        names.starts_with(&["0", "0:1:0"]) && names.ends_with(&["all"]),
        "{names:?}"
    );
    assert_eq!(spec.cdi_version, "0.5.0");
    let all = spec.devices.iter().find(|device| device.name == "all").unwrap();
    assert!(nodes(&all.container_edits).contains(&"/dev/nvidia-caps/nvidia-cap4"));
    let error = found.spec("").unwrap_err().to_string();
    assert!(error.contains("hooks[0].path"), "{error}");
    assert!(
        spec.container_edits
            .hooks
            .iter()
            .any(|hook| hook.args.contains(&"update-ldcache".to_owned()))
    );
}

#[test]
fn a_gpu_that_has_not_told_its_uuid_has_none() {
    let Some(place) = Place::new("a_gpu_that_has_not_told_its_uuid_has_none", Shape::Debian) else {
        return;
    };
    let address = driver::Driver::address(0);
    let file = place
        .1
        .proc_root()
        .join(format!("driver/nvidia/gpus/{address}/information"));
    let text = std::fs::read_to_string(&file).unwrap();
    for unknown in [
        "GPU-????????-????-????-????-????????????",
        "GPU-00000000-0000-4000-8000-00000000000",
        "GPU-00000000-0000-4000-8000-000000000000-0",
        "N/A",
    ] {
        let own = driver::Driver::uuid(0);
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, text.replace(&own, unknown)).unwrap();
        let found = place.driver();
        assert_eq!(found.gpus[0].uuid, None, "{unknown}");
        assert_eq!(found.gpus[1].uuid, Some(driver::Driver::uuid(1)));
        let spec = found.spec(crate::gpu::hooks::CDI_HOOK).unwrap();
        let json = serde_json::to_vec(&spec).unwrap();
        assert!(crate::gpu::cdi::parse(&json).is_ok(), "{unknown}");
    }
}

#[test]
fn nodes_beside_the_driver_come_before_those_of_the_host() {
    let Some(place) = Place::new("nodes_beside_the_driver", Shape::Debian) else {
        return;
    };
    let roots = Roots {
        dev_root: None,
        ..place.roots()
    };
    let root = place.1.root();
    std::fs::rename(place.1.dev_root().join("dev"), root.join("dev")).unwrap();
    let found = discover(&roots).unwrap().unwrap();
    assert_eq!(found.gpus.len(), 2);
    let own = root.join("dev/nvidia0").to_string_lossy().into_owned();
    assert_eq!(found.gpus[0].node.on_host, own);
    std::fs::remove_file(root.join("dev/nvidiactl")).unwrap();
    let found = discover(&roots).unwrap().unwrap();
    assert!(found.gpus.iter().all(|gpu| gpu.node.on_host != own));
}

#[test]
fn amd_and_intel_give_nodes_and_groups() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let Some(place) = Place::new("amd_and_intel_give_nodes_and_groups", Shape::Debian) else {
        return;
    };
    let device = |number: u32| {
        place
            .1
            .sysfs_root()
            .join(format!("bus/pci/devices/{}", driver::Driver::address(number)))
    };
    std::fs::write(device(0).join("vendor"), "0x1002\n").unwrap();
    std::fs::write(device(1).join("vendor"), "0x8086\n").unwrap();
    let node = |name: &str| place.1.dev_root().join("dev").join(name);
    for name in ["kfd", "dri/renderD128"] {
        std::fs::set_permissions(node(name), std::fs::Permissions::from_mode(0o660)).unwrap();
        chown(node(name), Some(0), Some(105)).unwrap();
    }
    let gpus = discover_drm(&place.roots()).unwrap();
    let amd = drm_spec(&gpus, DrmVendor::Amd).unwrap();
    assert_eq!(amd.kind, "amd.com/gpu");
    assert_eq!(nodes(&amd.container_edits), ["/dev/kfd"]);
    assert_eq!(amd.container_edits.additional_gids, [105]);
    assert_eq!(amd.devices[0].name, "0");
    assert_eq!(
        nodes(&amd.devices[0].container_edits),
        ["/dev/dri/card1", "/dev/dri/renderD128"]
    );
    assert_eq!(amd.devices[0].container_edits.additional_gids, [105]);
    assert_eq!(amd.cdi_version, "0.7.0");
    let intel = drm_spec(&gpus, DrmVendor::Intel).unwrap();
    assert_eq!(
        nodes(&intel.devices[0].container_edits),
        ["/dev/dri/card2", "/dev/dri/renderD129"]
    );
    assert_eq!(paths(&intel.container_edits), ["/dev/dri/by-path"]);
    assert!(drm_spec(&[], DrmVendor::Amd).is_none());
}

#[test]
fn hosts_without_a_driver_have_none() {
    let empty = std::env::temp_dir().join(format!("gpu-none-{}", std::process::id()));
    std::fs::create_dir_all(&empty).unwrap();
    let roots = Roots {
        driver_root: Some(empty.clone()),
        ..Roots::default()
    };
    let error = discover(&roots).unwrap_err().to_string();
    std::fs::remove_dir_all(&empty).unwrap();
    assert!(
        error.contains("libcuda") || error.contains("must belong to root"),
        "{error}"
    );
}
