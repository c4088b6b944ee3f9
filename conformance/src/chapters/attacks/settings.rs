//! What a configuration may set outside of the container: T-19 sysctls, T-20 annotations, T-21 environments of hooks.

use super::{LIMIT, Outside, WORD, attack};
use crate::case::{Case, text};
use crate::suite::{Check, Failure, Test, ensure, ensure_eq, test};
use fixtures::config;
use serde_json::{Value, json};
use std::path::Path;

const SYSCTL: &str = "CVE-2022-0811";
const ANNOTATION: &str = "CVE-2024-3154, CVE-2026-24834";
const ENV: &str = "CVE-2025-23266, CVE-2026-57231";
/// Kinds of hooks that run on the host.
const KINDS: [&str; 5] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "poststart",
    "poststop",
];

/// The topic's tests.
pub(in super::super) const TESTS: &[Test] = &[
    // Every value is the one that the host has: where a runtime writes it, nothing changes, and it has fallen.
    test("t19-sysctl-of-the-whole-host", SYSCTL, |case| {
        for key in [
            "vm.overcommit_memory",
            "kernel.core_pattern",
            "kernel.modprobe",
            "kernel/sysrq",
        ] {
            // Not every kernel has every one of them.
            if let Ok(value) = value_of(key) {
                refused_sysctl(case, key, &value, |_| {})?;
            }
        }
        Ok(())
    }),
    test("t19-sysctl-of-a-namespace-that-is-the-hosts", SYSCTL, |case| {
        for (key, kind) in [("net.ipv4.ip_default_ttl", "network"), ("kernel.shmmni", "ipc")] {
            refused_sysctl(case, key, &value_of(key)?, |config| {
                config::remove_namespace(config, kind)
            })?;
        }
        Ok(())
    }),
    test("t19-sysctl-names-that-climb", SYSCTL, |case| {
        let pattern = value_of("kernel.core_pattern")?;
        for key in [
            "net/../kernel/core_pattern",
            "net.ipv4/../../kernel/core_pattern",
            "/kernel/core_pattern",
            "net//../kernel.core_pattern",
            "fs.mqueue/../../kernel/core_pattern",
            "net/ipv4/ip_default_ttl\u{0}x",
        ] {
            refused_sysctl(case, key, &pattern, |_| {})?;
        }
        Ok(())
    }),
    test("t19-sysctl-values-that-hold-more", SYSCTL, |case| {
        for value in [
            "4096+kernel.core_pattern=x",
            "4096\nkernel.core_pattern=x",
            "4096 kernel.core_pattern=x",
        ] {
            let bundle = case.bundle(&["/bin/cat", "/proc/sys/kernel/shmmni"], |config| {
                config["linux"]["sysctl"] = json!({"kernel.shmmni": value});
            })?;
            // Settings of the host are compared for every test of this chapter.
            attack(case, &bundle)?;
        }
        Ok(())
    }),
    test("t20-annotations-have-no-power", ANNOTATION, |case| {
        let outside = Outside::new(case)?;
        let made = text(&outside.dir().join("made"));
        // Old runtimes have no such command, and list nothing.
        let features: Value = serde_json::from_str(&case.run(&["features"])?.stdout).unwrap_or_default();
        let unsafe_ones = features["potentiallyUnsafeConfigAnnotations"].as_array().cloned();
        let listed = |key: &str| {
            let prefixes = unsafe_ones.iter().flatten().filter_map(Value::as_str);
            prefixes.into_iter().any(|prefix| key.starts_with(prefix))
        };
        let all = [
            (
                "org.systemd.property.ExecStop",
                format!("['/bin/touch', '{made}']"),
            ),
            ("run.oci.hooks.stdout", made.clone()),
            ("run.oci.hooks.stderr", made.clone()),
            ("run.oci.handler", "wasm".to_owned()),
            ("run.oci.seccomp_bpf_data", "AAAA".to_owned()),
            ("run.oci.seccomp.receiver", made.clone()),
            ("io.kubernetes.cri-o.LinkLogs", made.clone()),
            ("io.katacontainers.config.hypervisor.path", made.clone()),
        ];
        for (key, value) in all {
            let bundle = case.bundle(&["/bin/true"], |config| {
                config["annotations"] = json!({ key: value });
                config["hooks"] = json!({"createRuntime": [{"path": "/bin/echo", "args": ["echo", WORD]}]});
            })?;
            attack(case, &bundle)?;
            let fell = outside.untouched();
            ensure!(
                fell.is_ok() || listed(key),
                "FELL: annotation {key} has power and `features` does not list it"
            );
            // What a listed one made is no finding for the next.
            let _ = std::fs::remove_file(&made);
        }
        Ok(())
    }),
    test("t21-hooks-without-env-of-the-image", ENV, |case| {
        hooks(case, None, |kind, seen| {
            let found = seen
                .env
                .iter()
                .find(|entry| entry.contains("evil") || entry.contains("IMAGE"));
            ensure!(
                found.is_none(),
                "FELL: {kind} got {found:?} of the container's environment"
            );
            Ok(())
        })
    }),
    test("t21-hooks-without-env-of-the-caller", ENV, |case| {
        hooks(case, None, |kind, seen| {
            let found = seen.env.iter().find(|entry| entry.contains("SECRET"));
            ensure!(
                found.is_none(),
                "FELL: {kind} got {found:?} of the caller's environment"
            );
            Ok(())
        })
    }),
    test("t21-hooks-with-env-get-that-alone", ENV, |case| {
        hooks(case, Some(json!(["ONLY=this"])), |kind, seen| {
            ensure_eq!(seen.env, ["ONLY=this"], "FELL: environment of {kind}");
            Ok(())
        })
    }),
    test("t21-hooks-stand-in-the-bundle", ENV, |case| {
        hooks(case, None, |kind, seen| {
            let rootfs = seen.cwd.ends_with("/rootfs");
            ensure!(
                !rootfs,
                "FELL: {kind} stands in the container's root: {}",
                seen.cwd
            );
            Ok(())
        })
    }),
    test("t21-hooks-with-three-descriptors", ENV, |case| {
        hooks(case, None, |kind, seen| {
            let more: Vec<&String> = seen
                .fds
                .iter()
                .filter(|(number, target)| {
                    *number > 2 && !target.contains("/proc/") && !target.contains("/seen-")
                })
                .map(|(_, target)| target)
                .collect();
            ensure!(more.is_empty(), "FELL: {kind} has descriptors of {more:?}");
            Ok(())
        })
    }),
    test("t21-env-without-value-is-not-filled", ENV, |case| {
        let bundle = case.bundle(&["/bin/env"], |config| {
            config["process"]["env"] = json!(["PATH=/bin", "SECRET_OF_CALLER"]);
        })?;
        let mut command = case.command(&["run", "--bundle", &text(bundle.dir()), case.id()]);
        command.env("SECRET_OF_CALLER", "secret-value");
        let finished = case.start_within(command, "run", LIMIT)?.finish()?;
        ensure!(
            !finished.stdout.contains("secret-value"),
            "FELL: the caller's value came in: {:?}",
            finished.stdout
        );
        Ok(())
    }),
];

