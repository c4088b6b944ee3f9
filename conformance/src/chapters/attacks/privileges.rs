//! Capabilities, ids and groups that are wider than asked: T-16, T-17, T-18, T-33, T-34, T-42.

use super::{LIMIT, attack, started};
use crate::case::{Case, text};
use crate::command::Finished;
use crate::host::CGROUP_ROOT;
use crate::suite::{Check, Failure, Need, Test, ensure, ensure_eq, test, why};
use fixtures::{Bundle, Report, config};
use serde_json::{Value, json};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

const CAPS: &str = "CVE-2022-29162, CVE-2022-27650, CVE-2025-27612, CVE-2016-8867";
const IDS: &str = "CVE-2026-30892, CVE-2024-40635, CVE-2016-3697";
const GROUPS: &str = "CVE-2022-2989, CVE-2023-25173";
const ORDER: &str = "CVE-2025-31133 and its kind";
const DENY: &str = "CVE-2014-8989, CVE-2018-7169";
const KILL: &str = "CAP_KILL";
/// CAP_NET_RAW, capability.h.
const NET_RAW: u64 = 1 << 13;
/// Some user without an account.
const NOBODY: u32 = 54_322;

/// The topic's tests.
pub(in super::super) const TESTS: &[Test] = &[
    test("t16-no-capabilities-block", CAPS, |case| {
        let report = case.probe(&[], |config| {
            if let Some(process) = config["process"].as_object_mut() {
                process.remove("capabilities");
            }
        })?;
        sets(&report, 0, 0)
    }),
    test("t16-empty-sets", CAPS, |case| {
        let report = case.probe(&[], |config| config["process"]["capabilities"] = json!({}))?;
        sets(&report, 0, 0)
    }),
    test("t16-inheritable-stays-empty", CAPS, |case| {
        let report = case.probe(&[], |config| {
            config["process"]["capabilities"] =
                json!({"bounding": [KILL], "effective": [KILL], "permitted": [KILL]});
        })?;
        sets(&report, 1 << 5, 0)
    }),
    test("t16-inheritable-as-asked", CAPS, |case| {
        let report = case.probe(&[], |config| {
            config["process"]["capabilities"] =
                json!({"bounding": [KILL], "effective": [KILL], "permitted": [KILL], "inheritable": [KILL]});
        })?;
        sets(&report, 1 << 5, 1 << 5)
    }),
    test("t16-exec-adds-to-root", CAPS, |case| exec_caps(case, 0)),
    test("t16-exec-adds-to-a-user", CAPS, |case| exec_caps(case, 1000)).needs(&[Need::Ids]),
    test("t17-ids-of-exec", IDS, |case| {
        let bundle = case.bundle(&["/bin/sleep", "600"], |config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        })?;
        // Image files: a name that is a number must not be looked up as one.
        std::fs::write(
            bundle.rootfs().join("etc/passwd"),
            "root:x:0:0::/:/bin/sh\n12:x:0:0::/:/bin/sh\n",
        )?;
        case.run_detached(&bundle)?;
        for (user, ran_as) in [
            ("1", Id::Must("1")),
            ("1:1", Id::Must("1")),
            ("0", Id::Must("0")),
            ("12", Id::Must("12")),
            ("-1", Id::Never),
            // Not of every user namespace.
            ("4294967294", Id::May("4294967294")),
            ("4294967295", Id::Never),
            ("4294967296", Id::Never),
            ("18446744073709551616", Id::Never),
            ("0x0", Id::Never),
            ("1x", Id::Never),
            (" 0", Id::Never),
            ("", Id::May("1000")),
        ] {
            let args = ["exec", "--user", user, case.id(), "/bin/id", "-u"];
            let finished = case.start_within(case.command(&args), "exec", LIMIT)?.finish()?;
            exact(user, ran_as, finished)?;
        }
        Ok(())
    })
    .needs(&[Need::Ids]),
    test("t17-ids-of-the-configuration", IDS, |case| {
        for uid in ["4294967295", "4294967296", "-1", "18446744073709551616"] {
            let bundle = case.bundle(&["/bin/id", "-u"], |_| {})?;
            // Past the limits of JSON values: written as text.
            let text =
                serde_json::to_string(bundle.config())?.replace("\"uid\":0", &format!("\"uid\":{uid}"));
            std::fs::write(bundle.config_path(), text)?;
            let finished = attack(case, &bundle)?;
            ensure!(
                finished.is_none(),
                "FELL: uid {uid} was taken and became {:?}",
                finished.map(|finished| finished.stdout)
            );
        }
        Ok(())
    }),
    test("t18-cgroup-of-a-user", "CVE-2023-25809", cgroup_of_a_user).needs(&[Need::User, Need::OwnCgroup]),
    test("t33-groups-of-the-caller-are-dropped", GROUPS, |case| {
        ensure_eq!(groups(case, json!([]))?, Vec::<u32>::new(), "FELL: groups");
        Ok(())
    })
    .needs(&[
        Need::Root("the caller gives itself groups"),
        Need::Program("/usr/bin/setpriv"),
    ]),
    test("t33-groups-are-as-asked", GROUPS, |case| {
        ensure_eq!(groups(case, json!([7, 4000]))?, [7, 4000], "FELL: groups");
        Ok(())
    })
    .needs(&[
        Need::Root("the caller gives itself groups"),
        Need::Program("/usr/bin/setpriv"),
    ]),
    test("t34-readonly-reaches-submounts", ORDER, |case| {
        let outer = case.host_tmpfs("outer")?;
        case.host_tmpfs("outer/sub")?;
        let report = case.probe(&["--try-write", "/vol/sub", "--try-write", "/vol"], |config| {
            config::add_mount(config, "/vol", "bind", &text(&outer), &["rbind", "rro"]);
        });
        let report = match report {
            Ok(report) => report,
            Err(failure) => {
                return match no_rro(case, &failure)? {
                    Some(why) => super::skip(why),
                    None => Err(failure),
                };
            }
        };
        for path in ["/vol", "/vol/sub"] {
            ensure!(
                !report.writes[path].ok,
                "FELL: {path} can be written in spite of rro"
            );
        }
        Ok(())
    })
    .needs(&[Need::Root(why::HOST_MOUNT)]),
    test("t34-masks-reach-into-other-mounts", ORDER, |case| {
        let outer = case.host_tmpfs("outer")?;
        let sub = case.host_tmpfs("outer/sub")?;
        std::fs::write(sub.join("secret"), "secret")?;
        std::fs::create_dir(outer.join("held"))?;
        let options = ["--list", "/vol/sub", "--try-write", "/vol/held"];
        let report = case.probe(&options, |config| {
            config::add_mount(config, "/vol", "bind", &text(&outer), &["rbind", "rw"]);
            config["linux"]["maskedPaths"] = json!(["/vol/sub"]);
            config["linux"]["readonlyPaths"] = json!(["/vol/held"]);
        })?;
        ensure!(
            report.lists["/vol/sub"].is_empty(),
            "FELL: the mask shows {:?}",
            report.lists
        );
        ensure!(
            !report.writes["/vol/held"].ok,
            "FELL: a read-only path below another mount can be written"
        );
        Ok(())
    })
    .needs(&[Need::Root(why::HOST_MOUNT)]),
    test("t42-setgroups-is-denied-before-the-map", DENY, as_user).needs(&[
        Need::Root("the test becomes a user; see the chapter rootless"),
        Need::Program("/usr/bin/setpriv"),
        Need::Program("/usr/bin/unshare"),
    ]),
];

