//! What containerd's shims take for a container, from start to gone, without containerd.
//!
//! Lives here: the rows. `shim/examples/calls.rs` speaks to the shim; each container has a shim of its own. Nothing is pinned: a
//! shim and its client take turns.

use super::series::{Quantity, Table};
use crate::steps;
use crate::workspace::Scratch;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What every row of shims begins with.
const ROW: &str = "shim, ";

/// A shim that takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shim {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// The runtime that it runs, if it has none inside.
    pub(crate) binary: Option<PathBuf>,
}

impl Shim {
    /// Reads `NAME=PATH[,RUNTIME]`.
    ///
    /// # Errors
    /// It is of another form.
    pub(crate) fn parse(text: &str) -> Result<Shim, String> {
        let wrong = || format!("bench: --shim {text:?}: NAME=PATH[,RUNTIME] is allowed");
        let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
        let (path, binary) = match rest.split_once(',') {
            Some((path, binary)) => (path, Some(binary)),
            None => (rest, None),
        };
        if name.is_empty() || path.is_empty() || binary.is_some_and(str::is_empty) {
            return Err(wrong());
        }
        Ok(Shim {
            name: name.to_owned(),
            path: path.into(),
            binary: binary.map(PathBuf::from),
        })
    }
}

/// Measures; the first round is thrown away, and a shim that fails in it is left out and told.
///
/// # Errors
/// A shim failed later.
pub(crate) fn measure(
    calls: &Path,
    bundle: &Path,
    states: &Scratch,
    mut shims: Vec<Shim>,
    rounds: usize,
    table: &mut Table,
) -> Result<Vec<String>, String> {
    let mut left_out = Vec::new();
    println!("shims");
    shims.retain(|shim| match one(calls, bundle, states, shim) {
        Ok(_) => true,
        Err(error) => {
            left_out.push(format!("shim {}: {error}", shim.name));
            false
        }
    });
    for _ in 0..rounds {
        for shim in &shims {
            for (nanos, call) in one(calls, bundle, states, shim)? {
                table.put(&format!("{ROW}{call}"), Quantity::Time, None, &shim.name, nanos);
            }
        }
        if !shims.is_empty() {
            shims.rotate_left(1);
        }
    }
    Ok(left_out)
}

fn one(calls: &Path, bundle: &Path, states: &Scratch, shim: &Shim) -> Result<Vec<(u64, String)>, String> {
    let mut command = Command::new(calls);
    command
        .arg(&shim.path)
        .arg(bundle)
        .arg(format!("xtask-bench-{}", std::process::id()))
        .arg(states.join(&format!("shim-{}", shim.name)))
        .args(&shim.binary);
    lines(&steps::output(&mut command)?)
}

/// Lines of nanoseconds and a name.
fn lines(text: &str) -> Result<Vec<(u64, String)>, String> {
    text.lines()
        .map(|line| {
            let read = line
                .split_once(' ')
                .and_then(|(nanos, call)| Some((nanos.parse().ok()?, call.to_owned())));
            read.ok_or_else(|| format!("{line:?} are no nanoseconds and a name"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shims_are_named_with_what_they_run() {
        let shim = Shim::parse("go=/a,/b").unwrap();
        assert_eq!((shim.name.as_str(), shim.path.to_str()), ("go", Some("/a")));
        assert_eq!(shim.binary, Some("/b".into()));
        assert_eq!(Shim::parse("x=/a").unwrap().binary, None);
        for wrong in ["", "x", "=a", "x=", "x=a,", "x=,b"] {
            assert!(Shim::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn figures_are_read() {
        assert_eq!(
            lines("7 start of the shim\n9 whole\n"),
            Ok(vec![(7, "start of the shim".to_owned()), (9, "whole".to_owned())])
        );
        assert!(lines("seven Create\n").is_err() && lines("7\n").is_err());
    }
}
