//! CDI files judged and applied as Go's library does: the verdicts in fixtures/cdi were made with it (make.py there).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test; its verdict is a line of JSON"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use runtime_core::facts::HostFacts;
use runtime_core::gpu::cdi::Registry;
use runtime_core::gpu::{DeviceRequest, inject};
use runtime_core::spec::LoadedSpec;
use serde::Deserialize;
use serde_json::Value;

/// What Go's library says of a file.
#[derive(Debug, Deserialize)]
struct Verdict {
    accepted: bool,
    /// The oldest version that has all that the file uses.
    minimum: Option<String>,
    #[serde(default)]
    devices: Vec<String>,
    injected: Option<bool>,
    config: Option<Value>,
    /// Why this library says something else, on purpose.
    differs: Option<String>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/cdi")
}

/// One directory for one file.
struct Alone(PathBuf);

impl Alone {
    fn new(file: &Path) -> Self {
        let name = file.file_name().unwrap();
        let dir = std::env::temp_dir().join(format!("cdi-{}-{}", std::process::id(), name.to_string_lossy()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).unwrap();
        let copy = dir.join(name);
        std::fs::copy(file, &copy).unwrap();
        std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o644)).unwrap();
        Self(dir)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Without what says nothing: null, empty lists and objects.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(tidy);
            members.retain(|_, value| !is_nothing(value));
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

/// What is not as in the verdict; nothing where all is.
fn difference(file: &Path, verdict: &Verdict, facts: &HostFacts) -> Option<String> {
    let alone = Alone::new(file);
    let registry = Registry::load(std::slice::from_ref(&alone.0));
    let fault = registry.faults().first().map(|fault| fault.message.clone());
    if registry.files().is_empty() == verdict.accepted {
        return Some(format!("accepted: {}, {fault:?}", !registry.files().is_empty()));
    }
    if !verdict.accepted {
        return None;
    }
    let spec = &registry.files()[0].spec;
    if Some(spec.minimum_version().as_str()) != verdict.minimum.as_deref() {
        return Some(format!("minimum {}", spec.minimum_version()));
    }
    let base = std::fs::read(fixtures().join("base.json")).unwrap();
    let mut loaded = LoadedSpec::from_slice(&base, "base.json").unwrap();
    let request = DeviceRequest {
        names: verdict.devices.clone(),
        cdi_spec_dirs: vec![alone.0.clone()],
        ..DeviceRequest::default()
    };
    let result = inject(&mut loaded, Path::new("/nowhere"), &request, facts);
    match (&result, verdict.injected) {
        (Err(_), Some(false)) => None,
        (Ok(_), Some(true)) => {
            let mut ours = serde_json::to_value(&loaded.spec).unwrap();
            let mut theirs = verdict.config.clone().unwrap();
            tidy(&mut ours);
            tidy(&mut theirs);
            (ours != theirs).then(|| format!("ours   {ours}\ntheirs {theirs}"))
        }
        _ => Some(format!("injected: {:?}", result.map(|_| ()))),
    }
}

#[test]
fn files_mean_what_gos_library_makes_of_them() {
    let verdicts = std::fs::read(fixtures().join("verdicts.json")).unwrap();
    let verdicts: BTreeMap<String, Verdict> = serde_json::from_slice(&verdicts).unwrap();
    assert!(verdicts.len() >= 60);
    let facts = HostFacts::gather().unwrap();
    let mut wrong = Vec::new();
    for (name, verdict) in &verdicts {
        let found = difference(&fixtures().join("cases").join(name), verdict, &facts);
        match (found, &verdict.differs) {
            (None, None) | (Some(_), Some(_)) => {}
            (Some(what), None) => wrong.push(format!("{name}: {what}")),
            (None, Some(why)) => wrong.push(format!("{name}: is as in Go, but should not be: {why}")),
        }
    }
    let differ = verdicts
        .values()
        .filter(|verdict| verdict.differs.is_some())
        .count();
    println!(
        "{{\"id\":\"N-09\",\"verdict\":\"{}\",\"evidence\":\"{} files, {} as Go's library, {differ} otherwise on purpose\"}}",
        if wrong.is_empty() { "passed" } else { "failed" },
        verdicts.len(),
        verdicts.len() - differ - wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
