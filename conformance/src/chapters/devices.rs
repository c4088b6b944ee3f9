//! Device nodes, masked and read-only paths, kernel parameters.

use crate::case::Case;
use crate::suite::{Check, Need, Test, ensure, ensure_eq, test, why};
use fixtures::config;
use serde_json::json;

const DEFAULT: &str = "config-linux.md#default-devices";
const DEVICES: &str = "config-linux.md#devices";

/// The topic's tests.
pub(crate) const TESTS: &[Test] = &[
    test("default-device-null", DEFAULT, |case| {
        default_device(case, "/dev/null", (1, 3))
    }),
    test("default-device-zero", DEFAULT, |case| {
        default_device(case, "/dev/zero", (1, 5))
    }),
    test("default-device-full", DEFAULT, |case| {
        default_device(case, "/dev/full", (1, 7))
    }),
    test("default-device-random", DEFAULT, |case| {
        default_device(case, "/dev/random", (1, 8))
    }),
    test("default-device-urandom", DEFAULT, |case| {
        default_device(case, "/dev/urandom", (1, 9))
    }),
    test("default-device-tty", DEFAULT, |case| {
        default_device(case, "/dev/tty", (5, 0))
    }),
    test("default-devices-can-be-used", DEFAULT, |case| {
        let options = [
            "--try-write",
            "/dev/null",
            "--read",
            "/dev/zero",
            "--read",
            "/dev/urandom",
            "--read",
            "/dev/full",
        ];
        let report = case.probe(&options, |_| {})?;
        ensure!(report.writes["/dev/null"].ok, "/dev/null: {:?}", report.writes);
        for path in ["/dev/zero", "/dev/urandom", "/dev/full"] {
            ensure!(report.reads[path].ok, "{path}: {:?}", report.reads[path]);
        }
        Ok(())
    }),
    test("ptmx-leads-to-pts", DEFAULT, |case| {
        let report = case.probe(&["--stat", "/dev/ptmx", "--read", "/dev/ptmx"], |_| {})?;
        let stat = &report.stats["/dev/ptmx"];
        let link = stat
            .target
            .as_deref()
            .is_some_and(|target| target.ends_with("pts/ptmx"));
        ensure!(link || stat.device == Some((5, 2)), "/dev/ptmx is {stat:?}");
        Ok(())
    }),
    test(
        "links-to-descriptors",
        "runtime-linux.md#dev-symbolic-links",
        |case| {
            let report = case.probe(
                &[
                    "--stat",
                    "/dev/fd",
                    "--stat",
                    "/dev/stdin",
                    "--stat",
                    "/dev/stdout",
                    "--stat",
                    "/dev/stderr",
                ],
                |_| {},
            )?;
            let wanted = [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")];
            for (name, number) in wanted {
                let found = report.stats[&format!("/dev/{name}")].target.clone();
                ensure_eq!(
                    found,
                    Some(format!("/proc/self/fd{number}")),
                    "target of /dev/{name}"
                );
            }
            Ok(())
        },
    ),
    test("no-console-without-terminal", DEFAULT, |case| {
        let report = case.probe(&[], |_| {})?;
        ensure!(
            report.mount("/dev/console").is_none(),
            "something is mounted on /dev/console"
        );
        Ok(())
    }),
    test("device-char", DEVICES, |case| {
        let entry = json!({"path": "/dev/mine", "type": "c", "major": 10, "minor": 229});
        let stat = configured(case, "/dev/mine", entry)?;
        ensure_eq!(
            (stat.kind.as_str(), stat.device),
            ("char", Some((10, 229))),
            "node"
        );
        Ok(())
    })
    .needs(&[Need::Root(why::NODES)]),
    test("device-u-is-char", DEVICES, |case| {
        let entry = json!({"path": "/dev/mine", "type": "u", "major": 10, "minor": 229});
        let stat = configured(case, "/dev/mine", entry)?;
        ensure_eq!(
            (stat.kind.as_str(), stat.device),
            ("char", Some((10, 229))),
            "node"
        );
        Ok(())
    })
    .needs(&[Need::Root(why::NODES)]),
    test("device-block", DEVICES, |case| {
        let entry = json!({"path": "/dev/mine", "type": "b", "major": 7, "minor": 123});
        let stat = configured(case, "/dev/mine", entry)?;
        ensure_eq!(
            (stat.kind.as_str(), stat.device),
            ("block", Some((7, 123))),
            "node"
        );
        Ok(())
    })
    .needs(&[Need::Root(why::NODES)]),
    test("device-fifo", DEVICES, |case| {
        ensure_eq!(
            configured(case, "/dev/mine", json!({"path": "/dev/mine", "type": "p"}))?.kind,
            "fifo",
            "node"
        );
        Ok(())
    }),
    test("device-mode-and-owner", DEVICES, |case| {
        let entry = json!({"path": "/dev/mine", "type": "c", "major": 10, "minor": 229,
                           "fileMode": 0o640, "uid": 1000, "gid": 1001});
        let stat = configured(case, "/dev/mine", entry)?;
        ensure_eq!(
            (stat.mode, stat.uid, stat.gid),
            (0o640, 1000, 1001),
            "mode and owner"
        );
        Ok(())
    })
    .needs(&[Need::Root(why::NODES)]),
    test("device-mode-survives-umask", DEVICES, |case| {
        let entry = json!({"path": "/dev/mine", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666});
        let bundle = case.bundle(&["/bin/probe", "--stat", "/dev/mine"], |config| {
            config::push(&mut config["linux"]["devices"], entry);
        })?;
        let line = format!(
            "umask 077; exec {} run --bundle {} {}",
            case.shell_words(),
            bundle.dir().display(),
            case.id()
        );
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", &line]);
        let finished = case
            .start_command(command, "run with umask 077")?
            .finish()?
            .ok()?;
        ensure_eq!(
            crate::case::parse(&finished.stdout)?.stats["/dev/mine"].mode,
            0o666,
            "mode"
        );
        Ok(())
    })
    .needs(&[Need::Root(why::NODES)]),
    test("device-in-new-folder", DEVICES, |case| {
        let entry = json!({"path": "/dev/some/where/mine", "type": "c", "major": 10, "minor": 229});
        ensure_eq!(
            configured(case, "/dev/some/where/mine", entry)?.kind,
            "char",
            "node"
        );
        Ok(())
    })
    .needs(&[Need::Root(why::NODES)]),
    test("device-outside-of-dev", DEVICES, |case| {
        let entry = json!({"path": "/mnt/mine", "type": "c", "major": 10, "minor": 229});
        ensure_eq!(configured(case, "/mnt/mine", entry)?.kind, "char", "node");
        Ok(())
    })
    .needs(&[Need::Root(why::NODES)]),
    // Engines list the default devices too. The cgroup of the default configuration denies what no rule allows, so
    // only nodes are compared here.
    test("device-that-is-a-default-one", DEVICES, |case| {
        let entry = json!({"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666});
        ensure_eq!(configured(case, "/dev/zero", entry)?.device, Some((1, 5)), "node");
        Ok(())
    }),
    test("masked-file-is-empty", "config-linux.md#masked-paths", |case| {
        let report = case.probe(
            &["--read", "/etc/passwd", "--try-write", "/etc/passwd"],
            |config| {
                config::push(&mut config["linux"]["maskedPaths"], "/etc/passwd".into());
            },
        )?;
        let content = report.reads["/etc/passwd"].content.clone().unwrap_or_default();
        ensure_eq!(content, "", "content of a masked file");
        Ok(())
    }),
    test(
        "masked-link-hides-what-it-leads-to",
        "config-linux.md#masked-paths",
        |case| {
            let bundle = case.bundle(
                &["/bin/probe", "--read", "/etc/passwd", "--list", "/mnt"],
                |config| {
                    for path in ["/to-file", "/to-folder"] {
                        config::push(&mut config["linux"]["maskedPaths"], path.into());
                    }
                },
            )?;
            std::fs::write(bundle.rootfs().join("mnt/secret"), "")?;
            std::os::unix::fs::symlink("etc/passwd", bundle.rootfs().join("to-file"))?;
            std::os::unix::fs::symlink("/mnt", bundle.rootfs().join("to-folder"))?;
            let report = case.probe_in(&bundle)?;
            let content = report.reads["/etc/passwd"].content.clone().unwrap_or_default();
            ensure_eq!(content, "", "content of the masked file");
            ensure!(
                report.lists["/mnt"].is_empty(),
                "the masked folder shows {:?}",
                report.lists
            );
            Ok(())
        },
    ),
    test(
        "masked-folder-is-empty-and-readonly",
        "config-linux.md#masked-paths",
        |case| {
            let report = case.probe(&["--list", "/etc", "--try-write", "/etc"], |config| {
                config["root"]["readonly"] = false.into();
                config::push(&mut config["linux"]["maskedPaths"], "/etc".into());
            })?;
            ensure!(
                report.lists["/etc"].is_empty(),
                "a masked folder shows {:?}",
                report.lists
            );
            ensure!(!report.writes["/etc"].ok, "a masked folder can be written");
            Ok(())
        },
    ),
    test(
        "masked-path-may-be-absent",
        "config-linux.md#masked-paths",
        |case| {
            case.probe(&[], |config| {
                config::push(&mut config["linux"]["maskedPaths"], "/no/such/path".into())
            })?;
            Ok(())
        },
    ),
    test("default-masks-hide", "config-linux.md#masked-paths", |case| {
        let report = case.probe(
            &[
                "--read",
                "/proc/kcore",
                "--list",
                "/sys/firmware",
                "--read",
                "/proc/keys",
            ],
            |_| {},
        )?;
        for path in ["/proc/kcore", "/proc/keys"] {
            ensure_eq!(
                report.reads[path].content.clone().unwrap_or_default(),
                "",
                "content of {path}"
            );
        }
        ensure!(
            report.lists["/sys/firmware"].is_empty(),
            "/sys/firmware shows {:?}",
            report.lists
        );
        Ok(())
    }),
    test("readonly-file", "config-linux.md#readonly-paths", |case| {
        let report = case.probe(
            &["--try-write", "/etc/passwd", "--read", "/etc/passwd"],
            |config| {
                config["root"]["readonly"] = false.into();
                config::push(&mut config["linux"]["readonlyPaths"], "/etc/passwd".into());
            },
        )?;
        ensure_eq!(
            report.writes["/etc/passwd"].errno,
            Some(30),
            "errno of a write (EROFS is 30)"
        );
        ensure!(report.reads["/etc/passwd"].ok, "a read-only file cannot be read");
        Ok(())
    }),
    test("readonly-folder", "config-linux.md#readonly-paths", |case| {
        let report = case.probe(&["--try-write", "/etc", "--try-write", "/mnt"], |config| {
            config["root"]["readonly"] = false.into();
            config::push(&mut config["linux"]["readonlyPaths"], "/etc".into());
        })?;
        ensure_eq!(
            report.writes["/etc"].errno,
            Some(30),
            "errno of a write (EROFS is 30)"
        );
        ensure!(report.writes["/mnt"].ok, "another folder is read-only too");
        Ok(())
    }),
    test(
        "readonly-path-may-be-absent",
        "config-linux.md#readonly-paths",
        |case| {
            case.probe(&[], |config| {
                config::push(&mut config["linux"]["readonlyPaths"], "/no/such/path".into())
            })?;
            Ok(())
        },
    ),
    test("proc-sys-is-readonly", "config-linux.md#readonly-paths", |case| {
        // Who may administer the network could write it otherwise, with root on the host or without.
        let path = "/proc/sys/net/ipv4/ip_default_ttl";
        let report = case.probe(&["--try-write", path], |config| {
            for set in ["bounding", "effective", "permitted"] {
                config::push(
                    &mut config["process"]["capabilities"][set],
                    "CAP_NET_ADMIN".into(),
                );
            }
        })?;
        ensure_eq!(
            report.writes[path].errno,
            Some(30),
            "errno of a write (EROFS is 30)"
        );
        Ok(())
    }),
    test("sysctl-network", "config-linux.md#sysctl", |case| {
        sysctl(case, "net.ipv4.ip_unprivileged_port_start", "123")
    }),
    test("sysctl-network-forward", "config-linux.md#sysctl", |case| {
        sysctl(case, "net.ipv4.ip_forward", "1")
    }),
    test("sysctl-ipc", "config-linux.md#sysctl", |case| {
        sysctl(case, "kernel.shmmni", "1234")
    }),
    test("sysctl-mqueue", "config-linux.md#sysctl", |case| {
        sysctl(case, "fs.mqueue.msg_max", "33")
    }),
    test("sysctl-with-slashes", "config-linux.md#sysctl", |case| {
        sysctl(case, "net/ipv4/ip_default_ttl", "77")
    }),
];

fn default_device(case: &Case<'_>, path: &str, numbers: (u32, u32)) -> Check {
    let report = case.probe(&["--stat", path], |_| {})?;
    let stat = &report.stats[path];
    ensure_eq!(
        (stat.kind.as_str(), stat.device),
        ("char", Some(numbers)),
        "{path}"
    );
    // A user's container has the host's nodes, bound; their owner is none of its ids, user_namespaces(7).
    let owner = if case.who().is_root() { 0 } else { 65_534 };
    ensure_eq!((stat.mode, stat.uid), (0o666, owner), "mode and owner of {path}");
    Ok(())
}

fn configured(case: &Case<'_>, path: &str, entry: serde_json::Value) -> Check<fixtures::report::Stat> {
    let report = case.probe(&["--stat", path], |config| {
        config["root"]["readonly"] = false.into();
        config::push(&mut config["linux"]["devices"], entry);
    })?;
    Ok(report.stats[path].clone())
}

fn sysctl(case: &Case<'_>, key: &str, value: &str) -> Check {
    let path = format!("/proc/sys/{}", key.replace('.', "/"));
    let host = std::fs::read_to_string(&path)?;
    let report = case.probe(&["--sysctl", key], |config| {
        config["linux"]["sysctl"] = json!({ key: value })
    })?;
    ensure_eq!(report.sysctls[key].as_deref(), Some(value), "{key} inside");
    ensure_eq!(std::fs::read_to_string(&path)?, host, "{key} on the host");
    Ok(())
}
