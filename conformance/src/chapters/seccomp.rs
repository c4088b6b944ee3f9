//! Seccomp: actions, error numbers, conditions, flags.

use crate::case::Case;
use crate::suite::{Check, Need, Test, ensure, ensure_eq, test};
use fixtures::agent::Received;
use fixtures::{Answer, Report, SeccompAgent};
use serde_json::{Value, json};

const ANCHOR: &str = "config-linux.md#seccomp";
const NOTIFY: &str = "config-linux.md#containerprocessstate";
/// A call that the probe makes when asked to; both names, because libraries choose.
const MKDIR: [&str; 2] = ["mkdir", "mkdirat"];

/// The topic's tests.
pub(crate) const TESTS: &[Test] = &[
    test("seccomp-absent", ANCHOR, |case| {
        let report = case.probe(&[], |_| {})?;
        ensure_eq!(
            (report.seccomp_mode, report.seccomp_filters),
            (Some(0), Some(0)),
            "mode and filters"
        );
        Ok(())
    }),
    test("seccomp-filter-is-loaded", ANCHOR, |case| {
        let report = filtered(case, json!([{"names": MKDIR, "action": "SCMP_ACT_ERRNO"}]))?;
        ensure_eq!(report.seccomp_mode, Some(2), "mode");
        ensure!(
            report.seccomp_filters.is_some_and(|count| count >= 1),
            "filters {:?}",
            report.seccomp_filters
        );
        Ok(())
    }),
    test("seccomp-errno-default-is-eperm", ANCHOR, |case| {
        let report = filtered(case, json!([{"names": MKDIR, "action": "SCMP_ACT_ERRNO"}]))?;
        ensure_eq!(report.mkdirs["/mnt/made"].errno, Some(1), "errno of mkdir");
        Ok(())
    }),
    test("seccomp-errno-ret", ANCHOR, |case| {
        let report = filtered(
            case,
            json!([{"names": MKDIR, "action": "SCMP_ACT_ERRNO", "errnoRet": 99}]),
        )?;
        ensure_eq!(report.mkdirs["/mnt/made"].errno, Some(99), "errno of mkdir");
        Ok(())
    }),
    test("seccomp-default-errno-ret", ANCHOR, |case| {
        // Everything is allowed by name but mkdir, which falls to the default action.
        let profile = all_but_mkdir()?;
        let printed = case.shell("mkdir /mnt/made 2>&1; true", |config| {
            config["root"]["readonly"] = false.into();
            config["linux"]["seccomp"] = profile;
            config["linux"]["seccomp"]["defaultErrnoRet"] = 28.into();
        })?;
        ensure!(
            printed.contains("No space left"),
            "mkdir said {printed:?}, expected ENOSPC"
        );
        Ok(())
    }),
    test("seccomp-kill", ANCHOR, |case| {
        let bundle = case.bundle(&["/bin/probe", "--try-mkdir", "/mnt/made"], |config| {
            config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": MKDIR, "action": "SCMP_ACT_KILL_PROCESS"}]});
        })?;
        ensure_eq!(
            case.try_run(&bundle)?.code(),
            159,
            "exit code of run (128 + SIGSYS)"
        );
        Ok(())
    }),
    test("seccomp-log-lets-pass", ANCHOR, |case| {
        let report = filtered(case, json!([{"names": MKDIR, "action": "SCMP_ACT_LOG"}]))?;
        ensure!(report.mkdirs["/mnt/made"].ok, "mkdir: {:?}", report.mkdirs);
        Ok(())
    }),
    test("seccomp-rule-equal-to-default", ANCHOR, |case| {
        let report = filtered(case, json!([{"names": MKDIR, "action": "SCMP_ACT_ALLOW"}]))?;
        ensure!(report.mkdirs["/mnt/made"].ok, "mkdir: {:?}", report.mkdirs);
        Ok(())
    }),
    test("seccomp-unknown-name-is-skipped", ANCHOR, |case| {
        let names = ["mkdir", "mkdirat", "no_such_call_yet"];
        let report = filtered(case, json!([{"names": names, "action": "SCMP_ACT_ERRNO"}]))?;
        ensure_eq!(report.mkdirs["/mnt/made"].errno, Some(1), "errno of mkdir");
        Ok(())
    }),
    test("seccomp-condition-matches", ANCHOR, |case| {
        condition(case, 0o777, Some(1))
    }),
    test("seccomp-condition-does-not-match", ANCHOR, |case| {
        condition(case, 0o123, None)
    }),
    test(
        "seccomp-conditions-on-one-argument-are-alternatives",
        ANCHOR,
        |case| {
            let args = json!([{"index": 1, "value": 0o123, "op": "SCMP_CMP_EQ"},
                          {"index": 1, "value": 0o777, "op": "SCMP_CMP_EQ"}]);
            let report = filtered(
                case,
                json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": args}]),
            )?;
            ensure_eq!(report.mkdirs["/mnt/made"].errno, Some(1), "errno of mkdir");
            Ok(())
        },
    ),
    test("seccomp-masked-condition", ANCHOR, |case| {
        let args = json!([{"index": 1, "value": 0o700, "valueTwo": 0o700, "op": "SCMP_CMP_MASKED_EQ"}]);
        let report = filtered(
            case,
            json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": args}]),
        )?;
        ensure_eq!(report.mkdirs["/mnt/made"].errno, Some(1), "errno of mkdir");
        Ok(())
    }),
    test("seccomp-with-no-new-privileges", ANCHOR, |case| nnp(case, true)),
    test("seccomp-without-no-new-privileges", ANCHOR, |case| {
        nnp(case, false)
    }),
    test("seccomp-as-plain-user", ANCHOR, |case| {
        let report = case.probe(&["--try-mkdir", "/tmp/made"], |config| {
            errno_on_mkdir(config);
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        })?;
        ensure_eq!(report.mkdirs["/tmp/made"].errno, Some(1), "errno of mkdir");
        Ok(())
    })
    .needs(&[Need::Ids]),
    test("seccomp-architectures", ANCHOR, |case| {
        let report = case.probe(&["--try-mkdir", "/mnt/made"], |config| {
            errno_on_mkdir(config);
            config["linux"]["seccomp"]["architectures"] =
                json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
        })?;
        ensure_eq!(report.mkdirs["/mnt/made"].errno, Some(1), "errno of mkdir");
        Ok(())
    }),
    test("seccomp-flags", ANCHOR, |case| {
        let report = case.probe(&["--try-mkdir", "/mnt/made"], |config| {
            errno_on_mkdir(config);
            config["linux"]["seccomp"]["flags"] =
                json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]);
        })?;
        ensure_eq!(report.mkdirs["/mnt/made"].errno, Some(1), "errno of mkdir");
        Ok(())
    }),
    test("seccomp-profile-of-docker", ANCHOR, |case| {
        let profile = dockers_profile()?;
        let report = case.probe(&["--try-mkdir", "/tmp/made"], |config| {
            config["linux"]["seccomp"] = profile
        })?;
        ensure_eq!(report.seccomp_mode, Some(2), "mode");
        Ok(())
    }),
    test("seccomp-applies-to-exec", ANCHOR, |case| {
        let bundle = case.bundle(&["/bin/sleep", "100"], errno_on_mkdir)?;
        case.run_detached(&bundle)?;
        let out = case
            .run(&["exec", case.id(), "/bin/probe", "--try-mkdir", "/tmp/made"])?
            .ok()?
            .stdout;
        ensure_eq!(
            crate::case::parse(&out)?.mkdirs["/tmp/made"].errno,
            Some(1),
            "errno of mkdir in exec"
        );
        Ok(())
    }),
    test("seccomp-notify-document", NOTIFY, |case| {
        let agent = agent(case, Answer::Continue)?;
        let bundle = case.bundle(&["/bin/sleep", "100"], |config| {
            ask(config, case, &MKDIR);
            // With it, a runtime may load the filter as late as at start.
            config["process"]["noNewPrivileges"] = false.into();
            config["annotations"] = json!({"org.example.key": "value"});
        })?;
        case.create(&bundle)?;
        let received = connections(case, &agent, 1)?;
        ensure_eq!(
            received[0].descriptors,
            ["anon_inode:seccomp notify"],
            "descriptors"
        );
        let document = &received[0].document;
        let pid = case.pid()?;
        ensure!(document["ociVersion"].is_string(), "no ociVersion in {document}");
        ensure_eq!(document["fds"], json!(["seccompFd"]), "fds");
        ensure_eq!(document["pid"], json!(pid), "pid");
        ensure_eq!(document["metadata"], json!("for the agent"), "metadata");
        let state = &document["state"];
        ensure_eq!(state["id"], json!(case.id()), "id of the state");
        ensure_eq!(state["status"], json!("creating"), "status");
        ensure_eq!(state["pid"], json!(pid), "pid of the state");
        ensure_eq!(state["bundle"], json!(crate::case::text(bundle.dir())), "bundle");
        ensure_eq!(
            state["annotations"]["org.example.key"],
            json!("value"),
            "annotations"
        );
        Ok(())
    }),
    test("seccomp-notify-errno", NOTIFY, |case| {
        asked(case, Answer::Errno(123), false, Some(123))
    }),
    test("seccomp-notify-errno-with-no-new-privileges", NOTIFY, |case| {
        asked(case, Answer::Errno(123), true, Some(123))
    }),
    test("seccomp-notify-continue", NOTIFY, |case| {
        asked(case, Answer::Continue, false, None)
    }),
    // The kernel answers for an agent that is gone (seccomp_unotify(2)), if nobody else kept the listener.
    test("seccomp-notify-agent-gone", NOTIFY, |case| {
        asked(case, Answer::Nothing, false, Some(38))
    }),
    test(
        "seccomp-notify-agent-gone-with-no-new-privileges",
        NOTIFY,
        |case| asked(case, Answer::Nothing, true, Some(38)),
    ),
    test("seccomp-notify-after-create-and-start", NOTIFY, |case| {
        let agent = agent(case, Answer::Errno(123))?;
        let script = "mkdir /mnt/made 2>/mnt/said; sleep 100";
        let bundle = case.bundle(&["/bin/sh", "-c", script], |config| {
            ask(config, case, &MKDIR);
            config["root"]["readonly"] = false.into();
            config["process"]["noNewPrivileges"] = true.into();
        })?;
        case.create(&bundle)?;
        case.start()?;
        connections(case, &agent, 1)?;
        case.until("the call's answer", || {
            let said = case.run(&["exec", case.id(), "/bin/cat", "/mnt/said"])?.stdout;
            Ok(said.contains("No medium found"))
        })
    }),
    test("seccomp-notify-in-exec", NOTIFY, |case| {
        let agent = agent(case, Answer::Errno(123))?;
        let bundle = case.bundle(&["/bin/sleep", "100"], |config| ask(config, case, &MKDIR))?;
        case.run_detached(&bundle)?;
        let out = case
            .run(&["exec", case.id(), "/bin/probe", "--try-mkdir", "/tmp/made"])?
            .ok()?
            .stdout;
        ensure_eq!(
            crate::case::parse(&out)?.mkdirs["/tmp/made"].errno,
            Some(123),
            "errno of mkdir in exec"
        );
        let received = connections(case, &agent, 2)?;
        let document = &received[1].document;
        let pid = case.pid()?;
        ensure_eq!(document["state"]["pid"], json!(pid), "pid of the container");
        ensure!(
            document["pid"].as_i64().is_some_and(|own| own > 0 && own != pid),
            "pid of the program in {document}"
        );
        ensure_eq!(document["state"]["status"], json!("running"), "status");
        Ok(())
    }),
    test("seccomp-notify-of-calls-that-runtimes-make", NOTIFY, |case| {
        ask_about_runtime(case, false)
    }),
    test(
        "seccomp-notify-of-calls-that-runtimes-make-with-no-new-privileges",
        NOTIFY,
        |case| ask_about_runtime(case, true),
    ),
    test("seccomp-notify-without-agent-is-refused", NOTIFY, |case| {
        let bundle = case.bundle(&["/bin/true"], |config| {
            ask(config, case, &MKDIR);
            config["process"]["noNewPrivileges"] = false.into();
        })?;
        case.refused(&bundle)?;
        Ok(())
    }),
    test("seccomp-notify-without-path-is-refused", NOTIFY, |case| {
        let bundle = case.bundle(&["/bin/true"], |config| {
            ask(config, case, &MKDIR);
            if let Some(seccomp) = config["linux"]["seccomp"].as_object_mut() {
                seccomp.remove("listenerPath");
                seccomp.remove("listenerMetadata");
            }
        })?;
        case.refused(&bundle)?;
        Ok(())
    }),
    test(
        "seccomp-listener-path-without-notify-is-not-used",
        ANCHOR,
        |case| {
            let report = case.probe(&["--try-mkdir", "/tmp/made"], |config| {
                errno_on_mkdir(config);
                config["linux"]["seccomp"]["listenerPath"] = "/nobody/listens/here".into();
            })?;
            ensure_eq!(report.mkdirs["/tmp/made"].errno, Some(1), "errno of mkdir");
            Ok(())
        },
    ),
    // Old profiles do not know them; a runtime may not rely on them behind the filter.
    test("seccomp-refuses-calls-that-runtimes-make", ANCHOR, |case| {
        let report = case.probe(&[], |config| {
            config["process"]["noNewPrivileges"] = false.into();
            config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["close_range", "openat2", "faccessat2", "mount_setattr"], "action": "SCMP_ACT_ERRNO",
                    "errnoRet": 38}]});
        })?;
        ensure_eq!(report.seccomp_mode, Some(2), "mode");
        Ok(())
    }),
];

