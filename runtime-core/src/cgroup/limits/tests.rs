//! The conversion table, value by value.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::facts::cgroup::tests::{hybrid, v2};

fn resources(value: serde_json::Value) -> LinuxResources {
    serde_json::from_value(value).unwrap()
}

/// `file=value` of each write.
fn lines(value: serde_json::Value, facts: &CgroupFacts) -> Vec<String> {
    let limits = limits(&resources(value), facts).unwrap();
    limits
        .writes
        .iter()
        .map(|write| format!("{}={}", write.file, write.value))
        .collect()
}

fn error(value: serde_json::Value, facts: &CgroupFacts) -> (String, String) {
    let error = limits(&resources(value), facts).unwrap_err();
    (error.field().unwrap_or_default().to_owned(), error.to_string())
}

#[test]
fn shares_to_weight() {
    // Computed from the formula with 40 decimal digits.
    let table = [
        (0, 0),
        (1, 1),
        (2, 1),
        (5, 2),
        (10, 4),
        (50, 10),
        (100, 17),
        (500, 58),
        (1000, 99),
        (1024, 100),
        (2000, 170),
        (2048, 174),
        (262_143, 10_000),
        (262_144, 10_000),
        (u64::MAX, 10_000),
    ];
    let mut wrong = Vec::new();
    for (shares, weight) in table {
        if weight_of_shares(shares) != weight {
            wrong.push((shares, weight, weight_of_shares(shares)));
        }
    }
    assert!(wrong.is_empty(), "(shares, expected, found): {wrong:?}");
}

proptest! {
    #[test]
    fn weight_grows_with_shares_and_stays_in_range(a in 1u64..300_000, b in 1u64..300_000) {
        let (low, high) = (a.min(b), a.max(b));
        prop_assert!(weight_of_shares(low) <= weight_of_shares(high));
        prop_assert!((1..=10_000).contains(&weight_of_shares(a)));
    }

    #[test]
    fn no_resources_make_it_panic_and_errors_name_a_field(
        limit in any::<Option<i64>>(), swap in any::<Option<i64>>(), reservation in any::<Option<i64>>(),
        swappiness in any::<Option<u64>>(), quota in any::<Option<i64>>(), period in any::<Option<u64>>(),
        shares in any::<Option<u64>>(), pids in any::<i64>(), weight in any::<Option<u16>>(), size in ".{0,6}",
        unified in ".{0,8}", on_v2 in any::<bool>(),
    ) {
        let facts = if on_v2 { v2() } else { hybrid() };
        let value = json!({
            "memory": {"limit": limit, "swap": swap, "reservation": reservation, "swappiness": swappiness},
            "cpu": {"quota": quota, "period": period, "shares": shares},
            "pids": {"limit": pids}, "blockIO": {"weight": weight},
            "hugepageLimits": [{"pageSize": size, "limit": 1}], "unified": {unified: "1"},
        });
        match limits(&resources(value), &facts) {
            Ok(limits) => for write in limits.writes {
                prop_assert!(!write.file.contains('/') && write.file.contains('.'), "{:?}", write);
                prop_assert!(write.origin.starts_with("linux.resources."));
            },
            Err(error) => prop_assert!(error.field().is_some_and(|f| f.starts_with("linux.resources.")), "{error}"),
        }
    }
}

#[test]
fn memory_on_version_1() {
    let facts = hybrid();
    let both = json!({"memory": {"limit": 33_554_432, "swap": 67_108_864, "reservation": 1000, "swappiness": 7,
        "disableOOMKiller": true}});
    assert_eq!(
        lines(both.clone(), &facts),
        [
            "memory.limit_in_bytes=33554432",
            "memory.memsw.limit_in_bytes=67108864",
            "memory.soft_limit_in_bytes=1000",
            "memory.oom_control=1",
            "memory.swappiness=7",
        ]
    );
    let writes = limits(&resources(both), &facts).unwrap().writes;
    assert!(writes[0].retry && !writes[1].retry);
    assert_eq!(writes[0].origin, "linux.resources.memory.limit");
    // Unlimited memory lifts the limit on memory and swap, where the kernel counts swap.
    let unlimited = limits(&resources(json!({"memory": {"limit": -1}})), &facts)
        .unwrap()
        .writes;
    assert_eq!(unlimited[1].file, "memory.memsw.limit_in_bytes");
    assert_eq!(unlimited[1].absent, Absent::Skip);
    assert_eq!(
        lines(
            json!({"memory": {"limit": 0, "swap": 0, "disableOOMKiller": false}}),
            &facts
        ),
        [""; 0]
    );
    assert_eq!(
        error(json!({"memory": {"swappiness": 101}}), &facts).0,
        "linux.resources.memory.swappiness"
    );
    assert_eq!(
        lines(json!({"memory": {"swappiness": u64::MAX}}), &facts),
        [""; 0]
    );
}

