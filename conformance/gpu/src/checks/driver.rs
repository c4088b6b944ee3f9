//! The driver without a CDI file: what a container gets of it, and how.

use std::path::Path;

use fixtures::driver::VERSION;
use fixtures::driver::rootfs::{OWN_CUDA, Variant};
use serde_json::json;

use super::{Verdict, bad, good, same};
use crate::world::{Bundle, Ended, World};

/// Runs a program with all GPUs of the driver.
pub(super) fn run(world: &World, bundle: &mut Bundle, variables: &[&str]) -> Result<Ended, String> {
    run_with(world, bundle, &world.driver_config("")?, variables)
}

/// The same with the driver that this configuration file names.
pub(super) fn run_with(
    world: &World,
    bundle: &mut Bundle,
    config: &Path,
    variables: &[&str],
) -> Result<Ended, String> {
    if let Some(env) = bundle.config["process"]["env"].as_array_mut() {
        env.extend(variables.iter().map(|line| json!(line)));
    }
    let config = config.to_string_lossy();
    world.run(
        bundle,
        &["--gpu-config", &config, "--device", "nvidia.com/gpu=all"],
    )
}

fn script(world: &World, text: &str, variables: &[&str]) -> Result<Ended, String> {
    run(world, &mut world.bundle(text)?, variables)
}

pub(super) fn loader(world: &World) -> Verdict {
    let judged = || {
        let mut evidence = Vec::new();
        for (name, variant, read_only) in [
            ("debian", Variant::Debian, false),
            ("debian", Variant::Debian, true),
            ("lib64", Variant::Lib64, false),
            ("distroless", Variant::Distroless, false),
            ("own-cuda", Variant::OwnCuda, false),
        ] {
            world.template(name, variant)?;
            let mut bundle = world.bundle_of(name, &["/usr/bin/payload"])?;
            bundle.config["root"]["readonly"] = json!(read_only);
            let ended = run(world, &mut bundle, &[])?;
            same(
                &format!("{name}, {}", ended.err),
                &ended.out,
                "dlopen=ok ver=13000",
            )?;
            evidence.push(format!("{name}{}", if read_only { " (read-only)" } else { "" }));
            // The image has one of its own, or none, as long as nothing is mounted.
            let bundle = world.bundle_of(name, &["/usr/bin/payload"])?;
            let alone = world.run(&bundle, &[])?.out;
            let expected = match variant {
                Variant::OwnCuda => format!("ver={OWN_CUDA}"),
                _ => "dlopen=libcuda".to_owned(),
            };
            if !alone.contains(&expected) {
                return Err(format!("{name} without a GPU prints {alone:?}"));
            }
        }
        Ok(format!("dlopen=ok ver=13000 in {}", evidence.join(", ")))
    };
    judged().into()
}

/// The lines of mountinfo: root, place, options.
fn mount_lines(text: &str) -> Vec<(String, String, String)> {
    let fields = |line: &str| {
        let mut words = line.split(' ').skip(3).map(str::to_owned);
        Some((words.next()?, words.next()?, words.next()?))
    };
    text.lines().filter_map(fields).collect()
}

/// Tries to change each file of the driver.
const ATTACK: &str = "for f in $(grep /driver/ /proc/self/mountinfo | cut -d' ' -f5); do \
     chmod 777 $f 2>/dev/null && echo CHANGED $f; rm -f $f 2>/dev/null && echo REMOVED $f; \
     (echo x >> $f) 2>/dev/null && echo WRITTEN $f; done; true";

