//! What [`crate::fuzzing`] asks of readers that only this part of the crate may see.
#![allow(clippy::panic, reason = "a broken law has to end the fuzzer's run")]

use std::cmp::Ordering;
use std::path::Path;

use super::apply::{self, Manner};
use super::cdi::spec::CdiSpec;
use super::cdi::{Resolved, Source, parse};
use super::elf;
use super::loader::cache::{Cache, compare_names};
use super::loader::conf::{Asked, asked, matches};
use super::loader::directory::is_library;
use crate::error::ErrorKind;
use crate::facts::nodes::NodeFacts;
use crate::spec::LoadedSpec;

/// CDI files: what is read is written as a text that means the same, and is put into a configuration or refused in order.
pub(crate) fn cdi(bytes: &[u8]) {
    let Ok(spec) = parse(bytes) else { return };
    let text = match serde_json::to_vec(&spec) {
        Ok(text) => text,
        Err(error) => panic!("a CDI file that was read cannot be written: {error}"),
    };
    match parse(&text) {
        Ok(again) => assert_eq!(again, spec, "a CDI file changes when it is written"),
        Err(why) => panic!("a CDI file that was written cannot be read: {why}"),
    }
    for kind in [None, Some('c'), Some('b'), Some('p')] {
        for map_ids in [false, true] {
            applied(&spec, kind, Manner { map_ids });
        }
    }
}

const CONFIG: &[u8] =
    br#"{"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "process": {"args": ["true"], "cwd": "/",
    "env": ["PATH=/bin"], "user": {"uid": 7, "gid": 7}}, "linux": {"namespaces": [{"type": "user"}]}}"#;

/// The whole file in a configuration, on a host whose nodes are all of this kind; None: it has none.
fn applied(file: &CdiSpec, kind: Option<char>, manner: Manner) {
    let Ok(mut loaded) = LoadedSpec::from_slice(CONFIG, "config.json") else {
        panic!("the configuration of this target is none");
    };
    let source = Source {
        name: "fuzz".to_owned(),
        file: None,
    };
    let devices = file.devices.iter().map(|device| &device.container_edits);
    let edits = std::iter::once(&file.container_edits).chain(devices);
    let resolved = Resolved {
        edits: edits.map(|edits| (source.clone(), edits.clone())).collect(),
    };
    let node = kind.map(|kind| NodeFacts {
        kind: Some(kind),
        major: 195,
        minor: 3,
        mode: 0o660,
        gid: 44,
    });
    let look = |_: &Path| Ok(node);
    if let Err(error) = apply::apply(&mut loaded.spec, &resolved, manner, &look) {
        assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
        return;
    }
    let env = loaded
        .spec
        .process()
        .as_ref()
        .and_then(|process| process.env().clone());
    let mounts = loaded.spec.mounts().clone().unwrap_or_default();
    let nodes = loaded
        .spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.devices().clone());
    for (_, edits) in &resolved.edits {
        for line in &edits.env {
            let name = line.split('=').next().unwrap_or_default();
            let of_name = |other: &&String| other.split('=').next() == Some(name);
            assert_eq!(
                env.iter().flatten().filter(of_name).count(),
                1,
                "the variable {name:?}"
            );
        }
        for mount in &edits.mounts {
            let there = mounts
                .iter()
                .filter(|other| other.destination().as_os_str() == mount.container_path.as_str());
            assert_eq!(there.count(), 1, "the mount {:?}", mount.container_path);
        }
        for node in &edits.device_nodes {
            let there = |other: &&oci_spec::runtime::LinuxDevice| other.path() == Path::new(&node.path);
            assert_eq!(
                nodes.iter().flatten().filter(there).count(),
                1,
                "the node {:?}",
                node.path
            );
        }
    }
}

/// Lines of ld.so.conf, the patterns in them, and names of libraries.
pub(crate) fn ld_so_conf(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for line in text.lines() {
        match asked(line) {
            Asked::Nothing => {}
            Asked::Directory(path) => {
                assert!(path.starts_with('/') && line.contains(path), "{line:?}");
                assert!(path == "/" || !path.ends_with('/'), "{line:?}");
                assert!(!path.contains(['#', '=']), "{line:?}");
            }
            Asked::Files(patterns) => {
                let whole = |pattern: &&str| !pattern.is_empty() && !pattern.contains([' ', '\t', '#']);
                assert!(patterns.iter().all(whole), "{line:?}");
            }
        }
    }
    let names: Vec<&str> = text.lines().take(8).collect();
    for pattern in &names {
        for name in &names {
            // The plain reading takes time without bound.
            if pattern.len() <= 12 && name.len() <= 16 {
                let expected = fits(pattern.as_bytes(), name.as_bytes());
                assert_eq!(
                    matches(pattern.as_bytes(), name.as_bytes()),
                    expected,
                    "{pattern:?} {name:?}"
                );
            }
        }
    }
    ordered(&names);
}

/// Letter by letter, trying every length for a star.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=name.len()).any(|taken| fits(rest, &name[taken..])),
        (Some((first, rest)), Some((other, others))) => {
            (*first == b'?' || first == other) && fits(rest, others)
        }
        _ => false,
    }
}

/// Sorting by an order that is none may panic, and searching by one finds nothing.
fn ordered(names: &[&str]) {
    let order = |left: &str, right: &str| compare_names(left.as_bytes(), right.as_bytes());
    for left in names {
        assert!(!is_library(left) || left.contains(".so"));
        for right in names {
            let there = order(left, right);
            assert_eq!(order(right, left), there.reverse(), "{left:?} {right:?}");
            for last in names {
                if there == Ordering::Less && order(right, last) == Ordering::Less {
                    assert_eq!(order(left, last), Ordering::Less, "{left:?} {right:?} {last:?}");
                }
            }
        }
    }
}

pub(crate) fn loader_cache(bytes: &[u8]) {
    let Some(mut cache) = Cache::read(bytes) else {
        return;
    };
    let Some(written) = cache.write() else { return };
    let Some(mut again) = Cache::read(&written) else {
        panic!("a cache that was written cannot be read: {cache:?}");
    };
    for entry in cache.entries.iter_mut().chain(&mut again.entries) {
        if entry.hwcaps.is_some() {
            entry.hwcap &= !0xffff_ffff;
        }
    }
    assert_eq!(again.entries, cache.entries);
}

pub(crate) fn elf(bytes: &[u8]) {
    let _ = elf::library(bytes);
    let _ = elf::compat_note(bytes);
}
