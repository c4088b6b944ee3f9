//! Whose ids containers have: root's as they are, or those of an unprivileged user in a user namespace.
//!
//! Lives here: which ids the caller may map, fitting a configuration to them, and work on files in their name. Must not
//! live here: anything of a test. A user without subordinate ids maps its own id alone, user_namespaces(7); one who has
//! them, subuid(5), maps them by newuidmap(1) behind it.

use fixtures::config;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Ids above it are not needed by any test, and a map that ends there is what engines write.
const LAST: u32 = 65_535;
/// First host id of the maps that root writes.
const ROOTS_FIRST: u32 = 200_000;
/// How long a helper may take.
const LIMIT: Duration = Duration::from_secs(10);
/// The helpers, both set-user-id root or with capabilities.
const HELPERS: [&str; 2] = ["/usr/bin/newuidmap", "/usr/bin/newgidmap"];

/// What a user may map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ids {
    /// User and group of the caller.
    own: [u32; 2],
    /// First and number of the subordinate user and group ids.
    ranges: Option<[(u32, u32); 2]>,
    /// Why there are none.
    lacks: &'static str,
}

/// In whose name containers are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Who {
    /// Root of the host, with or without a user namespace.
    Root,
    /// Somebody else, always in a user namespace.
    User(Ids),
}

impl Who {
    /// The caller; `single` leaves its subordinate ids out.
    pub(crate) fn look(single: bool) -> Who {
        let own = [
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        ];
        if own[0] == 0 {
            return Who::Root;
        }
        let mut ids = Ids {
            own,
            ranges: None,
            lacks: "",
        };
        if single {
            ids.lacks = "--single-id leaves subordinate ids out";
        } else if !HELPERS.iter().all(|path| Path::new(path).exists()) {
            ids.lacks = "newuidmap and newgidmap are missing";
        } else {
            ids.ranges = ranges(own[0]);
            ids.lacks = "no ranges for this user in /etc/subuid and /etc/subgid";
        }
        Who::User(ids)
    }

    /// Whether it is root.
    pub(crate) fn is_root(&self) -> bool {
        matches!(self, Who::Root)
    }

    /// The same caller without its subordinate ids.
    pub(crate) fn alone(&self) -> Who {
        match self {
            Who::Root => Who::Root,
            Who::User(ids) => Who::User(Ids {
                ranges: None,
                ..ids.clone()
            }),
        }
    }

