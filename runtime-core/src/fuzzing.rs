//! Entrances for the fuzz targets in the repository's folder `fuzz`: readers of hostile or foreign bytes that are no part of
//! the public interface, each with the law that it keeps. A broken law is a panic.
//!
//! Behind the feature `fuzzing`, which nothing else switches on. No reader of its own lives here.
#![allow(clippy::panic, reason = "a broken law has to end the fuzzer's run")]

use crate::dbus::Message;
use crate::gpu::fuzzing as gpu;
use crate::record::{Record, Salvaged};
use crate::{criu, netlink};

/// Caches of the dynamic loader: what is read and written again is the same but for the numbers that the writer gives.
pub fn loader_cache(bytes: &[u8]) {
    gpu::loader_cache(bytes);
}

/// CDI files, and what they make of a configuration.
pub fn cdi(bytes: &[u8]) {
    gpu::cdi(bytes);
}

/// Lines of an image's ld.so.conf, patterns and names of libraries.
pub fn ld_so_conf(bytes: &[u8]) {
    gpu::ld_so_conf(bytes);
}

/// Shared libraries: their machine, name and note.
pub fn elf(bytes: &[u8]) {
    gpu::elf(bytes);
}

/// The record in the state directory: what is read is written as a text that reads as itself; what is damaged leads to no
/// cgroup above a container's.
pub fn record(bytes: &[u8]) {
    let Ok(record) = Record::parse(bytes) else {
        return salvaged(bytes);
    };
    let written = |record: &Record| match serde_json::to_vec(record) {
        Ok(text) => text,
        Err(error) => panic!("a record that was read cannot be written: {error}"),
    };
    let first = written(&record);
    match Record::parse(&first) {
        Ok(again) => assert_eq!(written(&again), first, "a record changes when it is saved"),
        Err(why) => panic!("a record that was saved cannot be read: {why:?}"),
    }
}

fn salvaged(bytes: &[u8]) {
    let Ok(id) = "fuzzed".parse() else { return };
    let Ok(found) = Salvaged::from_bytes(bytes, &id) else {
        return;
    };
    for directory in found.record.cgroup.iter().flat_map(|cgroup| &cgroup.directories) {
        let path = directory.path();
        assert!(
            path != directory.mount_point && path.starts_with(&directory.mount_point),
            "{directory:?}"
        );
    }
}

/// What CRIU answers, and the mount table that is read for it.
pub fn criu(bytes: &[u8]) {
    let _ = criu::Response::parse(bytes);
    let _ = criu::mount_points(bytes);
}

/// Answers of the kernel about links and addresses.
pub fn netlink(bytes: &[u8]) {
    netlink::read_all(bytes);
}

/// Messages of a bus: what is read and written again is the same.
pub fn dbus(bytes: &[u8]) {
    let _ = Message::length(bytes);
    let Ok(message) = Message::decode(bytes) else {
        return;
    };
    match Message::decode(&message.encode()) {
        // By their text: a number that is none (NaN) equals nothing.
        Ok(again) => assert_eq!(format!("{again:?}"), format!("{message:?}")),
        Err(_) => panic!("a message that was written cannot be read: {message:?}"),
    }
}

/// Values as people write them on a command line.
pub fn dbus_text(text: &str) {
    let _ = crate::dbus::parse(text);
}
