//! The whole of embedding: runs a bundle and ends as its program ended. `run_bundle STATE_DIR BUNDLE ID`.

use runtime_core::spec::LoadedSpec;
use runtime_core::{CreateRequest, Error, ErrorKind, Exit, Runtime};
use std::path::Path;
use std::process::ExitCode;

fn main() -> Result<ExitCode, Error> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [root, bundle, id] = words.as_slice() else {
        let usage = "usage: run_bundle STATE_DIR BUNDLE ID";
        return Err(Error::new(ErrorKind::InvalidArgument, usage));
    };
    let runtime = Runtime::new(root);
    let spec = LoadedSpec::from_bundle(Path::new(bundle), "config.json")?;
    let id = id.parse()?;
    let mut container = runtime.create(CreateRequest::new(id, bundle, spec))?;
    container.start()?;
    let exit = container.wait()?;
    runtime.delete(container.id(), false)?;
    Ok(match exit {
        Exit::Code(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Exit::Signal(number) => ExitCode::from(u8::try_from(128 + number).unwrap_or(1)),
        Exit::Unknown => ExitCode::FAILURE,
    })
}
