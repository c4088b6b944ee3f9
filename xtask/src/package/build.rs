//! The programs that are packaged, and what is said about them: version, commit, time.
//!
//! Must not live here: what else a package holds.

use crate::{licences, steps, workspace};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is packaged.
#[derive(Debug)]
pub(super) struct Product {
    pub(super) version: String,
    /// rustc's name of the machine it runs on.
    pub(super) target: String,
    /// The time of every file, in seconds since 1970.
    pub(super) epoch: String,
    /// `runtime` first; the shim where the workspace has it.
    pub(super) programs: Vec<PathBuf>,
    /// The packages of the workspace that the programs come from.
    pub(super) packages: Vec<&'static str>,
    /// What `cargo metadata` says for this target.
    pub(super) metadata: Value,
}

impl Product {
    /// The program `runtime`.
    pub(super) fn runtime(&self) -> &Path {
        self.programs.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// Whether the shim is among the programs.
    pub(super) fn has_shim(&self) -> bool {
        self.packages.contains(&SHIM.0)
    }
}

/// A package of the workspace and its program.
const CLI: (&str, &str) = ("runtime-cli", "runtime");
const SHIM: (&str, &str) = ("shim", "containerd-shim-runtime-core-v2");

/// Builds the programs for people, into a target folder of their own: its flags differ from those of daily work.
pub(super) fn release(target_dir: &Path) -> Result<Product, String> {
    let mut product = describe()?;
    let flags = format!(
        "target.{}.rustflags={:?}",
        product.target,
        remaps(&product.metadata)?
    );
    let mut command = workspace::cargo(&["build", "--release", "--locked", "--config", &flags]);
    for package in &product.packages {
        command.args(["--package", package]);
    }
    command
        .env("CARGO_TARGET_DIR", target_dir)
        .env("RUNTIME_COMMIT", commit());
    steps::must(&mut command)?;
    product.programs = programs(&product, &target_dir.join(&product.target).join("release"))?;
    Ok(product)
}

/// The programs of daily work, for a test of packaging itself.
pub(super) fn debug() -> Result<Product, String> {
    let mut product = describe()?;
    let mut command = workspace::cargo(&["build", "--locked", "--bins"]);
    for package in &product.packages {
        command.args(["--package", package]);
    }
    steps::must(&mut command)?;
    let folder = workspace::root().join("target/package/debug");
    super::create_dir(&folder)?;
    for program in programs(&product, &workspace::programs("debug")?)? {
        // With what debuggers need they are twenty times as large, and packing takes minutes.
        let small = folder.join(program.file_name().unwrap_or_default());
        steps::must(Command::new("strip").arg("-o").arg(&small).arg(&program))?;
        product.programs.push(small);
    }
    Ok(product)
}

fn programs(product: &Product, folder: &Path) -> Result<Vec<PathBuf>, String> {
    let wanted = [CLI, SHIM]
        .into_iter()
        .filter(|(package, _)| product.packages.contains(package));
    wanted
        .map(|(_, program)| folder.join(program))
        .map(|path| match path.is_file() {
            true => Ok(path),
            false => Err(format!("the build left no {}", path.display())),
        })
        .collect()
}

fn describe() -> Result<Product, String> {
    let version = steps::output(Command::new(rustc()).arg("-vV"))?;
    let target = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .ok_or("rustc -vV names no host")?
        .to_owned();
    let metadata = licences::metadata(&["--filter-platform", &target])?;
    let members: BTreeSet<&str> = metadata["workspace_members"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|id| package(&metadata, id.as_str()?)?["name"].as_str())
        .collect();
    let packages: Vec<&str> = [CLI.0, SHIM.0]
        .into_iter()
        .filter(|name| members.contains(name))
        .collect();
    let cli = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == CLI.0);
    let version = cli.and_then(|package| package["version"].as_str());
    Ok(Product {
        version: version
            .ok_or("cargo metadata names no version of runtime-cli")?
            .to_owned(),
        target,
        epoch: epoch()?,
        programs: Vec::new(),
        packages,
        metadata,
    })
}

/// The package of an id in `metadata`.
pub(super) fn package<'a>(metadata: &'a Value, id: &str) -> Option<&'a Value> {
    metadata["packages"]
        .as_array()?
        .iter()
        .find(|package| package["id"] == id)
}

/// The compiler, as cargo finds it.
pub(super) fn rustc() -> std::ffi::OsString {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

/// Flags that keep the builder's paths out of the programs.
fn remaps(metadata: &Value) -> Result<Vec<String>, String> {
    let sysroot = steps::output(Command::new(rustc()).args(["--print", "sysroot"]))?;
    let mut flags = vec![
        format!(
            "--remap-path-prefix={}=/{}",
            workspace::root().display(),
            super::NAME
        ),
        format!("--remap-path-prefix={}=/rust", sysroot.trim()),
    ];
    let registries: BTreeSet<PathBuf> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|package| package["source"].is_string())
        .filter_map(|package| {
            Some(
                Path::new(package["manifest_path"].as_str()?)
                    .parent()?
                    .parent()?
                    .to_owned(),
            )
        })
        .collect();
    flags.extend(
        registries
            .iter()
            .map(|folder| format!("--remap-path-prefix={}=/crates", folder.display())),
    );
    Ok(flags)
}

/// RUNTIME_COMMIT, else git's word, else `unknown`: as in runtime-cli's build script.
pub(super) fn commit() -> String {
    let given = std::env::var("RUNTIME_COMMIT")
        .ok()
        .filter(|commit| !commit.is_empty());
    given
        .or_else(|| git(&["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_else(|| "unknown".to_owned())
}

/// SOURCE_DATE_EPOCH, else the time of the commit.
pub(super) fn epoch() -> Result<String, String> {
    let Ok(given) = std::env::var("SOURCE_DATE_EPOCH") else {
        let why = "SOURCE_DATE_EPOCH is not set and git names no commit here: set it to seconds since 1970";
        return git(&["log", "-1", "--format=%ct"]).ok_or_else(|| why.to_owned());
    };
    match given.parse::<u32>() {
        Ok(_) => Ok(given),
        Err(_) => Err(format!(
            "SOURCE_DATE_EPOCH is {given:?}, allowed: seconds since 1970"
        )),
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(workspace::root())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