/// Where the agent of a test listens.
fn socket(case: &Case<'_>) -> std::path::PathBuf {
    case.dir().join("agent.sock")
}

fn agent(case: &Case<'_>, answer: Answer) -> Check<SeccompAgent> {
    Ok(SeccompAgent::listen(&socket(case), answer)?)
}

/// What came when there were `count` connections; the agent may be slower than the runtime.
fn connections(case: &Case<'_>, agent: &SeccompAgent, count: usize) -> Check<Vec<Received>> {
    case.until("the runtime's connections to the agent", || {
        Ok(agent.received().len() >= count)
    })?;
    let received = agent.received();
    ensure_eq!(received.len(), count, "connections");
    Ok(received)
}

/// Has the agent asked about these calls.
fn ask(config: &mut Value, case: &Case<'_>, names: &[&str]) {
    config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": crate::case::text(&socket(case)), "listenerMetadata": "for the agent",
        "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}]});
}

/// A runtime that calls under its own filter must not wait for itself.
fn ask_about_runtime(case: &Case<'_>, no_new_privileges: bool) -> Check {
    let _agent = agent(case, Answer::Continue)?;
    let report = case.probe(&[], |config| {
        let names = [
            "execve", "openat", "read", "close", "fcntl", "sendmsg", "recvmsg", "sendto", "futex",
        ];
        ask(config, case, &names);
        config["process"]["noNewPrivileges"] = no_new_privileges.into();
    })?;
    ensure_eq!(report.seccomp_mode, Some(2), "mode");
    Ok(())
}

