//! The licence check: every package that cargo would fetch, against the list in `deny.toml`.
//!
//! Lives here: what of `deny.toml` is followed: `[licenses] allow`. A key there that would change the answer and is not
//! followed is an error, never ignored. Why this and not cargo-deny: `docs/adr/0008-licence-check-in-xtask.md`.

use crate::spdx::satisfied;
use crate::{steps, workspace};
use serde_json::Value;

/// The file that cargo-deny reads too.
const FILE: &str = "deny.toml";

/// Checks; the number of packages.
///
/// # Errors
/// One line per package that is not allowed, or why it could not be found out.
pub(crate) fn check() -> Result<usize, String> {
    let allowed = allowed()?;
    let packages = packages()?;
    let wrong: Vec<String> = packages
        .iter()
        .filter_map(|package| complaint(package, &allowed))
        .collect();
    match wrong.is_empty() {
        true => Ok(packages.len()),
        false => Err(wrong.join("\n")),
    }
}

fn allowed() -> Result<Vec<String>, String> {
    let path = workspace::root().join(FILE);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let file: Value = basic_toml::from_str(&text).map_err(|error| format!("{FILE}: {error}"))?;
    let licences = file["licenses"]
        .as_object()
        .ok_or(format!("{FILE}: no [licenses]"))?;
    // The threshold speaks of guessed licences; here nothing is guessed.
    let followed = [
        "version",
        "allow",
        "confidence-threshold",
        "unused-allowed-license",
    ];
    if let Some(key) = licences.keys().find(|key| !followed.contains(&key.as_str())) {
        return Err(format!("{FILE}: licenses.{key} is not followed by this check"));
    }
    let list = licences["allow"]
        .as_array()
        .ok_or(format!("{FILE}: no licenses.allow"))?;
    Ok(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// What `cargo metadata` says with these arguments.
///
/// # Errors
/// It fails, or says something else.
pub(crate) fn metadata(arguments: &[&str]) -> Result<Value, String> {
    let mut command = workspace::cargo(&["metadata", "--format-version", "1", "--locked"]);
    let output = steps::bytes(command.args(arguments))?;
    serde_json::from_slice(&output).map_err(|error| format!("cargo metadata: {error}"))
}

fn packages() -> Result<Vec<Value>, String> {
    let metadata = metadata(&[])?;
    match &metadata["packages"] {
        Value::Array(packages) if !packages.is_empty() => Ok(packages.clone()),
        _ => Err("cargo metadata names no packages".to_owned()),
    }
}

fn complaint(package: &Value, allowed: &[String]) -> Option<String> {
    let name = format!(
        "{} {}",
        package["name"].as_str().unwrap_or_default(),
        package["version"].as_str().unwrap_or_default()
    );
    if package["source"]
        .as_str()
        .is_some_and(|source| source.starts_with("git+"))
    {
        return Some(format!(
            "{name}: comes from a git repository, only registries are allowed"
        ));
    }
    let Some(licence) = package["license"].as_str() else {
        return Some(format!("{name}: its manifest names no licence"));
    };
    match satisfied(licence, &|id| allowed.iter().any(|own| own == id)) {
        Ok(true) => None,
        Ok(false) => Some(format!("{name}: {licence} is not in {FILE}")),
        Err(error) => Some(format!("{name}: {licence}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(licence: Value, source: Value) -> Value {
        json!({"name": "some", "version": "1.0.0", "license": licence, "source": source})
    }

    #[test]
    fn packages_of_allowed_licences_from_a_registry_pass() {
        let allowed = vec!["MIT".to_owned()];
        let registry = json!("registry+https://example.org/index");
        assert_eq!(
            complaint(&package(json!("MIT OR Apache-2.0"), registry.clone()), &allowed),
            None
        );
        for (licence, source) in [
            (json!("GPL-3.0-only"), registry.clone()),
            (json!(null), registry),
            (json!("MIT"), json!("git+https://example.org/some")),
        ] {
            assert!(complaint(&package(licence, source), &allowed).is_some());
        }
    }

    #[test]
    fn the_list_of_this_workspace_is_read() {
        assert!(allowed().unwrap().iter().any(|licence| licence == "Apache-2.0"));
    }
}
