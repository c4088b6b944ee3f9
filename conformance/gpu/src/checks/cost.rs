//! What devices cost: create with two GPUs against create without, in turns, and beside peers that have a toolkit's
//! program execute the hooks. What a busy machine takes too long for is told and not judged.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{Verdict, good};
use crate::world::{Bundle, World};

const ROUNDS: usize = 15;
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";
/// What a file of NVIDIA's toolkit 1.20 names for two GPUs: 7 links by three hooks, and three more hooks.
const HOOKS: [&[&str]; 6] = [
    &[
        "create-symlinks",
        "--link=libstub0.so::/usr/lib/x86_64-linux-gnu/libstub0.so.1",
        "--link=libstub1.so::/usr/lib/x86_64-linux-gnu/libstub1.so.1",
        "--link=libstub2.so::/usr/lib/x86_64-linux-gnu/libstub2.so.1",
    ],
    &[
        "create-symlinks",
        "--link=libstub3.so::/usr/lib/x86_64-linux-gnu/libstub3.so.1",
        "--link=libstub4.so::/usr/lib/x86_64-linux-gnu/libstub4.so.1",
    ],
    &[
        "create-symlinks",
        "--link=libstub5.so::/usr/lib/x86_64-linux-gnu/libstub5.so.1",
        "--link=libstub6.so::/usr/lib/x86_64-linux-gnu/libstub6.so.1",
    ],
    &["enable-cuda-compat", "--host-driver-version=580.65.06"],
    &["update-ldcache", "--folder=/usr/lib/x86_64-linux-gnu"],
    &["disable-device-node-modification"],
];
/// One of the links, without which the hooks did nothing.
const LINK: &str = "usr/lib/x86_64-linux-gnu/libstub6.so.1";

/// How much more than without GPUs a create may take, ms.
const MORE: f64 = 10.0;
/// How much of a peer's time it may take.
const PART: f64 = 0.5;
/// One measurement may be disturbed.
const TRIES: u32 = 3;

pub(super) fn latency(world: &World) -> Verdict {
    let mut verdict = Verdict::Skipped("not measured".to_owned());
    for _ in 0..TRIES {
        verdict = match measure(world) {
            Ok((told, None)) => return Verdict::Passed(told),
            Ok((told, Some(wrong))) => judge(told, &wrong),
            Err(error) => return Verdict::Failed(error),
        };
    }
    verdict
}

/// What took too long, on a machine with or without other work.
fn judge(told: String, wrong: &str) -> Verdict {
    // Of the last minute, and at this moment.
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut words = load.split([' ', '/']);
    let mut number =
        |place: usize| -> f64 { words.nth(place).and_then(|word| word.parse().ok()).unwrap_or(0.0) };
    let (minute, moment) = (number(0), number(2));
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
    if minute > processors || moment > processors {
        return Verdict::Skipped(format!(
            "{wrong}, on a machine with other work (load {minute}, now {moment}, {processors} processors); {told}"
        ));
    }
    Verdict::Failed(format!("{wrong}; {told}"))
}

/// The figures, and what of them is too much.
fn measure(world: &World) -> Result<(String, Option<String>), String> {
    let hooks = hooks(
        world
            .hook_program()
            .unwrap_or(Path::new("/usr/bin/nvidia-cdi-hook")),
    );
    let file = json!({"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [{"name": "all",
        "containerEdits": {"deviceNodes": nodes(world), "mounts": mounts(world), "hooks": hooks
            .iter()
            .map(|hook| {
                let mut hook = hook.clone();
                hook["hookName"] = "createContainer".into();
                hook
            })
            .collect::<Vec<_>>()}}]});
    let dir = world.cdi_file("all.yaml", &file)?.to_string_lossy().into_owned();
    let with = ["--cdi-spec-dir", dir.as_str(), "--device", "nvidia.com/gpu=all"];
    let bundle = world.bundle("exec sleep 1000")?;
    // For those that know no CDI: the same, written into the configuration, as engines do.
    let mut edited = world.bundle("exec sleep 1000")?;
    edit(world, &mut edited.config, hooks);
    let mut times = vec![(String::new(), Vec::new()); 2 + world.peers().len()];
    times[0].0 = "plain".into();
    times[1].0 = "2 GPUs, 26 mounts, 7 links, the loader cache".into();
    for _ in 0..ROUNDS {
        times[0].1.push(create(world, None, &bundle, &[])?);
        times[1].1.push(create(world, None, &bundle, &with)?);
        linked(&bundle, "by CDI")?;
        for (index, (name, peer)) in world.peers().iter().enumerate() {
            times[2 + index].0 = format!("the same by {name} and six hooks");
            times[2 + index].1.push(create(world, Some(peer), &edited, &[])?);
            linked(&edited, name)?;
        }
    }
    let medians: Vec<f64> = times.iter().map(|(_, times)| median(times.clone())).collect();
    let (plain, gpu) = (medians[0], medians[1]);
    let mut told = vec![format!("median of {ROUNDS} creates, ms")];
    for ((name, _), median) in times.iter().zip(&medians) {
        told.push(format!("{name} {median:.1}"));
    }
    told.push(format!("more than plain {:.1} (allowed {MORE:.0})", gpu - plain));
    let mut wrong =
        (gpu - plain > MORE).then(|| format!("{:.1} ms more than plain, allowed {MORE:.0}", gpu - plain));
    for ((name, _), median) in world.peers().iter().zip(medians.iter().skip(2)) {
        let part = gpu / median;
        told.push(format!("{part:.2} times {name} (allowed {PART})"));
        if part > PART {
            wrong = Some(format!("{part:.2} times {name}, allowed {PART}"));
        }
    }
    if world.peers().is_empty() {
        told.push("beside no other runtime: --peer".to_owned());
    }
    Ok((told.join("; "), wrong))
}

