//! Device rules: what may be opened, seen from inside.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::json;

use super::{OPEN, Verdict, bad, good, same};
use crate::world::{Bundle, World};

const ONE: &str = "nvidia0=ENXIO nvidia1=ENOENT nvidiactl=ENXIO nvidia-uvm=ENXIO";

fn options<'a>(dir: &'a str, name: &'a str) -> [&'a str; 4] {
    ["--cdi-spec-dir", dir, "--device", name]
}

pub(super) fn one_of_two(world: &World) -> Verdict {
    let judged = || {
        let dir = world.cdi()?.to_string_lossy().into_owned();
        let script = format!("{OPEN}; mknod /dev/nvidia1 c 195 1; {OPEN}");
        let bundle = world.bundle(&script)?;
        let out = good(world.run(&bundle, &options(&dir, "nvidia.com/gpu=0"))?)?;
        let expected = format!("{ONE} {}", ONE.replace("nvidia1=ENOENT", "nvidia1=EPERM"));
        same("with one GPU, then with a node of the other", &out, &expected)?;
        // The host's devices cgroup must be what forbids, so the node of both is tried with both.
        let bundle = world.bundle(OPEN)?;
        let both = good(world.run(&bundle, &options(&dir, "nvidia.com/gpu=all"))?)?;
        same(
            "with both GPUs",
            &both,
            &ONE.replace("nvidia1=ENOENT", "nvidia1=ENXIO"),
        )?;
        Ok(out.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    judged().into()
}

fn running(world: &World, verb: &str) -> Result<Bundle, String> {
    let dir = world.cdi()?.to_string_lossy().into_owned();
    let bundle = world.bundle("exec sleep 1000")?;
    good(world.with(&bundle, verb, &options(&dir, "nvidia.com/gpu=0"))?)?;
    Ok(bundle)
}

fn opened(world: &World, bundle: &Bundle) -> Result<String, String> {
    good(world.call(&["exec", &bundle.id, "/bin/sh", "-c", OPEN])?)
}

fn gone(world: &World, bundle: &Bundle) -> Result<(), String> {
    good(world.call(&["delete", "--force", &bundle.id])?).map(drop)
}

pub(super) fn exec(world: &World) -> Verdict {
    let judged = || {
        let bundle = running(world, "run --detach")?;
        let found = opened(world, &bundle)?;
        same("by exec", &found, ONE)?;
        let library = format!(
            "/{}/libcuda.so.{}",
            world.driver.library_dir(),
            fixtures::driver::VERSION
        );
        good(world.call(&["exec", &bundle.id, "ls", &library])?)?;
        let made = "mknod /dev/nvidia1 c 195 1; (true < /dev/nvidia1) 2>&1";
        let other = world.call(&["exec", &bundle.id, "/bin/sh", "-c", made])?;
        gone(world, &bundle)?;
        if !other.out.contains("not permitted") && !other.err.contains("not permitted") {
            return Err(format!(
                "the other GPU can be opened by exec: {}{}",
                other.out, other.err
            ));
        }
        Ok(found.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    judged().into()
}

pub(super) fn update(world: &World) -> Verdict {
    let judged = || {
        let bundle = running(world, "run --detach")?;
        let mut steps = Vec::new();
        for words in [
            &["update", "--pids-limit", "500"][..],
            &["update", "--cpu-share", "512"],
            &["pause"],
            &["resume"],
        ] {
            let ended = world.call(&[words, &[&bundle.id]].concat())?;
            if !ended.good && ended.err.contains("cgroup") && ended.err.contains("controller") {
                steps.push(format!("{} not possible here", words.join(" ")));
                continue;
            }
            good(ended)?;
            if words[0] != "pause" {
                same(&words.join(" "), &opened(world, &bundle)?, ONE)?;
            }
            steps.push(words.join(" "));
        }
        // Refused whatever CRIU can do: images have no place there.
        let refused = ["checkpoint", "--image-path", "/dev/null/images", &bundle.id];
        bad(world.call(&refused)?, &[])?;
        same("after a refused checkpoint", &opened(world, &bundle)?, ONE)?;
        gone(world, &bundle)?;
        Ok(format!(
            "{ONE} after each of: {}, checkpoint (refused)",
            steps.join(", ")
        ))
    };
    judged().into()
}

pub(super) fn stale(world: &World) -> Verdict {
    let judged = || {
        let node = world.node("nvidia-uvm", 499, 0);
        let path = node["hostPath"].as_str().unwrap_or_default().to_owned();
        let spec = json!({"cdiVersion": "0.5.0", "kind": "v.com/c",
            "devices": [{"name": "a", "containerEdits": {"deviceNodes": [node]}}]});
        let dir = world.cdi_file("old.yaml", &spec)?.to_string_lossy().into_owned();
        let bundle = world.bundle("true")?;
        let file = format!("{dir}/old.yaml");
        let words = [file.as_str(), path.as_str(), "499:0", "510:0"];
        let said = bad(
            world.with(&bundle, "create", &options(&dir, "v.com/c=a"))?,
            &words,
        )?;
        match world.leftovers(&bundle).as_slice() {
            [] => Ok(said),
            left => Err(format!("left behind: {left:?}")),
        }
    };
    judged().into()
}

/// Some user that no host gives more than it gives to everybody.
const USER: u32 = 54_321;

pub(super) fn rootless(world: &World) -> Verdict {
    let place = world.dir.join("rootless");
    let judged = || {
        let fail = |error: std::io::Error| error.to_string();
        let mut bundle = world.bundle(OPEN)?;
        std::fs::create_dir_all(place.join("state")).map_err(fail)?;
        bundle.config["process"]["capabilities"] = json!(null);
        bundle.config["linux"] = json!({
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "user"}],
            "uidMappings": [{"containerID": 0, "hostID": USER, "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": USER, "size": 1}]});
        crate::world::write(&bundle.dir.join("config.json"), &bundle.config.to_string())?;
        let program = place.join("program");
        // By another process: whoever forks meanwhile would hold it open for writing.
        Command::new("cp")
            .arg(world.runtime())
            .arg(&program)
            .status()
            .map_err(fail)?;
        let owned = Command::new("chown")
            .arg("-R")
            .arg(format!("{USER}:{USER}"))
            .arg(&bundle.dir)
            .status()
            .map_err(fail)?;
        if !owned.success() {
            return Err(format!("chown: {owned}"));
        }
        chown(place.join("state"), Some(USER), Some(USER)).map_err(fail)?;
        let dir = world.cdi()?.to_string_lossy().into_owned();
        let mut command = Command::new(&program);
        command.uid(USER).gid(USER).env("HOME", "/");
        let state = place.join("state").to_string_lossy().into_owned();
        let bundle_dir = bundle.dir.to_string_lossy().into_owned();
        let mut words = vec!["--root", &state, "run", "--bundle", &bundle_dir];
        let asked = options(&dir, "nvidia.com/gpu=0");
        words.extend(asked);
        words.push(&bundle.id);
        let ended = world.call_by(command, &words)?;
        if ended.err.contains("max_user_namespaces") {
            return Ok("SKIPPED this host has no user namespaces for users".to_owned());
        }
        let said = ended.err.clone();
        let out = good(ended)?;
        same("as user 54321", &out, ONE)?;
        if !said.contains("device rules are not enforced") {
            return Err(format!("nothing is said about device rules: {said:?}"));
        }
        Ok(format!("{ONE}; said: {}", said.trim()))
    };
    match judged() {
        Ok(text) if text.starts_with("SKIPPED ") => Verdict::Skipped(text["SKIPPED ".len()..].to_owned()),
        other => other.into(),
    }
}
