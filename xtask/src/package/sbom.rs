//! The bill of materials: what the programs are made of, in CycloneDX 1.5 (JSON).
//!
//! Lives here: the walk through cargo's resolved graph from the packaged programs, and Debian's static libraries. Packages
//! that only help to build (build dependencies, procedural macros) are named with the scope `excluded`; packages for
//! tests and for other platforms are not named.
//!
//! The licence check and this read the same `cargo metadata`; sums come from `Cargo.lock`.

use super::build::{Product, commit, package, rustc};
use super::read;
use crate::{steps, workspace};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// A package that the programs hold or are built with.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) package: &'a Value,
    /// Its code is in the programs.
    pub(super) linked: bool,
}

/// A static library of Debian.
#[derive(Debug)]
pub(super) struct Library {
    /// The package that holds the archive, and whose `copyright` file says what holds for it.
    pub(super) package: &'static str,
    source: String,
    version: String,
    licence: &'static str,
}

impl Library {
    /// As `Built-Using` of a Debian package takes it.
    pub(super) fn built_using(&self) -> String {
        format!("{} (= {})", self.source, self.version)
    }
}

/// The document.
pub(super) fn bill(product: &Product) -> Result<Vec<u8>, String> {
    let sums = sums()?;
    let mut components: Vec<Value> = parts(product).iter().map(|part| component(part, &sums)).collect();
    for library in libraries()? {
        components.push(json!({
            "type": "library",
            "bom-ref": format!("deb:{}", library.source),
            "name": library.source,
            "version": library.version,
            "scope": "required",
            "licenses": [{"expression": library.licence}],
            "purl": format!("pkg:deb/debian/{}@{}?arch=source", library.source, percent(&library.version)),
        }));
    }
    components.push(standard_library()?);
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": time(&product.epoch)?,
            "tools": {"components": [{"type": "application", "name": "cargo xtask package"}]},
            "component": {
                "type": "application",
                "bom-ref": super::NAME,
                "name": super::NAME,
                "version": product.version,
                "licenses": [{"expression": "Apache-2.0"}],
                "properties": [
                    {"name": "runtime-core:commit", "value": commit()},
                    {"name": "runtime-core:target", "value": product.target},
                ],
            },
        },
        "components": components,
        "dependencies": dependencies(product),
    });
    let mut text = serde_json::to_vec_pretty(&document).map_err(|error| format!("the bill: {error}"))?;
    text.push(b'\n');
    Ok(text)
}

/// All packages that are reached from the packaged programs, by name and version.
pub(super) fn parts(product: &Product) -> Vec<Part<'_>> {
    let mut linked: BTreeMap<&str, bool> = BTreeMap::new();
    let mut waiting: Vec<(&str, bool)> = roots(product).into_iter().map(|id| (id, true)).collect();
    while let Some((id, inside)) = waiting.pop() {
        let Some(package) = package(&product.metadata, id) else {
            continue;
        };
        let inside = inside && !is_macro(package);
        // Once more when it turns out to be linked after all.
        if linked.get(id).is_some_and(|known| *known || !inside) {
            continue;
        }
        linked.insert(id, inside);
        for (next, build) in edges(product, id) {
            waiting.push((next, inside && !build));
        }
    }
    let mut parts: Vec<Part> = linked
        .into_iter()
        .filter_map(|(id, linked)| {
            Some(Part {
                package: package(&product.metadata, id)?,
                linked,
            })
        })
        .collect();
    parts.sort_by_key(|part| (text(part.package, "name"), text(part.package, "version")));
    parts
}

fn roots(product: &Product) -> Vec<&str> {
    let members = product.metadata["workspace_members"]
        .as_array()
        .into_iter()
        .flatten();
    members
        .filter_map(Value::as_str)
        .filter(|id| {
            let name = package(&product.metadata, id).map(|package| text(package, "name"));
            name.is_some_and(|name| product.packages.contains(&name))
        })
        .collect()
}

fn is_macro(package: &Value) -> bool {
    let targets = package["targets"].as_array().into_iter().flatten();
    targets
        .flat_map(|target| target["kind"].as_array().into_iter().flatten())
        .any(|kind| kind == "proc-macro")
}

/// What a package depends on, and whether only for building; tests' dependencies are left out.
fn edges<'a>(product: &'a Product, id: &str) -> Vec<(&'a str, bool)> {
    let nodes = product.metadata["resolve"]["nodes"]
        .as_array()
        .into_iter()
        .flatten();
    let node = nodes.filter(|node| node["id"] == id).take(1);
    node.flat_map(|node| node["deps"].as_array().into_iter().flatten())
        .filter_map(|dep| {
            let kinds: Vec<&Value> = dep["dep_kinds"]
                .as_array()?
                .iter()
                .map(|kind| &kind["kind"])
                .collect();
            let normal = kinds.iter().any(|kind| kind.is_null());
            let build = kinds.iter().any(|kind| *kind == "build");
            (normal || build).then_some((dep["pkg"].as_str()?, !normal))
        })
        .collect()
}

