//! Namespaces: new, joined by path, inherited; id maps, time offsets, host and domain name.

use crate::case::{Case, text};
use crate::suite::{Check, Need, Test, ensure, ensure_eq, test};
use fixtures::config;
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;

const TIME: &[Need] = &[Need::Namespace("time")];
const CGROUP: &[Need] = &[Need::Namespace("cgroup")];

/// The topic's tests.
pub(crate) const TESTS: &[Test] = &[
    test("new-pid", "config-linux.md#namespaces", |case| {
        new(case, "pid", "pid")
    }),
    test("new-network", "config-linux.md#namespaces", |case| {
        new(case, "network", "net")
    }),
    // Not in the specification: every runtime does it, and programs rely on it.
    test(
        "loopback-is-up-in-a-new-network",
        "config-linux.md#namespaces",
        |case| {
            const FLAGS: &str = "/sys/class/net/lo/flags";
            let report = case.probe(&["--read", FLAGS], |config| {
                config::set_namespace(config, "network", None);
            })?;
            let flags = report.reads[FLAGS].content.as_deref().map(str::trim);
            ensure_eq!(flags, Some("0x9"), "flags of lo, IFF_UP | IFF_LOOPBACK");
            Ok(())
        },
    ),
    test("new-mount", "config-linux.md#namespaces", |case| {
        new(case, "mount", "mnt")
    }),
    test("new-ipc", "config-linux.md#namespaces", |case| {
        new(case, "ipc", "ipc")
    }),
    test("new-uts", "config-linux.md#namespaces", |case| {
        new(case, "uts", "uts")
    }),
    test("new-cgroup", "config-linux.md#namespaces", |case| {
        new(case, "cgroup", "cgroup")
    })
    .needs(CGROUP),
    test("new-user", "config-linux.md#namespaces", |case| {
        new(case, "user", "user")
    }),
    test("new-time", "config-linux.md#namespaces", |case| {
        new(case, "time", "time")
    })
    .needs(TIME),
    test("join-pid", "config-linux.md#namespaces", |case| {
        join(case, "pid", "pid")
    }),
    test("join-network", "config-linux.md#namespaces", |case| {
        join(case, "network", "net")
    }),
    test("join-ipc", "config-linux.md#namespaces", |case| {
        join(case, "ipc", "ipc")
    }),
    test("join-uts", "config-linux.md#namespaces", |case| {
        join(case, "uts", "uts")
    }),
    test("join-cgroup", "config-linux.md#namespaces", |case| {
        join(case, "cgroup", "cgroup")
    })
    .needs(CGROUP),
    test("join-user", "config-linux.md#namespaces", join_user),
    test(
        "join-user-with-other-mappings-is-refused",
        "config-linux.md#user-namespace-mappings",
        join_user_with_other_mappings,
    ),
    test("join-time", "config-linux.md#namespaces", |case| {
        join(case, "time", "time")
    })
    .needs(TIME),
    test("inherit-pid", "config-linux.md#namespaces", |case| {
        inherit(case, "pid", "pid")
    }),
    test("inherit-network", "config-linux.md#namespaces", |case| {
        inherit(case, "network", "net")
    }),
    test("inherit-ipc", "config-linux.md#namespaces", |case| {
        inherit(case, "ipc", "ipc")
    }),
    test("inherit-uts", "config-linux.md#namespaces", |case| {
        inherit(case, "uts", "uts")
    }),
    test("inherit-cgroup", "config-linux.md#namespaces", |case| {
        inherit(case, "cgroup", "cgroup")
    })
    .needs(CGROUP),
    test("inherit-user", "config-linux.md#namespaces", |case| {
        if case.who().is_root() {
            return inherit(case, "user", "user");
        }
        // Without one of its own a user's container would have no right to any other namespace.
        let bundle = case.bundle(&["/bin/true"], |config| {
            config::remove_namespace(config, "user");
            for key in ["uidMappings", "gidMappings"] {
                drop_key(&mut config["linux"], key);
            }
        })?;
        let said = case.refused(&bundle)?.stderr;
        ensure!(
            said.contains("user namespace"),
            "no word of user namespaces: {said:?}"
        );
        Ok(())
    }),
    test("inherit-time", "config-linux.md#namespaces", |case| {
        inherit(case, "time", "time")
    })
    .needs(TIME),
    test("all-eight-new", "config-linux.md#namespaces", |case| {
        let report = case.probe(&[], |config| {
            case.who().with_user_namespace(config);
            config::set_namespace(config, "cgroup", None);
            config::set_namespace(config, "time", None);
        })?;
        for kind in ["pid", "net", "mnt", "ipc", "uts", "cgroup", "user", "time"] {
            ensure!(
                Some(&report.namespaces[kind]) != own(kind)?.as_ref(),
                "{kind} namespace is the caller's"
            );
        }
        Ok(())
    })
    .needs(TIME),
    test(
        "pid-namespace-has-program-as-first",
        "config-linux.md#namespaces",
        |case| {
            let report = case.probe(&[], |_| {})?;
            ensure_eq!((report.pid, report.ppid), (1, 0), "pid and parent of the program");
            Ok(())
        },
    ),
    test(
        "user-maps-are-as-configured",
        "config-linux.md#user-namespace-mappings",
        |case| {
            // A user has no choice: its own id, and what it was given.
            if !case.who().is_root() {
                let report = case.probe(&[], |_| {})?;
                ensure_eq!([report.uid_map, report.gid_map], case.who().map_lines(), "maps");
                return Ok(());
            }
            let report = case.probe(&[], |config| {
                config::set_namespace(config, "user", None);
                let maps = json!([{"containerID": 0, "hostID": 200_000, "size": 1000},
                              {"containerID": 1000, "hostID": 300_000, "size": 64_000}]);
                config["linux"]["uidMappings"] = maps;
                config["linux"]["gidMappings"] =
                    json!([{"containerID": 0, "hostID": 400_000, "size": 65536}]);
            })?;
            ensure_eq!(report.uid_map, ["0 200000 1000", "1000 300000 64000"], "uid_map");
            ensure_eq!(report.gid_map, ["0 400000 65536"], "gid_map");
            Ok(())
        },
    ),
    test(
        "user-namespace-root-is-host-id",
        "config-linux.md#user-namespace-mappings",
        |case| {
            let bundle = case.bundle(&["/bin/touch", "/mnt/made"], |config| {
                config["root"]["readonly"] = false.into();
                case.who().with_user_namespace(config);
            })?;
            if case.who().is_root() {
                case.chown(&bundle.rootfs().join("mnt"), 0, true)?;
            }
            case.try_run(&bundle)?.ok()?;
            let made = std::fs::metadata(bundle.rootfs().join("mnt/made"))?;
            ensure_eq!(
                [made.uid(), made.gid()],
                case.who().on_host(0),
                "owner of what root made"
            );
            Ok(())
        },
    ),
    test(
        "user-namespace-as-plain-user",
        "config-linux.md#user-namespace-mappings",
        |case| {
            let report = case.probe(&[], |config| {
                case.who().with_user_namespace(config);
                config["process"]["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [1002]});
            })?;
            ensure_eq!(
                (report.identity.uid, report.identity.gid),
                (1000, 1001),
                "ids inside"
            );
            ensure_eq!(report.identity.groups, [1002], "groups inside");
            Ok(())
        },
    )
    .needs(&[Need::Ids]),
    test(
        "user-namespace-has-its-devices",
        "config-linux.md#default-devices",
        |case| {
            let options = ["--stat", "/dev/null", "--try-write", "/dev/null"];
            let report = case.probe(&options, |config| case.who().with_user_namespace(config))?;
            ensure_eq!(report.stats["/dev/null"].device, Some((1, 3)), "/dev/null");
            ensure!(
                report.writes["/dev/null"].ok,
                "/dev/null cannot be written: {:?}",
                report.writes
            );
            Ok(())
        },
    ),
    test(
        "time-offsets-are-applied",
        "config-linux.md#offset-for-time-namespace",
        |case| {
            let report = case.probe(&[], |config| {
                config::set_namespace(config, "time", None);
                config["linux"]["timeOffsets"] =
                    json!({"monotonic": {"secs": 86_400}, "boottime": {"secs": 604_800, "nanosecs": 500}});
            })?;
            let uptime = std::fs::read_to_string("/proc/uptime")?;
            let uptime: f64 = uptime
                .split_whitespace()
                .next()
                .and_then(|text| text.parse().ok())
                .unwrap_or(0.0);
            let shift = |nanos: i128| (nanos / 1_000_000_000) as f64 - uptime;
            ensure!(
                (86_390.0..86_460.0).contains(&shift(report.clocks.monotonic)),
                "monotonic {:?}",
                report.clocks
            );
            ensure!(
                (604_790.0..604_860.0).contains(&shift(report.clocks.boottime)),
                "boottime {:?}",
                report.clocks
            );
            Ok(())
        },
    )
    .needs(TIME),
    test("hostname-is-set", "config.md#hostname", |case| {
        let report = case.probe(&[], |config| config["hostname"] = "named-by-config".into())?;
        ensure_eq!(report.hostname, "named-by-config", "hostname inside");
        ensure!(
            rustix::system::uname().nodename().to_bytes() != b"named-by-config",
            "the host was renamed"
        );
        Ok(())
    }),
    test("hostname-absent-is-inherited", "config.md#hostname", |case| {
        let report = case.probe(&[], |config| drop_key(config, "hostname"))?;
        ensure_eq!(
            report.hostname.as_bytes(),
            rustix::system::uname().nodename().to_bytes(),
            "hostname inside"
        );
        Ok(())
    }),
    test("hostname-in-a-joined-namespace", "config.md#hostname", |case| {
        let holder = holder(case, |config| config["hostname"] = "of-the-holder".into())?;
        let report = case.probe(&[], |config| {
            drop_key(config, "hostname");
            join_holder(case, config, holder, "uts", "uts");
        })?;
        ensure_eq!(report.hostname, "of-the-holder", "hostname inside");
        Ok(())
    }),
    test("domainname-is-set", "config.md#domainname", |case| {
        let report = case.probe(&[], |config| config["domainname"] = "example.test".into())?;
        ensure_eq!(report.domainname, "example.test", "domainname inside");
        Ok(())
    }),
    test(
        "joined-namespace-outlives-the-container",
        "config-linux.md#namespaces",
        |case| {
            let holder = holder(case, |_| {})?;
            case.probe(&[], |config| join_holder(case, config, holder, "ipc", "ipc"))?;
            ensure_eq!(
                case.state_of(&format!("{}h", case.id()))?["status"],
                "running",
                "status of the holder"
            );
            Ok(())
        },
    ),
    test(
        "pid-joined-container-is-seen-by-holder",
        "config-linux.md#namespaces",
        |case| {
            let holder = holder(case, |_| {})?;
            let report = case.probe(&[], |config| join_holder(case, config, holder, "pid", "pid"))?;
            ensure!(report.pid > 1, "pid {} in a joined pid namespace", report.pid);
            Ok(())
        },
    ),
    test(
        "net-device-moves-in",
        "config-linux.md#network-devices",
        net_device,
    )
    .needs(&[
        Need::Root("the test makes a network device on the host"),
        Need::Program("/sbin/ip"),
    ]),
];

/// Removes a key.
fn drop_key(config: &mut Value, key: &str) {
    if let Some(config) = config.as_object_mut() {
        config.remove(key);
    }
}

/// Inode number of our own namespace.
fn own(link: &str) -> Check<Option<u64>> {
    let target = std::fs::read_link(format!("/proc/self/ns/{link}"))?;
    let target = target.to_string_lossy();
    Ok(target
        .split_once('[')
        .and_then(|(_, rest)| rest.trim_end_matches(']').parse().ok()))
}

fn new(case: &Case<'_>, kind: &str, link: &str) -> Check {
    let report = case.probe(&[], |config| match kind {
        "user" => case.who().with_user_namespace(config),
        _ => config::set_namespace(config, kind, None),
    })?;
    ensure!(
        report.namespaces.contains_key(link),
        "no {link} in /proc/self/ns: {:?}",
        report.unobserved
    );
    ensure!(
        Some(report.namespaces[link]) != own(link)?,
        "{kind} namespace is the caller's"
    );
    Ok(())
}

/// A running container whose namespaces others join; its pid on the host.
fn holder(case: &Case<'_>, edit: impl FnOnce(&mut Value)) -> Check<i64> {
    let id = case.second_id("h");
    let bundle = case.bundle_for("holder", &id, &["/bin/sleep", "100"], edit)?;
    case.run(&["run", "--detach", "--bundle", &text(bundle.dir()), &id])?
        .ok()?;
    case.state_of(&id)?["pid"]
        .as_i64()
        .ok_or_else(|| "no pid in the holder's state".to_owned().into())
}

/// Joins a namespace of the holder. A user may do so only from the user namespace that owns it, setns(2), so it joins
/// that one too.
fn join_holder(case: &Case<'_>, config: &mut Value, holder: i64, kind: &str, link: &str) {
    config::set_namespace(config, kind, Some(&format!("/proc/{holder}/ns/{link}")));
    if !case.who().is_root() {
        config::set_namespace(config, "user", Some(&format!("/proc/{holder}/ns/user")));
    }
}

fn join(case: &Case<'_>, kind: &str, link: &str) -> Check {
    let holder = holder(case, |config| config::set_namespace(config, kind, None))?;
    let wanted = std::fs::read_link(format!("/proc/{holder}/ns/{link}"))?;
    let report = case.probe(&[], |config| {
        // A joined UTS namespace keeps its name; setting one would change it for the holder.
        drop_key(config, "hostname");
        join_holder(case, config, holder, kind, link);
    })?;
    ensure_eq!(
        format!("{link}:[{}]", report.namespaces[link]),
        wanted.to_string_lossy(),
        "namespace inside"
    );
    Ok(())
}

/// A joined user namespace must own the other joined ones, so they all come from the holder.
fn join_user(case: &Case<'_>) -> Check {
    let holder = holder(case, |config| case.who().with_user_namespace(config))?;
    let report = case.probe(&[], |config| {
        case.who().with_user_namespace(config);
        config::set_namespace(config, "user", Some(&format!("/proc/{holder}/ns/user")));
    })?;
    let wanted = std::fs::read_link(format!("/proc/{holder}/ns/user"))?;
    ensure_eq!(
        format!("user:[{}]", report.namespaces["user"]),
        wanted.to_string_lossy(),
        "namespace inside"
    );
    ensure_eq!(report.identity.uid, 0, "uid inside");
    Ok(())
}

/// Engines write the mappings beside the path; where these are not the namespace's, files would get other owners than the
/// engine means.
fn join_user_with_other_mappings(case: &Case<'_>) -> Check {
    let holder = holder(case, |config| case.who().with_user_namespace(config))?;
    let bundle = case.bundle(&["/bin/true"], |config| {
        case.who().with_user_namespace(config);
        config::set_namespace(config, "user", Some(&format!("/proc/{holder}/ns/user")));
        let first = &mut config["linux"]["uidMappings"][0]["hostID"];
        *first = json!(first.as_u64().unwrap_or_default() + 1);
    })?;
    let said = case.try_create(&bundle)?.refused()?.stderr;
    ensure!(said.contains("mapping"), "the message names no mapping: {said}");
    Ok(())
}

fn inherit(case: &Case<'_>, kind: &str, link: &str) -> Check {
    let report = case.probe(&[], |config| {
        drop_key(config, "hostname");
        case.who().inherit(config, kind);
    })?;
    ensure_eq!(
        Some(report.namespaces[link]),
        own(link)?,
        "{kind} namespace inside and of the caller"
    );
    Ok(())
}

/// A dummy device of our own in a network namespace would need one to be made first; the host's is used for a moment.
fn net_device(case: &Case<'_>) -> Check {
    let name = format!("cf{}", std::process::id() % 1_000_000);
    let ip = |args: &[&str]| std::process::Command::new("/sbin/ip").args(args).output();
    let made = ip(&["link", "add", &name, "type", "dummy"])?;
    if !made.status.success() {
        let reason = String::from_utf8_lossy(&made.stderr).trim().to_owned();
        return Err(crate::suite::Failure::Skipped(format!(
            "no dummy device can be made: {reason}"
        )));
    }
    let report = case.probe(
        &["--list", "/sys/class/net", "--stat", "/sys/class/net/moved0"],
        |config| {
            config["linux"]["netDevices"] = json!({ name.as_str(): {"name": "moved0"} });
        },
    );
    // A device that was moved ends with the container's namespace; one that stayed is ours to remove.
    let _ = ip(&["link", "delete", &name]);
    ensure!(
        report?.lists["/sys/class/net"].contains(&"moved0".to_owned()),
        "no moved0 inside"
    );
    Ok(())
}
