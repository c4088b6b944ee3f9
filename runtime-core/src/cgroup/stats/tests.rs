//! The forms of the files, and the form of the JSON.

use serde_json::json;

use super::files::pressure;
use super::*;

#[test]
fn pressure_stall_information() {
    let text =
        "some avg10=1.50 avg60=2.00 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.25 total=5\n";
    let found = pressure(text).unwrap();
    assert_eq!(
        serde_json::to_value(found).unwrap(),
        json!({"some": {"avg10": 1.5, "avg60": 2, "avg300": 0, "total": 77},
            "full": {"avg10": 0, "avg60": 0, "avg300": 0.25, "total": 5}})
    );
    // A whole number is written without a fraction, byte by byte as runc does.
    let text = serde_json::to_string(&found.some).unwrap();
    assert_eq!(text, r#"{"avg10":1.5,"avg60":2,"avg300":0,"total":77}"#);
    assert_eq!(pressure("some avg10=x\n"), None);
}

#[test]
fn devices_of_version_1() {
    let text = "8:0 Read 4096\n8:0 Total 4096\n8:16 7\nTotal 4096\n";
    let found = v1::entries(text).unwrap();
    assert_eq!(
        serde_json::to_value(found).unwrap(),
        json!([{"major": 8, "op": "Read", "value": 4096}, {"major": 8, "op": "Total", "value": 4096},
            {"major": 8, "minor": 16, "value": 7}])
    );
    assert_eq!(v1::entries("8:0\n"), None);
}

#[test]
fn devices_of_version_2_are_put_into_the_tables_of_version_1() {
    let mut io = BlockIo::default();
    v2::io(
        &mut io,
        "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n8:16 \n252:1 cost.usage=9\n",
    )
    .unwrap();
    assert_eq!(
        serde_json::to_value(io).unwrap(),
        json!({"ioServiceBytesRecursive": [{"major": 8, "op": "Read", "value": 1}, {"major": 8, "op": "Write", "value": 2}],
            "ioServicedRecursive": [{"major": 8, "op": "Read", "value": 3}, {"major": 8, "op": "Write", "value": 4}]})
    );
}

#[test]
fn what_is_zero_is_left_out_where_runc_does_so() {
    let mut stats = Stats::default();
    assert_eq!(
        serde_json::to_string(&stats).unwrap(),
        r#"{"cpu":{},"cpuset":{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0},"memory":{},"pids":{},"blkio":{},"hugetlb":{}}"#
    );
    stats.cpu.usage.user = 5;
    stats.cpu.throttling.throttled_periods = 2;
    stats.memory.kernel_tcp.limit = 9;
    stats.pids.limit = 3;
    stats.hugetlb.insert("2MB".to_owned(), Hugetlb::default());
    let value = serde_json::to_value(&stats).unwrap();
    assert_eq!(
        value["cpu"],
        json!({"usage": {"kernel": 0, "user": 5}, "throttling": {"throttledPeriods": 2}})
    );
    assert_eq!(value["memory"], json!({"kernelTCP": {"limit": 9, "failcnt": 0}}));
    assert_eq!(value["pids"], json!({"limit": 3}));
    assert_eq!(value["hugetlb"], json!({"2MB": {"failcnt": 0}}));
}
