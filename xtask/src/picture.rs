//! `cargo xtask trace-picture`: the picture of one start in docs/tracing.md, drawn from a trace that was taken for it.
//!
//! Lives here: taking traces and choosing one. How it is drawn is in `picture/drawing.rs`, which is pure.

mod drawing;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::workspace::{Scratch, build_release, programs, root};
use crate::{Outcome, bundle, host, steps};

/// How many starts are tried: the quickest one was disturbed least.
const STARTS: u32 = 20;

/// Takes traces, or reads the one that is named, and draws.
pub(crate) fn run(options: &[&str]) -> Outcome {
    let (output, given) = parse(options)?;
    let trace = match given {
        Some(path) => read(&path)?,
        None => quickest()?,
    };
    let picture = drawing::draw(&trace)?;
    std::fs::write(&output, picture)
        .map_err(|error| format!("cannot write {}: {error}", output.display()))?;
    println!("{} is written", output.display());
    Ok(true)
}

fn parse(options: &[&str]) -> Result<(PathBuf, Option<PathBuf>), String> {
    let mut output = root().join("docs/trace-of-a-start.svg");
    let mut given = None;
    let mut words = options.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a file"));
        match *word {
            "--output" => output = value()?.into(),
            "--trace" => given = Some(value()?.into()),
            other => return Err(format!("trace-picture: {other:?} is not understood")),
        }
    }
    Ok((output, given))
}

fn read(path: &Path) -> Result<Value, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The quickest of several runs of busybox `true` with the release build.
fn quickest() -> Result<Value, String> {
    host::install(&host::Need::ALL)?;
    build_release(&[
        "--locked",
        "--package=runtime-cli",
        "--package=fixtures",
        "--bins",
    ])?;
    let programs = programs("release")?;
    let scratch = Scratch::new("picture")?;
    let bundle_dir = scratch.join("bundle");
    steps::must(&mut bundle::make(&programs, &bundle_dir, &["/bin/true"]))?;
    let mut best: Option<(f64, Value)> = None;
    for number in 0..STARTS {
        let file = scratch.join(&format!("{number}.json"));
        let mut command = std::process::Command::new(programs.join("runtime"));
        command
            .arg("--root")
            .arg(scratch.join("state"))
            .arg("--trace")
            .arg(&file)
            .args(["run", "--bundle"])
            .arg(&bundle_dir)
            .arg(format!("xtask-picture-{number}"));
        let status = command
            .status()
            .map_err(|error| format!("{command:?}: {error}"))?;
        if !status.success() {
            return Err(format!("{command:?} ended with {status}"));
        }
        let trace = read(&file)?;
        let took = drawing::length(&trace)?;
        if best.as_ref().is_none_or(|(least, _)| took < *least) {
            best = Some((took, trace));
        }
    }
    best.map(|(_, trace)| trace)
        .ok_or_else(|| "no start was tried".to_owned())
}
