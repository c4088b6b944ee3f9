//! Guests that have booted and wait for a job, kept as a disk, a memory and the state of their devices.
//!
//! Must not live here: what a job is.

use super::image::{self, Image};
use super::machine::{self, From, Machine};
use super::{Layout, Trouble};
use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Layouts, and what changed lately; each takes some 0.7 GiB.
const KEPT: usize = 3;
/// A boot takes 15 to 40 s here.
const BOOT_LIMIT: Duration = Duration::from_secs(600);

/// The template for a layout, made when it is missing.
pub(super) fn template(image: &Image, layout: Layout) -> Result<PathBuf, Trouble> {
    let above = image.folder.join("templates");
    let key = image::digest(&[&machine::description(image, layout)]);
    let folder = image::kept(&above.join(key), |new| make(new, image, layout))?;
    // The age says how long a template was not used.
    fs::File::open(&folder)?.set_modified(std::time::SystemTime::now())?;
    prune(&above, &folder);
    Ok(folder)
}

fn make(new: &Path, image: &Image, layout: Layout) -> Result<(), Trouble> {
    println!("booting a guest ({}), once", layout.name());
    let begin = Instant::now();
    let copied = Command::new("cp")
        .args(["--sparse=always", "--reflink=auto"])
        .arg(image.folder.join("disk.img"))
        .arg(new.join("disk.img"))
        .status()?;
    if !copied.success() {
        return Err(Trouble::Broken(format!("the disk could not be copied: {copied}")));
    }
    let mut machine = Machine::start(image, layout, &From::Boot(new), &[])?;
    let ready = line(&mut machine.control, begin + BOOT_LIMIT);
    let ready = ready
        .map_err(|why| Trouble::Broken(format!("the guest did not boot: {why}\n{}", machine.console(40))))?;
    machine.save(&new.join("state"))?;
    println!(
        "booted in {} s; systemd is {}",
        begin.elapsed().as_secs(),
        ready.trim_start_matches("ready ")
    );
    Ok(())
}

/// One line from the control port.
fn line(port: &mut UnixStream, deadline: Instant) -> Result<String, String> {
    let mut text = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("it was not ready after {} s", BOOT_LIMIT.as_secs()));
        }
        let mut byte = [0];
        port.set_read_timeout(Some(left))
            .map_err(|error| error.to_string())?;
        match port.read(&mut byte) {
            Ok(0) => return Err("it ended".to_owned()),
            Ok(_) if byte == *b"\n" => return Ok(String::from_utf8_lossy(&text).into_owned()),
            Ok(_) => text.push(byte[0]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Drops the templates that were used longest ago. One in use stays usable: its files are open.
fn prune(above: &Path, own: &Path) {
    let mut others: Vec<(std::time::SystemTime, PathBuf)> = fs::read_dir(above)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && path != own && path.extension().is_none())
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .collect();
    others.sort();
    for (_, path) in others.iter().rev().skip(KEPT - 1) {
        let _ = fs::remove_dir_all(path);
    }
}