    /// Why there is no more than one id, if so.
    pub(crate) fn lacks_ids(&self) -> Option<&'static str> {
        match self {
            Who::User(ids) if ids.ranges.is_none() => Some(ids.lacks),
            _ => None,
        }
    }

    /// Makes a configuration of root's one that this caller can run.
    pub(crate) fn fit(&self, configuration: &mut Value) {
        let Who::User(ids) = self else { return };
        config::set_namespace(configuration, "user", None);
        ids.map(configuration);
        if ids.ranges.is_none() {
            // The group of terminals cannot be expressed.
            config::remove_ids_of_options(configuration);
        }
    }

    /// Puts a container into a user namespace, where it is not in one already.
    pub(crate) fn with_user_namespace(&self, configuration: &mut Value) {
        match self {
            Who::Root => config::add_user_namespace(configuration, ROOTS_FIRST, LAST + 1),
            Who::User(_) => self.fit(configuration),
        }
    }

    /// Leaves out the namespace `kind`, so that the caller's is inherited, and with it what the kernel mounts only for
    /// the owner of such a namespace: a fresh sysfs; for users also procfs and the queues, which they get from the host.
    pub(crate) fn inherit(&self, configuration: &mut Value, kind: &str) {
        config::remove_namespace(configuration, kind);
        let owned = match kind {
            "network" => "sysfs",
            "pid" if !self.is_root() => "proc",
            "ipc" if !self.is_root() => "mqueue",
            _ => return,
        };
        let Some(mounts) = configuration["mounts"].as_array_mut() else {
            return;
        };
        match owned {
            "sysfs" => mounts.retain(|mount| mount["type"] != owned),
            _ => mounts
                .iter_mut()
                .filter(|mount| mount["type"] == owned)
                .for_each(|mount| {
                    let place = mount["destination"].clone();
                    *mount = json!({"destination": place, "source": place, "type": "bind",
                        "options": ["rbind", "nosuid", "noexec", "nodev"]});
                }),
        }
        // Not every host has its queues mounted.
        let there = |mount: &Value| {
            mount["source"] != "/dev/mqueue" || mount["type"] != "bind" || Path::new("/dev/mqueue").exists()
        };
        mounts.retain(there);
    }

    /// The host's network and the host's `/sys`, read-only, as engines give users who make no network namespace.
    pub(crate) fn lend_sys(&self, configuration: &mut Value) {
        self.inherit(configuration, "network");
        let options = ["rbind", "nosuid", "noexec", "nodev", "ro"];
        let sys = json!({"destination": "/sys", "type": "none", "source": "/sys", "options": options});
        if let Some(mounts) = configuration["mounts"].as_array_mut() {
            // What is mounted below it comes behind it.
            let cgroup = mounts.iter().position(|mount| mount["type"] == "cgroup");
            mounts.insert(cgroup.unwrap_or(mounts.len()), sys);
        }
    }

    /// The ids on the host of the user and the group `id` in a user namespace made by [`Who::with_user_namespace`].
    pub(crate) fn on_host(&self, id: u32) -> [u32; 2] {
        match self {
            Who::Root => [ROOTS_FIRST + id; 2],
            Who::User(ids) => [0, 1].map(|which| ids.on_host(which, id)),
        }
    }

    /// Lines of `/proc/PID/uid_map` and `gid_map` of such a namespace, single spaces between the numbers.
    pub(crate) fn map_lines(&self) -> [Vec<String>; 2] {
        match self {
            Who::Root => [0, 1].map(|_| vec![format!("0 {ROOTS_FIRST} {}", LAST + 1)]),
            Who::User(ids) => [0, 1].map(|which| {
                let lines = ids.extents(which);
                lines.iter().map(|[a, b, c]| format!("{a} {b} {c}")).collect()
            }),
        }
    }

    /// Does shell commands as the root of a user namespace of this caller's, with all its ids mapped.
    ///
    /// # Errors
    /// The namespace cannot be made, or the commands fail; with what they said.
    pub(crate) fn as_mapped_root(&self, script: &str) -> Result<(), String> {
        let Who::User(ids) = self else {
            return finish(Command::new("/bin/sh").args(["-c", script]));
        };
        let mut holder = Command::new("/usr/bin/unshare")
            .args(["--user", "--", "/bin/sleep", "60"])
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let done = ids.enter(holder.id(), script);
        // It only held the namespace.
        let _ = holder.kill();
        let _ = holder.wait();
        done
    }
}

impl Ids {
    /// Rows of a map: first id inside, first on the host, how many.
    fn extents(&self, which: usize) -> Vec<[u32; 3]> {
        let own = [0, self.own[which], 1];
        let more = self
            .ranges
            .map(|ranges| [1, ranges[which].0, ranges[which].1.min(LAST)]);
        [own].into_iter().chain(more).collect()
    }

    fn map(&self, configuration: &mut Value) {
        for (which, key) in ["uidMappings", "gidMappings"].into_iter().enumerate() {
            let rows = self.extents(which);
            let rows = rows
                .iter()
                .map(|[inside, host, size]| json!({"containerID": inside, "hostID": host, "size": size}));
            configuration["linux"][key] = rows.collect::<Vec<_>>().into();
        }
    }

