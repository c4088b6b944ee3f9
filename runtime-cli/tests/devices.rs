//! The options that ask for devices of vendors, seen from outside: each does what its help says.
#![allow(clippy::print_stderr, reason = "a skip must be seen")]

mod place;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use place::{Place, err, out};
use serde_json::{Value, json};

fn write(path: &Path, content: &str) {
    let dir = path.parent().expect("a folder");
    std::fs::create_dir_all(dir).expect("a folder");
    std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).expect("chmod");
    std::fs::write(path, content).expect("a file");
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o644)).expect("chmod");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A folder with a CDI file: `v.com/c=NAME` sets FOUND=VALUE and brings a node like /dev/full.
fn cdi(place: &Place, folder: &str, name: &str, value: &str) -> PathBuf {
    let device = json!({"name": name, "containerEdits": {"env": [format!("FOUND={value}")],
        "deviceNodes": [{"path": "/dev/mine", "hostPath": "/dev/full"}]}});
    let dir = place.dir.join(folder);
    let file = json!({"cdiVersion": "0.5.0", "kind": "v.com/c", "devices": [device]});
    write(&dir.join("file.json"), &file.to_string());
    dir
}

#[test]
fn devices_come_from_the_folders_that_are_named() {
    let Some(place) = Place::new("devices") else {
        return;
    };
    place.configure("config.json", "echo $FOUND; echo x > /dev/mine", |config| {
        config["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
    });
    let low = cdi(&place, "low", "0", "low");
    let high = cdi(&place, "high", "0", "high");
    let device = ["--device", "v.com/c=0"];
    let run = |more: &[&str]| place.call(&[&["run"], more, &[&place.id("")]].concat());
    let output = run(&[&["--cdi-spec-dir", text(&low)], &device[..]].concat());
    assert_eq!(out(&output), "low\n", "{}", err(&output));
    // /dev/full lets itself be opened, and is full.
    assert!(err(&output).contains("No space left"), "{}", err(&output));
    let both = ["--cdi-spec-dir", text(&low), "--cdi-spec-dir", text(&high)];
    assert_eq!(out(&run(&[&both[..], &device[..]].concat())), "high\n");
    let missing = run(&[&both[..], &["--device", "v.com/c=1"]].concat());
    assert!(
        err(&missing).contains("unresolvable CDI devices v.com/c=1"),
        "{}",
        err(&missing)
    );
    let word = run(&["--device", "gpu0"]);
    assert!(
        err(&word).contains("allowed: VENDOR/CLASS=NAME"),
        "{}",
        err(&word)
    );
}

#[test]
fn create_and_plan_take_the_same_options() {
    let Some(place) = Place::new("create_and_plan") else {
        return;
    };
    let dir = cdi(&place, "cdi", "0", "x");
    let id = place.id("");
    let options = ["--cdi-spec-dir", text(&dir), "--device", "v.com/c=0"];
    let bundle = place.bundle();
    let config = place.dir.join("etc/gpu.toml");
    write(&config, "");
    let more = ["--gpu-config", text(&config), text(&bundle)];
    let plan = place.expect(&[&["plan"], &options[..], &more[..]].concat());
    let line = plan
        .lines()
        .find(|line| line.contains("/dev/mine"))
        .expect("a line");
    assert!(line.contains("cdi v.com/c=0 (linux.devices[0])"), "{line}");
    let as_json = place.expect(&[&["plan", "--format", "json"], &options[..], &[text(&bundle)]].concat());
    assert!(as_json.contains("allow c 1:7 rwm"), "{as_json}");
    assert!(
        as_json.contains("cdi v.com/c=0 (linux.resources.devices[0])"),
        "{as_json}"
    );
    place.expect(&[&["create"], &options[..], &[&id]].concat());
    let told = place.expect(&["doctor", &id]);
    assert!(told.contains("v.com/c=0 of "), "{told}");
    assert!(
        told.contains("the kernel has those of the configuration"),
        "{told}"
    );
}

#[test]
fn the_configuration_file_says_who_else_is_heard() {
    let Some(place) = Place::new("gpu_config") else {
        return;
    };
    let dir = cdi(&place, "cdi", "0", "asked");
    place.configure("config.json", "echo [$FOUND]", |config| {
        config["annotations"] = json!({"cdi.k8s.io/x": "v.com/c=0"});
    });
    let config = place.dir.join("etc/gpu.toml");
    let run = |verb: &[&str]| place.call(&[verb, &["--gpu-config", text(&config), &place.id("")]].concat());
    write(&config, &format!("cdi-spec-dirs = [{dir:?}]\n"));
    assert_eq!(out(&run(&["run"])), "[]\n");
    write(
        &config,
        &format!("cdi-spec-dirs = [{dir:?}]\naccept-annotations = true\n"),
    );
    assert_eq!(out(&run(&["run"])), "[asked]\n");
    write(&config, "accept-anotations = true\n");
    assert!(err(&run(&["run"])).contains("accept-anotations"));
    std::fs::set_permissions(&config, PermissionsExt::from_mode(0o646)).expect("chmod");
    assert!(err(&run(&["create"])).contains("others may write it"));
    std::fs::remove_file(&config).expect("unlink");
    assert!(
        err(&run(&["run"])).contains("no such file"),
        "a file that was named must be there"
    );
}

#[test]
fn known_hooks_are_done_without_their_programs_unless_told_otherwise() {
    let Some(place) = Place::new("native_hooks") else {
        return;
    };
    place.configure("config.json", "readlink /usr/lib/libx.so.1", |config| {
        config["hooks"] = json!({"createContainer": [{"path": "/nowhere/nvidia-cdi-hook",
            "args": ["nvidia-cdi-hook", "create-symlinks", "--link", "libx.so.1.2::/usr/lib/libx.so.1"]}]});
    });
    std::os::unix::fs::symlink("busybox", place.bundle().join("rootfs/bin/readlink")).expect("a link");
    let run = |verb: &str, how: &[&str]| place.call(&[&[verb], how, &[&place.id("")]].concat());
    for how in [&[][..], &["--native-hooks", "on"]] {
        let output = run("run", how);
        assert_eq!(out(&output), "libx.so.1.2\n", "{}", err(&output));
    }
    for verb in ["run", "create"] {
        let output = run(verb, &["--native-hooks", "off"]);
        assert!(
            err(&output).contains("/nowhere/nvidia-cdi-hook"),
            "{}",
            err(&output)
        );
    }
    assert!(err(&run("run", &["--native-hooks", "maybe"])).contains("allowed: on, off, verify"));
    let bundle = place.bundle();
    let plan = |how| place.expect(&["plan", "--native-hooks", how, text(&bundle)]);
    assert!(
        plan("on").contains("link /usr/lib/libx.so.1 -> libx.so.1.2"),
        "{}",
        plan("on")
    );
    assert!(
        !plan("off").contains("init    link /usr/lib/libx.so.1"),
        "{}",
        plan("off")
    );
}

#[test]
fn gpu_list_shows_what_can_be_asked_for() {
    let Some(place) = Place::new("gpu_list") else {
        return;
    };
    let dir = cdi(&place, "cdi", "0", "x");
    write(&dir.join("broken.yaml"), "cdiVersion: [");
    let config = place.dir.join("etc/gpu.toml");
    let nowhere = place.dir.join("nowhere");
    write(
        &config,
        &format!("dev-root = {nowhere:?}\nproc-root = {nowhere:?}\nsysfs-root = {nowhere:?}\n"),
    );
    let options = ["--gpu-config", text(&config), "--cdi-spec-dir", text(&dir)];
    let table = place.expect(&[&["gpu", "list"], &options[..]].concat());
    let row = table
        .lines()
        .find(|line| line.starts_with("v.com/c=0 "))
        .expect("a row");
    assert!(row.contains("/dev/mine") && row.contains("file.json"), "{row}");
    assert!(
        table.contains("not used: ") && table.contains("broken.yaml: line "),
        "{table}"
    );
    let json: Value =
        serde_json::from_str(&place.expect(&[&["gpu", "list", "--format", "json"], &options[..]].concat()))
            .expect("JSON");
    assert!(
        json["devices"]
            .as_array()
            .expect("a list")
            .iter()
            .any(|device| device["name"] == "v.com/c=0")
    );
    assert_eq!(json["faults"].as_array().map(Vec::len), Some(1));
}

/// AMD's GPU: two nodes, with the numbers of /dev/full and /dev/zero.
fn a_gpu_of_amds(place: &Place) -> PathBuf {
    let root = place.dir.join("host");
    let device = root.join("sys/bus/pci/devices/0000:03:00.0");
    for name in ["card0", "renderD128"] {
        std::fs::create_dir_all(device.join("drm").join(name)).expect("a folder");
    }
    write(&device.join("vendor"), "0x1002\n");
    write(&device.join("class"), "0x030000\n");
    std::fs::create_dir_all(root.join("dev/dri")).expect("a folder");
    for (name, minor) in [("dri/card0", 7), ("dri/renderD128", 5), ("kfd", 3)] {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("dev").join(name),
            rustix::fs::FileType::CharacterDevice,
            rustix::fs::Mode::from_raw_mode(0o666),
            rustix::fs::makedev(1, minor),
        )
        .expect("a node");
    }
    let config = place.dir.join("etc/gpu.toml");
    let sys = root.join("sys");
    let text =
        format!("dev-root = {root:?}\nproc-root = {root:?}\nsysfs-root = {sys:?}\ncdi-spec-dirs = []\n");
    write(&config, &text);
    config
}