/// What a program gets that makes a call which the agent answers.
fn asked(case: &Case<'_>, answer: Answer, no_new_privileges: bool, errno: Option<i32>) -> Check {
    let agent = agent(case, answer)?;
    let report = case.probe(&["--try-mkdir", "/mnt/made"], |config| {
        ask(config, case, &MKDIR);
        config["root"]["readonly"] = false.into();
        config["process"]["noNewPrivileges"] = no_new_privileges.into();
    })?;
    ensure_eq!(report.mkdirs["/mnt/made"].errno, errno, "errno of mkdir");
    connections(case, &agent, 1)?;
    Ok(())
}

fn filtered(case: &Case<'_>, syscalls: Value) -> Check<Report> {
    case.probe(&["--try-mkdir", "/mnt/made"], |config| {
        config["root"]["readonly"] = false.into();
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls});
    })
}

fn errno_on_mkdir(config: &mut Value) {
    config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": MKDIR, "action": "SCMP_ACT_ERRNO"}]});
}

/// Refuses mkdir when its second argument, the mode, equals `mode`; the probe asks for 0777.
fn condition(case: &Case<'_>, mode: u32, errno: Option<i32>) -> Check {
    let args = json!([{"index": 1, "value": mode, "op": "SCMP_CMP_EQ"}]);
    let report = filtered(
        case,
        json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": args}]),
    )?;
    ensure_eq!(report.mkdirs["/mnt/made"].errno, errno, "errno of mkdir");
    Ok(())
}

fn nnp(case: &Case<'_>, value: bool) -> Check {
    let report = case.probe(&["--try-mkdir", "/mnt/made"], |config| {
        errno_on_mkdir(config);
        config["process"]["noNewPrivileges"] = value.into();
    })?;
    ensure_eq!(report.no_new_privs, value, "no_new_privs");
    ensure_eq!(report.mkdirs["/mnt/made"].errno, Some(1), "errno of mkdir");
    Ok(())
}

/// Docker's list of allowed calls, built in: a user may be unable to read the checkout.
fn dockers_profile() -> Check<Value> {
    let docker: Value = serde_json::from_str(include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../fixtures/configs/docker.json"
    )))?;
    let profile = docker["linux"]["seccomp"].clone();
    ensure!(profile.is_object(), "no profile in docker's configuration");
    Ok(profile)
}

/// The same without mkdir: long enough for a shell.
fn all_but_mkdir() -> Check<Value> {
    let mut profile = dockers_profile()?;
    for rule in profile["syscalls"].as_array_mut().into_iter().flatten() {
        if let Some(names) = rule["names"].as_array_mut() {
            names.retain(|name| !MKDIR.iter().any(|own| name == own));
        }
    }
    Ok(profile)
}
