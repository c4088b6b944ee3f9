//! A black box for OCI runtimes: `conformance --runtime PATH` runs the specification's sentences as tests against any
//! runtime with runc's command line.
//!
//! Lives here: the order of a run. Must not live here: anything of a particular runtime. No runtime's library is linked;
//! what a container looks like from inside is told by the fixtures' probe. A test passes, fails, is a known difference
//! (see `known`), or is skipped with a reason; a known difference that passes is a failure, because the list lies then.
//!
//! The road: [`args`] -> [`host`] facts -> [`runner`] over [`suite`] -> [`report`].

mod args;
mod case;
mod chapters;
mod command;
mod host;
mod ids;
mod known;
mod leftovers;
mod place;
mod report;
mod runner;
mod settings;
mod suite;

use clap::Parser;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            // Nothing is left to tell a closed stderr.
            let _ = writeln!(std::io::stderr(), "conformance: {message}");
            ExitCode::from(2)
        }
    }
}

/// Whether every runtime passed.
fn run(args: &args::Args) -> Result<bool, String> {
    let tests = chapters::select(args)?;
    let mut out = std::io::stdout();
    if args.list {
        return report::list(&mut out, &tests)
            .map(|()| true)
            .map_err(|error| format!("stdout: {error}"));
    }
    if args.runtimes.is_empty() {
        return Err("--runtime: needs at least one path of a runtime".to_owned());
    }
    let host = host::Host::look(args)?;
    let mut runs = Vec::new();
    for path in &args.runtimes {
        let run = runner::run(args, &host, path, &tests)?;
        report::table(&mut out, &run).map_err(|error| format!("stdout: {error}"))?;
        runs.push(run);
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_vec_pretty(&report::json(&runs)).map_err(|error| error.to_string())?;
        std::fs::write(path, text).map_err(|error| format!("--json {}: {error}", path.display()))?;
    }
    for run in &runs {
        report::last_line(&mut out, run).map_err(|error| format!("stdout: {error}"))?;
    }
    Ok(runs.iter().all(|run| run.counts().failed == 0))
}
