//! Fuzz targets: functions that take any bytes and end, or panic where a law is broken.
//!
//! A target does not fail because bytes are refused; it fails for a panic, an overflow, an endless loop, memory without
//! bound, an error of the kind Internal, or an answer that differs from a plain reading of the same input. `cargo xtask
//! fuzz` runs them under libFuzzer; `tests/corpus.rs` runs the corpora (`corpus/NAME/`) without it.

mod bytes;
mod config;
mod devices;
mod kernel;
mod passwd;
mod program;
mod seccomp;
mod shim_requests;

use bytes::text;
use runtime_core::{ContainerId, Signal, fuzzing, gpu, spec};

/// A target: bytes in, nothing out, a panic where a law is broken.
pub type Target = fn(&[u8]);

/// Every target by name; each has a folder of that name in `corpus/`.
pub const TARGETS: [(&str, Target); 22] = [
    ("cdi", cdi),
    ("config", config::plan),
    ("criu", fuzzing::criu),
    ("dbus", fuzzing::dbus),
    ("dbus-text", dbus_text),
    ("devices", devices::rules),
    ("elf", fuzzing::elf),
    ("exec", config::exec),
    ("frame", program::frame),
    ("ids", ids),
    ("ld-so-conf", fuzzing::ld_so_conf),
    ("loader-cache", fuzzing::loader_cache),
    ("mount-options", mount_options),
    ("mountinfo", kernel::tables),
    ("netlink", fuzzing::netlink),
    ("passwd", passwd::search),
    ("program", program::read),
    ("record", fuzzing::record),
    ("resources", config::resources),
    ("seccomp", seccomp::profile),
    ("seccomp-structured", seccomp::structured),
    ("shim", shim_requests::stream),
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, target)| *target)
}

fn cdi(data: &[u8]) {
    fuzzing::cdi(data);
    if let Some(text) = text(data)
        && let Ok(name) = text.parse::<gpu::cdi::QualifiedName>()
    {
        assert_eq!(name.to_string(), text);
        assert_eq!(format!("{}={}", name.kind(), name.name()), text);
    }
}

fn dbus_text(data: &[u8]) {
    if let Some(text) = text(data) {
        fuzzing::dbus_text(text);
    }
}

/// Ids become names of files and cgroups, signals become numbers of system calls.
fn ids(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Ok(id) = text.parse::<ContainerId>() {
        let name = id.as_str();
        assert_eq!(name, text);
        assert!(!name.is_empty() && name != "." && name != "..");
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'));
    }
    if let Ok(signal) = text.parse::<Signal>() {
        assert!((0..=64).contains(&signal.number()), "{signal:?}");
    }
}

/// MOUNT_ATTR__ATIME of linux/mount.h.
const ATIME: u64 = 0x70;

fn mount_options(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let options: Vec<String> = text.split([',', '\n']).map(str::to_owned).collect();
    let Ok(parsed) = spec::MountOptions::parse(&options) else {
        return;
    };
    for change in [parsed.attributes, parsed.recursive] {
        // The time of access is one field of three bits: it is cleared as a whole, or not touched (mount_setattr(2)).
        assert_eq!(change.set & change.clear & !ATIME, 0, "{options:?}");
        assert!(matches!(change.clear & ATIME, 0 | ATIME), "{options:?}");
        assert!(
            change.clear & ATIME == ATIME || change.set & ATIME == 0,
            "{options:?}"
        );
    }
    assert!(
        (parsed.superblock_set & parsed.superblock_clear).is_empty(),
        "{options:?}"
    );
    assert!(parsed.data.len() <= options.len());
    let _ = parsed.fsconfig_flags().count();
}
