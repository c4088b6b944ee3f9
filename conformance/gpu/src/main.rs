//! What a container with a GPU must be like, on a machine without one: `gpu-conformance --runtime PATH`.
//!
//! The driver is a fixture: stub libraries, nodes with the real numbers, procfs and sysfs as folders. Without a driver
//! behind a node, opening it gives ENXIO where the device cgroup allows it and EPERM where it does not, which is what the
//! checks look for. Each check prints one line of JSON with id, verdict (passed, failed, skipped) and evidence; what is
//! skipped is not passed. The exit code is 1 where a check failed, or the fixtures could not be made, and 2 for a runtime
//! that is not there or a filter that chooses nothing. Checks that another test makes are skipped and name its command. The runtime is a black box with
//! runc's command line and this project's options for devices.
//!
//! Lives here: the order of a run. `world` makes what checks stand on, `checks` judges.

mod checks;
mod world;

use clap::Parser;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use checks::{CHECKS, Judge, Verdict};
use world::{Others, Unbuilt, World};

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
    /// The program `nvidia-ctk` of NVIDIA's toolkit, whose CDI file is compared with the runtime's (N-06, N-07).
    #[arg(long, value_name = "PATH", value_parser = program)]
    toolkit: Option<PathBuf>,
    /// How many containers are made while somebody exchanges names of their image (N-11).
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    races: u32,
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
        toolkit: args.toolkit.clone(),
        races: args.races,
    };
    let runtime = args
        .runtime
        .canonicalize()
        .map_err(|error| format!("--runtime {}: {error}", args.runtime.display()))?;
    let chosen: Vec<_> = CHECKS.iter().filter(|(id, ..)| id.contains(wanted)).collect();
    if chosen.is_empty() {
        return Err(format!("--filter {wanted:?}: no check has such an id"));
    }
    let world = World::build(runtime, others);
    let mut good = true;
    for (id, what, judge) in chosen {
        let verdict = match (judge, &world) {
            // For whoever counts: `elsewhere` is no skip of a check that nobody makes.
            (Judge::Elsewhere(command), _) => {
                print(
                    json!({"id": id, "check": what, "verdict": "skipped", "elsewhere": command,
                    "evidence": format!("not judged by this program, but by: {command}")}),
                )?;
                continue;
            }
            (Judge::Here(check), Ok(world)) => check(world),
            (Judge::Here(_), Err(Unbuilt::NotHere(why))) => Verdict::Skipped(why.clone()),
            // Nobody has looked at the runtime, and that must not look well.
            (Judge::Here(_), Err(Unbuilt::Broken(why))) => Verdict::Failed(why.clone()),
        };
        good &= !matches!(verdict, Verdict::Failed(_));
        let (word, evidence) = match verdict {
            Verdict::Passed(evidence) => ("passed", evidence),
            Verdict::Failed(evidence) => ("failed", evidence),
            Verdict::Skipped(evidence) => ("skipped", evidence),
        };
        print(json!({"id": id, "check": what, "verdict": word, "evidence": evidence}))?;
    }
    Ok(good)
}

fn print(line: serde_json::Value) -> Result<(), String> {
    writeln!(std::io::stdout(), "{line}").map_err(|error| format!("stdout: {error}"))
}
