//! What `cargo xtask engines` may be told.
//!
//! Must not live here: what is done with it.

use std::fmt;
use std::path::PathBuf;

/// The engines, in the order in which they are tried.
const ENGINES: [&str; 11] = [
    "containerd",
    "containerd-runc",
    "docker",
    "docker-shim",
    "podman",
    "podman-rootless",
    "buildah",
    "buildkit",
    "cri",
    "cri-runc",
    "crio",
];
/// Seconds for each engine.
const LIMIT: u64 = 1200;
/// Programs that are executed one after another in one container.
const EXECS: u32 = 100;

/// Whose packages are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suite {
    /// Debian 12: Docker 20.10, Podman 4.3, containerd 1.6.
    Bookworm,
    /// Debian 13: Docker 26.1, Podman 5.4, containerd 1.7.
    Trixie,
    /// What is newest.
    Sid,
}

impl fmt::Display for Suite {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Suite::Bookworm => "bookworm",
            Suite::Trixie => "trixie",
            Suite::Sid => "sid",
        })
    }
}

/// A program under trial.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// This workspace's release build.
    Own,
    /// Debian's, by its name.
    OfDebian(String),
    At(PathBuf),
    None,
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) suite: Suite,
    pub(super) runtime: Program,
    pub(super) shim: Program,
    /// A regular expression for `ENGINE/CASE`; empty for all.
    pub(super) only: String,
    pub(super) execs: u32,
    /// Seconds for all.
    pub(super) limit: u64,
    /// Programs in place of Debian's.
    pub(super) with: Vec<PathBuf>,
    /// Where daemons' logs are kept.
    pub(super) logs: Option<PathBuf>,
    pub(super) engines: Vec<String>,
}

impl Options {
    /// # Errors
    /// A word is not understood.
    pub(super) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self {
            suite: Suite::Trixie,
            runtime: Program::Own,
            shim: Program::Own,
            only: String::new(),
            execs: EXECS,
            limit: 0,
            with: Vec::new(),
            logs: None,
            engines: Vec::new(),
        };
        let mut shim = None;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .copied()
                    .ok_or(format!("engines: {word} needs a value"))
            };
            let number = |value: &str| {
                let wrong = format!("engines: {word} {value:?} is not a number above 0");
                value.parse().ok().filter(|number| *number > 0).ok_or(wrong)
            };
            match *word {
                "--suite" => options.suite = suite(value()?)?,
                "--runtime" => options.runtime = program(value()?),
                "--shim" => shim = Some(Program::At(value()?.into())),
                "--only" => value()?.clone_into(&mut options.only),
                "--execs" => options.execs = number(value()?)?,
                "--time-limit" => options.limit = number(value()?)?.into(),
                "--with" => options.with.push(value()?.into()),
                "--logs" => options.logs = Some(value()?.into()),
                name if ENGINES.contains(&name) => options.engines.push(name.to_owned()),
                other => {
                    return Err(format!(
                        "engines: {other:?} is not understood; engines are {}",
                        ENGINES.join(", ")
                    ));
                }
            }
        }
        // Another runtime has no shim of its own; a shim that is not under trial would only repeat what is known.
        options.shim = shim.unwrap_or(match options.runtime {
            Program::Own => Program::Own,
            _ => Program::None,
        });
        if options.engines.is_empty() {
            options.engines = ENGINES.map(str::to_owned).to_vec();
        }
        if options.limit == 0 {
            options.limit = LIMIT * u64::try_from(options.engines.len()).unwrap_or(1);
        }
        Ok(options)
    }
}

fn suite(word: &str) -> Result<Suite, String> {
    let all = [Suite::Bookworm, Suite::Trixie, Suite::Sid];
    let wrong = format!("engines: {word:?} is not bookworm, trixie or sid");
    all.into_iter()
        .find(|suite| suite.to_string() == word)
        .ok_or(wrong)
}

/// A name is Debian's program, a path any.
fn program(word: &str) -> Program {
    match word.contains('/') {
        true => Program::At(word.into()),
        false => Program::OfDebian(word.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_words_everything_is_tried() {
        let options = Options::parse(&[]).unwrap();
        assert_eq!(options.engines, ENGINES);
        assert_eq!((options.runtime, options.shim), (Program::Own, Program::Own));
        assert_eq!(options.limit, 11 * LIMIT);
    }

    #[test]
    fn another_runtime_is_tried_without_our_shim() {
        let options = Options::parse(&["--suite", "sid", "--runtime", "runc", "docker"]).unwrap();
        assert_eq!(options.suite, Suite::Sid);
        assert_eq!(options.runtime, Program::OfDebian("runc".to_owned()));
        assert_eq!(options.shim, Program::None);
        let options = Options::parse(&["--runtime", "/a/crun", "--shim", "/a/shim"]).unwrap();
        assert_eq!(options.runtime, Program::At("/a/crun".into()));
        assert_eq!(options.shim, Program::At("/a/shim".into()));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for words in [
            &["rkt"][..],
            &["--suite", "sarge"],
            &["--execs", "0"],
            &["--runtime"],
        ] {
            assert!(Options::parse(words).is_err(), "{words:?}");
        }
    }
}
