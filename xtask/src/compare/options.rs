//! What the user typed after `bench`, checked.

use super::shims::Shim;
use crate::host;
use std::path::PathBuf;

/// Peers that are looked for on PATH when none is given.
const PEERS: [&str; 3] = ["crun", "runc", "youki"];

/// Where the commands run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cores {
    /// On the last one of those that bench may use: steady figures, and what goes on beside a command counts.
    Last,
    /// On one by its number.
    One(usize),
    /// On all: as an engine runs them.
    All,
}

/// A part of the measuring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Time and peak memory of each command.
    Commands,
    /// What commands and waiting containers have of their own, and sizes of files.
    Memory,
    /// 200 containers, 8 at a time; 64, 1, 8 and 64 at a time.
    Together,
    /// The smallest memory limit.
    Limit,
    /// Against living containers; `list`.
    Live,
    /// Against the caller's memory.
    Caller,
    /// Against the host's mounts.
    Mounts,
    /// containerd's shims.
    Shims,
}

impl Part {
    /// All.
    pub(crate) const ALL: [Part; 8] = [
        Part::Commands,
        Part::Memory,
        Part::Together,
        Part::Limit,
        Part::Live,
        Part::Caller,
        Part::Mounts,
        Part::Shims,
    ];

    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Part::Commands => "commands",
            Part::Memory => "memory",
            Part::Together => "together",
            Part::Limit => "limit",
            Part::Live => "live",
            Part::Caller => "caller",
            Part::Mounts => "mounts",
            Part::Shims => "shims",
        }
    }
}

/// The options.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Where the JSON goes.
    pub(crate) json: Option<PathBuf>,
    /// Where the page with charts goes.
    pub(crate) html: Option<PathBuf>,
    /// Whether the budgets are compared with the figures.
    pub(crate) check: bool,
    /// Measured rounds.
    pub(crate) runs: usize,
    /// The runtime instead of our own build.
    pub(crate) runtime: Option<PathBuf>,
    /// The cores that commands may use.
    pub(crate) cores: Cores,
    /// Shims beside our own build; one of our name takes its place.
    pub(crate) shims: Vec<Shim>,
    parts: Vec<Part>,
    given: Vec<(String, PathBuf)>,
}

impl Options {
    /// Reads the words.
    ///
    /// # Errors
    /// An unknown option, a missing or an impossible value.
    pub(crate) fn parse(words: &[&str]) -> Result<Options, String> {
        let mut options = Options {
            json: None,
            html: None,
            check: false,
            runs: 50,
            runtime: None,
            cores: Cores::Last,
            shims: Vec::new(),
            parts: Part::ALL.to_vec(),
            given: Vec::new(),
        };
        let mut words = words.iter();
        while let Some(option) = words.next() {
            let mut value = || words.next().ok_or(format!("bench: {option} needs a value"));
            match *option {
                "--json" => options.json = Some(PathBuf::from(value()?)),
                "--html" => options.html = Some(PathBuf::from(value()?)),
                "--check" => options.check = true,
                "--only" => options.parts = parts(value()?)?,
                "--runtime" => options.runtime = Some(PathBuf::from(value()?)),
                "--runs" => options.runs = runs(value()?)?,
                "--core" => options.cores = cores(value()?)?,
                "--shim" => options.shims.push(Shim::parse(value()?)?),
                "--peer" => options.given.push(peer(value()?)?),
                other => {
                    return Err(format!(
                        "bench: {other:?} is not --json, --html, --check, --only, --runs, --core, --peer, --shim or --runtime"
                    ));
                }
            }
        }
        if options.check && options.parts.len() < Part::ALL.len() {
            return Err("bench: --check needs all parts, --only leaves some out".to_owned());
        }
        Ok(options)
    }

    /// Whether this is to be measured.
    pub(crate) fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    /// The runtimes to compare with: those given, or those on PATH.
    pub(crate) fn peers(&self) -> Vec<(String, PathBuf)> {
        if !self.given.is_empty() {
            return self.given.clone();
        }
        PEERS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), host::find_on_path(name)?)))
            .collect()
    }
}

fn runs(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|runs| (5..=10_000).contains(runs))
        .ok_or(format!(
            "bench: --runs {text:?}: a number from 5 to 10000 is allowed"
        ))
}

fn parts(text: &str) -> Result<Vec<Part>, String> {
    let one = |word: &str| {
        let found = Part::ALL.into_iter().find(|part| part.word() == word);
        found.ok_or_else(|| {
            let all: Vec<&str> = Part::ALL.iter().map(|part| part.word()).collect();
            format!("bench: --only {word:?}: allowed are {}", all.join(", "))
        })
    };
    text.split(',').map(one).collect()
}

fn cores(text: &str) -> Result<Cores, String> {
    match text {
        "all" => Ok(Cores::All),
        number => number
            .parse()
            .map(Cores::One)
            .map_err(|_| format!("bench: --core {text:?}: a core's number or \"all\" is allowed")),
    }
}

fn peer(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), path.into())),
        _ => Err(format!("bench: --peer {text:?}: NAME=PATH is allowed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let options = Options::parse(&[
            "--runs",
            "20",
            "--peer",
            "crun=/usr/bin/crun",
            "--json",
            "x",
            "--html",
            "y",
            "--check",
        ])
        .unwrap();
        assert_eq!(options.runs, 20);
        assert_eq!(
            options.peers(),
            [("crun".to_owned(), PathBuf::from("/usr/bin/crun"))]
        );
        assert_eq!(
            (options.json.clone(), options.html.clone()),
            (Some("x".into()), Some("y".into()))
        );
        assert!(options.check && Part::ALL.into_iter().all(|part| options.has(part)));
        assert_eq!(options.cores, Cores::Last);
        assert_eq!(Options::parse(&["--core", "all"]).unwrap().cores, Cores::All);
        assert_eq!(Options::parse(&["--core", "1"]).unwrap().cores, Cores::One(1));
    }

    #[test]
    fn parts_are_chosen() {
        let options = Options::parse(&["--only", "memory,live"]).unwrap();
        assert!(options.has(Part::Memory) && options.has(Part::Live) && !options.has(Part::Commands));
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        for words in [
            &["--runs"][..],
            &["--runs", "4"],
            &["--runs", "many"],
            &["--core", "both"],
            &["--peer", "crun"],
            &["--peer", "=x"],
            &["--shim", "x"],
            &["--only", "speed"],
            &["--only", ""],
            &["--only", "memory", "--check"],
            &["--html"],
            &["--fast"],
        ] {
            assert!(Options::parse(words).is_err(), "{words:?}");
        }
    }
}
