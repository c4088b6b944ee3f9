//! `cargo xtask fuzz`: the fuzz targets under libFuzzer, each for a bounded time.
//!
//! Lives here: how they are built, run and counted. Must not live here: targets and inputs (the folder `fuzz`). cargo-fuzz
//! is not needed: coverage is a pass of the compiler that any toolchain has, so this runs with the stable one.

use crate::workspace::{self, cargo};
use crate::{Outcome, host, steps};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Seconds for each target without an option.
const SECONDS: u32 = 60;

/// What libFuzzer needs in the code under test: counters of edges, the places of functions, operands of comparisons. In
/// sixteen units whatever the profile says: counters make code large, and one unit would take minutes.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=16",
];

/// AddressSanitizer in the code under test. The standard library stays as it is: what it allocates is watched, what it
/// reads by itself is not.
const ADDRESS: &str = "-Zsanitizer=address";

#[derive(Debug, PartialEq, Eq)]
struct Options {
    seconds: u32,
    /// With AddressSanitizer, which watches every access to memory and every block that is forgotten.
    address: bool,
    /// None: all.
    target: Option<String>,
}

fn options(words: &[&str]) -> Result<Options, String> {
    let mut options = Options {
        seconds: SECONDS,
        address: false,
        target: None,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--seconds" => {
                let value = words.next().ok_or("fuzz: --seconds needs a value")?;
                let number = value.parse().ok().filter(|number: &u32| *number > 0);
                options.seconds =
                    number.ok_or(format!("fuzz: --seconds {value:?} is not a number above 0"))?;
            }
            "--address-sanitizer" => options.address = true,
            name if !name.starts_with('-') && options.target.is_none() => {
                options.target = Some(name.to_owned());
            }
            other => {
                return Err(format!(
                    "fuzz: {other:?} is not --seconds, --address-sanitizer or the name of one target"
                ));
            }
        }
    }
    Ok(options)
}

/// What came of a target.
struct Done {
    executions: u64,
    findings: Vec<PathBuf>,
    /// It ended as it should.
    fine: bool,
}

/// Builds the targets, runs them and prints a line for each; whether nothing was found.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let options = options(words)?;
    let corpora = workspace::root().join("fuzz/corpus");
    let known = targets(&corpora)?;
    let chosen = match options.target {
        Some(name) if known.contains(&name) => vec![name],
        Some(name) => {
            return Err(format!(
                "fuzz: no target {name:?}; there are {}",
                known.join(", ")
            ));
        }
        None => known,
    };
    host::install(&host::Need::ALL)?;
    host::install(&host::Need::FUZZ)?;
    let place = workspace::root().join("target/fuzz");
    let program = build(&place, options.address)?;
    let mut lines = Vec::new();
    let mut fine = true;
    for name in &chosen {
        steps::heading(&format!("{name}, {} s", options.seconds));
        let done = one(&program, &place, &corpora, name, options.seconds)?;
        lines.push(format!(
            "{name:20} {:>12} executions, {} findings",
            done.executions,
            done.findings.len()
        ));
        for finding in &done.findings {
            println!("FOUND {}", finding.display());
        }
        fine &= done.fine && done.findings.is_empty();
    }
    steps::heading("summary");
    println!("{}", lines.join("\n"));
    Ok(fine)
}

/// Each target has a folder of inputs; a test of the folder `fuzz` keeps it so.
fn targets(corpora: &Path) -> Result<Vec<String>, String> {
    let fault = |error: std::io::Error| format!("{}: {error}", corpora.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(corpora).map_err(fault)? {
        names.push(entry.map_err(fault)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn build(place: &Path, address: bool) -> Result<PathBuf, String> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let libraries = format!("-Lnative=/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let mut flags: Vec<&str> = FLAGS.into_iter().chain([libraries.as_str()]).collect();
    // Beside the other build, so that neither has to be made again for the other.
    let place = match address {
        true => place.join("address"),
        false => place.to_owned(),
    };
    if address {
        flags.push(ADDRESS);
    }
    let mut command = cargo(&[
        "build",
        "--release",
        "--locked",
        "--features",
        "libfuzzer",
        "--bin",
        "fuzz",
    ]);
    command
        .args([
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--target",
            &triple,
            "--target-dir",
        ])
        .arg(&place)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    if address {
        // The flag is not stable; the sanitizer itself comes with every toolchain.
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    steps::must(&mut command)?;
    Ok(place.join(triple).join("release/fuzz"))
}

/// New inputs go to a folder of the build, not among the corpora of the repository, which stay small.
fn one(program: &Path, place: &Path, corpora: &Path, name: &str, seconds: u32) -> Result<Done, String> {
    let (found, fresh) = (place.join("findings").join(name), place.join("inputs").join(name));
    for folder in [&found, &fresh] {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let before = files(&found);
    let mut command = Command::new(program);
    command
        .env("FUZZ_TARGET", name)
        .args([
            "-print_final_stats=1",
            "-verbosity=0",
            "-timeout=20",
            "-rss_limit_mb=2048",
        ])
        .args(["-max_len=65536", &format!("-max_total_time={seconds}")])
        .arg(format!("-artifact_prefix={}/", found.display()))
        .args([&fresh, &corpora.join(name)])
        .stdin(Stdio::null());
    println!("$ {}", steps::show(&command));
    let output = command
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let findings = files(&found)
        .into_iter()
        .filter(|path| !before.contains(path))
        .collect();
    if !output.status.success() {
        println!("{text}");
    }
    Ok(Done {
        executions: executions(&text).unwrap_or(0),
        findings,
        fine: output.status.success(),
    })
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn executions(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_understood_or_refused() {
        let asked = options(&["--seconds", "5", "elf"]).unwrap();
        assert_eq!((asked.seconds, asked.target.as_deref()), (5, Some("elf")));
        assert!(!asked.address && options(&["--address-sanitizer"]).unwrap().address);
        for bad in [
            &["--seconds"][..],
            &["--seconds", "0"],
            &["a", "b"],
            &["--runs", "3"],
        ] {
            assert!(options(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn executions_are_read_from_libfuzzers_last_words() {
        let text = "Done\nstat::number_of_executed_units: 1234\nstat::average_exec_per_sec: 7\n";
        assert_eq!(executions(text), Some(1234));
        assert_eq!(executions("nothing"), None);
    }
}