fn hooks(program: &Path) -> Vec<Value> {
    HOOKS
        .iter()
        .map(|words| {
            let mut args = vec!["nvidia-cdi-hook"];
            args.extend(*words);
            json!({"path": program, "args": args})
        })
        .collect()
}

fn mounts(world: &World) -> Vec<Value> {
    (0..26)
        .map(|number| {
            json!({"hostPath": source(world), "containerPath": library(number),
                "options": ["ro", "nosuid", "nodev", "rbind", "rprivate"]})
        })
        .collect()
}

fn source(world: &World) -> String {
    format!("{}/usr/bin/nvidia-smi", world.driver.root().display())
}

fn library(number: u32) -> String {
    format!("{LIBRARIES}/libstub{number}.so")
}

const NODES: [(&str, u32, u32); 5] = [
    ("nvidia0", 195, 0),
    ("nvidia1", 195, 1),
    ("nvidiactl", 195, 255),
    ("nvidia-uvm", 510, 0),
    ("nvidia-uvm-tools", 510, 1),
];

fn nodes(world: &World) -> Vec<Value> {
    NODES
        .iter()
        .map(|(name, major, minor)| world.node(name, *major, *minor))
        .collect()
}

fn edit(world: &World, config: &mut Value, hooks: Vec<Value>) {
    let add = |place: &mut Value, value: Value| match place.as_array_mut() {
        Some(list) => list.push(value),
        None => *place = json!([value]),
    };
    for number in 0..26 {
        add(
            &mut config["mounts"],
            json!({"destination": library(number), "type": "bind", "source": source(world),
            "options": ["ro", "nosuid", "nodev", "rbind", "rprivate"]}),
        );
    }
    for (name, major, minor) in NODES {
        add(
            &mut config["linux"]["devices"],
            json!({"path": format!("/dev/{name}"), "type": "c", "major": major,
            "minor": minor, "fileMode": 0o666}),
        );
        add(
            &mut config["linux"]["resources"]["devices"],
            json!({"allow": true, "type": "c", "major": major,
            "minor": minor, "access": "rwm"}),
        );
    }
    config["hooks"]["createContainer"] = hooks.into();
}

/// Whether the hooks did their work; takes it back, so that the next create has it to do again.
fn linked(bundle: &Bundle, by: &str) -> Result<(), String> {
    let link = bundle.dir.join("rootfs").join(LINK);
    std::fs::remove_file(&link).map_err(|error| format!("{by}: no link {LINK} was made: {error}"))
}

/// The time of a create, by the runtime or a peer.
fn create(world: &World, peer: Option<&Path>, bundle: &Bundle, options: &[&str]) -> Result<f64, String> {
    let ended = match peer {
        None => world.with(bundle, "create", options)?,
        Some(peer) => world.with_by(Command::new(peer), bundle, "create", options)?,
    };
    let took = ended.took.as_secs_f64() * 1000.0;
    good(ended)?;
    let words = ["delete", "--force", &bundle.id];
    good(match peer {
        None => world.call(&words)?,
        Some(peer) => world.call_by(Command::new(peer), &words)?,
    })?;
    Ok(took)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