#[test]
fn gpu_cdi_generate_writes_a_file_that_can_be_asked_from() {
    let Some(place) = Place::new("cdi_generate") else {
        return;
    };
    let config = a_gpu_of_amds(&place);
    let dir = place.dir.join("generated");
    std::fs::create_dir(&dir).expect("a folder");
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).expect("chmod");
    let file = dir.join("amd.json");
    let generate = [
        "gpu",
        "cdi",
        "generate",
        "--gpu-config",
        text(&config),
        "--kind",
        "amd.com/gpu",
    ];
    place.expect(&[&generate[..], &["--output", text(&file)]].concat());
    let shown = place.expect(&generate);
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), shown);
    place.configure("config.json", "ls /dev/kfd /dev/dri", |_| {});
    let by_file = place.expect(&[
        "run",
        "--cdi-spec-dir",
        text(&dir),
        "--device",
        "amd.com/gpu=0",
        &place.id(""),
    ]);
    let by_driver = place.expect(&[
        "run",
        "--gpu-config",
        text(&config),
        "--device",
        "amd.com/gpu=0",
        &place.id(""),
    ]);
    assert_eq!(by_file, by_driver);
    assert!(
        by_file.contains("/dev/kfd") && by_file.contains("renderD128"),
        "{by_file}"
    );
    let nothing = place.call(&[
        "gpu",
        "cdi",
        "generate",
        "--gpu-config",
        text(&config),
        "--hook",
        "/h",
    ]);
    assert!(
        err(&nothing).contains("no driver for nvidia.com/gpu"),
        "{}",
        err(&nothing)
    );
    let unknown = place.call(&["gpu", "cdi", "generate", "--kind", "v.com/c"]);
    assert!(
        err(&unknown).contains("allowed: nvidia.com/gpu, amd.com/gpu, intel.com/gpu"),
        "{}",
        err(&unknown)
    );
    assert!(err(&place.call(&["gpu", "show"])).contains("allowed: list, cdi generate"));
}
