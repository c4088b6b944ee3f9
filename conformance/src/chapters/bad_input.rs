//! Bad input: each case must exit non-zero, say one line on stderr, and leave nothing behind.

use crate::case::{Case, text};
use crate::suite::{Check, Need, Test, ensure, test};
use fixtures::config;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;

const CONFIG: &str = "config.md#configuration-schema-example";
const NAMESPACES: &str = "config-linux.md#namespaces";

/// The topic's tests.
pub(crate) const TESTS: &[Test] = &[
    test("config-missing", "bundle.md#filesystem-bundle", |case| {
        let bundle = case.bundle(&["/bin/true"], |_| {})?;
        std::fs::remove_file(bundle.config_path())?;
        case.refused(&bundle).map(drop)
    }),
    test("bundle-missing", "bundle.md#filesystem-bundle", |case| {
        case.run(&["create", "--bundle", "/no/such/bundle", case.id()])?
            .refused()?;
        case.nothing_left()
    }),
    test("config-is-a-folder", "bundle.md#filesystem-bundle", |case| {
        let bundle = case.bundle(&["/bin/true"], |_| {})?;
        std::fs::remove_file(bundle.config_path())?;
        std::fs::create_dir(bundle.config_path())?;
        case.refused(&bundle).map(drop)
    }),
    test("config-empty", CONFIG, |case| document(case, "")),
    test("config-cut-short", CONFIG, |case| {
        document(case, "{\"ociVersion\": \"1.0.2\", ")
    }),
    test("config-null", CONFIG, |case| document(case, "null")),
    test("config-a-list", CONFIG, |case| document(case, "[]")),
    test("config-not-json", CONFIG, |case| {
        document(case, "ociVersion: 1.0.2\n")
    }),
    test("type-args-a-string", "config.md#process", |case| {
        refuse(case, |c| c["process"]["args"] = "/bin/true".into())
    }),
    test("type-mounts-an-object", "config.md#mounts", |case| {
        refuse(case, |c| c["mounts"] = json!({"a": 1}))
    }),
    test("type-uid-a-string", "config.md#posix-platform-user", |case| {
        refuse(case, |c| c["process"]["user"]["uid"] = "root".into())
    }),
    test("type-uid-negative", "config.md#posix-platform-user", |case| {
        refuse(case, |c| c["process"]["user"]["uid"] = (-1).into())
    }),
    test("type-readonly-a-string", "config.md#root", |case| {
        refuse(case, |c| c["root"]["readonly"] = "yes".into())
    }),
    test("version-missing", "config.md#specification-version", |case| {
        refuse(case, |c| remove(c, "ociVersion"))
    }),
    // "MUST be in SemVer v2.0.0 format": no peer reads it, which the runc project calls a bug (issue 1846).
    test("version-nonsense", "config.md#specification-version", |case| {
        refuse(case, |c| c["ociVersion"] = "latest".into())
    }),
    // A major version changes the meaning of fields; an unsupported value must fail. No peer looks.
    test("version-two", "config.md#specification-version", |case| {
        refuse(case, |c| c["ociVersion"] = "2.0.0".into())
    }),
    test("root-missing", "config.md#root", |case| {
        refuse(case, |c| remove(c, "root"))
    }),
    test("root-path-missing", "config.md#root", |case| {
        refuse(case, |c| c["root"]["path"] = "no-such-folder".into())
    }),
    test("root-is-a-file", "config.md#root", |case| {
        let bundle = case.bundle(&["/bin/true"], |config| config["root"]["path"] = "file".into())?;
        std::fs::write(bundle.dir().join("file"), "")?;
        case.refused(&bundle).map(drop)
    }),
    test("args-empty", "config.md#process", |case| {
        refuse(case, |c| c["process"]["args"] = json!([]))
    }),
    test("args-missing", "config.md#process", |case| {
        refuse(case, |c| remove(&mut c["process"], "args"))
    }),
    test("cwd-missing", "config.md#process", |case| {
        refuse(case, |c| remove(&mut c["process"], "cwd"))
    }),
    test("cwd-relative", "config.md#process", |case| {
        refuse(case, |c| c["process"]["cwd"] = "relative".into())
    }),
    test("env-with-null-byte", "config.md#process", |case| {
        refuse(case, |c| c["process"]["env"] = json!(["A=b\u{0}c"]))
    }),
    test("program-missing", "config.md#process", |case| {
        program(case, &["/no/such/program"], |_| Ok(()))
    }),
    test("program-not-in-path", "config.md#process", |case| {
        program(case, &["no-such-program"], |_| Ok(()))
    }),
    test("program-not-executable", "config.md#process", |case| {
        program(case, &["/plain"], |root| {
            std::fs::write(root.join("plain"), "#!/bin/sh\n")?;
            std::fs::set_permissions(root.join("plain"), std::fs::Permissions::from_mode(0o644))
        })
    }),
    test("program-is-a-folder", "config.md#process", |case| {
        program(case, &["/etc"], |_| Ok(()))
    }),
    test("namespace-unknown", NAMESPACES, |case| {
        refuse(case, |c| {
            config::push(&mut c["linux"]["namespaces"], json!({"type": "galaxy"}))
        })
    }),
    test("namespace-duplicate", NAMESPACES, |case| {
        refuse(case, |c| {
            config::push(&mut c["linux"]["namespaces"], json!({"type": "uts"}))
        })
    }),
    test("namespace-path-of-wrong-kind", NAMESPACES, |case| {
        refuse(case, |c| {
            config::set_namespace(c, "network", Some("/proc/self/ns/uts"))
        })
    }),
    test("namespace-path-missing", NAMESPACES, |case| {
        refuse(case, |c| config::set_namespace(c, "network", Some("/no/such/ns")))
    }),
    test("namespace-path-is-a-plain-file", NAMESPACES, |case| {
        refuse(case, |c| config::set_namespace(c, "ipc", Some("/etc/passwd")))
    }),
    test("hostname-without-uts-namespace", "config.md#hostname", |case| {
        refuse(case, |c| config::remove_namespace(c, "uts"))
    }),
    test(
        "user-namespace-without-maps",
        "config-linux.md#user-namespace-mappings",
        |case| {
            refuse(case, |c| {
                config::set_namespace(c, "user", None);
                for key in ["uidMappings", "gidMappings"] {
                    remove(&mut c["linux"], key);
                }
            })
        },
    ),
    test(
        "uid-not-mapped",
        "config-linux.md#user-namespace-mappings",
        |case| {
            refuse(case, |c| {
                case.who().with_user_namespace(c);
                c["process"]["user"] = json!({"uid": 70_000, "gid": 0});
            })
        },
    ),
    test(
        "time-offsets-without-time-namespace",
        "config-linux.md#offset-for-time-namespace",
        |case| {
            refuse(case, |c| {
                c["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 60}})
            })
        },
    )
    .needs(&[Need::Namespace("time")]),
    test("mount-source-missing", "config.md#mounts", |case| {
        refuse(case, |c| {
            config::add_mount(c, "/mnt", "bind", "/no/such/source", &["bind"])
        })
    }),
    test("mount-type-unknown", "config.md#mounts", |case| {
        refuse(case, |c| config::add_mount(c, "/mnt", "nosuchfs", "none", &[]))
    }),
    test("mount-option-unknown", "config.md#mounts", |case| {
        refuse(case, |c| {
            config::add_mount(c, "/mnt", "tmpfs", "tmpfs", &["no_such_option"])
        })
    }),
    test("mount-folder-onto-file", "config.md#mounts", |case| {
        refuse(case, |c| {
            config::add_mount(c, "/etc/passwd", "bind", "/usr", &["bind"])
        })
    }),
    test("mount-onto-a-link-loop", "config.md#mounts", |case| {
        let bundle = case.bundle(&["/bin/true"], |c| {
            config::add_mount(c, "/loop/x", "tmpfs", "tmpfs", &[])
        })?;
        std::os::unix::fs::symlink("loop", bundle.rootfs().join("loop"))?;
        case.refused(&bundle).map(drop)
    }),
    test(
        "idmap-mount-without-any-maps",
        "config.md#posix-platform-mounts",
        |case| {
            refuse(case, |c| {
                config::add_mount(c, "/mnt", "bind", "/etc", &["bind", "idmap"])
            })
        },
    )
    .needs(&[Need::Root("a user's container always has maps")]),
    test("rlimit-unknown", "config.md#posix-process", |case| {
        refuse(case, |c| {
            c["process"]["rlimits"] = json!([{"type": "RLIMIT_MOOD", "soft": 1, "hard": 1}])
        })
    }),
    // "If rlimits contains duplicated entries with same type, the runtime MUST generate an error": no peer does.
    // Without a pid namespace of its own nothing ends what is left (runc issues 2344, 4040).
    test(
        "failure-without-pid-namespace-leaves-nothing",
        "runtime.md#errors",
        |case| {
            let bundle = case.bundle(&["/no/such/program"], |config| {
                case.who().inherit(config, "pid");
                config::add_mount(config, "/mnt", "tmpfs", "tmpfs", &[]);
            })?;
            case.refused(&bundle).map(drop)
        },
    ),
    test("rlimit-duplicate", "config.md#posix-process", |case| {
        refuse(case, |c| {
            let limit = json!({"type": "RLIMIT_CORE", "soft": 1, "hard": 1});
            c["process"]["rlimits"] = json!([limit, limit]);
        })
    }),
    test("rlimit-soft-above-hard", "config.md#posix-process", |case| {
        refuse(case, |c| {
            c["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 10, "hard": 1}])
        })
    }),
    test("oom-score-adj-out-of-range", "config.md#linux-process", |case| {
        refuse(case, |c| c["process"]["oomScoreAdj"] = 5000.into())
    }),
    test("scheduler-policy-unknown", "config.md#linux-process", |case| {
        refuse(case, |c| {
            c["process"]["scheduler"] = json!({"policy": "SCHED_LAZY"})
        })
    }),
    test("scheduler-nice-out-of-range", "config.md#linux-process", |case| {
        refuse(case, |c| {
            c["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": 40})
        })
    }),
    test("io-priority-out-of-range", "config.md#linux-process", |case| {
        refuse(case, |c| {
            c["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 9})
        })
    }),
    test("personality-unknown", "config-linux.md#personality", |case| {
        refuse(case, |c| c["linux"]["personality"] = json!({"domain": "BSD"}))
    }),
    test("seccomp-action-unknown", "config-linux.md#seccomp", |case| {
        refuse(case, |c| {
            c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_SHRUG"})
        })
    }),
    test("seccomp-errno-on-allow", "config-linux.md#seccomp", |case| {
        refuse(case, |c| {
            c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ERRNO",
                "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 5}]});
        })
    }),
    // "MUST NOT be set if listenerPath is not set": both peers ignore it, where an invalid value must fail.
    test(
        "seccomp-listener-metadata-alone",
        "config-linux.md#seccomp",
        |case| {
            refuse(case, |c| {
                c["linux"]["seccomp"] =
                    json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "text"});
            })
        },
    ),
    test("device-type-unknown", "config-linux.md#devices", |case| {
        refuse(case, |c| {
            c["linux"]["devices"] = json!([{"path": "/dev/x", "type": "z", "major": 1, "minor": 1}])
        })
    }),
    // "If a file already exists at path that does not match the requested device, the runtime MUST generate an
    // error": both peers leave the file and succeed.
    test("device-over-another-file", "config-linux.md#devices", |case| {
        let device = json!([{"path": "/etc/passwd", "type": "c", "major": 10, "minor": 229}]);
        refuse(case, |c| c["linux"]["devices"] = device)
    }),
    test(
        "propagation-unknown",
        "config-linux.md#rootfs-mount-propagation",
        |case| refuse(case, |c| c["linux"]["rootfsPropagation"] = "sideways".into()),
    ),
    test("sysctl-of-the-host", "config-linux.md#sysctl", |case| {
        refuse(case, |c| c["linux"]["sysctl"] = json!({"vm.swappiness": "60"}))
    }),
    test(
        "sysctl-network-in-host-namespace",
        "config-linux.md#sysctl",
        |case| {
            refuse(case, |c| {
                case.who().inherit(c, "network");
                c["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
            })
        },
    ),
    test("sysctl-unknown", "config-linux.md#sysctl", |case| {
        refuse(case, |c| c["linux"]["sysctl"] = json!({"net.no_such_key": "1"}))
    }),
    test("hook-path-relative", "config.md#posix-platform-hooks", |case| {
        refuse(case, |c| {
            c["hooks"] = json!({"createRuntime": [{"path": "bin/true"}]})
        })
    }),
    test("hook-timeout-zero", "config.md#posix-platform-hooks", |case| {
        refuse(case, |c| {
            c["hooks"] = json!({"createRuntime": [{"path": "/bin/true", "timeout": 0}]})
        })
    }),
    test("annotation-not-a-string", "config.md#annotations", |case| {
        refuse(case, |c| c["annotations"] = json!({"key": 5}))
    }),
    test("id-with-slash", "runtime.md#state", |case| bad_id(case, "a/b")),
    test("id-dot-dot", "runtime.md#state", |case| bad_id(case, "..")),
    test("id-with-space", "runtime.md#state", |case| bad_id(case, "a b")),
    test("id-empty", "runtime.md#state", |case| bad_id(case, "")),
    test("id-with-newline", "runtime.md#state", |case| bad_id(case, "a\nb")),
    test("command-unknown", "cli", |case| {
        let finished = case.run(&["no-such-command"])?;
        ensure!(finished.code() != 0, "an unknown command succeeded");
        Ok(())
    }),
    test("option-unknown", "cli", |case| {
        let finished = case.run(&["state", "--no-such-option", case.id()])?;
        ensure!(finished.code() != 0, "an unknown option succeeded");
        Ok(())
    }),
    test("log-format-unknown", "cli", |case| {
        let finished = case.run(&["--log-format", "runes", "list"])?;
        ensure!(finished.code() != 0, "an unknown log format succeeded");
        Ok(())
    }),
];

fn remove(object: &mut Value, key: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(key);
    }
}

