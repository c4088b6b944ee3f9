//! Where the library keeps the containers of a shim, and what of that later commands have to know.

use std::path::{Path, PathBuf};

use prost::Message;
use runtime_core::{CgroupDriver, Runtime};

use crate::proto::options::{LEGACY_CREATE_OPTIONS, LegacyCreateOptions, OPTIONS, Options};
use crate::proto::types::Any;
use crate::ttrpc::Status;

/// The state directory where Options.root names no other.
const ROOT: &str = "/run/containerd/runtime-core";
/// The options in the bundle, for the command `delete`; there where any is set.
const FILE: &str = "options.json";

/// Reads the options of a request.
///
/// # Errors
/// They are of another kind, or name what this shim has not.
pub(crate) fn options(any: Option<&Any>) -> Result<Options, Status> {
    let Some(any) = any.filter(|any| !any.value.is_empty()) else {
        return Ok(Options::default());
    };
    // The kind of CRI's `config_path` configurations says nothing that a runtime of this sort could use.
    if any.is("runtimeoptions.v1.Options") {
        return Ok(Options::default());
    }
    if any.is(LEGACY_CREATE_OPTIONS) {
        let legacy = LegacyCreateOptions::decode(any.value.as_slice());
        return legacy
            .map(Options::from)
            .map_err(|error| Status::invalid(format!("options: {LEGACY_CREATE_OPTIONS}: {error}")));
    }
    if !any.is(OPTIONS) {
        let text = format!("options: found {:?}, allowed is {OPTIONS:?}", any.type_url);
        return Err(Status::invalid(text));
    }
    let options = Options::decode(any.value.as_slice())
        .map_err(|error| Status::invalid(format!("options: {OPTIONS}: {error}")))?;
    if !options.binary_name.is_empty() {
        return Err(Status::invalid(format!(
            "options.binary_name: {:?} cannot be used: this shim runs containers in its own process and executes no \
             runtime; leave it empty, or use io.containerd.runc.v2",
            options.binary_name
        )));
    }
    Ok(options)
}

/// The library with the state directory and cgroup driver that the options choose.
pub(crate) fn runtime(options: &Options, namespace: &str) -> Runtime {
    let root = if options.root.is_empty() {
        Path::new(ROOT)
    } else {
        Path::new(&options.root)
    };
    let driver = if options.systemd_cgroup {
        CgroupDriver::Systemd
    } else {
        CgroupDriver::Cgroupfs
    };
    Runtime::new(root.join(namespace)).cgroup_driver(driver)
}

/// Remembers the options in the bundle.
pub(crate) fn save(options: &Options, bundle: &Path) -> Result<(), Status> {
    if *options == Options::default() {
        return Ok(());
    }
    let path = bundle.join(FILE);
    let bytes = serde_json::to_vec(options).map_err(|error| Status::invalid(format!("options: {error}")))?;
    std::fs::write(&path, bytes).map_err(|error| Status::os(format!("write({path:?})"), error))
}

/// The remembered options.
pub(crate) fn load(bundle: &Path) -> Options {
    let read = std::fs::read(bundle.join(FILE)).ok();
    read.and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

/// Where the root filesystem of a bundle is mounted.
pub(crate) fn rootfs(bundle: &Path) -> PathBuf {
    bundle.join("rootfs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_old_clients_are_understood() {
        let legacy = LegacyCreateOptions {
            no_pivot_root: true,
            io_uid: 200_000,
            io_gid: 300_000,
            criu_image_path: "/image".to_owned(),
            ..LegacyCreateOptions::default()
        };
        let read = options(Some(&Any::of(LEGACY_CREATE_OPTIONS, &legacy))).unwrap();
        assert_eq!(
            (
                read.no_pivot_root,
                read.io_uid,
                read.io_gid,
                read.criu_image_path.as_str()
            ),
            (true, 200_000, 300_000, "/image")
        );
        let unknown = Any::of("containerd.linux.runc.RuncOptions", &legacy);
        assert!(options(Some(&unknown)).is_err());
    }
}
