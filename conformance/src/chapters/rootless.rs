//! What is special to callers without root: ids, groups, what the host lends, cgroups that were delegated or not, and
//! where state is kept. Every other chapter runs for them too, with bundles that fit (see `ids` and `place`).

use crate::case::{Case, parse, text};
use crate::command;
use crate::host::CGROUP_ROOT;
use crate::suite::{Check, Failure, Need, Test, ensure, ensure_eq, test};
use fixtures::config;
use serde_json::{Value, json};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

const MAPS: &str = "config-linux.md#user-namespace-mappings";
const LIMITS: &str = "config-linux.md#control-groups";
const USER: &[Need] = &[Need::User];
const WITH_IDS: &[Need] = &[Need::User, Need::Ids];
const WITHOUT_CGROUP: &[Need] = &[Need::User, Need::NoCgroup];
const WITH_CGROUP: &[Need] = &[Need::User, Need::OwnCgroup];

/// A limit of each controller that users are seldom given, harmless where it holds.
const LIMITED: [(&str, &str); 5] = [
    (
        "hugetlb",
        r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 209715200}]}"#,
    ),
    ("rdma", r#"{"rdma": {"mlx5_1": {"hcaHandles": 3}}}"#),
    ("cpuset", r#"{"cpu": {"cpus": "0"}}"#),
    ("io", r#"{"blockIO": {"weight": 100}}"#),
    ("cpu", r#"{"cpu": {"shares": 512}}"#),
];

/// The topic's tests.
pub(crate) const TESTS: &[Test] = &[
    test("one-id-denies-setgroups", MAPS, |case| {
        let printed = case.shell("cat /proc/self/setgroups /proc/self/gid_map", |config| {
            case.who().alone().fit(config)
        })?;
        let words: Vec<&str> = printed.split_whitespace().collect();
        let gid = case.who().on_host(0)[1].to_string();
        ensure_eq!(words, ["deny", "0", gid.as_str(), "1"], "setgroups and gid_map");
        Ok(())
    })
    .needs(USER),
    test("ranges-of-ids-allow-setgroups", MAPS, |case| {
        ensure_eq!(
            case.shell("cat /proc/self/setgroups", |_| {})?,
            "allow",
            "setgroups"
        );
        Ok(())
    })
    .needs(WITH_IDS),
    // Dropping them would leave the program in groups, or without groups, that nobody asked for.
    test(
        "groups-with-one-id-are-refused",
        "config.md#posix-platform-user",
        |case| {
            alone_refused(case, |config| {
                config["process"]["user"] = json!({"uid": 0, "gid": 0, "additionalGids": [5]})
            })
        },
    )
    .needs(USER),
    test(
        "user-with-one-id-is-refused",
        "config.md#posix-platform-user",
        |case| alone_refused(case, as_user_inside),
    )
    .needs(USER),
    test("id-of-somebody-else-is-refused", MAPS, |case| {
        let other = case.who().on_host(0)[0] + 1;
        alone_refused(case, |config| {
            config["linux"]["uidMappings"][0]["hostID"] = other.into()
        })
    })
    .needs(USER),
    test("range-of-somebody-else-is-refused", MAPS, |case| {
        let bundle = case.bundle(&["/bin/true"], |config| {
            config["linux"]["uidMappings"][1]["hostID"] = 1.into()
        })?;
        case.refused(&bundle).map(drop)
    })
    .needs(WITH_IDS),
    test("files-of-a-user-inside-have-its-host-id", MAPS, |case| {
        let bundle = case.bundle(&["/bin/touch", "/tmp/made"], |config| {
            config["root"]["readonly"] = false.into();
            config["process"]["user"] = json!({"uid": 1000, "gid": 1001});
        })?;
        case.try_run(&bundle)?.ok()?;
        let made = std::fs::metadata(bundle.rootfs().join("tmp/made"))?;
        let wanted = [case.who().on_host(1000)[0], case.who().on_host(1001)[1]];
        ensure_eq!([made.uid(), made.gid()], wanted, "owner on the host");
        Ok(())
    })
    .needs(WITH_IDS),
    // Capabilities inside are over what the user namespace owns, user_namespaces(7).
    test("root-inside-has-no-right-outside", MAPS, |case| {
        let shadow = std::fs::metadata("/etc/shadow").map(|file| file.permissions().mode());
        if !shadow.is_ok_and(|mode| mode & 0o004 == 0) {
            return Err(Failure::Skipped("this host has no closed /etc/shadow".to_owned()));
        }
        let report = case.probe(&["--read", "/etc/hosts"], |config| {
            let list = json!([
                "CAP_DAC_OVERRIDE",
                "CAP_DAC_READ_SEARCH",
                "CAP_SYS_ADMIN",
                "CAP_FOWNER"
            ]);
            config["process"]["capabilities"] =
                json!({"bounding": list, "effective": list, "permitted": list});
            config::add_mount(config, "/etc/hosts", "bind", "/etc/shadow", &["bind", "ro"]);
        })?;
        let errno = report.reads["/etc/hosts"].errno;
        ensure_eq!(errno, Some(13), "errno of reading root's file (EACCES is 13)");
        Ok(())
    })
    .needs(USER),
    test(
        "hooks-run-as-the-caller",
        "config.md#posix-platform-hooks",
        |case| {
            let out = text(&case.dir().join("ids"));
            let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", format!("id -u >{out}; id -g >>{out}")],
            "env": ["PATH=/usr/bin:/bin"]});
            let bundle = case.bundle(&["/bin/true"], |config| {
                config["hooks"] = json!({"createRuntime": [hook]})
            })?;
            case.try_run(&bundle)?.ok()?;
            let [uid, gid] = case.who().on_host(0);
            ensure_eq!(
                std::fs::read_to_string(&out)?,
                format!("{uid}\n{gid}\n"),
                "ids of the hook"
            );
            Ok(())
        },
    )
    .needs(USER),
    // A fresh sysfs belongs to the owner of the network namespace; engines bind the host's.
    test(
        "hosts-network-with-the-hosts-sys",
        "config-linux.md#namespaces",
        |case| {
            let report = case.probe(
                &["--list", "/sys/class/net", "--try-write", "/sys/kernel"],
                |config| case.who().lend_sys(config),
            )?;
            let mut devices: Vec<String> = std::fs::read_dir("/sys/class/net")?
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            devices.sort();
            let mut seen = report.lists["/sys/class/net"].clone();
            seen.sort();
            ensure_eq!(seen, devices, "network devices inside");
            let sys = report
                .mount("/sys")
                .map(|entry| (entry.fs_type.clone(), entry.has("ro")));
            ensure_eq!(sys, Some(("sysfs".to_owned(), true)), "type and ro of /sys");
            Ok(())
        },
    )
    .needs(USER),
    test("exec-is-in-the-user-namespace", "cli", |case| {
        sleeper(case, |_| {})?;
        let report = parse(&case.run(&["exec", case.id(), "/bin/probe"])?.ok()?.stdout)?;
        ensure_eq!(
            [report.uid_map, report.gid_map],
            case.who().map_lines(),
            "maps of exec"
        );
        let link = std::fs::read_link(format!("/proc/{}/ns/user", case.pid()?))?;
        ensure_eq!(
            format!("user:[{}]", report.namespaces["user"]),
            link.to_string_lossy(),
            "user namespace of exec"
        );
        ensure_eq!((report.identity.uid, report.identity.gid), (0, 0), "ids of exec");
        Ok(())
    })
    .needs(USER),
    test("exec-with-one-id", "cli", |case| {
        sleeper(case, |config| case.who().alone().fit(config))?;
        let out = case
            .run(&["exec", case.id(), "/bin/cat", "/proc/self/setgroups"])?
            .ok()?
            .stdout;
        ensure_eq!(out.trim(), "deny", "setgroups of exec");
        case.run(&["exec", "--user", "1000", case.id(), "/bin/true"])?
            .refused()?;
        Ok(())
    })
    .needs(USER),
    // On the host the program has another id than the caller: only the owner of its user namespace may signal it.
    test("kill-reaches-a-user-inside", "runtime.md#kill", |case| {
        sleeper(case, as_user_inside)?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", case.pid()?))?;
        let uid = case.who().on_host(1000)[0].to_string();
        let line = status
            .lines()
            .find(|line| line.starts_with("Uid:"))
            .unwrap_or_default();
        ensure!(
            line.split_whitespace().nth(1) == Some(&uid),
            "{line:?}, expected {uid}"
        );
        case.kill_and_wait()?;
        case.verb("delete")?;
        case.nothing_left()
    })
    .needs(WITH_IDS),
    test("configuration-of-spec-rootless", "cli", |case| {
        case.run(&["spec", "--rootless"])?.ok()?;
        let written: Value = serde_json::from_slice(&std::fs::read(case.dir().join("config.json"))?)?;
        let linux = &written["linux"];
        let kinds: Vec<&str> = linux["namespaces"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|entry| entry["type"].as_str())
            .collect();
        ensure!(kinds.contains(&"user"), "no user namespace among {kinds:?}");
        let own = case.who().on_host(0);
        for (which, key) in ["uidMappings", "gidMappings"].into_iter().enumerate() {
            let map = json!([{"containerID": 0, "hostID": own[which], "size": 1}]);
            ensure_eq!(linux[key], map, "{key}");
        }
        let gid = written["mounts"].to_string().contains("gid=");
        ensure!(
            !gid,
            "a mount names a group that is not mapped: {}",
            written["mounts"]
        );
        ensure!(
            linux.get("resources").is_none_or(Value::is_null),
            "resources without a cgroup"
        );
        Ok(())
    })
    .needs(USER),
    test("state-is-kept-in-the-runtime-directory", "cli", state_directory).needs(USER),
    test("limit-without-a-cgroup-is-refused", LIMITS, |case| {
        let bundle = case.bundle(&["/bin/true"], |config| {
            config["linux"]["resources"] = json!({"pids": {"limit": 10}})
        })?;
        delegation_is_told(&case.refused(&bundle)?.stderr, "pids")
    })
    .needs(WITHOUT_CGROUP),
    test("pause-without-a-cgroup-is-refused", "cli", |case| {
        sleeper(case, |_| {})?;
        let said = case.run(&["pause", case.id()])?.refused()?.stderr;
        ensure!(said.contains("cgroup"), "no word of cgroups: {said:?}");
        ensure_eq!(
            case.state()?["status"],
            "running",
            "status after the refused pause"
        );
        Ok(())
    })
    .needs(WITHOUT_CGROUP),
    test("update-without-a-cgroup-is-refused", "cli", |case| {
        sleeper(case, |_| {})?;
        let said = case
            .run(&["update", "--pids-limit", "10", case.id()])?
            .refused()?
            .stderr;
        ensure!(said.contains("cgroup"), "no word of cgroups: {said:?}");
        Ok(())
    })
    .needs(WITHOUT_CGROUP),
    // Nothing may look as if it held: neither a limit nor a list of nobody.
    test("kill-all-without-a-cgroup-reaches-all", "cli", |case| {
        let bundle = case.bundle(&["/bin/sh", "-c", "sleep 100 & echo ready; sleep 100"], |_| {})?;
        let out = case.run_detached(&bundle)?.stdout_file;
        case.until("the script is ready", || {
            Ok(std::fs::read_to_string(&out)?.contains("ready"))
        })?;
        case.run(&["kill", "--all", case.id(), "KILL"])?.ok()?;
        case.wait_for("stopped")
    })
    .needs(WITHOUT_CGROUP),
    test("controller-that-is-not-delegated-is-named", LIMITS, |case| {
        let host = std::fs::read_to_string(Path::new(CGROUP_ROOT).join("cgroup.controllers"))?;
        let own = case.controllers();
        let found = LIMITED.iter().find(|(name, _)| {
            host.split_whitespace().any(|host| host == *name) && !own.iter().any(|own| own == name)
        });
        let Some((name, resources)) = found else {
            return Err(Failure::Skipped(format!(
                "of all controllers with a limit of a container's own none is withheld: {own:?}"
            )));
        };
        let resources: Value = serde_json::from_str(resources)?;
        let bundle = case.bundle(&["/bin/true"], |config| config["linux"]["resources"] = resources)?;
        delegation_is_told(&case.refused(&bundle)?.stderr, name)
    })
    .needs(WITH_CGROUP),
    test(
        "cgroup-elsewhere-is-refused",
        "config-linux.md#cgroups-path",
        |case| {
            if case.is_systemd() {
                return Err(Failure::Skipped(
                    "systemd decides where a user's scopes are".to_owned(),
                ));
            }
            let path = format!("/{}", case.id());
            let bundle = case.bundle(&["/bin/true"], |config| {
                config["linux"]["cgroupsPath"] = path.into()
            })?;
            case.refused(&bundle).map(drop)
        },
    )
    .needs(WITH_CGROUP),
    test(
        "cgroup-is-the-users-own",
        "config-linux.md#cgroup-ownership",
        |case| {
            sleeper(case, |_| {})?;
            let folder = case.cgroup_below(Path::new(CGROUP_ROOT));
            let owner = std::fs::metadata(folder.join("cgroup.procs"))?.uid();
            ensure_eq!(owner, case.who().on_host(0)[0], "owner of {}", folder.display());
            let inside = std::fs::read_to_string(folder.join("cgroup.procs"))?;
            ensure_eq!(inside.trim(), case.pid()?.to_string(), "processes in the cgroup");
            Ok(())
        },
    )
    .needs(WITH_CGROUP),
    test("pause-holds-a-user-inside", "cli", |case| {
        sleeper(case, as_user_inside)?;
        case.verb("pause")?;
        ensure_eq!(case.state()?["status"], "paused", "status after pause");
        case.run(&["delete", "--force", case.id()])?.ok()?;
        case.nothing_left()
    })
    .needs(&[Need::User, Need::Ids, Need::Cgroup("freezer")]),
];

fn sleeper(case: &Case<'_>, edit: impl FnOnce(&mut Value)) -> Check {
    let bundle = case.bundle(&["/bin/sleep", "100"], edit)?;
    case.run_detached(&bundle).map(drop)
}

/// The program is another user than the container's root.
fn as_user_inside(config: &mut Value) {
    config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
}

/// With the caller's own id mapped and no other, the edited configuration must be refused.
fn alone_refused(case: &Case<'_>, edit: impl FnOnce(&mut Value)) -> Check {
    let bundle = case.bundle(&["/bin/true"], |config| {
        case.who().alone().fit(config);
        edit(config);
    })?;
    case.refused(&bundle).map(drop)
}

/// Who reads it has to know what is missing, and what to do.
fn delegation_is_told(said: &str, controller: &str) -> Check {
    ensure!(
        said.contains(controller),
        "the controller {controller} is not named: {said:?}"
    );
    ensure!(said.contains("delegat"), "no word of delegation: {said:?}");
    Ok(())
}

/// Without `--root` the state is below XDG_RUNTIME_DIR, where others have no business.
fn state_directory(case: &Case<'_>) -> Check {
    let xdg = case.dir().join("xdg");
    std::fs::create_dir(&xdg)?;
    std::fs::set_permissions(&xdg, PermissionsExt::from_mode(0o700))?;
    let plain = |args: &[&str]| -> Command {
        let mut command = command::plain(case.runtime_path());
        // A user's systemd is found by its socket, which is beside the state.
        let bus = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("bus"));
        if let Some(bus) = bus.filter(|bus| bus.exists()) {
            command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", bus.display()));
        }
        if case.is_systemd() {
            command.arg("--systemd-cgroup");
        }
        command
            .args(args)
            .env("XDG_RUNTIME_DIR", &xdg)
            .current_dir(case.dir());
        command
    };
    let bundle = case.bundle(&["/bin/true"], |_| {})?;
    let dir = text(bundle.dir());
    let created = case.start_command(plain(&["create", "--bundle", &dir, case.id()]), "create")?;
    created.finish()?.ok()?;
    let state = case
        .start_command(plain(&["state", case.id()]), "state")?
        .finish()?;
    let below: Vec<_> = std::fs::read_dir(&xdg)?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    let own = below.iter().any(|folder| folder.join(case.id()).is_dir());
    case.start_command(plain(&["delete", "--force", case.id()]), "delete")?
        .finish()?
        .ok()?;
    let state: Value = serde_json::from_str(&state.ok()?.stdout)?;
    ensure_eq!(
        state["status"],
        "created",
        "status by the state in XDG_RUNTIME_DIR"
    );
    ensure!(
        own,
        "no folder of the container below {}: {below:?}",
        xdg.display()
    );
    for folder in below {
        let mode = std::fs::metadata(&folder)?.permissions().mode();
        ensure!(
            mode & 0o022 == 0,
            "{} can be written by others: {mode:o}",
            folder.display()
        );
    }
    Ok(())
}