#[test]
fn memory_on_version_2() {
    let facts = v2();
    let swap = |limit: i64, swap: i64| lines(json!({"memory": {"limit": limit, "swap": swap}}), &facts);
    assert_eq!(swap(100, 300), ["memory.swap.max=200", "memory.max=100"]);
    assert_eq!(swap(100, 100), ["memory.swap.max=0", "memory.max=100"]);
    assert_eq!(swap(100, -1), ["memory.swap.max=max", "memory.max=100"]);
    assert_eq!(swap(-1, 500), ["memory.swap.max=500", "memory.max=max"]);
    assert_eq!(swap(-1, 0), ["memory.swap.max=max", "memory.max=max"]);
    assert_eq!(swap(100, 0), ["memory.max=100"]);
    assert_eq!(
        lines(json!({"memory": {"reservation": -1}}), &facts),
        ["memory.low=max"]
    );
    let (field, text) = error(json!({"memory": {"swap": 100}}), &facts);
    assert_eq!(field, "linux.resources.memory.swap");
    assert!(
        text.contains("unable to set swap limit without memory limit"),
        "{text}"
    );
    let (field, text) = error(json!({"memory": {"limit": 200, "swap": 100}}), &facts);
    assert_eq!(field, "linux.resources.memory.swap");
    assert!(
        text.contains("memory+swap limit should be >= memory limit"),
        "{text}"
    );
    assert!(
        error(json!({"memory": {"limit": -2}}), &facts)
            .1
            .contains("-1 for no limit")
    );
}

#[test]
fn a_check_before_the_update_guards_both_limits() {
    let value = json!({"memory": {"limit": 100, "swap": 300, "checkBeforeUpdate": true}});
    let writes = limits(&resources(value), &v2()).unwrap().writes;
    let guards: Vec<_> = writes
        .iter()
        .map(|write| write.guard.as_ref().map(|g| (g.below, g.what.as_str())))
        .collect();
    assert_eq!(
        guards,
        [Some((300, "memory+swap limit")), Some((100, "memory limit"))]
    );
}

#[test]
fn what_version_2_lacks() {
    let facts = v2();
    for (value, field) in [
        (
            json!({"memory": {"swappiness": 60}}),
            "linux.resources.memory.swappiness",
        ),
        (
            json!({"memory": {"disableOOMKiller": true}}),
            "linux.resources.memory.disableOOMKiller",
        ),
        (
            json!({"cpu": {"realtimeRuntime": 950}}),
            "linux.resources.cpu.realtimeRuntime",
        ),
        (
            json!({"cpu": {"realtimePeriod": 1000}}),
            "linux.resources.cpu.realtimePeriod",
        ),
        (
            json!({"blockIO": {"leafWeight": 10}}),
            "linux.resources.blockIO.leafWeight",
        ),
        (
            json!({"network": {"classID": 1}}),
            "linux.resources.network.classID",
        ),
        (
            json!({"network": {"priorities": [{"name": "lo", "priority": 1}]}}),
            "linux.resources.network.priorities[0]",
        ),
    ] {
        let found = limits(&resources(value.clone()), &facts).unwrap_err();
        assert_eq!(
            (found.field(), found.kind()),
            (Some(field), ErrorKind::Unsupported),
            "{value}"
        );
    }
    let ignored = json!({"memory": {"kernel": 1, "kernelTCP": 2, "useHierarchy": true, "swappiness": 0,
        "disableOOMKiller": false}, "network": {"classID": 0}, "cpu": {"realtimeRuntime": 0}});
    let limits = limits(&resources(ignored), &facts).unwrap();
    assert!(limits.writes.is_empty());
    assert_eq!(limits.warnings.len(), 3, "{:?}", limits.warnings);
}

