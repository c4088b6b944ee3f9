//! What the runtime makes of a driver, beside what NVIDIA's toolkit makes of it: the links in a container, and the CDI
//! file. The toolkit's program is called where it is given; otherwise its stored result speaks for it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use fixtures::driver::edits::{Facts, by_toolkit, facts, links, stored};
use fixtures::driver::rootfs::Variant;
use fixtures::driver::{Driver, Shape};

use super::driver::run_with;
use super::{Verdict, good};
use crate::world::World;

/// Shapes of drivers, and images of the same kind.
const SHAPES: [(Shape, &str, Variant); 2] = [
    (Shape::Debian, "debian", Variant::Debian),
    (Shape::Lib64, "lib64", Variant::Lib64),
];

/// What the toolkit says of a driver.
fn oracle(world: &World, driver: &Driver, shape: Shape) -> Result<Facts, String> {
    match world.toolkit() {
        Some(program) => {
            let file = by_toolkit(program, driver).map_err(|error| error.to_string())?;
            Ok(facts(&file, driver))
        }
        None => stored(shape).ok_or_else(|| format!("nothing is stored for {shape:?}")),
    }
}

fn whose(world: &World) -> String {
    match world.toolkit() {
        Some(program) => format!("{} cdi generate --mode=nvml", program.display()),
        None => "the stored result of nvidia-ctk 1.20 (for the program itself: --toolkit PATH)".to_owned(),
    }
}

pub(super) fn same_file(world: &World) -> Verdict {
    let judged = || {
        let mut counts = Vec::new();
        for (shape, name, _) in SHAPES {
            let driver = world.driver_of(shape)?;
            let config = world.config_of(&driver, "")?.to_string_lossy().into_owned();
            let out = good(world.call(&["gpu", "cdi", "generate", "--gpu-config", &config])?)?;
            let file = serde_json::from_str(&out).map_err(|error| format!("{name}: {error} in {out:?}"))?;
            let (ours, theirs) = (facts(&file, &driver), oracle(world, &driver, shape)?);
            differ(&format!("{name}: sentences of the CDI file"), &ours, &theirs)?;
            counts.push(format!("{name}: {} sentences", ours.len()));
        }
        Ok(format!(
            "nodes, libraries, variables, hooks as by {}; {}; left out: /dev/dri and parts of GPUs",
            whose(world),
            counts.join("; ")
        ))
    };
    judged().into()
}

pub(super) fn same_links(world: &World) -> Verdict {
    let judged = || {
        let mut counts = Vec::new();
        for (shape, name, variant) in SHAPES {
            let driver = world.driver_of(shape)?;
            world.template(name, variant)?;
            let mut bundle = world.bundle_of(name, &["/bin/true"])?;
            let root = bundle.dir.join("rootfs");
            let before = links_in(&root)?;
            let config = world.config_of(&driver, "")?;
            good(run_with(world, &mut bundle, &config, &[])?)?;
            let made: BTreeSet<String> = links_in(&root)?.difference(&before).cloned().collect();
            let asked = links(&oracle(world, &driver, shape)?);
            // The toolkit's ldconfig makes them after its create-symlinks, and so do we (N-08 compares the whole image).
            let sonames = driver.soname_links();
            let expected = asked.union(&sonames).cloned().collect();
            differ(&format!("{name}: links"), &made, &expected)?;
            counts.push(format!(
                "{name}: {} links of create-symlinks, {} more by SONAME",
                asked.len(),
                expected.len() - asked.len()
            ));
        }
        Ok(format!("{}, as by {}", counts.join("; "), whose(world)))
    };
    judged().into()
}

/// Passes only where both sets are the same.
fn differ(what: &str, ours: &BTreeSet<String>, theirs: &BTreeSet<String>) -> Result<(), String> {
    let only_ours: Vec<_> = ours.difference(theirs).collect();
    let only_theirs: Vec<_> = theirs.difference(ours).collect();
    if only_ours.is_empty() && only_theirs.is_empty() && !ours.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{what}: {} in all, by the runtime only {only_ours:?}, by the toolkit only {only_theirs:?}",
        ours.len()
    ))
}

/// The links below a root, as `PATH -> TARGET`.
fn links_in(root: &Path) -> Result<BTreeSet<String>, String> {
    let mut found = BTreeSet::new();
    walk(root, root, &mut found).map_err(|error| format!("{}: {error}", root.display()))?;
    Ok(found)
}

fn walk(root: &Path, folder: &Path, found: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            let below = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            found.insert(format!("{below} -> {}", fs::read_link(&path)?.display()));
        } else if kind.is_dir() {
            walk(root, &path, found)?;
        }
    }
    Ok(())
}
