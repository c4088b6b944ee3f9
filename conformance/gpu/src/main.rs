//! What a container with a GPU must be like, on a machine without one: `gpu-conformance --runtime PATH`.
//!
//! The driver is a fixture: stub libraries, nodes with the real numbers, procfs and sysfs as folders. Without a driver
//! behind a node, opening it gives ENXIO where the device cgroup allows it and EPERM where it does not, which is what the
//! checks look for. Each check prints one line of JSON with id, verdict (passed, failed, skipped) and evidence; what is
//! skipped is not passed. The runtime is a black box with runc's command line and this project's options for devices.
//!
//! Lives here: the order of a run. `world` makes what checks stand on, `checks` judges.

mod checks;
mod world;

use clap::Parser;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use checks::{CHECKS, Verdict};
use world::{Others, World};

/// Checks containers with devices of vendors, without having such devices.
#[derive(Debug, Parser)]
struct Args {
    /// The runtime.
    #[arg(long)]
    runtime: PathBuf,
    /// Only the checks whose id contains this.
    #[arg(long)]
    filter: Option<String>,
    /// Another runtime, for what is compared (N-25); may be given several times.
    #[arg(long, value_name = "NAME=PATH", value_parser = peer, requires = "hook_program")]
    peer: Vec<(String, PathBuf)>,
    /// The program `nvidia-cdi-hook` of NVIDIA's toolkit, which other runtimes execute.
    #[arg(long, value_name = "PATH", value_parser = program)]
    hook_program: Option<PathBuf>,
}

fn peer(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("allowed: NAME=PATH")?;
    Ok((name.to_owned(), program(path)?))
}

/// Hooks need an absolute path.
fn program(path: &str) -> Result<PathBuf, String> {
    std::fs::canonicalize(path).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            // Nothing is left to tell a closed stderr.
            let _ = writeln!(std::io::stderr(), "gpu-conformance: {message}");
            ExitCode::from(2)
        }
    }
}

/// Whether nothing failed.
fn run(args: &Args) -> Result<bool, String> {
    let wanted = args.filter.as_deref().unwrap_or_default();
    let others = Others {
        peers: args.peer.clone(),
        hook_program: args.hook_program.clone(),
    };
    let world = World::build(&args.runtime, others);
    let mut good = true;
    for (id, what, check) in CHECKS.iter().filter(|(id, ..)| id.contains(wanted)) {
        let verdict = match &world {
            Ok(world) => check(world),
            Err(why) => Verdict::Skipped(why.clone()),
        };
        good &= !matches!(verdict, Verdict::Failed(_));
        let (word, evidence) = match verdict {
            Verdict::Passed(evidence) => ("passed", evidence),
            Verdict::Failed(evidence) => ("failed", evidence),
            Verdict::Skipped(evidence) => ("skipped", evidence),
        };
        let line = json!({"id": id, "check": what, "verdict": word, "evidence": evidence});
        writeln!(std::io::stdout(), "{line}").map_err(|error| format!("stdout: {error}"))?;
    }
    Ok(good)
}
