//! Limits and what they count, of containers that exist: update, events, and the sentences about limits that runtimes
//! differ in. A limit is read on the host, from whichever version of cgroups has the controller.

use crate::case::{Case, text};
use crate::command::Running;
use crate::host::CGROUP_ROOT;
use crate::suite::{Check, Failure, Need, Test, ensure, ensure_eq, test, why};
use fixtures::config;
use serde_json::{Value, json};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const ANY_PIDS: &[Need] = &[Need::Cgroup("pids")];
const ANY_MEMORY: &[Need] = &[Need::Cgroup("memory")];
const PIDS_AND_MEMORY: &[Need] = &[Need::Cgroup("pids"), Need::Cgroup("memory")];
const ANY_CPU: &[Need] = &[Need::Cgroup("cpu")];
const RESOURCES: &str = "config-linux.md#control-groups";

/// A limit: the controller, its file in version 1 and in version 2.
type Limit = [&'static str; 3];

const PIDS: Limit = ["pids", "pids.max", "pids.max"];
const MEMORY: Limit = ["memory", "memory.limit_in_bytes", "memory.max"];
const RESERVATION: Limit = ["memory", "memory.soft_limit_in_bytes", "memory.low"];

/// Options of update, where each shows, and as what in the two versions.
const OPTIONS: &[(&[&str], Limit, &str, &str)] = &[
    (
        &["--cpu-share", "200"],
        ["cpu", "cpu.shares", "cpu.weight"],
        "200",
        "29",
    ),
    (
        &["--cpu-period", "200000", "--cpu-quota", "100000"],
        ["cpu", "cpu.cfs_quota_us", "cpu.max"],
        "100000",
        "100000 200000",
    ),
    (
        &["--cpu-burst", "50000"],
        ["cpu", "cpu.cfs_burst_us", "cpu.max.burst"],
        "50000",
        "50000",
    ),
    (
        &["--cpuset-cpus", "0"],
        ["cpuset", "cpuset.cpus", "cpuset.cpus"],
        "0",
        "0",
    ),
    (
        &["--cpuset-mems", "0"],
        ["cpuset", "cpuset.mems", "cpuset.mems"],
        "0",
        "0",
    ),
    (&["--memory", "50331648"], MEMORY, "50331648", "50331648"),
    (
        &["--memory-reservation", "25165824"],
        RESERVATION,
        "25165824",
        "25165824",
    ),
    (
        &["--memory", "50331648", "--memory-swap", "67108864"],
        ["memory", "memory.memsw.limit_in_bytes", "memory.swap.max"],
        "67108864",
        "16777216",
    ),
    (&["--pids-limit", "40"], PIDS, "40", "40"),
    (&["--cpu-idle", "1"], ["cpu", "cpu.idle", "cpu.idle"], "1", "1"),
];

/// The topic's tests.
pub(crate) const TESTS: &[Test] = &[
    test("update-changes-a-limit", "cli", |case| {
        running(case, json!({"pids": {"limit": 50}}))?;
        update(case, &["--pids-limit", "60"])?;
        is(case, PIDS, "60")
    }).needs(ANY_PIDS),
    test("update-takes-options-behind-the-id", "cli", |case| {
        running(case, json!({"pids": {"limit": 50}}))?;
        case.run(&["update", case.id(), "--pids-limit", "60"])?.ok()?;
        is(case, PIDS, "60")
    }).needs(ANY_PIDS),
    test("update-from-a-file", "cli", |case| {
        running(case, json!({"memory": {"limit": 67_108_864}}))?;
        let file = case.dir().join("resources.json");
        std::fs::write(&file, json!({"memory": {"limit": 33_554_432}}).to_string())?;
        update(case, &["--resources", &text(&file)])?;
        is(case, MEMORY, "33554432")
    }).needs(ANY_MEMORY),
    test("update-from-standard-input", "cli", |case| {
        running(case, json!({"memory": {"limit": 67_108_864}}))?;
        // The two spellings of containerd's shims.
        for (limit, words) in [
            ("33554432", &["--resources=-"][..]),
            ("50331648", &["--resources", "-"]),
        ] {
            let file = case.dir().join(limit);
            std::fs::write(&file, format!("{{\"memory\": {{\"limit\": {limit}}}}}"))?;
            let mut command = case.command(&[&["update"], words, &[case.id()]].concat());
            command.stdin(File::open(&file)?);
            case.start_command(command, "update")?.finish()?.ok()?;
            is(case, MEMORY, limit)?;
        }
        Ok(())
    }).needs(ANY_MEMORY),
    test("update-takes-units", "cli", |case| {
        running(case, json!({"memory": {"limit": 67_108_864}}))?;
        for (typed, bytes) in [("50M", "52428800"), ("40m", "41943040"), ("65536k", "67108864")] {
            update(case, &["--memory", typed])?;
            is(case, MEMORY, bytes)?;
        }
        Ok(())
    }).needs(ANY_MEMORY),
    test("update-has-an-option-for-each-limit", "cli", |case| {
        running(case, json!({"memory": {"limit": 67_108_864}}))?;
        let mut seen = 0;
        for (options, limit, v1, v2) in OPTIONS {
            update(case, options)?;
            let Ok(found) = value(case, *limit) else { continue };
            ensure!(
                [*v1, *v2].contains(&found.as_str()),
                "{options:?}: {} is {found}",
                limit[1]
            );
            seen += 1;
        }
        ensure!(seen > 4, "only {seen} of the limits can be seen on this host");
        Ok(())
    }).needs(PIDS_AND_MEMORY),
    test("update-leaves-other-limits", "cli", |case| {
        let resources =
            json!({"pids": {"limit": 50}, "memory": {"limit": 67_108_864, "reservation": 33_554_432}});
        running(case, resources)?;
        update(case, &["--pids-limit", "60"])?;
        update(case, &["--memory", "50331648"])?;
        is(case, PIDS, "60")?;
        is(case, MEMORY, "50331648")?;
        is(case, RESERVATION, "33554432")
    }).needs(PIDS_AND_MEMORY),
    test("update-of-the-quota-leaves-the-period", "cli", |case| {
        running(case, json!({"cpu": {"quota": 500_000, "period": 1_000_000}}))?;
        update(case, &["--cpu-quota", "600000"])?;
        quota_is(case, "600000", "1000000")?;
        // Three quarters: systemd knows hundredths of a CPU.
        update(case, &["--cpu-period", "800000"])?;
        quota_is(case, "600000", "800000")
    }).needs(ANY_CPU),
    test("update-takes-limits-away", "cli", |case| {
        running(
            case,
            json!({"pids": {"limit": 50}, "memory": {"limit": 67_108_864}}),
        )?;
        update(case, &["--pids-limit", "-1", "--memory", "-1"])?;
        is(case, PIDS, "max")?;
        let memory = value(case, MEMORY)?;
        ensure!(memory == "max" || memory.len() > 16, "memory limit {memory}");
        Ok(())
    }).needs(PIDS_AND_MEMORY),
    test("update-of-a-paused-container-leaves-it-paused", "cli", |case| {
        running(case, json!({"pids": {"limit": 50}}))?;
        case.verb("pause")?;
        update(case, &["--pids-limit", "60"])?;
        is(case, PIDS, "60")?;
        ensure_eq!(case.state()?["status"], "paused", "status after update");
        case.verb("resume").map(drop)
    }).needs(&[Need::Cgroup("pids"), Need::Cgroup("freezer")]),
    test("update-of-a-stopped-container-is-refused", "cli", |case| {
        running(case, json!({}))?;
        case.kill_and_wait()?;
        case.run(&["update", "--pids-limit", "60", case.id()])?
            .refused()
            .map(drop)
    }).needs(ANY_PIDS),
    test("events-stats-is-one-object", "cli", |case| {
        running(
            case,
            json!({"pids": {"limit": 50}, "memory": {"limit": 67_108_864}}),
        )?;
        let printed = case.run(&["events", "--stats", case.id()])?.ok()?.stdout;
        ensure_eq!(printed.matches('\n').count(), 1, "lines of {printed:?}");
        let event: Value = serde_json::from_str(&printed)?;
        ensure_eq!(event["type"], "stats", "type in {printed}");
        ensure_eq!(event["id"], case.id(), "id in {printed}");
        let data = &event["data"];
        ensure_eq!(
            data["pids"],
            json!({"current": 1, "limit": 50}),
            "pids in {printed}"
        );
        ensure_eq!(
            data["memory"]["usage"]["limit"],
            67_108_864,
            "memory limit in {printed}"
        );
        ensure!(
            data["memory"]["usage"]["usage"].as_u64() > Some(0),
            "memory usage in {printed}"
        );
        ensure!(
            data["cpu"]["usage"]["total"].as_u64() > Some(0),
            "processor time in {printed}"
        );
        for part in ["cpuset", "blkio", "hugetlb", "intel_rdt", "network_interfaces"] {
            ensure!(data.get(part).is_some(), "no {part} in {printed}");
        }
        Ok(())
    }).needs(PIDS_AND_MEMORY),
    test(
        "events-come-at-intervals-and-end-with-the-container",
        "cli",
        |case| {
            running(case, json!({}))?;
            let events = follow(case, "100ms")?;
            case.until("three lines of statistics", || {
                Ok(events
                    .stdout()?
                    .lines()
                    .filter(|line| line.starts_with("{\"type\":\"stats\""))
                    .count()
                    >= 3)
            })?;
            case.run(&["delete", "--force", case.id()])?.ok()?;
            events.finish()?.ok().map(drop)
        },
    ).needs(&[Need::OwnCgroup]),
    test("events-tell-of-lack-of-memory", "cli", |case| {
        let script = "while ! [ -e /tmp/go ]; do sleep 0.05; done; \
                      dd if=/dev/zero of=/dev/null bs=64M count=1; sleep 100";
        let bundle = case.bundle(&["/bin/sh", "-c", script], |config| {
            config["root"]["readonly"] = false.into();
            config["linux"]["resources"]["memory"] = json!({"limit": 20 << 20, "swap": 20 << 20});
        })?;
        case.run_detached(&bundle)?;
        let events = follow(case, "200ms")?;
        case.until("statistics", || Ok(events.stdout()?.contains("\"stats\"")))?;
        std::fs::write(bundle.dir().join("rootfs/tmp/go"), "")?;
        let line = format!("{{\"type\":\"oom\",\"id\":\"{}\"}}\n", case.id());
        case.until("the event", || Ok(events.stdout()?.contains(&line)))?;
        case.run(&["delete", "--force", case.id()])?.ok()?;
        events.finish()?.ok().map(drop)
    }).needs(ANY_MEMORY),
    test("events-of-a-stopped-container-are-refused", "cli", |case| {
        running(case, json!({}))?;
        case.kill_and_wait()?;
        case.run(&["events", "--stats", case.id()])?.refused()?;
        case.run(&["events", case.id()])?.refused().map(drop)
    }).needs(&[Need::OwnCgroup]),
    // Both runc (it writes 1, to be like systemd) and crun (it takes 0 for "not set") leave the specification here.
    test("pids-limit-zero-is-a-limit", "config-linux.md#pids", |case| {
        let bundle = case.bundle(&["/bin/sleep", "100"], |config| {
            config["linux"]["resources"]["pids"] = json!({"limit": 0});
        })?;
        case.run_detached(&bundle)?;
        // systemd takes no 0, and with 1 no further process can be made either.
        is(case, PIDS, if case.is_systemd() { "1" } else { "0" })
    }).needs(ANY_PIDS),
    // runc and crun put rules of their own behind the list, which nothing in it can take back.
    test(
        "devices-last-rule-wins-over-a-default",
        "config-linux.md#allowed-device-list",
        |case| {
            let report = case.probe(
                &["--try-write", "/dev/full", "--try-write", "/dev/null"],
                |config| {
                    config["linux"]["resources"]["devices"] = json!([{"allow": false, "access": "rwm"},
                {"allow": false, "type": "c", "major": 1, "minor": 7, "access": "rwm"}]);
                },
            )?;
            ensure_eq!(
                report.writes["/dev/full"].errno,
                Some(1),
                "errno of opening a denied device (EPERM is 1)"
            );
            ensure!(
                report.writes["/dev/null"].errno != Some(1),
                "the other default devices stay"
            );
            Ok(())
        },
    ).needs(&[Need::Root(why::DEVICE_RULES)]),
    test(
        "cgroup-belongs-to-the-containers-user",
        "config-linux.md#cgroup-ownership",
        |case| {
            let (dir, limit) = owners(case, "rw")?;
            ensure_eq!(dir, case.who().on_host(0)[0], "owner of the cgroup's directory");
            // What a user makes is all the user's own.
            let owner = if case.who().is_root() { 0 } else { dir };
            ensure_eq!(limit, owner, "owner of a limit's file");
            Ok(())
        },
    )
    .needs(&[Need::CgroupV2("memory")]),
    test(
        "cgroup-without-a-writable-mount-stays-the-hosts",
        "config-linux.md#cgroup-ownership",
        |case| {
            ensure_eq!(owners(case, "ro")?.0, 0, "owner of the cgroup's directory");
            Ok(())
        },
    ).needs(&[
        Need::Root("a user's cgroup is the user's own with any mount"),
        Need::CgroupV2("memory"),
    ]),
    test(
        "failed-run-with-the-hosts-pids-leaves-nothing",
        "runtime.md#errors",
        |case| {
            let bundle = case.bundle(&["/bin/nothing-here"], |config| {
                case.who().inherit(config, "pid")
            })?;
            let finished = case.try_run(&bundle)?;
            ensure!(finished.code() != 0, "a program that is missing was run");
            case.nothing_left()
        },
    ),
    test("resources-in-all-controllers-at-once", RESOURCES, |case| {
        let resources = json!({"pids": {"limit": 33}, "memory": {"limit": 67_108_864, "reservation": 33_554_432},
            "cpu": {"quota": 50_000, "period": 200_000}});
        running(case, resources)?;
        is(case, PIDS, "33")?;
        is(case, MEMORY, "67108864")?;
        is(case, RESERVATION, "33554432")?;
        quota_is(case, "50000", "200000")
    }).needs(&[Need::Cgroup("pids"), Need::Cgroup("memory"), Need::Cgroup("cpu")]),
];

/// A container that sleeps, with these resources beside the usual ones.
fn running(case: &Case<'_>, resources: Value) -> Check {
    let bundle = case.bundle(&["/bin/sleep", "100"], |config| {
        for (key, value) in resources.as_object().into_iter().flatten() {
            config["linux"]["resources"][key] = value.clone();
        }
    })?;
    case.run_detached(&bundle).map(drop)
}

fn update(case: &Case<'_>, options: &[&str]) -> Check {
    case.run(&[&["update"], options, &[case.id()]].concat())?
        .ok()
        .map(drop)
}

/// Who owns the cgroup of a container in a user namespace, and who owns its memory limit; `access` is that of its mount.
fn owners(case: &Case<'_>, access: &str) -> Check<(u32, u32)> {
    let bundle = case.bundle(&["/bin/sleep", "100"], |config| {
        case.who().with_user_namespace(config);
        config::set_namespace(config, "cgroup", None);
        let mounts = config["mounts"].as_array_mut();
        mounts
            .into_iter()
            .for_each(|mounts| mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup"));
        let options = ["nosuid", "noexec", "nodev", access];
        config::add_mount(config, "/sys/fs/cgroup", "cgroup", "cgroup", &options);
    })?;
    case.run_detached(&bundle)?;
    let own = case.cgroup_below(Path::new(CGROUP_ROOT));
    Ok((
        std::fs::metadata(&own)?.uid(),
        std::fs::metadata(own.join("memory.max"))?.uid(),
    ))
}

/// `events` in the background.
fn follow(case: &Case<'_>, interval: &str) -> Check<Running> {
    case.start_command(
        case.command(&["events", "--interval", interval, case.id()]),
        "events",
    )
}

/// The content of a limit's file.
fn value(case: &Case<'_>, [controller, v1, v2]: Limit) -> Check<String> {
    let root = Path::new(CGROUP_ROOT);
    let places = [
        case.cgroup_below(&root.join(controller)).join(v1),
        case.cgroup_below(root).join(v2),
    ];
    match places.iter().find(|path| path.exists()) {
        Some(path) => Ok(std::fs::read_to_string(path)?.trim().to_owned()),
        None => Err(Failure::Skipped(format!(
            "needs the cgroup controller {controller}"
        ))),
    }
}

fn is(case: &Case<'_>, limit: Limit, expected: &str) -> Check {
    ensure_eq!(value(case, limit)?, expected, "{}", limit[1]);
    Ok(())
}

fn quota_is(case: &Case<'_>, quota: &str, period: &str) -> Check {
    let found = value(case, ["cpu", "cpu.cfs_quota_us", "cpu.max"])?;
    match found.split_once(' ') {
        Some(both) => ensure_eq!(both, (quota, period), "cpu.max"),
        None => {
            ensure_eq!(found, quota, "cpu.cfs_quota_us");
            is(case, ["cpu", "cpu.cfs_period_us", ""], period)?;
        }
    }
    Ok(())
}
