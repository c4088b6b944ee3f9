//! The program: arguments, PATH, folder, environment, limits, scheduling, execution domain, signals, session.

use crate::case::Case;
use crate::suite::{Check, Failure, Need, Test, ensure, ensure_eq, test};
use fixtures::config;
use fixtures::report::Rlimit;
use serde_json::json;

const PROCESS: &str = "config.md#process";
const POSIX: &str = "config.md#posix-process";
const LINUX: &str = "config.md#linux-process";

/// The topic's tests.
pub(crate) const TESTS: &[Test] = &[
    test("args-are-exact", PROCESS, |case| {
        let odd = [
            "/bin/probe",
            "--stat",
            "with space",
            "--stat",
            "",
            "--stat",
            "quo\"te's",
            "--stat",
            "a\nb\t*$HOME",
        ];
        let bundle = case.bundle(&odd, |_| {})?;
        ensure_eq!(case.probe_in(&bundle)?.args, odd, "arguments");
        Ok(())
    }),
    test("program-is-searched-in-path", PROCESS, |case| {
        let bundle = case.bundle(&["probe"], |config| {
            config["process"]["env"] = json!(["PATH=/nowhere:/bin"])
        })?;
        ensure_eq!(case.probe_in(&bundle)?.args, ["probe"], "arguments");
        Ok(())
    }),
    test("path-is-the-containers", PROCESS, |case| {
        let bundle = case.bundle(&["only-here"], |config| {
            config["process"]["env"] = json!(["PATH=/tools"])
        })?;
        std::fs::create_dir_all(bundle.rootfs().join("tools"))?;
        std::fs::hard_link(
            bundle.rootfs().join("bin/probe"),
            bundle.rootfs().join("tools/only-here"),
        )?;
        case.probe_in(&bundle)?;
        Ok(())
    }),
    test("program-with-slash-is-relative-to-cwd", PROCESS, |case| {
        let bundle = case.bundle(&["./probe"], |config| config["process"]["cwd"] = "/bin".into())?;
        case.probe_in(&bundle)?;
        Ok(())
    }),
    test("program-may-be-a-script", PROCESS, |case| {
        let bundle = case.bundle(&["/script", "given"], |_| {})?;
        let script = bundle.rootfs().join("script");
        std::fs::write(&script, "#!/bin/sh\necho script got $1\n")?;
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        ensure_eq!(
            case.try_run(&bundle)?.ok()?.stdout,
            "script got given\n",
            "output"
        );
        Ok(())
    }),
    test("cwd", PROCESS, |case| {
        let report = case.probe(&[], |config| config["process"]["cwd"] = "/var/lib".into())?;
        ensure_eq!(report.cwd.as_deref(), Some("/var/lib"), "working directory");
        Ok(())
    }),
    test("cwd-in-a-mount", PROCESS, |case| {
        let report = case.probe(&[], |config| {
            config::add_mount(config, "/mnt", "tmpfs", "tmpfs", &[]);
            config["process"]["cwd"] = "/mnt".into();
        })?;
        ensure_eq!(report.cwd.as_deref(), Some("/mnt"), "working directory");
        Ok(())
    }),
    test("cwd-that-only-the-user-may-enter", PROCESS, |case| {
        let bundle = case.bundle(&["/bin/probe"], |config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            config["process"]["cwd"] = "/home/app".into();
        })?;
        let home = bundle.rootfs().join("home/app");
        std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        case.chown(&home, 1000, false)?;
        ensure_eq!(
            case.probe_in(&bundle)?.cwd.as_deref(),
            Some("/home/app"),
            "working directory"
        );
        Ok(())
    })
    .needs(&[Need::Ids]),
    test("env-is-exact-and-in-order", PROCESS, |case| {
        let env = [
            "PATH=/bin",
            "Z=last first",
            "A=",
            "HOME=/x",
            "WITH=equals=sign",
            "LONG=0123456789",
        ];
        let report = case.probe(&[], |config| config["process"]["env"] = json!(env))?;
        ensure_eq!(report.env, env, "environment");
        Ok(())
    }),
    test("env-of-the-caller-stays-out", PROCESS, |case| {
        let bundle = case.bundle(&["/bin/probe"], |_| {})?;
        let mut command = case.command(&["run", "-b", &bundle.dir().to_string_lossy(), case.id()]);
        command.env("LEAK_OF_THE_CALLER", "1");
        let finished = case.start_command(command, "run")?.finish()?.ok()?;
        let report = crate::case::parse(&finished.stdout)?;
        ensure!(
            report.env_values("LEAK_OF_THE_CALLER").is_empty(),
            "environment {:?}",
            report.env
        );
        Ok(())
    }),
    test("env-home-is-filled-in", PROCESS, |case| {
        let report = case.probe(&[], |config| {
            config["process"]["env"] = json!(["PATH=/bin"]);
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        })?;
        ensure_eq!(
            report.env_values("HOME"),
            ["/home/app"],
            "HOME, from the container's /etc/passwd"
        );
        Ok(())
    })
    .needs(&[Need::Ids]),
    test("env-home-is-kept", PROCESS, |case| {
        let report = case.probe(&[], |config| {
            config["process"]["env"] = json!(["PATH=/bin", "HOME=/given"])
        })?;
        ensure_eq!(report.env_values("HOME"), ["/given"], "HOME");
        Ok(())
    }),
    test("rlimit-nofile", POSIX, |case| {
        rlimit(case, "RLIMIT_NOFILE", 100, 200)
    }),
    test("rlimit-core", POSIX, |case| rlimit(case, "RLIMIT_CORE", 0, 4096)),
    test("rlimit-nproc", POSIX, |case| {
        rlimit(case, "RLIMIT_NPROC", 300, 400)
    }),
    test("rlimit-stack", POSIX, |case| {
        rlimit(case, "RLIMIT_STACK", 4_194_304, 67_108_864)
    }),
    test("rlimit-fsize", POSIX, |case| {
        rlimit(case, "RLIMIT_FSIZE", 1_048_576, 2_097_152)
    }),
    test("rlimit-memlock", POSIX, |case| {
        rlimit(case, "RLIMIT_MEMLOCK", 1024, 4096)
    }),
    test("rlimit-sigpending", POSIX, |case| {
        rlimit(case, "RLIMIT_SIGPENDING", 10, 20)
    }),
    test("rlimit-cpu", POSIX, |case| rlimit(case, "RLIMIT_CPU", 1000, 2000)),
    test("rlimit-unlimited", POSIX, |case| {
        let report = case.probe(&[], |config| {
            config["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": u64::MAX}]);
        })?;
        ensure_eq!(
            report.rlimits["RLIMIT_CORE"],
            Rlimit {
                soft: Some(0),
                hard: None
            },
            "RLIMIT_CORE"
        );
        Ok(())
    }),
    test("several-rlimits", POSIX, |case| {
        let report = case.probe(&[], |config| {
            config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128},
                                                  {"type": "RLIMIT_CORE", "soft": 1, "hard": 2}]);
        })?;
        ensure_eq!(report.rlimits["RLIMIT_NOFILE"], limits(64, 128), "RLIMIT_NOFILE");
        ensure_eq!(report.rlimits["RLIMIT_CORE"], limits(1, 2), "RLIMIT_CORE");
        Ok(())
    }),
    test("oom-score-adj", LINUX, |case| {
        let report = case.probe(&[], |config| config["process"]["oomScoreAdj"] = 500.into())?;
        ensure_eq!(report.oom_score_adj, Some(500), "oom_score_adj");
        Ok(())
    }),
    test("oom-score-adj-absent-is-inherited", LINUX, |case| {
        let own = std::fs::read_to_string("/proc/self/oom_score_adj")?;
        let report = case.probe(&[], |_| {})?;
        ensure_eq!(
            report.oom_score_adj.map(|value| value.to_string()),
            Some(own.trim().to_owned()),
            "oom_score_adj"
        );
        Ok(())
    }),
    test("scheduler-batch-and-nice", LINUX, |case| {
        let report = case.probe(&[], |config| {
            config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 7});
        })?;
        ensure_eq!(
            (report.scheduling.policy, report.scheduling.nice),
            (Some(3), 7),
            "policy and nice"
        );
        Ok(())
    }),
    test("scheduler-idle", LINUX, |case| {
        let report = case.probe(&[], |config| {
            config["process"]["scheduler"] = json!({"policy": "SCHED_IDLE"})
        })?;
        ensure_eq!(report.scheduling.policy, Some(5), "policy");
        Ok(())
    }),
    test("scheduler-fifo", LINUX, |case| realtime(case, "SCHED_FIFO", 1))
        .needs(&[Need::Root("real-time scheduling is a right over the host")]),
    test("scheduler-round-robin", LINUX, |case| {
        realtime(case, "SCHED_RR", 2)
    })
    .needs(&[Need::Root("real-time scheduling is a right over the host")]),
    test("io-priority-best-effort", LINUX, |case| {
        let report = case.probe(&["--ioprio"], |config| {
            config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
        })?;
        let found = (
            report.scheduling.io_class.as_deref(),
            report.scheduling.io_priority,
        );
        ensure_eq!(found, (Some("best-effort"), Some(6)), "class and priority");
        Ok(())
    }),
    test("io-priority-idle", LINUX, |case| {
        let report = case.probe(&["--ioprio"], |config| {
            config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0});
        })?;
        ensure_eq!(report.scheduling.io_class.as_deref(), Some("idle"), "class");
        Ok(())
    }),
    test("personality-linux32", "config-linux.md#personality", |case| {
        let report = case.probe(&[], |config| {
            config["linux"]["personality"] = json!({"domain": "LINUX32"})
        })?;
        ensure_eq!(
            report.personality.map(|bits| bits & 0xff),
            Some(8),
            "execution domain (PER_LINUX32 is 8)"
        );
        Ok(())
    }),
    test("personality-linux", "config-linux.md#personality", |case| {
        let report = case.probe(&[], |config| {
            config["linux"]["personality"] = json!({"domain": "LINUX"})
        })?;
        ensure_eq!(report.personality, Some(0), "execution domain");
        Ok(())
    }),
    test("signals-are-at-their-defaults", PROCESS, |case| {
        let report = case.probe(&[], |_| {})?;
        let (blocked, ignored) = report.signals.unwrap_or((u64::MAX, u64::MAX));
        // The probe's own runtime library ignores SIGPIPE (13) before it can look.
        ensure_eq!(
            (blocked, ignored & !(1 << 12)),
            (0, 0),
            "blocked and ignored signals"
        );
        Ok(())
    }),
    test("program-leads-its-session", PROCESS, |case| {
        let report = case.probe(&[], |_| {})?;
        ensure_eq!((report.sid, report.pgid), (1, 1), "session and process group");
        Ok(())
    }),
    test("only-the-program-is-there", PROCESS, |case| {
        let printed = case.shell("ls /proc | grep -c '^[0-9]'", |_| {})?;
        // The shell, ls and grep.
        ensure!(
            printed.parse::<u32>().is_ok_and(|count| count <= 3),
            "{printed} processes inside"
        );
        Ok(())
    }),
];

fn limits(soft: u64, hard: u64) -> Rlimit {
    Rlimit {
        soft: Some(soft),
        hard: Some(hard),
    }
}

fn rlimit(case: &Case<'_>, name: &str, soft: u64, hard: u64) -> Check {
    let report = case.probe(&[], |config| {
        config["process"]["rlimits"] = json!([{"type": name, "soft": soft, "hard": hard}]);
    })?;
    ensure_eq!(report.rlimits[name], limits(soft, hard), "{name}");
    Ok(())
}

fn realtime(case: &Case<'_>, policy: &str, number: u32) -> Check {
    // With real-time group scheduling every new cgroup starts without a share, and no process in it may be real-time.
    if std::path::Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
        return Err(Failure::Skipped(
            "the kernel has real-time group scheduling".to_owned(),
        ));
    }
    let report = case.probe(&[], |config| {
        config["process"]["scheduler"] = json!({"policy": policy, "priority": 10});
    })?;
    ensure_eq!(
        (report.scheduling.policy, report.scheduling.rt_priority),
        (Some(number), Some(10)),
        "policy, priority"
    );
    Ok(())
}
