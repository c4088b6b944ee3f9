//! Network devices of the host in containers: what of a device arrives, under which name, and what a refusal leaves.
//!
//! Each test works on veth pairs in a network namespace that only its own thread is in; the process stays in the
//! host's, so a library that looked at the process instead of its caller's thread would find no device. Without the
//! rights, `ip` or veth a test is skipped and says why.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod sandbox;

use std::process::{Child, Command};

use nix::sched::{CloneFlags, setns, unshare};
use runtime_core::{Container, ErrorKind, Exit};
use sandbox::{Sandbox, eventually, open_files, sandbox};
use serde_json::{Value, json};

/// A network namespace for this thread, with the two ends `rct0` and `rct1` of a veth pair; the thread ends with the
/// test, and the namespace with it.
fn network(test: &str) -> Option<Sandbox> {
    let place = sandbox(test)?;
    if Command::new("ip").arg("-V").output().is_err() {
        eprintln!("SKIPPED {test}: needs ip (Debian: iproute2)");
        return None;
    }
    if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
        eprintln!("SKIPPED {test}: unshare(CLONE_NEWNET): {errno}");
        return None;
    }
    let pair = ["link", "add", "rct0", "type", "veth", "peer", "name", "rct1"];
    let made = Command::new("ip").args(pair).output().unwrap();
    if !made.status.success() {
        let why = String::from_utf8_lossy(&made.stderr);
        eprintln!("SKIPPED {test}: no veth pair can be made: {why}");
        return None;
    }
    Some(place)
}

/// `ip` in the thread's namespace, which a child shares.
fn ip(line: &str) -> String {
    let output = Command::new("ip").args(line.split(' ')).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "ip {line}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn links() -> String {
    ip("-o link show")
}

/// Which network namespace the thread is in.
fn own_namespace() -> String {
    let link = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    link.to_string_lossy().into_owned()
}

fn config(place: &Sandbox, devices: Value, script: &str) -> Value {
    let mut config = place.config("net", &["/bin/sh", "-c", script]);
    config["linux"]["netDevices"] = devices;
    config
}

/// Runs to the end and gives what the program wrote to /out/seen.
fn seen(place: &Sandbox, config: &Value) -> String {
    let container: Container = place.runtime().run(place.request("net", config)).unwrap();
    assert_eq!(container.wait().unwrap(), Exit::Code(0));
    let text = std::fs::read_to_string(place.out().join("seen")).unwrap();
    place.runtime().delete(&"net".parse().unwrap(), true).unwrap();
    text
}

fn refused(place: &Sandbox, config: &Value) -> runtime_core::Error {
    let error = place
        .runtime()
        .create(place.request("net", config))
        .expect_err("a refusal");
    assert_eq!(
        place.remains("net"),
        Vec::<std::path::PathBuf>::new(),
        "left after {error}"
    );
    error
}

#[test]
fn a_device_arrives_renamed_and_up_with_its_global_addresses() {
    let Some(place) = network("a_device_arrives_renamed_and_up_with_its_global_addresses") else {
        return;
    };
    ip("link set rct0 mtu 1789 address 00:11:22:33:44:55 up");
    ip("address add 10.11.12.13/24 broadcast 10.11.12.255 dev rct0");
    ip("address add 10.11.12.14/24 dev rct0");
    ip("address add 10.20.0.1 peer 10.20.0.2 dev rct0");
    ip("address add 127.0.0.33 scope host dev rct0");
    ip("address add 10.30.0.1/24 valid_lft 1000 preferred_lft 1000 dev rct0");
    ip("-6 address add 2001:db8::7/64 nodad dev rct0");
    let before = (own_namespace(), open_files());
    let script = "busybox ip address show dev inside0 > /out/seen";
    let text = seen(
        &place,
        &config(&place, json!({"rct0": {"name": "inside0"}}), script),
    );
    for wanted in [
        "mtu 1789",
        ",UP",
        "00:11:22:33:44:55",
        "inet 10.11.12.13/24 brd 10.11.12.255 scope global inside0",
        "inet 10.11.12.14/24 scope global secondary inside0",
        "inet 10.20.0.1 peer 10.20.0.2/32 scope global inside0",
        "inet6 2001:db8::7/64 scope global",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in {text}");
    }
    for unwanted in ["127.0.0.33", "10.30.0.1", "rct0"] {
        assert!(!text.contains(unwanted), "{unwanted:?} is in {text}");
    }
    assert_eq!(before, (own_namespace(), open_files()), "the caller is as it was");
    assert!(
        !links().contains("rct0"),
        "a virtual device ends with its namespace"
    );
}

