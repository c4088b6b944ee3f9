//! `cargo xtask hot`: which functions a container's usual life runs, written for the linker.
//!
//! The binary has ten times more code than one command runs, and the kernel maps files in windows of 64 KiB: where the hot
//! functions lie scattered, a command maps, and counts as its memory, nearly all of the file. `runtime-cli/hot.ld` names them,
//! so that they lie side by side. A name that is no longer there does no harm and a new one is merely cold, so the list
//! is renewed now and then and not with every change.
//!
//! Must not live here: what is timed (see `compare`).

use crate::workspace::{Scratch, build_release, cargo, programs, root};
use crate::{Outcome, bundle, host, steps};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

/// The word of the command line for the load that is sampled.
pub(crate) const LOAD: &str = "hot-load";
/// Of the linker script.
const FILE: &str = "runtime-cli/hot.ld";
/// Bytes of code above which the instances of one generic function are left where they are.
const BROAD: u64 = 64 << 10;
/// Lives of a container: a function of 50 ns a life is met about three times.
const ROUNDS: usize = 400;
/// Samples per second of processor time: as often as an unchanged kernel lets us (kernel.perf_event_max_sample_rate).
const RATE: &str = "25000";

/// Builds with names, samples, writes the file.
pub(crate) fn run(words: &[&str]) -> Outcome {
    if let [word, ..] = words {
        return Err(format!("hot: {word:?} is not understood: it takes no option"));
    }
    if !host::is_root() {
        return Err("hot: has to run as root: it makes containers and samples processes".to_owned());
    }
    host::install(&host::Need::ALL)?;
    host::install(&host::Need::HOT)?;
    build_release(&["--package", "fixtures", "--bins"])?;
    // Beside the others: names change nothing in the code, but cargo would build everything again for the next user.
    let target = root().join("target/hot");
    steps::must(
        cargo(&["build", "--release", "--package", "runtime-cli"])
            .env("CARGO_TARGET_DIR", &target)
            .env("CARGO_PROFILE_RELEASE_STRIP", "none"),
    )?;
    let triple = programs("release")?;
    let triple = triple
        .parent()
        .and_then(Path::file_name)
        .ok_or("own path has no folder above")?;
    let runtime = target.join(triple).join("release/runtime");
    let scratch = Scratch::new("hot")?;
    let mut seen = Seen::default();
    // What runs long enough to be met, and what runs for nanoseconds but makes the kernel map one window more.
    for (event, how) in [
        ("cpu-clock:u", ["--freq", RATE]),
        ("page-faults:u", ["--count", "1"]),
    ] {
        seen.add(&sample(&runtime, &scratch.join(event), event, how)?);
    }
    let symbols = steps::output(Command::new("nm").arg("--print-size").arg(&runtime))?;
    let (mut rust, c) = (seen.rust(), seen.c(&library()?));
    rust.retain(|pattern| !is_broad(pattern, &symbols));
    let path = root().join(FILE);
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    let text = script(&rust, &c, &before);
    std::fs::write(&path, text).map_err(|error| format!("{FILE}: {error}"))?;
    println!(
        "{FILE}: {} functions and {} files of the C library",
        rust.len(),
        c.len()
    );
    Ok(true)
}

/// Lines of a process number and a symbol.
fn sample(runtime: &Path, place: &Path, event: &str, how: [&str; 2]) -> Result<String, String> {
    let own = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    std::fs::create_dir(place).map_err(|error| format!("{}: {error}", place.display()))?;
    let samples = place.join("samples");
    steps::must(
        Command::new("perf")
            .args(["record", "--quiet", "--event", event])
            .args(how)
            .arg("--output")
            .arg(&samples)
            .arg("--")
            .arg(own)
            .arg(LOAD)
            .arg(runtime)
            .arg(place.join("load")),
    )?;
    steps::output(
        Command::new("perf")
            .args([
                "script",
                "--comm",
                "runtime",
                "--fields",
                "pid,ip,sym",
                "--no-demangle",
                "--input",
            ])
            .arg(&samples),
    )
}

/// The symbols of the static C library: lines of archive, file and symbol.
fn library() -> Result<String, String> {
    let path = steps::output(Command::new("cc").arg("-print-file-name=libc.a"))?;
    steps::output(Command::new("nm").arg("--print-file-name").arg(path.trim()))
}

/// The processes that were met in each symbol.
#[derive(Debug, Default)]
struct Seen(BTreeMap<String, BTreeSet<u32>>);

