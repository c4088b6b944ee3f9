//! A process with memory of its own that creates containers when told: how long the library takes for it.
//!
//! `caller STATE BUNDLE MIB` touches MIB of memory, says `ready`, and for each line with an id creates a container of the bundle,
//! prints the nanoseconds that it took, and deletes it. `cargo xtask bench` runs it; it needs root.
#![allow(clippy::print_stdout, reason = "an example that answers on standard output")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use runtime_core::spec::LoadedSpec;
use runtime_core::{ContainerId, CreateRequest, Runtime};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [state, bundle, mib] = words.as_slice() else {
        return Err("usage: caller STATE BUNDLE MIB".into());
    };
    let memory = touched(mib.parse()?);
    let runtime = Runtime::new(PathBuf::from(state));
    println!("ready");
    for line in std::io::stdin().lines() {
        println!("{}", create(&runtime, Path::new(bundle), line?.parse()?)?);
    }
    drop(black_box(memory));
    Ok(())
}

/// Memory that is there: a page that was never written is none.
fn touched(mib: usize) -> Vec<u8> {
    let mut memory = vec![0u8; mib << 20];
    for page in memory.chunks_mut(4096) {
        if let Some(byte) = page.first_mut() {
            *byte = 1;
        }
    }
    memory
}

/// Creates and deletes; the nanoseconds of the first, the reading of the configuration included.
fn create(runtime: &Runtime, bundle: &Path, id: ContainerId) -> Outcome<u128> {
    let begin = Instant::now();
    let spec = LoadedSpec::from_bundle(bundle, "config.json")?;
    let container = runtime.create(CreateRequest::new(id, bundle.to_owned(), spec))?;
    let nanos = begin.elapsed().as_nanos();
    runtime.delete(container.id(), true)?;
    Ok(nanos)
}
