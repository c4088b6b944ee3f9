//! User, groups, mask, capabilities, no_new_privs.

use crate::case::Case;
use crate::suite::{Check, Need, Test, ensure, ensure_eq, test};
use fixtures::report::Capabilities;
use serde_json::{Value, json};

const USER: &str = "config.md#posix-platform-user";
const CAPS: &str = "config.md#linux-process";

/// CAP_KILL.
const KILL: u64 = 1 << 5;
/// CAP_NET_BIND_SERVICE.
const BIND: u64 = 1 << 10;
/// CAP_CHOWN.
const CHOWN: u64 = 1;

/// The topic's tests.
pub(crate) const TESTS: &[Test] = &[
    test("user-and-group", USER, |case| {
        let report = case.probe(&[], |config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1001})
        })?;
        let own = &report.identity;
        ensure_eq!(
            (own.uid, own.euid, own.gid, own.egid),
            (1000, 1000, 1001, 1001),
            "ids"
        );
        Ok(())
    })
    .needs(&[Need::Ids]),
    test("user-without-passwd-entry", USER, |case| {
        let report = case.probe(&[], |config| {
            config["process"]["user"] = json!({"uid": 4711, "gid": 4712})
        })?;
        ensure_eq!((report.identity.uid, report.identity.gid), (4711, 4712), "ids");
        Ok(())
    })
    .needs(&[Need::Ids]),
    test("additional-groups", USER, |case| {
        let report = case.probe(&[], |config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [10, 2000, 5]});
        })?;
        let mut groups = report.identity.groups;
        groups.sort_unstable();
        ensure_eq!(groups, [5, 10, 2000], "supplementary groups");
        Ok(())
    })
    .needs(&[Need::Ids]),
    test("no-groups-of-the-caller", USER, |case| {
        let report = case.probe(&[], |config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000})
        })?;
        let strange: Vec<_> = report
            .identity
            .groups
            .iter()
            .filter(|gid| **gid != 1000)
            .collect();
        ensure!(strange.is_empty(), "supplementary groups {strange:?}");
        Ok(())
    })
    .needs(&[Need::Ids]),
    test("umask", USER, |case| {
        let report = case.probe(&[], |config| {
            config["process"]["user"] = json!({"uid": 0, "gid": 0, "umask": 0o027})
        })?;
        ensure_eq!(report.identity.umask, 0o027, "umask");
        Ok(())
    }),
    test("umask-zero-is-a-value", USER, |case| {
        let report = case.probe(&[], |config| {
            config["process"]["user"] = json!({"uid": 0, "gid": 0, "umask": 0})
        })?;
        ensure_eq!(report.identity.umask, 0, "umask");
        Ok(())
    }),
    test("capabilities-five-sets", CAPS, |case| {
        let found = capabilities(case, |config| {
            config["process"]["capabilities"] = json!({
                "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
                "permitted": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
                "effective": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
                "inheritable": ["CAP_NET_BIND_SERVICE"],
                "ambient": ["CAP_NET_BIND_SERVICE"],
            });
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        })?;
        // A plain user keeps across execve(2) what is ambient; capabilities(7).
        let wanted = Capabilities {
            bounding: CHOWN | KILL | BIND,
            effective: BIND,
            permitted: BIND,
            inheritable: BIND,
            ambient: BIND,
        };
        ensure_eq!(found, wanted, "capability sets");
        Ok(())
    })
    .needs(&[Need::Ids]),
    test("capabilities-of-root-follow-bounding", CAPS, |case| {
        let found = capabilities(case, |config| {
            let list = json!(["CAP_CHOWN", "CAP_KILL"]);
            config["process"]["capabilities"] =
                json!({"bounding": list, "permitted": list, "effective": list});
        })?;
        let set = CHOWN | KILL;
        let wanted = Capabilities {
            bounding: set,
            effective: set,
            permitted: set,
            inheritable: 0,
            ambient: 0,
        };
        ensure_eq!(found, wanted, "capability sets");
        Ok(())
    }),
    test("capabilities-of-plain-user-are-lost", CAPS, |case| {
        let found = capabilities(case, |config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000})
        })?;
        ensure_eq!(
            (found.effective, found.permitted, found.ambient),
            (0, 0, 0),
            "effective, permitted, ambient"
        );
        ensure!(found.bounding != 0, "the bounding set is empty");
        Ok(())
    })
    .needs(&[Need::Ids]),
    test("capabilities-empty", CAPS, |case| {
        let found = capabilities(case, |config| {
            config["process"]["capabilities"] = json!({"bounding": [], "effective": [], "permitted": []})
        })?;
        ensure_eq!(found, Capabilities::default(), "capability sets");
        Ok(())
    }),
    test("capabilities-inheritable-alone", CAPS, |case| {
        let found = capabilities(case, |config| {
            config["process"]["capabilities"] = json!({"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"],
                "effective": [], "inheritable": ["CAP_KILL"], "ambient": []});
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        })?;
        ensure_eq!(
            (found.inheritable, found.effective, found.ambient),
            (KILL, 0, 0),
            "inheritable, effective, ambient"
        );
        Ok(())
    })
    .needs(&[Need::Ids]),
    // "SHOULD NOT fail": a configuration for a newer kernel still runs.
    test("capability-unknown-is-a-warning", CAPS, |case| {
        let bundle = case.bundle(&["/bin/probe"], |config| {
            config["process"]["capabilities"]["bounding"] = json!(["CAP_KILL", "CAP_OF_THE_FUTURE"]);
        })?;
        let report = crate::case::parse(&case.try_run(&bundle)?.ok()?.stdout)?;
        ensure_eq!(
            report.capabilities.map(|sets| sets.bounding),
            Some(KILL),
            "bounding set"
        );
        Ok(())
    }),
    test("no-new-privileges-on", CAPS, |case| privileges(case, true)),
    test("no-new-privileges-off", CAPS, |case| privileges(case, false)),
    test("no-new-privileges-absent-is-off", CAPS, |case| {
        let report = case.probe(&[], |config| {
            config["process"]
                .as_object_mut()
                .into_iter()
                .for_each(|process| drop(process.remove("noNewPrivileges")));
        })?;
        ensure!(!report.no_new_privs, "no_new_privs is set");
        Ok(())
    }),
    test("root-may-write-what-it-owns", USER, |case| {
        let report = case.probe(&["--try-write", "/etc/passwd"], |config| {
            config["root"]["readonly"] = false.into()
        })?;
        ensure!(
            report.writes["/etc/passwd"].ok,
            "root cannot write its own file: {:?}",
            report.writes
        );
        Ok(())
    }),
];

fn capabilities(case: &Case<'_>, edit: impl FnOnce(&mut Value)) -> Check<Capabilities> {
    let report = case.probe(&[], edit)?;
    ensure!(
        report.capabilities.is_some(),
        "capabilities could not be observed: {:?}",
        report.unobserved
    );
    Ok(report.capabilities.unwrap_or_default())
}

fn privileges(case: &Case<'_>, value: bool) -> Check {
    let report = case.probe(&[], |config| config["process"]["noNewPrivileges"] = value.into())?;
    ensure_eq!(report.no_new_privs, value, "no_new_privs");
    Ok(())
}
