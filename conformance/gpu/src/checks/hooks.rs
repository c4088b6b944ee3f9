//! The hooks of NVIDIA's toolkit, done by the runtime and by the toolkit's own program: the image is the same afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use fixtures::driver::VERSION;
use fixtures::driver::rootfs::Variant;
use fixtures::picture::digest;
use serde_json::{Value, json};

use super::{Verdict, good};
use crate::world::{Bundle, World};

pub(super) fn same_tree(world: &World) -> Verdict {
    match world.hook_program() {
        None => Verdict::Skipped("needs the toolkit's program: --hook-program PATH".to_owned()),
        Some(program) => compare(world, program).into(),
    }
}

fn compare(world: &World, program: &Path) -> Result<String, String> {
    let mut evidence = Vec::new();
    for (name, variant) in [
        ("debian", Variant::Debian),
        ("lib64", Variant::Lib64),
        ("own-cuda", Variant::OwnCuda),
    ] {
        world.template(name, variant)?;
        let before = tree(&world.bundle_of(name, &["/bin/true"])?)?;
        let mut after = Vec::new();
        for native in ["on", "off"] {
            let mut bundle = world.bundle_of(name, &["/bin/true"])?;
            edit(world, &mut bundle.config, program)?;
            good(world.run(&bundle, &["--native-hooks", native])?)?;
            after.push(tree(&bundle)?);
        }
        let [native, program] = after.as_slice() else {
            return Err("two runs give two trees".to_owned());
        };
        let paths = native.keys().chain(program.keys());
        if let Some(path) = paths
            .into_iter()
            .find(|path| native.get(*path) != program.get(*path))
        {
            return Err(format!(
                "{name}: {path} is {:?} by the runtime, {:?} by the toolkit",
                native.get(path),
                program.get(path)
            ));
        }
        let changed = native
            .iter()
            .filter(|(path, what)| before.get(*path) != Some(*what));
        let changed: Vec<&str> = changed.map(|(path, _)| path.as_str()).collect();
        let has_driver =
            |what: &String| what.contains(&format!("libcuda.so.{VERSION}")) || what.contains("libcuda.so.1 ");
        let cache = native.get("etc/ld.so.cache");
        if !changed.contains(&"etc/ld.so.cache") || !cache.is_some_and(has_driver) {
            return Err(format!(
                "{name}: no loader cache with the driver's libraries: {cache:?}, changed: {changed:?}"
            ));
        }
        evidence.push(format!(
            "{name}: {} files, {} of them changed",
            native.len(),
            changed.len()
        ));
    }
    Ok(format!("the same trees; {}", evidence.join("; ")))
}

/// The driver's libraries, and the hooks for them.
fn edit(world: &World, config: &mut Value, program: &Path) -> Result<(), String> {
    let folder = format!("/{}", world.driver.library_dir());
    let source = world.driver.root().join(world.driver.library_dir());
    let fail = |error: io::Error| format!("{}: {error}", source.display());
    let mounts = config["mounts"]
        .as_array_mut()
        .ok_or("a configuration without mounts")?;
    for entry in fs::read_dir(&source).map_err(fail)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains(".so.") && entry.file_type().map_err(fail)?.is_file() {
            mounts.push(
                json!({"destination": format!("{folder}/{name}"), "type": "bind", "source": entry.path(),
                "options": ["ro", "nosuid", "nodev", "rbind", "rprivate"]}),
            );
        }
    }
    let hook = |words: &[&str]| {
        let args: Vec<&str> = ["nvidia-cdi-hook"]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        json!({"path": program, "args": args})
    };
    config["hooks"]["createContainer"] = json!([
        hook(&[
            "create-symlinks",
            &format!("--link=libcuda.so.1::{folder}/libcuda.so"),
            &format!("--link=../libcuda.so.1::{folder}/deep/er/libcuda.so")
        ]),
        hook(&["enable-cuda-compat", &format!("--host-driver-version={VERSION}")]),
        hook(&[
            "update-ldcache",
            &format!("--folder={folder}"),
            "--folder=/opt/nothing/here"
        ]),
        hook(&["disable-device-node-modification"]),
    ]);
    Ok(())
}

/// What lies in a bundle's root file system: kind, mode and content of each path.
fn tree(bundle: &Bundle) -> Result<BTreeMap<String, String>, String> {
    let root = bundle.dir.join("rootfs");
    let mut found = BTreeMap::new();
    walk(&root, &root, &mut found).map_err(|error| format!("{}: {error}", root.display()))?;
    Ok(found)
}

fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let facts = path.symlink_metadata()?;
        let mode = facts.permissions().mode();
        let what = if facts.is_symlink() {
            format!("link to {}", path.read_link()?.display())
        } else if path.ends_with("etc/ld.so.cache") {
            format!("mode {mode:o}, {}", libraries(root, &path)?)
        } else if facts.is_file() {
            let content = fs::read(&path)?;
            format!(
                "mode {mode:o}, {} bytes, {:016x}",
                content.len(),
                digest(&content)
            )
        } else {
            format!("mode {mode:o}")
        };
        if facts.is_dir() {
            walk(root, &path, found)?;
        }
        let below = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        // The toolkit mounts its ldconfig there, and leaves folders.
        if below.starts_with("run/nvidia-ctk-hook") {
            continue;
        }
        // The toolkit draws a part of this name.
        let below = match below.split_once("-nvcr-") {
            Some((before, _)) => format!("{before}-nvcr-*"),
            None => below,
        };
        found.insert(below, what);
    }
    Ok(())
}

/// What a loader cache has, in its order. The rest of it is who wrote it. Folders are told by where they are: the toolkit
/// puts the system's folders before those that ld.so.conf lists behind its includes, and so /lib64 before /usr/lib64, which
/// may be one.
fn libraries(root: &Path, cache: &Path) -> io::Result<String> {
    let printed = Command::new("/sbin/ldconfig")
        .arg("-p")
        .arg("-C")
        .arg(cache)
        .output()?;
    let text = String::from_utf8_lossy(&printed.stdout);
    let line = |line: &str| {
        let (name, path) = line.split_once(" => ")?;
        let path = Path::new(path);
        let folder = root
            .join(path.parent()?.strip_prefix("/").ok()?)
            .canonicalize()
            .ok()?;
        let place = folder.strip_prefix(root).ok()?.join(path.file_name()?);
        Some(format!("{name} => {}", place.display()))
    };
    let lines = text.lines().filter(|line| line.starts_with('\t'));
    let lines = lines.map(|text| line(text).unwrap_or_else(|| text.to_owned()));
    Ok(lines.collect::<Vec<_>>().join("; "))
}