pub(super) fn mounts(world: &World) -> Verdict {
    let judged = || {
        let out = good(script(
            world,
            &format!("cat /proc/self/mountinfo; {ATTACK}"),
            &[],
        )?)?;
        let root = world.driver.root();
        let mut count = 0;
        for (source, place, options) in mount_lines(&out) {
            let Some((_, below)) = source.split_once("/driver/") else {
                continue;
            };
            count += 1;
            if root.join(below).is_dir() {
                return Err(format!("{below} is a directory, mounted at {place}"));
            }
            let wanted: &[&str] = match below.ends_with("socket") {
                true => &["nosuid", "nodev", "noexec"],
                false => &["ro", "nosuid", "nodev"],
            };
            let has = |word: &str| options.split(',').any(|found| found == word);
            if let Some(missing) = wanted.iter().find(|word| !has(word)) {
                return Err(format!("{place}: {missing} is not in {options}"));
            }
        }
        let changed = |line: &&str| {
            let words = ["CHANGED", "REMOVED", "WRITTEN"];
            words.iter().any(|word| line.starts_with(word)) && !line.contains("socket")
        };
        if let Some(line) = out.lines().find(changed) {
            return Err(format!("from inside: {line}"));
        }
        if count < 20 {
            return Err(format!("only {count} files of the driver are mounted"));
        }
        Ok(format!(
            "{count} mounts of single files; chmod, unlink and write fail in all"
        ))
    };
    judged().into()
}

pub(super) fn capabilities(world: &World) -> Verdict {
    let judged = || {
        let names = [
            "libcuda.so.",
            "libnvidia-ml.so.",
            "nvidia-smi",
            "libnvidia-glcore",
        ];
        let list = format!("ls /{} /usr/bin", world.driver.library_dir());
        let rows = [
            ("utility", &[1, 2][..]),
            ("compute", &[0]),
            ("compute,utility", &[0, 1, 2]),
            ("", &[0, 1, 2]),
            ("all", &[0, 1, 2, 3]),
        ];
        for (value, expected) in rows {
            let variable = format!("NVIDIA_DRIVER_CAPABILITIES={value}");
            let out = good(script(world, &list, &[&variable])?)?;
            for (number, name) in names.iter().enumerate() {
                if out.contains(name) != expected.contains(&number) {
                    return Err(format!("{variable}: {name} is there: {}", out.contains(name)));
                }
            }
        }
        let wrong = ["NVIDIA_DRIVER_CAPABILITIES=utility,magic"];
        let said = bad(script(world, "true", &wrong)?, &["magic"])?;
        Ok(format!("{} values; {said}", rows.len()))
    };
    judged().into()
}

pub(super) fn requirements(world: &World) -> Verdict {
    let judged = || {
        let asks = "NVIDIA_REQUIRE_DRIVER=driver>=1000";
        let mut bundle = world.bundle("true")?;
        let said = bad(run(world, &mut bundle, &[asks])?, &["driver>=1000", VERSION])?;
        let left = world.leftovers(&bundle);
        if !left.is_empty() {
            return Err(format!("left behind: {left:?}"));
        }
        good(script(world, "true", &[asks, "NVIDIA_DISABLE_REQUIRE=1"])?)?;
        let either = "NVIDIA_REQUIRE_CUDA=driver>=1000 driver>=999";
        good(script(world, "true", &[either])?)?;
        Ok(said)
    };
    judged().into()
}

pub(super) fn params(world: &World) -> Verdict {
    let judged = || {
        let file = "proc/driver/nvidia/params";
        let host = world.driver.proc_root().join("driver/nvidia/params");
        let read = |path: &Path| {
            std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let before = read(&host)?;
        let text = format!(
            "cat /{file}; (echo x > /{file}) 2>/dev/null && echo WRITTEN; rm -f /{file} 2>/dev/null && echo REMOVED; true"
        );
        let mut bundle = world.bundle(&text)?;
        // The fixture's procfs stands for the host's, and a file of the image for what procfs would show inside: without
        // the driver's module no procfs has that file.
        let inside = bundle.dir.join("rootfs").join(file);
        crate::world::write(&inside, &before)?;
        if let Some(mounts) = bundle.config["mounts"].as_array_mut() {
            mounts.retain(|mount| mount["destination"] != "/proc");
        }
        let expected = before.replace("ModifyDeviceFiles: 1", "ModifyDeviceFiles: 0");
        same("inside", &good(run(world, &mut bundle, &[])?)?, &expected)?;
        if expected == before || read(&host)? != before || read(&inside)? != before {
            return Err(format!(
                "what lies below the cover was changed: {:?}, {:?}",
                read(&host)?,
                read(&inside)?
            ));
        }
        Ok(
            "inside ModifyDeviceFiles: 0, and neither written nor removed; the files below it as before"
                .to_owned(),
        )
    };
    judged().into()
}
