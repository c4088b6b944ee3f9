//! Cgroups: the path, a few limits of each controller, membership, removal. Limits are read on the host.

use crate::case::Case;
use crate::host::CGROUP_ROOT;
use crate::suite::{Check, Need, Test, ensure, ensure_eq, test, why};
use fixtures::Bundle;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const PATH: &str = "config-linux.md#cgroups-path";
const RESOURCES: &str = "config-linux.md#control-groups";
const MEMORY: &[Need] = &[Need::CgroupV1("memory")];
const PIDS: &[Need] = &[Need::CgroupV1("pids")];
const CPU: &[Need] = &[Need::CgroupV1("cpu")];
const CPUSET: &[Need] = &[Need::CgroupV1("cpuset")];
const ANY_PIDS: &[Need] = &[Need::Cgroup("pids")];
const DEVICES: &[Need] = &[Need::Root(why::DEVICE_RULES), Need::Cgroup("devices")];
const FREEZER: &[Need] = &[Need::Cgroup("freezer")];

/// The topic's tests.
pub(crate) const TESTS: &[Test] = &[
    test("path-is-used-in-v1", PATH, |case| {
        let bundle = with_resources(case, json!({}))?;
        case.create(&bundle)?;
        let pid = case.pid()?.to_string();
        for controller in ["memory", "pids", "devices", "freezer", "cpu"] {
            let procs = std::fs::read_to_string(folder(case, controller).join("cgroup.procs"))?;
            ensure!(
                procs.lines().any(|line| line == pid),
                "{controller}: process {pid} is not in the cgroup"
            );
        }
        Ok(())
    })
    .needs(MEMORY),
    test("path-is-used-in-v2", PATH, |case| {
        let bundle = with_resources(case, json!({}))?;
        case.create(&bundle)?;
        let procs = std::fs::read_to_string(folder(case, "").join("cgroup.procs"))?;
        ensure_eq!(procs.trim(), case.pid()?.to_string(), "processes in the cgroup");
        Ok(())
    })
    .needs(&[Need::CgroupV2("memory")]),
    test("cgroup-is-removed-by-delete", "runtime.md#delete", |case| {
        let bundle = with_resources(case, json!({"pids": {"limit": 100}}))?;
        case.create(&bundle)?;
        case.kill_and_wait()?;
        case.verb("delete")?;
        case.nothing_left()
    })
    .needs(ANY_PIDS),
    test("groups-of-any-name-are-removed", "runtime.md#delete", |case| {
        // Octal 377 is no character in UTF-8; the groups are the container's own, in its own cgroup.
        let script = "for at in /sys/fs/cgroup/pids /sys/fs/cgroup; do mkdir \"$at/$(printf '\\377')\" && exit 0; done; exit 9";
        let bundle = case.bundle(&["/bin/sh", "-c", script], |config| {
            fixtures::config::set_namespace(config, "cgroup", None);
            let mounts = config["mounts"].as_array_mut();
            mounts
                .into_iter()
                .for_each(|mounts| mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup"));
            let options = ["nosuid", "noexec", "nodev", "rw"];
            fixtures::config::add_mount(config, "/sys/fs/cgroup", "cgroup", "cgroup", &options);
        })?;
        case.try_run(&bundle)?.ok()?;
        case.nothing_left()
    })
    .needs(ANY_PIDS),
    test("memory-limit-v1", RESOURCES, |case| {
        written(
            case,
            json!({"memory": {"limit": 67_108_864}}),
            "memory",
            "memory.limit_in_bytes",
            "67108864",
        )
    })
    .needs(MEMORY),
    test("memory-reservation-v1", RESOURCES, |case| {
        let resources = json!({"memory": {"reservation": 33_554_432}});
        written(
            case,
            resources,
            "memory",
            "memory.soft_limit_in_bytes",
            "33554432",
        )
    })
    .needs(MEMORY),
    test("memory-limit-v2", RESOURCES, |case| {
        written(
            case,
            json!({"memory": {"limit": 67_108_864}}),
            "",
            "memory.max",
            "67108864",
        )
    })
    .needs(&[Need::CgroupV2("memory")]),
    test("pids-limit-v1", RESOURCES, |case| {
        written(case, json!({"pids": {"limit": 77}}), "pids", "pids.max", "77")
    })
    .needs(PIDS),
    test("pids-limit-v2", RESOURCES, |case| {
        written(case, json!({"pids": {"limit": 77}}), "", "pids.max", "77")
    })
    .needs(&[Need::CgroupV2("pids")]),
    test("pids-unlimited-v1", RESOURCES, |case| {
        written(case, json!({"pids": {"limit": -1}}), "pids", "pids.max", "max")
    })
    .needs(PIDS),
    test("pids-limit-bites", RESOURCES, |case| {
        let bundle = case.bundle(&["/bin/probe", "spawn", "20", "0.2"], |config| {
            config["linux"]["resources"]["pids"] = json!({"limit": 8});
        })?;
        let printed = case.try_run(&bundle)?.ok()?.stdout;
        let spawned: u32 = printed
            .split_whitespace()
            .nth(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or(u32::MAX);
        ensure!(spawned < 8, "limit 8, but {printed:?}");
        Ok(())
    })
    .needs(ANY_PIDS),
    test("cpu-shares-v1", RESOURCES, |case| {
        written(case, json!({"cpu": {"shares": 512}}), "cpu", "cpu.shares", "512")
    })
    .needs(CPU),
    test("cpu-quota-v1", RESOURCES, |case| {
        let resources = json!({"cpu": {"quota": 50_000, "period": 100_000}});
        written(case, resources, "cpu", "cpu.cfs_quota_us", "50000")?;
        ensure_eq!(
            read(case, "cpu", "cpu.cfs_period_us")?,
            "100000",
            "cpu.cfs_period_us"
        );
        Ok(())
    })
    .needs(CPU),
    test("cpuset-v1", RESOURCES, |case| {
        written(
            case,
            json!({"cpu": {"cpus": "0", "mems": "0"}}),
            "cpuset",
            "cpuset.cpus",
            "0",
        )
    })
    .needs(CPUSET),
    test("devices-denied-by-default", RESOURCES, |case| {
        let report = opens_mine(case, json!([{"allow": false, "access": "rwm"}]))?;
        ensure_eq!(
            report,
            Some(1),
            "errno of opening a device that no rule allows (EPERM is 1)"
        );
        Ok(())
    })
    .needs(DEVICES),
    test("devices-allowed-by-rule", RESOURCES, |case| {
        let allow = json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"});
        let errno = opens_mine(case, json!([{"allow": false, "access": "rwm"}, allow]))?;
        ensure!(errno != Some(1), "refused in spite of the rule: errno {errno:?}");
        Ok(())
    })
    .needs(DEVICES),
    test("devices-last-rule-wins", RESOURCES, |case| {
        let allow = json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"});
        let deny = json!({"allow": false, "type": "c", "major": 1, "minor": 11, "access": "rw"});
        let errno = opens_mine(case, json!([{"allow": false, "access": "rwm"}, allow, deny]))?;
        ensure_eq!(errno, Some(1), "errno of opening the device (EPERM is 1)");
        Ok(())
    })
    .needs(DEVICES),
    test("pause-and-resume", "cli", |case| {
        let bundle = with_resources(case, json!({}))?;
        case.run_detached(&bundle)?;
        case.verb("pause")?;
        ensure_eq!(case.state()?["status"], "paused", "status after pause");
        case.verb("resume")?;
        ensure_eq!(case.state()?["status"], "running", "status after resume");
        Ok(())
    })
    .needs(FREEZER),
    test("delete-force-of-paused", "cli", |case| {
        let bundle = with_resources(case, json!({}))?;
        case.run_detached(&bundle)?;
        case.verb("pause")?;
        case.run(&["delete", "--force", case.id()])?.ok()?;
        case.nothing_left()
    })
    .needs(FREEZER),
    test(
        "cgroup-namespace-hides-the-path",
        "config-linux.md#namespaces",
        |case| {
            let report = case.probe(&[], |config| {
                fixtures::config::set_namespace(config, "cgroup", None)
            })?;
            let memory = report
                .cgroup
                .iter()
                .find(|line| line.contains(":memory:") || line.starts_with("0::"));
            ensure!(
                memory.is_some_and(|line| line.ends_with(":/")),
                "/proc/self/cgroup {:?}",
                report.cgroup
            );
            Ok(())
        },
    )
    .needs(&[Need::Namespace("cgroup")]),
];

fn folder(case: &Case<'_>, controller: &str) -> PathBuf {
    case.cgroup_below(&Path::new(CGROUP_ROOT).join(controller))
}

fn read(case: &Case<'_>, controller: &str, file: &str) -> Check<String> {
    Ok(std::fs::read_to_string(folder(case, controller).join(file))?
        .trim()
        .to_owned())
}

fn with_resources(case: &Case<'_>, resources: Value) -> Check<Bundle> {
    case.bundle(&["/bin/sleep", "100"], |config| {
        for (key, value) in resources.as_object().into_iter().flatten() {
            config["linux"]["resources"][key] = value.clone();
        }
    })
}

fn written(case: &Case<'_>, resources: Value, controller: &str, file: &str, value: &str) -> Check {
    let bundle = with_resources(case, resources)?;
    case.create(&bundle)?;
    ensure_eq!(read(case, controller, file)?, value, "{file}");
    Ok(())
}

/// Opens a node for /dev/kmsg (1:11), made by configuration, under the given device rules; the errno, if any.
fn opens_mine(case: &Case<'_>, rules: Value) -> Check<Option<i32>> {
    let report = case.probe(&["--try-write", "/dev/mine"], |config| {
        config["linux"]["devices"] =
            json!([{"path": "/dev/mine", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}]);
        config["linux"]["resources"]["devices"] = rules;
    })?;
    Ok(report.writes["/dev/mine"].errno)
}
