//! Requests: who may ask in which way, what answers, what is refused.

use std::path::Path;

use fixtures::driver::Driver;
use serde_json::{Value, json};

use super::{OPEN, Verdict, bad, good, same};
use crate::world::{Ended, World, write};

const NONE: &str = "nvidia0=ENOENT nvidia1=ENOENT nvidiactl=ENOENT nvidia-uvm=ENOENT";
const FIRST: &str = "nvidia0=ENXIO nvidia1=ENOENT nvidiactl=ENXIO nvidia-uvm=ENXIO";
const SECOND: &str = "nvidia0=ENOENT nvidia1=ENXIO nvidiactl=ENXIO nvidia-uvm=ENXIO";
const BOTH: &str = "nvidia0=ENXIO nvidia1=ENXIO nvidiactl=ENXIO nvidia-uvm=ENXIO";

/// Runs a container with a variable and a configuration file; what it can open.
fn by_variable(world: &World, variables: &[&str], config: &Path, script: &str) -> Result<Ended, String> {
    let mut bundle = world.bundle(script)?;
    if let Some(env) = bundle.config["process"]["env"].as_array_mut() {
        env.extend(variables.iter().map(|line| json!(line)));
    }
    let config = config.to_string_lossy().into_owned();
    let ended = world.run(&bundle, &["--gpu-config", &config])?;
    if !ended.good {
        let left = world.leftovers(&bundle);
        if !left.is_empty() {
            return Err(format!("left behind: {left:?}"));
        }
    }
    Ok(ended)
}

/// Both sources of answers: a CDI file, and the driver itself.
fn sources(world: &World, lines: &str) -> Result<Vec<(&'static str, std::path::PathBuf)>, String> {
    let cdi = world.config(&format!("cdi-spec-dirs = [{:?}]\n{lines}\n", world.cdi()?))?;
    Ok(vec![("cdi", cdi), ("driver", world.driver_config(lines)?)])
}

pub(super) fn table(world: &World) -> Verdict {
    let judged = || {
        let uuid = Driver::uuid(1);
        let rows = [
            ("all", BOTH),
            ("none", NONE),
            ("void", NONE),
            ("", NONE),
            ("0", FIRST),
            ("1", SECOND),
            (uuid.as_str(), SECOND),
            ("0,1", BOTH),
            ("all,0", BOTH),
            ("nvidia.com/gpu=0", FIRST),
        ];
        for (source, config) in sources(world, "accept-env = \"always\"")? {
            for (value, expected) in &rows {
                let variable = format!("NVIDIA_VISIBLE_DEVICES={value}");
                let out = good(by_variable(world, &[&variable], &config, OPEN)?)?;
                same(&format!("{variable} by {source}"), &out, expected)?;
            }
            for value in ["7", "GPU-nobody", "0,,1"] {
                let variable = format!("NVIDIA_VISIBLE_DEVICES={value}");
                let missing = value.split(',').find(|name| *name != "0").unwrap_or_default();
                bad(by_variable(world, &[&variable], &config, "true")?, &[missing])?;
            }
        }
        let script = format!("{OPEN}; echo \"[$NVIDIA_VISIBLE_DEVICES]\"");
        let (_, config) = &sources(world, "accept-env = \"always\"")?[0];
        let out = good(by_variable(
            world,
            &["NVIDIA_VISIBLE_DEVICES=0"],
            config,
            &script,
        )?)?;
        same(
            "a second request inside is prevented",
            &out,
            &format!("{FIRST} [void]"),
        )?;
        Ok(format!(
            "{} values and 3 bad ones, by CDI file and by the driver; [void] inside",
            rows.len()
        ))
    };
    judged().into()
}

pub(super) fn old_image(world: &World) -> Verdict {
    let judged = || {
        let old = ["CUDA_VERSION=9.0"];
        for (lines, expected) in [
            ("", NONE),
            ("accept-env = \"never\"", NONE),
            ("accept-env = \"privileged\"", NONE),
            ("accept-env = \"always\"", BOTH),
        ] {
            for (source, config) in sources(world, lines)? {
                let out = good(by_variable(world, &old, &config, OPEN)?)?;
                same(&format!("{lines:?} by {source}"), &out, expected)?;
                let asks = ["NVIDIA_VISIBLE_DEVICES=all"];
                let out = good(by_variable(world, &asks, &config, OPEN)?)?;
                same(&format!("all, {lines:?} by {source}"), &out, expected)?;
            }
        }
        let file = world.config("accept-env = \"always\"\n")?;
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .map_err(|error| error.to_string())?;
        let path = file.to_string_lossy().into_owned();
        let said = bad(
            by_variable(world, &old, &file, "true")?,
            &[&path, "others may write it"],
        )?;
        Ok(format!("nothing unless always; a file of others: {said}"))
    };
    judged().into()
}

fn env_device(name: &str, value: &str) -> Value {
    json!({"name": name, "containerEdits": {"env": [format!("FOUND={value}")]}})
}

