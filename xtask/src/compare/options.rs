//! What the user typed after `bench`, checked.

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

/// The options.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Where the JSON goes.
    pub(crate) json: Option<PathBuf>,
    /// Measured rounds.
    pub(crate) runs: usize,
    /// The runtime instead of our own build.
    pub(crate) runtime: Option<PathBuf>,
    /// The cores that commands may use.
    pub(crate) cores: Cores,
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
            runs: 50,
            runtime: None,
            cores: Cores::Last,
            given: Vec::new(),
        };
        let mut words = words.iter();
        while let Some(option) = words.next() {
            let mut value = || words.next().ok_or(format!("bench: {option} needs a value"));
            match *option {
                "--json" => options.json = Some(PathBuf::from(value()?)),
                "--runtime" => options.runtime = Some(PathBuf::from(value()?)),
                "--runs" => options.runs = runs(value()?)?,
                "--core" => options.cores = cores(value()?)?,
                "--peer" => options.given.push(peer(value()?)?),
                other => {
                    return Err(format!(
                        "bench: {other:?} is not --json, --runs, --core, --peer or --runtime"
                    ));
                }
            }
        }
        Ok(options)
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
        let options =
            Options::parse(&["--runs", "20", "--peer", "crun=/usr/bin/crun", "--json", "x"]).unwrap();
        assert_eq!(options.runs, 20);
        assert_eq!(
            options.peers(),
            [("crun".to_owned(), PathBuf::from("/usr/bin/crun"))]
        );
        assert_eq!(options.json, Some("x".into()));
        assert_eq!(options.cores, Cores::Last);
        assert_eq!(Options::parse(&["--core", "all"]).unwrap().cores, Cores::All);
        assert_eq!(Options::parse(&["--core", "1"]).unwrap().cores, Cores::One(1));
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
            &["--fast"],
        ] {
            assert!(Options::parse(words).is_err(), "{words:?}");
        }
    }
}
