//! Seccomp profiles for the bundles that are measured: docker's, as the fixtures have it, and variants of it.
//!
//! A runtime may keep what it has compiled. Docker's own profile shows what a start costs then; a variant that it cannot
//! have seen shows what the first start costs.

use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

static VARIANT: AtomicU64 = AtomicU64::new(0);

/// Puts docker's profile into a bundle.
///
/// # Errors
/// A file cannot be read or written.
pub(crate) fn put(bundle: &Path) -> Result<(), String> {
    write(bundle, docker()?)
}

/// Puts a variant into a bundle that was never used before: one rule more, which holds for no call that is made.
///
/// # Errors
/// As [`put`].
pub(crate) fn put_new(bundle: &Path) -> Result<(), String> {
    let mut profile = docker()?;
    let never = VARIANT.fetch_add(1, Ordering::Relaxed) << 16 | u64::from(std::process::id());
    let rule = json!({"names": ["reboot"], "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": never, "op": "SCMP_CMP_EQ"}]});
    let rules = profile["syscalls"].as_array_mut();
    rules.ok_or("docker.json has no seccomp rules")?.push(rule);
    write(bundle, profile)
}

fn docker() -> Result<Value, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/configs/docker.json");
    Ok(read(&path)?["linux"]["seccomp"].take())
}

fn read(path: &Path) -> Result<Value, String> {
    let show = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let bytes = std::fs::read(path).map_err(|error| show(&error))?;
    serde_json::from_slice(&bytes).map_err(|error| show(&error))
}

fn write(bundle: &Path, profile: Value) -> Result<(), String> {
    let path = bundle.join("config.json");
    let mut config = read(&path)?;
    config["linux"]["seccomp"] = profile;
    std::fs::write(&path, config.to_string()).map_err(|error| format!("{}: {error}", path.display()))
}
