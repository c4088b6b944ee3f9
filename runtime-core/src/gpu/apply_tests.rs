use super::*;
use crate::gpu::cdi::Source;
use serde_json::{Value, json};

fn nothing_there(_: &Path) -> Result<Option<NodeFacts>> {
    Ok(None)
}

fn char_device(_: &Path) -> Result<Option<NodeFacts>> {
    Ok(Some(NodeFacts {
        kind: Some('c'),
        major: 195,
        minor: 7,
        mode: 0o660,
        gid: 44,
    }))
}

fn resolved(edits: Value) -> Resolved {
    let source = Source {
        name: "cdi v.com/c=0".to_owned(),
        file: Some("/etc/cdi/v.yaml".into()),
    };
    Resolved {
        edits: vec![(source, serde_json::from_value(edits).unwrap())],
    }
}

fn spec(changes: Value) -> Spec {
    let mut document = json!({"ociVersion": "1.3.0", "root": {"path": "rootfs"},
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["x"], "cwd": "/"}});
    for (key, value) in changes.as_object().unwrap() {
        document[key] = value.clone();
    }
    serde_json::from_value(document).unwrap()
}

fn edited(before: Value, edits: Value, look: Look<'_>) -> (Value, Placed) {
    let mut spec = spec(before);
    let placed = apply(&mut spec, &resolved(edits), Manner { map_ids: true }, look).unwrap();
    (serde_json::to_value(&spec).unwrap(), placed)
}

fn refused(edits: Value, look: Look<'_>) -> String {
    let error = apply(&mut spec(json!({})), &resolved(edits), Manner::default(), look).unwrap_err();
    error.to_string()
}