fn sets(report: &Report, most: u64, inheritable: u64) -> Check {
    let Some(found) = &report.capabilities else {
        return super::skip("the probe could not read its capabilities");
    };
    for (name, set, wanted) in [
        ("bounding", found.bounding, most),
        ("permitted", found.permitted, most),
        ("effective", found.effective, most),
        ("inheritable", found.inheritable, inheritable),
        ("ambient", found.ambient, 0),
    ] {
        ensure!(
            set == wanted,
            "FELL: {name} is {set:#x}, the configuration has {wanted:#x}"
        );
    }
    Ok(())
}

fn exec_caps(case: &Case<'_>, uid: u32) -> Check {
    let bundle = case.bundle(&["/bin/sleep", "600"], |config| {
        config["process"]["user"] = json!({"uid": uid, "gid": uid});
    })?;
    case.run_detached(&bundle)?;
    let finished = case
        .run(&["exec", "--cap", "CAP_NET_RAW", case.id(), "/bin/probe"])?
        .ok()?;
    let report = crate::case::parse(&finished.stdout)?;
    let found = report.capabilities.unwrap_or_default();
    for (name, set) in [("inheritable", found.inheritable), ("ambient", found.ambient)] {
        ensure!(set == 0, "FELL: exec --cap put {set:#x} into {name}");
    }
    if uid == 0 {
        ensure!(
            found.effective & NET_RAW != 0,
            "exec --cap did not add: {:#x}",
            found.effective
        );
    }
    Ok(())
}

