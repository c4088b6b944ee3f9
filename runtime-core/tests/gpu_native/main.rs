//! What containers get of a driver without a hook program: libraries that their loaders find, links, covered parameters,
//! and hostile images that change nothing but themselves. The driver is the fixture of `fixtures::driver`.
//!
//! With NVIDIA_CDI_HOOK=PATH (the program of NVIDIA's toolkit) the same containers are made by the real hooks, and both
//! results are compared with each other; without it ours is compared with the result that both agreed on
//! (`fixtures/gpu`).
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[path = "../sandbox/mod.rs"]
mod sandbox;

mod compat;
mod generation;
mod hostile;
mod place;
mod tree;

use std::fs;
use std::process::Command;

use fixtures::driver::rootfs::{OWN_CUDA, Variant};
use fixtures::driver::{CUDA_VERSION, Shape, VERSION, multiarch};
use place::place;

/// What the payload prints where it finds a libcuda of this version.
fn found(version: u32) -> String {
    format!("dlopen=ok ver={version}\n")
}

#[test]
fn programs_find_libcuda_in_every_image() {
    for variant in [
        Variant::Debian,
        Variant::Lib64,
        Variant::OwnCuda,
        Variant::Distroless,
    ] {
        for shape in [Shape::Debian, Shape::Lib64, Shape::Tree] {
            let Some(place) = place("programs_find_libcuda_in_every_image", shape, variant) else {
                return;
            };
            if variant == Variant::OwnCuda {
                // Without a driver it is the image's own.
                assert_eq!(place.run(&place.config(&["/bin/payload"])), found(OWN_CUDA));
            }
            let config = place.gpu_config(&["/bin/payload"]);
            assert_eq!(place.run(&config), found(CUDA_VERSION), "{variant:?} {shape:?}");
        }
    }
}