#[test]
fn variables_replace_those_of_their_name() {
    let process = json!({"user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["A=1", "B=2", "A=3"]});
    let (spec, _) = edited(
        json!({"process": process}),
        json!({"env": ["A=4", "C=5", "C=6=7"]}),
        &nothing_there,
    );
    assert_eq!(spec["process"]["env"], json!(["A=1", "B=2", "A=4", "C=6=7"]));
}

#[test]
fn a_node_is_completed_from_the_hosts_and_gets_its_rule() {
    let process = json!({"user": {"uid": 1000, "gid": 100}, "cwd": "/"});
    let before = json!({"process": process, "linux": {"devices": [
        {"path": "/dev/a", "type": "c", "major": 1, "minor": 1}, {"path": "/dev/z", "type": "c", "major": 2, "minor": 2}]}});
    let (spec, placed) = edited(
        before,
        json!({"deviceNodes": [{"path": "/dev/a", "hostPath": "/host/a", "permissions": "rw"}]}),
        &char_device,
    );
    assert_eq!(
        spec["linux"]["devices"],
        json!([{"path": "/dev/z", "type": "c", "major": 2, "minor": 2},
            {"path": "/dev/a", "type": "c", "major": 195, "minor": 7, "fileMode": 0o660, "uid": 1000, "gid": 100}])
    );
    assert_eq!(
        spec["linux"]["resources"]["devices"],
        json!([{"allow": true, "type": "c", "major": 195, "minor": 7, "access": "rw"}])
    );
    assert_eq!(placed.node_sources["/dev/a"], "/host/a");
    assert_eq!(
        placed.name("linux.devices[1].mode").unwrap(),
        "cdi v.com/c=0 (linux.devices[1].mode)"
    );
    assert_eq!(placed.name("linux.devices[0]"), None);
}

#[test]
fn none_gives_a_node_without_a_rule() {
    let node = json!({"path": "/dev/a", "type": "c", "major": 9, "minor": 9, "permissions": "none"});
    let (spec, _) = edited(json!({}), json!({"deviceNodes": [node]}), &nothing_there);
    assert_eq!(
        spec["linux"],
        json!({"devices": [{"path": "/dev/a", "type": "c", "major": 9, "minor": 9}]})
    );
}

#[test]
fn nodes_that_cannot_be_meant_are_refused() {
    let error = refused(json!({"deviceNodes": [{"path": "/dev/a"}]}), &nothing_there);
    assert_eq!(
        error,
        "cdi v.com/c=0 deviceNodes[0]: there is no device node \"/dev/a\" on this host"
    );
    let link = |_: &Path| {
        Ok(Some(NodeFacts {
            kind: None,
            major: 0,
            minor: 0,
            mode: 0o777,
            gid: 0,
        }))
    };
    assert!(refused(json!({"deviceNodes": [{"path": "/dev/a"}]}), &link).contains("is no device node"));
    let node = |kind: &str, major: u32| json!({"deviceNodes": [{"path": "/dev/a", "type": kind, "major": major, "minor": 0}]});
    let stale = refused(node("c", 510), &char_device);
    assert!(
        stale.contains("\"/dev/a\" is 510:0 in /etc/cdi/v.yaml, but 195:7 on this host"),
        "{stale}"
    );
    assert!(
        refused(node("b", 195), &char_device).contains("of type \"b\" in /etc/cdi/v.yaml, but of type \"c\"")
    );
}

#[test]
fn mounts_replace_those_of_their_destination_and_are_sorted_by_depth() {
    let before = json!({"mounts": [{"destination": "/a/b/c", "type": "tmpfs"}, {"destination": "/proc", "type": "proc"},
        {"destination": "/x", "type": "tmpfs"}]});
    let (spec, placed) = edited(
        before,
        json!({"mounts": [{"hostPath": "/h", "containerPath": "/x", "options": ["ro", "rbind"]},
            {"hostPath": "/h2", "containerPath": "/usr/lib", "options": ["bind"]}]}),
        &nothing_there,
    );
    let order: Vec<&str> = spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount["destination"].as_str().unwrap())
        .collect();
    assert_eq!(order, ["/proc", "/x", "/usr/lib", "/a/b/c"]);
    assert_eq!(
        placed.name("mounts[1].source").unwrap(),
        "cdi v.com/c=0 (mounts[1].source)"
    );
    assert_eq!(placed.name("mounts[0]"), None);
    assert_eq!(spec["mounts"][1]["options"], json!(["ro", "rbind"]));
}

#[test]
fn mounts_are_id_mapped_in_a_user_namespace_of_the_hosts_root() {
    let before = json!({"linux": {"namespaces": [{"type": "user"}]}});
    let edits = json!({"mounts": [{"hostPath": "/h", "containerPath": "/x", "options": ["rbind"]},
        {"hostPath": "/h", "containerPath": "/y", "options": ["bind", "ridmap"]},
        {"hostPath": "/h", "containerPath": "/z", "type": "bind"},
        {"hostPath": "t", "containerPath": "/t", "type": "tmpfs"}]});
    let (spec, _) = edited(before, edits, &nothing_there);
    assert_eq!(spec["mounts"][0]["options"], json!(["rbind", "ridmap"]));
    assert_eq!(spec["mounts"][1]["options"], json!(["bind", "ridmap"]));
    assert_eq!(spec["mounts"][2]["options"], json!(["idmap"]));
    assert_eq!(spec["mounts"][3].get("options"), None);
}

#[test]
fn hooks_groups_resctrl_and_network_devices_are_added() {
    let (spec, placed) = edited(
        json!({"hooks": {"createContainer": [{"path": "/first"}]}}),
        json!({"hooks": [{"hookName": "createContainer", "path": "/h", "args": ["h"], "env": ["A=b"], "timeout": 3}],
            "additionalGids": [0, 44, 44, 5], "intelRdt": {"closID": "x", "enableMonitoring": true},
            "netDevices": [{"hostInterfaceName": "h0", "name": "c0"}]}),
        &nothing_there,
    );
    assert_eq!(
        spec["hooks"]["createContainer"][1],
        json!({"path": "/h", "args": ["h"], "env": ["A=b"], "timeout": 3})
    );
    assert_eq!(spec["process"]["user"]["additionalGids"], json!([44, 5]));
    assert_eq!(
        spec["linux"]["intelRdt"],
        json!({"closID": "x", "enableMonitoring": true})
    );
    assert_eq!(spec["linux"]["netDevices"], json!({"h0": {"name": "c0"}}));
    for field in [
        "hooks.createContainer[1]",
        "linux.intelRdt.closID",
        "linux.netDevices.h0",
    ] {
        assert!(placed.name(field).is_some(), "{field}");
    }
}