fn component(part: &Part<'_>, sums: &BTreeMap<(String, String), String>) -> Value {
    let (name, version) = (text(part.package, "name"), text(part.package, "version"));
    let mut value = json!({
        "type": "library",
        "bom-ref": reference(part.package),
        "name": name,
        "version": version,
        "scope": if part.linked { "required" } else { "excluded" },
        "licenses": [{"expression": text(part.package, "license").replace('/', " OR ")}],
        "purl": format!("pkg:cargo/{name}@{}", percent(version)),
    });
    if let Some(sum) = sums.get(&(name.to_owned(), version.to_owned())) {
        value["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
    }
    value
}

fn dependencies(product: &Product) -> Vec<Value> {
    let own: Vec<String> = roots(product)
        .iter()
        .filter_map(|id| package(&product.metadata, id).map(reference))
        .collect();
    let mut list = vec![json!({"ref": super::NAME, "dependsOn": own})];
    for part in parts(product) {
        let on: BTreeSet<String> = edges(product, text(part.package, "id"))
            .iter()
            .filter_map(|(id, _)| package(&product.metadata, id).map(reference))
            .collect();
        list.push(json!({"ref": reference(part.package), "dependsOn": on}));
    }
    list
}

fn reference(package: &Value) -> String {
    format!("{}@{}", text(package, "name"), text(package, "version"))
}

fn text<'a>(package: &'a Value, key: &str) -> &'a str {
    package[key].as_str().unwrap_or_default()
}

/// The sums of the lock file.
fn sums() -> Result<BTreeMap<(String, String), String>, String> {
    let bytes = read(&workspace::root().join("Cargo.lock"))?;
    let lock: Value = basic_toml::from_slice(&bytes).map_err(|error| format!("Cargo.lock: {error}"))?;
    let packages = lock["package"].as_array().into_iter().flatten();
    Ok(packages
        .filter_map(|package| {
            let key = (
                text(package, "name").to_owned(),
                text(package, "version").to_owned(),
            );
            Some((key, package["checksum"].as_str()?.to_owned()))
        })
        .collect())
}

/// The archives that are linked in beside Rust's packages, in the versions that this host has.
pub(super) fn libraries() -> Result<Vec<Library>, String> {
    let known = [
        ("libc6-dev", "LGPL-2.1-or-later"),
        ("libseccomp-dev", "LGPL-2.1-only"),
    ];
    let mut libraries = Vec::new();
    for (package, licence) in known {
        let mut query = Command::new("dpkg-query");
        query.args([
            "--show",
            "--showformat=${source:Package} ${source:Version}",
            package,
        ]);
        let found = steps::output(&mut query)?;
        let (source, version) = found
            .trim()
            .split_once(' ')
            .ok_or_else(|| format!("dpkg-query says {found:?} of {package}"))?;
        libraries.push(Library {
            package,
            source: source.to_owned(),
            version: version.to_owned(),
            licence,
        });
    }
    Ok(libraries)
}

fn standard_library() -> Result<Value, String> {
    let version = steps::output(Command::new(rustc()).arg("-vV"))?;
    let field = |name: &str| {
        version
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default()
    };
    Ok(json!({
        "type": "library",
        "bom-ref": "rust-std",
        "name": "rust-std",
        "version": field("release: "),
        "scope": "required",
        "licenses": [{"expression": "MIT OR Apache-2.0"}],
        "properties": [{"name": "runtime-core:commit", "value": field("commit-hash: ")}],
    }))
}

/// As ISO 8601.
fn time(epoch: &str) -> Result<String, String> {
    let mut date = Command::new("date");
    date.args(["--utc", "+%Y-%m-%dT%H:%M:%SZ", "--date"])
        .arg(format!("@{epoch}"));
    Ok(steps::output(&mut date)?.trim().to_owned())
}

/// A version inside of a package URL.
fn percent(version: &str) -> String {
    version.replace('+', "%2B").replace('~', "%7E")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// a -> b (normal) -> c (build), a -> m (macro) -> d (normal), a -> t (test).
    fn product() -> Product {
        let package = |id: &str, kind: &str| json!({"id": id, "name": id, "version": "1", "license": "MIT", "targets": [{"kind": [kind]}]});
        let dep = |id: &str, kind: Value| json!({"pkg": id, "dep_kinds": [{"kind": kind}]});
        Product {
            version: "1".to_owned(),
            target: "some".to_owned(),
            epoch: "0".to_owned(),
            programs: Vec::new(),
            packages: vec!["runtime-cli"],
            metadata: json!({
                "workspace_members": ["runtime-cli", "other"],
                "packages": [
                    package("runtime-cli", "bin"), package("other", "lib"), package("b", "lib"), package("c", "lib"),
                    package("m", "proc-macro"), package("d", "lib"), package("t", "lib"),
                ],
                "resolve": {"nodes": [
                    {"id": "runtime-cli", "deps": [dep("m", json!(null)), dep("b", json!(null)), dep("t", json!("dev"))]},
                    {"id": "b", "deps": [dep("c", json!("build"))]},
                    {"id": "m", "deps": [dep("d", json!(null))]},
                    {"id": "other", "deps": [dep("t", json!(null))]},
                ]},
            }),
        }
    }

    #[test]
    fn what_is_linked_is_told_from_what_only_builds() {
        let product = product();
        let found: Vec<(&str, bool)> = parts(&product)
            .iter()
            .map(|part| (text(part.package, "name"), part.linked))
            .collect();
        let expected = [
            ("b", true),
            ("c", false),
            ("d", false),
            ("m", false),
            ("runtime-cli", true),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_version_is_made_safe_for_a_package_url() {
        assert_eq!(percent("2.5.4-1+deb12u1~x"), "2.5.4-1%2Bdeb12u1%7Ex");
    }
}