impl Seen {
    fn add(&mut self, lines: &str) {
        for line in lines.lines() {
            let mut words = line.split_whitespace();
            if let (Some(Ok(pid)), Some(_), Some(symbol)) =
                (words.next().map(str::parse), words.next(), words.next())
            {
                self.0.entry(symbol.to_owned()).or_default().insert(pid);
            }
        }
    }

    /// Patterns for the Rust functions. What most processes run comes first: the shorter commands need no more than the beginning.
    fn rust(&self) -> Vec<String> {
        let mut processes: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        for (symbol, pids) in &self.0 {
            if let Some(name) = pattern(symbol) {
                processes.entry(name).or_default().extend(pids);
            }
        }
        by_use(processes)
    }

    /// The files of the C library: it has no section of its own for each function.
    fn c(&self, library: &str) -> Vec<String> {
        let mut files: BTreeMap<&str, &str> = BTreeMap::new();
        for line in library.lines() {
            // "/usr/lib/x/libc.a:malloc.o:0000000000001234 T malloc"
            let mut words = line.split_whitespace();
            let place = words.next().and_then(|place| place.split(':').nth(1));
            if let (Some(file), Some("T" | "t" | "W" | "i"), Some(symbol)) =
                (place, words.next(), words.next())
            {
                files.entry(symbol).or_insert(file);
            }
        }
        let mut processes: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        for (symbol, pids) in &self.0 {
            if let Some(file) = files.get(symbol.as_str()) {
                processes.entry((*file).to_owned()).or_default().extend(pids);
            }
        }
        by_use(processes)
    }
}

fn by_use(processes: BTreeMap<String, BTreeSet<u32>>) -> Vec<String> {
    let mut names: Vec<(usize, String)> = processes
        .into_iter()
        .map(|(name, pids)| (pids.len(), name))
        .collect();
    names.sort_by(|(one, first), (other, second)| other.cmp(one).then(first.cmp(second)));
    names.into_iter().map(|(_, name)| name).collect()
}

/// Containers' lives by every command that engines use.
pub(crate) fn load(words: &[&str]) -> Outcome {
    let [runtime, place] = words else {
        return Err("hot-load: takes the runtime and a folder to make".to_owned());
    };
    let place = Path::new(place);
    let release = programs("release")?;
    for (folder, args) in [("stays", ["sleep", "1000"].as_slice()), ("ends", &["true"])] {
        let status = steps::output(&mut bundle::make(&release, &place.join(folder), args));
        status.map(drop)?;
    }
    let (stays, ends) = (place.join("stays"), place.join("ends"));
    let call = |words: &[&str], folder: &Path| {
        let status = Command::new(runtime)
            .arg("--root")
            .arg(place.join("state"))
            .args(words)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("hot-load: {words:?} ended with {status}")),
            Err(error) => Err(format!("hot-load: {runtime}: {error}")),
        }
    };
    for round in 0..ROUNDS {
        call(&["create", "hot"], &stays)?;
        let rest: [&[&str]; 5] = [
            &["start", "hot"],
            &["state", "hot"],
            &["exec", "hot", "true"],
            &["list"],
            &["kill", "hot", "TERM"],
        ];
        let done = rest.iter().try_for_each(|words| call(words, &stays));
        call(&["delete", "--force", "hot"], &stays)?;
        done?;
        call(&["run", "hot"], &ends)?;
        if round % 100 == 99 {
            println!("{} of {ROUNDS} lives", round + 1);
        }
    }
    Ok(true)
}

/// A mangled name as a pattern, with a star for each hash: those are others with each compiler and version.
fn pattern(symbol: &str) -> Option<String> {
    if symbol.starts_with("_R") {
        return Some(without_disambiguators(symbol));
    }
    const HASH: &str = "17h";
    let symbol = symbol.strip_prefix("_ZN").map(|_| symbol)?;
    let (name, rest) = symbol.split_at(symbol.rfind(HASH)?);
    let hash = rest.get(HASH.len()..HASH.len() + 16)?;
    let is_hash = hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| format!("{name}{HASH}*"))
}

/// Whether a pattern is for a generic function of so many and so large instances that it would bring mostly cold code.
fn is_broad(pattern: &str, symbols: &str) -> bool {
    let Some(beginning) = pattern.strip_suffix('*') else {
        return false;
    };
    // "0000000000471680 0000000000000123 t _ZN..."
    let sizes = symbols.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (size, name) = (words.next()?, words.nth(1)?);
        name.starts_with(beginning)
            .then(|| u64::from_str_radix(size, 16).ok())?
    });
    sizes.sum::<u64>() > BROAD
}

