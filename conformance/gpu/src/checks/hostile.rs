//! Images that point at the host, and images whose names are exchanged while containers are made of them: nothing outside
//! of them changes, and no call waits for ever (`World::call` has a limit).

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::Duration;

use fixtures::driver::CUDA_VERSION;
use fixtures::driver::hostile::{self, Exchange, IMAGES};
use fixtures::picture::{Picture, changes, picture};

use super::driver::run;
use super::{Verdict, same};
use crate::world::{Bundle, Ended, World};

/// How many containers are made of one image before it is made anew: in a used one little is left to do.
const FRESH: u32 = 25;

pub(super) fn images(world: &World) -> Verdict {
    let judged = || {
        let told = still(world)?;
        let told = format!("{told}; {}", sockets(world)?);
        Ok(format!("{told}; {}", races(world)?))
    };
    judged().into()
}

/// What no container may change: the bait that images point at, and all of the driver.
struct Outside(Vec<(std::path::PathBuf, Picture)>);

impl Outside {
    fn look(world: &World, bait: &Path) -> Result<Self, String> {
        let driver = &world.driver;
        let folders = [
            bait.to_owned(),
            driver.root(),
            driver.dev_root(),
            driver.proc_root(),
            driver.sysfs_root(),
        ];
        let look = |folder: std::path::PathBuf| Ok((folder.clone(), taken(&folder)?));
        folders
            .into_iter()
            .map(look)
            .collect::<Result<_, String>>()
            .map(Self)
    }

    fn unchanged(&self, what: &str) -> Result<(), String> {
        for (folder, before) in &self.0 {
            let changed = changes(before, &taken(folder)?);
            if !changed.is_empty() {
                return Err(format!("{what}: outside of the image changed {changed:?}"));
            }
        }
        Ok(())
    }
}

fn taken(folder: &Path) -> Result<Picture, String> {
    picture(folder).map_err(|error| format!("{}: {error}", folder.display()))
}

/// A bundle, and beside it the host's folder that it is to point at.
fn attacked(world: &World, args: &[&str]) -> Result<(Bundle, std::path::PathBuf), String> {
    let bundle = world.bundle_of("debian", args)?;
    let bait = world.dir.join("bait").join(&bundle.id);
    hostile::bait(&bait).map_err(|error| error.to_string())?;
    Ok((bundle, bait))
}

/// A call that was refused must say why, in an orderly way, and leave nothing.
fn clean(world: &World, bundle: &Bundle, ended: &Ended, what: &str) -> Result<(), String> {
    let said = ended.err.trim();
    if said.is_empty() || said.contains("panicked") {
        return Err(format!("{what}: no clean error, but {said:?}"));
    }
    match world.leftovers(bundle).as_slice() {
        [] => Ok(()),
        left => Err(format!("{what}: left behind {left:?}")),
    }
}

/// The images as they are.
fn still(world: &World) -> Result<String, String> {
    let (mut worked, mut refused, mut slowest) = (0, Vec::new(), Duration::ZERO);
    for image in IMAGES {
        let what = image.what;
        let program = if image.usable {
            "/usr/bin/payload"
        } else {
            "/bin/true"
        };
        let (mut bundle, bait) = attacked(world, &[program])?;
        let root = bundle.dir.join("rootfs");
        image
            .prepare(&root, &bait)
            .map_err(|error| format!("{what}: {error}"))?;
        let outside = Outside::look(world, &bait)?;
        let ended = run(world, &mut bundle, &[]).map_err(|error| format!("{what}: {error}"))?;
        slowest = slowest.max(ended.took);
        outside.unchanged(what)?;
        if image.usable {
            let expected = format!("dlopen=ok ver={CUDA_VERSION}");
            same(&format!("{what}, {}", ended.err), &ended.out, &expected)?;
        }
        if ended.good {
            worked += 1;
        } else {
            clean(world, &bundle, &ended, what)?;
            refused.push(what);
        }
    }
    let refused = match refused.as_slice() {
        [] => "none is refused".to_owned(),
        some => format!("refused cleanly: {}", some.join("; ")),
    };
    Ok(format!(
        "{} images: {worked} work, {refused}, none takes longer than {} ms",
        IMAGES.len(),
        slowest.as_millis()
    ))
}

/// What users of the host put where NVIDIA's MPS has its directory, and what its daemon makes there.
fn sockets(world: &World) -> Result<String, String> {
    let tmp = world.driver.root().join("tmp");
    let mps = tmp.join("nvidia-mps");
    let made = |result: std::io::Result<()>| result.map_err(|error| format!("{}: {error}", mps.display()));
    let bait = world.dir.join("bait/mps");
    made(fs::create_dir_all(&bait))?;
    made(fs::create_dir_all(&tmp))?;
    made(fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777)))?;
    let look = || {
        let script = "echo got > /tmp/nvidia-mps/marker && echo written";
        run(world, &mut world.bundle(script)?, &[])
    };
    let judged = || {
        made(symlink(&bait, &mps))?;
        let led = look()?;
        let names = fs::read_dir(&bait).map_err(|error| error.to_string())?;
        if led.out.contains("written") || names.count() > 0 {
            return Err("a link at /tmp/nvidia-mps is a directory of the host in the container".to_owned());
        }
        if !led.err.contains("nvidia-mps is left out") {
            return Err(format!(
                "nothing is said of a link at /tmp/nvidia-mps: {:?}",
                led.err
            ));
        }
        made(fs::remove_file(&mps))?;
        made(fs::create_dir(&mps))?;
        made(chown(&mps, Some(1000), None))?;
        let others = look()?;
        if others.out.contains("written") {
            return Err("a user's directory is mounted at /tmp/nvidia-mps".to_owned());
        }
        // As the daemon makes it.
        made(chown(&mps, Some(0), None))?;
        made(fs::set_permissions(&mps, fs::Permissions::from_mode(0o777)))?;
        let own = look()?;
        same(&format!("MPS of root, {}", own.err), &own.out, "written")?;
        Ok("MPS's directory is root's own or left out".to_owned())
    };
    let judged = judged();
    // Other checks look at the same driver.
    made(fs::remove_dir_all(&tmp))?;
    judged
}

/// The same while somebody exchanges names.
fn races(world: &World) -> Result<String, String> {
    let (mut worked, mut refused, mut times) = (0_u32, 0_u32, 0);
    while worked + refused < world.races() {
        let what = format!("after {} races", worked + refused);
        let (mut bundle, bait) = attacked(world, &["/bin/true"])?;
        let outside = Outside::look(world, &bait)?;
        let somebody = Exchange::start(&bundle.dir.join("rootfs"), &bait)
            .map_err(|error| format!("names cannot be exchanged: {error}"))?;
        for _ in 0..FRESH.min(world.races() - worked - refused) {
            let ended = run(world, &mut bundle, &[]).map_err(|error| format!("{what}: {error}"))?;
            if ended.good {
                worked += 1;
            } else {
                clean(world, &bundle, &ended, &what)?;
                refused += 1;
            }
        }
        times += somebody.stop();
        outside.unchanged(&what)?;
        // Thousands of copies of an image are much.
        fs::remove_dir_all(&bundle.dir).map_err(|error| error.to_string())?;
    }
    if worked == 0 || times == 0 {
        return Err(format!(
            "no race: of {refused} containers none was made, names were exchanged {times} times"
        ));
    }
    Ok(format!(
        "{} races: {worked} containers were made, {refused} refused cleanly, names were exchanged {times} times",
        worked + refused
    ))
}