/// ldconfig of this host; the cache is ours, so it is read, not trusted.
fn printed(root: &std::path::Path) -> Vec<String> {
    let output = Command::new("/sbin/ldconfig")
        .args(["-p", "-C"])
        .arg(root.join("etc/ld.so.cache"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().skip(1).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn the_cache_has_every_name_once_and_ours_first() {
    let Some(place) = place("the_cache_has_every_name_once", Shape::Debian, Variant::OwnCuda) else {
        return;
    };
    place.run(&place.gpu_config(&["/bin/true"]));
    let lines = printed(&place.sandbox.rootfs());
    let of = |name: &str| -> Vec<&String> {
        lines
            .iter()
            .filter(|line| line.starts_with(&format!("{name} ")))
            .collect()
    };
    let cuda = of("libcuda.so.1");
    assert_eq!(cuda.len(), 2, "{lines:?}");
    assert!(
        cuda[0].contains(multiarch().trim_start_matches("usr")),
        "{cuda:?}"
    );
    assert!(cuda[1].ends_with("/opt/own/libcuda.so.1"), "{cuda:?}");
    for name in [
        "libnvidia-ml.so.1",
        "libnvcuvid.so.1",
        "libvdpau_nvidia.so.1",
        "libnvidia-egl-gbm.so.1",
        "libimage.so.3",
        "libc.so.6",
    ] {
        assert_eq!(of(name).len(), 1, "{name} in {lines:?}");
    }
}

#[test]
fn an_image_that_cannot_be_written_still_finds_its_libraries() {
    let test = "an_image_that_cannot_be_written";
    let Some(place) = place(test, Shape::Debian, Variant::Debian) else {
        return;
    };
    let mut config = place.gpu_config(&["/bin/payload"]);
    config["root"]["readonly"] = true.into();
    assert_eq!(place.run(&config), found(CUDA_VERSION));
    // Now the image is what a first start left, /etc is covered by a file system that cannot be written, and the cache is
    // not there: the links in the loader's own directory are enough.
    let empty = place.sandbox.dir().join("empty");
    fs::create_dir_all(&empty).unwrap();
    let cover = serde_json::json!({"destination": "/etc", "type": "bind", "source": empty, "options": ["bind", "ro"]});
    let mounts = config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/etc/"));
    mounts.insert(0, cover);
    assert_eq!(place.run(&config), found(CUDA_VERSION));
    assert!(
        fs::read_dir(&empty).unwrap().next().is_none(),
        "nothing was written there"
    );
}

#[test]
fn musl_gets_links_and_its_path_file() {
    let Some(place) = place("musl_gets_links_and_its_path_file", Shape::Lib64, Variant::Musl) else {
        return;
    };
    let said = place.run(&place.gpu_config(&["/bin/readlink", "/usr/lib64/libcuda.so.1"]));
    assert_eq!(said.trim(), format!("libcuda.so.{VERSION}"));
    let path = place
        .sandbox
        .rootfs()
        .join(format!("etc/ld-musl-{}.path", std::env::consts::ARCH));
    let text = fs::read_to_string(path).unwrap();
    assert!(
        text.contains("/usr/lib64/vdpau\n") && text.contains("/lib\n"),
        "{text}"
    );
}

#[test]
fn every_file_is_mounted_alone_and_read_only() {
    let Some(place) = place("every_file_is_mounted_alone", Shape::Debian, Variant::Debian) else {
        return;
    };
    let library = format!("/{}/libcuda.so.{VERSION}", multiarch());
    let script = format!(
        "cat /proc/self/mountinfo; for what in 'echo x > {library}' 'chmod 777 {library}' 'rm -f {library}'; \
         do eval $what 2>/dev/null && echo CHANGED $what; done; true"
    );
    let said = place.run(&place.gpu_config(&["/bin/sh", "-c", &script]));
    assert!(!said.contains("CHANGED"), "{said}");
    let driver = place.driver.root();
    let mut files = 0;
    for line in said.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (root, target, options) = (words[3], words[4], words[5]);
        if !target.contains(VERSION) {
            continue;
        }
        files += 1;
        for wanted in ["ro", "nosuid", "nodev"] {
            assert!(options.split(',').any(|option| option == wanted), "{line}");
        }
        let root = root.trim_start_matches("//");
        let real = driver
            .ancestors()
            .map(|above| above.join(root.trim_start_matches('/')))
            .find(|path| path.exists());
        assert!(
            real.is_none_or(|path| path.is_file()),
            "a directory is mounted: {line}"
        );
    }
    assert!(files >= 18, "{files} files of the driver in {said}");
}

#[test]
fn parameters_are_covered_and_the_hosts_stay() {
    let Some(place) = place("parameters_are_covered", Shape::Debian, Variant::Debian) else {
        return;
    };
    // Plain files stand for the procfs that a host without the module does not have.
    let inside = place.sandbox.rootfs().join("proc/driver/nvidia");
    fs::create_dir_all(&inside).unwrap();
    let host = place.driver.proc_root().join("driver/nvidia/params");
    fs::copy(&host, inside.join("params")).unwrap();
    let mut config = place.gpu_config(&[
        "/bin/sh",
        "-c",
        "cat /proc/driver/nvidia/params; (echo x > /proc/driver/nvidia/params) 2>/dev/null && echo WRITTEN; true",
    ]);
    config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|mount| mount["destination"] != "/proc");
    let said = place.run(&config);
    let before = fs::read_to_string(&host).unwrap();
    assert_eq!(
        said,
        before.replace("ModifyDeviceFiles: 1", "ModifyDeviceFiles: 0")
    );
    assert_eq!(fs::read_to_string(inside.join("params")).unwrap(), before);
}

#[test]
fn the_profile_shows_the_gpus_of_the_container() {
    let Some(place) = place("the_profile_shows_the_gpus", Shape::Debian, Variant::Debian) else {
        return;
    };
    let file = "/etc/nvidia/nvidia-application-profiles-rc.d/10-container.conf";
    let said = place.run(&place.gpu_config_of("1", &["/bin/cat", file]));
    let json = said.replace("0x2", "2");
    let profile: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(profile["profiles"][0]["settings"][1], 2, "{said}");
}

#[test]
fn hooks_that_are_not_understood_run_and_the_switch_turns_all_off() {
    let Some(place) = place("hooks_that_are_not_understood", Shape::Debian, Variant::Debian) else {
        return;
    };
    let mut config = place.config(&["/bin/true"]);
    let hook = |name: &str| {
        serde_json::json!({"createContainer": [{"path": "/nonexistent/nvidia-cdi-hook",
            "args": ["nvidia-cdi-hook", name]}]})
    };
    config["hooks"] = hook("update-application-profile");
    place.run(&config);
    let fails = |config: &serde_json::Value, off: bool| {
        let mut request = place.sandbox.request("fails", config);
        if off {
            request.gpu.native_hooks = runtime_core::gpu::hooks::NativeHooks::Off;
        }
        let error = place.sandbox.runtime().create(request).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/nvidia-cdi-hook"), "{error}");
        assert_eq!(place.sandbox.remains("fails"), Vec::<std::path::PathBuf>::new());
    };
    fails(&config, true);
    config["hooks"] = hook("something-new");
    fails(&config, false);
}

#[test]
fn device_rules_of_version_1_name_the_nodes_only() {
    let test = "device_rules_of_version_1";
    let Some(place) = place(test, Shape::Debian, Variant::Debian) else {
        return;
    };
    let top = std::path::Path::new("/sys/fs/cgroup/devices");
    if !top.join("devices.list").exists() {
        return eprintln!("SKIPPED {test}: this host has no version 1 hierarchy of devices");
    }
    let config = place.gpu_config_of("0", &["/bin/sh", "-c", "(echo > /dev/nvidia0) 2>&1; (echo > /dev/nvidiactl) 2>&1; mknod /dev/nvidia1 c 195 1 2>&1; (echo > /dev/nvidia1) 2>&1; ls /dev/nvidia1; true"]);
    let said = place.run_with(&config, |container| {
        let pid = container.pid().unwrap();
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let path = text
            .lines()
            .find_map(|line| line.split_once(":devices:"))
            .unwrap()
            .1
            .to_owned();
        let list = fs::read_to_string(top.join(path.trim_start_matches('/')).join("devices.list")).unwrap();
        let of_nvidia: Vec<&str> = list
            .lines()
            .filter(|line| line.starts_with("c 195:") || line.starts_with("c 510:"))
            .collect();
        assert_eq!(of_nvidia.len(), 5, "{list}");
        assert!(
            of_nvidia.contains(&"c 195:0 rwm") && !list.contains("195:1 "),
            "{list}"
        );
    });
    // ENXIO: let through, and there is no driver. EPERM: not let through.
    assert!(said.contains("nvidia0: No such device or address"), "{said}");
    assert!(said.contains("nvidiactl: No such device or address"), "{said}");
    assert!(said.contains("nvidia1: Operation not permitted"), "{said}");
}