#[test]
fn hooks_find_the_devices_moved_and_templates_get_numbers() {
    let Some(place) = network("hooks_find_the_devices_moved_and_templates_get_numbers") else {
        return;
    };
    let devices = json!({"rct0": {"name": "net%d"}, "rct1": {"name": "net%d"}});
    let script = "busybox ip -o link show > /out/seen";
    let mut config = config(&place, devices, script);
    let hook = format!("ip -o link show > {}/hook", place.out().display());
    config["hooks"] = json!({"createRuntime": [
        {"path": "/bin/sh", "args": ["sh", "-c", hook], "env": ["PATH=/usr/sbin:/sbin:/usr/bin:/bin"]}]});
    let text = seen(&place, &config);
    assert!(text.contains("net0") && text.contains("net1"), "{text}");
    let host = std::fs::read_to_string(place.out().join("hook")).unwrap();
    assert!(host.contains("lo:") && !host.contains("rct"), "{host}");
}

#[test]
fn a_user_namespace_gets_a_device_too() {
    let Some(place) = network("a_user_namespace_gets_a_device_too") else {
        return;
    };
    ip("address add 10.11.12.13/24 dev rct0");
    let script = "busybox ip address show dev rct0 > /out/seen";
    let mut config = config(&place, json!({"rct0": {}}), script);
    let spaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    spaces.push(json!({"type": "user"}));
    let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
    let text = seen(&place, &config);
    assert!(text.contains("inet 10.11.12.13/24"), "{text}");
}

/// A process that holds another network namespace, ended with the test.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_joined_namespace_keeps_the_device_and_its_own_indices() {
    let Some(place) = network("a_joined_namespace_keeps_the_device_and_its_own_indices") else {
        return;
    };
    let sleep = ["-n", "sleep", "100"];
    let holder = Holder(Command::new("unshare").args(sleep).spawn().unwrap());
    let path = format!("/proc/{}/ns/net", holder.0.id());
    eventually("the other namespace", || {
        std::fs::read_link(&path).is_ok_and(|link| link.to_string_lossy() != own_namespace())
            && std::fs::read_to_string(format!("/proc/{}/comm", holder.0.id())).unwrap() == "sleep\n"
    });
    // The index of the device is taken on the other side.
    let shown = links();
    let index: u32 = shown
        .lines()
        .find(|line| line.contains("rct0@"))
        .and_then(|line| line.split(':').next()?.parse().ok())
        .unwrap();
    // Held to the end: the device has its other end here, and would go with this namespace.
    let here = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
    setns(std::fs::File::open(&path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
    let next = index + 1;
    ip(&format!(
        "link add taken0 index {index} type veth peer name taken1 index {next}"
    ));
    setns(&here, CloneFlags::CLONE_NEWNET).unwrap();

    ip("address add 10.11.12.13/24 dev rct0");
    let script = "busybox ip address show dev rct0 > /out/seen";
    let mut config = config(&place, json!({"rct0": {}}), script);
    let spaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    spaces.retain(|space| space["type"] != "network");
    spaces.push(json!({"type": "network", "path": path}));
    let text = seen(&place, &config);
    assert!(
        text.contains(",UP") && text.contains("inet 10.11.12.13/24"),
        "{text}"
    );
    assert!(!links().contains("rct0"), "{}", links());
    setns(std::fs::File::open(&path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
    assert!(
        links().contains("rct0"),
        "the device outlives the container: {}",
        links()
    );
}

#[test]
fn refusals_name_the_device_and_leave_nothing() {
    let Some(place) = network("refusals_name_the_device_and_leave_nothing") else {
        return;
    };
    let before = open_files();
    let error = refused(&place, &config(&place, json!({"absent0": {}}), "true"));
    assert_eq!(error.errno(), Some(libc::ENODEV), "{error}");
    assert_eq!(error.field(), Some("linux.netDevices.absent0"), "{error}");

    let error = refused(&place, &config(&place, json!({"rct0": {"name": "lo"}}), "true"));
    assert_eq!(error.errno(), Some(libc::EEXIST), "{error}");
    assert_eq!(error.field(), Some("linux.netDevices.rct0"), "{error}");

    let error = refused(&place, &config(&place, json!({"lo": {"name": "lo9"}}), "true"));
    assert_eq!(error.errno(), Some(libc::EINVAL), "{error}");

    let mut shared = config(&place, json!({"rct1": {}}), "true");
    let spaces = shared["linux"]["namespaces"].as_array_mut().unwrap();
    spaces.retain(|space| space["type"] != "network");
    spaces.push(json!({"type": "network", "path": "/proc/thread-self/ns/net"}));
    let error = refused(&place, &shared);
    assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{error}");
    assert!(links().contains("rct1"), "{}", links());
    assert_eq!(before, open_files(), "no descriptor is left");
}