/// In the newer mangling each crate's name follows `Cs`, digits of base 62 and `_`.
fn without_disambiguators(symbol: &str) -> String {
    let mut pattern = String::new();
    let mut rest = symbol;
    while let Some(at) = rest.find("Cs") {
        let (before, hash) = rest.split_at(at + 2);
        pattern.push_str(before);
        let length = hash.bytes().take_while(u8::is_ascii_alphanumeric).count();
        let is_hash = length >= 8 && hash.as_bytes().get(length) == Some(&b'_');
        rest = if is_hash { &hash[length..] } else { hash };
        if is_hash {
            pattern.push('*');
        }
    }
    pattern + rest
}

/// The linker script. Lines of the file before that are not among these names stay, at the end: a function that no longer
/// causes a fault, because it lies well, would be lost otherwise.
fn script(rust: &[String], c: &[String], before: &str) -> String {
    let mut text = String::from(
        "/* Functions that a container's usual life runs, to lie side by side in the file: fewer pages are mapped and counted.\n   \
         Written by `cargo xtask hot`, read by the linker (build.rs). A name that is not found does no harm. */\n\
         SECTIONS\n{\n  .text.hot :\n  {\n",
    );
    let c = c.iter().map(|file| format!("    *libc.a:{file}(.text .text.*)"));
    let rust = rust.iter().map(|name| format!("    *(.text.{name})"));
    let mut written = BTreeSet::new();
    let kept = before
        .lines()
        .filter(|line| line.starts_with("    *"))
        .map(str::to_owned);
    for line in c.chain(rust).chain(kept) {
        if written.insert(line.clone()) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text.push_str("  }\n}\nINSERT BEFORE .text;\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: &str = "  11     4747e0 _ZN7runtime4main17h0123456789abcdefE\n  12  4747e0 _ZN7runtime4main17hfedcba9876543210E\n\
        12 1 malloc\n11 2 [unknown]\n  11 3 _ZN1a3b17h17h0123456789abcdefE.llvm.99\n11 5 _ZN7runtime5short17h01E\n\n";

    fn seen() -> Seen {
        let mut seen = Seen::default();
        seen.add(SAMPLES);
        seen
    }

    #[test]
    fn names_lose_their_hash_and_the_most_used_come_first() {
        assert_eq!(seen().rust(), ["_ZN7runtime4main17h*", "_ZN1a3b17h17h*"]);
    }

    #[test]
    fn crates_lose_their_disambiguators() {
        let symbol = "_RNvMs_NtCsgEmfK2I1SDS_4core3strNtB4_3str4trimCsjrHSEGnQ3l9_3std";
        assert_eq!(
            pattern(symbol).as_deref(),
            Some("_RNvMs_NtCs*_4core3strNtB4_3str4trimCs*_3std")
        );
        assert_eq!(pattern("_RNvCs_3CsX").as_deref(), Some("_RNvCs_3CsX"));
    }

    #[test]
    fn a_function_of_many_instances_is_broad() {
        let symbols = "0000000000471680 0000000000008000 t _ZN1a1b17h01E\n0000000000479680 0000000000008001 t _ZN1a1b17h02E\n\
            0000000000481680 0000000000000010 t _ZN1a1c17h03E\n                 U malloc\n";
        assert!(is_broad("_ZN1a1b17h*", symbols));
        assert!(!is_broad("_ZN1a1c17h*", symbols));
        assert!(!is_broad("_ZN1a1b17h01E", symbols));
    }

    #[test]
    fn functions_of_the_c_library_are_found_in_its_files() {
        let library =
            "/lib/libc.a:malloc.o:0000000000001234 T malloc\n/lib/libc.a:free.o:                 U malloc\n";
        assert_eq!(seen().c(library), ["malloc.o"]);
    }

    #[test]
    fn the_script_adds_a_section_and_keeps_what_it_had() {
        let before = script(&["_ZN1a17h*".to_owned(), "_ZN1b17h*".to_owned()], &[], "");
        let text = script(&["_ZN1b17h*".to_owned()], &["malloc.o".to_owned()], &before);
        let list: Vec<&str> = text.lines().filter(|line| line.starts_with("    *")).collect();
        let wanted = [
            "    *libc.a:malloc.o(.text .text.*)",
            "    *(.text._ZN1b17h*)",
            "    *(.text._ZN1a17h*)",
        ];
        assert_eq!(list, wanted);
        assert!(text.ends_with("INSERT BEFORE .text;\n"), "{text}");
    }
}