/// `create` with the edited default configuration must be refused.
fn refuse(case: &Case<'_>, edit: impl FnOnce(&mut Value)) -> Check {
    let bundle = case.bundle(&["/bin/true"], edit)?;
    case.refused(&bundle).map(drop)
}

/// `create` with this text as config.json must be refused.
fn document(case: &Case<'_>, content: &str) -> Check {
    let bundle = case.bundle(&["/bin/true"], |_| {})?;
    std::fs::write(bundle.config_path(), content)?;
    case.refused(&bundle).map(drop)
}

/// A program that cannot run: refused by create or by start, and nothing is left after delete.
fn program(
    case: &Case<'_>,
    args: &[&str],
    prepare: impl FnOnce(&std::path::Path) -> std::io::Result<()>,
) -> Check {
    let bundle = case.bundle(args, |_| {})?;
    prepare(&bundle.rootfs())?;
    case.try_run(&bundle)?.refused()?;
    case.nothing_left()
}

/// Neither create nor any later command may take the id; nothing may be made beside `--root`.
fn bad_id(case: &Case<'_>, id: &str) -> Check {
    let bundle = case.bundle(&["/bin/true"], |_| {})?;
    case.run(&["create", "--bundle", &text(bundle.dir()), id])?
        .refused()?;
    case.run(&["state", id])?.refused()?;
    let left: Vec<_> = std::fs::read_dir(case.root())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    case.nothing_left()
}