fn file(devices: &[Value]) -> String {
    json!({"cdiVersion": "0.5.0", "kind": "v.com/c", "devices": devices}).to_string()
}

pub(super) fn registry(world: &World) -> Verdict {
    let judged = || {
        let low = world.dir.join("registry/low");
        let high = world.dir.join("registry/high");
        write(
            &low.join("a.yaml"),
            &file(&[env_device("both", "low"), env_device("twice", "a")]),
        )?;
        write(
            &low.join("a.json"),
            &file(&[env_device("twice", "json"), env_device("json", "json")]),
        )?;
        write(&high.join("a.yaml"), &file(&[env_device("both", "high")]))?;
        write(&high.join("sub/x.yaml"), &file(&[env_device("sub", "sub")]))?;
        write(&high.join("x.txt"), "not read")?;
        write(&high.join("broken.yaml"), "cdiVersion: [")?;
        write(
            &high.join("unknown.json"),
            r#"{"cdiVersion":"0.5.0","kind":"v.com/u","devices":[],"extra":1}"#,
        )?;
        write(
            &high.join("old.yaml"),
            r#"{"cdiVersion":"0.3.0","kind":"v.com/o","devices":[{"name":"0","containerEdits":{"env":["A=b"]}}]}"#,
        )?;
        let (low, high) = (low.to_string_lossy(), high.to_string_lossy());
        let ask = |name: &str| {
            let bundle = world.bundle("echo $FOUND")?;
            world.run(
                &bundle,
                &[
                    "--cdi-spec-dir",
                    &low,
                    "--cdi-spec-dir",
                    "/nowhere",
                    "--cdi-spec-dir",
                    &high,
                    "--device",
                    name,
                ],
            )
        };
        same("priority", &good(ask("v.com/c=both")?)?, "high")?;
        same("json", &good(ask("v.com/c=json")?)?, "json")?;
        let faults = [
            format!("{high}/broken.yaml"),
            format!("{high}/unknown.json"),
            format!("{high}/old.yaml"),
            format!("{low}/a.yaml"),
            format!("{low}/a.json"),
        ];
        let mut words: Vec<&str> = faults.iter().map(String::as_str).collect();
        words.extend(["unresolvable CDI devices v.com/c=twice", "0.5.0"]);
        bad(ask("v.com/c=twice")?, &words)?;
        let said = bad(ask("v.com/c=sub")?, &["v.com/c=sub", "v.com/c=both"])?;
        nodes_that_are_none(world)?;
        Ok(said)
    };
    judged().into()
}

/// A link to a node, and a node that is not there.
fn nodes_that_are_none(world: &World) -> Result<(), String> {
    let link = world.dir.join("registry/link");
    std::os::unix::fs::symlink("/dev/null", &link).map_err(|error| error.to_string())?;
    for (path, word) in [
        (link.to_string_lossy().into_owned(), "is no device node"),
        ("/dev/there-is-none".to_owned(), "no device node"),
    ] {
        let device =
            json!({"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/x", "hostPath": path}]}});
        let dir = world.cdi_file(
            "x.yaml",
            &json!({"cdiVersion": "0.5.0", "kind": "v.com/c", "devices": [device]}),
        )?;
        let bundle = world.bundle("true")?;
        let dir = dir.to_string_lossy().into_owned();
        bad(
            world.run(&bundle, &["--cdi-spec-dir", &dir, "--device", "v.com/c=0"])?,
            &[&path, word],
        )?;
    }
    Ok(())
}

pub(super) fn hook_environment(world: &World) -> Verdict {
    let judged = || {
        let marker = world.dir.join("marker");
        let seen = world.dir.join("seen");
        let hook = world.dir.join("hook.sh");
        let text = format!(
            "#!/bin/sh\n[ -n \"$LD_PRELOAD\" ] && touch {}\nenv > {}\n",
            marker.display(),
            seen.display()
        );
        write(&hook, &text)?;
        std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(|error| error.to_string())?;
        let device = json!({"name": "0", "containerEdits": {"hooks": [
            {"hookName": "createContainer", "path": hook, "args": ["hook.sh"], "env": ["OWN=1"]}]}});
        let dir = world.cdi_file(
            "h.yaml",
            &json!({"cdiVersion": "0.5.0", "kind": "v.com/h", "devices": [device]}),
        )?;
        let mut bundle = world.bundle("true")?;
        bundle.config["process"]["env"] =
            json!(["PATH=/bin", "LD_PRELOAD=/proc/self/cwd/poc.so", "SECRET=1"]);
        let dir = dir.to_string_lossy().into_owned();
        good(world.run(&bundle, &["--cdi-spec-dir", &dir, "--device", "v.com/h=0"])?)?;
        let env = std::fs::read_to_string(&seen).map_err(|error| format!("the hook did not run: {error}"))?;
        if marker.exists() || env.contains("SECRET") || env.contains("LD_PRELOAD") || !env.contains("OWN=1") {
            return Err(format!("the hook's environment is {env:?}"));
        }
        Ok("the hook ran with its own environment, OWN=1, alone".to_owned())
    };
    judged().into()
}

