//! The conformance suite as a user without root, on this host.
//!
//! Lives here: becoming such a user. Must not live here: what runs in a guest, where a user has a systemd and cgroups of
//! its own (`vm`). The user need not exist: who runs the tests as root gives it a name and subordinate ids in copies of
//! four files, which a mount namespace of its own shows in the place of the host's.

use crate::tally::Tally;
use crate::vm::inside::GENERAL;
use crate::workspace::{Scratch, programs};
use crate::{host, steps};
use serde_json::Value;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Some user that no host gives more than it gives to everybody.
const USER: u32 = 54_321;
/// The files, each with what makes the user known: passwd(5), group(5), subuid(5), subgid(5).
const FILES: [(&str, &str); 4] = [
    ("passwd", "runtime-tester:x:54321:54321::/:/bin/sh\n"),
    ("group", "runtime-tester:x:54321:\n"),
    ("subuid", "runtime-tester:700000:65536\n"),
    ("subgid", "runtime-tester:800000:65536\n"),
];
/// Shows the files, mounts the user's folder, and becomes the user. `$1` is where the files are, `$2` the folder, the rest is
/// the command. The folder is in memory: the attackers rename as fast as they can, which on a disk's file system fills the
/// journal, and whoever makes a file there waits for the disk, a second and more beside other work.
const BECOME: &str = "etc=$1; work=$2; shift 2
mount -t tmpfs -o mode=711,uid=54321,gid=54321 work $work
cd $work
for file in passwd group subuid subgid; do
    if [ -e $etc/$file ]; then mount --bind $etc/$file /etc/$file; fi
done
exec setpriv --reuid 54321 --regid 54321 --clear-groups --inh-caps=-all \"$@\"";
/// Chapters that differ for a user who has no id but its own.
const OF_ONE_ID: [&str; 3] = ["rootless", "namespace", "process"];

/// Runs the suite as a user: with ranges of ids where the host has newuidmap, and what differs without them.
pub(crate) fn conformance(tally: &mut Tally) {
    steps::heading("conformance without root");
    // Who is no root has run it without root already.
    if !host::is_root() {
        println!("as this user already");
        return;
    }
    let mut own = Tally::default();
    match run(&mut own) {
        Ok(None) => {}
        Ok(Some(why)) => {
            println!("SKIPPED conformance without root: {why}");
            own.skip(why);
        }
        Err(error) => {
            println!("{error}");
            own.fail(error);
        }
    }
    own.prefix("without root: ");
    tally.add(own);
}

/// Why it cannot be done here, if so.
fn run(tally: &mut Tally) -> Result<Option<String>, String> {
    let place = Place::new()?;
    if let Some(why) = place.forbidden()? {
        return Ok(Some(why));
    }
    let these = |chapters: &[&'static str]| -> Vec<&str> {
        chapters
            .iter()
            .flat_map(|chapter| ["--chapter", *chapter])
            .collect()
    };
    place.suite(tally, &these(&[&GENERAL[..], &["rootless", "attacks"]].concat()))?;
    let mut options = these(&OF_ONE_ID);
    options.push("--single-id");
    let mut alone = Tally::default();
    place.suite(&mut alone, &options)?;
    alone.prefix("one id: ");
    tally.add(alone);
    Ok(None)
}

/// A folder of the user's with copies of the programs: the build's may be closed to it.
struct Place(Scratch);

impl Place {
    fn new() -> Result<Place, String> {
        let place = Place(Scratch::new("xtask-user")?);
        let failed = |error: std::io::Error| format!("a place for a user: {error}");
        let open = |path: &Path| std::fs::set_permissions(path, Permissions::from_mode(0o711));
        open(place.0.path()).map_err(failed)?;
        let built = programs("debug")?;
        for name in ["runtime", "conformance", "probe"] {
            std::fs::copy(built.join(name), place.0.join(name)).map_err(failed)?;
        }
        let (etc, report) = (place.0.join("etc"), place.report());
        std::fs::create_dir(&etc).map_err(failed)?;
        std::fs::create_dir(place.work()).map_err(failed)?;
        // Outside of the user's folder, which ends with the command's mount namespace.
        std::fs::write(&report, "").map_err(failed)?;
        chown(&report, Some(USER), Some(USER)).map_err(failed)?;
        // A host without one of them has no newuidmap that would read it.
        for (name, line) in FILES {
            if let Ok(text) = std::fs::read_to_string(Path::new("/etc").join(name)) {
                std::fs::write(etc.join(name), text + line).map_err(failed)?;
            }
        }
        Ok(place)
    }

    fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    fn report(&self) -> PathBuf {
        self.0.join("report")
    }

    /// A command as the user.
    fn command(&self) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-ec", BECOME, "sh"])
            .args([self.0.join("etc"), self.work()])
            .env("HOME", self.work())
            .env("XDG_RUNTIME_DIR", self.work())
            .env_remove("DBUS_SESSION_BUS_ADDRESS");
        command
    }

    /// Why users may have no containers, if so.
    fn forbidden(&self) -> Result<Option<String>, String> {
        let mut trial = self.command();
        trial.args(["unshare", "--user", "--map-root-user", "true"]);
        let output = trial
            .output()
            .map_err(|error| format!("cannot run {}: {error}", steps::show(&trial)))?;
        Ok((!output.status.success()).then(|| {
            format!(
                "this host gives users no user namespaces: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )
        }))
    }

    fn suite(&self, tally: &mut Tally, options: &[&str]) -> Result<(), String> {
        let report = self.report();
        let mut suite = self.command();
        suite
            .arg(self.0.join("conformance"))
            .arg("--runtime")
            .arg(self.0.join("runtime"))
            .arg("--work-dir")
            .arg(self.work())
            .arg("--json")
            .arg(&report)
            .args(["--verbose", "--jobs", "2"])
            .args(options);
        let before = tally.failed;
        let status = steps::run(&mut suite)?;
        let text = std::fs::read(&report).map_err(|error| format!("{status}, and no report: {error}"))?;
        let report: Value = serde_json::from_slice(&text).map_err(|error| format!("its report: {error}"))?;
        tally.conformance(&report)?;
        match status.success() || tally.failed > before {
            true => Ok(()),
            false => Err(format!("{status}, although the report names no failure")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_name_the_user_that_is_become() {
        let number = USER.to_string();
        assert!(BECOME.contains(&format!("--reuid {number} --regid {number} ")));
        assert!(BECOME.contains(&format!(",uid={number},gid={number} ")));
        for (name, line) in FILES {
            assert!(BECOME.contains(name), "{name} is not shown");
            let known = name.starts_with("sub") || line.contains(&number);
            assert!(known && line.starts_with("runtime-tester:"), "{name}: {line}");
        }
    }
}
