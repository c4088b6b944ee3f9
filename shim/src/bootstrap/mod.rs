//! `start`: finds or makes the shim that serves a container, and tells containerd where it listens.
//!
//! The question and the answer have had three forms: a bare address (containerd 1.6), JSON (1.7 to 2.2) and protobuf
//! (2.3). Each containerd is answered in the form that it speaks; see `form`.

mod form;
mod process;
mod socket;

use std::io::{Read as _, Write as _};
use std::path::Path;

use serde::Deserialize;

use crate::args::Args;
use crate::ttrpc::Status;

use form::Question;
pub(crate) use socket::{Place, remove_if_dead};

/// Most bytes of the question.
const MOST: u64 = 10 << 20;
/// Annotations that put containers into one shim, in the order in which they count.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];
/// The file in the bundle that tells later commands where its shim listens; containerd 1.6 reads it too.
pub(crate) const ADDRESS: &str = "address";

/// The only part of the configuration that counts here.
#[derive(Deserialize)]
struct Annotated {
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

/// Does the whole of `start`; the working directory is the bundle.
///
/// # Errors
/// A text for standard output and error, which containerd shows.
pub(crate) fn start(args: &Args) -> Result<(), Status> {
    let mut input = Vec::new();
    std::io::stdin()
        .take(MOST)
        .read_to_end(&mut input)
        .map_err(|error| Status::os("read(standard input)", error))?;
    let question = Question::read(&input, args, |name| std::env::var(name).ok());
    let place = Place::of(&question, &group(&question.id)?);
    let address = place.address();
    // Before there is a socket: whoever cleans up behind a start that was killed must find it.
    std::fs::write(ADDRESS, &address).map_err(|error| Status::os("write(\"address\")", error))?;
    if let Some(listener) = place.listen()? {
        let started = process::serve(&question, &place, listener);
        started.inspect_err(|_| place.remove())?;
    }
    std::io::stdout()
        .write_all(&question.answer(&address))
        .map_err(|error| Status::os("write(standard output)", error))
}

/// The group that a container is in; its own id where nothing says otherwise.
fn group(id: &str) -> Result<String, Status> {
    let path = Path::new("config.json");
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        // A sandbox may come without a configuration.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(id.to_owned()),
        Err(error) => return Err(Status::os("open(\"config.json\")", error)),
    };
    let annotated: Annotated = serde_json::from_slice(&bytes)
        .map_err(|error| Status::invalid(format!("config.json: annotations: {error}")))?;
    let found = GROUPS.iter().find_map(|name| annotated.annotations.get(*name));
    Ok(found.map_or_else(|| id.to_owned(), Clone::clone))
}
