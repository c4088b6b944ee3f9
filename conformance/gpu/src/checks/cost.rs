//! What devices cost: create with two GPUs against create without, in turns. Figures, no judgement of a busy machine's.

use std::time::Instant;

use serde_json::json;

use super::{Verdict, good};
use crate::world::{Bundle, World};

const ROUNDS: usize = 15;

pub(super) fn latency(world: &World) -> Verdict {
    let judged = || {
        let mounts: Vec<_> = (0..26)
            .map(|number| {
                json!({"hostPath": format!("{}/usr/bin/nvidia-smi", world.driver.root().display()),
                    "containerPath": format!("/usr/lib/x86_64-linux-gnu/libstub{number}.so"),
                    "options": ["ro", "nosuid", "nodev", "rbind", "rprivate"]})
            })
            .collect();
        let links: Vec<String> = (0..7)
            .flat_map(|number| {
                [
                    "--link".to_owned(),
                    format!("libstub{number}.so::/usr/lib/x86_64-linux-gnu/libstub{number}.so.1"),
                ]
            })
            .collect();
        let hook = |words: Vec<String>| {
            let mut args = vec!["nvidia-cdi-hook".to_owned()];
            args.extend(words);
            json!({"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook", "args": args})
        };
        let mut linking = vec!["create-symlinks".to_owned()];
        linking.extend(links);
        let cache = ["update-ldcache", "--folder", "/usr/lib/x86_64-linux-gnu"]
            .map(str::to_owned)
            .to_vec();
        let nodes: Vec<_> = [
            ("nvidia0", 195, 0),
            ("nvidia1", 195, 1),
            ("nvidiactl", 195, 255),
            ("nvidia-uvm", 510, 0),
            ("nvidia-uvm-tools", 510, 1),
        ]
        .into_iter()
        .map(|(name, major, minor)| world.node(name, major, minor))
        .collect();
        let file = json!({"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [{"name": "all",
            "containerEdits": {"deviceNodes": nodes, "mounts": mounts, "hooks": [hook(linking), hook(cache)]}}]});
        let dir = world.cdi_file("all.yaml", &file)?.to_string_lossy().into_owned();
        let with = ["--cdi-spec-dir", dir.as_str(), "--device", "nvidia.com/gpu=all"];
        let bundle = world.bundle("exec sleep 1000")?;
        let (mut plain, mut gpu) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            plain.push(create(world, &bundle, &[])?);
            gpu.push(create(world, &bundle, &with)?);
        }
        let (plain, gpu) = (median(plain), median(gpu));
        Ok(format!(
            "median of {ROUNDS} creates: plain {plain:.1} ms, 2 GPUs, 26 mounts, 7 links and the loader cache {gpu:.1} ms, \
             {:.1} ms more",
            gpu - plain
        ))
    };
    judged().into()
}

fn create(world: &World, bundle: &Bundle, options: &[&str]) -> Result<f64, String> {
    let begin = Instant::now();
    good(world.with(bundle, "create", options)?)?;
    let took = begin.elapsed().as_secs_f64() * 1000.0;
    good(world.call(&["delete", "--force", &bundle.id])?)?;
    Ok(took)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