pub(super) fn other_edits(world: &World) -> Verdict {
    let judged = || {
        let name = format!("gpuc{}", std::process::id() % 100_000);
        let ip = |words: &[&str]| {
            let ended = std::process::Command::new("ip").args(words).output();
            ended.is_ok_and(|ended| ended.status.success())
        };
        // What the kernel has: a dummy, or one end of a pair.
        let has_link = ip(&["link", "add", &name, "type", "dummy"])
            || ip(&[
                "link",
                "add",
                &name,
                "type",
                "veth",
                "peer",
                "name",
                &format!("{name}p"),
            ]);
        let mut edits = json!({"additionalGids": [44, 0, 109], "env": ["A=1"]});
        if has_link {
            edits["netDevices"] = json!([{"hostInterfaceName": name, "name": "gpu0"}]);
        }
        let device = json!({"name": "0", "containerEdits": edits});
        let dir = world.cdi_file(
            "n.yaml",
            &json!({"cdiVersion": "1.1.0", "kind": "v.com/n", "devices": [device]}),
        )?;
        let dir = dir.to_string_lossy().into_owned();
        let mut bundle = world.bundle("id -G; grep -c gpu0 /proc/net/dev; true")?;
        if let Some(namespaces) = bundle.config["linux"]["namespaces"].as_array_mut() {
            namespaces.push(json!({"type": "network"}));
        }
        let ended = world.run(&bundle, &["--cdi-spec-dir", &dir, "--device", "v.com/n=0"]);
        ip(&["link", "del", &name]);
        let out = good(ended?)?;
        if !out.starts_with("0 44 109") || has_link && !out.trim_end().ends_with('1') {
            return Err(format!("inside: {out:?}"));
        }
        let said = resctrl(world)?;
        let link = if has_link {
            "the link moved as gpu0"
        } else {
            "no link could be made here, so none was moved"
        };
        Ok(format!("groups 0 44 109; {link}; resctrl: {said}"))
    };
    judged().into()
}

/// A resctrl group, or the words where there can be none.
fn resctrl(world: &World) -> Result<String, String> {
    let device = json!({"name": "0", "containerEdits": {"intelRdt": {"closID": "gpu"}}});
    let dir = world.cdi_file(
        "r.yaml",
        &json!({"cdiVersion": "0.7.0", "kind": "v.com/r", "devices": [device]}),
    )?;
    let dir = dir.to_string_lossy().into_owned();
    let bundle = world.bundle("true")?;
    let rdt = world.run(&bundle, &["--cdi-spec-dir", &dir, "--device", "v.com/r=0"])?;
    let said = if Path::new("/sys/fs/resctrl/schemata").exists() {
        good(rdt).map(|_| "a resctrl group".to_owned())?
    } else {
        bad(rdt, &["cdi v.com/r=0", "linux.intelRdt"])?
    };
    Ok(said)
}

pub(super) fn other_vendors(world: &World) -> Verdict {
    let judged = || {
        let by_path = world.driver.dev_root().join("dev/dri/by-path");
        let gids = json!([44, 993]);
        let node = |name: &str, major, minor| world.node(name, major, minor);
        let amd = json!({"cdiVersion": "0.7.0", "kind": "amd.com/gpu", "devices": [{"name": "0", "containerEdits": {
            "deviceNodes": [node("kfd", 234, 0), node("dri/card1", 226, 1), node("dri/renderD128", 226, 128)],
            "additionalGids": gids}}]});
        let intel = json!({"cdiVersion": "0.7.0", "kind": "intel.com/gpu", "devices": [{"name": "card1", "containerEdits": {
            "deviceNodes": [node("dri/card1", 226, 1), node("dri/renderD128", 226, 128)],
            "mounts": [{"hostPath": by_path, "containerPath": "/dev/dri/by-path", "options": ["bind", "ro"]}]}}]});
        let script = "ls /dev /dev/dri; ls /dev/dri/by-path 2>/dev/null; id -G; for d in kfd dri/card1 dri/renderD128; do \
                      (true < /dev/$d) 2>&1 | grep -o 'such device or address\\|such file'; done";
        let mut evidence = Vec::new();
        for (file, name, wanted) in [
            (
                amd,
                "amd.com/gpu=0",
                &["kfd", "card1", "renderD128", "0 44 993", "such device or address"][..],
            ),
            (
                intel,
                "intel.com/gpu=card1",
                &["card1", "renderD128", "pci-0000:01:00.0-card", "such file"],
            ),
        ] {
            let dir = world.cdi_file("g.yaml", &file)?.to_string_lossy().into_owned();
            let bundle = world.bundle(script)?;
            let out = good(world.run(&bundle, &["--cdi-spec-dir", &dir, "--device", name])?)?;
            if let Some(word) = wanted.iter().find(|word| !out.contains(**word)) {
                return Err(format!("{name}: {word:?} is not in {out:?}"));
            }
            evidence.push(format!("{name}: {}", wanted.join(", ")));
        }
        Ok(evidence.join("; "))
    };
    judged().into()
}
