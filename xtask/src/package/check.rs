//! `cargo xtask package check`: whether what is handed out can be used by who has nothing else.
//!
//! Lives here: the parts and what each has to show. Must not live here: what is in a package. Each part works in a scratch
//! folder; only the builds are kept, below `target/package`.

use super::{build, create_dir, debian, make, read, write};
use crate::tally::Tally;
use crate::workspace::{Scratch, cargo};
use crate::{Outcome, checks, host, steps, workspace};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A part: its name and what it does.
type Part = (&'static str, fn() -> Result<Verdict, String>);

/// The parts, the costly one last.
const PARTS: [Part; 4] = [
    ("crates", crates),
    ("install", install),
    ("debian", released_in_debian),
    ("twice", twice),
];

/// How a part ends that could be tried at all.
#[derive(Debug)]
pub(super) enum Verdict {
    Passed,
    /// The host lacks something.
    Skipped(String),
}

/// Runs the parts that are named, or all. The last line is `N passed, N failed, N skipped`.
pub(super) fn run(words: &[&str]) -> Outcome {
    if let Some(word) = words
        .iter()
        .find(|word| PARTS.iter().all(|(name, _)| name != *word))
    {
        let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        return Err(format!(
            "package check: {word:?} is not one of {}",
            names.join(", ")
        ));
    }
    host::install(&host::Need::BUILD)?;
    let mut tally = Tally::default();
    for (name, part) in PARTS
        .iter()
        .filter(|(name, _)| words.is_empty() || words.contains(name))
    {
        count(&mut tally, name, part());
    }
    checks::summary(&tally);
    Ok(tally.failed == 0)
}

fn count(tally: &mut Tally, name: &str, verdict: Result<Verdict, String>) {
    match verdict {
        Ok(Verdict::Passed) => {
            println!("passed: {name}");
            tally.pass();
        }
        Ok(Verdict::Skipped(why)) => {
            println!("SKIPPED package {name}: {why}");
            tally.skip(format!("package {name}: {why}"));
        }
        Err(error) => {
            println!("{error}");
            tally.fail(format!("package {name}: {error}"));
        }
    }
}

/// For `cargo xtask test`: the package of the programs of daily work, in a fresh Debian.
pub(crate) fn in_debian(tally: &mut Tally) {
    steps::heading("the Debian package, installed and removed");
    let verdict = build::debug().and_then(|product| try_in_debian(&product));
    count(tally, "debian", verdict);
}

fn released_in_debian() -> Result<Verdict, String> {
    steps::heading("debian: the package is installed in a fresh Debian, used and removed");
    let product = build::release(&kept("build"))?;
    try_in_debian(&product)
}

fn try_in_debian(product: &build::Product) -> Result<Verdict, String> {
    let scratch = Scratch::new("package-out")?;
    make(product, scratch.path())?;
    let deb = find(scratch.path(), ".deb")?;
    debian::trial(&deb, &product.version)
}

/// The two published crates, unpacked in an empty folder, are all that an embedder needs beside the registry.
fn crates() -> Result<Verdict, String> {
    steps::heading("crates: what is published builds alone");
    let packaged = kept("crates");
    let mut package = cargo(&["package", "--locked", "--no-verify", "--allow-dirty"]);
    package
        .args([
            "--package",
            "runtime-core-program",
            "--package",
            "runtime-core",
            "--target-dir",
        ])
        .arg(&packaged);
    steps::must(&mut package)?;
    let scratch = Scratch::new("crates")?;
    for name in ["runtime-core-program-", "runtime-core-0"] {
        let archive = find(&packaged.join("package"), name)?;
        let mut unpack = Command::new("tar");
        unpack.arg("-xzf").arg(archive).arg("-C").arg(scratch.path());
        steps::must(&mut unpack)?;
    }
    let (library, format) = (
        find(scratch.path(), "runtime-core-0")?,
        find(scratch.path(), "runtime-core-program-")?,
    );
    for (file, wanted) in [("init/src/main.rs", true), ("LICENSE", true), ("tests", false)] {
        if library.join(file).exists() != wanted {
            return Err(format!(
                "the crate {} {file}",
                if wanted { "lacks" } else { "holds" }
            ));
        }
    }
    let app = scratch.join("app");
    create_dir(&app.join("src"))?;
    let manifest = format!(
        "[package]\nname = \"app\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\nruntime-core = {{ path = {library:?} }}\n\n\
         [patch.crates-io]\nruntime-core-program = {{ path = {format:?} }}\n\n[workspace]\n"
    );
    write(&app.join("Cargo.toml"), manifest.as_bytes())?;
    write(
        &app.join("Cargo.lock"),
        &read(&workspace::root().join("Cargo.lock"))?,
    )?;
    write(
        &app.join("src/main.rs"),
        &read(&library.join("examples/run_bundle.rs"))?,
    )?;
    steps::must(plain(cargo(&["build"]).current_dir(&app)))?;
    embedder(&scratch, &kept("plain").join("debug/app"))?;
    Ok(Verdict::Passed)
}

/// Runs what was built against the published crates; as root a container, else only its complaint is read.
fn embedder(scratch: &Scratch, app: &Path) -> Result<(), String> {
    let (state, bundle) = (scratch.join("state"), scratch.join("bundle"));
    if !host::is_root() {
        let output = Command::new(app).args([&state, &bundle]).arg("c1").output();
        let output = output.map_err(|error| format!("{}: {error}", app.display()))?;
        return match String::from_utf8_lossy(&output.stderr).contains("config.json") {
            true => Ok(()),
            false => Err(format!("{output:?} does not complain about config.json")),
        };
    }
    steps::must(&mut cargo(&[
        "build",
        "--locked",
        "--package=fixtures",
        "--bin=bundle",
    ]))?;
    let mut bundler = crate::bundle::make(
        &workspace::programs("debug")?,
        &bundle,
        &["/bin/sh", "-c", "echo from inside"],
    );
    steps::must(&mut bundler)?;
    let said = steps::output(Command::new(app).args([&state, &bundle]).arg("package-crates-1"))?;
    match said.trim() {
        "from inside" => Ok(()),
        other => Err(format!("the container of the embedder says {other:?}")),
    }
}

/// `cargo install` with and without the workspace's own configuration of cargo.
fn install() -> Result<Verdict, String> {
    steps::heading("install: cargo install of the command line, from elsewhere");
    let scratch = Scratch::new("install")?;
    let (here, copy) = (workspace::root(), scratch.join("copy"));
    let mut with = Command::new(cargo(&[]).get_program());
    with.args(["install", "--locked", "--path"])
        .arg(here.join("runtime-cli"))
        .arg("--root")
        .arg(scratch.join("with"))
        .current_dir(scratch.path());
    steps::must(unset(&mut with))?;
    sources(&copy)?;
    std::fs::remove_dir_all(copy.join(".cargo")).map_err(|error| format!("the copy's .cargo: {error}"))?;
    let mut without = Command::new(cargo(&[]).get_program());
    without
        .args(["install", "--locked", "--debug", "--path"])
        .arg(copy.join("runtime-cli"))
        .arg("--root")
        .arg(scratch.join("without"))
        .current_dir(scratch.path());
    steps::must(plain(&mut without))?;
    for place in ["with", "without"] {
        let program = scratch.join(place).join("bin/runtime");
        let said = steps::output(Command::new(&program).arg("--version"))?;
        if !said.starts_with("runc version ") {
            return Err(format!("{} says {said:?} as its version", program.display()));
        }
    }
    Ok(Verdict::Passed)
}

/// Two builds in two folders give the same bytes.
fn twice() -> Result<Verdict, String> {
    steps::heading("twice: two builds in two folders are the same");
    let scratch = Scratch::new("twice")?;
    let own = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let folders = [scratch.join("one"), scratch.join("a/longer path")];
    // Both first: who works on while the first is built changes neither.
    for folder in &folders {
        sources(folder)?;
    }
    // Also before: a commit meanwhile would give the second build another time and another name.
    let (epoch, commit) = (build::epoch()?, build::commit());
    for (folder, zone) in folders.iter().zip(["UTC", "Asia/Tokyo"]) {
        let mut build = Command::new(&own);
        unset(&mut build)
            .args(["package", "--output"])
            .arg(folder.join("out"))
            .current_dir(folder)
            .env("CARGO_MANIFEST_DIR", folder.join("xtask"))
            .env("SOURCE_DATE_EPOCH", &epoch)
            .env("RUNTIME_COMMIT", &commit)
            .env("TZ", zone);
        steps::must(&mut build)?;
    }
    let [one, other] = folders.map(|folder| folder.join("out/SHA256SUMS"));
    let (one, other) = (read(&one)?, read(&other)?);
    match one == other && !one.is_empty() {
        true => Ok(Verdict::Passed),
        false => Err(format!(
            "two builds differ:\n{}{}",
            String::from_utf8_lossy(&one),
            String::from_utf8_lossy(&other)
        )),
    }
}

/// Copies the working tree without what git ignores.
fn sources(to: &Path) -> Result<(), String> {
    create_dir(to)?;
    let root = workspace::root();
    let mut list = Command::new("git");
    list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(&root);
    let list = steps::output(&mut list)?;
    for name in list.split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (root.join(name), to.join(name));
        // What is deleted but not committed is still listed.
        if !from.exists() {
            continue;
        }
        create_dir(to.parent().unwrap_or(&to))?;
        std::fs::copy(&from, &to).map_err(|error| format!("copying {}: {error}", from.display()))?;
    }
    Ok(())
}

/// Takes away what this workspace's configuration of cargo put into the environment.
fn unset(command: &mut Command) -> &mut Command {
    for name in [
        "LIBSECCOMP_LINK_TYPE",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET",
    ] {
        command.env_remove(name);
    }
    command
}

/// As a stranger's cargo runs; builds of this kind share a target folder.
fn plain(command: &mut Command) -> &mut Command {
    unset(command).env("CARGO_TARGET_DIR", kept("plain"))
}

fn kept(name: &str) -> PathBuf {
    workspace::root().join("target/package").join(name)
}

/// The file or folder whose name holds `part`.
fn find(folder: &Path, part: &str) -> Result<PathBuf, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let found = entries
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().contains(part));
    found
        .map(|entry| entry.path())
        .ok_or_else(|| format!("{} has no *{part}*", folder.display()))
}
