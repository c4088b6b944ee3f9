//! What a shim was attacked by: its socket (T-25 of docs/attacks.md, CVE-2020-15257), and words of an image that became a
//! program of the host (T-28, CVE-2026-53488).
#![allow(clippy::unwrap_used, reason = "what does not hold here fails the test")]

mod place;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use place::{Client, Place, ready, until};
use serde_json::json;
use shim::proto::task::{ConnectRequest, ConnectResponse};

/// The numbers of the sockets that a process has open.
fn sockets_of(pid: u32) -> BTreeSet<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let links = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links
        .filter_map(|link| {
            let name = link.to_string_lossy().into_owned();
            Some(name.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect()
}

/// The names of UNIX sockets in this network namespace that a process has open (proc_net(5): number in column 7, name in 8).
fn names_of(pid: u32) -> Vec<String> {
    let own = sockets_of(pid);
    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
    let lines = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|words| words.get(6).is_some_and(|number| own.contains(*number)))
        .filter_map(|words| words.get(7).map(|name| (*name).to_owned()))
        .collect()
}

#[test]
fn a_container_in_the_hosts_network_finds_no_socket_of_the_shim() {
    if !ready("a_container_in_the_hosts_network_finds_no_socket_of_the_shim") {
        return;
    }
    let place = Place::new();
    let seen = place.dir.join("n1/rootfs/seen");
    place.bundle_of("n1", "cat /proc/net/unix > /seen; sleep 100", |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "network");
        config["root"]["readonly"] = json!(false);
    });
    let socket = place.start("n1");
    let mut client = Client::connect(&socket);
    client.create(&place, "n1", "");
    client.start("n1");
    let connected: ConnectResponse = client
        .call("Connect", &ConnectRequest { id: "n1".to_owned() })
        .unwrap();
    until("the container has looked", || {
        std::fs::read_to_string(&seen).is_ok_and(|text| !text.is_empty())
    });
    // It sees the table of the host, so that a socket without a file would be in it.
    let path = socket.display().to_string();
    assert!(std::fs::read_to_string(&seen).unwrap().contains(&path));
    let names = names_of(connected.shim_pid);
    assert!(names.contains(&path), "{names:?}");
    let abstract_ones: Vec<_> = names.iter().filter(|name| name.starts_with('@')).collect();
    assert!(abstract_ones.is_empty(), "{abstract_ones:?}");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(socket.parent().unwrap()) & 0o066, 0);
    client.end("n1");
}

#[test]
fn words_of_an_image_run_nothing() {
    if !ready("words_of_an_image_run_nothing") {
        return;
    }
    let place = Place::new();
    let ran = place.dir.join("ran");
    let program = place.dir.join("program");
    std::fs::write(
        &program,
        format!(
            "#!/bin/sh\necho $$ > {}\nexec 5>&-\ncat <&3 >/dev/null\n",
            ran.display()
        ),
    )
    .unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let uri = format!("binary://{}", program.display());
    for id in ["w1", "w2"] {
        let uri = uri.clone();
        place.bundle_of(id, "echo word", |config| {
            let names = [
                "containerd.io/log-uri",
                "io.containerd.log-uri",
                "io.kubernetes.cri.container-log-uri",
                "io.containerd.image.config.stdout",
                "run.oci.handler",
            ];
            config["annotations"] = names
                .iter()
                .map(|name| ((*name).to_owned(), json!(uri)))
                .collect();
            config["process"]["env"] = json!([format!("LOG_URI={uri}"), "PATH=/bin"]);
        });
    }
    // In its annotations and variables the name does nothing; in the request of containerd it is what was asked for.
    for (id, stdout, runs) in [("w1", "", false), ("w2", uri.as_str(), true)] {
        let socket = place.start(id);
        let mut client = Client::connect(&socket);
        client.create(&place, id, stdout);
        client.start(id);
        assert_eq!(client.wait(id), 0);
        assert_eq!(ran.exists(), runs, "{id}");
        client.delete(id);
        client.shut_down(id);
    }
}
