//! Runs one container to its end: `smallest BUNDLE ID`. The bundle is a folder with config.json and a root filesystem.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use runtime_core::spec::LoadedSpec;
use runtime_core::{ContainerId, CreateRequest, Runtime};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(bundle), Some(id)) = (args.next(), args.next()) else {
        return Err("usage: smallest BUNDLE ID".into());
    };
    let id: ContainerId = id.parse()?;
    let spec = LoadedSpec::from_bundle(bundle.as_ref(), "config.json")?;
    let runtime = Runtime::new("/run/runtime-core-smallest");

    let container = runtime.run(CreateRequest::new(id.clone(), bundle, spec))?;
    println!("{id} runs as pid {:?}", container.pid());
    println!("{id} ended: {:?}", container.wait()?);
    runtime.delete(&id, false)?;
    Ok(())
}
