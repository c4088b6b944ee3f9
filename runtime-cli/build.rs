//! Names the commit that the binary is built from: RUNTIME_COMMIT where the builder gives it (a source archive has no
//! repository), else what git says, else "unknown". Nothing else is decided at build time.

use std::process::Command;

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// See `hot.ld`. Only where functions are as large as in the measured build: without optimisation the list is another one.
fn order_code() {
    println!("cargo::rerun-if-changed=hot.ld");
    if std::env::var("PROFILE").as_deref() == Ok("release") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{folder}/hot.ld");
    }
}

fn main() {
    order_code();
    println!("cargo::rerun-if-env-changed=RUNTIME_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    if let Some(log) = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    let commit = std::env::var("RUNTIME_COMMIT")
        .ok()
        .filter(|commit| !commit.is_empty());
    let commit = commit.or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    println!(
        "cargo::rustc-env=RUNTIME_COMMIT={}",
        commit.as_deref().unwrap_or("unknown")
    );
}
