//! Output that its reader has not read when the container or the program is deleted: containerd's client closes its ends of the
//! fifos when Delete is answered, and what is in them is lost then.
#![allow(clippy::unwrap_used, reason = "what does not hold here fails the test")]

mod place;

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use place::{Client, Place, ready};
use shim::proto::task::{
    DeleteRequest, DeleteResponse, ExecProcessRequest, StartRequest, WaitRequest, WaitResponse,
};
use shim::proto::types::{Any, Empty};

/// A fifo that somebody has open for reading.
fn fifo(path: &Path) -> File {
    let mode = rustix::fs::Mode::from(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    File::options()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)
        .unwrap()
}

fn request(id: &str, exec_id: &str) -> DeleteRequest {
    DeleteRequest {
        id: id.to_owned(),
        exec_id: exec_id.to_owned(),
    }
}

/// A container that has ended, and whose output lies in a fifo.
fn ended(place: &Place, id: &str) -> (Client, PathBuf, File) {
    place.bundle(id, "echo word");
    let path = place.dir.join(format!("{id}.out"));
    let reader = fifo(&path);
    let mut client = Client::connect(&place.start(id));
    client.create(place, id, &path.display().to_string());
    client.start(id);
    assert_eq!(client.wait(id), 0);
    (client, path, reader)
}

fn read(mut reader: &File) -> String {
    let mut text = String::new();
    // Without a writer the end is there; with one there would be nothing to read yet.
    let _ = reader.read_to_string(&mut text);
    text
}

#[test]
fn a_delete_is_answered_when_the_output_is_read() {
    if !ready("a_delete_is_answered_when_the_output_is_read") {
        return;
    }
    let place = Place::new();
    let (mut client, _, reader) = ended(&place, "u1");
    client.ask("Delete", &request("u1", ""));
    assert!(!client.has_answer_within(Duration::from_millis(300)));
    assert_eq!(read(&reader), "word\n");
    let response: DeleteResponse = client.answer("Delete").unwrap();
    assert_eq!(response.exit_status, 0);
    client.shut_down("u1");
}

#[test]
fn a_client_that_never_reads_gets_its_answer_nevertheless() {
    if !ready("a_client_that_never_reads_gets_its_answer_nevertheless") {
        return;
    }
    let place = Place::new();
    let (mut client, _, reader) = ended(&place, "u2");
    let begun = Instant::now();
    let _: DeleteResponse = client.call("Delete", &request("u2", "")).unwrap();
    assert!(
        begun.elapsed() >= Duration::from_millis(1500),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(read(&reader), "word\n");
    client.shut_down("u2");
}

#[test]
fn where_nobody_reads_nobody_is_waited_for() {
    if !ready("where_nobody_reads_nobody_is_waited_for") {
        return;
    }
    let place = Place::new();
    let mut took = Vec::new();
    for number in 0..10 {
        let id = format!("u3-{number}");
        let (mut client, path, reader) = ended(&place, &id);
        drop(reader);
        let begun = Instant::now();
        let _: DeleteResponse = client.call("Delete", &request(&id, "")).unwrap();
        took.push(begun.elapsed());
        assert!(path.exists());
        client.shut_down(&id);
        // A wait takes two seconds every time; a slow machine is not that slow ten times.
        if took.last() < Some(&Duration::from_secs(2)) {
            return;
        }
    }
    panic!("somebody was waited for: {took:?}");
}

#[test]
fn the_output_of_a_program_that_exec_brought_is_waited_for() {
    if !ready("the_output_of_a_program_that_exec_brought_is_waited_for") {
        return;
    }
    let place = Place::new();
    let bundle = place.bundle("u4", "sleep 100");
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(bundle.dir().join("config.json")).unwrap()).unwrap();
    let mut process = config["process"].clone();
    process["args"] = serde_json::json!(["/bin/sh", "-c", "echo word"]);
    let mut client = Client::connect(&place.start("u4"));
    client.create(&place, "u4", "");
    client.start("u4");
    let path = place.dir.join("exec.out");
    let reader = fifo(&path);
    let exec = ExecProcessRequest {
        id: "u4".to_owned(),
        exec_id: "e".to_owned(),
        stdout: path.display().to_string(),
        spec: Some(Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
            value: process.to_string().into_bytes(),
        }),
        ..ExecProcessRequest::default()
    };
    let _: Empty = client.call("Exec", &exec).unwrap();
    let start = StartRequest {
        id: "u4".to_owned(),
        exec_id: "e".to_owned(),
    };
    let _: Empty = client.call("Start", &start).unwrap();
    let wait = WaitRequest {
        id: "u4".to_owned(),
        exec_id: "e".to_owned(),
    };
    let ended: WaitResponse = client.call("Wait", &wait).unwrap();
    assert_eq!(ended.exit_status, 0);
    client.ask("Delete", &request("u4", "e"));
    assert!(!client.has_answer_within(Duration::from_millis(300)));
    assert_eq!(read(&reader), "word\n");
    let _: DeleteResponse = client.answer("Delete").unwrap();
    client.end("u4");
}