#[test]
fn cpu_on_both() {
    let value = json!({"cpu": {"shares": 1024, "quota": 50_000, "period": 200_000, "burst": 10, "cpus": "0-1",
        "mems": "0", "idle": 0}});
    assert_eq!(
        lines(value.clone(), &hybrid()),
        [
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
            "cpu.idle=0",
            "cpu.shares=1024",
            "cpu.cfs_period_us=200000",
            "cpu.cfs_burst_us=10",
            "cpu.cfs_quota_us=50000",
        ]
    );
    assert_eq!(
        lines(value, &v2()),
        [
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
            "cpu.idle=0",
            "cpu.weight=100",
            "cpu.max.burst=10",
            "cpu.max=50000 200000",
        ]
    );
    assert_eq!(
        lines(json!({"cpu": {"quota": -1}}), &v2()),
        ["cpu.max=max 100000"]
    );
    assert_eq!(
        lines(json!({"cpu": {"quota": -1}}), &hybrid()),
        ["cpu.cfs_quota_us=-1"]
    );
    assert_eq!(
        lines(json!({"cpu": {"period": 1000}}), &v2()),
        ["cpu.max=max 1000"]
    );
    assert_eq!(
        lines(json!({"cpu": {"shares": 0, "quota": 0, "cpus": ""}}), &v2()),
        [""; 0]
    );
    assert!(
        error(json!({"cpu": {"shares": 1}}), &hybrid())
            .1
            .contains("the minimum allowed cpu-shares is 2")
    );
    assert!(
        error(json!({"cpu": {"shares": 262_145}}), &hybrid())
            .1
            .contains("maximum allowed cpu-shares is 262144")
    );
    assert_eq!(
        error(json!({"cpu": {"cpus": "0;1"}}), &v2()).0,
        "linux.resources.cpu.cpus"
    );
    assert_eq!(
        error(json!({"cpu": {"idle": 2}}), &v2()).0,
        "linux.resources.cpu.idle"
    );
    // An idle group takes no shares.
    let idle = json!({"cpu": {"shares": 1024, "idle": 1}});
    assert_eq!(lines(idle.clone(), &hybrid()), ["cpu.shares=1024", "cpu.idle=1"]);
    assert_eq!(lines(idle, &v2()), ["cpu.weight=100", "cpu.idle=1"]);
    let realtime = json!({"cpu": {"realtimePeriod": 1000, "realtimeRuntime": 500}});
    assert_eq!(
        lines(realtime, &hybrid()),
        ["cpu.rt_period_us=1000", "cpu.rt_runtime_us=500"]
    );
}

#[test]
fn pids_zero_and_below() {
    for facts in [v2(), hybrid()] {
        for (limit, expected) in [(-1, "max"), (-7, "max"), (0, "0"), (1, "1"), (42, "42")] {
            assert_eq!(
                lines(json!({"pids": {"limit": limit}}), &facts),
                [format!("pids.max={expected}")]
            );
        }
    }
}

#[test]
fn block_io_on_both() {
    let value = json!({"blockIO": {"weight": 1000, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 100}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}]}});
    assert_eq!(
        lines(value.clone(), &hybrid()),
        [
            "blkio.weight=1000",
            "blkio.weight_device=8:0 10",
            "blkio.throttle.read_bps_device=8:0 100",
            "blkio.throttle.write_iops_device=8:16 0",
        ]
    );
    assert_eq!(
        lines(value.clone(), &v2()),
        [
            "io.bfq.weight=1000",
            "io.bfq.weight=8:0 10",
            "io.max=8:0 rbps=100",
            "io.max=8:16 wiops=max"
        ]
    );
    let writes = limits(&resources(value), &v2()).unwrap().writes;
    assert_eq!(
        writes[0].absent,
        Absent::Instead {
            file: "io.weight".into(),
            value: "10000".into()
        }
    );
    assert_eq!(
        writes[1].absent,
        Absent::Instead {
            file: "io.weight".into(),
            value: "8:0 1".into()
        }
    );
    // The value that runc's own suite expects of 750.
    let writes = limits(&resources(json!({"blockIO": {"weight": 750}})), &v2())
        .unwrap()
        .writes;
    assert_eq!(
        writes[0].absent,
        Absent::Instead {
            file: "io.weight".into(),
            value: "7475".into()
        }
    );
    assert_eq!(
        error(json!({"blockIO": {"weight": 5}}), &v2()).0,
        "linux.resources.blockIO.weight"
    );
    let negative = json!({"blockIO": {"throttleReadBpsDevice": [{"major": -1, "minor": 0, "rate": 1}]}});
    assert_eq!(
        error(negative, &v2()).0,
        "linux.resources.blockIO.throttleReadBpsDevice[0]"
    );
}