/// As whom a program may run.
#[derive(Debug, Clone, Copy)]
enum Id {
    /// As this one; a refusal is a failure, too: it would hide what the others are looked at for.
    Must(&'static str),
    /// As this one, or not at all.
    May(&'static str),
    /// Not at all.
    Never,
}

fn exact(user: &str, ran_as: Id, finished: Finished) -> Check {
    let said = finished.stderr.trim().to_owned();
    let Some(finished) = started(finished)? else {
        ensure!(
            !matches!(ran_as, Id::Must(_)),
            "exec --user {user:?} is refused: {said}"
        );
        return Ok(());
    };
    let got = finished.stdout.trim();
    let fits = matches!(ran_as, Id::Must(id) | Id::May(id) if id == got);
    ensure!(fits, "FELL: exec --user {user:?} ran as uid {got}");
    Ok(())
}

/// Why a runtime that cannot make a mount with `rro` is not judged by it; None where it says that it knows the option.
fn no_rro(case: &Case<'_>, failure: &Failure) -> Check<Option<&'static str>> {
    let finished = case.run(&["features"])?;
    let features: Value = serde_json::from_str(&finished.stdout).unwrap_or_default();
    if let Some(options) = features["mountOptions"].as_array() {
        let known = options.iter().any(|option| option == "rro");
        return Ok((!known).then_some("this runtime's features do not name the option rro"));
    }
    let named = matches!(failure, Failure::Failed(why) if why.contains("rro"));
    Ok(named.then_some("this runtime does not know the option rro"))
}

/// Without a cgroup namespace a container sees the host's cgroups, and to the root of a user's container those that were
/// delegated to the user belong: only a read-only mount keeps it out of them.
fn cgroup_of_a_user(case: &Case<'_>) -> Check {
    let own = std::fs::read_to_string("/proc/self/cgroup")?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let Some(above) = own.and_then(|own| Path::new(own).parent()) else {
        return super::skip("no cgroup of version 2 to look for");
    };
    let name = format!("{}-evil", case.id());
    let root = Path::new(CGROUP_ROOT);
    let places = [root.join(&name), root.join(above).join(&name)].map(|path| text(&path));
    for lent in [false, true] {
        let args = ["/bin/probe", "--try-mkdir", &places[0], "--try-mkdir", &places[1]];
        let bundle = case.bundle(&args, |config| {
            if lent {
                case.who().lend_sys(config);
            }
            config::remove_namespace(config, "cgroup");
        })?;
        let finished = attack(case, &bundle)?;
        let made = places.iter().find(|path| std::fs::remove_dir(path).is_ok());
        ensure!(made.is_none(), "FELL: made on the host: {made:?}");
        if let Some(finished) = finished {
            let report = crate::case::parse(&finished.stdout)?;
            let made = report.mkdirs.iter().find(|(_, tried)| tried.ok);
            ensure!(made.is_none(), "FELL: made inside: {made:?}");
        }
    }
    Ok(())
}

/// Groups inside, of a caller that has more.
fn groups(case: &Case<'_>, asked: Value) -> Check<Vec<u32>> {
    let bundle = case.bundle(&["/bin/probe"], |config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": asked});
    })?;
    let inner = case.command(&["run", "--bundle", &text(bundle.dir()), case.id()]);
    let mut command = Command::new("/usr/bin/setpriv");
    command
        .args(["--groups", "4,24,27", "--"])
        .arg(inner.get_program())
        .args(inner.get_args());
    command.current_dir(case.dir()).stdin(Stdio::null());
    let finished = case.start_within(command, "run", LIMIT)?.finish()?.ok()?;
    let report = crate::case::parse(&finished.stdout)?;
    // The primary group may be listed too; it gives nothing more.
    let gid = report.identity.gid;
    let mut groups = report.identity.groups;
    groups.retain(|group| *group != gid);
    groups.sort_unstable();
    Ok(groups)
}

/// The beginning of a command that runs without privileges, and with a group besides its own.
fn nobody() -> Command {
    let mut command = Command::new("/usr/bin/setpriv");
    let id = NOBODY.to_string();
    command.args([
        "--reuid",
        &id,
        "--regid",
        &id,
        "--groups",
        "4",
        "--inh-caps=-all",
        "--",
    ]);
    command
}

/// An unprivileged user maps its own id alone: without `deny` in `setgroups` it could leave groups, and with them rights
/// that a group is denied.
fn as_user(case: &Case<'_>) -> Check {
    let bundle = case.bundle(&["/bin/sh", "-c", "cat /proc/self/setgroups; id -G"], |config| {
        let args = config["process"]["args"].clone();
        *config = config::rootless(&[], NOBODY, NOBODY);
        config["process"]["args"] = args;
    })?;
    let place = user_place(case, &bundle)?;
    let mut command = nobody();
    command
        .arg(place.join("runtime"))
        .arg("--root")
        .arg(place.join("root"))
        .args(["run", "--bundle", &text(bundle.dir()), case.id()])
        .current_dir(&place)
        .stdin(Stdio::null());
    // What the runtime needs of the host, without the runtime.
    let control = nobody()
        .args([
            "/usr/bin/unshare",
            "--user",
            "--mount",
            "--pid",
            "--fork",
            "/bin/true",
        ])
        .stdin(Stdio::null())
        .output()?;
    if !control.status.success() {
        let said = String::from_utf8_lossy(&control.stderr).trim().to_owned();
        return super::skip(&format!("this host lets no user make namespaces: {said}"));
    }
    let finished = case.start_within(command, "run as a user", LIMIT)?.finish()?;
    ensure!(
        finished.code() == 0,
        "no container for a user, although the host allows one: {}",
        finished.stderr.trim()
    );
    ensure!(
        finished.stdout.starts_with("deny"),
        "FELL: setgroups and groups are {:?}",
        finished.stdout
    );
    Ok(())
}

/// A folder of the user's with a copy of the runtime, and a bundle that the user can reach.
fn user_place(case: &Case<'_>, bundle: &Bundle) -> Check<std::path::PathBuf> {
    let place = case.dir().join("user");
    std::fs::create_dir(&place)?;
    std::fs::copy(case.runtime_path(), place.join("runtime"))?;
    std::fs::set_permissions(place.join("runtime"), PermissionsExt::from_mode(0o755))?;
    let rootfs = bundle.rootfs();
    for path in [
        &place,
        &rootfs,
        &rootfs.join("dev"),
        &rootfs.join("run"),
        &bundle.dir().to_owned(),
    ] {
        chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    Ok(place)
}
