//! All containers of a state directory, one after the other.

use std::io;
use std::path::PathBuf;

use super::{Container, Runtime};
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::record::{StateDir, absolute};
use crate::trace::Trace;

/// The containers of a state directory in the order of their ids, from [`Runtime::containers`].
///
/// Each is opened when its turn comes, so that thousands need no more descriptors and memory than one, as long as the caller
/// lets go of each. What cannot be read comes as an error with its id; what was deleted since the beginning is left out.
#[derive(Debug)]
pub struct Containers {
    root: PathBuf,
    trace: Trace,
    names: std::vec::IntoIter<String>,
}

impl Runtime {
    /// All containers in the state directory. A missing state directory has none.
    ///
    /// # Errors
    /// System, where the state directory cannot be read; InvalidArgument, where its path is relative.
    pub fn containers(&self) -> Result<Containers> {
        let _span = self.trace.span("list the state directory");
        let mut names: Vec<String> = match std::fs::read_dir(absolute(&self.root)?) {
            Ok(entries) => entries
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .filter(|name| name.parse::<ContainerId>().is_ok())
                .collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::os(format!("open({:?})", self.root), error)),
        };
        names.sort();
        Ok(Containers {
            root: self.root.clone(),
            trace: self.trace.clone(),
            names: names.into_iter(),
        })
    }
}

impl Containers {
    /// The ids alone of those that are left; none is opened.
    pub fn ids(self) -> impl Iterator<Item = String> {
        self.names
    }
}

impl Iterator for Containers {
    type Item = (String, Result<Container>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let name = self.names.next()?;
            match StateDir::open(&self.root, &name) {
                // Deleted meanwhile, or no directory.
                Ok(None) => {}
                Ok(Some(dir)) => {
                    let loaded = self
                        .trace
                        .time("load the record", || Container::load(dir, &self.trace));
                    return Some((name, loaded));
                }
                Err(error) => return Some((name, Err(error))),
            }
        }
    }
}