#[test]
fn huge_pages_rdma_network() {
    let huge = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4096}]});
    assert_eq!(
        lines(huge.clone(), &v2()),
        ["hugetlb.2MB.max=4096", "hugetlb.2MB.rsvd.max=4096"]
    );
    assert_eq!(
        lines(huge, &hybrid()),
        [
            "hugetlb.2MB.limit_in_bytes=4096",
            "hugetlb.2MB.rsvd.limit_in_bytes=4096"
        ]
    );
    for size in ["", "2", "2mb", "MB", "02MB", "+2MB", "../2MB", "2MB/x", "-2MB"] {
        let value = json!({"hugepageLimits": [{"pageSize": size, "limit": 1}]});
        assert_eq!(
            error(value, &v2()).0,
            "linux.resources.hugepageLimits[0].pageSize",
            "{size}"
        );
    }
    let rdma =
        json!({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10_000}, "a": {"hcaObjects": 1}, "b": {}}});
    assert_eq!(
        lines(rdma.clone(), &v2()),
        [
            "rdma.max=a hca_object=1",
            "rdma.max=mlx5_1 hca_handle=3 hca_object=10000"
        ]
    );
    let (_, text) = error(rdma, &hybrid());
    assert!(text.contains("cannot set rdma limit"), "{text}");
    let network = json!({"network": {"classID": 1_048_577, "priorities": [{"name": "eth0", "priority": 5}]}});
    assert_eq!(
        lines(network, &hybrid()),
        ["net_cls.classid=1048577", "net_prio.ifpriomap=eth0 5"]
    );
    let name = json!({"network": {"priorities": [{"name": "a b", "priority": 5}]}});
    assert_eq!(
        error(name, &hybrid()).0,
        "linux.resources.network.priorities[0].name"
    );
}

#[test]
fn unified_is_verbatim_and_sorted() {
    let facts = v2();
    let value = json!({"unified": {"memory.max": "5", "cgroup.max.depth": "3", "io.max": "8:0 rbps=1\n8:1 rbps=2\n",
        "cpu.pressure": "x"}});
    assert_eq!(
        lines(value, &facts),
        [
            "cgroup.max.depth=3",
            "cpu.pressure=x",
            "io.max=8:0 rbps=1\n8:1 rbps=2\n",
            "memory.max=5"
        ]
    );
    for (key, part) in [
        ("a/b", "must be a file name (no slashes)"),
        ("memory", "must be in the form CONTROLLER.PARAMETER"),
        ("..", "must be in the form CONTROLLER.PARAMETER"),
        ("foo.bar", "can't be set: controller \"foo\" not available"),
    ] {
        let (field, text) = error(json!({"unified": {key: "1"}}), &facts);
        assert!(text.contains(part), "{text}");
        assert_eq!(field, format!("linux.resources.unified[{key:?}]"));
    }
    assert!(
        error(json!({"unified": {"memory.max": "1"}}), &hybrid())
            .1
            .contains("invalid configuration")
    );
    assert_eq!(lines(json!({"unified": {}}), &hybrid()), [""; 0]);
}

#[test]
fn a_missing_controller_is_an_error_only_when_it_is_needed() {
    let mut facts = v2();
    facts.hierarchies[0].controllers.retain(|name| name != "pids");
    let (field, text) = error(json!({"pids": {"limit": 5}}), &facts);
    assert_eq!(field, "linux.resources.pids.limit");
    assert!(text.contains("cannot set pids limit"), "{text}");
    assert_eq!(lines(json!({}), &facts), [""; 0]);
    // A hybrid host may have a single controller in the unified hierarchy.
    let mut facts = hybrid();
    facts.hierarchies.retain(|h| h.controllers != ["hugetlb"]);
    facts
        .hierarchies
        .last_mut()
        .unwrap()
        .controllers
        .push("hugetlb".into());
    let huge = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]});
    assert_eq!(lines(huge, &facts)[0], "hugetlb.2MB.max=0");
}

#[test]
fn writes_survive_json() {
    let value =
        json!({"memory": {"limit": 1, "swap": 2, "checkBeforeUpdate": true}, "blockIO": {"weight": 10}});
    let limits = limits(&resources(value), &v2()).unwrap();
    let text = serde_json::to_string(&limits).unwrap();
    assert_eq!(serde_json::from_str::<Limits>(&text).unwrap(), limits);
}
