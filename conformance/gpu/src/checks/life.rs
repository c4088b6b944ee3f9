//! What is left, what is found again, what fails.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::{Verdict, bad, good};
use crate::world::{Bundle, World, write};

pub(super) fn many(world: &World) -> Verdict {
    let judged = || {
        let dir = world.cdi()?.to_string_lossy().into_owned();
        let options = ["--cdi-spec-dir", &dir, "--device", "nvidia.com/gpu=0"];
        let bundles: Vec<Bundle> = (0..100)
            .map(|_| world.bundle("exec sleep 1000"))
            .collect::<Result<_, _>>()?;
        for batch in bundles.chunks(25) {
            let ended: Vec<Result<_, String>> = std::thread::scope(|scope| {
                let calls: Vec<_> = batch
                    .iter()
                    .map(|bundle| scope.spawn(|| world.with(bundle, "create", &options)))
                    .collect();
                calls
                    .into_iter()
                    .map(|call| call.join().unwrap_or_else(|_| Err("a call panicked".to_owned())))
                    .collect()
            });
            for ended in ended {
                good(ended?)?;
            }
        }
        for bundle in &bundles {
            good(world.call(&["delete", "--force", &bundle.id])?)?;
        }
        let left: Vec<String> = bundles
            .iter()
            .flat_map(|bundle| world.leftovers(bundle))
            .collect();
        if !left.is_empty() {
            return Err(format!("left behind by 100 creates: {left:?}"));
        }
        let killed = killed(world, &options)?;
        Ok(format!("100 creates, 25 at once, left nothing; {killed}"))
    };
    judged().into()
}

/// How many creates are killed.
const KILLS: u32 = 20;

/// Kills the runtime at moments spread over a create, deletes by force, and creates again.
fn killed(world: &World, options: &[&str]) -> Result<String, String> {
    let state = world.dir.join("state");
    let whole = a_create(world, options)?;
    let (mut begun, mut met) = (0_u32, 0_u32);
    for step in 0..KILLS {
        let bundle = world.bundle("exec sleep 1000")?;
        write(&bundle.dir.join("config.json"), &bundle.config.to_string())?;
        let mut child = Command::new(world.runtime())
            .arg("--root")
            .arg(&state)
            .args(["create", "--bundle"])
            .arg(&bundle.dir)
            .args(options)
            .arg(&bundle.id)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let moment = whole * step / KILLS;
        std::thread::sleep(moment);
        let _ = child.kill();
        let status = child.wait().map_err(|error| error.to_string())?;
        if status.signal() == Some(9) {
            begun += 1;
            met += u32::from(!world.leftovers(&bundle).is_empty());
        }
        good(world.call(&["delete", "--force", &bundle.id])?)?;
        let left = world.leftovers(&bundle);
        if !left.is_empty() {
            return Err(format!("killed after {} µs: {left:?}", moment.as_micros()));
        }
        good(world.with(&bundle, "create", options)?)?;
        good(world.call(&["delete", "--force", &bundle.id])?)?;
    }
    if met == 0 {
        return Err(format!(
            "no kill met anything: of {KILLS} creates that take {} µs {begun} were killed before their end, and none had \
             made a record or a cgroup",
            whole.as_micros()
        ));
    }
    Ok(format!(
        "{begun} of {KILLS} creates of {} µs were killed before their end, {met} with a record or a cgroup, and left nothing",
        whole.as_micros()
    ))
}

/// How long a whole create takes: the shortest of three, as kills after the end say nothing.
fn a_create(world: &World, options: &[&str]) -> Result<Duration, String> {
    let mut shortest = Duration::MAX;
    for _ in 0..3 {
        let bundle = world.bundle("exec sleep 1000")?;
        let ended = world.with(&bundle, "create", options)?;
        shortest = shortest.min(ended.took);
        good(ended)?;
        good(world.call(&["delete", "--force", &bundle.id])?)?;
    }
    Ok(shortest)
}

pub(super) fn failure(world: &World) -> Verdict {
    let judged = || {
        let dir = world.cdi()?.to_string_lossy().into_owned();
        let mut said = Vec::new();
        // A name that nobody offers, and a file of the driver's that is not there.
        let bundle = world.bundle("true")?;
        let ended = world.with(
            &bundle,
            "create",
            &["--cdi-spec-dir", &dir, "--device", "nvidia.com/gpu=9"],
        )?;
        said.push(bad(ended, &["nvidia.com/gpu=9", "nvidia.com/gpu=0"])?);
        let mut left = world.leftovers(&bundle);
        let device = json!({"name": "0", "containerEdits": {"mounts": [
            {"hostPath": "/there/is/none.so", "containerPath": "/usr/lib/none.so", "options": ["rbind", "ro"]}]}});
        let file = json!({"cdiVersion": "0.5.0", "kind": "v.com/m", "devices": [device]});
        let dir = world.cdi_file("m.yaml", &file)?.to_string_lossy().into_owned();
        let bundle = world.bundle("true")?;
        let ended = world.with(
            &bundle,
            "create",
            &["--cdi-spec-dir", &dir, "--device", "v.com/m=0"],
        )?;
        said.push(bad(ended, &["cdi v.com/m=0", "/there/is/none.so"])?);
        left.extend(world.leftovers(&bundle));
        if left.is_empty() {
            Ok(said.join("; "))
        } else {
            Err(format!("left behind: {left:?}"))
        }
    };
    judged().into()
}

pub(super) fn doctor(world: &World) -> Verdict {
    let judged = || {
        let dir = world.cdi()?.to_string_lossy().into_owned();
        let bundle = world.bundle("exec sleep 1000")?;
        let options = ["--cdi-spec-dir", &dir, "--device", "nvidia.com/gpu=0"];
        good(world.with(&bundle, "run --detach", &options)?)?;
        let well = good(world.call(&["doctor", &bundle.id])?)?;
        if !well.contains("nvidia.com/gpu=0") {
            return Err(format!("doctor does not know the device: {well:?}"));
        }
        let group = std::path::Path::new("/sys/fs/cgroup/devices").join(&bundle.id);
        let evidence = if group.join("devices.deny").exists() {
            // Behind the runtime's back, as the old hooks did it.
            std::fs::write(group.join("devices.deny"), "c 195:0 rw").map_err(|error| error.to_string())?;
            let ended = world.call(&["doctor", &bundle.id])?;
            if ended.good || !ended.out.contains("195:0") {
                return Err(format!(
                    "doctor does not see that 195:0 is denied: {:?} {:?}",
                    ended.out, ended.err
                ));
            }
            ended.out
        } else {
            "only the healthy container: no devices controller of version 1 here".to_owned()
        };
        good(world.call(&["delete", "--force", &bundle.id])?)?;
        Ok(evidence.trim().to_owned())
    };
    judged().into()
}