fn value_of(key: &str) -> Check<String> {
    let path = Path::new("/proc/sys").join(key.replace('.', "/"));
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(error) => Err(Failure::Skipped(format!("{}: {error}", path.display()))),
    }
}

fn refused_sysctl(case: &Case<'_>, key: &str, value: &str, edit: impl FnOnce(&mut Value)) -> Check {
    let bundle = case.bundle(&["/bin/true"], |config| {
        config["linux"]["sysctl"] = json!({ key: value });
        edit(config);
    })?;
    ensure!(
        attack(case, &bundle)?.is_none(),
        "FELL: sysctl {key:?} was written"
    );
    Ok(())
}

/// What a hook saw.
#[derive(Debug, Default)]
struct Seen {
    env: Vec<String>,
    cwd: String,
    fds: Vec<(u32, String)>,
}

/// Runs a life with a hook of every kind and gives each to `judge`.
fn hooks(case: &Case<'_>, env: Option<Value>, judge: impl Fn(&str, &Seen) -> Check) -> Check {
    let at = |kind: &str| text(&case.dir().join(format!("seen-{kind}")));
    let bundle = case.bundle(&["/bin/true"], |config| {
        config["process"]["env"] = json!([
            "PATH=/bin",
            "IMAGE=1",
            "LD_PRELOAD=/proc/self/cwd/evil.so",
            "LD_LIBRARY_PATH=/proc/self/cwd/evil",
            "BASH_ENV=/evil",
            "ENV=/evil"
        ]);
        for kind in KINDS {
            // Absolute names: PATH is a part of what is looked at. `self`: numbers differ in a pid namespace.
            let script = format!(
                "exec >{}; /bin/readlink /proc/self/cwd; /bin/ls -l /proc/self/fd; echo env; \
                 exec /bin/cat /proc/self/environ",
                at(kind)
            );
            let mut hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 5});
            if let Some(env) = &env {
                hook["env"] = env.clone();
            }
            config["hooks"][kind] = json!([hook]);
        }
    })?;
    let mut command = case.command(&["run", "--bundle", &text(bundle.dir()), case.id()]);
    command.env("SECRET_OF_CALLER", "secret-value");
    case.start_within(command, "run", LIMIT)?.finish()?.ok()?;
    for kind in KINDS {
        let told = std::fs::read(at(kind)).unwrap_or_default();
        let told = String::from_utf8_lossy(&told).into_owned();
        let (head, tail) = told.split_once("env\n").unwrap_or((&told, ""));
        let mut lines = head.lines();
        let seen = Seen {
            cwd: lines.next().unwrap_or_default().to_owned(),
            fds: lines
                .filter_map(|line| {
                    let (head, target) = line.split_once(" -> ")?;
                    Some((head.rsplit(' ').next()?.parse().ok()?, target.to_owned()))
                })
                .collect(),
            // Every shell adds where it stands.
            env: tail
                .split('\0')
                .filter(|entry| !entry.is_empty() && !entry.starts_with("PWD="))
                .map(str::to_owned)
                .collect(),
        };
        ensure!(!seen.cwd.is_empty(), "the {kind} hook did not run");
        judge(kind, &seen)?;
    }
    Ok(())
}