    fn on_host(&self, which: usize, id: u32) -> u32 {
        match (id, self.ranges) {
            (0, _) | (_, None) => self.own[which],
            (id, Some(ranges)) => ranges[which].0 + id - 1,
        }
    }

    /// Maps all ids of the namespace that `holder` made, and does the commands in it.
    fn enter(&self, holder: u32, script: &str) -> Result<(), String> {
        let link = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user"));
        let (own, pid) = (link("self"), holder.to_string());
        let deadline = Instant::now() + LIMIT;
        // It is another one once unshare(2) was called.
        while link(&pid).ok() == own.as_ref().ok().cloned() {
            if Instant::now() > deadline {
                return Err("no user namespace: unshare does not come to its call".to_owned());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        for (which, helper) in HELPERS.into_iter().enumerate() {
            let rows = self.extents(which);
            let rows = rows.iter().flatten().map(ToString::to_string);
            finish(Command::new(helper).arg(&pid).args(rows))?;
        }
        let mut command = Command::new("/usr/bin/nsenter");
        command.args(["--user", "--target", &pid, "--setuid", "0", "--setgid", "0", "--"]);
        finish(command.args(["/bin/sh", "-c", script]))
    }
}

fn finish(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

/// The first ranges of the user's in both files.
fn ranges(uid: u32) -> Option<[(u32, u32); 2]> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let passwd = read("/etc/passwd");
    let [users, groups] = ["/etc/subuid", "/etc/subgid"].map(|path| range(&read(path), &passwd, uid));
    Some([users?, groups?])
}

/// subuid(5): lines of `name or uid:first:count`.
fn range(file: &str, passwd: &str, uid: u32) -> Option<(u32, u32)> {
    let number = uid.to_string();
    let names: Vec<&str> = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .filter(|fields| fields.get(2) == Some(&number.as_str()))
        .map(|fields| fields[0])
        .collect();
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        let who = fields.next()?;
        let first = fields.next()?.trim().parse().ok()?;
        let count = fields.next()?.trim().parse().ok()?;
        (who == number || names.contains(&who)).then_some((first, count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(ranges: Option<[(u32, u32); 2]>) -> Who {
        Who::User(Ids {
            own: [1000, 1001],
            ranges,
            lacks: "none",
        })
    }

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let passwd = "root:x:0:0::/:/bin/sh\ntester:x:1000:1000::/:/bin/sh\n";
        let file = "other:1:2\ntester:100000:65536\n";
        assert_eq!(range(file, passwd, 1000), Some((100_000, 65_536)));
        assert_eq!(range("1000:7:8\n", "", 1000), Some((7, 8)));
        assert_eq!(range(file, passwd, 1001), None);
        assert_eq!(range("tester:x:1\n", passwd, 1000), None);
    }

    #[test]
    fn a_configuration_maps_what_the_user_has() {
        let mut one = config::container(&["true"]);
        user(None).fit(&mut one);
        assert_eq!(
            one["linux"]["gidMappings"],
            json!([{"containerID": 0, "hostID": 1001, "size": 1}])
        );
        assert!(!one.to_string().contains("gid=5"));
        let many = user(Some([(100_000, 70_000), (300_000, 1000)]));
        let mut config = config::container(&["true"]);
        many.fit(&mut config);
        many.with_user_namespace(&mut config);
        let rows = config["linux"]["uidMappings"].as_array().unwrap();
        assert_eq!(
            rows[1],
            json!({"containerID": 1, "hostID": 100_000, "size": 65_535})
        );
        assert!(config.to_string().contains("gid=5"));
        let kinds = config["linux"]["namespaces"].as_array().unwrap();
        assert_eq!(kinds.iter().filter(|kind| kind["type"] == "user").count(), 1);
        assert_eq!(many.on_host(0), [1000, 1001]);
        assert_eq!(many.on_host(5), [100_004, 300_004]);
        assert_eq!(many.map_lines()[1], ["0 1001 1", "1 300000 1000"]);
    }
}
